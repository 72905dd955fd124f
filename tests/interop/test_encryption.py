#!/usr/bin/env python3
"""docs/encryption.md, block by block, on two API servers of one etcd: each takes each file a moment before the other, and
whatever one of them writes meanwhile, the other reads and lists."""

import base64
import os
import re
import unittest

import apiserver
import cluster as kekds
import kubectl
import pages
import rig as rigs

PAGE = "encryption.md"


class ApiServer(apiserver.ApiServer):
    """One that may have no file yet: then it is not told of one. v1: KMS v1 is to be had."""

    v1 = True

    def command(self):
        command = super().command()
        if not self.v1:
            command.remove("--feature-gates=KMSv1=true")
        if os.path.exists(self.encryption):
            return command
        return [option for option in command if not option.startswith("--encryption-provider-config")]


class Cluster(apiserver.Cluster):
    program = ApiServer


class Encryption(rigs.Case):
    def begin(self, servers=2, present=None):
        """present: the file that the API servers have; None: there is none yet."""
        self.cluster = Cluster(self, servers=servers)
        self.addCleanup(lambda: self.cluster.servers[0].process and self.cluster.stop())
        for server in self.cluster.servers:
            os.remove(server.encryption)
            if present is not None:
                self.cluster.write(os.path.basename(server.encryption), present)
        self.cluster.kekd.write(etcd=[self.cluster.etcd.entry()])
        self.desk = kubectl.Desk(self, self.cluster)
        self.written = 0
        self.install, self.see = pages.steps(PAGE, "## Giving a file to every API server")

    def write(self):
        """A Secret by each API server, and each lists all that there are."""
        for at in range(len(self.cluster.servers)):
            self.cluster.create("secrets", "s-%d" % self.written, {"a": b"%d" % self.written},
                                connection=self.cluster.servers[at])
            self.written += 1
        for server in self.cluster.servers:
            status, answer = server.call("GET", "/api/v1/secrets")
            self.assertEqual(status, 200, answer)
            self.assertEqual(len(answer["items"]), self.written)

    def give(self, file):
        for server in self.cluster.servers:
            self.desk.run(self.install, FILE=file, ENCRYPTION=server.encryption)
            server.stop()
            server.start()
            self.write()
        self.assertEqual(self.desk.run(self.see, FILE=file).stdout.split(), ["ok"] * len(self.cluster.servers))

    def stored(self):
        """How many Secrets begin how, in etcd."""
        counts = {}
        for value in self.cluster.etcd.values("/registry/secrets/").values():
            prefix = re.match(rb"k8s:enc:[a-z]+:v[12]:[a-z0-9-]+|", value.value)[0].decode()
            counts[prefix] = counts.get(prefix, 0) + 1
        return counts

    def blocks(self, heading, count):
        found = pages.steps(PAGE, heading)
        self.assertEqual(len(found), count, heading)
        return found

    def reencrypt(self, block):
        """It waits for API servers that may not know the key yet; the record of when it was announced is made old."""
        for kekd in rigs.LIVE:
            if isinstance(kekd, rigs.Rig):
                kekd.announced_before(3600)
        self.desk.run(block)

    def test_a_new_cluster_begins_under_kekd_and_goes_to_another_hsm(self):
        self.begin()
        first, alone = self.blocks("## A new cluster", 2)
        self.desk.run(first)
        for server in self.cluster.servers:
            self.desk.run(self.install, FILE="make-writer.yaml", ENCRYPTION=server.encryption)
        self.cluster.start()
        self.write()
        self.desk.run(alone)
        self.give("remove-old.yaml")
        self.assertEqual(self.stored(), {"k8s:enc:kms:v2:kekd": self.written})
        other = rigs.Rig(self)
        self.addCleanup(other.stop)
        other.write(etcd=[self.cluster.etcd.entry()])
        other.start()
        self.desk.env["CONFIG_B"] = other.path
        left = self.move(self.blocks("## Another HSM", 10)[3:])     # test_install.py has those before
        self.assertEqual(self.stored(), {"k8s:enc:kms:v2:kekd-b": self.written})
        self.assertIn("under the kms v2 entry kekd: no API server could read them", left)

    def test_a_cluster_with_secrets_in_clear_comes_under_kekd_and_leaves_it_again(self):
        self.begin()
        self.cluster.start()
        self.write()
        well, read = self.blocks("## A cluster with Secrets in clear", 6)[:2]
        self.desk.run(well)
        others = self.cluster.kekd.kekctl("kube", "config", "--phase", "add-reader", "--check")
        self.assertEqual(others.returncode, 3)
        self.assertIn(b"where there is no other node, say --single-node", others.stderr)
        self.desk.run(read)
        self.give("add-reader.yaml")
        self.assertEqual(self.stored(), {"": self.written})
        left = self.come_under_kekd()
        self.assertIn("in clear: no API server could read them after this phase", left)
        self.disable()

    def test_a_cluster_leaves_a_key_of_its_own_file(self):
        aescbc = {"aescbc": {"keys": [{"name": "k1", "secret": base64.b64encode(bytes(32)).decode()}]}}
        self.begin(1, apiserver.encryption((["secrets"], [aescbc, {"identity": {}}])))
        self.cluster.start()
        self.write()
        keep, well, read = self.blocks("## Leaving another provider", 3)
        self.desk.run(keep, ENCRYPTION=self.cluster.servers[0].encryption)
        self.desk.run(well)
        self.desk.run(read)
        self.give("add-reader.yaml")
        self.assertEqual(self.stored(), {"k8s:enc:aescbc:v1:k1": self.written})
        self.assertIn("under aescbc, key k1: no API server could read them", self.come_under_kekd())
        self.assertEqual(self.stored(), {"k8s:enc:kms:v2:kekd": self.written})

    def test_a_cluster_goes_from_kms_v1_to_v2_and_needs_its_gate_no_more(self):
        self.begin(1)
        server = self.cluster.servers[0]
        self.cluster.write(os.path.basename(server.encryption), apiserver.encryption(
            (["secrets"], [apiserver.kms(self.cluster.kekd.socket, version="v1")])))
        self.cluster.start()
        self.write()
        self.assertEqual(self.stored(), {"k8s:enc:kms:v1:kekd": 1})
        left = self.move(self.blocks("## From KMS v1 to v2", 7))
        self.assertIn("under the kms v1 entry kekd: no API server could read them", left)
        self.assertEqual(self.stored(), {"k8s:enc:kms:v2:kekd-v2": self.written})
        server.stop()
        server.v1 = False
        server.start()
        self.write()

    def move(self, blocks):
        """From one entry of kekd to another; returns what was left before it was rewritten, as --check says it."""
        keep, well, read, write, rewrite, check, alone = blocks
        self.desk.run(keep, ENCRYPTION=self.cluster.servers[0].encryption)
        self.desk.run(well)
        self.desk.run(read)
        self.give("add-reader.yaml")
        return self.take_over(write, rewrite, check, alone)

    def come_under_kekd(self):
        """From step 4 on; returns what was left before it was rewritten, as --check says it."""
        return self.take_over(*self.blocks("## A cluster with Secrets in clear", 6)[2:])

    def take_over(self, write, rewrite, check, alone):
        self.desk.run(write)
        self.give("make-writer.yaml")
        left = self.desk.run(check, code=3).stderr
        self.reencrypt(rewrite)
        self.desk.run(check)
        self.desk.run(alone)
        self.give("remove-old.yaml")
        return left

    def disable(self):
        keep, first, second, rewrite, check, third = self.blocks("## Disabling", 6)
        self.desk.run(keep, ENCRYPTION=self.cluster.servers[0].encryption)
        self.desk.run(first)
        self.give("disable-1.yaml")
        self.desk.run(second)
        self.give("disable-2.yaml")
        sealed = self.stored()["k8s:enc:kms:v2:kekd"]
        said = self.desk.run(check, code=3)
        self.assertIn("secrets: %d under the kms v2 entry kekd: no API server" % sealed, said.stderr)
        self.desk.run(rewrite)
        self.assertEqual(self.stored(), {"": self.written})
        self.desk.run(check)
        self.desk.run(third)
        self.give("disable-3.yaml")


class Nodes(rigs.Case):
    """Of several nodes one is wrong."""

    def check(self, code, *arguments):
        done = self.nodes.nodes[0].kekctl("kube", "config", "--phase", "add-reader", "--check", "--from", self.present,
                                          *arguments)
        said = done.stdout.decode() + done.stderr.decode()
        self.assertEqual(done.returncode, code, said)
        return said

    def test_one_node_that_is_away_or_announces_another_key_makes_a_phase_unsafe(self):
        self.nodes = kekds.Cluster(self, nodes=2).start()
        first, second = self.nodes.nodes
        self.present = first.folder + "/present.yaml"
        with open(self.present, "w", encoding="ascii") as file:
            file.write(apiserver.encryption((["secrets"], [{"identity": {}}])))
        self.assertIn("2 nodes asked, 2 answered: all well, and announcing one key", self.check(0))
        second.stop()
        self.assertIn("add-reader is not safe now", self.check(3))
        second.write(context="another", state_dir=second.folder + "/fresh")
        os.mkdir(second.folder + "/fresh")
        second.start()
        self.assertIn("another context", self.check(3))
        self.nodes.stop()


if __name__ == "__main__":
    apiserver.need()
    unittest.main(verbosity=2)
