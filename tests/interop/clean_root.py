"""A clean root for tests that install: this system, seen through an overlay in namespaces of its own, with a systemd as
process 1 and no network. Nothing that is written is left. The units that a test needs run there, and no others.
"""
import os
import shutil
import signal
import subprocess
import tempfile
import time

SYSTEMD = "/lib/systemd/systemd"
# systemd keeps its units apart in this hierarchy of control groups, v2's or the one of its name.
CGROUPS = ("/sys/fs/cgroup" if os.path.exists("/sys/fs/cgroup/cgroup.controllers")
           else "/sys/fs/cgroup/systemd")
LIMIT = 180     # seconds, for a machine that is busy

# Runs in new namespaces. $1: a folder with root, upper and work on one tmpfs.
BOOT = r"""
set -eu
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"
cd "$1/root"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t tmpfs tmpfs sys/fs/cgroup
mkdir sys/fs/cgroup/systemd
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    mount -t cgroup2 cgroup2 sys/fs/cgroup
else
    mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd
fi
mount --rbind /dev dev
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    chroot . /lib/systemd/systemd --unit=steps.service --log-target=null --show-status=no
"""

UNIT = """[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
Environment=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
ExecStart=/bin/sh /steps/steps.sh
StandardOutput=file:/steps/out
StandardError=file:/steps/out
ExecStopPost=/bin/sh -c 'echo "$$EXIT_STATUS" >/steps/status'
"""


def read(*path):
    with open(os.path.join(*path), encoding="utf-8", errors="replace") as file:
        return file.read()


def write(text, *path):
    os.makedirs(os.path.dirname(os.path.join(*path)), exist_ok=True)
    with open(os.path.join(*path), "w", encoding="utf-8") as file:
        file.write(text)


class Root:
    """This system, seen through an overlay, that a systemd of its own boots."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="kek-install-")
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", self.folder], check=True)
        for name in ("root", "upper", "work"):
            os.mkdir(os.path.join(self.folder, name))
        self.upper = os.path.join(self.folder, "upper")
        self.systemd = None
        self.cgroup = None

    def hide(self, path):
        """Makes a folder of the system look empty, as mkfs would have left it."""
        where = self.upper + path
        os.makedirs(where, exist_ok=True)
        was = os.stat(path)
        os.chown(where, was.st_uid, was.st_gid)
        shutil.copymode(path, where)
        os.setxattr(where, "trusted.overlay.opaque", b"y")

    def hide_users(self, *names):
        """Takes users and groups of these names out of this root's view."""
        for file in ("passwd", "group", "shadow", "gshadow"):
            write("".join(line for line in read("/etc", file).splitlines(True) if line.split(":")[0] not in names),
                  self.upper, "etc", file)

    def boot(self):
        # Of what this system would start, nothing: the steps are all that is wanted here.
        units = self.upper + "/etc/systemd/system"
        self.hide("/etc/systemd/system")
        for target in ("sysinit", "sockets", "multi-user", "timers", "local-fs", "graphical"):
            wanted = f"/lib/systemd/system/{target}.target.wants"
            if os.path.isdir(wanted):
                self.hide(os.path.realpath(wanted))
        for name in ("systemd-journald.socket", "systemd-journald.service", "tmp.mount"):
            os.symlink("/dev/null", os.path.join(units, name))
        write(UNIT, units, "steps.service")
        write("[Service]\nStandardError=append:/steps/kekd.log\n", units, "kekd.service.d/log.conf")
        # 20 starts within 2 s by default, which a busy machine does not reach.
        write("[Socket]\nTriggerLimitIntervalSec=1h\n", units, "kekd.socket.d/limit.conf")
        self.cgroup = f"{CGROUPS}/kek-install-{os.getpid()}"
        os.mkdir(self.cgroup)

        def join():
            write(str(os.getpid()), self.cgroup, "cgroup.procs")

        with open(os.path.join(self.folder, "boot.log"), "wb") as log:
            self.systemd = subprocess.Popen(
                ["unshare", "--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup", "--fork",
                 "--kill-child", "sh", "-c", BOOT, "sh", self.folder],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=join)

    def run(self, script):
        write(script, self.upper, "steps/steps.sh")
        self.boot()
        status = os.path.join(self.upper, "steps/status")
        deadline = time.monotonic() + LIMIT
        while not os.path.exists(status) and self.systemd.poll() is None:
            if time.monotonic() > deadline:
                break
            time.sleep(0.1)
        time.sleep(0.2)
        return read(status).strip() if os.path.exists(status) else "none"

    def said(self):
        said = read(self.folder, "boot.log")
        for name in ("out", "kekd.log"):
            path = os.path.join(self.upper, "steps", name)
            if os.path.exists(path):
                said += f"--- {name}\n" + read(path)
        return said

    def remove(self):
        if self.systemd is not None and self.systemd.poll() is None:
            self.systemd.send_signal(signal.SIGKILL)    # and with it, by --kill-child, all in there
            self.systemd.wait()
        subprocess.run(["umount", "--lazy", self.folder], check=True)
        os.rmdir(self.folder)
        if self.cgroup is not None:
            deadline = time.monotonic() + 10
            while os.path.exists(self.cgroup) and time.monotonic() < deadline:
                for folder, _, _ in os.walk(self.cgroup, topdown=False):
                    try:
                        os.rmdir(folder)
                    except OSError:
                        time.sleep(0.05)


def why_not(*programs):
    """Why no such root can be had here, or None; the programs are what is asked for besides."""
    if os.geteuid() != 0:
        return "it needs root"
    for program in ("unshare", "runuser", "systemctl", *programs):
        if shutil.which(program) is None:
            return f"{program} is missing"
    if not os.path.exists(SYSTEMD):
        return f"{SYSTEMD} is missing: install systemd"
    if not os.access(CGROUPS, os.W_OK):
        return f"{CGROUPS} cannot be written"
    with tempfile.TemporaryDirectory() as folder:
        can = subprocess.run(["unshare", "--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup",
                              "--fork", "sh", "-c", f"mount -t tmpfs tmpfs {folder} && cd {folder} && "
                              "mkdir u w r && mount -t overlay -o lowerdir=/,upperdir=u,workdir=w o r"],
                             capture_output=True, text=True, check=False)
    return f"no namespaces or overlays here: {can.stderr.strip()}" if can.returncode != 0 else None
