"""Two roots of trust whose tokens have one KEK: they are one root, or each seals under another version."""

import json

from grpc import StatusCode

import rig as rigs
from roots import DEK, STRICT, Roots, entries


class SameKek(Roots):
    def test_nothing_is_sealed_where_two_roots_have_one_kek(self):
        node = self.two("any")
        node.write(providers=[dict(node.provider(name, node.token), timeout="500ms") for name in ("hsm-a", "hsm-b")])
        node.spawn().serving()
        with node.client() as client:
            same = ("the roots of trust site and spare have the same KEK, version 1 of site and 1 of spare: they are one "
                    "root")
            node.wait_log(same)
            self.assertIn(same, self.refused(StatusCode.UNAVAILABLE, client.encrypt, DEK))
            self.assertIn(same + "; make them one root", node.page("/readyz")[1])
        node.stop()

    def shared(self, mode, **more):
        """A node whose roots are on one token, `site` under version 1 and `spare` under version 2."""
        node = self.two(mode, **more)
        node.write(providers=[dict(node.provider(name, node.token), timeout="500ms") for name in ("hsm-a", "hsm-b")])
        node.kekctl("--root", "spare", "key", "generate", check=True)
        node.kekctl("--root", "spare", "key", "promote", "2", "--i-have-a-backup", check=True)
        site, spare = node.config["providers"]
        node.write(providers=[dict(site, versions=[{"n": 2, "state": "suspended"}]), spare])
        return node

    def test_a_kek_that_two_roots_know_is_used_by_the_one_that_seals_under_it(self):
        for mode, config in (("any", STRICT), ("all", STRICT), ("any", {})):
            with self.subTest(mode=mode, config=config):
                node = self.shared(mode, config=config)
                node.write(audit={"file": node.folder + "/audit"})
                node.start()
                with node.client() as client:
                    for _ in range(3):
                        sealed = client.encrypt(DEK)
                        self.assertEqual(len(entries(sealed.ciphertext)[1]), 2)
                        self.assertEqual(client.decrypt(sealed.ciphertext, sealed.key_id), DEK)
                    self.assertEqual((client.status().healthz, client.status().key_id), ("ok", sealed.key_id))
                node.close_clients()
                node.stop()
                with open(node.folder + "/audit", encoding="utf-8") as file:
                    lines = [json.loads(line) for line in file]
                named = [[(kek["root"], kek["version"], kek.get("provider")) for kek in line["keks"]] for line in lines
                         if line["event"] == "primary" or line.get("method") == "Encrypt"]
                self.assertIn([("site", 1, None), ("spare", 2, None)], named)
                if config == STRICT:
                    self.assertIn([("site", 1, "hsm-a"), ("spare", 2, "hsm-b")], named)

    def test_a_root_that_comes_to_the_others_kek_is_named_and_sealing_goes_on(self):
        node = self.shared("any", config=STRICT)
        node.start()
        key_id = self.status(node).key_id
        node.close_clients()
        node.stop()
        site, spare = node.config["providers"]
        del site["versions"]
        node.write(providers=[site, spare])
        node.spawn().serving()
        same = ("the roots of trust site and spare have the same KEK, version 2 of site and 2 of spare: they are one "
                "root")
        node.wait_log(same + ", and no other is announced than before")
        rigs.wait_for(lambda: "site: " + same in node.page("/readyz")[1], "/readyz to name them")
        self.assertEqual(node.page("/readyz")[0], 200)
        with node.client() as client:
            sealed = client.encrypt(DEK)
            self.assertEqual((sealed.key_id, client.status().healthz), (key_id, "ok"))
            self.assertEqual(client.decrypt(sealed.ciphertext, sealed.key_id), DEK)
        done = node.kekctl("node", "status")
        self.assertEqual(done.returncode, 3)
        self.assertIn("this node: to be mended: site: " + same, done.stderr.decode())
        done = node.kekctl("key", "list")
        self.assertEqual(done.returncode, 3)
        self.assertIn("kekd goes on with what it announced, and does not announce version 2 of site", done.stderr.decode())
        self.assertIn("announced together, in mode any: version 1 of site, version 2 of spare", done.stdout.decode())
        node.close_clients()
        node.stop()


if __name__ == "__main__":
    rigs.main()
