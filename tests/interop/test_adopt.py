#!/usr/bin/python3
"""kekctl key adopt, on keys that kekd did not make: what it finds, and whether kekd then does as it says."""

import json
import subprocess

import p11
import rig as rigs

ID = bytes(range(16))


class Adopt(rigs.Case):
    def node(self, **options):
        return self.rig(**options)

    @staticmethod
    def adopt(node, name):
        """The exit code, and the keys that were found."""
        done = node.kekctl("key", "adopt", name, "--output", "json")
        return done.returncode, json.loads(done.stdout)["keys"] if done.stdout else None

    @staticmethod
    def found(key, weight):
        return sorted(finding["what"] for finding in key["findings"] if finding["weight"] == weight)

    def listed(self, node, kek_id):
        """The version with this kek id as kekd's worker judges it."""
        done = node.kekctl("key", "list", "--output", "json")
        (version,) = [v for v in json.loads(done.stdout)["versions"] if v["kek_id"] == kek_id.hex()]
        return version

    def test_each_thing_that_may_be_wrong(self):
        cases = (  # attributes, more, verdict, must, risk, note
            ({}, {}, "as-it-is", [], []),
            ({"extractable": True}, {}, "never", ["CKA_EXTRACTABLE is true"], ["CKA_NEVER_EXTRACTABLE is false"]),
            ({"sensitive": False}, {}, "never", ["CKA_SENSITIVE is false"], ["CKA_ALWAYS_SENSITIVE is false"]),
            ({"sign": True}, {}, "by-entry", [], ["CKA_SIGN is true"]),
            ({"verify": True}, {}, "by-entry", [], ["CKA_VERIFY is true"]),
            ({"derive": True}, {}, "by-entry", [], ["CKA_DERIVE is true"]),
            ({"encrypt": True}, {}, "by-entry", [], ["it may both wrap keys and encrypt data"]),
            ({"wrap": False, "unwrap": False}, {}, "never", ["neither CKA_UNWRAP nor CKA_DECRYPT is true"], []),
            ({}, {"size": 16}, "never", ["CKA_VALUE_LEN is 16, not 32"], []),
            ({}, {"value": bytes(32)}, "by-entry", [],
             ["CKA_ALWAYS_SENSITIVE is false", "CKA_LOCAL is false", "CKA_NEVER_EXTRACTABLE is false"]),
            ({}, {"kek_id": b"\xab\xcd"}, "never", ["CKA_ID has 2 bytes, not 16"], []))
        node = self.node()
        for number, (attributes, more, verdict, must, risk) in enumerate(cases, 2):
            with self.subTest(attributes=attributes, more=more):
                kek_id = more.pop("kek_id", number.to_bytes(16, "big"))
                label = "k8s-test.v%d" % number
                p11.plant(node.token, label, kek_id, **more, **attributes)
                code, (key,) = self.adopt(node, label)
                self.assertEqual((code, key["verdict"]), (0 if verdict == "as-it-is" else 3, verdict), key)
                self.assertEqual((self.found(key, "must"), self.found(key, "risk")), (must, risk))
                self.assertTrue(all(finding["means"] for finding in key["findings"]))
                self.assertEqual(self.adopt(node, kek_id.hex().upper())[1], [key])
                # kekd agrees, and with the entry too.
                shown = self.listed(node, kek_id)
                self.assertEqual(shown["eligible"] and shown["can_unwrap"], verdict == "as-it-is", shown)
                if verdict == "by-entry":
                    self.accepts(node, key, kek_id)

    def accepts(self, node, key, kek_id):
        """The entry, as it stands there, is good."""
        with open(node.path, encoding="utf-8") as file:
            text = file.read()
        with open(node.path, "w", encoding="utf-8") as file:
            file.write(text.replace("    timeout: 5s\n", "    timeout: 5s\n    versions:\n      - %s\n" % key["entry"]))
        shown = self.listed(node, kek_id)
        self.assertTrue(shown["eligible"] and shown["can_unwrap"], shown)
        self.assertEqual(self.adopt(node, key["label"])[1][0]["verdict"], "as-it-is")
        node.write()

    def test_a_key_made_by_the_officers_tool(self):
        node = self.node()
        node.token.tool("--keygen", "--key-type", "AES:32", "--label", 'the "old" key', "--id", ID.hex(),
                        "--sensitive", "--private")
        done = node.kekctl("key", "adopt", 'the "old" key')
        code, (key,) = self.adopt(node, ID.hex())
        self.assertEqual((done.returncode, code), (3, 3))
        self.assertIn("CKA_SIGN is true", self.found(key, "risk"))
        self.assertIn("its label is not that of a version, k8s-test.v1 and so on", self.found(key, "note"))
        self.assertEqual(key["entry"], '{n: 2, label: "the \\"old\\" key", state: pre-active}')
        self.assertIn('hsm-a: key "the "old" key" (CKA_ID %s) would be used by an entry in every node\'s kekd.yaml, under '
                      "providers: hsm-a: versions:, and whoever writes it accepts what is found above\n"
                      "      - %s\n" % (ID.hex(), key["entry"]), done.stderr.decode())
        self.assertRegex(done.stdout.decode(), r"hsm-a +the \"old\" key +0001[0-9a-f]+ risk +CKA_SIGN is true +another")
        self.accepts(node, key, ID)
        # Nothing was changed by all this.
        self.assertEqual(len(json.loads(node.kekctl("key", "list", "--output", "json").stdout)["versions"]), 1)

    def test_many_keys_of_one_name_are_all_told(self):
        node = self.node(generate=False)
        p11.plant(node.token, "many", ID)
        node.token.multiply_key(299)
        code, keys = self.adopt(node, "many")
        self.assertEqual((code, len(keys)), (3, 300))
        for key in keys:
            self.assertEqual((key["verdict"], self.found(key, "must")), ("never", ["299 other keys have its label"]))
            self.assertIn("299 other keys have its CKA_ID", self.found(key, "risk"))

    def test_a_name_that_others_have_too(self):
        node = self.node()
        p11.plant(node.token, "shared", ID)
        node.token.tool("--keypairgen", "--key-type", "rsa:2048", "--label", "shared", "--id", "0a")
        node.token.tool("--keypairgen", "--key-type", "rsa:2048", "--label", "pair", "--id", ID.hex())
        _, (key,) = self.adopt(node, "shared")
        self.assertIn("4 objects of another class have its label or CKA_ID", self.found(key, "risk"))
        done = node.kekctl("key", "adopt", "pair")
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        self.assertIn('hsm-a has no secret key of label or CKA_ID "pair", though other objects are called so',
                      done.stderr.decode())
        p11.plant(node.token, "twin", ID)
        _, keys = self.adopt(node, ID.hex())
        self.assertEqual([self.found(key, "risk")[0] for key in keys], ["1 other key has its CKA_ID"] * 2)
        self.assertEqual(len({key["entry"] for key in keys}), 2)

    def test_two_providers(self):
        node = self.node(pair=True)
        p11.plant(node.token, "ours", ID)
        done = node.kekctl("key", "adopt", "ours")
        self.assertEqual(done.returncode, 3)
        self.assertIn('hsm-b has no secret key of label or CKA_ID "ours"', done.stderr.decode())
        node.twin.replicate(node.token)
        code, keys = self.adopt(node, "ours")
        self.assertEqual((code, [key["provider"] for key in keys]), (3, ["hsm-a", "hsm-b"]))
        self.assertEqual({key["entry"] for key in keys}, {'{n: 2, label: "ours", state: pre-active}'})

    def test_names_that_cannot_be(self):
        node = self.node()
        for name in ("", "x" * 129):
            self.assertEqual(node.kekctl("key", "adopt", name).returncode, 2)
        done = subprocess.run([rigs.program("kekctl"), "--config", node.path, "key", "adopt"], stderr=subprocess.PIPE,
                              check=False)
        self.assertEqual((done.returncode, b"the LABEL|ID is missing" in done.stderr), (2, True))
        self.assertEqual(self.adopt(node, "nobody's"), (1, []))


if __name__ == "__main__":
    rigs.main()
