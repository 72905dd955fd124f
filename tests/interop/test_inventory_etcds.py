#!/usr/bin/python3
"""Which etcds kekctl inventory reads, and how: several, one that is away, by certificate and password, one of nobody's
configuration, one that is compacted meanwhile, a snapshot."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import threading
import unittest

import certs
import etcd_server
import rig as rigs
from inventories import Inventory


class Between:
    """Stands between an etcd and its client, and does something once, after so many bytes of answers."""

    def __init__(self, address, after, deed):
        self.address, self.after, self.deed = address.rsplit(":", 1), after, deed
        self.lock, self.sent, self.done = threading.Lock(), 0, False

    def __enter__(self):
        address = rigs.own_address()
        host, port = address.rsplit(":", 1)
        self.listener = socket.create_server((host, int(port)))
        threading.Thread(target=self.serve, daemon=True).start()
        return address

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                client = self.listener.accept()[0]
                server = socket.create_connection((self.address[0], int(self.address[1])))
                threading.Thread(target=self.pump, args=(client, server, False), daemon=True).start()
                threading.Thread(target=self.pump, args=(server, client, True), daemon=True).start()

    def pump(self, source, target, counted):
        with contextlib.suppress(OSError), source, target:
            while data := source.recv(65536):
                if counted:
                    self.count(len(data))
                target.sendall(data)

    def count(self, size):
        with self.lock:
            self.sent += size
            if self.sent > self.after and not self.done:
                self.done = True
                self.deed()


class Etcds(Inventory):
    def test_one_etcd_of_two_is_away(self):
        other = etcd_server.Etcd(self, prefix="/other").start()
        self.node.write(etcd=[self.etcd.entry(), other.entry("events")])
        self.node.start()
        self.v1("one")
        other.put("/other/events/default/e", "{}")
        found, _ = self.inventory(0)
        self.assertEqual([(e["name"], e["objects"]) for e in found["etcds"]], [("main", 1), ("events", 1)])
        # Endpoints that lead elsewhere, which a restored etcd does, too.
        self.node.write(etcd=[self.etcd.entry(), self.etcd.entry("events", prefix="/other")])
        self.etcd.put("/other/events/default/e", "{}")
        self.assertIn("remark: events is etcd cluster %016x, and was %016x at its last inventory" % (
            int(found["etcds"][0]["cluster_id"], 16), int(found["etcds"][1]["cluster_id"], 16)), self.inventory(0)[1])
        self.node.write(etcd=[self.etcd.entry(), other.entry("events")])
        other.stop()
        found, said = self.inventory(1)
        self.assertIn("events", said)
        self.assertIn(other.address, said)
        self.assertIsNone(found["state"])
        self.assertEqual([(e["name"], e["complete"], e["recorded"]) for e in found["etcds"]],
                         [("main", True, True), ("events", False, False)])
        self.assertEqual([r["etcd"] for r in self.records()], ["main", "events"] * 2 + ["main"])
        self.assertEqual(len(self.inventory(0, "--etcd", "main")[0]["etcds"]), 1)
        # Two entries that lead to the same keys would count them twice.
        twice = dict(self.etcd.entry("again"), prefix="/registry/secrets")
        self.node.write(etcd=[self.etcd.entry(), twice])
        self.assertIn("count twice", self.inventory(1)[1])

    def test_certificates_and_passwords(self):
        authority = certs.Authority(self.node.folder + "/tls")
        secure = etcd_server.Etcd(self, tls=authority, name="secure").start()
        secure.put("/registry/secrets/default/a", "{}")
        self.etcd.put("/registry/configmaps/default/a", "{}")
        self.node.write(etcd=[secure.entry()])
        self.assertEqual(self.inventory(3)[0]["etcds"][0]["objects"], 1)
        stranger = certs.Authority(self.node.folder + "/stranger", name="stranger")
        cert, key = stranger.issue("/CN=apiserver", usage="clientAuth")
        for wrong in ({"ca": stranger.cert}, {"cert": cert, "key": key}):
            with self.subTest(wrong=list(wrong)):
                self.node.write(etcd=[dict(secure.entry(), **wrong)])
                found, said = self.inventory(1)
                self.assertIn(secure.address, said)
                self.assertFalse(found["complete"])
        self.assertEqual(len(self.records()), 1)
        # etcd's own access control: a role that may read something else.
        for path, body in (("auth/user/add", {"name": "root", "password": "r"}),
                           ("auth/role/add", {"name": "root"}),
                           ("auth/user/grant", {"user": "root", "role": "root"}),
                           ("auth/user/add", {"name": "kekd", "password": "secret-pw"}),
                           ("auth/role/add", {"name": "reader"}),
                           ("auth/role/grant", {"name": "reader", "perm": {
                               "permType": "READ", "key": etcd_server.coded("/elsewhere/"),
                               "range_end": etcd_server.coded("/elsewhere0")}}),
                           ("auth/user/grant", {"user": "kekd", "role": "reader"}), ("auth/enable", {})):
            self.etcd.call(path, **body)
        password = self.node.folder + "/password"
        with open(os.open(password, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as file:
            file.write("secret-pw\n")
        self.node.write(etcd=[self.etcd.entry(user="kekd", password_file=password)])
        said = self.inventory(1)[1]
        self.assertIn("main", said)
        self.assertNotIn("secret-pw", said)
        token = self.etcd.call("auth/authenticate", name="root", password="r")["token"]
        self.etcd.call("auth/role/grant", token, name="reader", perm={
            "permType": "READ", "key": etcd_server.coded("/registry/"), "range_end": etcd_server.coded("/registry0")})
        self.assertEqual(self.inventory(0)[0]["etcds"][0]["objects"], 1)
        # Also where no key is needed, and no arena for keys was made.
        named = ("--endpoints", self.etcd.endpoint, "--user", "kekd", "--password-file", password)
        done = subprocess.run([rigs.program("kekctl"), "--output", "json", "inventory", *named], timeout=60,
                              env={k: v for k, v in os.environ.items() if k != "KEKD_CONFIG"}, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.check(0)
        with open(password, "w", encoding="ascii") as file:
            file.write("wrong-pw\n")
        self.assertNotIn("wrong-pw", self.inventory(1)[1])

    def test_an_etcd_of_nobodys_configuration(self):
        self.node.start()
        self.v1("one")
        endpoint = ["--endpoints", "%s,%s" % ("http://127.0.0.1:1", self.etcd.endpoint)]
        found, said = self.inventory(0, *endpoint)
        self.assertIn("127.0.0.1:1", said)  # a member that is away
        self.assertEqual(found["etcds"][0]["configured"], False)
        self.assertEqual(self.records(), [])
        # Without a configuration no KEK has a name, and none is needed.
        env = {key: value for key, value in os.environ.items() if key != "KEKD_CONFIG"}
        if not os.path.exists("/etc/kekd/kekd.yaml"):
            done = subprocess.run([rigs.program("kekctl"), "--output", "json", "inventory", *endpoint], env=env,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
            alone = json.loads(done.stdout)
            self.assertEqual((alone["keyring"], alone["primary"], alone["state"]), (None, None, "ENCRYPTED"))
            self.assertEqual(alone["foreign_keks"], {found["primary"]["kek_id"]: 1})

    def test_usage(self):
        bare = self.rig(generate=False)
        for node, options, text in (
                (bare, (), "no etcd is configured"),
                (self.node, ("--etcd", "nil"), "--etcd"),
                (self.node, ("--endpoints", "h:1"), "https://HOST:PORT"),
                (self.node, ("--endpoints", ""), "at least one"),
                (self.node, ("--endpoints", "https://h:1", "--cert", "/c"), "--cert and --key"),
                (self.node, ("--endpoints", "https://h:1", "--user", "u"), "--user and --password-file"),
                (self.node, ("--endpoints", "http://10.0.0.1:1", "--user", "u", "--password-file", "/p"), "https"),
                (self.node, ("--endpoints", "https://h:1", "--prefix", "registry"), "--prefix"),
                (self.node, ("--endpoints", "https://h:1", "--snapshot", "/s"), "one of"),
                (self.node, ("--ca", "/ca"), "go with --endpoints"),
                (self.node, ("--user", "u", "--password-file", "/p"), "go with --endpoints or --snapshot"),
                (self.node, ("--snapshot", "/s", "--user", "u"), "--user and --password-file go together"),
                (self.node, ("--endpoints", "https://u:word@h:1"), "found \"one with a user in it\""),
                (self.node, ("--prefix", "/x"), "goes with"),
                (self.node, ("--resource", "Secret"), "expected a resource"),
                (self.node, ("--resource", "secrets", "--encryption-config", "/e"), "not both")):
            with self.subTest(options=options):
                self.assertIn(text, self.inventory(2, *options, node=node)[1])

    def test_a_revision_that_is_compacted_meanwhile(self):
        count = 600  # several pages
        for i in range(count):
            self.etcd.put("/registry/secrets/default/%04d" % i, bytes(10000))
        before = self.etcd.revision()

        def compact():
            self.etcd.put("/registry/secrets/default/more", "{}")
            self.etcd.compact(self.etcd.revision())
        with Between(self.etcd.address, 1 << 20, compact) as address:
            self.node.write(etcd=[dict(self.etcd.entry(), endpoints=["http://" + address])])
            found, said = self.inventory(3)
        (main,) = found["etcds"]
        self.assertEqual((main["restarts"], main["objects"]), (1, count + 1), said)
        self.assertGreater(main["revision"], before)
        self.assertIn("anew", said)

    @unittest.skipIf(shutil.which("etcdctl") is None, "SKIP: etcdctl is missing: snapshots were not tested")
    def test_a_snapshot(self):
        self.node.start()
        self.v1("one")
        path = self.node.folder + "/snapshot.db"
        subprocess.run(["etcdctl", "--endpoints", self.etcd.endpoint, "snapshot", "save", path], check=True,
                       env=dict(os.environ, ETCDCTL_API="3"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.etcd.delete("/registry/secrets/default/one")
        found, _ = self.inventory(0, "--snapshot", path, "--verify")
        (entry,) = found["etcds"]
        self.assertEqual((entry["snapshot"], entry["objects"], entry["verify"]["objects"]["opens"]), (path, 1, 1))
        self.assertEqual(self.records(), [])
        # One of an etcd that lets users in alone.
        for call, body in (("user/add", {"name": "root", "password": "secret-pw"}), ("role/add", {"name": "root"}),
                           ("user/grant", {"user": "root", "role": "root"}), ("enable", {})):
            self.etcd.call("auth/" + call, **body)
        self.etcd.call("kv/put", self.etcd.call("auth/authenticate", name="root", password="secret-pw")["token"],
                       key=etcd_server.coded("/registry/configmaps/default/a"), value=etcd_server.coded("{}"))
        os.remove(path)
        subprocess.run(["etcdctl", "--endpoints", self.etcd.endpoint, "--user", "root:secret-pw", "snapshot", "save",
                        path], check=True, env=dict(os.environ, ETCDCTL_API="3"), stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        self.assertIn("none is named", self.inventory(1, "--snapshot", path)[1])
        password = self.node.folder + "/password"
        with open(os.open(password, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as file:
            file.write("secret-pw\n")
        found, said = self.inventory(0, "--snapshot", path, "--user", "root", "--password-file", password)
        self.assertEqual(found["etcds"][0]["objects"], 1)
        self.assertNotIn("secret-pw", said)
        with open(path, "wb") as file:
            file.write(b"no snapshot")
        self.assertIn(path, self.inventory(1, "--snapshot", path)[1])


if __name__ == "__main__":
    rigs.main()
