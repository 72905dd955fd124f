"""A bad day, by numbers: faults in a seeded order under sustained v1 and v2 load in strict mode.

    chaos.py [--seed N] [--seconds S] [--clients N] [--json FILE]

Four acts, each with a kekd of its own:
    calm     nobody is hurt: how far apart two answers are on this machine now, and how long a start takes
    pair     two HSMs with the same keys, of which one at a time is lost or wrong: no call may fail
    worker   one HSM, two worker processes, of which one at a time dies, hangs, uses another key, sees
             none or only old ones: no call may fail
    outage   one HSM that goes away and comes back, a kekd that is killed and started anew: calls fail,
             by what an outage may answer alone, and full service is back within 2 s

Each act goes on until its time is up and every kind of fault has happened.  Every Decrypt is compared,
and everything that was ever sealed is opened by a fresh kekd in the end.  It leaves with 1 if an answer
was wrong, a ciphertext does not open, a call failed that may not, recovery took longer than 2 s (plus
what the machine itself took for a start in the calm or right after that recovery), memory grew, or a
process was left behind.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "interop"))
import rig as rigs  # noqa: E402
import traffic  # noqa: E402

RECOVERY = 2.0  # s, from the token's return to service for good
CALL = 10.0  # s, a client's deadline
GROWTH = 4 << 20  # bytes that kekd may be larger by at an act's end: its own ups and downs
RECYCLE = 32 << 20  # bytes of a worker's memory at which it is replaced
WORKER_MAX = RECYCLE + (16 << 20)  # what it may reach until it is looked at again
OUTAGE_SAYS = {"UNAVAILABLE", "DEADLINE_EXCEEDED"}
FAULT = os.path.join(rigs.TOP_BUILD, "tests", "faults", "fault.so")


class Failed(Exception):
    pass


def anonymous(pid):
    """RssAnon in bytes; 0 for a process that is gone."""
    with contextlib.suppress(OSError), open("/proc/%d/status" % pid, encoding="ascii") as file:
        for line in file:
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    return 0


class Control:
    """The fault module's control file (tests/faults/README.md): one line in it is one fault."""

    PAGE, RULES = 4096, 64 * 32

    def __init__(self, path):
        self.path = path

    def order(self, line):
        with open(self.path + ".new", "wb") as file:
            file.write((line + "\n").encode().ljust(self.PAGE, b"\0") + bytes(self.PAGE))
        os.rename(self.path + ".new", self.path)

    def done(self):
        """How often the line was carried out."""
        with open(self.path, "rb") as file:
            file.seek(self.PAGE + self.RULES)
            return struct.unpack("QQ", file.read(16))[1]

    def clear(self):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)


class Window:
    """A fault in force: from `begun` until service was seen to be whole again."""

    def __init__(self, kind):
        self.kind, self.begun, self.ended = kind, time.monotonic(), None
        self.returned = None  # when the cause was gone, where that is not kekd's own doing
        self.start_took = 0.0  # s, of a worker, right after it


class Clients:
    """Processes that call without pause, each with files of its own."""

    def __init__(self, act, count):
        self.stems = ["%s/%s.client%d" % (act.folder, act.name, i) for i in range(count)]
        program = os.path.join(os.path.dirname(HERE), "interop", "traffic.py")
        self.running = [
            subprocess.Popen([sys.executable, "-B", program, act.node.socket, stem, str(seed), str(CALL)])
            for seed, stem in enumerate(self.stems)]

    def stop(self):
        for process in self.running:
            process.terminate()
        codes = []
        for process in self.running:
            try:
                codes.append(process.wait(60))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                codes.append("no end")
        if any(codes):
            raise Failed("clients left with %s" % codes)

    def lines(self, suffix):
        for stem in self.stems:
            with open(stem + suffix, encoding="utf-8") as file:
                yield from file


class Act:
    """One kekd with its clients, its faults, and what became of them."""

    name = ""
    may_fail = frozenset()  # kinds of faults under which calls may
    options = {}
    faults = ()
    broken = True  # until it has come to its end

    def __init__(self, options, folder):
        self.folder = folder
        self.random = random.Random("%d %s" % (options.seed, self.name))
        self.windows, self.recoveries, self.peaks = [], {}, {"kekd": 0, "worker": 0}
        self.beyond = []  # of each recovery: s past RECOVERY and two starts right after it, kind, s in all
        self.deck = []
        self.wrong, self.unopened, self.failures = [], [], []
        self.good = self.sealed = self.growth = 0
        self.gap = self.end = self.start_took = 0.0
        self.node = rigs.Rig(**self.settings())
        tokens = [token for token in (self.node.token, self.node.twin) if token]
        self.controls = {token: Control("%s/fault-%d" % (self.node.folder, i))
                         for i, token in enumerate(tokens)}
        for entry, control in zip(self.node.config["providers"], self.controls.values()):
            entry["uri"] = entry["uri"].replace(rigs.SOFTHSM, FAULT)
            entry["env"]["KEK_FAULT_CONTROL"] = control.path
        self.node.write()

    def settings(self):
        return {"config": {"data_key": {"max_uses": 1}, "log": {"level": "info"},
                           "metrics": rigs.own_address()},
                "provider": {"timeout": "500ms", "start_timeout": "10s", "processes": 2,
                             "recycle_memory": "%dMiB" % (RECYCLE >> 20)}, **self.options}

    # Running.

    def run(self, seconds, clients):
        try:
            self.start()
            crowd = Clients(self, clients)
            try:
                time.sleep(min(1.0, seconds / 4))  # until its buffers have the size they need
                before = self.sample()
                end = time.monotonic() + seconds
                while time.monotonic() < end or {window.kind for window in self.windows} < set(self.faults):
                    self.pause(0.1, 0.4)
                    self.one_fault()
                self.growth = self.sample() - before
            finally:
                self.end = time.monotonic()
                crowd.stop()
            self.collect(crowd)
            self.stop()
            self.reopen(crowd)
            self.broken = False
        finally:
            self.node.cleanup(Ending(self))
        return self

    def start(self):
        begun = time.monotonic()
        self.node.start()
        self.whole()
        self.start_took = time.monotonic() - begun

    def stop(self):
        self.node.close_clients()
        self.node.stop()

    def pause(self, least, most):
        time.sleep(self.random.uniform(least, most))
        self.sample()

    def sample(self):
        mine = anonymous(self.node.kekd.pid)
        workers = [anonymous(pid) for pid in self.node.workers()]
        self.peaks["kekd"] = max(self.peaks["kekd"], mine)
        self.peaks["worker"] = max([self.peaks["worker"]] + workers)
        return mine

    def whole(self):
        """Waits until every provider has its workers."""
        def ready():
            try:
                metrics = self.node.metrics()
            except OSError:
                return False  # a kekd that is only just starting
            return all(metrics.get('kekd_hsm_workers_ready{provider="%s"}' % entry["name"]) == 2
                       for entry in self.node.config["providers"])
        rigs.wait_for(ready, "all workers")

    def one_fault(self):
        if not self.faults:
            return
        if not self.deck:  # each kind once before any comes again
            self.deck = self.random.sample(self.faults, len(self.faults))
        window = Window(self.deck.pop())
        self.windows.append(window)
        getattr(self, window.kind.replace(" ", "_"))(window)
        self.whole()
        window.ended = time.monotonic()
        if window.returned is not None:
            # kekctl starts a worker on the same token: what that takes now is the machine's doing.
            self.node.kekctl("key", "list")
            window.start_took = time.monotonic() - window.ended

    def token(self):
        return self.random.choice(list(self.controls))

    # The faults.

    def workers(self, token):
        """At least one: a worker that is just being replaced may leave none for a moment."""
        return rigs.wait_for(lambda: self.node.workers_of(token), "a worker")

    def worker_killed(self, _window):
        token = self.token()
        token.kill([self.random.choice(self.workers(token))])

    def all_workers_killed(self, _window):
        token = self.token()
        token.kill(self.workers(token))

    def worker_stopped(self, _window):
        self.freeze([self.random.choice(self.workers(self.token()))])

    def all_workers_stopped(self, _window):
        self.freeze(self.workers(self.token()))

    def freeze(self, pids):
        """Sometimes they come back before anybody has lost patience; and who has nothing to do is not
        missed, for a while."""
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        end = time.monotonic() + (2.0 if self.random.random() < 0.7 else 0.05)
        while time.monotonic() < end and set(pids) & set(self.node.workers()):
            time.sleep(0.02)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def order(self, line):
        self.hold(self.token(), line)

    def hold(self, token, line, least=0.0, most=0.0, patience=rigs.PATIENCE):
        """The line is in force until it was carried out, and for that time."""
        control = self.controls[token]
        control.order(line)
        try:
            rigs.wait_for(lambda: control.done() > 0, "\"%s\" to be carried out" % line, patience)
            if most > 0:
                self.pause(least, most)
        finally:
            control.clear()

    # A provider that comes second may have no traffic, but its keys are looked at each `refresh`.
    ANY_CALL = ("C_FindObjectsInit", "C_FindObjects", "C_GetAttributeValue")
    TRAFFIC = ("C_WrapKey", "C_UnwrapKey", "C_CreateObject", "C_DestroyObject") + ANY_CALL

    def function(self):
        return self.random.choice(self.TRAFFIC if len(self.controls) == 1 else self.ANY_CALL)

    def module_hangs(self, _window):
        self.order("%s 1 hang" % self.function())

    def module_crashes(self, _window):
        self.order("%s 1 %s" % (self.function(), self.random.choice(("abort", "segv"))))

    def module_loses_its_link(self, _window):
        self.order("%s 1 disconnect 30" % self.function())

    # A process that differs from its siblings, without an error to tell it by: of the provider that comes
    # first, since nobody asks the other one's.

    def worker_wrong(self, _window):
        """It uses another key under the KEK's name."""
        token, carried = next(iter(self.controls)), False
        while not carried:  # one that is just being replaced makes no call
            with contextlib.suppress(AssertionError):
                self.hold(token, "* every wrongkey 1 pid=%d" % self.random.choice(self.workers(token)), 0.5, 1.5,
                          patience=3.0)
                carried = True

    def provider_wrong(self, _window):
        self.hold(next(iter(self.controls)), "* every wrongkey 1", 0.5, 1.5)

    def worker_blind(self, _window):
        """It shows no key any more, though it goes on to use those that it has."""
        self.hold(next(iter(self.controls)), "* 1 blind 0 proc=0")

    def worker_caching(self, _window):
        """It shows for ever what it shows now."""
        self.hold(next(iter(self.controls)), "* 1 caching proc=0")

    def starts_blind(self, _window):
        """Who starts while this lasts shows no key, ever."""
        token = self.token()
        victim = self.random.choice(self.workers(token))
        control = self.controls[token]
        control.order("C_Initialize every blind 0")
        try:
            token.kill([victim])
            rigs.wait_for(lambda: control.done() > 0, "a blind start")
            self.pause(0.1, 0.8)
        finally:
            control.clear()

    def token_lost(self, _window):
        """One of two, or all there is."""
        with self.token().away():
            self.pause(0.3, 1.5)

    def token_away(self, window):
        self.token_lost(window)
        window.returned = time.monotonic()

    def kekd_killed(self, window):
        self.node.kill()
        window.returned = time.monotonic()
        self.node.spawn(activated=True)

    # What became of it.

    def kind_at(self, begun, ended):
        """The fault in force; of several, the last one under which calls may fail, or else the last."""
        kinds = [window.kind for window in reversed(self.windows)
                 if window.begun <= ended and begun <= (window.ended or self.end)]
        return next((kind for kind in kinds if kind in self.may_fail), kinds[0] if kinds else "none")

    def collect(self, crowd):
        ends = sorted(float(line.split()[1]) for line in crowd.lines(".good"))
        if len(ends) < 2:
            raise Failed("%s: no call has succeeded" % self.name)
        self.good = len(ends)
        for line in crowd.lines(".lines"):
            entry = json.loads(line)
            if "wrong" in entry:
                self.wrong.append(entry["wrong"])
            else:
                self.failures.append(entry)
        self.gap = max(after - before for before, after in zip(ends, ends[1:]))
        for window in self.windows:
            if window.returned is not None:
                spent = self.recovery(window, ends)
                self.recoveries.setdefault(window.kind, []).append(spent)
                self.beyond.append((spent - RECOVERY - 2 * window.start_took, window.kind, spent))

    def recovery(self, window, ends):
        """From the return of what was away to the first answer, or to the last failed call after it."""
        first = next((at for at in ends if at > window.returned), float("inf"))
        late = [entry["ended"] for entry in self.failures
                if window.returned < entry["ended"] <= window.ended]
        return max([first] + late) - window.returned

    def reopen(self, crowd):
        """Everything that was sealed, by a kekd that has seen none of it."""
        if self.node.listener is not None:
            self.node.listener.close()
            self.node.listener = None
            os.unlink(self.node.socket)
        self.node.start()
        running = []

        def take():
            sealed, call = running.pop(0)
            try:
                plain = rigs.kms.one(rigs.kms.fields(call.result()), 1)
            except rigs.grpc.RpcError as error:
                self.unopened.append("%s: %s" % (error.code().name, error.details()))
                return
            if plain != sealed.plain:
                self.wrong.append("a fresh kekd opened a ciphertext to something else")

        with self.node.client(timeout=60) as client:
            for line in crowd.lines(".sealed"):
                sealed = traffic.Sealed.parse(line)
                self.sealed += 1
                running.append((sealed, client.begin(*sealed.request())))
                if len(running) == 64:
                    take()
            while running:
                take()
        self.stop()

    def table(self):
        rows = []
        for kind in sorted({window.kind for window in self.windows}) + ["none"]:
            codes = {}
            for entry in self.failures:
                if self.kind_at(entry["begun"], entry["ended"]) == kind:
                    codes[entry["code"]] = codes.get(entry["code"], 0) + 1
            times = sum(window.kind == kind for window in self.windows)
            if times or codes:
                rows.append({"act": self.name, "fault": kind, "times": times, "failed": codes,
                             "recovery_s": max(self.recoveries.get(kind, []), default=None)})
        return rows

    def troubles(self, slack):
        """What is wrong with this act, a line each."""
        for text in sorted(set(self.wrong)):
            yield "wrong answer (%d): %s" % (self.wrong.count(text), text)
        for text in sorted(set(self.unopened)):
            yield "%d ciphertexts do not open: %s" % (self.unopened.count(text), text)
        for entry in self.failures:
            kind = self.kind_at(entry["begun"], entry["ended"])
            if kind not in self.may_fail or entry["code"] not in OUTAGE_SAYS:
                yield "%s failed under \"%s\" after %.2f s: %s: %s" % (
                    entry["method"], kind, entry["ended"] - entry["begun"], entry["code"],
                    entry["details"])
        for beyond, kind, spent in self.beyond:
            if beyond > slack:
                yield "recovery from \"%s\" took %.2f s" % (kind, spent)
        if self.growth > GROWTH and not rigs.sanitized():
            yield "kekd grew by %d KiB" % (self.growth >> 10)
        if self.peaks["worker"] > WORKER_MAX and not rigs.sanitized():
            yield "a worker had %d MiB" % (self.peaks["worker"] >> 20)


class Ending:
    """What a rig's cleanup asks of a test."""

    def __init__(self, act):
        self.act = act

    def failing(self):
        return self.act.broken

    def name(self):
        return "chaos, %s" % self.act.name


class Calm(Act):
    name = "calm"


class Pair(Act):
    name = "pair"
    options = {"pair": True}
    faults = ("worker killed", "all workers killed", "worker stopped", "all workers stopped",
              "module hangs", "module crashes", "module loses its link", "token lost", "worker wrong",
              "provider wrong", "worker blind", "worker caching")


class Worker(Act):
    name = "worker"
    faults = ("worker killed", "worker stopped", "module hangs", "module crashes",
              "module loses its link", "worker wrong", "worker blind", "starts blind", "worker caching")


class Outage(Act):
    name = "outage"
    faults = ("token away", "kekd killed", "all workers killed")
    may_fail = frozenset({"token away", "kekd killed"})

    def start(self):
        self.node.listen()  # as a service manager does: it outlives kekd
        self.node.start(activated=True)
        self.whole()

    def sample(self):
        super().sample()
        return 0  # a fresh kekd after each kill: its growth is the other acts' matter


def arguments():
    parser = argparse.ArgumentParser(description="chaos under load; see the top of this file")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--json", metavar="FILE")
    return parser.parse_args()


def say(acts, slack, troubles):
    print("\n%-7s %-22s %5s  %-34s %s" % ("act", "fault", "times", "failed calls", "recovery"))
    for row in (row for act in acts for row in act.table()):
        failed = ", ".join("%d %s" % (n, code) for code, n in sorted(row["failed"].items())) or "0"
        spent = "" if row["recovery_s"] is None else "%.2f s" % row["recovery_s"]
        print("%-7s %-22s %5d  %-34s %s" % (row["act"], row["fault"], row["times"], failed, spent))
    print("\n%-7s %9s %7s %6s %9s %8s %11s %12s %11s" % (
        "act", "calls", "failed", "wrong", "reopened", "gap ms", "grown KiB", "kekd MiB", "worker MiB"))
    for act in acts:
        print("%-7s %9d %7d %6d %9d %8.0f %11d %12.1f %11.1f" % (
            act.name, act.good + len(act.failures), len(act.failures), len(act.wrong), act.sealed,
            act.gap * 1e3, act.growth >> 10, act.peaks["kekd"] / 2**20, act.peaks["worker"] / 2**20))
    print("\nrecovery may take %.1f s and what this machine needs by itself, %.2f s" % (RECOVERY, slack))
    for text in troubles:
        print("TROUBLE: " + text)
    sys.stdout.flush()


def report(options, acts, slack, troubles):
    return {"seed": options.seed, "seconds": options.seconds, "clients": options.clients,
            "slack_s": slack, "troubles": troubles,
            "faults": [row for act in acts for row in act.table()],
            "acts": [{"act": act.name, "calls": act.good + len(act.failures),
                      "failed": len(act.failures), "wrong": len(act.wrong), "reopened": act.sealed,
                      "unopened": len(act.unopened), "longest_gap_s": act.gap,
                      "kekd_growth_bytes": act.growth, "kekd_peak_bytes": act.peaks["kekd"],
                      "worker_peak_bytes": act.peaks["worker"]} for act in acts]}


def main():
    options = arguments()
    rigs.need_root("which worker belongs to which token")
    print("chaos: --seed %d --seconds %g --clients %d" % (options.seed, options.seconds, options.clients),
          flush=True)
    acts, troubles = [], []
    with tempfile.TemporaryDirectory(prefix="kekd-chaos-") as folder:
        for kind, share in ((Calm, 0.1), (Pair, 0.35), (Worker, 0.25), (Outage, 0.3)):
            acts.append(kind(options, folder).run(options.seconds * share, options.clients))
        slack = 4 * acts[0].gap + 2 * acts[0].start_took
        for act in acts:
            troubles += ["%s: %s" % (act.name, text) for text in act.troubles(slack)]
    say(acts, slack, troubles)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(report(options, acts, slack, troubles), file, indent=1)
            file.write("\n")
    return 1 if troubles else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except rigs.unittest.SkipTest as skip:
        print(skip)
        sys.exit(rigs.SKIP)
