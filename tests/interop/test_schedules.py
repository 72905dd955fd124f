"""What can happen to workers, in an order that a seed draws: swapped, blind, killed, recycled, a token that goes, a
kekd that is restarted or killed, versions that come.  Whatever the order is, under traffic:

    nothing good is ever called damaged, and no answer is wrong;
    key_id never goes back to one that was announced before another;
    once the workers are good again, service is back without a restart;
    and everything that was answered opens by a fresh kekd.

    test_schedules.py [--seed N]... [--events N]

Without a seed it takes the ones below.  A failure names its seed and what was done, with the times.
"""

import argparse
import contextlib
import os
import random
import sys
import threading
import time

import p11
import rig as rigs
import swap
from grpc import RpcError

SEEDS = (*range(1, 19), 26, 36, 39)
EVENTS = 8
DWELL = 0.5  # s, at least, that a swap lasts: over within one call, nothing at all can tell it
OPTIONS = argparse.Namespace(seed=list(SEEDS), events=EVENTS)


class KeyIds(threading.Thread):
    """Those that Status has announced, in order, over restarts."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.path, self.over, self.seen = path, threading.Event(), []

    def run(self):
        with rigs.kms.Client(self.path, timeout=2) as client:
            while not self.over.wait(0.01):
                with contextlib.suppress(RpcError):
                    key_id = client.status().key_id
                    if self.seen[-1:] != [key_id]:
                        self.seen.append(key_id)

    def stop(self):
        self.over.set()
        self.join()


class Schedule:
    """One node, and what its seed has in store for it."""

    WRONG = "* every wrongkey 1"

    def __init__(self, case, seed, events):
        self.random, self.events, self.told = random.Random(seed), events, []
        self.mode = self.random.choice(("strict", "20 uses", "20 uses"))
        self.algorithm = self.random.choice(("KW", "KW", "GCM"))
        self.node = case.node(self.mode, self.algorithm, recycle_after=self.random.choice((40, 400, 100000)),
                              config={"settle": "0s"}, record=self.random.random() < 0.8)
        self.versions, self.began = 1, time.monotonic()

    def draw(self):
        return self.random.choice((self.swap_one, self.swap_one, self.swap_starting, self.swap_all, self.swap_late,
                                   self.blind_starting, self.blind_one, self.heal, self.heal, self.kill_one,
                                   self.token_away, self.new_version, self.restart, self.kill_kekd))

    def tell(self, what):
        self.told.append("%.2f s: %s" % (time.monotonic() - self.began, what))

    def put(self, *lines):
        self.tell("; ".join(lines) or "all good")
        self.node.fault.put(*lines)

    def worker(self):
        return self.random.choice(rigs.wait_for(self.node.workers, "a worker"))

    # What can happen.

    def swap_one(self):
        self.put("%s pid=%d" % (self.WRONG, self.worker()))

    def swap_starting(self):
        self.put(self.WRONG + self.random.choice((" proc=odd", " proc=1+", " proc=even", " proc=1")))

    def swap_all(self):
        self.put(self.WRONG)

    def swap_late(self):
        self.put("* %d+ wrongkey 1 %s" % (self.random.randrange(1, 200), self.random.choice(("proc=odd", "proc=0"))))

    def blind_starting(self):
        self.put("C_Initialize every blind 0" + self.random.choice(("", " proc=odd", " proc=1")))

    def blind_one(self):
        self.put("C_FindObjects every blind 0 pid=%d" % self.worker())

    def heal(self):
        self.put()

    def kill_one(self):
        pid = self.worker()
        self.tell("worker %d killed" % pid)
        self.node.token.kill([pid])

    def token_away(self):
        self.tell("the token is away")
        with self.node.token.away():
            time.sleep(self.random.uniform(0.05, 0.5))
        self.tell("and back")

    def new_version(self):
        self.versions += 1
        self.tell("version %d" % self.versions)
        p11.plant(self.node.token, "k8s-test.v%d" % self.versions, os.urandom(16))

    def restart(self):
        self.tell("kekd restarted")
        self.node.stop()
        self.node.spawn().serving()

    def kill_kekd(self):
        self.tell("kekd killed")
        self.node.kill()
        self.node.spawn().serving()

    # And what must be true.

    def safe(self, load, announced):
        """[what is wrong by now]"""
        found = list(load.wrong)
        damaged = [failure for failure in load.failures if failure.code == "INVALID_ARGUMENT"]
        if damaged:
            found.append("%d good ciphertexts were called damaged" % len(damaged))
        if len(set(announced.seen)) != len(announced.seen):
            found.append("key_id went back: %s" % announced.seen)
        return found

    def run(self, case):
        self.node.start()
        self.began = time.monotonic()
        announced = KeyIds(self.node.socket)
        announced.start()
        found = []
        with swap.Traffic(self.node.socket, pace=0.008) as load:
            try:
                for _ in range(self.events):
                    deed = self.draw()
                    deed()
                    time.sleep(max(self.random.choice((0.0, 0.2, 0.6, 1.2)), DWELL if "swap" in deed.__name__ else 0))
                    found = self.safe(load, announced)
                    if found:
                        break
                self.put()
                case.mends(self.node)
                self.tell("mended")
            finally:
                announced.stop()
        found = found or self.safe(load, announced)
        found += case.judge(self.node, load, {failure.code for failure in load.failures})
        return sorted(set(found))


class Schedules(swap.Case):
    def scheduled(self, seed):
        schedule = Schedule(self, seed, OPTIONS.events)
        try:
            found = schedule.run(self)
        except Exception as error:  # pylint: disable=broad-except
            found = ["%s: %s" % (type(error).__name__, error)]
        if found:
            found.append("--seed %d: %s, %s, recycle_after %s:\n    %s\n" % (
                seed, schedule.mode, schedule.algorithm, schedule.node.config["providers"][0]["recycle_after"],
                "\n    ".join(schedule.told)))
        return found

    def test_any_order(self):
        self.all_good(self.scheduled, [(seed,) for seed in OPTIONS.seed], side_by_side=4)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="see the top of this file")
    parser.add_argument("--seed", type=int, action="append")
    parser.add_argument("--events", type=int, default=EVENTS)
    OPTIONS, rest = parser.parse_known_args()
    OPTIONS.seed = OPTIONS.seed or list(SEEDS)
    sys.argv[1:] = rest
    rigs.main()
