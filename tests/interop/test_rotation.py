"""Rotations under the load of an API server on each of several nodes, which never see one.

    test_rotation.py [--rotations N]

does N of them on one token, half as many on two replicas in strict mode, and a quarter with keys that `versions:`
names; without it ten in all, in less than forty seconds.  Nodes are ended in order and by SIGKILL at the worst
moments, one is slow, one has a wall clock that is hours ahead, one is away for a whole rotation.
"""

import argparse
import datetime
import os
import shutil
import sys

import p11
import rig as rigs
import rotation
from grpc import StatusCode

OPTIONS = argparse.Namespace(rotations=4)
DEK = bytes(range(32))
AHEAD = {"LD_PRELOAD": rigs.program("tests/interop/clock_off.so"), "CLOCK_OFF": "18000"}


class Rotation(rigs.Case):
    @staticmethod
    def rotate(cluster, number, disturb=None, moment=0):
        """To that version, which every node that runs shows already.  `disturb` runs before the step of that
        number; the next version is made meanwhile."""
        quick = [node for node in cluster.running() if node.config["refresh"] == "1s"]
        steps = (lambda: cluster.promote(number),
                 lambda: cluster.make(number + 1),
                 lambda: cluster.all_announce(number, quick[:1]),
                 lambda: cluster.all_announce(number, [node for node in quick if node.kekd is not None]),
                 lambda: cluster.retire(number - 1),
                 lambda: cluster.all_see(number + 1))
        for at, step in enumerate(steps):
            if disturb is not None and at == moment:
                disturb()
            step()

    def many(self, cluster, count, shift=0):
        """The slow node is not waited for: its version is retired before it announces the new one.  Every
        fourth time it is away for all of it."""
        slow = cluster.nodes[-1]
        cluster.make(2)
        cluster.all_see(2)
        for turn in range(count):
            number = turn + 2
            if turn % 4 == 2:
                cluster.apis[-1].goes()
                slow.stop()
                self.rotate(cluster, number)
                slow.spawn()
                cluster.apis[-1].comes()
                slow.good()
                cluster.all_see(number + 1)
            else:
                node = cluster.nodes[turn % len(cluster.nodes)]
                self.rotate(cluster, number, lambda node=node, turn=turn: node.again(kill=turn % 2 == 1),
                               moment=(2 * turn + shift) % 5 + 1)
        cluster.all_announce(count + 1)
        for api in cluster.apis:
            rigs.wait_for(lambda api=api: cluster.numbers[api.history[-1]] == count + 1, "each to hear of it")

    def test_nodes_on_one_token(self):
        ahead = not rigs.sanitized()  # a sanitizer's library wants to be the first
        with rotation.Cluster(self, slow=2, environment={1: AHEAD} if ahead else None) as cluster:
            self.many(cluster, OPTIONS.rotations)
        said = [datetime.datetime.strptime(node.log().splitlines()[-1][:19], "%Y-%m-%dT%H:%M:%S")
                for node in cluster.nodes]
        self.assertEqual([round((time - said[0]).total_seconds() / 3600) for time in said], [0, 5 * ahead, 0])
        self.report(cluster)

    def test_nodes_on_two_replicas_in_strict_mode(self):
        with rotation.Cluster(self, replicas=2, data_key={"max_uses": 1}) as cluster:
            self.many(cluster, max(2, OPTIONS.rotations // 2), shift=4)
        self.report(cluster)

    def test_nodes_whose_tokens_cannot_change_a_key(self):
        with rotation.Cluster(self, fixed=True) as cluster:
            for number in range(2, 2 + max(1, OPTIONS.rotations // 4)):
                cluster.make(number)
                cluster.change(number, "pre-active")
                cluster.all_see(number)
                cluster.promote(number)
                cluster.all_announce(number)
                cluster.retire(number - 1)
                cluster.all_announce(number)
        self.report(cluster)

    @staticmethod
    def report(cluster):
        print("%d calls, %d objects, %d versions; a key_id that was not Status's: %d times" % (
            sum(api.done for api in cluster.apis), len(cluster.stored), len(cluster.keks),
            sum(api.mismatches for api in cluster.apis)), flush=True)

    def test_a_node_that_was_away_for_a_whole_rotation(self):
        """Its version was retired, suspended or destroyed meanwhile; `settle` is a minute, and holds nothing back."""
        fates = (lambda cluster, number: cluster.retire(number),
                 lambda cluster, number: cluster.change(number, "suspended", wrap=False, unwrap=False),
                 lambda cluster, number: cluster.tokens[0].tool(
                     "--delete-object", "--type", "secrkey", "--id", cluster.keks[number].hex()))
        with rotation.Cluster(self, nodes=2) as cluster:
            stays, away = cluster.nodes
            away.write(settle="1m")
            for old, fate in enumerate(fates, 1):
                cluster.make(old + 1)
                cluster.all_see(old + 1)
                cluster.apis[1].goes()
                away.stop()
                cluster.promote(old + 1)
                cluster.all_announce(old + 1)
                cluster.apis[0].goes()
                fate(cluster, old)
                cluster.stored[:] = [stored for stored in cluster.stored if cluster.numbers[stored.key_id] > old]
                for api in cluster.apis:
                    api.read = 0
                    api.comes()
                away.spawn().good()
                cluster.all_announce(old + 1)
            self.assertNotIn("loss", away.log() + stays.log())


class Twins(rigs.Case):
    """Two nodes that each made a v2 at the same moment."""

    SMALL, LARGE = b"\1" * 16, b"\2" * 16

    def cluster(self):
        cluster = rotation.Cluster(self, nodes=2)
        for kek_id in (self.SMALL, self.LARGE):
            cluster.numbers[rotation.key_id_of(kek_id)] = 2
        return cluster

    @staticmethod
    def plant(cluster, kek_id):
        p11.plant(cluster.tokens[0], "k8s-test.v2", kek_id, wrap=False)

    def leads(self, cluster, kek_id):
        cluster.all_announce(2)
        for node in cluster.nodes:
            with node.client() as client:
                self.assertEqual(client.status().key_id, rotation.key_id_of(kek_id))

    def test_both_are_promoted_and_every_node_takes_the_smaller_one(self):
        with self.cluster() as cluster:
            for kek_id in (self.LARGE, self.SMALL):
                self.plant(cluster, kek_id)
            cluster.all_see(2)
            for kek_id in (self.LARGE, self.SMALL):
                p11.set_attributes(cluster.tokens[0], kek_id, wrap=True)
            self.leads(cluster, self.SMALL)
            surplus = 'kekd_kek_version_providers{version="2",surplus="%s"}' % self.LARGE.hex()
            for node in cluster.nodes:
                self.assertEqual(node.metrics()[surplus], 1)
                node.wait_log("a surplus key is named version 2 .kek id %s" % self.LARGE.hex())
            rigs.wait_for(lambda: "retire kek id " + self.LARGE.hex() in cluster.nodes[0].page("/readyz")[1],
                          "the advice")

    def test_one_node_announced_the_larger_one_before_the_smaller_was_there(self):
        """It stands there, and both nodes come together once it is retired."""
        with self.cluster() as cluster:
            away = cluster.nodes[1]
            cluster.apis[1].goes()
            away.stop()
            self.plant(cluster, self.LARGE)
            p11.set_attributes(cluster.tokens[0], self.LARGE, wrap=True)
            cluster.all_announce(2)
            self.plant(cluster, self.SMALL)
            p11.set_attributes(cluster.tokens[0], self.SMALL, wrap=True)
            away.spawn().good()
            cluster.apis[1].comes()
            cluster.all_announce(2)
            for node, kek_id in zip(cluster.nodes, (self.LARGE, self.SMALL)):
                with node.client() as client:
                    self.assertEqual(client.status().key_id, rotation.key_id_of(kek_id))
            cluster.numbers[rotation.key_id_of(self.SMALL)] = 3  # what comes after it
            p11.set_attributes(cluster.tokens[0], self.LARGE, wrap=False)
            rigs.wait_for(lambda: cluster.apis[0].history[-1] == rotation.key_id_of(self.SMALL), "the smaller one")
            self.leads(cluster, self.SMALL)


class State(rigs.Case):
    def node(self):
        return self.rig(config={"settle": "1m", "metrics": rigs.own_address(), "log": {"level": "info"}})

    @staticmethod
    def announces(node, number):
        rigs.wait_for(lambda: node.metrics().get("kekd_kek_primary_version") == number, "version %d" % number)

    def test_a_suspended_version_neither_seals_nor_opens_until_it_is_resumed(self):
        node = self.node().start()
        with node.client() as client:
            sealed = client.encrypt(DEK)
            kek_id = sealed.ciphertext[8:24]
            self.assertEqual(client.open(sealed), DEK)
            p11.set_attributes(node.token, kek_id, wrap=False, unwrap=False)
            node.wait_log("nothing new can be sealed: KEK version 1 is suspended: nothing is lost")
            self.assertIn("is suspended", self.refused(StatusCode.FAILED_PRECONDITION, client.open, sealed))
            self.assertIn("is suspended", self.refused(StatusCode.FAILED_PRECONDITION, client.encrypt, DEK))
            self.assertIn("kekctl key resume", client.status().healthz)
            self.assertEqual(client.status().key_id, sealed.key_id)
            metrics = node.metrics()
            self.assertEqual((metrics['kekd_kek_version_state{version="1",state="suspended"}'],
                              metrics['kekd_health{state="shut"}'], metrics["kekd_datakey_cache_entries"]), (1, 1, 0))
            p11.set_attributes(node.token, kek_id, wrap=True, unwrap=True)
            rigs.wait_for(lambda: client.status().healthz == "ok", "its resumption")
            self.assertEqual(client.open(sealed), DEK)
            self.assertEqual(client.open(client.encrypt(DEK)), DEK)
            self.assertNotIn("loss", node.log())
        node.stop()

    def test_a_node_that_comes_back_before_its_hsm(self):
        """It announces what its record says, and once the HSM is there what the token shows to have come after it."""
        node = self.node().start()
        with node.client() as client:
            first = client.encrypt(DEK)
        node.stop()
        p11.plant(node.token, "k8s-test.v2", os.urandom(16))
        p11.set_attributes(node.token, first.ciphertext[8:24], wrap=False)
        with node.token.away():
            node.spawn().good()
            with node.client() as client:
                self.assertEqual(client.status().key_id, first.key_id)
        with node.client() as client:
            self.announces(node, 2)
            self.assertNotEqual(client.encrypt(DEK).key_id, first.key_id)
            self.assertEqual(client.open(first), DEK)
        node.stop()

    def test_a_record_that_is_lost_or_rolled_back(self):
        """`settle` is a minute: nothing here waits for it."""
        node = self.node().start()
        record = node.state + "/k8s-test.json"
        shutil.copy2(record, node.folder + "/old.json")
        with node.client() as client:
            first = client.encrypt(DEK)
        node.stop()
        p11.plant(node.token, "k8s-test.v2", os.urandom(16))
        p11.set_attributes(node.token, first.ciphertext[8:24], wrap=False)
        for how in ("it was away", "rolled back", "lost"):
            if how == "rolled back":
                shutil.copy2(node.folder + "/old.json", record)
            elif how == "lost":
                os.unlink(record)
            node.spawn().good()
            with node.client() as client:
                seen = []
                for _ in range(50):
                    seen.append(client.status().key_id)
                    self.assertEqual(client.open(client.encrypt(DEK)), DEK)
                self.announces(node, 2)
                seen.append(client.status().key_id)
                new = client.encrypt(DEK)
                self.assertEqual((seen[-1], new.key_id != first.key_id), (new.key_id, True))
                self.assertEqual(seen, sorted(seen, key=(first.key_id, new.key_id).index), how)
                self.assertEqual(how == "lost" and first.key_id in seen, False)
                self.assertEqual(client.open(first), DEK)
            node.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--rotations", type=int, default=OPTIONS.rotations)
    OPTIONS, rest = parser.parse_known_args()
    sys.argv[1:] = rest
    rigs.main()
