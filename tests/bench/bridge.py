"""What kekd adds to a service's own time: strict mode through kekd-transit beside curl and h2load at the same OpenBao server,
each on connections that are kept, in turns."""
import base64
import json
import os
import re
import shutil
import statistics
import subprocess
import sys

from node import Failed, Kekd, run
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "interop"))
from openbao import OFFICER, OpenBao  # noqa: E402

KEY = "bench"
PROCESSES, SESSIONS = 2, 4  # kekd's connections to the server: their product


def installed(build):
    found = os.environ.get("KEK_OPENBAO") or shutil.which("bao")
    return found is not None and os.path.exists(f"{build}/kekd-transit") and shutil.which("h2load") is not None


class Peer:
    """curl and h2load at the server's own endpoint."""

    def __init__(self, bao, token, folder):
        self.bao, self.token, self.folder = bao, token, folder
        plaintext = base64.b64encode(bytes(range(32))).decode()
        self.bodies = {"encrypt": {"plaintext": plaintext, "associated_data": plaintext, "key_version": 1}}
        sealed = bao.ask("POST", f"transit/encrypt/{KEY}", self.bodies["encrypt"])["data"]["ciphertext"]
        self.bodies["decrypt"] = {"ciphertext": sealed, "associated_data": plaintext}
        for method, body in self.bodies.items():
            with open(f"{folder}/{method}.json", "w", encoding="ascii") as file:
                json.dump(body, file)

    def url(self, method):
        return f"{self.bao.address}/v1/transit/{method}/{KEY}"

    def curl(self, method, calls):
        """Microseconds of each of `calls` requests on one connection, its first one apart."""
        with open(f"{self.folder}/curl-{method}", "w", encoding="ascii") as file:
            for call in range(calls + 1):
                file.write("next\n" if call > 0 else "")
                file.write(f'url = "{self.url(method)}"\ncacert = "{self.bao.authority.cert}"\nsilent\nfail\n'
                           f'header = "X-Vault-Token: {self.token}"\ndata = "@{self.folder}/{method}.json"\n'
                           'output = "/dev/null"\nwrite-out = "%{time_total} %{num_connects}\\n"\n')
        lines = [line.split() for line in run(["curl", "-q", "-K", f"{self.folder}/curl-{method}"]).splitlines()]
        if len(lines) != calls + 1 or [one[1] for one in lines[1:]] != ["0"] * calls:
            raise Failed(f"curl did not keep its connection over {calls} calls")
        return [float(one[0]) * 1e6 for one in lines[1:]]

    def h2load(self, method, calls):
        """Calls a second, by as many connections as kekd has."""
        out = subprocess.run(
            ["h2load", "--h1", f"--requests={calls}", f"--clients={PROCESSES * SESSIONS}", "--threads=1",
             f"--data={self.folder}/{method}.json", f"--header=X-Vault-Token: {self.token}", self.url(method)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600, check=True).stdout
        rate = re.search(r"^finished in [^,]+, ([\d.]+) req/s", out, re.MULTILINE)
        good = re.search(r"^status codes: (\d+) 2xx", out, re.MULTILINE)
        if not (rate and good) or int(good[1]) != calls:
            raise Failed(f"h2load had not {calls} calls answered:\n{out}")
        return float(rate[1])


def measure_latency(report, kekd, peer, plan):
    serial, bare = {"encrypt": [], "decrypt": []}, {"encrypt": [], "decrypt": []}
    for _ in range(plan["rounds"]):
        for method, found in serial.items():
            bare[method].append(statistics.median(peer.curl(method, plan["bridge"])))
            found.append(kekd.load(method, plan["bridge"])["p50_ns"] / 1e3)
    # A lone strict Encrypt is two operations: the wrap, and the check that begins once it has ended.
    both = [sum(pair) for pair in zip(bare["encrypt"], bare["decrypt"])]
    report.add("strict Encrypt by OpenBao, one at a time, p50", serial["encrypt"], "us", 1.2, both,
               "curl, encrypt and decrypt")
    report.add("strict Decrypt by OpenBao, one at a time, p50", serial["decrypt"], "us", 1.2, bare["decrypt"],
               "curl, decrypt")


def measure_throughput(report, kekd, peer, plan):
    for method in ("encrypt", "decrypt"):
        rates, bare = [], []
        for _ in range(plan["rounds"]):
            bare.append(peer.h2load(method, plan["bridge_parallel"]))
            rates.append(kekd.load(method, plan["bridge_parallel"], streams=64)["per_second"])
        report.add(f"strict {method.capitalize()} by OpenBao, 64 streams", rates, "/s", 0.8, bare, "h2load",
                   at_least=True)


def measure(report, build, folder, plan):
    if not installed(build):
        print("bench: NO FIGURES OF A BRIDGE: it wants kekd-transit, OpenBao (KEK_OPENBAO=/path/of/bao) and h2load",
              file=sys.stderr)
        return
    report.say(f"OpenBao: {plan['rounds']} rounds")
    bao = OpenBao()
    try:
        place = f"{folder}/openbao"
        os.makedirs(place)
        token = bao.token(bao.policy("officer", KEY, OFFICER))
        provider = (f"  - name: bao\n    type: transit\n    address: {bao.address}\n    ca: {bao.authority.cert}\n"
                    f"    key: {KEY}\n    auth: token\n    token_file: {bao.secret('token', token)}\n"
                    f"    processes: {PROCESSES}\n    sessions: {SESSIONS}\n")
        with Kekd(build, provider, f"{folder}/bridge", "data_key: {max_uses: 1}\n") as kekd:
            kekd.generate()
            kekd.start()
            kekd.settled_workers(PROCESSES)
            peer = Peer(bao, token, place)
            measure_latency(report, kekd, peer, plan)
            measure_throughput(report, kekd, peer, plan)
    finally:
        bao.stop()
