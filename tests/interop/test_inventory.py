#!/usr/bin/python3
"""kekctl inventory on a real etcd: what it counts, what it opens, what it says of what cannot be read."""

import base64
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
import fault as faults
import protowire
import rig as rigs
from grpc import RpcError

etcd_server.need()

V1, V2 = b"k8s:enc:kms:v1:kekd-v1:", b"k8s:enc:kms:v2:kekd:"
DEK = bytes(range(32))


def golden():
    """(key, value) of what Kubernetes' own code wrote below /registry, under every kind of provider."""
    with open(rigs.TOP_SRC + "/tests/kube/stored.golden", encoding="ascii") as file:
        rows = [line.split() for line in file if not line.startswith("#")]
    return [(row[7], bytes.fromhex(row[8])) for row in rows if row[6] == "/registry"]


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


class Inventory(rigs.Case):
    def setUp(self):
        self.etcd = etcd_server.Etcd(self).start()
        self.node = self.rig(config={"settle": "0ms", "etcd": [self.etcd.entry()]})

    def inventory(self, code, *options, node=None, json_=True):
        """What it says with this exit code: the object, and its standard error."""
        output = ["--output", "json"] if json_ else []
        done = (node or self.node).kekctl("inventory", *output, *options)
        said = done.stderr.decode()
        self.assertEqual(done.returncode, code, said + done.stdout.decode())
        if not json_:
            return done.stdout.decode(), said
        return json.loads(done.stdout) if done.stdout else None, said

    def seal(self):
        return self.node.client().encrypt1(DEK)

    def v1(self, name, sealed=None, ns="default"):
        """A Secret as v1 writes it, which opens."""
        sealed = sealed or self.seal()
        value = V1 + len(sealed).to_bytes(2, "big") + sealed + etcd_server.covered(DEK, b"k8s\0" + b"x" * 40)
        key = "/registry/secrets/%s/%s" % (ns, name)
        self.etcd.put(key, value)
        return key

    def v2(self, name, key_id=None):
        """A Secret whose envelope is whole and whose content is damaged."""
        sealed = self.node.client().encrypt(DEK)
        self.etcd.put("/registry/secrets/default/" + name,
                      V2 + protowire.pack((1, os.urandom(90)), (2, key_id or sealed.key_id),
                                          (3, sealed.ciphertext), (5, 1)))

    def records(self):
        with contextlib.suppress(FileNotFoundError), \
                open(self.node.state + "/k8s-test.inventories", encoding="utf-8") as file:
            return json.load(file)["inventories"]
        return []

    def under(self, found, resource="secrets"):
        (entry,) = [r for r in found["etcds"][0]["resources"] if r["resource"] == resource]
        return {(u["kind"], u["provider"], u["keks"][0]["version"] if u["keks"] else None): u["objects"]
                for u in entry["under"]}

    def named(self, found):
        return [(n["trouble"], n["resource"], n["namespace"], n["name"]) for n in found["etcds"][0]["named"]]

    def newer(self):
        """Takes the keyring to version 2."""
        client = self.node.client()
        before = client.status().key_id
        self.node.kekctl("key", "generate", check=True)
        self.node.kekctl("key", "promote", "2", "--i-have-a-backup", check=True)

        def announced():
            with contextlib.suppress(RpcError):  # in the moment of succession, on a busy machine
                return client.status().key_id != before
            return False
        rigs.wait_for(announced, "version 2")

    def test_what_is_counted_and_the_state_that_follows(self):
        self.node.write(context_accept=["kube"])  # where the golden ones were sealed
        self.node.start()
        for i in range(4):
            self.v1("old%d" % i)
        for key, value in golden():
            self.etcd.put(key, value)
        found, _ = self.inventory(3)
        self.assertEqual(found["state"], "ENCRYPTION_PENDING")
        (main,) = found["etcds"]
        self.assertEqual((main["objects"], main["unreadable"], self.named(found)), (4 + 11, 0, []))
        self.assertEqual(main["contexts"], [{"context": "interop", "own": True, "objects": 0},
                                            {"context": "kube", "own": True, "objects": 1}])
        counts = self.under(found)
        self.assertEqual(counts[("kms v1", "kekd-v1", 1)], 4)
        self.assertEqual(counts[("kms v1", "kekd-v1", None)], 2)  # another keyring's KEK
        self.assertEqual(counts[("kms v2", "kekd-v2", None)], 1)
        for other in (("plain", "", None), ("aescbc", "key1", None), ("aescbc", "team:a", None),
                      ("aesgcm", "key1", None), ("secretbox", "key1", None), ("kms v1", "other:plug:in", None),
                      ("kms v2", "other-v2", None), ("kms v2", "other-key", None)):
            self.assertEqual(counts[other], 1, other)
        self.assertEqual(sum(found["foreign_keks"].values()), 3)
        for key, _ in golden():
            self.etcd.delete(key)
        found, _ = self.inventory(0)
        self.assertEqual((found["state"], found["good"]), ("ENCRYPTED", True))
        self.newer()
        self.v1("new")
        found, _ = self.inventory(3)
        self.assertEqual(self.under(found), {("kms v1", "kekd-v1", 1): 4, ("kms v1", "kekd-v1", 2): 1})
        self.assertEqual({v["version"]: (v["state"], v["primary"], v["objects"]) for v in found["versions"]},
                         {1: ("active", False, 4), 2: ("active", True, 1)})
        text, said = self.inventory(3, json_=False)
        self.assertIn("k8s-test.v2 (primary)", text)
        self.assertIn("state: ENCRYPTION_PENDING", text)
        self.assertEqual(said, "")
        # On record, with what each of them said.
        last = self.records()[-1]
        self.assertEqual((last["etcd"], last["objects"], last["unreadable"], last["verified"], last["context"]),
                         ("main", 5, 0, False, "interop"))
        self.assertEqual(last["by_kek"], {v["kek_id"]: v["objects"] for v in found["versions"]})
        self.assertEqual(last["revision"], found["etcds"][0]["revision"])
        # What is to be encrypted can be said, and what nobody asked about has no state.
        self.etcd.put("/registry/configmaps/default/a", "{}")
        found, _ = self.inventory(3, "--resource", "configmaps")
        self.assertEqual(found["state"], "DECRYPTED")
        self.assertEqual({r["resource"]: r["state"] for r in found["etcds"][0]["resources"]},
                         {"configmaps": "DECRYPTED", "secrets": None})

    def test_the_api_servers_own_file_says_what_should_be(self):
        self.node.start()
        self.v1("one")
        self.etcd.put("/registry/configmaps/default/a", "{}")
        path = self.node.folder + "/encryption.yaml"

        def state(providers, resources="secrets, configmaps"):
            with open(path, "w", encoding="ascii") as file:
                file.write("apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n"
                           "  - resources: [%s]\n    providers:\n" % resources)
                file.writelines("      - %s\n" % provider for provider in providers)
            done = self.node.kekctl("--output", "json", "inventory", "--encryption-config", path)
            return done.returncode, json.loads(done.stdout)["state"]
        kekd = "kms: {name: kekd-v1, endpoint: \"unix:///s\"}"
        other = "kms: {name: other, endpoint: \"unix:///o\"}"
        identity = "identity: {}"
        self.assertEqual(state([kekd, identity]), (3, "ENCRYPTION_PENDING"))
        self.assertEqual(state([kekd, identity], "secrets"), (0, "ENCRYPTED"))
        self.assertEqual(state([identity, kekd]), (3, "DECRYPTION_PENDING"))
        self.assertEqual(state([other, kekd], "secrets"), (3, "ENCRYPTION_PENDING"))
        self.assertEqual(state([other], "secrets"), (3, "ENCRYPTION_ERROR"))  # no provider reads it
        self.assertEqual(state([identity], "configmaps"), (3, "DECRYPTION_ERROR"))  # no rule reads the Secret
        self.etcd.delete("/registry/secrets/default/one")
        self.assertEqual(state([identity, kekd]), (0, "DECRYPTED"))
        with open(path, "w", encoding="ascii") as file:
            file.write("kind: Secret\n")
        self.assertIn(path + ":1:7: expected kind EncryptionConfiguration",
                      self.inventory(2, "--encryption-config", path)[1])
        os.remove(path)
        self.assertIn("--encryption-config: %s cannot be opened" % path, self.inventory(1, "--encryption-config", path)[1])

    def test_what_is_wrong_where_it_lies_is_named(self):
        self.node.start()
        self.etcd.put("/registry/secrets/ns/unknown", "k8s:enc:vault:v1:x:abc")
        _, said = self.inventory(3)
        self.assertNotIn("how to remove it", said)  # it may be whole
        self.assertIn("Remove none of it for that", said)
        key = self.v1("cut")
        self.etcd.put(key, self.etcd.values(key)[key].value[:60])
        self.v2("lies", "kek1-00000000000000000000000000000000")
        found, said = self.inventory(3)
        self.assertEqual(self.named(found), [("malformed", "secrets", "default", "cut"),
                                             ("unknown-prefix", "secrets", "ns", "unknown"),
                                             ("key-id", "secrets", "default", "lies")])
        self.assertEqual((found["state"], found["etcds"][0]["unreadable"]), ("ENCRYPTION_ERROR", 2))
        self.assertIn("fails every LIST of its resource", said)
        self.assertEqual(self.records()[-1]["unreadable"], 2)
        self.assertEqual(self.records()[-1]["disagreeing"], 1)
        # Nothing stands beside what kms v1 wrote, but no version has such an id.
        self.v1("whole")
        sealed = bytearray(self.seal())
        sealed[8] ^= 4
        self.v1("flipped", bytes(sealed))
        self.inventory(3)
        self.assertEqual(self.records()[-1]["disagreeing"], 2)

    def test_what_does_not_open_is_told_from_what_cannot_be_looked_at(self):
        self.node.start()
        self.v1("good")
        found, _ = self.inventory(0, "--verify")
        self.assertEqual(found["etcds"][0]["verify"]["objects"]["opens"], 1)
        self.assertTrue(self.records()[-1]["verified"])
        self.v2("content")  # its seed opens, it does not
        sealed = bytearray(self.seal())
        sealed[30] ^= 1  # in the wrapped data key
        self.v1("wrapped", bytes(sealed))
        sealed = bytearray(self.seal())
        sealed[-1] ^= 1  # the tag
        self.v1("tag", bytes(sealed), ns="other")
        found, said = self.inventory(3, "--verify")
        self.assertEqual(sorted(self.named(found)), [("damaged", "secrets", "default", "content"),
                                                     ("damaged", "secrets", "default", "wrapped"),
                                                     ("damaged", "secrets", "other", "tag")])
        self.assertEqual(found["state"], "ENCRYPTION_ERROR")
        self.assertIn("fails every LIST of its resource", said)
        self.assertNotIn("unsafe delete", said)
        self.assertFalse(self.records()[-1]["verified"])
        self.node.stop()
        # Nobody can be asked: the same objects are not damaged as far as anybody knows.
        with self.node.token.away():
            found, said = self.inventory(3, "--verify")
        self.assertEqual({trouble for trouble, *_ in self.named(found)}, {"unreachable"})
        self.assertEqual(found["etcds"][0]["verify"]["objects"]["damaged"], 0)
        self.assertIn("NOT damaged", said)
        self.assertIn("unsafe delete while kekd's /readyz is not ok", said)
        self.assertEqual((found["versions_known_from"], found["primary"]["known_from"]), ("record", "record"))

    def test_many_keks_are_told_apart(self):
        # Whoever writes etcd can name as many as he likes: what is known of one is not what is known of another.
        self.node.start()
        sealed = self.seal()
        damaged = bytearray(self.seal())
        damaged[30] ^= 1  # in the wrapped data key

        def foreign(name, number):
            self.v1(name, sealed[:8] + number.to_bytes(16, "big") + sealed[24:])
        for i in range(260):
            foreign("a%04d" % i, i)
        self.v1("good", sealed)
        foreign("more", 1000)
        self.v1("wrapped", bytes(damaged))
        found, _ = self.inventory(3, "--verify")
        objects = found["etcds"][0]["verify"]["objects"]
        self.assertEqual([objects[word] for word in ("opens", "no-key", "damaged", "undecided")], [1, 261, 1, 0])

    def test_who_holds_another_key_or_gets_no_login_calls_nothing_damaged(self):
        node = self.node = self.rig(config={"etcd": [self.etcd.entry()]}, pair=True)
        node.start()
        for i in range(3):
            self.v1("one%d" % i)
        node.stop()
        fault = faults.inject(node, 0)
        self.addCleanup(fault.close)
        fault.put("* every wrongkey 1")
        # hsm-a says no to each, and hsm-b opens them.
        found, _ = self.inventory(0, "--verify")
        self.assertEqual(found["etcds"][0]["verify"]["objects"]["opens"], 3)
        self.assertGreater(fault.done(), 0)
        node.write(providers=node.config["providers"][:1])
        found, said = self.inventory(3, "--verify")
        self.assertEqual({trouble for trouble, *_ in self.named(found)}, {"undecided"})
        self.assertIn("is it the right key", said)
        self.assertIn("unsafe delete", said)
        fault.put("* every wrongkey 1 proc=1")  # one process alone; a fresh one is asked
        self.inventory(0, "--verify")
        self.assertGreater(fault.done(), 0)
        fault.put()
        with open(node.token.pin_file, "w", encoding="ascii") as file:
            file.write("000000\n")
        found, said = self.inventory(3, "--verify")
        self.assertEqual({trouble for trouble, *_ in self.named(found)}, {"unreachable"})
        self.assertIn("NOT damaged", said)
        self.assertEqual(self.records()[-1]["objects"], 3)

    def test_a_suspended_version_and_a_lost_one_are_not_damage(self):
        self.node.start()
        self.v1("old")
        self.newer()
        self.v1("new")
        self.node.kekctl("key", "retire", "1", check=True)
        self.node.kekctl("key", "suspend", "1", check=True)
        found, said = self.inventory(3, "--verify")
        self.assertEqual(self.named(found), [("suspended", "secrets", "default", "old")])
        self.assertIn("unsafe delete", said)
        for key, value in golden():
            if key.endswith("/one") or key.endswith("/two"):
                self.etcd.put(key, value)
        self.etcd.delete("/registry/secrets/default/old")
        found, _ = self.inventory(3, "--verify")
        self.assertEqual({trouble for trouble, *_ in self.named(found)}, {"no-key", "key-id"})

    def test_what_opens_in_another_clusters_context_alone_does_not_open_here(self):
        # kms v1 has no key_id that would tell: only opening does.
        self.node.write(etcd=[self.etcd.entry(context="elsewhere")])
        self.node.start()
        self.v1("one")
        found, said = self.inventory(3, "--verify")
        objects = found["etcds"][0]["verify"]["objects"]
        self.assertEqual((objects["opens"], objects["other-context"]), (0, 1))
        self.assertEqual((found["state"], self.named(found)),
                         ("ENCRYPTION_ERROR", [("other-context", "secrets", "default", "one")]))
        self.assertIn("a context that the kekd of their etcd does not open", said)

    def test_what_was_not_found_is_not_called_encrypted(self):
        self.node.start()
        found, said = self.inventory(3)
        self.assertEqual((found["state"], found["good"]), (None, False))
        self.assertIn("main: there is no object below /registry: is that the API server's etcd, and its", said)
        self.assertIn("not known, since no object was found", self.inventory(3, json_=False)[0])
        # A prefix that is too short, and one that is too long, which do not see what they count.
        self.etcd.put("/registry/prod/secrets/default/a", "{}")
        self.etcd.put("/registry/prod/namespaces/default", "{}")
        for prefix in ("/registry", "/registry/prod/secrets"):
            self.node.write(etcd=[self.etcd.entry(prefix=prefix)])
            found, said = self.inventory(3)
            self.assertEqual((found["state"], found["good"]), (None, False))
            self.assertIn("main: there is no object of a resource that Kubernetes has below %s: is" % prefix, said)
            self.assertIn("not known, since an etcd has no object that", self.inventory(3, json_=False)[0])
            self.assertEqual(self.records()[-1]["unreadable"], self.records()[-1]["objects"])
        self.node.write(etcd=[self.etcd.entry()])
        for key in ("secrets/default/a", "namespaces/default"):
            self.etcd.delete("/registry/prod/" + key)
        self.etcd.put("/registry/configmaps/default/a", "{}")
        self.etcd.put("/registry/masterleases/10.0.0.1", "{}")
        self.etcd.put("/registry/example.com/things/default/a", "{}")
        self.inventory(0)  # no Secret yet
        # A name that is no resource's, here or in the API server's file, which takes any.
        for name in ("secret", "pods.v1", "deployment.apps"):
            found, said = self.inventory(3, "--resource", name)
            self.assertFalse(found["good"])
            self.assertIn("nothing is stored as %s: Kubernetes up to 1.37 has no such resource" % name, said)
        found, said = self.inventory(0, "--resource", "thing.example.com")
        self.assertIn("remark: nothing is stored as thing.example.com", said)
        path = self.node.folder + "/encryption.yaml"

        def wanted(*resources):
            with open(path, "w", encoding="ascii") as file:
                file.write("{apiVersion: apiserver.config.k8s.io/v1, kind: EncryptionConfiguration, resources: [\n"
                           "{resources: %s, providers: [{kms: {name: kekd-v1, endpoint: 'unix:///s'}}, "
                           "{identity: {}}]}]}"
                           % json.dumps(resources))
            return "--encryption-config", path
        self.assertIn("nothing is stored as secret:", self.inventory(3, *wanted("secret"))[1])
        # What no configuration reaches keeps nobody from being done.
        for key in ("configmaps/default/a", "example.com/things/default/a"):
            self.etcd.delete("/registry/" + key)
        self.v1("one")
        found, _ = self.inventory(0, *wanted("*.*"))
        self.assertEqual({r["resource"]: r["state"] for r in found["etcds"][0]["resources"]},
                         {"masterleases": None, "secrets": "ENCRYPTED"})

    def test_a_misspelt_keyring_is_told(self):
        self.node.start()
        self.v1("one")
        self.node.write(keyring="k8s-tset")
        self.addCleanup(self.node.write)
        found, said = self.inventory(3)
        self.assertFalse(found["good"])
        self.assertIn("which version of keyring k8s-tset is the primary is not known", said)

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

    def test_a_record_that_is_damaged_is_told_and_stays(self):
        path = self.node.state + "/k8s-test.inventories"
        with open(path, "w", encoding="ascii") as file:
            file.write("{")
        found, said = self.inventory(1)
        self.assertIn(path, said)
        self.assertFalse(found["etcds"][0]["recorded"])
        with open(path, encoding="ascii") as file:
            self.assertEqual(file.read(), "{")

    def test_an_envelope_of_two_keks_spoils_no_record(self):
        # Whoever writes etcd can make one: whole, and of no kekd that there is yet.
        self.node.start()
        sealed = self.seal()
        entry = sealed[7:7 + 1 + 16 + 2 + int.from_bytes(sealed[24:26], "big")]
        other = entry[:1] + bytes(16) + entry[17:]
        self.v1("one", sealed)
        self.v1("two", sealed[:6] + b"\2" + entry + other + sealed[7 + len(entry):])
        for count in (1, 2):
            found, _ = self.inventory(3)
            self.assertEqual(found["etcds"][0]["unreadable"], 1)
            self.assertEqual(len(self.records()), count)
        last = self.records()[-1]
        self.assertEqual((last["objects"], last["unreadable"], list(last["by_kek"].values())), (2, 1, [1]))

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

    def check(self, code, *options, providers="[{identity: {}}, {kms: {apiVersion: v2, name: kekd, endpoint: %s}}]"):
        """kube config --check of the last file of disable, which needs no kekd: its rows, and what it said."""
        path = self.node.folder + "/present.yaml"
        with open(path, "w", encoding="ascii") as file:
            file.write("{apiVersion: apiserver.config.k8s.io/v1, kind: EncryptionConfiguration, resources: [\n"
                       "{resources: [secrets], providers: %s}]}\n" % providers
                       .replace("%s", "'unix://%s'" % self.node.socket))
        done = self.node.kekctl("kube", "config", "--phase", "disable", "--from", path, "--check", "--output", "json",
                                *options)
        said = done.stderr.decode()
        self.assertEqual(done.returncode, code, said)
        return {row["check"]: (row["result"], row["evidence"]) for row in json.loads(done.stdout)["checks"]}, said

    def test_a_phase_is_safe_once_each_etcd_says_so(self):
        far = etcd_server.Etcd(self, name="far").start()
        events = etcd_server.Etcd(self, name="events").start()
        self.node.write(etcd=[self.etcd.entry(), events.entry("events"), far.entry("far", context="elsewhere")])
        for etcd in (self.etcd, far):
            etcd.put("/registry/secrets/default/a", "{}")
        found, said = self.check(3)
        self.assertEqual(found["etcd events"][0], "not good")
        self.assertIn("etcd events: there is no object of a resource that Kubernetes has below /registry", said)
        events.put("/registry/events/default/a", "{}")
        self.check(0)
        far.put("/registry/secrets/default/b", "k8s:enc:kms:v2:kekd:x")
        found, said = self.check(3)
        self.assertEqual((found["etcd main"][0], found["etcd far"][0]), ("good", "not good"))
        self.assertIn("secrets: 1 under the entry kekd, and not kekd's", said)
        self.assertIn("etcd far is of context elsewhere", said)
        # It is another cluster's: then those of this one are named, each.
        found, _ = self.check(0, "--etcd", "main", "--etcd", "events")
        self.assertEqual(found["etcd far"],
                         ("not looked at", "--etcd does not name it, and it is of context elsewhere"))
        found, _ = self.check(3, "--etcd", "main")
        self.assertEqual((found["etcd main"][0], found["etcd events"][0]), ("good", "not looked at"))

    def test_a_key_of_the_same_name_that_is_another_key(self):
        for key, value in golden():
            if key.endswith(("/cbc", "/gcm", "/box", "/cbc-colon")):
                self.etcd.put(key, value)
        path = self.node.folder + "/encryption.yaml"

        def providers(secret):
            keys = "{keys: [{name: key1, secret: %s}, {name: 'team:a', secret: %s}]}" % (secret, secret)
            return "[{aescbc: %s}, {aesgcm: %s}, {secretbox: %s}, {identity: {}}, " \
                "{kms: {apiVersion: v2, name: kekd, endpoint: %%s}}]" % (keys, keys, keys)
        right, wrong = (base64.b64encode(key).decode() for key in (b"kekd test key 32" * 2, bytes(32)))
        found, _ = self.check(0, providers=providers(right))
        self.assertIn("each with a reader; 4 objects opened by keys of the file", found["etcd main"][1])
        found, said = self.check(3, providers=providers(wrong))
        self.assertEqual(found["etcd main"][0], "not good")
        self.assertIn("4 objects do not open by the key of that name", said)
        self.assertNotIn(wrong, said)
        for secret, code, opened in ((right, 3, 4), (wrong, 3, 0)):  # not all are under the first provider
            with open(path, "w", encoding="ascii") as file:
                file.write("{apiVersion: apiserver.config.k8s.io/v1, kind: EncryptionConfiguration, resources: [\n"
                           "{resources: [secrets], providers: %s}]}\n" % providers(secret).replace("%s", "'unix:///s'"))
            found, _ = self.inventory(code, "--encryption-config", path)
            (main,) = found["etcds"]
            self.assertEqual((main["opened_by_file"], main["troubles"]["other-key"]), (opened, 4 - opened))
        self.assertEqual(found["state"], "ENCRYPTION_ERROR")
        self.assertEqual({trouble for trouble, *_ in self.named(found)}, {"other-key"})

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
