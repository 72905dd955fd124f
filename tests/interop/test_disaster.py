#!/usr/bin/env python3
"""docs/disaster.md, "One damaged object", block by block: an object that is damaged in etcd fails every list; it is
named, restored from a snapshot, and another one removed."""

import os
import subprocess
import unittest

import apiserver
import etcd_server
import kubectl
import pages
import rig as rigs

UNSAFE = "--feature-gates=KMSv1=true,AllowUnsafeMalformedObjectDeletion=true"


class Damaged(rigs.Case):
    def setUp(self):
        self.cluster = apiserver.Cluster(self, options=[UNSAFE])
        self.cluster.kekd.write(etcd=[self.cluster.etcd.entry()])
        self.cluster.start()
        self.env = kubectl.environment(self.cluster)
        self.env.update(ETCDCTL_API="3", ETCDCTL_ENDPOINTS=self.cluster.etcd.endpoint)
        self.folder = self.cluster.path("work")
        os.mkdir(self.folder)

    def tearDown(self):
        self.cluster.stop()

    def run_block(self, block, code=0, **env):
        done = subprocess.run(["sh", "-euc", block], cwd=self.folder, env=dict(self.env, **env), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=rigs.PATIENCE, check=False)
        self.assertEqual(done.returncode, code, block + done.stdout + done.stderr)
        return done

    def damage(self, name):
        """One bit, where the API server has the object's own bytes."""
        key = "/registry/secrets/default/" + name
        value = bytearray(self.cluster.etcd.values(key)[key].value)
        value[len("k8s:enc:kms:v2:kekd:") + 60] ^= 1
        self.cluster.etcd.put(key, bytes(value))
        return key

    def status(self):
        try:
            return self.cluster.servers[0].call("GET", "/api/v1/secrets")[0]
        except OSError:
            return 0

    def listed(self):
        status, answer = self.cluster.servers[0].call("GET", "/api/v1/secrets")
        return len(answer["items"]) if status == 200 else None

    def test_it_is_named_and_restored_or_removed(self):
        well, name, keep, restore, remove = pages.steps("disaster.md", "## One damaged object")
        for secret in ("a", "b", "c"):
            self.cluster.create("secrets", secret, {"x": secret.encode()})
        old = etcd_server.Etcd(self, name="restored").start()     # as it was then, in the place of a snapshot
        for key, value in self.cluster.etcd.values("/registry/secrets/").items():
            old.put(key, value.value)
        a, b = self.damage("a"), self.damage("b")
        self.cluster.servers[0].stop()
        self.cluster.servers[0].start(wait=False)
        rigs.wait_for(lambda: self.status() not in (0, 200), "lists that fail")
        self.run_block(well)
        said = self.run_block(name, code=3)
        for secret in "ab":
            self.assertRegex(said.stdout + said.stderr, r"(?m)damaged.*default.*\b%s\b|default.*\b%s\b.*damaged" % (
                secret, secret))
        self.run_block(keep, KEY=a)
        self.run_block(restore, KEY=a, RESTORED=old.endpoint)
        self.assertIsNone(self.listed())
        self.run_block(remove, NAMESPACE="default", NAME="b")
        self.assertNotIn(b, self.cluster.etcd.values("/registry/secrets/"))
        self.assertEqual(self.listed(), 2)
        self.assertEqual(self.cluster.get("secrets", "a")["data"], {"x": "YQ=="})
        self.run_block(name)
        old.stop()


if __name__ == "__main__":
    apiserver.need()
    unittest.main(verbosity=2)
