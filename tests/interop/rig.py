"""A kekd on a throw-away SoftHSM token, for one test.

A Rig owns a folder: token, PIN file, configuration, socket, state and logs.  It makes the first key
with kekctl, starts kekd from the build tree, and says when it serves.  It ends kekd by SIGTERM and
then insists: exit code 0, no process of kekd's session left, no socket, no temporary file.  When a
test fails, the folder's configuration and logs are printed.  Nothing outside the folder is touched, and
a test that is interrupted or told to end leaves neither processes nor folders.
"""

import atexit
import contextlib
import itertools
import json
import os
import random
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request

# What a test takes from here is also theirs.
from proc import PATIENCE, freeze, kill, processes, wait_for  # noqa: F401
from softhsm import SOFTHSM, TOP_SRC, Spy, Token, Twin, spy_module  # noqa: F401

TOP_BUILD = os.environ.get("abs_top_builddir") or os.getcwd()
SKIP = 77  # what automake takes as "skipped"

try:
    import grpc
except ImportError:
    print("SKIP: python3-grpcio is missing: the C-core client's tests did not run (%s)"
          % os.path.basename(sys.argv[0]), flush=True)
    sys.exit(SKIP)

import kms  # noqa: E402  (needs grpc)


def program(name):
    return os.path.join(TOP_BUILD, name)


def sanitized():
    with open(program("kekd"), "rb") as file:
        return b"__asan_init" in file.read()


def need_root(what):
    if os.geteuid() != 0:
        raise unittest.SkipTest("SKIP: not root: %s was not tested" % what)


def yaml_lines(value, indent=0):
    pad = " " * indent
    for key, item in value.items():
        if item == {}:
            yield "%s%s: {}" % (pad, key)
        elif isinstance(item, dict):
            yield "%s%s:" % (pad, key)
            yield from yaml_lines(item, indent + 2)
        elif isinstance(item, list) and item and isinstance(item[0], dict):
            yield "%s%s:" % (pad, key)
            for entry in item:
                lines = list(yaml_lines(entry, indent + 4))
                yield "%s  - %s" % (pad, lines[0].lstrip())
                yield from lines[1:]
        elif isinstance(item, list):
            yield "%s%s: [%s]" % (pad, key, ", ".join(map(yaml_scalar, item)))
        else:
            yield "%s%s: %s" % (pad, key, yaml_scalar(item))


def yaml_scalar(item):
    text = str(item)
    if re.fullmatch(r"[A-Za-z0-9/][A-Za-z0-9_./:@-]*", text):
        return text
    return '"%s"' % text.replace("\\", "\\\\").replace('"', '\\"')


class ServiceManager:
    def __init__(self, ear):
        self.ear = ear

    def heard(self):
        """What was said since the last time."""
        words = []
        with contextlib.suppress(BlockingIOError):
            while True:
                words.append(self.ear.recv(65536).decode())
        return words


class Rig:
    """config: overrides of kekd.yaml's top level, merged where both are maps. provider: overrides of
    the one provider (or of each, where `providers` names several). pair: a second provider, hsm-b, on
    self.twin, which holds the same keys."""

    def __init__(self, test=None, token=None, config=None, provider=None, spy=False, generate=True,
                 label="kek-test", user=None, name="kekd", pair=False):
        self.kekd = None
        self.listener = None
        self.clients = []
        self.runs = 0
        LIVE.add(self)
        self.programs = ""  # a folder of the build tree that has others by the same names
        self.env = {}  # more of kekd's environment
        self.folder = tempfile.mkdtemp(prefix="kekd-test-")
        os.chmod(self.folder, 0o755)
        self.user = user
        self.owns_token = token is None
        if test is not None:
            test.addCleanup(self.cleanup, test)
        self.token = token or Token(self.folder + "/hsm", label)
        self.socket = self.folder + "/kms.sock"
        self.state = self.folder + "/state"
        os.mkdir(self.state, 0o700)
        self.log_path = "%s/%s.log" % (self.folder, name)
        self.path = "%s/%s.yaml" % (self.folder, name)
        self.spy = Spy(self.folder + "/spy.log") if spy else None
        self.config = {
            "listen": "unix://" + self.socket,
            "keyring": "k8s-test",
            "context": "interop",
            "refresh": "1s",
            "state_dir": self.state,
            "providers": [self.provider("hsm-a", self.token)],
            "log": {"level": "debug"},
        }
        self.merge(config or {})
        for entry in self.config["providers"]:
            entry.update(provider or {})
        if generate:
            self.write()
            self.kekctl("key", "generate", check=True)
        self.twin = None
        if pair:
            self.twin = Twin(self.token, self.folder + "/twin")
            self.config["providers"].append(dict(self.provider("hsm-b", self.twin), **(provider or {})))
        if spy:
            module = spy_module()
            for entry in self.config["providers"]:
                entry["uri"] = re.sub(r"module-path=[^&]*", "module-path=" + module, entry["uri"])
                entry["env"].update(PKCS11SPY=SOFTHSM, PKCS11SPY_OUTPUT=self.spy.path)
        self.write()
        if user is not None:
            self.give_to(user)

    @staticmethod
    def provider(name, token):
        return {"name": name, "type": "pkcs11", "uri": token.uri, "timeout": "5s",
                "env": {"SOFTHSM2_CONF": token.conf}}

    def merge(self, overrides):
        for key, value in overrides.items():
            if value is None:
                self.config.pop(key, None)
            elif isinstance(value, dict) and isinstance(self.config.get(key), dict):
                self.config[key].update(value)
            else:
                self.config[key] = value

    def write(self, **overrides):
        self.merge(overrides)
        with open(self.path, "w", encoding="ascii") as file:
            file.write("\n".join(yaml_lines(self.config)) + "\n")

    def give_to(self, user):
        entry = pwd.getpwnam(user)
        for where, folders, files in os.walk(self.folder):
            for name in ["."] + folders + files:
                os.chown(os.path.join(where, name), entry.pw_uid, entry.pw_gid)

    def kekctl(self, *arguments, check=False, timeout=PATIENCE, **options):
        done = subprocess.run([program(self.programs + "kekctl"), "--config", self.path, *arguments],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout,
                              check=False, **options)
        if check and done.returncode != 0:
            raise AssertionError("kekctl %s: exit %d: %s" % (
                " ".join(arguments), done.returncode, done.stderr.decode(errors="replace")))
        return done

    # Starting.

    def announced_before(self, seconds):
        """Has the record say that the key was announced so long ago, for kekctl reencrypt, which waits for API servers."""
        path = "%s/%s.json" % (self.config["state_dir"], self.config["keyring"])
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
        record["primary"]["announced_ms"] = int(1000 * (time.time() - seconds))
        was = os.stat(path)
        with open(path + ".next", "w", encoding="utf-8") as file:
            json.dump(record, file)
        os.chmod(path + ".next", was.st_mode)
        with contextlib.suppress(PermissionError):
            os.chown(path + ".next", was.st_uid, was.st_gid)
        os.replace(path + ".next", path)

    def spawn(self, activated=False, shell=None):
        """Starts kekd and returns at once. shell: a line of sh that becomes it, by exec "$0" "$@"."""
        assert self.kekd is None, "kekd is running already"
        assert self in LIVE, "this rig has ended"
        command = [program(self.programs + "kekd"), "--config", self.path]
        if shell is not None:
            command = ["sh", "-c", shell] + command
        options = {"env": dict(os.environ, **self.env)}
        if activated:
            command = [sys.executable, "-c", LAUNCHER, str(self.listener.fileno())] + command
            options["pass_fds"] = [self.listener.fileno()]
        if self.user is not None:
            entry = pwd.getpwnam(self.user)
            options.update(user=entry.pw_uid, group=entry.pw_gid, extra_groups=[])
        self.runs += 1
        with open(self.log_path, "ab") as log:
            log.write(b"--- run %d\n" % self.runs)
            log.flush()
            # A session of its own: whoever is left of it later is kekd's.
            self.kekd = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                         start_new_session=True, cwd="/", **options)
        return self

    def listen(self):
        """The listening socket that a service manager would keep."""
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.socket)
        self.listener.listen(64)

    def serving(self):
        """Waits until kekd takes connections, whatever it answers."""
        def connects():
            if self.kekd.poll() is not None:
                raise AssertionError("kekd ended with %d instead of serving" % self.kekd.returncode)
            with socket.socket(socket.AF_UNIX) as probe:
                try:
                    probe.connect(self.socket)
                except OSError:
                    return False
                return True
        wait_for(connects, "kekd's socket")
        return self

    def good(self):
        """Waits for the first good Status and returns it."""
        self.serving()
        client = self.client()
        try:
            def answers():
                try:
                    return client.status()
                except grpc.RpcError as error:
                    if self.kekd.poll() is not None:
                        raise AssertionError("kekd ended with %d" % self.kekd.returncode) from error
                    return None
            return wait_for(answers, "a good Status")
        finally:
            client.close()

    def settled(self):
        """Waits until every worker has its sessions, which it opens once it has logged in: before that it
        may still be a copy of kekd, or another user's.  And SoftHSM rewrites its token at each login: a
        worker killed in one may take the token along."""
        wanted = sum(entry.get("processes", 2) for entry in self.config["providers"])
        sessions = min(entry.get("sessions", 4) for entry in self.config["providers"])

        def ready():
            threads = []
            for pid in self.workers():
                with contextlib.suppress(OSError):
                    threads.append(len(os.listdir("/proc/%d/task" % pid)))
            return len(threads) >= wanted and min(threads) >= sessions
        wait_for(ready, "all workers")

    def start(self, **options):
        self.spawn(**options)
        self.good()
        self.settled()
        return self

    def client(self, **options):
        client = kms.Client(self.socket, **options)
        self.clients.append(client)
        return client

    # What there is to see.

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def log_to_journal(self):
        """What systemd says to a service whose standard error is the journal; here that is the log file."""
        with open(self.log_path, "ab") as file:
            at = os.fstat(file.fileno())
        self.env["JOURNAL_STREAM"] = "%d:%d" % (at.st_dev, at.st_ino)

    @contextlib.contextmanager
    def service_manager(self):
        """Somebody who listens to sd_notify(3), as systemd does for a service of Type=notify."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as ear:
            ear.bind(self.folder + "/notify")
            self.env["NOTIFY_SOCKET"] = self.folder + "/notify"
            yield ServiceManager(ear)
        del self.env["NOTIFY_SOCKET"]

    def wait_log(self, pattern, seconds=PATIENCE):
        return wait_for(lambda: re.search(pattern, self.log()), "%r in the log" % pattern, seconds)

    def workers(self):
        """Pids of the worker processes, oldest first."""
        found = [(process.started, process.pid) for process in processes()
                 if process.parent == self.kekd.pid and process.state != "Z"]
        return [pid for _, pid in sorted(found)]

    def page(self, path):
        """(HTTP status, text) of one of kekd's own pages."""
        try:
            with urllib.request.urlopen("http://%s%s" % (self.config["metrics"], path), timeout=10) as page:
                return page.status, page.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def workers_of(self, token):
        """Pids of the workers on this token, oldest first. Needs root: a worker shows its environment to
        nobody else."""
        wanted = b"SOFTHSM2_CONF=" + token.conf.encode()
        found = []
        for pid in self.workers():
            with contextlib.suppress(OSError), open("/proc/%d/environ" % pid, "rb") as file:
                if wanted in file.read().split(b"\0"):
                    found.append(pid)
        return found

    def metrics(self):
        """Every sample: {"name{labels}": value}."""
        text = self.page("/metrics")[1]
        samples = {}
        for line in text.splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                samples[name] = float(value)
        return samples

    def metric(self, name):
        """The sum over all labels."""
        found = [value for sample, value in self.metrics().items()
                 if sample == name or sample.startswith(name + "{")]
        assert found, "no metric %s" % name
        return sum(found)

    # Stopping.

    def signal(self, number=signal.SIGTERM):
        os.kill(self.kekd.pid, number)

    def close_clients(self):
        for client in self.clients:
            client.close()
        self.clients = []

    def stop(self):
        """SIGTERM, and everything must be gone."""
        self.signal()
        self.ended()

    def ended(self, code=0):
        """Waits for kekd's end after a SIGTERM, and insists on a clean one."""
        kekd = self.kekd
        try:
            got = kekd.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError("kekd did not end on SIGTERM") from None
        self.kekd = None
        if got != code:
            raise AssertionError("kekd ended with %d, not %d" % (got, code))
        self.nobody_left(kekd.pid)
        if self.listener is None and os.path.lexists(self.socket):
            raise AssertionError("kekd left its socket behind")
        for where in (self.folder, self.state):
            for name in os.listdir(where):
                if re.search(r"tmp|^core|\.new$|~$", name):
                    raise AssertionError("left behind: %s/%s" % (where, name))

    @staticmethod
    def nobody_left(session):
        def gone():
            return not [p for p in processes() if p.session == session and p.state != "Z"]
        wait_for(gone, "the last process of kekd's session to end")

    def kill(self):
        """kill -9; the workers follow by themselves."""
        kekd = self.kekd
        kekd.kill()
        kekd.wait()
        self.kekd = None
        self.nobody_left(kekd.pid)

    def cleanup(self, test):
        """Ends what is left and removes the folder; test says whether and under which name to tell."""
        try:
            self.close_clients()
            self.end()
            if self.listener is not None:
                self.listener.close()
            if test.failing():
                self.tell(test.name())
        finally:
            self.remove()

    def end(self):
        if self.kekd is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.kekd.pid, signal.SIGKILL)
            self.kekd.wait()

    def remove(self):
        LIVE.discard(self)
        shutil.rmtree(self.folder, ignore_errors=True)

    def tell(self, name):
        print("\n===== %s: configuration and log" % name)
        for path in (self.path, self.log_path):
            with contextlib.suppress(OSError), open(path, errors="replace", encoding="utf-8") as file:
                lines = file.read().splitlines()
                print("----- %s" % path)
                print("\n".join(lines if len(lines) <= 120 else lines[:30] + ["[...]"] + lines[-90:]))
        sys.stdout.flush()


# What a service manager does before exec: the socket on descriptor 3, and whom it is for.
LAUNCHER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""


LIVE = set()  # rigs that are not removed yet


@atexit.register
def end_all():
    while LIVE:
        node = LIVE.pop()
        node.end()
        node.remove()


# As an interruption from the terminal: unittest lets that one through, and atexit's turn comes.
for told in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(told, signal.default_int_handler)


def side_by_side(run, nodes):
    """run(node) for each at once, until all have returned; what one of them raises is raised here."""
    raised = []

    def guarded(node):
        try:
            run(node)
        except BaseException as error:  # pylint: disable=broad-except
            raised.append(error)

    threads = [threading.Thread(target=guarded, args=(node,), daemon=True) for node in nodes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]


PORTS = itertools.count(random.randrange(10000, 20000))  # below those that are given to anybody who asks


def json_lines(path):
    """The objects in a file that is written on, one a line; a line whose end is not there yet is none."""
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.endswith("\n")]


def own_address():
    """Where nobody else listens, now or later: a host of this process alone, and each time another port."""
    pid = os.getpid()
    return "127.%d.%d.%d:%d" % (64 | pid >> 16 & 63, pid >> 8 & 255, pid & 255, next(PORTS))


class Case(unittest.TestCase):
    """A test with rigs."""

    def rig(self, **options):
        return Rig(self, **options)

    def failing(self):
        result = self._outcome.result
        return any(getattr(case, "test_case", case) is self
                   for case, _ in result.failures + result.errors)

    def name(self):
        return self.id()

    def refused(self, code, call, *arguments, **options):
        """Insists that the call fails with this gRPC status; returns its message."""
        with self.assertRaises(grpc.RpcError) as caught:
            call(*arguments, **options)
        error = caught.exception
        self.assertEqual(error.code(), code, error.details())
        return error.details()

    @staticmethod
    def mode(path):
        return stat.S_IMODE(os.stat(path).st_mode)


class SharedCase(Case):
    """Tests that share one kekd, self.node, which must be as good after them as before."""

    settings = {}  # of the Rig
    failed = False

    @classmethod
    def setUpClass(cls):
        cls.node = None
        holder = Holder(cls)
        cls.addClassCleanup(lambda: holder.node is None or holder.node.cleanup(holder))
        holder.node = cls.node = Rig(**cls.settings)
        cls.node.start()
        holder.started = True

    @classmethod
    def tearDownClass(cls):
        cls.node.close_clients()
        cls.node.stop()

    def run(self, result=None):
        before = len(result.failures) + len(result.errors)
        outcome = super().run(result)
        if len(result.failures) + len(result.errors) > before:
            type(self).failed = True
        return outcome


class Holder:
    """What a shared rig asks at its end: did anything fail?"""

    def __init__(self, cls):
        self.cls, self.node, self.started = cls, None, False

    def failing(self):
        return self.cls.failed or not self.started or self.node.kekd is not None

    def name(self):
        return self.cls.__qualname__


def main():
    for name in ("kekd", "kekctl"):
        if not os.path.exists(program(name)):
            print("%s is not built in %s" % (name, TOP_BUILD))
            sys.exit(1)
    unittest.main(verbosity=2)
