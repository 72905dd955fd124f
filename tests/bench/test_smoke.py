#!/usr/bin/env python3
"""A few calls of everything the benchmark measures, so that it cannot rot: every figure is there, each
that has a limit beside it. None is judged, but that in strict mode no call was served without the HSM."""
import json
import os
import subprocess
import sys
import tempfile

import audit_file
import bridge
import h2load

FIGURES = {  # and the limit's name
    "Encrypt, one at a time, p50": "ping-pong",
    "Decrypt, one at a time, p50": "ping-pong",
    "Encrypt, 64 streams": "1/RTT",
    "Decrypt, 64 streams": "1/RTT",
    "Encrypt by h2load, one at a time, mean": "ping-pong",
    "Encrypt by h2load, 64 streams": "1/RTT",
    "strict Encrypt, 64 streams": "C_WrapKey loop",
    "strict Encrypt, one at a time, p50": "one C_WrapKey",
    "strict Decrypt, 64 streams": "C_UnwrapKey loop",
    "strict Encrypt by C_Encrypt, 64 streams": "C_Encrypt loop",
    "strict Encrypt by C_Encrypt, one at a time, p50": "one C_Encrypt",
    "strict Decrypt by C_Encrypt, 64 streams": "C_Decrypt loop",
    "strict Encrypt, HSM of 5 ms, 4 sessions": "4 / 5 ms",
    "strict Decrypt, HSM of 5 ms, 4 sessions": "4 / 5 ms",
    "cold start, 200 v1 ciphertexts, one at a time": None,
    "cold start, 200 v1 ciphertexts, 64 streams": None,
    "  HSM unwraps for each of 4 data keys": None,
    "RssAnon of kekd at start": None,
    "RssAnon of a worker at start": None,
    "RssAnon growth of kekd over 500 calls": None,
    "RssAnon of a cached data key": None,
    "RssAnon of a strict worker, largest": None,
    "kekd to first answered Status": None,
    "Encrypt, 64 streams, while the KEK is rotated": "without",
    "  p99": "without",
    "Encrypt, two roots, one at a time, p50": "one root",
    "Decrypt, two roots, one at a time, p50": "one root",
    "  HSM unwraps for 200 cold v1 ciphertexts, two roots": "one root",
    "strict Encrypt by OpenBao, one at a time, p50": "curl, encrypt and decrypt",
    "strict Decrypt by OpenBao, one at a time, p50": "curl, decrypt",
    "strict Encrypt by OpenBao, 64 streams": "h2load",
    "strict Decrypt by OpenBao, 64 streams": "h2load",
    "kekctl audit verify, lines": "jq",
}


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
    limits = {row["figure"]: row.get("limit_name") for row in told["figures"]}
    with_bridge = bridge.installed(os.environ.get("abs_top_builddir", os.getcwd()))
    wanted = {figure: limit for figure, limit in FIGURES.items()
              if (h2load.installed() or "h2load" not in figure) and (with_bridge or "OpenBao" not in figure)
              and (audit_file.installed() or "audit" not in figure)}
    if limits != wanted:
        sys.exit(f"the figures were {sorted(limits.items() ^ wanted.items(), key=str)}")
    for row in told["figures"]:
        if not row["low"] <= row["measured"] <= row["high"]:
            sys.exit(f"not a median: {row}")
    for kind in ("wraps", "unwraps"):
        if told["notes"][f"strict_{kind}_per_call"] < 1:
            sys.exit(f"strict mode made {told['notes'][f'strict_{kind}_per_call']} {kind} a call")


if __name__ == "__main__":
    main()
