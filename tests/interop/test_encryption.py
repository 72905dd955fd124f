#!/usr/bin/env python3
"""docs/encryption.md, block by block, on two API servers of one etcd: each takes each file a moment before the other, and
whatever one of them writes meanwhile, the other reads and lists."""

import os
import re
import subprocess
import unittest

import apiserver
import kubectl
import pages
import rig as rigs

PAGE = "encryption.md"


class ApiServer(apiserver.ApiServer):
    """One that may have no file yet: then it is not told of one."""

    def command(self):
        command = super().command()
        if os.path.exists(self.encryption):
            return command
        return [option for option in command if not option.startswith("--encryption-provider-config")]


class Cluster(apiserver.Cluster):
    program = ApiServer


class Encryption(rigs.Case):
    def setUp(self):
        self.cluster = Cluster(self, servers=2)
        for server in self.cluster.servers:
            os.remove(server.encryption)
        self.cluster.kekd.write(etcd=[self.cluster.etcd.entry()])
        self.folder = self.cluster.path("work")
        os.mkdir(self.folder)
        self.env = kubectl.environment(self.cluster)
        self.written = 0
        self.install, self.see = pages.steps(PAGE, "## Giving a file to every API server")

    def tearDown(self):
        self.cluster.stop()

    def run_block(self, block, code=0, **env):
        done = subprocess.run(["sh", "-euc", block], cwd=self.folder, env=dict(self.env, **env), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=rigs.PATIENCE, check=False)
        self.assertEqual(done.returncode, code, block + done.stdout + done.stderr)
        return done

    def write(self):
        """A Secret by each API server, and each lists all that there are."""
        for at in range(2):
            self.cluster.create("secrets", "s-%d" % self.written, {"a": b"%d" % self.written},
                                connection=self.cluster.servers[at])
            self.written += 1
        for server in self.cluster.servers:
            status, answer = server.call("GET", "/api/v1/secrets")
            self.assertEqual(status, 200, answer)
            self.assertEqual(len(answer["items"]), self.written)

    def give(self, file):
        for server in self.cluster.servers:
            self.run_block(self.install, FILE=file, ENCRYPTION=server.encryption)
            server.stop()
            server.start()
            self.write()
        self.assertEqual(self.run_block(self.see, FILE=file).stdout.split(), ["ok", "ok"])

    def stored(self):
        """How many Secrets begin how, in etcd."""
        counts = {}
        for value in self.cluster.etcd.values("/registry/secrets/").values():
            prefix = re.match(rb"k8s:enc:kms:v2:[a-z-]+|", value.value)[0].decode()
            counts[prefix] = counts.get(prefix, 0) + 1
        return counts

    def blocks(self, heading, count):
        found = pages.steps(PAGE, heading)
        self.assertEqual(len(found), count, heading)
        return found

    def rewrite(self, block):
        """kekctl reencrypt has tests of its own."""
        if block.strip() == "kekctl reencrypt":
            block = "kubectl get secrets --all-namespaces -o json | kubectl replace -f -"
        self.run_block(block)

    def test_a_new_cluster_begins_under_kekd_and_goes_to_another_hsm(self):
        first, alone = self.blocks("## A new cluster", 2)
        self.run_block(first)
        for server in self.cluster.servers:
            self.run_block(self.install, FILE="make-writer.yaml", ENCRYPTION=server.encryption)
        self.cluster.start()
        self.write()
        self.run_block(alone)
        self.give("remove-old.yaml")
        self.assertEqual(self.stored(), {"k8s:enc:kms:v2:kekd": self.written})
        other = rigs.Rig(self)
        self.addCleanup(other.stop)
        other.write(etcd=[self.cluster.etcd.entry()])
        other.start()
        self.env.update(CONFIG=other.path, NAME_OPTION="--name kekd-b")
        keep, well, read = self.blocks("## Leaving another provider", 3)
        self.run_block(keep, ENCRYPTION=self.cluster.servers[0].encryption)
        self.run_block(well)
        self.run_block(read)
        self.give("add-reader.yaml")
        sealed = self.come_under_kekd()
        self.assertEqual(self.stored(), {"k8s:enc:kms:v2:kekd-b": self.written})
        self.assertIn("under the kms v2 entry kekd: no API server could read them", sealed)

    def test_a_cluster_with_secrets_in_clear_comes_under_kekd_and_leaves_it_again(self):
        self.cluster.start()
        self.write()
        well, read = self.blocks("## A cluster with Secrets in clear", 6)[:2]
        self.run_block(well)
        self.run_block(read)
        self.give("add-reader.yaml")
        self.assertEqual(self.stored(), {"": self.written})
        left = self.come_under_kekd()
        self.assertIn("in clear: no API server could read them after this phase", left)
        self.disable()

    def come_under_kekd(self):
        """From step 4 on; returns what was left before it was rewritten, as --check says it."""
        write, rewrite, check, alone = self.blocks("## A cluster with Secrets in clear", 6)[2:]
        self.run_block(write)
        self.give("make-writer.yaml")
        left = self.run_block(check, code=3).stderr
        self.rewrite(rewrite)
        self.run_block(check)
        self.run_block(alone)
        self.give("remove-old.yaml")
        return left

    def disable(self):
        keep, first, second, rewrite, check, third = self.blocks("## Disabling", 6)
        self.run_block(keep, ENCRYPTION=self.cluster.servers[0].encryption)
        self.run_block(first)
        self.give("disable-1.yaml")
        self.run_block(second)
        self.give("disable-2.yaml")
        sealed = self.stored()["k8s:enc:kms:v2:kekd"]
        said = self.run_block(check, code=3)
        self.assertIn("secrets: %d under the kms v2 entry kekd: no API server" % sealed, said.stderr)
        self.rewrite(rewrite)
        self.assertEqual(self.stored(), {"": self.written})
        self.run_block(check)
        self.run_block(third)
        self.give("disable-3.yaml")


if __name__ == "__main__":
    apiserver.need()
    unittest.main(verbosity=2)
