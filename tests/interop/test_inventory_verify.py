#!/usr/bin/python3
"""kekctl inventory --verify on a real etcd: what opens, what is damaged, and what cannot be looked at and is not called so."""

import fault as faults
import rig as rigs
from inventories import Inventory, golden


class Verify(Inventory):
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


if __name__ == "__main__":
    rigs.main()
