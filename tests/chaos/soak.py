"""Many operations of an HSM whose library leaks (SoftHSM: 240 bytes an unwrap).

    soak.py [--calls N] [--recycle-memory MIB] [--recycle-after N] [--json FILE]

kekd in strict mode, so that each call is an HSM operation, with a `recycle_memory` or a `recycle_after` that the
workers reach again and again.  In turn, one worker comes to use another key under the KEK's name, one sees no key
any more, and those that start see only what was there first (tests/faults/).  No call may fail at any of
it, kekd's memory stays as it is after the first tenth, and no worker grows much beyond its limit.
"""

import argparse
import json
import os
import subprocess
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "interop"))
import fault as faults  # noqa: E402
import rig as rigs  # noqa: E402

BEGIN = 2 << 20  # bytes that a worker has at once; `recycle_memory` counts what it grows by
CALLS_A_MIB = 5000  # that SoftHSM leaks, about
SLACK = 2 << 20  # it is looked at every 1,000 operations, and serves while its successor starts
GROWTH = 256 << 10  # bytes of kekd
STREAMS = 64
CHUNK = 5000  # calls of one kind
LOAD = os.path.join(rigs.TOP_BUILD, "tests", "bench", "load")


def anonymous(pid):
    try:
        with open("/proc/%d/status" % pid, encoding="ascii") as file:
            return next((int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon:")), 0)
    except OSError:
        return 0


def least_recycled(calls, limit, age):
    """How many workers so many calls must have worn out at least."""
    return calls // (4 * min(age, CALLS_A_MIB * limit))


class Watch(threading.Thread):
    """The workers' highest memory."""

    def __init__(self, node):
        super().__init__(daemon=True)
        self.node, self.peak, self.over = node, 0, threading.Event()

    def run(self):
        while not self.over.wait(0.05):
            self.peak = max([self.peak] + [anonymous(pid) for pid in self.node.workers()])


class Soak:
    def __init__(self, calls, limit, age):
        self.calls, self.kekd, self.seconds, self.broken = calls, [], 0.0, True
        self.limit, self.age, self.made = limit, age, 0
        self.node = rigs.Rig(config={"data_key": {"max_uses": 1}, "log": {"level": "info"},
                                     "metrics": rigs.own_address()},
                             provider={"recycle_memory": "%dMiB" % limit, "recycle_after": age,
                                       "timeout": "5s"})
        self.fault, self.wronged, self.turn = faults.inject(self.node), 0, 0

    def trouble(self):
        """The next one of the workers' troubles; the one before ends."""
        self.turn += 1
        if self.turn % 3 == 1:
            workers = rigs.wait_for(self.node.workers, "a worker")
            self.fault.put("* every wrongkey 1 pid=%d" % workers[-1])
            self.wronged += 1
        elif self.turn % 3 == 2:
            self.fault.put("C_FindObjects 1 blind 0 proc=0")
        else:
            self.fault.put("C_Initialize every caching")

    # What a rig's cleanup asks of a test.
    def failing(self):
        return self.broken

    def name(self):
        return "soak"

    def load(self, method, calls):
        """It ends with an error at the first call that fails or gives a wrong answer."""
        done = subprocess.run([LOAD, "--socket", self.node.socket, "--method", method, "--calls",
                               str(calls), "--streams", str(STREAMS)], stdout=subprocess.PIPE, check=False)
        if done.returncode != 0:
            raise AssertionError("load --method %s left with %d" % (method, done.returncode))
        self.seconds += json.loads(done.stdout)["seconds"]
        self.made += calls
        # They are replaced one at a time, once the successor is judged; a fast machine does many calls meanwhile.
        rigs.wait_for(lambda: self.node.metric("kekd_hsm_workers_recycled_total") >=
                      least_recycled(self.made, self.limit, self.age), "the worn workers' successors")

    def run(self):
        try:
            self.node.start()
            before = self.node.metrics()  # a Status before the first primary has failed, and rightly so
            watch = Watch(self.node)
            watch.start()
            left = self.calls
            while left > 0:
                chunk = min(CHUNK, max(1, left // 2))
                self.trouble()
                self.load("encrypt", chunk)
                self.load("decrypt", chunk)
                left -= 2 * chunk
                self.kekd.append(anonymous(self.node.kekd.pid))
            watch.over.set()
            watch.join()
            metrics = {sample: value - before.get(sample, 0)
                       for sample, value in self.node.metrics().items()}
            self.node.close_clients()
            self.node.stop()
            self.fault.close()
            self.broken = False
            return self.result(metrics, watch.peak)
        finally:
            self.node.cleanup(self)

    def result(self, metrics, worker_peak):
        def total(name, **labels):
            return sum(value for sample, value in metrics.items()
                       if sample.split("{")[0] == name and
                       all('%s="%s"' % label in sample for label in labels.items()))
        first = self.kekd[len(self.kekd) // 10]
        calls = total("kekd_kms_calls_total")
        return {"calls": calls, "failed": calls - total("kekd_kms_calls_total", status="OK"),
                "seconds": self.seconds,
                "recycled": total("kekd_hsm_workers_recycled_total"),
                "killed": total("kekd_hsm_workers_killed_total"),
                "crashed": total("kekd_hsm_workers_crashed_total"), "wronged": self.wronged,
                "kekd_bytes": [min(self.kekd), max(self.kekd)],
                "kekd_growth_bytes": max(self.kekd[len(self.kekd) // 10:]) - first,
                "worker_peak_bytes": worker_peak}


def troubles(result, calls, limit, age):
    if result["calls"] < calls:
        yield "only %d calls were counted" % result["calls"]
    if result["failed"] > 0:
        yield "%d calls failed" % result["failed"]
    if result["killed"] + result["crashed"] > result["wronged"]:
        yield "%d workers were killed, %d crashed" % (result["killed"], result["crashed"])
    if result["recycled"] < least_recycled(calls, limit, age):
        yield "only %d workers were replaced" % result["recycled"]
    if rigs.sanitized():
        return
    if result["kekd_growth_bytes"] > GROWTH:
        yield "kekd grew by %d KiB" % (result["kekd_growth_bytes"] >> 10)
    if result["worker_peak_bytes"] > (limit << 20) + BEGIN + SLACK:
        yield "a worker had %.1f MiB" % (result["worker_peak_bytes"] / 2**20)


def main():
    parser = argparse.ArgumentParser(description="see the top of this file")
    parser.add_argument("--calls", type=int, default=1000000)
    parser.add_argument("--recycle-memory", type=int, default=3, metavar="MIB")
    parser.add_argument("--recycle-after", type=int, default=200000, metavar="N")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    limit, age = options.recycle_memory, options.recycle_after
    result = Soak(options.calls, limit, age).run()
    result["troubles"] = list(troubles(result, options.calls, limit, age))
    print("%d calls in %.0f s, %d failed; workers: %d replaced, %d crashed, %d killed, at most %.1f MiB "
          "(recycle_memory %d MiB); kekd: %.2f to %.2f MiB, grown by %d KiB after the first tenth" % (
              result["calls"], result["seconds"], result["failed"], result["recycled"],
              result["crashed"], result["killed"], result["worker_peak_bytes"] / 2**20, limit,
              result["kekd_bytes"][0] / 2**20, result["kekd_bytes"][1] / 2**20,
              result["kekd_growth_bytes"] >> 10))
    for text in result["troubles"]:
        print("TROUBLE: " + text)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)
            file.write("\n")
    return 1 if result["troubles"] else 0


if __name__ == "__main__":
    sys.exit(main())
