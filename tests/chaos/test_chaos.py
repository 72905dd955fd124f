"""A short bad day: what `make chaos` does for minutes, of one seed, and every figure is there."""

import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
SKIP = 77


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
    acts = {act["act"]: act for act in told["acts"]}
    if list(acts) != ["calm", "pair", "worker", "outage"]:
        print("the acts were %s" % list(acts))
        return 1
    for name, act in acts.items():
        if act["calls"] < 100 or act["reopened"] < 20:
            print("%s: %s is no load" % (name, act))
            return 1
        if act["wrong"] or act["unopened"]:
            return 1
    if sum(row["times"] for row in told["faults"]) < 4:
        print("hardly anything happened: %s" % told["faults"])
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
