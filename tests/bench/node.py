"""A SoftHSM token and a kekd on it, in folders of their own, for the benchmark."""
import copy
import itertools
import json
import os
import random
import signal
import subprocess
import threading
import time
import urllib.request

KEYRING = "bench"
TOKEN = "kek-bench"
LATENCY_MS = 5  # of a network HSM, about
DATA_KEYS = 4  # under which a cold start's ciphertexts were made, at least


class Failed(Exception):
    """Something could not be measured, or an answer was wrong."""


def run(command, **options):
    """A program's standard output."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              timeout=600, check=False, **options)
    except subprocess.TimeoutExpired as late:
        raise Failed(f"{command[0]}: no end in 600 s") from late
    if done.returncode != 0:
        raise Failed(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stderr}")
    return done.stdout


class Token:
    """A SoftHSM token with a keyring of one version, and what it takes to use it."""

    def __init__(self, source, folder):
        lines = run([f"{source}/softhsm-conf/make-token.sh", f"{folder}/token", TOKEN]).splitlines()
        self.softhsm2_conf = lines[0].partition("=")[2]
        self.uri = lines[1].partition("=")[2]
        query = dict(part.split("=", 1) for part in self.uri.partition("?")[2].split("&"))
        self.module = query["module-path"]
        self.pin_file = query["pin-source"].removeprefix("file:")
        self.env = {"SOFTHSM2_CONF": self.softhsm2_conf}

    def provider(self, name):
        """What stands below `providers:` for it."""
        return (f"  - name: {name}\n    type: pkcs11\n    uri: \"{self.uri}\"\n"
                f"    env: {json.dumps(self.env)}\n")

    def slowed(self, build, folder):
        """The same token behind the fault module, where each wrap and unwrap takes LATENCY_MS more."""
        slow = copy.copy(self)
        control = f"{folder}/slow"
        text = "".join(f"{call} every delay {LATENCY_MS}\n" for call in ("C_WrapKey", "C_UnwrapKey"))
        with open(control, "wb") as file:
            file.write(text.encode().ljust(8192, b"\0"))
        slow.uri = self.uri.replace(self.module, f"{build}/tests/faults/fault.so")
        slow.env = {**self.env, "KEK_FAULT_CONTROL": control}
        return slow


class Kekd:
    """A kekd process on its own folder; its workers are its children."""

    def __init__(self, build, token, folder, settings="", provider=""):
        """`token`: one, or what stands below `providers:`; `settings` and `provider`: lines that are added."""
        os.makedirs(f"{folder}/state", mode=0o700, exist_ok=True)
        self.build, self.folder, self.process = build, folder, None
        self.socket, self.config = f"{folder}/kms.sock", f"{folder}/kekd.yaml"
        self.address = own_address()
        providers = token if isinstance(token, str) else token.provider("softhsm")
        with open(self.config, "w", encoding="ascii") as file:
            file.write(
                f"listen: unix://{self.socket}\nkeyring: {KEYRING}\ncontext: bench\n"
                f"state_dir: {folder}/state\nmetrics: {self.address}\n"
                f"log: {{level: warn}}\n{settings}providers:\n{providers}{provider}")

    def generate(self, *options):
        run([f"{self.build}/kekctl", "--config", self.config, *options, "key", "generate"])

    def start(self):
        """Starts it; returns milliseconds from there to the first good Status."""
        waiter = subprocess.Popen(
            [f"{self.build}/tests/bench/load", "--socket", self.socket, "--wait", "60"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        log = open(f"{self.folder}/kekd.log", "ab")
        started = time.monotonic_ns()
        self.process = subprocess.Popen([f"{self.build}/kekd", "--config", self.config],
                                        stdin=subprocess.DEVNULL, stderr=log)
        log.close()
        try:
            out, err = waiter.communicate(timeout=90)
        except subprocess.TimeoutExpired:
            waiter.kill()
            out, err = waiter.communicate()
        if waiter.returncode != 0:
            raise Failed(f"kekd gave no good Status: {err}{self.log_tail()}")
        return (json.loads(out)["answered_ns"] - started) / 1e6

    def stop(self):
        if self.process is None:
            return
        process, self.process = self.process, None
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise Failed("kekd did not leave within 60 s of SIGTERM") from None
        if code != 0:
            raise Failed(f"kekd left with {code}{self.log_tail()}")

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            self.stop()
        except Failed:
            if kind is None:
                raise

    def log_tail(self):
        with open(f"{self.folder}/kekd.log", encoding="utf-8", errors="replace") as file:
            return "\n" + "".join(file.readlines()[-10:])

    def load(self, method, calls, streams=1, **options):
        command = [f"{self.build}/tests/bench/load", "--socket", self.socket, "--method", method,
                   "--calls", str(calls), "--streams", str(streams)]
        for name, value in options.items():
            command += [f"--{name}"] if value is True else [f"--{name}", str(value)]
        cpu = cpu_seconds(self.process.pid)
        result = json.loads(run(command))
        spent = cpu_seconds(self.process.pid) - cpu
        result["server_cpu_us"] = spent / (calls + options.get("warmup", 0)) * 1e6
        result["client_cpu_us"] = result["client_cpu"] / calls * 1e6
        return result

    def seal_lots(self, folder, items):
        """The files of `items` v1 ciphertexts, under a data key each."""
        lots = []
        for lot in range(DATA_KEYS):
            self.start()
            lots.append(f"{folder}/lot{lot}")
            self.load("encrypt", items // DATA_KEYS, streams=64, v1=True, save=lots[-1])
            self.stop()
        return lots

    def open_cold(self, lots, items, streams):
        """(seconds, unwraps) of a kekd that just started and opens all of them."""
        self.start()
        before = self.metric("kekd_datakey_unwraps_total")
        if before is None:
            raise Failed("kekd shows no kekd_datakey_unwraps_total")
        spent = sum(self.load("decrypt", items // len(lots), streams=streams, v1=True,
                              **{"from": lot})["seconds"] for lot in lots)
        unwraps = self.metric("kekd_datakey_unwraps_total") - before
        self.stop()
        return spent, unwraps

    def workers(self):
        children = []
        for name in os.listdir("/proc"):
            if name.isdigit() and parent_of(name) == self.process.pid:
                children.append(int(name))
        return children

    def settled_workers(self, want):
        """The workers' pids once there are `want` of them and their memory stands still."""
        last = None
        for _ in range(600):
            pids = self.workers()
            now = [anonymous(pid) for pid in pids]
            if len(pids) >= want and now == last:
                return pids
            last = now
            time.sleep(0.1)
        raise Failed(f"kekd has {len(self.workers())} workers, not {want}")

    def metric(self, name):
        """The sum over a metric's labels; None if kekd shows no such metric."""
        with urllib.request.urlopen(f"http://{self.address}/metrics", timeout=60) as answer:
            text = answer.read().decode("utf-8")
        values = [float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
                  if line.split("{")[0].split(" ")[0] == name]
        return sum(values) if values else None


PORTS = itertools.count(random.randrange(10000, 20000))  # below those that are given to anybody who asks


def own_address():
    """Where nobody else listens: a host of this process alone, and each time another port."""
    pid = os.getpid()
    return f"127.{64 | pid >> 16 & 63}.{pid >> 8 & 255}.{pid & 255}:{next(PORTS)}"


def parent_of(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except OSError:
        return None  # it has left


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def anonymous(pid):
    """RssAnon in bytes; 0 for a process that has left."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("RssAnon:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


class Peak(threading.Thread):
    """The largest RssAnon of any worker while it runs, looked at four times a second."""

    def __init__(self, kekd):
        super().__init__(daemon=True)
        self.kekd, self.bytes, self.over = kekd, 0, threading.Event()

    def look(self):
        self.bytes = max([self.bytes] + [anonymous(pid) for pid in self.kekd.workers()])

    def run(self):
        while not self.over.wait(0.25):
            self.look()

    def __exit__(self, *_):
        self.look()
        self.over.set()
        self.join()

    def __enter__(self):
        self.start()
        return self
