"""A short bad day: what `make chaos` does for minutes, of one seed; every fault happens, every figure is there."""

import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
SKIP = 77
FAULTS = {
    "calm": set(),
    "pair": {"worker killed", "all workers killed", "worker stopped", "all workers stopped", "module hangs",
             "module crashes", "module loses its link", "token lost", "worker wrong", "provider wrong",
             "worker blind", "worker caching"},
    "worker": {"worker killed", "worker stopped", "module hangs", "module crashes", "module loses its link",
               "worker wrong", "worker blind", "starts blind", "worker caching"},
    "outage": {"token away", "kekd killed", "all workers killed"},
}
RECOVERIES = {"token away", "kekd killed"}
MAY_FAIL = {("outage", "token away"), ("outage", "kekd killed")}
FIGURES = {"calls", "failed", "wrong", "reopened", "unopened", "longest_gap_s", "kekd_growth_bytes",
           "kekd_peak_bytes", "worker_peak_bytes"}


def troubles(told):
    acts = {act["act"]: act for act in told["acts"]}
    if list(acts) != list(FAULTS):
        yield "the acts were %s" % list(acts)
        return
    for name, act in acts.items():
        rows = [row for row in told["faults"] if row["act"] == name]
        if not FIGURES <= set(act):
            yield "%s: no figure for %s" % (name, FIGURES - set(act))
        elif act["calls"] < 100 or act["reopened"] < 20 or act["longest_gap_s"] <= 0:
            yield "%s: %s is no load" % (name, act)
        elif act["wrong"] or act["unopened"]:
            yield "%s: %s" % (name, act)
        elif act["failed"] != sum(sum(row["failed"].values()) for row in rows):
            yield "%s: the calls that failed are not all accounted for" % name
        happened = {row["fault"] for row in rows if row["times"] > 0}
        if happened != FAULTS[name]:
            yield "%s: what happened was %s" % (name, happened)
    for row in told["faults"]:
        if row["failed"] and (row["act"], row["fault"]) not in MAY_FAIL:
            yield "calls failed: %s" % row
        if (row["recovery_s"] is not None) != (row["fault"] in RECOVERIES):
            yield "recovery: %s" % row


def main():
    with tempfile.TemporaryDirectory(prefix="kekd-chaos-") as folder:
        out = folder + "/report.json"
        code = subprocess.run([sys.executable, "-B", HERE + "/chaos.py", "--seed", "20261122",
                               "--seconds", "20", "--clients", "2", "--json", out],
                              check=False).returncode
        if code == SKIP:
            return SKIP
        if code != 0:
            return 1
        with open(out, encoding="utf-8") as file:
            told = json.load(file)
    found = list(troubles(told))
    for text in found:
        print(text)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
