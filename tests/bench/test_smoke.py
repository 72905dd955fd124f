#!/usr/bin/env python3
"""A few calls of everything the benchmark measures, so that it cannot rot. No figure is judged, but
that in strict mode no call was served without the HSM."""
import json
import os
import subprocess
import sys
import tempfile

FIGURES = 18


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    with tempfile.TemporaryDirectory() as folder:
        out = f"{folder}/figures.json"
        code = subprocess.run([sys.executable, "-B", f"{here}/bench.py", "--smoke", "--json", out],
                              check=False).returncode
        if code != 0:
            sys.exit(f"bench.py left with {code}")
        with open(out, encoding="utf-8") as file:
            told = json.load(file)
    names = [row["figure"] for row in told["figures"]]
    if len(names) != FIGURES:
        sys.exit(f"{len(names)} figures, not {FIGURES}: {names}")
    for row in told["figures"]:
        if not row["low"] <= row["measured"] <= row["high"]:
            sys.exit(f"not a median: {row}")
    for kind in ("wraps", "unwraps"):
        if told["notes"][f"strict_{kind}_per_call"] < 1:
            sys.exit(f"strict mode made {told['notes'][f'strict_{kind}_per_call']} {kind} a call")


if __name__ == "__main__":
    main()
