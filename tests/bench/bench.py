"""Measures kekd on a throw-away SoftHSM token and prints one table.

Every figure stands beside its limit, measured in the same run and in turns with it (limit, figure,
limit, figure, ...): a machine that is busy for a while is busy for both.  A figure is the median over
the rounds, low and high its extremes; a ratio is the ratio of the medians.  Nothing here passes or
fails by speed: the exit code is 0 if everything could be measured and every answer was right.
"""
import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import types

import audit_file
import bridge
import h2load
from node import KEYRING, LATENCY_MS, TOKEN, Failed, Kekd, Peak, Token, anonymous, run
from report import Report, number
import two_roots
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "interop"))
import p11  # noqa: E402

MIB = 1024 * 1024

# How much of each; every number is calls unless it says otherwise.
PLANS = {
    "default": {"rounds": 7, "ping": 20000, "serial": 5000, "parallel": 100000, "strict": 10000,
                "raw": 10000, "items": 10000, "starts": 5, "warm": 100000, "growth": 1000000, "lines": 1000000,
                "slow_sessions": [2, 8, 16], "slow_seconds": 1, "rotations": 10, "rotation_seconds": 3,
                "bridge": 300, "bridge_parallel": 3000},
    "smoke": {"rounds": 1, "ping": 200, "serial": 50, "parallel": 500, "strict": 100,
              "raw": 50, "items": 200, "starts": 1, "warm": 200, "growth": 500, "lines": 1000,
              "slow_sessions": [4], "slow_seconds": 0.1, "rotations": 1, "rotation_seconds": 0.1,
              "bridge": 10, "bridge_parallel": 64},
}
PLANS["long"] = {**PLANS["default"], "warm": 1000000, "growth": 10000000}


def measure_calls(report, kekd, plan):
    """Encrypt and Decrypt with the data key at hand, beside the bare socket."""
    report.say(f"cached data key: {plan['rounds']} rounds")
    sizes = kekd.load("encrypt", plan["serial"])  # also warms up
    ping = [f"{kekd.build}/tests/bench/pingpong", str(plan["ping"]),
            str(round(sizes["request_bytes"])), str(round(sizes["reply_bytes"]))]
    bare, serial, parallel = [], {"encrypt": [], "decrypt": []}, {"encrypt": [], "decrypt": []}
    for _ in range(plan["rounds"]):
        for method in ("encrypt", "decrypt"):
            bare.append(json.loads(run(ping)))
            serial[method].append(kekd.load(method, plan["serial"], warmup=plan["serial"] // 5))
            parallel[method].append(kekd.load(method, plan["parallel"], streams=64,
                                              warmup=plan["parallel"] // 10))
    for method in ("encrypt", "decrypt"):
        report.add(f"{method.capitalize()}, one at a time, p50",
                   [one["p50_ns"] / 1e3 for one in serial[method]], "us", 2.5,
                   [one["p50_ns"] / 1e3 for one in bare], "ping-pong")
    for method in ("encrypt", "decrypt"):
        report.add(f"{method.capitalize()}, 64 streams", [one["per_second"] for one in
                   parallel[method]], "/s", 1.5, [one["per_second"] for one in bare], "1/RTT",
                   at_least=True)
        for side in ("server", "client"):
            report.notes[f"{method}_64_{side}_cpu_us_per_call"] = statistics.median(
                one[f"{side}_cpu_us"] for one in parallel[method])
        report.notes[f"{method}_64_p99_us"] = statistics.median(
            one["p99_ns"] / 1e3 for one in parallel[method])
        report.notes[f"{method}_serial_p99_us"] = statistics.median(
            one["p99_ns"] / 1e3 for one in serial[method])
    report.notes["request_bytes"] = sizes["request_bytes"]
    report.notes["reply_bytes"] = sizes["reply_bytes"]


def measure_h2load(report, kekd, plan, folder):
    """Encrypt with the data key at hand, by a client that nobody here wrote."""
    if not h2load.installed():
        print("bench: NO FIGURES BY h2load, which is not installed (Debian's nghttp2-client)",
              file=sys.stderr)
        return
    report.say(f"cached data key, by h2load: {plan['rounds']} rounds")
    request = f"{folder}/encrypt-request"
    with open(request, "wb") as file:
        file.write(h2load.encrypt_request())
    sizes = kekd.load("encrypt", plan["serial"])
    ping = [f"{kekd.build}/tests/bench/pingpong", str(plan["ping"]),
            str(round(sizes["request_bytes"])), str(round(sizes["reply_bytes"]))]
    bare, serial, parallel = [], [], []
    for _ in range(plan["rounds"]):
        bare.append(json.loads(run(ping))["per_second"])
        try:
            serial.append(h2load.calls_per_second(kekd.socket, request, plan["serial"], 1))
            parallel.append(h2load.calls_per_second(kekd.socket, request, plan["parallel"], 64))
        except (ValueError, subprocess.SubprocessError) as failure:
            raise Failed(failure) from failure
    report.add("Encrypt by h2load, one at a time, mean", [1e6 / one for one in serial], "us", 2.1,
               [1e6 / one for one in bare], "ping-pong")
    report.add("Encrypt by h2load, 64 streams", parallel, "/s", 3.0, bare, "1/RTT", at_least=True)


def measure_strict(report, kekd, token, plan, strategy):
    """An HSM operation per call, beside a bare loop on the same token."""
    report.say(f"strict mode, strategy {strategy}: {plan['rounds']} rounds")
    how, wrap, unwrap, goal = {
        "wrap-key": ("", "C_WrapKey", "C_UnwrapKey", 0.9),
        "encrypt": (" by C_Encrypt", "C_Encrypt", "C_Decrypt", 0.6),
    }[strategy]
    raw = [f"{kekd.build}/tests/bench/raw_pkcs11", token.module, TOKEN, token.pin_file,
           f"{KEYRING}.v1", str(plan["raw"])]
    environment = {**os.environ, "SOFTHSM2_CONF": token.softhsm2_conf}
    bare, figure = {"wraps": [], "unwraps": []}, {"encrypt": [], "decrypt": []}
    serial = []
    operations = {"wraps": [], "unwraps": []}
    with Peak(kekd) as peak:
        for _ in range(plan["rounds"]):
            for method, kind in (("encrypt", "wraps"), ("decrypt", "unwraps")):
                result = json.loads(run(raw, env=environment))
                bare[kind].append(result[f"{kind}_per_second"])
                if kind == "wraps":
                    serial.append(kekd.load(method, plan["serial"])["p50_ns"] / 1e3)
                before = kekd.metric(f"kekd_datakey_{kind}_total")
                figure[method].append(kekd.load(method, plan["strict"], streams=64)["per_second"])
                after = kekd.metric(f"kekd_datakey_{kind}_total")
                if before is None or after is None:
                    raise Failed(f"kekd shows no kekd_datakey_{kind}_total")
                operations[kind].append((after - before) / plan["strict"])
    report.add(f"strict Encrypt{how}, 64 streams", figure["encrypt"], "/s", goal, bare["wraps"],
               f"{wrap} loop", at_least=True)
    report.add(f"strict Encrypt{how}, one at a time, p50", serial, "us", 8,
               [1e6 / rate for rate in bare["wraps"]], f"one {wrap}")
    report.add(f"strict Decrypt{how}, 64 streams", figure["decrypt"], "/s", goal, bare["unwraps"],
               f"{unwrap} loop", at_least=True)
    for kind, values in operations.items():
        report.notes[f"strict{how.replace(' ', '_')}_{kind}_per_call"] = statistics.median(values)
    return peak.bytes


def measure_latency(report, build, token, folder, plan):
    """A slow HSM in strict mode: sessions wait side by side, so they are what limits."""
    report.say(f"an HSM of {LATENCY_MS} ms")
    processes = 2
    for sessions in plan["slow_sessions"]:
        place = f"{folder}/slow-{sessions}"
        os.makedirs(place)
        with Kekd(build, token.slowed(build, place), place, "data_key: {max_uses: 1}\n",
                  f"    processes: {processes}\n    sessions: {sessions // processes}\n") as kekd:
            kekd.start()
            kekd.settled_workers(processes)
            limit = sessions * 1000 / LATENCY_MS
            calls = round(limit * plan["slow_seconds"])
            for method in ("encrypt", "decrypt"):
                rates = [kekd.load(method, calls, streams=64)["per_second"]
                         for _ in range(plan["rounds"])]
                report.add(f"strict {method.capitalize()}, HSM of {LATENCY_MS} ms, "
                           f"{sessions} sessions", rates, "/s", 0.8, [limit],
                           f"{sessions} / {LATENCY_MS} ms", at_least=True)


def measure_cold_start(report, kekd, folder, plan):
    """Ciphertexts of several data keys, made by v1 Encrypts, opened by a kekd that just started."""
    report.say(f"cold start: {plan['items']} v1 ciphertexts")
    lots = kekd.seal_lots(folder, plan["items"])
    for streams, how in ((1, "one at a time"), (64, "64 streams")):
        spent, unwraps = kekd.open_cold(lots, plan["items"], streams)
        report.add(f"cold start, {plan['items']:,} v1 ciphertexts, {how}", [spent * 1e3], "ms", 1000)
        report.add(f"  HSM unwraps for each of {len(lots)} data keys", [unwraps / len(lots)], "unwraps", 10)


def measure_memory(report, kekd):
    report.say("memory at start")
    kekd.start()
    workers = kekd.settled_workers(2)
    report.add("RssAnon of kekd at start", [anonymous(kekd.process.pid) / MIB], "MiB", 4)
    report.add("RssAnon of a worker at start", [anonymous(pid) / MIB for pid in workers], "MiB", 4)


def measure_growth(report, kekd, plan):
    report.say(f"growth over {plan['growth']:,} calls")
    half = plan["growth"] // 2
    for method in ("encrypt", "decrypt"):
        kekd.load(method, plan["warm"] // 2, streams=64)
    before = anonymous(kekd.process.pid)
    for method in ("encrypt", "decrypt"):
        kekd.load(method, half, streams=64)
    grown = max(0, anonymous(kekd.process.pid) - before)
    report.add(f"RssAnon growth of kekd over {plan['growth']:,} calls", [grown / 1024], "KiB", 256)


def measure_cached_key(report, strict, build, token, folder, plan):
    """What strict mode sealed has a data key for each ciphertext; a kekd that caches opens all of it."""
    report.say(f"memory of {plan['items']} cached data keys")
    lot = f"{folder}/keys"
    strict.load("encrypt", plan["items"], streams=64, v1=True, save=lot)
    settings = f"data_key: {{cache_entries: {2 * plan['items']}}}\n"
    with Kekd(build, token, f"{folder}/caching", settings) as kekd:
        kekd.start()
        kekd.settled_workers(2)
        kekd.load("encrypt", plan["serial"], streams=64)
        before = anonymous(kekd.process.pid)
        kekd.load("decrypt", plan["items"], streams=64, v1=True, **{"from": lot})
        grown = anonymous(kekd.process.pid) - before
        report.add("RssAnon of a cached data key", [max(0, grown) / plan["items"]], "bytes", 1024)


class Officer:
    """A program that stays logged in to the token, and rotates by the keys' attributes."""

    def __init__(self, kekd, token):
        with open(token.pin_file, encoding="ascii") as file:
            self.token = types.SimpleNamespace(label=TOKEN, pin=file.read().strip(), conf=token.softhsm2_conf)
        self.kekd, self.number, self.kek_id, self.failure = kekd, 1, None, None
        self.process = p11.Process(self.token)

    def tell(self, **order):
        if self.process.tell(order) is None:
            raise Failed(f"the token did not do this: {order['do']}")

    def rotate(self):
        try:
            old, self.kek_id, self.number = self.kek_id, os.urandom(16), self.number + 1
            self.tell(do="make", label=f"{KEYRING}.v{self.number}", id=self.kek_id.hex(), size=32, value=None,
                      attributes={**p11.GOOD, "wrap": False})
            self.tell(do="set", id=self.kek_id.hex(), attributes={"wrap": True})
            end = time.monotonic() + 60
            while self.kekd.metric("kekd_kek_primary_version") != self.number:
                if time.monotonic() > end:
                    raise Failed(f"version {self.number} was not announced")
                time.sleep(0.25)  # each look costs kekd a page
            if old is not None:
                self.tell(do="set", id=old.hex(), attributes={"wrap": False})
        except (Failed, OSError) as failure:
            self.failure = failure

    def close(self):
        self.process.__exit__()


def measure_rotations(report, kekd, token, plan):
    """Encrypts while the KEK is rotated, beside as many without."""
    report.say(f"{plan['rotations']} rotations")
    quiet, turning = [], []
    officer = Officer(kekd, token)
    try:
        rate = kekd.load("encrypt", plan["parallel"] // 5, streams=64)["per_second"]
        calls = max(100, int(rate * plan["rotation_seconds"]))
        for _ in range(plan["rotations"]):
            quiet.append(kekd.load("encrypt", calls, streams=64))
            rotation = threading.Thread(target=officer.rotate)
            rotation.start()
            turning.append(kekd.load("encrypt", calls, streams=64))
            rotation.join()
            if officer.failure is not None:
                raise officer.failure
    finally:
        officer.close()
    report.add("Encrypt, 64 streams, while the KEK is rotated", [one["per_second"] for one in turning], "/s", 0.95,
               [one["per_second"] for one in quiet], "without", at_least=True)
    report.add("  p99", [one["p99_ns"] / 1e3 for one in turning], "us", 1.05,
               [one["p99_ns"] / 1e3 for one in quiet], "without")


def measure_audit(report, build, folder, plan):
    """kekctl audit verify."""
    if not audit_file.installed():
        print("bench: NO FIGURE FOR kekctl audit verify: jq is not installed", file=sys.stderr)
        return
    report.say(f"{plan['lines']} audit lines")
    path = f"{folder}/audit.jsonl"
    audit_file.make(path, plan["lines"])
    figure, limit = [], []
    for _ in range(plan["starts"]):
        try:
            limit.append(plan["lines"] / audit_file.seconds(["jq", "empty", path]))
            figure.append(plan["lines"] / audit_file.seconds([f"{build}/kekctl", "audit", "verify", path]))
        except subprocess.SubprocessError as failure:
            raise Failed(failure) from failure
    os.remove(path)
    report.add("kekctl audit verify, lines", figure, "/s", 5, limit, "jq", at_least=True)


def measure_starts(report, kekd, plan):
    report.say(f"{plan['starts']} starts")
    spent = []
    for _ in range(plan["starts"]):
        spent.append(kekd.start())
        kekd.stop()
    report.add("kekd to first answered Status", spent, "ms", 300)


def measure(report, build, source, folder, plan):
    token = Token(source, folder)
    with Kekd(build, token, f"{folder}/cached") as kekd:
        kekd.generate()
        measure_starts(report, kekd, plan)
        measure_memory(report, kekd)
        measure_calls(report, kekd, plan)
        measure_h2load(report, kekd, plan, folder)
        measure_growth(report, kekd, plan)
        kekd.stop()
        measure_cold_start(report, kekd, folder, plan)
    encrypting = f"{folder}/encrypting"
    os.makedirs(encrypting)
    for strategy, used in (("wrap-key", token), ("encrypt", Token(source, encrypting))):
        with Kekd(build, used, f"{folder}/strict-{strategy}", "data_key: {max_uses: 1}\n",
                  f"    strategy: {strategy}\n") as kekd:
            if strategy == "encrypt":
                kekd.generate()
            kekd.start()
            kekd.settled_workers(2)
            peak = measure_strict(report, kekd, used, plan, strategy)
            if strategy == "wrap-key":
                measure_cached_key(report, kekd, build, used, folder, plan)
                report.add("RssAnon of a strict worker, largest", [peak / MIB], "MiB", 64)
    measure_latency(report, build, token, folder, plan)
    with Kekd(build, token, f"{folder}/rotated", "refresh: 1s\nsettle: 0s\n") as kekd:
        kekd.start()
        kekd.settled_workers(2)
        measure_rotations(report, kekd, token, plan)
    measure_audit(report, build, folder, plan)
    two_roots.measure(report, build, source, folder, plan)
    bridge.measure(report, build, folder, plan)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--json", metavar="FILE", help="also write everything to FILE")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--smoke", action="store_const", const="smoke", dest="plan",
                      help="a few calls of everything, to see that it works")
    size.add_argument("--long", action="store_const", const="long", dest="plan",
                      help="growth over 10,000,000 calls")
    arguments = parser.parse_args()
    name = arguments.plan or "default"
    build = os.environ.get("abs_top_builddir", os.getcwd())
    source = os.environ.get("abs_top_srcdir",
                            os.path.abspath(f"{os.path.dirname(__file__)}/../.."))
    report = Report(quiet=name == "smoke")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # nothing is left behind then either
    folder = tempfile.mkdtemp(prefix="kekd-bench.")
    started = time.monotonic()
    report.notes["load_before"] = os.getloadavg()[0]  # of the machine; what is not ours is noise
    try:
        measure(report, build, source, folder, PLANS[name])
    except (Failed, OSError) as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report.notes |= {"load_after": os.getloadavg()[0], "plan": name, "cores": os.cpu_count(),
                     "seconds": round(time.monotonic() - started, 1)}
    report.table()
    print("\n" + ", ".join(f"{key} {number(value) if isinstance(value, float) else value}"
                           for key, value in report.notes.items()))
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({"figures": report.rows, "notes": report.notes}, file, indent=1)
            file.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
