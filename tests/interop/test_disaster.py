#!/usr/bin/env python3
"""docs/disaster.md, block by block. An object that is damaged in etcd fails every list; it is named, restored from a
snapshot, and another one removed. An HSM is exchanged (docs/operations.md), one of two is lost, then the only one, then
everything but what was kept elsewhere, and a second node is made."""

import json
import os
import shutil
import unittest

import apiserver
import cluster as kekds
import etcd_server
import kubectl
import pages
import rig as rigs

PAGE = "disaster.md"
UNSAFE = "--feature-gates=KMSv1=true,AllowUnsafeMalformedObjectDeletion=true"


class Damaged(rigs.Case):
    def setUp(self):
        self.cluster = apiserver.Cluster(self, options=[UNSAFE])
        self.cluster.kekd.write(etcd=[self.cluster.etcd.entry()])
        self.cluster.start()
        self.desk = kubectl.Desk(self, self.cluster)

    def tearDown(self):
        self.cluster.stop()

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
        well, name, keep, restore, remove = pages.steps(PAGE, "## One damaged object")
        for secret in ("a", "b", "c"):
            self.cluster.create("secrets", secret, {"x": secret.encode()})
        old = etcd_server.Etcd(self, name="restored").start()     # as it was then, in the place of a snapshot
        for key, value in self.cluster.etcd.values("/registry/secrets/").items():
            old.put(key, value.value)
        a, b = self.damage("a"), self.damage("b")
        self.cluster.servers[0].stop()
        self.cluster.servers[0].start(wait=False)
        rigs.wait_for(lambda: self.status() not in (0, 200), "lists that fail")
        self.desk.run(well)
        said = self.desk.run(name, code=3)
        for secret in "ab":
            self.assertRegex(said.stdout, r"(?m)^damaged .*default +%s " % secret)
        self.desk.run(keep, KEY=a)
        self.desk.run(restore, KEY=a, RESTORED=old.endpoint)
        self.assertIsNone(self.listed())
        self.desk.run(remove, NAMESPACE="default", NAME="b")
        self.assertNotIn(b, self.cluster.etcd.values("/registry/secrets/"))
        self.assertEqual(self.listed(), 2)
        self.assertEqual(self.cluster.get("secrets", "a")["data"], {"x": "YQ=="})
        self.desk.run(name)
        old.stop()

    def test_in_an_outage_the_first_two_steps_keep_from_deleting_what_is_whole(self):
        well, name = pages.steps(PAGE, "## Wait, and delete nothing")
        self.assertEqual([well, name], pages.steps(PAGE, "## One damaged object")[:2])
        self.cluster.create("secrets", "a", {"x": b"a"})
        kekd, server = self.cluster.kekd, self.cluster.servers[0]
        with kekd.token.away():
            kekd.stop()
            kekd.spawn()        # nothing is cached any more, here and below
            server.stop()
            server.start(wait=False)
            rigs.wait_for(lambda: self.status() not in (0, 200), "lists that fail")
            self.desk.run(well, code=3)
            said = self.desk.run(name, code=3)
            self.assertRegex(said.stdout, r"(?m)^unreachable .*default +a ")
            self.assertNotRegex(said.stdout, r"(?m)^damaged")
        rigs.wait_for(lambda: self.status() == 200, "lists that work")
        self.desk.run(well)
        self.desk.run(name)


class Losses(rigs.Case):
    """Two nodes, an API server and an etcd, to which all of it happens in turn. An API server that is well asks for Status
    each 20 s at most: the page that waits for that comes when most of it is over."""

    def setUp(self):
        self.nodes = kekds.Cluster(self, nodes=2)
        self.first, self.second = self.nodes.nodes
        # What the vendor's tools would copy, one for each HSM to come.
        self.copies = [rigs.Twin(self.first.token, "%s/copy-%d" % (self.nodes.folder, at)) for at in range(4)]
        self.cluster = apiserver.Cluster(self, kekds=self.nodes.nodes)
        for node in self.nodes.nodes:
            node.write(etcd=[self.cluster.etcd.entry()])
        self.cluster.start()
        self.desk = kubectl.Desk(self, self.cluster)
        self.server = self.cluster.servers[0]
        self.key_id = self.first_key_id = self.first.good().key_id

    def blocks(self, heading, count, page=PAGE):
        found = pages.steps(page, heading)
        self.assertEqual(len(found), count, heading)
        return found

    def next_configuration(self, node, **overrides):
        """A file beside the node's, which the node's rig takes for its own from now on."""
        node.merge(overrides)
        path = node.folder + "/new.yaml"
        with open(path, "w", encoding="ascii") as file:
            file.write("\n".join(rigs.yaml_lines(node.config)) + "\n")
        return path

    def provide(self, look, give, see, *providers):
        """On each node in turn: a configuration with these providers."""
        for node in self.nodes.nodes:
            self.desk.sit_at(node)
            new = self.next_configuration(node, providers=[node.provider(*one) for one in providers])
            self.desk.until(look, NEW=new)
            self.desk.run(give, NEW=new)
            self.desk.until(see)

    def write(self, name):
        self.cluster.create("secrets", name, {"a": name.encode()})

    def opens(self, *names):
        """A fresh API server has all of it, and each node announces what it should."""
        status, answer = self.server.call("GET", "/api/v1/secrets")
        self.assertEqual((status, [item["metadata"]["name"] for item in answer["items"]]), (200, sorted(names)))
        for node in self.nodes.nodes:
            if node.kekd is not None:
                self.assertEqual(node.good().key_id, self.key_id)

    def test_each_by_its_page_in_turn(self):
        self.write("a")
        self.snapshot = self.cluster.path("etcd.db")
        self.desk.run("etcdctl snapshot save %s" % self.snapshot)
        new, spare, other, last = self.copies
        self.exchange(new)
        self.one_of_two(new, spare)
        self.exchanged(spare)
        self.write("b")
        self.only_one(spare, other)
        self.no_backup(other)
        self.server.restart()
        self.opens("a", "b", "c")
        self.everything(last)
        self.opens("a")
        self.node()
        self.cluster.stop()
        self.nodes.stop()

    def exchange(self, new):
        self.change = self.blocks("## Changing the HSM", 3, "operations.md")
        self.provide(*self.change, ("hsm-a", self.first.token), ("hsm-b", new))

    def exchanged(self, spare):
        self.provide(*self.change, ("hsm-b", spare))

    def one_of_two(self, lost, spare):
        look, try_it, give, see, end = self.blocks("## One HSM of several", 5)
        lost.unplug()
        self.desk.until(look, 3, says="hsm-b: no token matches")
        self.provide(try_it, give, see, ("hsm-a", self.first.token), ("hsm-b", spare))
        for node in self.nodes.nodes:
            self.desk.sit_at(node)
            self.desk.until(end)

    def only_one(self, lost, copy):
        try_it, give, serves, well = self.blocks("## The only HSM, with a backup", 4)
        lost.unplug()
        self.desk.until(pages.steps(PAGE, "## Wait, and delete nothing")[0], 3, says="outage: no HSM answers")
        new = self.next_configuration(self.first)
        self.desk.run(try_it, 1, NEW=new)       # as it was: nothing answers there
        self.provide(try_it, give, serves, ("hsm-b", copy))
        self.desk.until(well)

    def no_backup(self, lost):
        """operations.md, "After a loss", with a Secret that the API server wrote and one that it read."""
        note, stop, away, make, start, well, heard, rewrite, left = self.blocks("### After a loss", 9, "operations.md")
        self.write("c")
        lost.unplug()
        self.fresh = rigs.Token(self.nodes.folder + "/fresh", "fresh")
        self.desk.until(note, 3, says="outage: no HSM answers")
        for node in self.nodes.nodes:
            self.desk.sit_at(node)
            self.desk.run(stop)
            self.desk.run(away)
            node.write(providers=[node.provider("hsm-a", self.fresh)])
        self.desk.until(make)
        for node in self.nodes.nodes:
            self.desk.sit_at(node)
            self.desk.run(start)
        found = json.loads(self.desk.until(well).stdout)
        (new,) = {node["key_id"] for node in found["nodes"]}
        self.assertNotEqual(new, self.key_id)
        self.desk.run(heard, NEW_KEY_ID=new)
        self.assertEqual(len(self.desk.run(left, KEY_ID=self.key_id).stdout.split()), 3)
        self.desk.run(rewrite)
        self.assertEqual(self.desk.run(left, KEY_ID=self.key_id).stdout, "")
        self.key_id = new

    def everything(self, kept):
        """But a backup of the first token, the snapshot, the configurations and the certificates."""
        encryption = shutil.copy(self.server.encryption, self.cluster.path("kept.yaml"))
        for server in (self.server, self.cluster.etcd):
            server.kill()
        os.remove(self.server.encryption)
        shutil.rmtree(self.cluster.etcd.folder + "/data")
        self.fresh.unplug()
        self.key_id = self.first_key_id
        for node in self.nodes.nodes:
            node.kill()
            shutil.rmtree(node.state)
            os.mkdir(node.state, 0o700)
        keys, start, serves = self.blocks("## Everything", 3)
        self.desk.sit_at(self.first)
        self.first.write(providers=[self.first.provider("hsm-a", kept)], status={"nodes": self.nodes.addresses[:1]})
        self.desk.until(keys)
        self.desk.run(start)
        self.assertIn(self.key_id, self.desk.until(serves).stdout)
        self.etcd(encryption)

    def etcd(self, encryption):
        needs, keys, restore, give, well = self.blocks("## etcd, from a snapshot", 5)
        etcd = self.cluster.etcd
        peer = "http://" + etcd.peers
        self.assertRegex(self.desk.run(needs, SNAPSHOT=self.snapshot).stdout, r"k8s-test\.v1 \(primary\)")
        self.desk.until(keys)
        self.desk.run(restore, SNAPSHOT=self.snapshot, DATA=etcd.folder + "/data", MEMBER="default", PEER=peer,
                      MEMBERS="default=" + peer)
        etcd.start()
        self.desk.run(give, KEPT=encryption, ENCRYPTION=self.server.encryption)
        self.server.start()
        self.desk.run(well)
        self.encryption = encryption

    def node(self):
        """The second one, which is new; the first has been alone."""
        keys, record, start, well, give = self.blocks("## A node", 5)
        for node in self.nodes.nodes:
            node.write(providers=self.first.config["providers"], status={"nodes": self.nodes.addresses})
        self.desk.sit_at(self.first)
        copy = shutil.copy(self.desk.env["RECORD"], self.desk.folder + "/cp1.json")
        self.desk.until(well, 3, says="not reached")
        self.desk.sit_at(self.second)
        self.desk.until(keys)
        self.desk.run(record, COPY=copy)
        self.desk.run(start)
        self.desk.until(well)
        self.desk.run(give, KEPT=self.encryption, ENCRYPTION=self.cluster.path("encryption-of-cp2.yaml"))
        self.assertEqual(self.second.good().key_id, self.key_id)



if __name__ == "__main__":
    apiserver.need()
    unittest.main(verbosity=2)
