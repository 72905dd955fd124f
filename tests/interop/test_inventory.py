#!/usr/bin/python3
"""kekctl inventory on a real etcd: what it counts, the state that follows, and what it names."""

import base64
import json
import os

import etcd_server
import rig as rigs
from inventories import Inventory, golden


class Counts(Inventory):
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


if __name__ == "__main__":
    rigs.main()
