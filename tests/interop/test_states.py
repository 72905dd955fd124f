"""kekctl probe: what a token does with changes of a key's state, and that nothing of it is left.

A real SoftHSM, and the fault module where a token is to be another one."""

import json
import re
import signal
import unittest

import p11
import throwaway
from proc import wait_for

CHANGES = ["pre-active to active", "active to deactivated", "deactivated to active", "deactivated to suspended",
           "suspended to deactivated", "deactivated to compromised"]
REFUSED = "C_WrapKey: CKR_KEY_FUNCTION_NOT_PERMITTED (0x68)"


class States(throwaway.Case):
    command = "probe"

    def probe(self, *lines, code=0, strategy="auto"):
        """The rows, the copy and what was said; nothing may be left."""
        self.fault.put(*lines)
        child = self.start("--output", "json", provider={"strategy": strategy})
        out, err = child.communicate(timeout=120)
        self.assertEqual(child.returncode, code, err)
        found = json.loads(out)
        rows = found["states"]
        self.assertEqual(["%s to %s" % (row["from"], row["to"]) for row in rows], CHANGES)
        self.assertEqual(len(found["copies"]), 1)
        return rows, found["copies"][0], err

    def column(self, rows, name):
        return [row[name] for row in rows]

    def test_a_token_that_keeps_states_is_told_as_such_and_nothing_is_left(self):
        for strategy, refused in (("auto", REFUSED), ("encrypt", REFUSED.replace("C_WrapKey", "C_EncryptInit"))):
            rows, copy, err = self.probe(strategy=strategy)
            for column in ("taken", "enforced", "running", "fresh"):
                self.assertEqual(self.column(rows, column), ["yes"] * 6, column)
            self.assertEqual(self.column(rows, "enforced_says"), ["", refused, "", refused, refused, refused])
            self.assertEqual((copy["made"], copy["lost"], copy["reopened"], err), ("yes", "", True, ""))
            self.assertEqual(self.objects(), self.before)
        self.assertEqual(self.trials(), [("begun", "", None), ("ok", "", None)] * 2)

    def test_a_token_that_changes_no_key_names_call_and_code(self):
        rows, _, err = self.probe("C_SetAttributeValue every rv 10")
        self.assertEqual(self.column(rows, "taken"), ["no"] + ["untried"] * 4 + ["no"])
        self.assertIn("C_SetAttributeValue: CKR_ATTRIBUTE_READ_ONLY (0x10)", rows[0]["says"])
        self.assertIn("versions: in the configuration can hold its state", rows[0]["says"])
        self.assertEqual((rows[0]["code"], rows[5]["code"]), (0x10, 0x10))
        self.assertEqual(rows[1]["says"], "the key is still pre-active")
        self.assertIn("CKA_LABEL of this key", rows[5]["says"])
        self.assertEqual(self.column(rows, "enforced"), ["untried"] * 6)
        self.assertEqual((err, self.objects()), ("", self.before))

    def test_a_token_that_takes_a_change_and_keeps_none_is_found_out(self):
        rows, _, _ = self.probe("C_SetAttributeValue every keep 107")
        self.assertEqual(self.column(rows, "taken"), ["yes", "yes", "yes", "no", "untried", "yes"])
        self.assertIn("the token took the flags of key", rows[3]["says"])
        self.assertEqual(self.objects(), self.before)

    def test_a_token_that_renames_keys_and_changes_no_flag(self):
        # The second one, of the mark, is the first that it takes.
        rows, copy, err = self.probe("C_SetAttributeValue 1 rv 10 proc=2", "C_SetAttributeValue 3+ rv 10 proc=2")
        self.assertEqual(self.column(rows, "taken"), ["no"] + ["untried"] * 4 + ["no"])
        self.assertIn("CKA_WRAP of this key (CKA_LABEL it did change)", rows[5]["says"])
        self.assertEqual((copy["made"], err, self.objects()), ("yes", "", self.before))

    def test_a_token_without_token_keys_names_call_and_code(self):
        rows, copy, err = self.probe("C_GenerateKey every rv 54 proc=2+")
        self.assertEqual(self.column(rows, "taken"), ["untried"] * 6)
        for row in [*rows, copy]:
            self.assertEqual(row["says"], "no key could be made: C_GenerateKey: CKR_FUNCTION_NOT_SUPPORTED (0x54)")
        self.assertEqual((err, self.objects()), ("", self.before))
        self.assertEqual(self.trials()[1:], [("failed", rows[0]["says"], 0x54)])

    def test_flags_that_are_a_note_on_the_side_are_told_from_ones_that_count(self):
        # Another key is used all the while, whose flags nobody changes; or one that each process makes with the flags
        # that it sees first.
        for faults_, word in ((("C_WrapKey every mislead", "C_UnwrapKey every mislead"), "no"),
                              (("* every wrongkey 1",), "fresh")):
            with self.subTest(word):
                rows, _, _ = self.probe(*faults_)
                self.assertEqual(self.column(rows, "taken"), ["yes"] * 6)
                self.assertEqual(self.column(rows, "enforced"), ["yes", word, "yes", word, word, word])
                self.assertEqual(rows[1]["enforced_says"], "the token wraps all the same")
                self.assertEqual(self.objects(), self.before)

    def test_a_library_that_caches_is_told_by_who_sees_the_change(self):
        # The first process tries mechanisms, the second changes the key, the third runs all the while.
        rows, _, _ = self.probe("* every caching proc=3")
        self.assertEqual(self.column(rows, "running"), ["no", "no", "no", "no", "no", "no"])
        self.assertEqual(self.column(rows, "fresh"), ["yes"] * 6)
        self.assertEqual(self.objects(), self.before)

    def test_whatever_ends_in_the_midst_of_it_nothing_is_left(self):
        for fault, good, says, copy in (
                ("C_SetAttributeValue 3 abort proc=2", 1, "changing the key: ", "untried"),
                ("C_WrapKey 1 disconnect 30 proc=3", 2, "a process that was there before: ", "untried"),
                ("C_CopyObject every rv 5 proc=2+", 6, "", "no"),
                ("C_DestroyObject every rv 30 proc=2", 6, "", "yes")):
            with self.subTest(fault):
                rows, found, err = self.probe(fault)
                self.assertEqual(self.column(rows, "taken"), ["yes"] * good + ["untried"] * (6 - good))
                self.assertEqual(rows[-1]["says"][:len(says)], says)
                self.assertEqual((found["made"], err, self.objects()), (copy, "", self.before))
                self.assertTrue(copy != "no" or found["says"] == "C_CopyObject: CKR_GENERAL_ERROR (0x5)", found)

    def test_a_key_that_nobody_saw_go_is_named(self):
        rows, _, err = self.probe("C_OpenSession every rv 5 proc=6+", code=3)
        self.assertEqual(self.column(rows, "taken"), ["yes", "yes", "yes"] + ["untried"] * 3)
        self.assertEqual(rows[4]["says"], "a fresh process: C_OpenSession: CKR_GENERAL_ERROR (0x5)")
        self.assertIn("(it was destroyed, and no fresh process can look: C_OpenSession: CKR_GENERAL_ERROR", err)
        self.assertEqual(self.objects(), self.before)

    def test_a_key_that_cannot_be_destroyed_is_named_and_exits_3(self):
        _, _, err = self.probe("C_DestroyObject every rv 10 proc=2+", code=3)
        self.assertRegex(err, "a: a key that was made for this probe may be left on the token: the next kekctl "
                              "probe destroys it, or the vendor's tools: label (kekd-probe-[0-9a-f]{16}).v1 or .*compromised, CKA_ID [0-9a-f]{32}")
        self.assertIn("CKR_ATTRIBUTE_READ_ONLY", err)
        left = [path for path in self.objects() if path not in self.before]
        self.assertEqual(len(left), 1)
        (outcome, error, _), = self.trials()[1:]
        self.assertEqual(outcome, "unclear")
        self.assertRegex(error, r"a key may be left: label kekd-probe-[0-9a-f]{16}\.v1 or .*CKA_ID [0-9a-f]{32}")
        # Nor can the next probe, which says so too; the one after that can.
        _, _, err = self.probe("C_DestroyObject every rv 10 proc=3+", code=3)
        self.assertRegex(err, r"a: what a probe that was cut off left cannot be destroyed: keys with the label kekd-probe-[0-9a-f]{16}\.v1, "
                              "CKA_ID 4b454b4454455354.*CKR_ATTRIBUTE_READ_ONLY.*; run kekctl probe again, or use the vendor's tools")
        self.assertEqual(self.probe()[2], "kekctl: probe: a: keys of a probe that was cut off, destroyed now: 1\n")
        self.assertEqual(self.objects(), self.before)

    def test_what_a_killed_probe_left_goes_with_the_next_and_nothing_else(self):
        old, new = "kekd-probe-000000013f771ebb", "kekd-probe-f00000013f771ebb"
        p11.plant(self.token, "kekd-conformance-000000013f771ebb.v1", b"KEKDTEST" + bytes(8))  # another command's
        self.before = self.objects()
        self.fault.put("C_SetAttributeValue 4 delay 3000")
        child = self.start()
        wait_for(lambda: self.fault.counts().get("C_SetAttributeValue", 0) >= 4, "the fourth change")
        child.send_signal(signal.SIGSTOP)  # one that is under way is left alone
        self.assertEqual(self.probe()[2], "")
        self.assertEqual(len(self.objects()), len(self.before) + 1)
        self.token.kill([child.pid])
        child.communicate(timeout=60)
        self.assertEqual(self.probe()[2], "kekctl: probe: a: keys of a probe that was cut off, destroyed now: 1\n")
        self.assertEqual(self.objects(), self.before)
        for label, kek_id in ((old + ".v1", bytes([0x70]) * 16), (old + ".v2", b"KEKDTEST" + bytes([0x71]) * 8),
                              (new + ".v1", b"KEKDTEST" + bytes([0x72]) * 8), (old + ".v1", b"KEKDTEST" + bytes([0x73]) * 8)):
            p11.plant(self.token, label, kek_id)
        _, _, err = self.probe(code=3)
        self.assertIn("a: keys of a probe that was cut off, destroyed now: 1\n", err)
        self.assertIn("a: keys of a probe that is not on record here and began within the last day are left alone: %s; unless it is "
                      "under way on another node, run kekctl probe there, or here in a day\n" % new, err)
        kept, = re.findall("a: left alone: (.*); what nobody needs the vendor's tools destroy", err)
        self.assertEqual(sorted(kept.split("; ")), [old + ".v1: its CKA_ID does not begin with KEKDTEST",
                                                    old + ".v2: a run makes no key with that label"])
        self.assertEqual(len(self.objects()), len(self.before) + 3)

    def test_an_interrupted_probe_leaves_nothing(self):
        for number in throwaway.SIGNALS:
            with self.subTest(number):
                self.fault.put("C_SetAttributeValue 4 delay 1500")
                child = self.start()
                wait_for(lambda: self.fault.counts().get("C_SetAttributeValue", 0) >= 4, "the fourth change")
                child.send_signal(number)
                out, err = child.communicate(timeout=60)
                self.assertEqual((child.returncode, out), (1, ""), err)
                self.assertIn("interrupted", err)
                self.assertEqual(self.objects(), self.before)
                self.assertEqual(self.trials()[-2:], [("begun", "", None), ("failed", "interrupted; no key is left", None)])

    def test_the_table_says_the_same(self):
        self.fault.put()
        out, err = self.start().communicate(timeout=60)
        rows = out.split("\n\n")[1].splitlines()
        self.assertEqual(rows[0].split(), ["PROVIDER", "CHANGE", "TAKEN", "ENFORCED", "RUNNING", "FRESH"])
        for row, change in zip(rows[1:], CHANGES):
            self.assertRegex(row, "^a +%s +yes +yes.* yes +yes *$" % change)
        self.assertRegex(rows[7], "^a +a copy of the key +yes: keeps all; may be told to wrap again *$")
        self.assertEqual((len(rows), err), (8, ""))


if __name__ == "__main__":
    unittest.main()
