"""A worker that uses another key under the KEK's name, at every moment: nothing that was sealed is lost, nothing
good is called damaged, and whoever is right serves on (swap.py says what wrong means here)."""

import os
import re
import time

import p11
import rig as rigs
from grpc import RpcError
from swap import ALGORITHMS, AWAY, GAP, LOOK, REFUSED, WORDS, Case, Traffic, report

WRONG = "* every wrongkey 1"
SWAPPED = 1.8  # s, that traffic goes on with whoever is wrong


def of(text, *pids):
    return ["%s pid=%d" % (text, pid) for pid in pids]


# Who is wrong from now on, of the two that run. Whether anybody good is left, or can be started.
WHO = {
    "one": (lambda old, young: of(WRONG, young), True),
    "the older": (lambda old, young: of(WRONG, old), True),
    "one, and all that start": (lambda old, young: of(WRONG, young) + [WRONG + " proc=1+"], True),
    "one, and every other that starts": (lambda old, young: of(WRONG, young) + [WRONG + " proc=odd"], True),
    "both that run": (lambda old, young: of(WRONG, old, young), True),
    "both, each with a key of its own": (
        lambda old, young: of(WRONG, old) + of("* every wrongkey 2", young), True),
    "all": (lambda old, young: [WRONG], False),
}


class Running(Case):
    """Swapped under traffic, after everything was proven."""

    def swapped(self, who, mode, algorithm):
        node = self.node(mode, algorithm).start()
        lines, somebody = WHO[who]
        workers, found = node.workers(), []
        with Traffic(node.socket) as load:
            load.more(20)
            since = time.monotonic()
            node.fault.put(*lines(*workers))
            if somebody:
                found = report((who, mode, algorithm), load.gaps(since, SWAPPED), len(load.failures))
            else:
                time.sleep(SWAPPED)
                rigs.wait_for(lambda: self.says(node), "anybody to say that nobody is right", WORDS)
            self.mends(node)
        return found + self.judge(node, load, AWAY + REFUSED)

    @staticmethod
    def says(node):
        with node.client(timeout=2) as client:
            try:
                return client.status().healthz != "ok"
            except RpcError:
                return True

    def test_one_of_two_in_every_mode(self):
        self.all_good(self.swapped, [(who, mode, "KW") for mode in ("strict", "20 uses", "default")
                                     for who in ("one", "the older", "one, and all that start")])

    def test_every_algorithm(self):
        self.all_good(self.swapped, [(who, mode, algorithm) for algorithm in ALGORITHMS if algorithm != "KW"
                                     for mode in ("strict", "20 uses")
                                     for who in ("one", "both that run")])

    def test_more_than_one(self):
        self.all_good(self.swapped, [(who, mode, "KW") for mode in ("strict", "20 uses") for who in (
            "one, and every other that starts", "both that run", "both, each with a key of its own")])

    def test_all_of_the_only_provider(self):
        # Nobody can be right: that is said by Status itself, at once where calls need the HSM.
        self.all_good(self.swapped, [("all", mode, algorithm) for mode, algorithm in (
            ("strict", "KW"), ("20 uses", "KW"), ("default", "KW"), ("strict", "GCM"), ("20 uses", "CBC"))])


    def new_version(self, who, mode):
        """Whoever does not open the witness of the old version must not vouch for a new one."""
        node = self.node(mode, config={"settle": "0s"}).start()
        with Traffic(node.socket) as load:
            node.fault.put(*WHO[who][0](*node.workers()))
            time.sleep(0.3)
            p11.plant(node.token, "k8s-test.v2", os.urandom(16))
            time.sleep(SWAPPED + LOOK)
            self.mends(node)
        return self.judge(node, load, AWAY + REFUSED)

    def test_a_new_version_comes_meanwhile(self):
        self.all_good(self.new_version, [(who, mode) for mode in ("strict", "20 uses")
                                         for who in ("all", "one", "both that run")])


class Moments(Case):
    """One worker is wrong from its n-th call on, whatever that is: its list, its own trial, its proof, a wrap."""

    CALLS = 160  # that a start makes, and some of service

    def from_call(self, number, mode, algorithm):
        node = self.node(mode, algorithm)
        node.fault.put("* %d+ wrongkey 1 proc=%d" % (number, 1 + number % 2))
        node.spawn().good()
        with Traffic(node.socket) as load:
            time.sleep(1.0)
        return self.judge(node, load, AWAY)

    def test_from_each_call_of_its_start_on(self):
        self.all_good(self.from_call, [(number, mode, algorithm) for mode, algorithm, offset in (
            ("strict", "KW", 1), ("20 uses", "KW", 4), ("20 uses", "CBC", 7))
            for number in range(offset, self.CALLS, 13)])

    def slow_proof(self, mode, calls):
        """The list is right, the proof is slow, and between the two the library fails over."""
        node = self.node(mode)
        node.fault.put("C_UnwrapKey %d+ delay 200 proc=odd" % calls, "C_UnwrapKey %d+ wrongkey 1 proc=odd" % calls,
                       "C_WrapKey %d+ wrongkey 1 proc=odd" % calls)
        node.spawn().good()
        with Traffic(node.socket) as load:
            time.sleep(SWAPPED)
        return self.judge(node, load, AWAY)

    def test_between_list_and_proof(self):
        self.all_good(self.slow_proof, [(mode, calls) for mode in ("strict", "20 uses") for calls in (1, 2, 3, 4)])


class Starting(Case):
    """Wrong from the start on."""

    def started(self, whose, mode, algorithm, processes):
        node = self.node(mode, algorithm, processes=processes)
        node.fault.put(WRONG + " " + whose)
        node.spawn().good()  # its record says what is right
        with Traffic(node.socket) as load:
            time.sleep(SWAPPED)
            self.mends(node)
        return self.judge(node, load, AWAY + REFUSED)

    def test_at_a_restart_with_a_record(self):
        self.all_good(self.started, [
            ("proc=odd", "strict", "KW", 2), ("proc=even", "strict", "KW", 2), ("proc=odd", "20 uses", "KW", 2),
            ("proc=odd", "default", "KW", 2), ("proc=even", "20 uses", "CBC", 2), ("proc=odd", "strict", "GCM", 2),
            ("proc=1", "strict", "KW", 1), ("proc=2+", "20 uses", "KW", 2)])

    def first(self, whose, mode, both):
        """No record: whom to believe nobody can say, so nothing may be sealed while they differ."""
        node = self.node(mode, record=False)
        node.fault.put(*[WRONG + " " + whose] + ["* every wrongkey 2 proc=even"] * both)
        node.spawn().serving()
        found, end = [], time.monotonic() + 3 * LOOK
        with node.client(timeout=1) as client:
            while time.monotonic() < end:
                for what, call in (("Status", client.status), ("Encrypt", lambda: client.encrypt1(bytes(32)))):
                    try:
                        call()
                        found.append("%s was answered" % what)
                    except RpcError as error:
                        if error.code().name not in AWAY + REFUSED:
                            found.append("%s: %s" % (what, error))
                time.sleep(0.05)
        node.stop()
        node.fault.put()  # now they agree
        node.start()
        with Traffic(node.socket) as load:
            time.sleep(0.3)
        return sorted(set(found)) + self.judge(node, load, AWAY)

    def test_before_the_first_start(self):
        self.all_good(self.first, [("proc=odd", "strict", False), ("proc=even", "20 uses", False),
                                   ("proc=odd", "default", True), ("proc=2+", "20 uses", False)])


class Recycling(Case):
    def recycled(self, lines, mode, algorithm):
        """Workers are replaced all the time, and some successors are wrong, at once or later on."""
        node = self.node(mode, algorithm, recycle_after=60 if mode == "strict" else 6).start()
        with Traffic(node.socket) as load:
            since = time.monotonic()
            node.fault.put(*lines)
            rigs.wait_for(node.fault.done, "a successor")  # which may never get as far as to replace anybody
            found = report((lines[0], mode, algorithm), load.gaps(since, 2 * SWAPPED), len(load.failures))
            self.mends(node)
        return found + self.judge(node, load, AWAY)

    def test_during_a_recycle(self):
        self.all_good(self.recycled, [
            ([WRONG + " proc=odd"], "strict", "KW"), ([WRONG + " proc=odd"], "20 uses", "KW"),
            (["* 90+ wrongkey 1 proc=odd"], "strict", "KW"), (["* 60+ wrongkey 1 proc=even"], "20 uses", "KW"),
            ([WRONG + " proc=1+"], "strict", "KW"), (["* 60+ wrongkey 1 proc=odd"], "20 uses", "CBC")])


class Wraps(Case):
    """Wrong for wraps alone: whoever is opens every witness. Nothing tells but an unwrap of what was wrapped."""

    WRONG = "C_WrapKey every wrongkey 1"

    def wrapping(self, who, mode):
        rigs.need_root("which worker belongs to which token")
        node = self.node(mode, pair=who == "a provider", config={"health": {"probe_interval": "1s", "grace": "1s"}})
        node.start()
        pid = node.workers_of(node.token)[0]
        found = []
        with Traffic(node.socket) as load:
            load.more(20)
            since = time.monotonic()
            node.fault.put(*of(self.WRONG, pid) if who == "one" else [self.WRONG])
            if who == "all":
                rigs.wait_for(lambda: Running.says(node), "Status to say that nothing can be sealed", WORDS)
            else:
                found = report((who, "wraps", mode), load.gaps(since, SWAPPED), len(load.failures))
            pattern = "may wrap on no HSM" if who == "all" else "a worker wraps with a different key than it unwraps with"
            if not re.search(pattern, node.log()):
                found.append("the log does not say it")
            begun = time.monotonic()
            self.mends(node)
            if time.monotonic() - begun > GAP:
                found.append("no service for %.1f s after it" % (time.monotonic() - begun))
        return found + self.judge(node, load, AWAY + REFUSED * (who == "all"))

    def test_whoever_wraps_wrongly_is_ended_and_others_wrap(self):
        self.all_good(self.wrapping, [(who, "20 uses") for who in ("one", "a provider", "all")])


class Pair(Case):
    """One of two providers, or one worker of one."""

    def paired(self, which, whole, mode, algorithm):
        rigs.need_root("which worker belongs to which token")
        node = self.node(mode, algorithm, pair=True, which=(which, 1 - which)).start()
        workers = node.workers_of((node.token, node.twin)[which])
        with Traffic(node.socket) as load:
            load.more(20)
            since = time.monotonic()
            node.fault.put(*[WRONG] if whole else of(WRONG, workers[0]))
            found = report(("all" if whole else "one", "of hsm-" + "ab"[which], mode, algorithm),
                           load.gaps(since, SWAPPED), len(load.failures))
            with node.client() as client:
                said = client.status().healthz
            self.mends(node)
        if said != "ok":
            found.append("Status said %s though a provider is right" % said)
        return found + self.judge(node, load)

    def test_one_of_two_providers(self):
        self.all_good(self.paired, [
            (0, False, "strict", "KW"), (0, True, "strict", "KW"), (1, True, "strict", "KW"),
            (0, False, "20 uses", "KW"), (0, True, "20 uses", "KW"), (1, False, "20 uses", "KW"),
            (0, True, "default", "KW"), (0, False, "20 uses", "GCM"), (0, True, "strict", "CBC"),
            (0, False, "20 uses", "CBC")], side_by_side=4)


if __name__ == "__main__":
    rigs.main()
