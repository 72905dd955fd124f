"""What the tests of wrong workers share: traffic that knows when it was answered, who is told to be wrong, and
what must be true in the end.

A worker that is wrong uses another AES key under the KEK's handle, label and CKA_ID (tests/faults/README.md,
wrongkey): the member of an HA group that a library failed over to, a restored token, handles numbered anew.
Whatever it does, each Encrypt that was answered must open once good workers are back, and no ciphertext that was
answered may ever be called damaged.
"""

import contextlib
import os
import threading
import time

import fault as faults
import rig as rigs
import traffic
from grpc import RpcError

MODES = {"default": {}, "20 uses": {"max_uses": 20}, "strict": {"max_uses": 1}}
# Strategy, the call that the token refuses at the first start so often that the algorithm of that number is taken.
ALGORITHMS = {"KW": ("wrap-key", "", (0,), 1), "KWP": ("wrap-key", "C_WrapKey", (2, 1, 3, 4), 2),
              "GCM": ("encrypt", "", (0,), 3), "CBC": ("encrypt", "C_EncryptInit", (8, *range(4, 16)), 4)}
LOOK = 1.0  # s, `refresh`
# A good worker has to be the one that answers within 1 s; what a busy machine adds is not kekd's doing.
GAP = 5.0
KINDS = ("Encrypt", "Decrypt")
WORDS = 15.0  # s, until kekd must have said that nobody is right
DEK = bytes(range(32))


class Traffic(traffic.Traffic):
    """With the times at which calls succeeded, and a pause after each round: many ciphertexts of one moment
    say no more than some."""

    def __init__(self, path, threads=2, timeout=5.0, pace=0.004):
        super().__init__(path, threads, timeout)
        self.good, self.pace = [], pace

    def on_good(self, method, begun, ended):
        super().on_good(method, begun, ended)
        self.good.append((ended, method))
        time.sleep(self.pace)

    def gap(self, since, until, kind):
        """The longest time without a success of Encrypt or Decrypt."""
        ends = sorted(at for at, method in list(self.good) if kind in method and since < at < until)
        return max(after - before for before, after in zip([since] + ends, ends + [until]))

    def codes(self):
        return {failure.code for failure in self.failures}

    def gaps(self, since, seconds):
        """The longest times without an Encrypt and without a Decrypt from then on, over so many seconds and
        until both were answered again. Beyond GAP it is not waited for."""
        time.sleep(max(0.0, since + seconds - time.monotonic()))
        end = time.monotonic()

        def answered():
            late = [method for at, method in list(self.good) if at > end]
            return all(any(kind in method for method in late) for kind in KINDS)
        with contextlib.suppress(AssertionError):
            rigs.wait_for(answered, "service", GAP)
        until = time.monotonic()
        return [self.gap(since, until, kind) for kind in KINDS]


def open_all(node, sealed, patience=20.0):
    """Why what was sealed does not open, a line each. What a kekd that has only just started answers with for a
    moment is no loss, "damaged" is at once."""
    found, left, end = [], list(sealed), time.monotonic() + patience
    while left and (not found or time.monotonic() < end):
        found, left = open_once(node, left)
        damaged = [text for text in found if text.startswith("INVALID_ARGUMENT") or "else" in text]
        if damaged:
            break
        time.sleep(0.2 if left else 0)
    return found


def open_once(node, sealed):
    """(why, which)"""
    found, failed, running = [], [], []

    def take():
        item, call = running.pop(0)
        try:
            if rigs.kms.one(rigs.kms.fields(call.result()), 1) == item.plain:
                return
            found.append("opened to something else")
        except RpcError as error:
            found.append("%s: %s" % (error.code().name, error.details()))
        failed.append(item)

    with node.client(timeout=30) as client:
        for item in sealed:
            running.append((item, client.begin(*item.request())))
            if len(running) == 64:
                take()
        while running:
            take()
    return found, failed


def counted(texts):
    return ["%d x %s" % (texts.count(text), text) for text in sorted(set(texts))]


class Case(rigs.Case):
    """A node is made with an algorithm and a mode, told who is wrong, and judged."""

    def node(self, mode="default", algorithm="KW", pair=False, which=(0,), record=True, config=None, generate=True,
             **provider):
        node = self.rig(pair=pair, generate=generate, config=dict(
            {"data_key": MODES[mode], "health": {"probe_interval": "1s"}, "metrics": rigs.own_address(),
             "log": {"level": "info"}}, **(config or {})),
            provider=dict({"processes": 2, "sessions": 2, "timeout": "1s", "strategy": ALGORITHMS[algorithm][0]},
                          **provider))
        node.faults = [faults.inject(node, index) for index in which]
        node.fault = node.faults[0]
        for fault in node.faults:
            self.addCleanup(fault.close)
        node.before = []
        if record:
            self.announce(node, algorithm)
        return node

    @staticmethod
    def announce(node, algorithm):
        """It has announced the version once, by that algorithm, which a version keeps."""
        _, function, refusals, number = ALGORITHMS[algorithm]
        kept = [dict(entry) for entry in node.config["providers"]]
        for entry in node.config["providers"]:
            entry["processes"] = 1
        node.write()
        for refused in refusals:
            for fault in node.faults:
                fault.put(*["%s %d rv 70" % (function, call + 1) for call in range(refused)])
            node.start()
            with node.client() as client:
                node.before = [traffic.Sealed(DEK, client.encrypt1(DEK)) for _ in range(3)]
            node.stop()
            if node.before[0].ciphertext[7] == number:
                break
            for name in os.listdir(node.state):
                os.unlink(os.path.join(node.state, name))
        else:
            raise AssertionError("the token could not be made to use %s" % algorithm)
        node.config["providers"][:] = kept
        node.write()
        for fault in node.faults:
            fault.put()

    @staticmethod
    def mends(node, seconds=rigs.PATIENCE):
        """The fault goes: service comes back without a restart."""
        for fault in node.faults:
            fault.put()
        with rigs.kms.Client(node.socket, timeout=5) as client:
            def works():
                with contextlib.suppress(RpcError):
                    return (client.status().healthz == "ok" and client.open(client.encrypt(DEK)) == DEK and
                            all(item.open(client) == DEK for item in node.before))
                return False
            rigs.wait_for(works, "service with good workers", seconds)

    @staticmethod
    def reopened(node, sealed):
        """By a fresh kekd with good workers. What was lost, a line for each reason."""
        node.close_clients()
        if node.kekd is not None:
            node.stop()
        for fault in node.faults:
            fault.put()
        node.spawn().good()
        lost = open_all(node, sealed)
        node.close_clients()
        node.stop()
        return lost

    def judge(self, node, load, allowed=()):
        """[what is wrong]: nothing lost, nothing damaged, no wrong answer, no other failure than these."""
        found = list(load.wrong)
        damaged = [failure for failure in load.failures if failure.code == "INVALID_ARGUMENT"]
        if damaged:
            found.append("%d good ciphertexts were called damaged" % len(damaged))
        other = counted(["%s %s: %s" % (failure.method, failure.code, failure.details)
                         for failure in load.failures if failure.code not in {"INVALID_ARGUMENT", *allowed}])
        if other:
            found.append("failed: %s" % other[:4])
        sealed = node.before + load.sealed
        lost = self.reopened(node, sealed)
        if lost:
            found.append("%d of %d lost: %s" % (len(lost), len(sealed), counted(lost)[:3]))
        return found

    def all_good(self, run, scenarios, side_by_side=6):
        """run(*scenario) for each, several at once; what any finds wrong fails the test, all told."""
        left, found, lock = list(scenarios), [], threading.Lock()

        def work(_):
            while True:
                with lock:
                    if not left:
                        return
                    scenario = left.pop(0)
                try:
                    problems = run(*scenario)
                except Exception as error:  # pylint: disable=broad-except
                    problems = ["%s: %s" % (type(error).__name__, error)]
                if problems:
                    found.append("%s: %s" % (", ".join(map(str, scenario)), "; ".join(problems)))
        rigs.side_by_side(work, range(side_by_side))
        self.assertFalse(found, "%d of %d scenarios\n%s" % (len(found), len(scenarios), "\n".join(found)))


def report(what, gaps, failed):
    """What nobody judges on a busy machine: the goal is 1 s."""
    print("%-62s longest gap %4.0f ms of Encrypt, %4.0f ms of Decrypt; %d failed" % (
        ", ".join(what), gaps[0] * 1e3, gaps[1] * 1e3, failed), flush=True)
    return ["no service for %.1f s" % max(gaps)] if max(gaps) > GAP else []


AWAY = ("UNAVAILABLE", "DEADLINE_EXCEEDED")
REFUSED = ("FAILED_PRECONDITION",)
