#!/usr/bin/python3
"""kekctl in a state_dir that has the record of another keyring, and none of the configuration's: `k` may be misspelt."""

import json
import os
import unittest

from test_kekctl_keys import PROVIDER, Keys


class NewKeyring(Keys):
    def other(self, file, keyring, versions=({"number": 1},)):
        with open(self.path("state/" + file), "w", encoding="utf-8") as record:
            json.dump({"format": 1, "keyring": keyring, "context": "", "primary": None, "versions": versions}, record)

    def own(self, file, keyring):
        """What a kekd leaves that has announced version 1."""
        self.record(1)
        with open(self.path("state/k.json"), encoding="utf-8") as record:
            content = dict(json.load(record), keyring=keyring)
        os.unlink(self.path("state/k.json"))
        with open(self.path("state/" + file), "w", encoding="utf-8") as record:
            json.dump(content, record)

    def refused(self, undone, *args, code=1):
        """It says what, where and what to do, and asks no token: there is no lock of a login."""
        got, out, err = self.run_it(*args)
        self.assertEqual((got, out), (code, ""))
        self.assertIn('%s: %s has a record of keyring k8s, and none of k: write "keyring: k8s" in %s'
                      % (undone, self.path("state"), self.path("f.yaml")), err)
        self.assertNotIn("made", self.token_now())
        return err

    def token_now(self):
        with open(self.path("a.json"), encoding="utf-8") as file:
            return json.load(file)

    def setUp(self):
        super().setUp()
        self.token("a")

    def test_no_first_key_is_made_unless_that_is_said(self):
        self.other("k8s.json", "k8s")
        before = sorted(os.listdir(self.path("state")))
        self.assertIn("or, where k is to begin here beside it, add --new-keyring", self.refused("no key was made", "generate"))
        self.assertEqual(sorted(os.listdir(self.path("state"))), before)
        code, out, _ = self.run_it("generate", "--new-keyring")
        self.assertEqual((code, self.token_now()["made"]["number"]), (0, 1), out)

    def test_the_record_of_a_root_counts(self):
        self.other("k8s@site.json", "k8s")
        self.refused("no key was made", "generate")

    def test_no_key_is_looked_for_to_be_adopted(self):
        self.other("k8s.json", "k8s")
        self.refused("no key was looked for", "adopt", "k8s.v1")
        code, _, err = self.run_it("adopt", "k8s.v1", "--new-keyring")
        self.assertNotIn("no key was looked for", err)
        self.assertEqual(code, 1, "the token does not describe keys")

    def test_no_rotation_begins(self):
        self.other("k8s.json", "k8s")
        for more in [], ["--dry-run"]:
            self.assertIn("kekctl key generate --new-keyring makes its first version",
                          self.refused("nothing was changed", "rotate", "--single-node", *more))

    def test_a_list_offers_no_first_key(self):
        self.other("k8s.json", "k8s")
        code, _, err = self.run_it("list")
        self.assertEqual((code, err), (3, "kekctl: key list: the keyring k has no version yet: state_dir has a record of keyring "
                                          "k8s, and none of k: is the configuration's keyring misspelt?\n"))
        _, _, err = self.run_it("promote", "1")
        self.assertIn("the keyring k has no version: state_dir has a record of keyring k8s, and none of k: ", err)
        self.assertNotIn("generate", err)

    def test_what_is_no_other_record(self):
        self.other("k8s.old.json", "k8s")  # was moved away
        self.other("k8s@spare.json", "k8s", versions=())
        with open(self.path("state/notes.json"), "w", encoding="utf-8") as file:
            file.write("{")
        code, _, err = self.run_it("generate")
        self.assertEqual(code, 0, err)

    def test_with_a_record_of_its_own_there_is_no_doubt(self):
        self.other("k8s.json", "k8s")
        self.token("a", self.version(1, "WU"))
        self.record(1)
        code, _, err = self.run_it("generate")
        self.assertEqual((code, self.token_now()["made"]["number"]), (0, 2), err)

    def test_a_record_that_no_version_stands_in_is_none(self):
        self.other("k8s.json", "k8s")
        self.other("k.json", "k", versions=())  # of a root that others were announced without
        self.refused("no key was made", "generate")

    def test_a_record_that_cannot_be_read_is_its_own(self):
        self.other("k8s.json", "k8s")
        with open(self.path("state/k.json"), "w", encoding="utf-8") as record:
            record.write("{")
        code, _, err = self.run_it("generate")
        self.assertEqual(code, 1)
        self.assertIn("which version this node announced last is not known", err)

    def roots(self, *roots):
        names = [root.split(":")[0] for root in roots]
        with open(self.path("f.yaml"), "w", encoding="utf-8") as file:
            file.write(f"listen: unix:///s\nkeyring: k\nstate_dir: {self.path('state')}\nproviders:\n")
            file.write("".join(PROVIDER.format(name=name, start_timeout="20s") for name in names))
            file.write("mode: any\nroots:\n")
            file.write("".join("  - {name: %s, providers: [%s], keyring: %s}\n" % (name, name, root.split(":")[1])
                               for name, root in zip(names, roots)))
        for name in names:
            self.token(name)

    def test_a_root_begins_beside_the_records_of_the_others(self):
        self.roots("a:k", "b:k8s")
        self.other("k8s@b.json", "k8s")
        code, _, err = self.run_it("--root", "a", "generate")
        self.assertEqual(code, 0, err)

    def test_a_root_whose_keyring_is_misspelt(self):
        self.roots("a:k", "b:k-b")
        self.other("k8s@a.json", "k8s")
        self.own("k-b@b.json", "k-b")
        self.token("b", self.version(1, "WU"))
        err = self.refused("no key was made", "--root", "a", "generate")
        self.assertIn("add --new-keyring", err)
        code, _, err = self.run_it("--root", "b", "generate")
        self.assertEqual(code, 0, "that one has its record: " + err)


if __name__ == "__main__":
    unittest.main()
