#!/usr/bin/env python3
"""docs/operations.md, "Start", run as it stands: make install, then each block as root under a real systemd.

The root is an overlay of this system's, in namespaces of its own: no network, and nothing that is
written is left. systemd is process 1 there, with the units that these steps need and no other.
What cannot be had (root, namespaces, systemd, SoftHSM) is said, and the test is skipped.
"""
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import pages

BUILD = os.environ["abs_top_builddir"]
SOURCE = os.environ["abs_top_srcdir"]
SYSTEMD = "/lib/systemd/systemd"
# systemd keeps its units apart in this hierarchy of control groups, v2's or the one of its name.
CGROUPS = ("/sys/fs/cgroup" if os.path.exists("/sys/fs/cgroup/cgroup.controllers")
           else "/sys/fs/cgroup/systemd")
SKIPPED = 77
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

WELL = """
i=0; until kekctl kms status; do i=$((i + 1)); [ $i -lt 60 ]; sleep 1; done
systemctl is-active kekd.socket kekd.service
"""

# What kekd's clients do while its configuration is wrong.
GIVES_UP = """
echo 'nonsense: 1' >>/etc/kekd/kekd.yaml
systemctl restart kekd.service || true
i=0
while systemctl is-active --quiet kekd.socket; do
    i=$((i + 1)); [ $i -lt 500 ]
    python3 -c "import socket; socket.socket(socket.AF_UNIX).connect('/run/kekd/kms.sock')" || true
done
echo "service $(systemctl show -P Result kekd.service) $(systemctl show -P ExecMainStatus kekd.service)"
echo "socket $(systemctl show -P Result kekd.socket)"
"""

# What runs by the timer, once it is enabled.
ROTATES = """
test "$(systemctl is-enabled kekd-rotate.timer)" = disabled
printf 'settle: 1s\nrefresh: 1s\n' >>/etc/kekd/kekd.yaml
systemctl restart kekd.service
mkdir -p /etc/systemd/system/kekd-rotate.service.d
cp /etc/systemd/system/kekd.service.d/softhsm.conf /etc/systemd/system/kekd-rotate.service.d
printf '[Service]\nEnvironment="ROTATE_OPTIONS=--single-node --until seen"\nStandardError=append:/steps/kekd.log\n' \
    >/etc/systemd/system/kekd-rotate.service.d/options.conf
systemctl daemon-reload
systemctl start kekd-rotate.service
runuser -u kekd -- kekctl key list
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


def documented_steps():
    return pages.steps("operations.md", "## Start")


def documented_way_back():
    section = read(SOURCE, "docs", "operations.md").split("\n### After a wrong configuration\n")[1]
    return re.search(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL).group(1)


def documented_configuration():
    return next(block for block in re.findall(r"^```yaml\n(.*?)^```$", read(SOURCE, "README.md"),
                                              re.MULTILINE | re.DOTALL)
                if block.startswith("listen:"))


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


class Install(unittest.TestCase):
    def setUp(self):
        self.root = Root()
        self.addCleanup(self.root.remove)
        env = {name: value for name, value in os.environ.items()
               if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "DESTDIR")}
        done = subprocess.run(["make", "-C", BUILD, "install", "DESTDIR=" + self.root.upper],
                              env=env, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)

    def prepare(self):
        """A fresh node: no user kekd, nothing of kekd's, and the folder of configuration where the docs say."""
        for name in ("passwd", "group", "shadow", "gshadow"):
            text = read("/etc", name)
            write("".join(line for line in text.splitlines(True) if not line.startswith("kekd:")),
                  self.root.upper, "etc", name)
        unit = next(os.path.join(folder, "kekd.service")
                    for folder, _, names in os.walk(self.root.upper) if "kekd.service" in names)
        config = re.search(r"^ExecStart=.*--config (\S+)/kekd/kekd.yaml$", read(unit),
                           re.MULTILINE).group(1)
        if config != "/etc":
            os.makedirs(self.root.upper + config, exist_ok=True)
            os.symlink(config + "/kekd", self.root.upper + "/etc/kekd")
        for folder in ("/var/lib/softhsm", "/var/lib/softhsm/tokens"):
            self.root.hide(folder)

    def steps(self):
        """The blocks of the page, with a token in the HSM's place and the README's configuration."""
        blocks = documented_steps()
        self.assertEqual(len(blocks), 6)
        user, reach, pin, check, key, start = blocks
        write(documented_configuration(), self.root.upper, "steps/kekd.yaml")
        token = ("runuser -u kekd -- softhsm2-util --init-token --free --label kek-a --so-pin 5678 "
                 '--pin "$PIN"\ncp /steps/kekd.yaml /etc/kekd/kekd.yaml\n')
        return ("set -eux\nPIN=1234\n" + user + reach + pin + token + check + key +
                start.replace("kekctl kms status\n", WELL))

    def test_the_documented_steps_end_in_a_kekd_that_is_well(self):
        self.prepare()
        status = self.root.run(self.steps() + "systemctl restart kekd.service\n" + WELL +
                               "systemctl show -P User kekd.service\n" + ROTATES)
        self.assertEqual(status, "0", self.root.said())
        self.assertIn("\nkekd\n", self.root.said())
        self.assertRegex(self.root.said(), r"\n2 +pre-active ")

    def test_a_wrong_configuration_ends_the_socket_and_the_documented_steps_bring_it_back(self):
        self.prepare()
        status = self.root.run(self.steps() + GIVES_UP + "cp /steps/kekd.yaml /etc/kekd/kekd.yaml\n" +
                               documented_way_back() + WELL)
        self.assertEqual(status, "0", self.root.said())
        self.assertIn("\nservice exit-code 2\n", self.root.said())
        self.assertIn("\nsocket trigger-limit-hit\n", self.root.said())


def why_not():
    if os.geteuid() != 0:
        return "it needs root"
    for program in ("unshare", "softhsm2-util", "runuser", "systemctl", "usermod"):
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


if __name__ == "__main__":
    reason = why_not()
    if reason is not None:
        print(f"SKIP: {reason}: the documented installation was NOT tried")
        sys.exit(SKIPPED)
    unittest.main(verbosity=2)
