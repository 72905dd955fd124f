"""From one HSM to another that does not replicate with it, or to two of them: by configuration and restarts alone."""

import os

from grpc import StatusCode

import rig as rigs
from roots import DEK, MODE_ALL, Roots, entries


class Moves(Roots):
    def restart(self, node, roots, **more):
        node.close_clients()
        node.stop()
        node.write(roots=roots, **more)
        node.start()

    def sealed_and_opened(self, node, before):
        """A new one, and all of before."""
        with node.client() as client:
            new = client.encrypt(DEK)
            for one in before + [new]:
                self.assertEqual(client.decrypt(one.ciphertext, one.key_id), DEK)
        return new, len(entries(new.ciphertext)[1])

    def test_from_one_to_the_other(self):
        site, spare = ({"name": name, "providers": [provider]}
                       for name, provider in (("site", "hsm-a"), ("spare", "hsm-b")))
        node = self.two("any")
        both = node.config["providers"]
        node.write(roots=None, mode=None, providers=both[:1])
        node.start()
        alone, count = self.sealed_and_opened(node, [])
        self.assertEqual(count, 1)
        self.restart(node, [site, dict(spare, seals="false")], mode="any", providers=both)
        with node.client() as client:
            self.assertEqual(client.status().key_id, alone.key_id)  # nothing is announced anew
        second, count = self.sealed_and_opened(node, [alone])
        self.assertEqual(count, 1)
        self.restart(node, [site, spare])
        third, count = self.sealed_and_opened(node, [alone, second])
        self.assertEqual(count, 2)
        self.restart(node, [dict(site, seals="false"), spare])
        fourth, count = self.sealed_and_opened(node, [alone, second, third])
        self.assertEqual(count, 1)
        # What needs the old one was rewritten.
        self.restart(node, [spare], mode=None, providers=both[1:])
        with node.client() as client:
            self.assertEqual(client.status().key_id, fourth.key_id)
            self.assertEqual(client.decrypt(fourth.ciphertext, fourth.key_id), DEK)
            self.refused(StatusCode.INVALID_ARGUMENT, client.decrypt, alone.ciphertext, alone.key_id)
        node.stop()

    def test_to_both_needed(self):
        node = self.two("any").start()
        roots = node.config["roots"]
        old, _ = self.sealed_and_opened(node, [])
        self.restart(node, roots, mode="any", mode_accept="all")
        self.restart(node, roots, mode="all", mode_accept="any")
        new, _ = self.sealed_and_opened(node, [old])
        self.assertEqual(new.ciphertext[5], MODE_ALL)
        self.restart(node, roots, mode_accept=None)
        self.sealed_and_opened(node, [new])
        with node.client() as client:
            self.refused(StatusCode.FAILED_PRECONDITION, client.decrypt, old.ciphertext, old.key_id)
        node.stop()

    def test_roots_that_come_go_and_come_again_never_take_the_primary_back(self):
        """A rollout that is rolled back, and tried again after a rotation: and the same the other way round."""
        node = self.rig(config={"settle": "8s"})
        roots = [{"name": "site", "providers": ["hsm-a"]}]
        def restart(with_roots):
            node.close_clients()
            node.stop()
            node.config.pop("roots", None)
            if with_roots:
                node.config["roots"] = roots
            node.write()
            node.spawn().serving()
            with node.client() as client:
                return client.status()
        def rotate(version):
            with node.client() as client:
                before = client.status().key_id
                node.kekctl("key", "generate", check=True)
                node.kekctl("key", "promote", str(version), "--i-have-a-backup", check=True)
                rigs.wait_for(lambda: client.status().key_id != before, "version %d" % version)
                return client.encrypt(DEK)
        node.start()
        with node.client() as client:
            first = client.status().key_id
        self.assertEqual(restart(True).key_id, first)
        rigs.wait_for(lambda: os.path.exists(node.state + "/k8s-test@site.json"), "the root's own record")
        self.assertEqual(restart(False).key_id, first)
        sealed = rotate(2)
        for with_roots in (True, False, True):
            shown = restart(with_roots)
            self.assertEqual((shown.key_id, shown.healthz), (sealed.key_id, "ok"), with_roots)
            with node.client() as client:
                self.assertEqual(client.encrypt(DEK).key_id, sealed.key_id)
            self.assertRegex(node.kekctl("node", "status", check=True).stdout, rb"(?m)^self \S+ +ok +2 ")
        third = rotate(3)
        self.assertEqual(restart(False).key_id, third.key_id)
        with node.client() as client:
            self.assertEqual(client.open(sealed), DEK)
        node.close_clients()
        node.stop()

    def test_root_that_comes_again_behind_a_new_one_keeps_its_record(self):
        """The order is part of the key_id, so whoever turns it round by mistake is told before anything is written."""
        node = self.two("any")
        roots, providers = node.config["roots"], node.config["providers"]
        node.write(roots=roots[:1], mode=None, providers=providers[:1])
        node.start()
        self.restart(node, None)
        sealed, _ = self.sealed_and_opened(node, [])
        node.close_clients()
        node.stop()
        def records():
            found = {}
            for name in os.listdir(node.state):
                if name.endswith(".json"):
                    with open(node.state + "/" + name, encoding="ascii") as file:
                        found[name] = file.read()
            return found
        before = records()
        node.write(roots=roots[::-1], mode="any", providers=providers)
        node.spawn()
        self.assertNotEqual(node.kekd.wait(rigs.PATIENCE), 0)
        node.kekd = None
        self.assertRegex(node.log(), r"k8s-test\.json went on from k8s-test@site\.json: name that root first")
        self.assertEqual(records(), before)
        node.write(roots=roots)
        node.start()
        self.sealed_and_opened(node, [sealed])
        node.close_clients()
        node.stop()


if __name__ == "__main__":
    rigs.main()
