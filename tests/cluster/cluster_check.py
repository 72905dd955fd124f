#!/usr/bin/env python3
"""kekctl on a real control plane, by numbers: re-encryption beside the way of Kubernetes' own pages, interrupted and
resumed; by the cluster's own StorageVersionMigration. Takes minutes to an hour; not part of the suite.

    make cluster-check KEK_KUBERNETES=/path/of/programs CLUSTER_FLAGS='--secrets 100000'

It exits with 1 if something is wrong: an object left, or one written more often than once and once more for each
interruption. Figures are told and judge nothing."""

import argparse
import os
import random
import re
import sys
import time

import control_plane
import measure
import rig as rigs

SECRETS = "/registry/secrets/"
# After so long every API server writes under the key that kekd announces, and kekctl reencrypt does not wait any more.
FOLLOWED = 60 + 180 + 5  # seconds
# What Kubernetes' documentation has one do after a change of key.
SEED = """"$KUBECTL" --kubeconfig="$KUBECONFIG" get secrets -A -o json |
"$KUBECTL" --kubeconfig="$KUBECONFIG" annotate --overwrite -f - kekd-reencrypt-time="$(date +%s%N)" >/dev/null"""


class Owner:
    """What rigs want of a test."""

    def __init__(self):
        self.cleanups, self.bad = [], False

    def addCleanup(self, run, *arguments):  # pylint: disable=invalid-name
        self.cleanups.append((run, arguments))

    def failing(self):
        return self.bad

    def name(self):
        return "cluster_check"

    def close(self):
        while self.cleanups:
            run, arguments = self.cleanups.pop()
            run(*arguments)


class Check:
    def __init__(self, owner, arguments):
        self.count, self.namespaces = arguments.secrets, arguments.namespaces
        self.kekd = rigs.Rig(owner, config={"settle": "0s", "refresh": "1s", "log": {"level": "info"}})
        self.version, self.wrong = 1, []
        self.cluster = control_plane.Cluster(owner, servers=arguments.servers, kekds=[self.kekd],
                                             rules=self.plain)

    @staticmethod
    def plain(socket):
        return [(["secrets"], [{"identity": {}}, control_plane.apiserver.kms(socket)])]

    @staticmethod
    def sealed(socket):
        return [(["secrets"], [control_plane.apiserver.kms(socket), {"identity": {}}])]

    def tell(self, text, *values):
        print(text % values, flush=True)

    def begin(self):
        self.kekd.start()
        self.cluster.start()
        names = ["team-%d" % at for at in range(self.namespaces)]
        for name in names:
            self.cluster.create("namespaces", name, None)
        begun = time.monotonic()
        self.cluster.fill(self.count, namespaces=names, threads=6)
        took = time.monotonic() - begun
        self.tell("%d Secrets made in %.0f s, %.0f/s", self.count, took, self.count / took)
        self.cluster.reencryption(self.sealed)
        self.kekd.write(etcd=[self.cluster.etcd.entry()])

    # What lies in etcd.

    def lies(self):
        """{key: (is under which key_id or None, version)}; a page at a time."""
        found = {}
        for key, value in self.cluster.etcd.each(SECRETS):
            marked = re.match(rb"k8s:enc:kms:v2:kekd:", value.value)
            key_id = re.search(rb"kek1-[0-9a-f]{32}", value.value)
            found[key] = (key_id[0].decode() if marked and key_id else None, value.version)
        return found

    def primary(self):
        return self.kekd.good().key_id

    def rotate(self):
        """The next version is primary, and the API servers know."""
        before = self.primary()
        self.kekd.kekctl("key", "generate", check=True)
        self.version += 1
        self.kekd.kekctl("key", "promote", str(self.version), "--i-have-a-backup", check=True)
        rigs.wait_for(lambda: self.primary() != before, "kekd to announce the next version")
        primary, announced = self.primary(), time.monotonic()

        def follows(at):
            name = "probe-%d" % time.monotonic_ns()
            self.cluster.good(self.cluster.servers[at], "POST", self.cluster.at("secrets", namespace="default"),
                              self.cluster.content("secrets", name, {"k": b"v"}, "default"))
            key = SECRETS + "default/" + name
            value = self.cluster.etcd.values(key)[key].value
            self.cluster.delete("secrets", name)
            time.sleep(1)
            return primary.encode() in value
        for at in range(len(self.cluster.servers)):
            rigs.wait_for(lambda at=at: follows(at), "API server %d to follow" % at, 200)
        time.sleep(max(0, announced + FOLLOWED - time.monotonic()))
        return primary

    def judged(self, what, before, primary, more):
        """Each is under the primary, written once; once more at most for each of the interruptions."""
        after = self.lies()
        left = [key for key in before if after.get(key, (None,))[0] != primary]
        if left:
            self.wrong.append("%s: %d of %d are not under the primary: %s" % (what, len(left), len(before), left[:3]))
        writes = {key: after[key][1] - before[key][1] for key in before if key in after}
        needed = {key: 0 if before[key][0] == primary else 1 for key in writes}
        extra = {key: writes[key] - needed[key] for key in writes}
        most = max(extra.values())
        self.tell("  writes: %d for %d objects that needed one; %d objects were written more often, by %d at most",
                  sum(writes.values()), sum(needed.values()), sum(1 for n in extra.values() if n > 0), most)
        if most > more:
            self.wrong.append("%s: %d writes more than needed for one object" % (what, most))

    # The ways.

    def told(self, what, run):
        rate = self.count / run.seconds
        self.tell("%-28s %7.1f s  %7.0f objects/s  %6.1f MiB at most", what, run.seconds, rate, run.peak / 1024)
        return rate

    def kekctl(self, *more):
        return measure.Run([rigs.program("kekctl"), "--config", self.kekd.path, "reencrypt",
                            "--kubeconfig", self.cluster.kubeconfig(), "--single-node", *more])

    def by_seed(self):
        before, primary = self.lies(), self.rotate()
        run = measure.Run(SEED, shell=True, env={"KUBECTL": control_plane.KUBECTL,
                                                 "KUBECONFIG": self.cluster.kubeconfig()}).wait().good()
        rate = self.told("get | annotate --overwrite", run)
        self.judged("seed", before, primary, 0)
        return rate

    def by_kekctl(self, *more):
        before, primary = self.lies(), self.rotate()
        run = self.kekctl(*more).wait()
        print(run.out[-3000:] + run.err[-2000:])
        run.good()
        rate = self.told("kekctl reencrypt %s" % " ".join(more), run)
        self.judged("reencrypt", before, primary, 0)
        return rate

    def interrupted(self, times, whole, *more):
        """Ended in the middle that often, by SIGINT, SIGTERM and SIGKILL in turns, and resumed."""
        before, primary = self.lies(), self.rotate()
        begun, peak = time.monotonic(), 0
        for at in range(times):
            run = self.kekctl(*more)
            time.sleep(0.5 + random.random() * whole / times)
            run.interrupt((2, 15, 9)[at % 3])
            peak = max(peak, run.peak)
            moved = sum(1 for key_id, _ in self.lies().values() if key_id == primary)
            self.tell("  interrupted after %.1f s: exit %d, %d are under the primary", run.seconds, run.code, moved)
        run = self.kekctl(*more).wait().good()
        self.tell("%d times interrupted: %.1f s in all, %.1f MiB at most", times, time.monotonic() - begun,
                  max(peak, run.peak) / 1024)
        self.judged("interrupted", before, primary, 1)

    def by_cluster(self):
        before, primary = self.lies(), self.rotate()
        manager = self.cluster.controller_manager().start()
        run = self.kekctl("--via", "storage-version-migration").wait()
        print(run.out[-3000:] + run.err[-2000:])
        self.told("storage-version-migration", run)
        run.good()
        self.judged("storage-version-migration", before, primary, 0)
        manager.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--secrets", type=int, default=3000)
    parser.add_argument("--namespaces", type=int, default=5)
    parser.add_argument("--servers", type=int, default=1)
    parser.add_argument("--interrupt", type=int, default=10, metavar="TIMES")
    parser.add_argument("--without", action="append", default=[], choices=["seed", "kekctl", "interrupted", "migration"])
    parser.add_argument("--option", action="append", default=[], help="of kekctl reencrypt", metavar="--OPTION")
    arguments = parser.parse_args()
    control_plane.need()
    owner = Owner()
    check = None
    try:
        check = Check(owner, arguments)
        check.begin()
        rates = {}
        if "kekctl" not in arguments.without:
            rates["kekctl"] = check.by_kekctl(*arguments.option)
        if "seed" not in arguments.without:
            rates["seed"] = check.by_seed()
        if len(rates) == 2:
            check.tell("kekctl reencrypt is %.1f x the seed's way", rates["kekctl"] / rates["seed"])
        if "interrupted" not in arguments.without:
            check.interrupted(arguments.interrupt, arguments.secrets / rates.get("kekctl", 1000), *arguments.option)
        if "migration" not in arguments.without:
            check.by_cluster()
    except BaseException:
        owner.bad = True
        raise
    finally:
        owner.close()
    for wrong in check.wrong:
        print("WRONG: " + wrong)
    sys.exit(1 if check.wrong else 0)


if __name__ == "__main__":
    main()
