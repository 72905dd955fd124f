#!/usr/bin/env python3
"""docs/operations.md, "Destroying a key", block by block, on two nodes with etcd and an API server. Only the waits are
shorter: `destroy_after` and `quarantine` by the configuration, the hour and a quarter by the nodes' records."""

import json
import time
import unittest

import apiserver
import cluster as kekds
import kubectl
import pages
import rig as rigs

PAGE = "operations.md"
LONG_AGO_MS = 400_000  # more than the five minutes and what data keys live here


class Documented(rigs.Case):
    def setUp(self):
        self.nodes = kekds.Cluster(self, nodes=2, data_key={"max_age": "1s"}, destroy_after="2s", quarantine="2s")
        self.cluster = apiserver.Cluster(self, kekds=self.nodes.nodes)
        for node in self.nodes.nodes:
            node.write(etcd=[self.cluster.etcd.entry()])
        self.cluster.start()
        self.desk = kubectl.Desk(self, self.cluster)
        self.server = self.cluster.servers[0]

    def rotate(self):
        """By kekds that have told nobody of the old version: for whoever heard of it, they may seal under it for 100 s."""
        self.server.stop()
        self.nodes.restart()
        done = self.nodes.rotate("--i-have-a-backup")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.age()
        self.server.start()
        self.desk.run(pages.steps(PAGE, "## Rotating")[3])

    def age(self):
        """On record it is long since each node announced the newer version."""
        for node in self.nodes.nodes:
            path = "%s/%s.json" % (node.state, node.config["keyring"])

            def superseded(path=path):
                with open(path, encoding="utf-8") as file:
                    record = json.load(file)
                return record, [one["superseded"] for one in record["history"] if one["superseded"]]
            rigs.wait_for(lambda: superseded()[1], "its record")  # pylint: disable=cell-var-from-loop
            node.stop()
            record, (since,) = superseded()
            since["since_ms"] -= LONG_AGO_MS
            since["ms"] += LONG_AGO_MS
            with open(path, "w", encoding="utf-8") as file:
                json.dump(record, file)
            node.spawn()
        for node in self.nodes.nodes:
            node.good()

    def seen_suspended(self):
        """By each node, and a second ago: the inventory after it must be younger than that."""
        for node in self.nodes.nodes:
            path = "%s/%s.json" % (node.state, node.config["keyring"])

            def is_so(path=path):
                with open(path, encoding="utf-8") as file:
                    return any(one["suspended"] for one in json.load(file)["history"])
            rigs.wait_for(is_so, "its record")
        time.sleep(1)

    def lease(self):
        """As the nodes of a cluster write all the time."""
        self.cluster.create("configmaps", "lease-%d" % self.cluster.etcd.revision(), {"a": "b"})

    def test_a_version_goes_and_all_that_is_stored_opens(self):
        blocks = pages.steps(PAGE, "## Destroying a key")
        inventory, again, backup, ready, quarantine, last, destroy, end = blocks
        old = {"OLD": "1"}
        for name in "ab":
            self.cluster.create("secrets", name, {"a": name.encode()})
        snapshot = self.cluster.path("etcd.db")
        self.desk.run("etcdctl snapshot save %s" % snapshot)
        self.rotate()
        self.desk.until(ready, 3, says="0 of 2 inventories", **old)
        self.desk.until(inventory)
        self.lease()
        self.desk.until(again)
        self.desk.until(backup, 3, says="ENCRYPTION_PENDING", SNAPSHOT=snapshot)
        self.desk.until(ready, **old)
        self.desk.until(quarantine, **old)
        self.assertEqual(self.nodes.states()["hsm-a"], {1: ["suspended"], 2: ["active"]})
        self.desk.until(end, 3, says="since key destroy is under way: until it is destroyed, restart every API server")
        self.server.restart()
        self.desk.until(destroy, 3, says="was begun before the quarantine", **old)
        self.seen_suspended()
        self.lease()
        self.desk.until(last)
        self.desk.until(destroy, **old)
        self.assertRegex(self.desk.until(end).stdout, "(?m)^1 +destroyed ")
        self.server.restart()
        status, answer = self.server.call("GET", "/api/v1/secrets")
        self.assertEqual((status, [item["metadata"]["name"] for item in answer["items"]]), (200, ["a", "b"]))
        self.cluster.stop()
        self.nodes.stop()


if __name__ == "__main__":
    apiserver.need()
    unittest.main(verbosity=2)
