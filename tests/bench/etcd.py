"""Measures reading an etcd: kek/etcd.h (by etcd_read) beside a bare paged range read by Kubernetes' own etcd client
(tests/kube/etcdbench), on a throw-away etcd, in turns.

Prints keys, seconds of each (medians), their ratio, and etcd_read's peak memory, for a small and a large etcd.
Nothing here passes or fails by speed: the exit code is 0 if everything could be measured and every key was read.
"""
import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

BUILD = os.environ["abs_top_builddir"]
SOURCE = os.environ["abs_top_srcdir"]
PREFIX = "/registry/"
PAGE = 10000  # keys: as an API server lists for its watch cache (cacher/lister_watcher.go)


def run(command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False,
                          **options)
    if done.returncode != 0:
        sys.exit("%s: exit %d\n%s%s" % (command[0], done.returncode, done.stdout, done.stderr))
    return done.stdout


def build_client(folder):
    path = folder + "/etcdbench"
    run(["go", "build", "-mod=readonly", "-buildvcs=false", "-o", path, "./etcdbench"], cwd=SOURCE + "/tests/kube")
    return path


class Etcd:
    def __init__(self, folder):
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self.url = "http://127.0.0.1:%d" % one.getsockname()[1]
        self.process = subprocess.Popen(
            ["etcd", "--name", "bench", "--data-dir", "data", "--listen-client-urls", self.url,
             "--advertise-client-urls", self.url, "--listen-peer-urls", "unix://peer:1",
             "--initial-advertise-peer-urls", "unix://peer:1", "--initial-cluster", "bench=unix://peer:1",
             "--quota-backend-bytes", str(8 << 30), "--logger", "zap", "--log-level", "error"], cwd=folder)
        for _ in range(200):
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", int(self.url.rsplit(":", 1)[1]))) == 0:
                    return
            time.sleep(0.1)
        self.stop()
        sys.exit("etcd does not start")

    def stop(self):
        self.process.kill()
        self.process.wait()


def read_ours(url, keys):
    began = time.monotonic()
    text = run([BUILD + "/tests/interop/etcd_read", "--quiet", "1", PREFIX, url])
    seconds = time.monotonic() - began
    words = text.splitlines()[-1].split()
    if words[1:4] != ["ok", str(keys), str(keys)]:
        sys.exit("etcd_read: %s" % text)
    return seconds, int(words[6])


def read_theirs(client, url, keys):
    words = run([client, "read", url, PREFIX, str(PAGE)]).split()
    if int(words[0]) != keys:
        sys.exit("etcdbench: %s" % words)
    return float(words[3])


def measure(client, folder, keys, rounds):
    os.mkdir(folder)
    etcd = Etcd(folder)
    try:
        run([client, "load", etcd.url, PREFIX, str(keys), "400"])
        theirs, ours, peak = [], [], 0
        for _ in range(rounds):
            theirs.append(read_theirs(client, etcd.url, keys))
            seconds, kib = read_ours(etcd.url, keys)
            ours.append(seconds)
            peak = max(peak, kib)
    finally:
        etcd.stop()
        shutil.rmtree(folder)
    bare, mine = statistics.median(theirs), statistics.median(ours)
    return {"keys": keys, "bare_s": bare, "kekd_s": mine, "ratio": mine / bare, "peak_kib": peak}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, nargs="+", default=[10000, 1000000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tmp", default="/dev/shm", help="where etcd has its data: 1.5 GiB for a million keys")
    parser.add_argument("--json", help="the figures, into this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kek-bench-", dir=arguments.tmp) as folder:
        client = build_client(folder)
        rows = [measure(client, "%s/%d" % (folder, keys), keys, arguments.rounds) for keys in arguments.keys]
    print("%10s %14s %12s %8s %10s" % ("keys", "bare range s", "etcd_read s", "ratio", "peak KiB"))
    for row in rows:
        print("%10d %14.3f %12.3f %8.2f %10d" % tuple(row.values()))
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({"figures": rows}, file, indent=1)


if __name__ == "__main__":
    main()
