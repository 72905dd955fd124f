#!/usr/bin/python3
"""kekctl inventory of several roots of trust: under whose KEKs etcd's objects are, and what one that is wrong costs."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time

import etcd_server
import p11
import protowire
import rig as rigs
import roots
from grpc import RpcError
from roots import DEK, STRICT, entries

sys.path.insert(0, os.path.join(os.environ["abs_top_srcdir"], "tests", "unit"))
import kube_server  # noqa: E402  pylint: disable=wrong-import-position

etcd_server.need()

V1, V2 = b"k8s:enc:kms:v1:kekd-v1:", b"k8s:enc:kms:v2:kekd:"
DATA_KEY = bytes(range(32, 64))


class Inventory(roots.Roots):
    def start(self, mode, **more):
        self.etcd = etcd_server.Etcd(self).start()
        self.node = self.two(mode, config=dict(STRICT, etcd=[self.etcd.entry()]), **more)
        self.node.start()
        return self.node

    def restart(self, **more):
        self.node.close_clients()
        self.node.stop()
        self.node.write(**more)
        self.node.start()

    def seal(self):
        with self.node.client() as client:
            return client.encrypt1(DEK)

    def put(self, name, sealed=None, resource="secrets"):
        """An object as v1 writes it, which opens. Returns its envelope."""
        sealed = sealed or self.seal()
        value = V1 + len(sealed).to_bytes(2, "big") + sealed + etcd_server.covered(DEK, b"k8s\0" + b"x" * 40)
        self.etcd.put("/registry/%s/default/%s" % (resource, name), value)
        return sealed

    def key_id(self):
        with contextlib.suppress(RpcError), self.node.client() as client:
            return client.status().key_id
        return None

    def put2(self, name, mode=None):
        """An object as v2 writes it, whose content is nothing. mode: what its envelope says of itself instead."""
        with self.node.client() as client:
            sealed = client.encrypt(DEK)
        found = sealed.ciphertext if mode is None else sealed.ciphertext[:5] + bytes([mode]) + sealed.ciphertext[6:]
        self.etcd.put("/registry/secrets/default/" + name,
                      V2 + protowire.pack((1, bytes(90)), (2, sealed.key_id), (3, found), (5, 1)))
        return found

    def without(self, token, *names, put=None):
        """Objects that are sealed while the root of that token is out."""
        whole = self.key_id()
        with token.away():
            rigs.wait_for(lambda: self.key_id() not in (None, whole), "another key_id")
            for name in names:
                self.assertEqual(len(entries((put or self.put)(name))[1]), 1)
        rigs.wait_for(lambda: self.key_id() == whole, "the key_id of both")

    def inventory(self, code, *options, json_=True):
        done = self.node.kekctl("inventory", *(["--output", "json"] if json_ else []), *options)
        said = done.stderr.decode()
        self.assertEqual(done.returncode, code, said + done.stdout.decode())
        return json.loads(done.stdout) if json_ else done.stdout.decode(), said

    def under(self, found, resource="secrets"):
        """How many objects are under which versions of which roots."""
        (entry,) = [r for r in found["etcds"][0]["resources"] if r["resource"] == resource]
        return {" ".join("%s.%s" % (k["root"], k["version"]) for k in u["keks"]): u["objects"] for u in entry["under"]}

    def named(self, found):
        return sorted((n["trouble"], n["name"]) for n in found["etcds"][0]["named"])

    def why(self, found, name):
        return [n["why"] for n in found["etcds"][0]["named"] if n["name"] == name][-1]

    def record(self):
        with open(self.node.state + "/k8s-test.inventories", encoding="utf-8") as file:
            return json.load(file)["inventories"][-1]

    def newer(self, root):
        """Takes one root to its version 2."""
        before = self.key_id()
        self.node.kekctl("--root", root, "key", "generate", check=True)
        self.node.kekctl("--root", root, "key", "promote", "2", "--i-have-a-backup", check=True)
        rigs.wait_for(lambda: self.key_id() not in (None, before), "version 2 of " + root)


class Any(Inventory):
    def test_what_one_root_that_was_out_leaves_behind(self):
        node = self.start("any")
        for name in ("one", "two", "three"):
            both = self.put(name)
        found, said = self.inventory(0)
        self.assertEqual((found["state"], found["good"], found["under_protected"]), ("ENCRYPTED", True, 0))
        self.assertEqual(said, "")
        self.without(node.other, "alone", "lonely")
        found, said = self.inventory(3)
        self.assertEqual((found["state"], found["under_protected"]), ("ENCRYPTION_PENDING", 2))
        self.assertEqual(self.under(found), {"site.1 spare.1": 3, "site.1": 2})
        self.assertEqual({r["root"]: (r["primary"]["version"], r["missing_from"]) for r in found["roots"]},
                         {"site": (1, 0), "spare": (1, 2)})
        self.assertIn("2 objects are under-protected: they were sealed without spare\n", said)
        self.assertIn("kekctl reencrypt writes what is under-protected anew", said)
        text, _ = self.inventory(3, json_=False)
        self.assertRegex(text, r" 3 +kms v1 kekd-v1 +site: k8s-test.v1 \(primary\), spare: k8s-test.v1 \(primary\)\n")
        self.assertRegex(text, r"ENCRYPTION_PENDING +2 +kms v1 kekd-v1 +site: k8s-test.v1 \(primary\); without spare\n")
        self.assertIn("\nprimary: site: k8s-test.v1 (primary), spare: k8s-test.v1 (primary)\n", text)
        # On record under each KEK.
        site, spare = (kek.hex() for _, kek, _ in entries(both)[1])
        record = self.record()
        self.assertEqual((record["by_kek"], record["keks_each"]), ({site: 5, spare: 3}, 2))
        self.assertEqual((record["objects"], record["unreadable"], record["disagreeing"]), (5, 0, 0))
        # The one of the two that is newer elsewhere, and what nobody asked about.
        self.newer("spare")
        self.put("new")
        self.put("map", resource="configmaps")
        found, _ = self.inventory(3)
        self.assertEqual(self.under(found), {"site.1 spare.1": 3, "site.1": 2, "site.1 spare.2": 1})
        self.assertEqual({(v["root"], v["version"]): (v["primary"], v["objects"]) for v in found["versions"]},
                         {("site", 1): (True, 7), ("spare", 1): (False, 3), ("spare", 2): (True, 2)})
        for name in ("one", "two", "three", "alone", "lonely"):
            self.put(name)
        found, said = self.inventory(0, "--verify")
        self.assertEqual((found["state"], self.under(found), said), ("ENCRYPTED", {"site.1 spare.2": 6}, ""))
        self.assertTrue(self.record()["verified"])

    def remarks(self):
        return [line for line in self.node.page("/readyz")[1].splitlines() if "may not open by" in line]

    def lapse(self):
        with open(self.node.state + "/k8s-test@spare.json", encoding="utf-8") as file:
            return json.load(file)["lapse"]

    def earlier(self, minutes):
        """Stops it, and has the record say that the root was out so much earlier; starts it again."""
        node = self.node
        rigs.wait_for(lambda: not self.lapse()["goes_on"], "the record to have its end")
        node.close_clients()
        node.stop()
        path = node.state + "/k8s-test@spare.json"
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
        for name in ("since_ms", "until_ms"):
            record["lapse"][name] -= minutes * 60000
        with open(path, "w", encoding="utf-8") as file:
            json.dump(record, file)
        node.spawn().good()

    def test_it_is_remarked_until_an_inventory_shows_that_nothing_lacks_it(self):
        node = self.start("any")
        self.put("one")
        self.assertEqual(self.remarks(), [])
        self.without(node.other, "alone")
        line, = rigs.wait_for(self.remarks, "the remark")
        self.assertRegex(line, r"^to be mended: spare: what was sealed from 20\S+Z to 20\S+Z may not open by this root "
                               r"of trust; rewrite it: kekctl reencrypt; then kekctl inventory")
        name, = [name for name in node.metrics() if 'reason="under_protected"' in name]
        self.assertIn('root="spare"', name)
        node.wait_log("warn: spare: to be mended: what was sealed from")
        # Nothing lacks it, but what was read a moment later may have missed what was written after that.
        self.put("alone")
        self.inventory(0)
        time.sleep(3)
        self.assertEqual(len(self.remarks()), 1)
        # Over a restart, and as long as something lacks it.
        os.unlink(node.state + "/k8s-test.protected")
        self.earlier(10)
        self.assertEqual(len(rigs.wait_for(self.remarks, "the remark")), 1)
        self.without(node.other, "later")
        rigs.wait_for(self.remarks, "the remark")
        self.assertTrue(self.lapse()["since_ms"] < self.lapse()["until_ms"] - 500000)  # both times
        self.earlier(10)
        self.inventory(3)
        self.assertEqual(list(self.protected()), ["site"])
        time.sleep(3)
        self.assertEqual(len(rigs.wait_for(self.remarks, "the remark")), 1)
        self.put("later")
        self.inventory(0)
        self.assertEqual(sorted(self.protected()), ["site", "spare"])
        rigs.wait_for(lambda: not self.remarks(), "it to be done")
        node.wait_log("info: spare: no longer so: what was sealed from")
        node.close_clients()
        node.stop()
        node.spawn().good()
        time.sleep(2)
        self.assertEqual(self.remarks(), [])
        node.stop()

    def protected(self):
        with open(self.node.state + "/k8s-test.protected", encoding="utf-8") as file:
            return json.load(file)["since"]

    def test_what_is_under_protected_is_told_though_a_root_is_out_now(self):
        node = self.start("any")
        self.put("one")
        self.without(node.token, "alone")
        node.close_clients()
        node.stop()
        with node.token.away():
            found, said = self.inventory(3)
        self.assertEqual(self.under(found), {"site.1 spare.1": 1, "spare.1": 1})  # by this node's record
        self.assertEqual((found["state"], found["under_protected"]), ("ENCRYPTION_PENDING", 1))
        self.assertEqual({r["root"]: r["versions_known_from"] for r in found["roots"]},
                         {"site": "record", "spare": "providers"})
        self.assertIn("without site", said)

    def test_nothing_is_rewritten_under_less_while_a_root_is_out(self):
        node = self.start("any")
        self.put("both")
        folder = node.folder + "/kube"
        os.mkdir(folder)
        self.addCleanup(shutil.rmtree, folder)
        kube_server.certificates(folder)
        server = kube_server.Server(folder, 3)
        self.addCleanup(server.close)
        whole = self.key_id()
        with node.other.away():
            rigs.wait_for(lambda: self.key_id() not in (None, whole), "another key_id")
            done = node.kekctl("reencrypt", "--single-node", "--kubeconfig", server.kubeconfig())
        said = done.stderr.decode()
        self.assertEqual(done.returncode, 1, said)
        self.assertRegex(said, "nothing was rewritten: .* announces no KEK of spare: ")
        self.assertEqual(server.stale(), 3)

    def test_what_one_root_of_two_does_not_open_is_no_damage(self):
        node = self.start("any")
        both = self.put("both")
        self.without(node.other, "alone")
        self.newer("spare")
        self.put("new")
        found, _ = self.inventory(3, "--verify")
        self.assertEqual(found["etcds"][0]["verify"]["objects"]["opens"], 3)
        self.assertEqual(found["etcds"][0]["verify"]["roots"], [{"root": "site", "opens": 3, "fails": 0},
                                                                {"root": "spare", "opens": 2, "fails": 0}])
        self.assertEqual(self.named(found), [])
        # Version 1 of one root opens no more: what is under it is whole.
        spare = entries(both)[1][1][1]
        p11.set_attributes(node.other, spare, wrap=False, unwrap=False)
        found, said = self.inventory(3, "--verify")
        verify = found["etcds"][0]["verify"]
        self.assertEqual((verify["objects"]["opens"], verify["objects"]["opens-in-part"]), (2, 1))
        self.assertEqual(verify["roots"], [{"root": "site", "opens": 3, "fails": 0},
                                           {"root": "spare", "opens": 1, "fails": 1}])
        self.assertEqual(self.named(found), [("opens-in-part", "both")])
        self.assertEqual(self.why(found, "both"), "spare does not open it: that version is suspended")
        self.assertEqual(found["state"], "ENCRYPTION_PENDING")
        self.assertIn("1 object is NOT damaged, and not opened by each root of trust", said)
        self.assertNotIn("how to remove it", said)
        self.assertFalse(self.record()["verified"])
        # A whole root that is away: what the other opens is whole, and what it alone has was not looked at.
        node.close_clients()
        node.stop()
        with node.token.away():
            found, said = self.inventory(3, "--verify")
            objects = found["etcds"][0]["verify"]["objects"]
            self.assertEqual((objects["opens-in-part"], objects["unreachable"], objects["damaged"]), (1, 2, 0))
            self.assertEqual(self.named(found), [("opens-in-part", "new"), ("unreachable", "alone"),
                                                 ("unreachable", "both")])
            self.assertRegex(self.why(found, "new"), "^site does not open it: ")

    def test_what_is_damaged_is_damaged_for_each_root(self):
        """The tag covers what each root wrapped, too."""
        self.start("any")
        both = self.put("good")
        for root in (0, 1):
            wrapped = entries(both)[1][root][2]
            sealed = bytearray(both)
            sealed[both.index(wrapped) + 5] ^= 1
            self.put("wrapped%d" % root, bytes(sealed))
        found, said = self.inventory(3, "--verify")
        self.assertEqual(self.named(found), [("damaged", "wrapped0"), ("damaged", "wrapped1")])
        self.assertEqual(found["state"], "ENCRYPTION_ERROR")
        self.assertIn("how to remove it", said)
        for name in ("wrapped0", "wrapped1"):
            value = self.etcd.values()["/registry/secrets/default/" + name].value
            with self.node.client() as client, self.assertRaises(RpcError):
                client.decrypt1(value[len(V1) + 2:len(V1) + 2 + len(both)])

    def sealed_by_hand(self, wrapped):
        """An envelope whose tag is right, with what each root wrapped as it is given."""
        paths = []
        for number, content in enumerate((DATA_KEY, DEK, *(blob for _, blob in wrapped))):
            paths.append("%s/by-hand.%d" % (self.node.folder, number))
            with open(paths[-1], "wb") as file:
                file.write(content)
        (first, _), *others = wrapped
        return subprocess.run([rigs.TOP_BUILD + "/tests/interop/seal_one", paths[0], "1", first.hex(), paths[2], "interop",
                               paths[1], *(word for number, (kek, _) in enumerate(others)
                                           for word in ("1", kek.hex(), paths[3 + number]))],
                              check=True, stdout=subprocess.PIPE).stdout

    def wrap(self, token, kek, plain):
        p11.set_attributes(token, kek, wrap=True)
        with p11.Process(token) as process:
            (key,) = process.tell({"do": "find", "id": kek.hex()})
            return bytes.fromhex(process.tell({"do": "wrap", "key": key, "plain": plain.hex()}))

    def test_what_one_root_wrapped_wrong_opens_by_the_other(self):
        """The tag is right: an HSM that wrapped something else, and that nobody noticed."""
        node = self.start("any")
        (_, site, _), (_, spare, _) = entries(self.put("good"))[1]
        node.close_clients()
        node.stop()
        right = [self.wrap(token, kek, DATA_KEY) for token, kek in ((node.token, site), (node.other, spare))]
        other = [self.wrap(token, kek, bytes(32)) for token, kek in ((node.token, site), (node.other, spare))]
        self.put("no-spare", self.sealed_by_hand([(site, right[0]), (spare, bytes(40))]))
        self.put("other-spare", self.sealed_by_hand([(site, right[0]), (spare, other[1])]))
        self.put("other-site", self.sealed_by_hand([(site, other[0]), (spare, right[1])]))
        self.put("neither", self.sealed_by_hand([(site, other[0]), (spare, bytes(40))]))
        self.put("both", self.sealed_by_hand([(site, right[0]), (spare, right[1])]))
        found, _ = self.inventory(3, "--verify")
        self.assertEqual(self.named(found), [("damaged", "neither"), ("opens-in-part", "no-spare"),
                                             ("opens-in-part", "other-site"), ("opens-in-part", "other-spare")])
        self.assertRegex(self.why(found, "no-spare"), "^spare does not open it: hsm-b")
        another = " does not open it: what it has there is another data key; where kekd asks that root first, it refuses " \
            "the object"
        self.assertEqual(self.why(found, "other-spare"), "spare" + another)
        self.assertEqual(self.why(found, "other-site"), "site" + another)
        self.assertEqual(found["state"], "ENCRYPTION_ERROR")
        verify = found["etcds"][0]["verify"]
        self.assertEqual((verify["objects"]["opens"], verify["objects"]["opens-in-part"]), (2, 3))
        self.assertEqual(verify["roots"], [{"root": "site", "opens": 4, "fails": 1},
                                           {"root": "spare", "opens": 3, "fails": 2}])

    def test_what_kekd_refuses_is_told_apart(self):
        self.start("any")
        both = self.put("good")
        more = bytearray(both)
        entry = both[7:7 + 19 + len(entries(both)[1][0][2])]
        more[6] = 3
        self.put("more", bytes(more[:7]) + entry + bytes(more[7:]))
        other = bytearray(both)
        other[5] = roots.MODE_ALL
        self.put("all", bytes(other))
        self.put2("lies", roots.MODE_ALL)
        found, said = self.inventory(3)
        self.assertEqual(self.named(found), [("other-form", "all"), ("other-form", "lies"), ("other-form", "more")])
        self.assertEqual((found["state"], found["under_protected"]), ("ENCRYPTION_ERROR", 0))
        self.assertIn("kekd refuses its envelope: it is of mode any with 3 KEKs", self.why(found, "more"))
        self.assertIn("3 objects are in envelopes whose mode or KEKs kekd refuses", said)
        main = found["etcds"][0]
        self.assertEqual((main["unreadable"], main["troubles"]["other-form"]), (0, 3))
        self.assertEqual(self.record()["disagreeing"], 1)
        self.assertIn("; mode all; kekd refuses it", self.inventory(3, json_=False)[0])
        found, _ = self.inventory(3, "--verify")  # what was made so by hand does not open, either
        self.assertEqual(found["etcds"][0]["verify"]["objects"]["opens"], 1)


class Destroy(Inventory):
    def conditions(self, *args):
        done = self.node.kekctl("--root", "spare", "--output", "json", "key", "destroy", "1", "--dry-run",
                                "--single-node", "--backups-checked", *args)
        self.assertEqual(done.returncode, 3, done.stderr)
        return {row["condition"]: row for row in json.loads(done.stdout)["conditions"]}

    def test_the_guard_is_about_that_root_s_kek(self):
        """What takes days is left to tests of the plan; what a real kekd says of two roots is here."""
        self.start("any")
        both = self.put("both")
        self.inventory(0)
        self.assertIn("announces it and seals under it", self.conditions()["version"]["evidence"])
        self.newer("spare")
        p11.set_attributes(self.node.other, entries(both)[1][1][1], wrap=False)  # as key retire does, in two minutes
        spare = entries(both)[1][1][1].hex()

        def out_of_use():
            (version,) = [v for v in json.loads(self.node.page("/status")[1])["versions"] if v["kek_id"] == spare]
            return version["inactive"] and version["superseded"]
        rigs.wait_for(out_of_use, "the node to count")
        self.inventory(3)
        rows = self.conditions()
        for met in ("providers", "nodes", "others", "version", "asked-for"):
            self.assertTrue(rows[met]["met"], rows[met])
        self.assertIn("has seen it out of use on every provider for", rows["deactivated"]["evidence"])
        self.assertRegex(rows["superseded"]["evidence"], "may still seal under it|has seen it superseded for")
        self.assertIn("it found objects that this version sealed", rows["inventory main"]["evidence"])
        self.assertIn("kekctl reencrypt writes anew", rows["inventory main"]["todo"])
        self.put("both")
        self.inventory(0)
        self.assertRegex(self.conditions()["inventory main"]["evidence"],
                         "it was begun before every node had announced a newer version|0 of 2 inventories")


class Kube(Inventory):
    FILE = ("apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n"
            "- resources: [secrets]\n  providers:\n"
            "  - kms: {apiVersion: v2, name: kekd, endpoint: 'unix://%s'}\n  - identity: {}\n")

    def phase(self, code, phase, *options, json_=True):
        done = self.node.kekctl(*(["--output", "json"] if json_ else []), "kube", "config", "--phase", phase,
                                "--from", self.node.folder + "/encryption.yaml", *options)
        said = done.stderr.decode()
        self.assertEqual(done.returncode, code, said + done.stdout.decode())
        return done.stdout.decode(), said

    def test_the_file_is_kekds_and_what_is_stored_is_read_by_all_roots(self):
        node = self.start("any")
        with open(node.folder + "/encryption.yaml", "w", encoding="ascii") as file:
            file.write(self.FILE % node.socket)
        self.put2("both")
        self.without(node.other, "alone", put=self.put2)
        printed, _ = self.phase(0, "remove-old", json_=False)
        self.assertEqual(printed.count("endpoint: "), 1)
        self.assertNotIn("identity", printed[printed.index("resources:"):])
        found = json.loads(self.phase(0, "remove-old", "--check", "--single-node")[0])
        self.assertTrue(found["safe"])
        checks = {check["check"]: check for check in found["checks"]}
        self.assertIn("2 keys, each with a reader", checks["etcd main"]["evidence"])
        self.assertIn("all well, and announcing one key", checks["nodes"]["evidence"])
        # What kekd refuses has no reader, whatever the file has.
        self.put2("all", roots.MODE_ALL)
        out, said = self.phase(3, "remove-old", "--check", "--single-node")
        self.assertFalse(json.loads(out)["safe"])
        self.assertIn("kekd refuses the envelope of 1 object by its configuration", said)


class All(Inventory):
    def test_both_shares_are_needed(self):
        node = self.start("any")
        self.put("any")
        self.restart(mode="all", mode_accept="any")
        both = self.put("all")
        found, _ = self.inventory(3, "--verify")
        self.assertEqual((found["state"], found["under_protected"]), ("ENCRYPTION_PENDING", 0))
        self.assertEqual(found["etcds"][0]["verify"]["objects"]["opens"], 2)
        self.assertIn("; mode any", self.inventory(3, json_=False)[0])
        # Without `mode_accept` kekd opens it no more; it is whole.
        self.restart(mode_accept=None)
        found, _ = self.inventory(3, "--verify")
        self.assertEqual(self.named(found), [("other-form", "any"), ("other-form", "any")])
        self.assertEqual(found["state"], "ENCRYPTION_ERROR")
        objects = found["etcds"][0]["verify"]["objects"]
        self.assertEqual((objects["opens"], objects["other-form"]), (1, 1))
        self.put("any")
        found, said = self.inventory(0, "--verify")
        self.assertEqual((found["state"], said), ("ENCRYPTED", ""))
        # A share that does not open is the whole.
        sealed = bytearray(both)
        sealed[both.index(entries(both)[1][1][2]) + 3] ^= 1
        self.put("damaged", bytes(sealed))
        found, _ = self.inventory(3, "--verify")
        self.assertEqual(self.named(found), [("damaged", "damaged")])
        self.assertRegex(self.why(found, "damaged"), "^spare does not open it: hsm-b")
        node.close_clients()
        node.stop()
        with node.other.away():
            found, _ = self.inventory(3, "--verify")
            objects = found["etcds"][0]["verify"]["objects"]
            self.assertEqual((objects["opens"], objects["unreachable"], objects["damaged"]), (0, 3, 0))


if __name__ == "__main__":
    rigs.main()
