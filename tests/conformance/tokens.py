"""The tokens of the suite, each made from a Debian package in a folder of its own.

Kryoptic is not among them: it wants OpenSSL 3.2, and Debian 12 has 3.0.

A token is {name, uri, env, init_args, strategy, versions} and knows how a key gets onto it when the worker
cannot make one.  What cannot be had here is said loudly (SKIP, exit 77): a skip is no pass.
"""

import atexit
import contextlib
import glob
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time

SKIP = 77
PATIENCE = 60.0
LIBRARIES = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib")


def skip(reason):
    print("SKIP: %s: %s" % (os.path.basename(sys.argv[0]), reason), flush=True)
    sys.exit(SKIP)


def need(*programs):
    """Their paths; daemons stand where an ordinary user's PATH does not look."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    found = [shutil.which(name, path=path) for name in programs]
    for name, place in zip(programs, found):
        if place is None:
            skip("%s is not installed" % name)
    return found


def library(*names):
    for folder in LIBRARIES:
        for name in names:
            for path in glob.glob(os.path.join(folder, name)):
                return path
    skip("%s is not installed" % names[0])
    return None


def run(*command, env=None, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                          timeout=PATIENCE, env={**os.environ, **(env or {})}, **options)
    if done.returncode != 0:
        raise AssertionError("%s: exit %d: %s" % (" ".join(command), done.returncode, done.stdout))
    return done.stdout


def wait_for(condition, what, seconds=PATIENCE):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("waited %g s in vain for %s" % (seconds, what))
        time.sleep(0.02)


def rows_of(path, table):
    """The ids in a table of the token's database."""
    with contextlib.closing(sqlite3.connect("file:%s?mode=ro" % path, uri=True)) as database:
        return sorted(row[0] for row in database.execute("SELECT id FROM %s" % table))


class Token:
    """What all have. A folder that goes with the test, and the daemons that the token needs."""

    strategy = "auto"
    type = "pkcs11"
    init_args = ""
    # Checks for which there is nothing to try, and why.
    not_applicable = {
        **dict.fromkeys(("outage", "slow", "garbage"), "a module of this machine and no service; tests/faults has a module "
                        "that fails, hangs and ends at each call"),
        "credentials end": "a PIN has no end; `wrong PIN` has one that is refused",
        "clock off": "nothing that it is shown has a time in it",
        **dict.fromkeys(("disabled key", "destroy"), "`conformance` has it"),
    }

    def through_faults(self):
        """The same, reached so that its answers can be spoilt."""
        return self

    def settings(self):
        """The keys of its type."""
        found = {"uri": self.uri, "strategy": self.strategy}
        if self.init_args:
            found["init_args"] = self.init_args
        return found

    def __init__(self, name, module):
        self.name = name
        self.module = module
        self.env = {}
        self.versions = []
        self.daemons = []
        self.folder = tempfile.mkdtemp(prefix="kekd-%s-" % name)
        atexit.register(self.end)

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def write(self, name, text, mode=0o600):
        with open(os.open(self.path(name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w",
                  encoding="utf-8") as file:
            file.write(text)
        return self.path(name)

    def located(self, pin, **attributes):
        """Keeps the PIN in a file and the token's URI. Without a PIN, the URI has no pin-source."""
        where = ";".join("%s=%s" % item for item in attributes.items())
        self.uri = "pkcs11:%s?module-path=%s" % (where, self.module)
        self.pin = pin
        if pin is not None:
            self.pin_file = self.write("pin", pin)
            self.uri += "&pin-source=file:" + self.pin_file

    def daemon(self, *command):
        with open(self.path("daemons.log"), "ab") as log:
            # pylint: disable=consider-using-with
            child = subprocess.Popen(command, env={**os.environ, **self.env}, stdin=subprocess.DEVNULL,
                                     stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        self.daemons.append(child)
        return child

    def end(self):
        for child in reversed(self.daemons):
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
                try:
                    child.wait(10)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def objects(self):
        """What would show that something stayed on the token, where files show it."""
        return None

    def spare_keys(self):
        """Names for --existing-key, where kekctl conformance cannot make its keys; they are made now."""
        return []

    def make_audit_key(self, kek_id):
        """The same of the audit log's key; returns None where there is no such tool."""

    def make_key(self, number, kek_id):
        """By the token's own tools, where the worker cannot; returns the CKA_ID that it got."""
        raise NotImplementedError


class SoftHSM(Token):
    def __init__(self):
        util, = need("softhsm2-util")
        super().__init__("softhsm", library("softhsm/libsofthsm2.so"))
        os.mkdir(self.path("tokens"), 0o700)
        self.env["SOFTHSM2_CONF"] = self.write(
            "softhsm2.conf", "directories.tokendir = %s\nobjectstore.backend = file\n" % self.path("tokens"))
        run(util, "--init-token", "--free", "--label", "t1", "--so-pin", "12345678", "--pin", "1234",
            env=self.env)
        self.located("1234", token="t1")

    def objects(self):
        return sorted(name for _, _, names in os.walk(self.path("tokens")) for name in names)


class OpenCryptoki(Token):
    """Its paths are fixed, so it lives in namespaces of its own: the test runs itself again in them."""

    # /run holds its locks and its socket, /dev/shm what its processes share.
    PLACES = ("/var/lib/opencryptoki", "/run", "/dev/shm")
    FOLDERS = ("/var/lib/opencryptoki/swtok/TOK_OBJ", "/run/lock/opencryptoki/swtok", "/run/opencryptoki")
    CONFIGURATION = "/etc/opencryptoki/opencryptoki.conf"
    INSIDE = "KEKD_TEST_NAMESPACE"

    @classmethod
    def enter(cls):
        unshare, *_ = need("unshare", "mount", "pkcsslotd", "pkcsconf")
        if os.environ.get(cls.INSIDE) == "yes":
            return
        if os.geteuid() != 0:
            skip("not root: openCryptoki's fixed paths need namespaces of their own")
        probe = subprocess.run([unshare, "-m", "-i", "-n", "-p", "-f", "--mount-proc", "true"], check=False,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if probe.returncode != 0:
            skip("no namespaces to be had: %s" % probe.stdout.strip())
        os.environ[cls.INSIDE] = "yes"
        os.execv(unshare, [unshare, "-m", "-i", "-n", "-p", "-f", "--mount-proc", "--kill-child", "--",
                           sys.executable, "-B", *sys.argv])

    def __init__(self):
        self.enter()
        daemon, pkcsconf = need("pkcsslotd", "pkcsconf")
        super().__init__("opencryptoki", library("pkcs11/libopencryptoki.so"))
        for place in self.PLACES:
            run("mount", "-t", "tmpfs", "tmpfs", place)
        for place in self.FOLDERS:
            os.makedirs(place)
        for top in ("/var/lib/opencryptoki", "/run/lock/opencryptoki", "/run/opencryptoki"):
            for folder, _, _ in os.walk(top):
                shutil.chown(folder, group="pkcs11")
                os.chmod(folder, 0o770)
        one_slot = self.write("opencryptoki.conf",
                              "version opencryptoki-3.1\nslot 3\n{\nstdll = libpkcs11_sw.so\n}\n", 0o644)
        run("mount", "--bind", one_slot, self.CONFIGURATION)
        # The daemon leaves its parent; it ends with the namespace.
        run(daemon)
        wait_for(lambda: "Label" in self.conf(pkcsconf, "-t"), "pkcsslotd")
        run(pkcsconf, "-I", "-c", "3", "-S", "87654321", input="t1\n")
        run(pkcsconf, "-P", "-c", "3", "-S", "87654321", "-n", "12345678")
        run(pkcsconf, "-u", "-c", "3", "-S", "12345678", "-n", "1234567")
        self.located("1234567", token="t1")

    def objects(self):
        # Its list of them, once there was one; beside it stand files of its own.
        if not os.path.exists(os.path.join(self.FOLDERS[0], "OBJ.IDX")):
            return []
        with open(os.path.join(self.FOLDERS[0], "OBJ.IDX"), encoding="ascii") as index:
            return sorted(index.read().split())

    @staticmethod
    def conf(*command):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                              timeout=PATIENCE)
        return done.stdout if done.returncode == 0 else ""


class NSS(Token):
    def __init__(self, password="test1234", pin="test1234"):
        certutil, = need("certutil")
        super().__init__("nss", library("libsoftokn3.so", "nss/libsoftokn3.so"))
        os.mkdir(self.path("nssdb"), 0o700)
        # An empty password is none: such a database asks for no login.
        run(certutil, "-N", "-d", "sql:" + self.path("nssdb"), "-f", self.write("password", password + "\n"))
        # NSS takes its parameters as a string where the standard has pReserved.
        self.init_args = ("configdir='sql:%s' certPrefix='' keyPrefix='' secmod='secmod.db' flags="
                          % self.path("nssdb"))
        self.located(pin, token="NSS%20Certificate%20DB")

    def objects(self):
        return rows_of(self.path("nssdb", "key4.db"), "nssPrivate")


class TPM2(Token):
    """tpm2-pkcs11 over tpm2-abrmd over swtpm, on a message bus of its own."""

    INSIDE = "KEKD_TEST_BUS"

    @classmethod
    def enter(cls):
        bus, *_ = need("dbus-run-session", "swtpm", "tpm2-abrmd", "tpm2_ptool")
        if os.environ.get(cls.INSIDE) == "yes":
            return
        os.environ[cls.INSIDE] = "yes"
        os.execv(bus, [bus, "--", sys.executable, "-B", *sys.argv])

    def __init__(self):
        self.enter()
        swtpm, abrmd, self.ptool = need("swtpm", "tpm2-abrmd", "tpm2_ptool")
        super().__init__("tpm2", library("pkcs11/libtpm2_pkcs11.so"))
        os.mkdir(self.path("state"), 0o700)
        os.mkdir(self.path("store"), 0o700)
        self.env.update({"TPM2_PKCS11_STORE": self.path("store"), "TSS2_LOG": "all+NONE",
                         "TPM2_PKCS11_TCTI": "tabrmd:bus_type=session",
                         "TPM2TOOLS_TCTI": "tabrmd:bus_type=session"})
        self.daemon(abrmd, "--session", "--allow-root",
                    "--tcti=swtpm:host=127.0.0.1,port=%d" % self.start_tpm(swtpm))
        wait_for(self.answers, "tpm2-abrmd")
        run(self.ptool, "init", "--path", self.path("store"), env=self.env)
        run(self.ptool, "addtoken", "--pid=1", "--label=t1", "--sopin=sopin", "--userpin=userpin",
            "--path", self.path("store"), env=self.env)
        self.located("userpin", token="t1")

    def start_tpm(self, swtpm):
        """The TPM's port; its control channel is at the next one."""
        for _ in range(10):
            port = free_pair()
            child = self.daemon(swtpm, "socket", "--tpm2", "--tpmstate", "dir=" + self.path("state"),
                                "--server", "type=tcp,bindaddr=127.0.0.1,port=%d" % port,
                                "--ctrl", "type=tcp,bindaddr=127.0.0.1,port=%d" % (port + 1),
                                "--pid", "file=" + self.path("swtpm.pid"),
                                "--flags", "not-need-init,startup-clear")
            wait_for(lambda child=child: child.poll() is not None or os.path.exists(self.path("swtpm.pid")),
                     "swtpm")
            if child.poll() is None:
                return port
        raise AssertionError("swtpm found no two ports")

    def objects(self):
        return rows_of(self.path("store", "tpm2_pkcs11.sqlite3"), "tobjects")

    def answers(self):
        names = subprocess.run(["dbus-send", "--session", "--print-reply", "--dest=org.freedesktop.DBus", "/",
                                "org.freedesktop.DBus.ListNames"], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True, check=False, timeout=PATIENCE).stdout
        return "com.intel.tss2.Tabrmd" in names

    def make_key(self, number, kek_id):
        """The tool's key ids are text. The first key has a name of its own, which the configuration names;
        the others have the ring's."""
        name = kek_id.hex()[:16]
        label = "kek-1" if number == 1 else "ring.v%d" % number
        run(self.ptool, "addkey", "--algorithm=aes256", "--label=t1", "--userpin=userpin",
            "--key-label=" + label, "--id=" + name, "--path", self.path("store"), env=self.env)
        if number == 1:
            self.versions.append({"n": number, "label": label, "state": "active"})
        return name.encode()

    def spare_keys(self):
        labels = ["spare-1", "spare-2"]
        for label in labels:
            run(self.ptool, "addkey", "--algorithm=aes256", "--label=t1", "--userpin=userpin", "--key-label=" + label,
                "--path", self.path("store"), env=self.env)
        return labels

    def make_audit_key(self, kek_id):
        """Returns the CKA_ID that it got."""
        name = kek_id.hex()[:16]
        run(self.ptool, "addkey", "--algorithm=hmac:sha256", "--label=t1", "--userpin=userpin", "--key-label=ring.audit",
            "--id=" + name, "--path", self.path("store"), env=self.env)
        return name.encode()


def free_pair():
    """Two neighbouring ports that nobody listens on at the moment."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


ALL = {"softhsm": SoftHSM, "opencryptoki": OpenCryptoki, "nss": NSS, "tpm2": TPM2}
