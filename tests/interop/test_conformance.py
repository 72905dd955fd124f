#!/usr/bin/env python3
"""kekctl conformance: each fault of a token is found by the case that is meant for it, and nothing is left there, however
a run ends; what a killed run left the next one removes, and never anything else; a kekd beside it is not disturbed.

A real SoftHSM behind the fault module."""

import json
import os
import re
import signal
import xml.etree.ElementTree

import p11
import rig as rigs
import throwaway
from proc import wait_for
from softhsm import TOP_SRC, Token
from traffic import Traffic

# What comes before a case can be looked at: nothing of it is what a row is about.
GOOD = ("PASS", "NOT SUPPORTED", "SKIPPED")


class Suite(throwaway.Case):
    command = "conformance"

    def state(self):
        return sorted(os.listdir(self.path("state"))) if os.path.exists(self.path("state")) else []

    def run_suite(self, *lines, code=0, **options):
        """{case: its row}; nothing may be left."""
        self.fault.put(*lines)
        child = self.start("--output", "json", **options)
        out, err = child.communicate(timeout=300)
        self.assertEqual(child.returncode, code, (err, self.brief(out)))
        found = json.loads(out)
        return {row["name"]: row for row in found["cases"]}

    @staticmethod
    def brief(out):
        return "\n".join("%s: %s: %s" % (row["name"], row["outcome"], row["says"])
                         for row in json.loads(out)["cases"] if row["outcome"] != "PASS") if out else out


class Good(Suite):
    def test_a_good_token_passes_every_case_and_keeps_nothing(self):
        listed = json.loads(self.start("--dry-run", "--output", "json").communicate(timeout=60)[0])
        for strategy, used in (("auto", "wrap-key CKM_AES_KEY_WRAP"), ("encrypt", "encrypt CKM_AES_GCM")):
            with self.subTest(strategy):
                rows = self.run_suite(provider={"strategy": strategy})
                self.assertEqual([row["name"] for row in listed["cases"]], list(rows))
                self.assertEqual({row["outcome"] for row in rows.values()}, {"PASS"})
                self.assertEqual(rows["mechanism"]["says"], used)
                self.assertEqual(rows["clean"]["says"], "keys that were destroyed now: 1")
                for case in ("concurrent-sessions", "concurrent-processes", "speed"):
                    for calls in ("wraps", "unwraps"):
                        found = rows[case][calls]
                        self.assertEqual(found["wrong"], 0)
                        self.assertGreaterEqual(found["count"], 50)
                        self.assertTrue(0 < found["median_us"] <= found["p99_us"] <= found["most_us"])
                self.assertEqual(rows["tamper-changed"]["native"],
                                 {"kind": "pkcs11", "code": rows["tamper-changed"]["native"]["code"],
                                  "name": re.search("CKR_[A-Z_]+", rows["tamper-changed"]["says"]).group()})
                self.assertEqual(self.objects(), self.before)
                self.assertEqual([name for name in self.state() if name.startswith("kekd-conformance-")], [])

    def test_junit_has_the_same(self):
        self.fault.put("C_CopyObject every forge", "C_SetAttributeValue every rv 10")
        child = self.start("--output", "junit")
        out, err = child.communicate(timeout=300)
        self.assertEqual((child.returncode, err), (3, ""))
        root = xml.etree.ElementTree.fromstring(out)
        suite, = root
        cases = suite.findall("testcase")
        listed = json.loads(self.start("--dry-run", "--output", "json").communicate(timeout=60)[0])["cases"]
        self.assertEqual([case.get("name") for case in cases], [row["name"] for row in listed])
        failed = [case.get("name") for case in cases if case.find("failure") is not None]
        skipped = {case.get("name"): case.find("skipped").get("message") for case in cases
                   if case.find("skipped") is not None}
        self.assertEqual(failed, ["keeps-key"])
        self.assertRegex(skipped["suspend"], "^NOT SUPPORTED: .*CKR_ATTRIBUTE_READ_ONLY")
        self.assertRegex(skipped["resume"], "^SKIPPED: the key is active")
        for element in (root, suite):
            self.assertEqual([element.get(name) for name in ("tests", "failures", "errors", "skipped")],
                             [str(len(cases)), "1", "0", str(len(skipped))])
        self.assertEqual({case.get("classname") for case in cases}, {"kekctl.conformance.a"})
        self.assertRegex(suite.get("timestamp"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d$")
        self.assertAlmostEqual(sum(float(case.get("time")) for case in cases), float(suite.get("time")), 1)

    def test_the_table_says_the_same(self):
        self.fault.put()
        child = self.start()
        out, err = child.communicate(timeout=300)
        self.assertEqual((child.returncode, err), (0, ""))
        rows = out.splitlines()
        self.assertEqual(rows[0].split(), ["CASE", "RESULT", "MS", "FOUND"])
        self.assertRegex(rows[1], "^login +PASS +[0-9]+ +token kek-test, serial ")
        self.assertRegex(rows[-1], "^([0-9]+) cases: \\1 passed, 0 failed, 0 not supported, 0 skipped$")

    def test_the_last_result_stays_on_record(self):
        rows = self.run_suite()
        with open(self.path("state/ring.conformance-a"), encoding="utf-8") as file:
            self.assertEqual({row["name"]: row for row in json.load(file)["cases"]}, rows)

    def test_the_pages_have_the_same_cases(self):
        names = [row["name"] for row in json.loads(self.start("--dry-run", "--output", "json").communicate(timeout=60)[0])["cases"]]
        with open(os.path.join(TOP_SRC, "docs/kekctl.1"), encoding="utf-8") as file:
            page = file.read().split(".It Ic conformance")[1].split("\n.It Ic ")[0]
        listed = page.split("whose names and order stay:")[1].split("\n.El\n")[0]
        self.assertEqual(re.findall(r"^\.It Ql ([a-z-]+)$", listed, re.MULTILINE), names)
        for path in ("README.md", "docs/operations.md", "NEWS"):
            with open(os.path.join(TOP_SRC, path), encoding="utf-8") as file:
                self.assertEqual(set(re.findall("([0-9]+)(?: named)? cases", file.read())), {str(len(names))}, path)
        with open(os.path.join(TOP_SRC, "docs/operations.md"), encoding="utf-8") as file:
            rows = file.read().split("What to make of a row:")[1].split("\n\n")[1]
        self.assertLessEqual(set(re.findall("`([a-z-]+)`", " ".join(row.split("|")[1] for row in rows.splitlines()))), set(names))

    def test_keys_that_the_user_gives_up_are_used_and_not_changed(self):
        for n, label in enumerate(("spare", "other")):
            p11.plant(self.token, label, bytes([0x55 + n]) * 16)
        self.before = self.objects()
        rows = self.run_suite("C_GenerateKey every rv 54 proc=0", provider={})
        child = self.start("--existing-key", "spare", "--existing-key", "other", "--output", "json")
        out, err = child.communicate(timeout=300)
        self.assertEqual((child.returncode, err), (0, ""), self.brief(out))
        found = {row["name"]: row["outcome"] for row in json.loads(out)["cases"]}
        made = {"generate", "generate-taken", "deactivate", "reactivate", "suspend", "resume", "compromise", "states-enforced",
                "states-noticed", "destroy", "destroyed-key"}
        self.assertEqual({name for name, outcome in found.items() if outcome == "SKIPPED"}, made)
        self.assertEqual({outcome for name, outcome in found.items() if name not in made}, {"PASS"})
        self.assertEqual(list(found), list(rows))
        self.assertEqual(self.objects(), self.before)

    def test_a_key_that_is_not_there_or_not_fit_is_told_and_the_other_one_tried(self):
        p11.plant(self.token, "spare", bytes([0x55]) * 16)
        p11.plant(self.token, "loose", bytes([0x56]) * 16, extractable=True)
        missing = "no secret key with the label nokey is on token kek-test, serial [0-9a-f]+"
        for keys, says, outcome in ((("nokey",), missing, "SKIPPED"), (("nokey", "spare"), missing, "PASS"),
                                    (("spare", "loose"), "loose: .*CKA_EXTRACTABLE", "PASS")):
            with self.subTest(keys):
                self.fault.put()
                child = self.start(*(word for key in keys for word in ("--existing-key", key)), "--output", "json")
                out, err = child.communicate(timeout=300)
                rows = {row["name"]: row for row in json.loads(out)["cases"]}
                self.assertEqual((child.returncode, rows["round-trip"]["outcome"]), (3, outcome), err)
                self.assertEqual(rows["generate"]["outcome"], "FAIL")
                self.assertRegex(rows["generate"]["says"], says)
                self.assertRegex(err, "--existing-key: .*" + says + ".*; name AES-256 keys that nobody needs, as pkcs11-tool .* lists them")

    def test_what_it_takes(self):
        def said(*arguments, **options):
            child = self.start(*arguments, **options)
            out, err = child.communicate(timeout=60)
            self.assertEqual((child.returncode, out), (2, ""), err)
            return err
        self.fault.put()
        self.assertIn('the configuration has no provider "b"', said("--provider", "b"))
        self.assertIn("this configuration uses that key", said("--existing-key", "ring.v1"))
        self.assertIn("this configuration uses that key", said(
            "--existing-key", "named", provider={"versions": [{"n": 1, "label": "named", "state": "active"}]}))
        self.assertIn("one key or two", said(*("--existing-key", "x") * 3))
        self.assertIn("--existing-key x: it is given twice", said(*("--existing-key", "x") * 2))
        self.assertIn("--dry-run lists", said("--dry-run", "--output", "junit"))
        self.assertEqual(self.objects(), self.before)


class Faults(Suite):
    # The faults; the exit code; the case that finds them, its outcome, what it says; and the code, where there is one. The processes
    # are 1 the officer's, 2 and 3 kekd's at `login` and from `list` on, 4 that of `other-process`, 13 the one that is there before a
    # key's state changes.
    TABLE = (
        (("C_Login 1 rv 30",), 3, "login", "FAIL", "went well at another try: 1", None),
        (("C_GenerateKey every rv 30",), 3, "generate", "FAIL", "C_GenerateKey: CKR_DEVICE_ERROR", 0x30),
        # What the worker itself makes again, and whoever asks never sees.
        (("C_GenerateKey 1 rv 31",), 3, "generate", "FAIL", "another try: 1, the last: C_GenerateKey: CKR_DEVICE_MEMORY", 0x31),
        (("C_GenerateKey 3 rv 31",), 3, "generate", "FAIL", "another try: 1, the last: C_GenerateKey: CKR_DEVICE_MEMORY", 0x31),
        (("C_WrapKey 15 rv 31",), 3, "keeps-key", "FAIL", "another try: 1, the last: C_WrapKey: CKR_DEVICE_MEMORY", 0x31),
        (("C_WrapKey 60 rv 31",), 3, "mechanism", "FAIL", "another try: 1, the last: C_WrapKey: CKR_DEVICE_MEMORY", 0x31),
        (("C_WrapKey 100 rv 31",), 3, "logins", "FAIL", "another try: 1, the last: C_WrapKey: CKR_DEVICE_MEMORY", 0x31),
        # What the pool sends again, where refusals are wanted.
        (("C_UnwrapKey 4 rv 31 proc=14",), 3, "deactivate", "FAIL", "another try: 1, the last: C_UnwrapKey: CKR_DEVICE_MEMORY", 0x31),
        (("C_GenerateKey 4+ rv 54",), 3, "generate", "FAIL", "making a key: C_GenerateKey: CKR_FUNCTION_NOT_SUPPORTED", 0x54),
        (("C_GenerateKey every flip 162",), 3, "generate", "FAIL", "CKA_EXTRACTABLE is true", None),
        (("C_GenerateKey every rv 54",), 3, "generate", "NOT SUPPORTED", "CKR_FUNCTION_NOT_SUPPORTED.*--existing-key", 0x54),
        (("* every blind 0 proc=3+",), 3, "list", "FAIL", "does not see the key with CKA_ID", None),
        (("C_CopyObject every forge",), 3, "keeps-key", "FAIL", "C_CopyObject, then C_GetAttributeValue", None),
        (("C_UnwrapKey 12 segv proc=3",), 3, "round-trip", "FAIL", "library ended meanwhile: 1", None),
        (("C_WrapKey 5 hang proc=3",), 3, "round-trip", "FAIL", "did not answer within timeout", None),
        (("C_UnwrapKey 12 delay 8000 proc=3",), 3, "round-trip", "FAIL", "did not answer within timeout", None),
        (("C_UnwrapKey 12 disconnect 30 proc=3",), 3, "round-trip", "FAIL", "went well at another try: [12]", None),
        (("C_UnwrapKey 30+ stale proc=3",), 3, "tamper-changed", "FAIL", "byte [0-9]+ of 40 changed: .*data key comes out|had to be replaced", None),
        (("* every wrongkey 1 proc=4",), 3, "other-process", "FAIL", "a second process does not unwrap it", 5),
        (("C_Login 7 rv 30",), 3, "logins", "FAIL", "went well at another try: 1", None),
        (("* every wrongkey 1",), 0, "states-enforced", "NOT SUPPORTED", "wraps all the same, in a process that was there", None),
        (("C_SetAttributeValue every rv 10",), 0, "deactivate", "NOT SUPPORTED", "CKR_ATTRIBUTE_READ_ONLY", 0x10),
        (("* every caching proc=13",), 0, "states-noticed", "NOT SUPPORTED", "shows what was", None),
        (("C_UnwrapKey 40+ stale proc=19+",), 3, "concurrent-sessions", "FAIL", "data keys came back wrong", None),
        (("C_WrapKey 200+ wrongkey 1",), 3, "concurrent-sessions", "FAIL", "calls failed, the first", None),
        (("C_GetTokenInfo every sessions 20",), 0, "concurrent-processes", "SKIPPED", "no room", None),
        (("C_UnwrapKey 4 segv proc=28",), 3, "recover-lost", "FAIL", "library ended meanwhile: 1", None),
        (("C_DestroyObject every rv 30 proc=1",), 3, "destroy", "FAIL", "CKR_DEVICE_ERROR", 0x30),
    )

    def test_each_is_found_by_the_case_that_is_meant_for_it(self):
        found = set()
        for lines, code, case, outcome, says, native in self.TABLE:
            with self.subTest(lines):
                rows = self.run_suite(*lines, code=code)
                row = rows[case]
                self.assertEqual(row["outcome"], outcome, row)
                self.assertRegex(row["says"], says)
                self.assertTrue(native is None or row["native"]["code"] == native, row)
                names = list(rows)
                self.assertTrue(all(rows[name]["outcome"] in GOOD for name in names[:names.index(case)]), self.failed(rows))
                self.assertEqual(self.objects(), self.before)
                found.add(lines)
        self.assertGreaterEqual(len(found), 8)

    @staticmethod
    def failed(rows):
        return {name: row["says"] for name, row in rows.items() if row["outcome"] == "FAIL"}

    def test_a_module_that_is_not_there_is_no_lack_of_the_token(self):
        rows = self.run_suite(code=1, provider={"uri": self.token.uri.replace(p11.SOFTHSM, "/nowhere.so")})
        self.assertEqual((rows["login"]["outcome"], rows["login"]["cause"]), ("FAIL", "unimplemented"), rows["login"])
        self.assertIn("/nowhere.so", rows["login"]["says"])

    def test_a_refused_pin_is_tried_once_and_all_else_is_skipped(self):
        rows = self.run_suite("C_Login every rv a0", code=1)
        self.assertEqual(rows["login"]["native"], {"kind": "pkcs11", "code": 0xa0, "name": ""})
        self.assertEqual({row["outcome"] for name, row in rows.items() if name not in ("login", "clean")}, {"SKIPPED"})
        self.assertEqual(self.fault.counts()["C_Login"], 1)
        rows = self.run_suite("C_Login every rv a0", code=1)
        self.assertIn("not tried again", rows["login"]["says"])
        self.assertEqual(self.fault.counts().get("C_Login", 0), 0)


class Leftovers(Suite):
    """What stays, and who removes it."""

    def cut_off(self, number=signal.SIGKILL, state="state"):
        """A run that a signal ends while its keys are on the token."""
        self.fault.put("C_Login 6 delay 3000")
        child = self.start("--output", "json", state=state)
        wait_for(lambda: self.fault.counts().get("C_Login", 0) >= 6, "the second login of `logins`")
        self.assertEqual(len(self.new()), 2)
        if number == signal.SIGKILL:
            self.token.kill([child.pid])
        else:
            child.send_signal(number)
        out, err = child.communicate(timeout=60)
        return child.returncode, out, err

    def test_an_interrupted_run_leaves_nothing(self):
        for number in throwaway.SIGNALS:
            code, out, err = self.cut_off(number)
            self.assertEqual((code, self.objects()), (1, self.before), err)
            self.assertIn("interrupted", err)
            found = json.loads(out)
            self.assertTrue(found["interrupted"])
            outcomes = {row["name"]: row["outcome"] for row in found["cases"]}
            self.assertEqual((outcomes["round-trip"], outcomes["speed"], outcomes["clean"]), ("PASS", "SKIPPED", "PASS"))
            self.assertNotIn("ring.conformance-a", self.state())
            self.assertEqual(self.trials()[-2:], [("begun", "", None), ("failed", "interrupted; no key is left", None)])

    def test_a_hangup_that_is_ignored_ends_nothing(self):
        self.fault.put("C_Login 6 delay 1500")
        child = self.start("--output", "json", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
        wait_for(lambda: self.fault.counts().get("C_Login", 0) >= 6, "the second login of `logins`")
        child.send_signal(signal.SIGHUP)
        out, err = child.communicate(timeout=300)
        self.assertEqual((child.returncode, err), (0, ""), self.brief(out))

    def test_what_a_killed_run_left_goes_with_the_next_and_nothing_else(self):
        # Names that are nearly those of a run, and a run's name on a key that no run made.
        old = "kekd-conformance-000000013f771ebb"
        for n, label in enumerate(("kekd-conformance-.v1", "kekd-conformance-6b0c5d743f771eb.v1", old + ".v1",
                                   "kekd-conformance-6b0c5d743f771ebb")):
            p11.plant(self.token, label, bytes([0x60 + n]) * 16)
        # What it might have made by its CKA_ID, under labels that it gives to none.
        for n, end in enumerate((".v6", ".v1.compromised", ".v02", ".v3.compromised")):
            p11.plant(self.token, old + end, b"KEKDTEST" + bytes([0x70 + n]) * 8)
        self.before = self.objects()
        self.assertEqual(self.cut_off()[0], -signal.SIGKILL)
        self.assertEqual(len(self.new()), 2)
        self.assertTrue(any(name.startswith("kekd-conformance-") for name in self.state()))
        rows = self.run_suite()
        says = rows["leftovers"]["says"].split("; ")
        self.assertEqual(says[0], "keys of a run that was cut off, destroyed now: 2")
        self.assertEqual(sorted([says[1].removeprefix("left alone: "), *says[2:]]), [
            old + ".v1.compromised: a run makes no key with that label", old + ".v1: its CKA_ID does not begin with KEKDTEST",
            old + ".v3.compromised: a run makes no key with that label", old + ".v6: a run makes no key with that label"])
        self.assertEqual({row["outcome"] for row in rows.values()}, {"PASS"})
        self.assertEqual(self.objects(), self.before)
        self.assertFalse(any(name.startswith("kekd-conformance-") for name in self.state()))

    def test_a_killed_run_is_found_by_its_token_and_not_by_its_providers_name(self):
        self.cut_off()
        file, = [name for name in self.state() if name.startswith("kekd-conformance-")]
        left = self.new()
        # Another token, whose provider has the name: nothing is known of the first one's keys, and that is said.
        other = Token(self.path("other"))
        rows = self.run_suite(token=other)
        self.assertRegex(rows["leftovers"]["says"], "^left alone: a run that was cut off may have left keys on another token, with "
                                                    "serial [0-9a-f]+, of provider a: .*or remove .*/%s if it is gone$" % file)
        self.assertEqual((self.new(), file in self.state()), (left, True))
        # The token, under another name.
        rows = self.run_suite(provider={"name": "renamed"})
        self.assertEqual(rows["leftovers"]["says"], "keys of a run that was cut off, destroyed now: 2")
        self.assertEqual((self.objects(), file in self.state()), (self.before, False))

    def test_a_run_that_was_killed_before_it_made_keys_leaves_no_file(self):
        self.fault.put("C_GenerateKey 1 delay 3000")
        child = self.start("--output", "json")
        wait_for(lambda: self.fault.counts().get("C_Login", 0) >= 2, "the logins")
        self.token.kill([child.pid])
        child.communicate(timeout=60)
        for name in ("kekd-conformance-6b0c5d743f771ebb", "kekd-conformance-6b0c5d743f771ebc"):
            with open(self.path("state/" + name), "wb") as file:  # cut off between making and writing it
                file.write(b"a"[:int(name.endswith("c"))])
        rows = self.run_suite()
        self.assertEqual({row["outcome"] for row in rows.values()}, {"PASS"})
        self.assertEqual((self.objects(), [name for name in self.state() if name.startswith("kekd-conf")]), (self.before, []))

    def test_another_nodes_run_is_left_alone_for_a_day(self):
        self.cut_off(state="elsewhere")
        left = self.new()
        rows = self.run_suite()
        self.assertRegex(rows["leftovers"]["says"], "not on record here .* left alone: kekd-conformance-[0-9a-f]{16}$")
        self.assertEqual(self.new(), left)
        rows = self.run_suite(state="elsewhere")
        self.assertEqual(rows["leftovers"]["says"], "keys of a run that was cut off, destroyed now: 2")
        self.assertEqual(self.objects(), self.before)

    def test_an_old_run_of_nobody_is_found_among_many_keyrings(self):
        for n in range(6):
            p11.plant(self.token, "keyring-%d.v1" % n, bytes([0x60 + n]) * 16)
        self.before = self.objects()
        for n in range(6):
            p11.plant(self.token, "kekd-conformance-0000000%d3f771ebb.v1" % n, b"KEKDTEST" + bytes([n]) * 8)
        self.assertEqual(len(self.new()), 6)
        rows = self.run_suite()
        self.assertEqual(rows["leftovers"]["says"], "keys of a run that was cut off, destroyed now: 6")
        self.assertEqual(self.objects(), self.before)

    def test_where_more_keyrings_than_are_shown_stay_that_is_said(self):
        for n in range(5):
            p11.plant(self.token, "kekd-probe-0000000%d3f771ebb.v1" % n, bytes([0x60 + n]) * 16)
        self.before = self.objects()
        p11.plant(self.token, "kekd-conformance-000000013f771ebb.v1", b"KEKDTEST" + bytes(8))
        rows = self.run_suite()
        seen = rows["leftovers"]["says"].startswith("keys of a run that was cut off, destroyed now: 1; ")
        self.assertEqual(len(self.new()), 0 if seen else 1)
        self.assertRegex(rows["leftovers"]["says"], "more keyrings of such runs may have keys on the token than were looked at$")
        # Keys of the user's own do not keep it from looking.
        p11.plant(self.token, "spare", bytes([0x70]) * 16)
        child = self.start("--existing-key", "spare", "--output", "json")
        out, err = child.communicate(timeout=300)
        self.assertEqual((child.returncode, err), (0, ""))
        says, = [row["says"] for row in json.loads(out)["cases"] if row["name"] == "leftovers"]
        self.assertRegex(says, "more keyrings of such runs may have keys on the token than were looked at$")

    def test_a_key_that_cannot_be_destroyed_is_named_and_goes_with_the_next_run(self):
        rows = self.run_suite("C_DestroyObject every rv 10", code=3)
        self.assertEqual((rows["destroy"]["outcome"], rows["clean"]["outcome"]), ("NOT SUPPORTED", "FAIL"))
        self.assertRegex(rows["clean"]["says"], r"label (kekd-conformance-[0-9a-f]{16})\.v1 or \1\.v2, CKA_ID 4b454b4454455354.*"
                                                "CKR_ATTRIBUTE_READ_ONLY")
        self.assertEqual(rows["clean"]["native"], {"kind": "pkcs11", "code": 0x10, "name": "CKR_ATTRIBUTE_READ_ONLY"})
        self.assertEqual(self.trials()[1:], [("unclear", rows["clean"]["says"], 0x10)])
        self.assertEqual(len(self.new()), 2)
        rows = self.run_suite()
        self.assertEqual(rows["leftovers"]["says"], "keys of a run that was cut off, destroyed now: 2")
        self.assertEqual(self.objects(), self.before)

    def test_two_at_once_leave_each_other_alone(self):
        self.fault.put("C_Login 6 delay 4000")  # in the first one's `logins`
        children = [self.start("--output", "json")]
        wait_for(lambda: self.fault.counts().get("C_Login", 0) >= 6, "the first one's keys, and its wait")
        self.assertEqual(len(self.new()), 2)
        children += [self.start("--output", "json") for _ in range(2)]
        said = []
        for child in children:
            rows = json.loads(child.communicate(timeout=300)[0])["cases"]
            # SoftHSM writes its token anew at each login, and who begins meanwhile may see none: it begins once more.
            retried = {(name, "calls or starts that failed and went well at another try") for name in ("login", "logins")}
            self.assertLessEqual({(row["name"], row["says"].split(":")[0]) for row in rows if row["outcome"] != "PASS"}, retried)
            said += [row["says"] for row in rows if row["name"] == "leftovers"]
        self.assertEqual(said, ["there was none"] + ["another run is under way on this node"] * 2)
        self.assertEqual(self.objects(), self.before)


class BesideKekd(rigs.Case):
    def test_a_kekd_under_load_fails_no_call_and_its_objects_stay(self):
        node = rigs.Rig(self, config={"data_key": {"max_uses": 1}, "metrics": rigs.own_address()})
        log = node.folder + "/audit.jsonl"
        node.write(audit={"file": log})
        node.kekctl("audit", "generate", check=True)  # else a MAC that finds no key is kekd's only failure
        node.start()

        before = throwaway.object_files(node.token)
        with Traffic(node.socket, threads=2) as calls:
            done = node.kekctl("conformance", "--output", "json", timeout=300)
            calls.more(100)
        self.assertEqual(done.returncode, 0, done.stderr.decode() + Suite.brief(done.stdout.decode()))
        self.assertEqual((calls.failures, calls.wrong), ([], []))
        self.assertEqual(throwaway.object_files(node.token), before)
        for count in ("workers_killed", "workers_crashed", "workers_ended", "failures"):
            self.assertEqual(node.metric("kekd_hsm_%s_total" % count), 0, count)
        with open(log, encoding="utf-8") as file:
            lines = [line for line in map(json.loads, file) if line.get("command") == "conformance"]
        self.assertEqual([line["outcome"] for line in lines if line["event"] == "trial"], ["begun", "ok"])
        logins = [line for line in lines if line["event"] == "login"]
        self.assertGreater(len(logins), 5)
        self.assertEqual({(line["provider"], line["outcome"]) for line in logins}, {("hsm-a", "ok")})
        node.kekctl("audit", "verify", log, check=True)
        node.stop()


if __name__ == "__main__":
    rigs.main()
