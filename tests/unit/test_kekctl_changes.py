#!/usr/bin/python3
"""kekctl key promote, retire, suspend and resume, against workers that do as they are told."""

import fcntl
import json
import os
import shutil
import unittest

from full_log import FullLog
from test_kekctl_keys import Keys

PRE_ACTIVE, ACTIVE, DEACTIVATED, SUSPENDED, COMPROMISED = range(5)


class Changes(Keys):
    def setUp(self):
        super().setUp()
        self.configure("a", "b")

    def both(self, *versions, **modes):
        for name in ("a", "b"):
            self.token(name, *versions, **modes)

    def data(self, name):
        with open(self.path(name + ".json"), encoding="utf-8") as file:
            return json.load(file)

    def may(self, name, number):
        return [v["may"] for v in self.data(name)["versions"] if v["number"] == number]

    def sent(self, name):
        """The states that this token was asked for."""
        return [state for _, state in self.data(name).get("set", [])]

    def steps(self, *args):
        """The exit code, what became of each provider's step, and standard error."""
        code, out, err = self.run_it(*args, "--output", "json")
        return code, [step["outcome"] for step in json.loads(out)["steps"]], err

    def refused(self, *args, code=1):
        """Nothing is sent and nothing printed; returns why."""
        before = [self.sent("a"), self.sent("b")]
        got, out, err = self.run_it(*args)
        self.assertEqual((got, out), (code, ""), err)
        self.assertEqual([self.sent("a"), self.sent("b")], before)
        return err


class Told(Changes):
    """The audit log is told first of what is done, however much it takes."""

    def setUp(self):
        super().setUp()
        self.log = FullLog(self.path("log"), self.path("state/k.audit"))
        self.addCleanup(self.log.close)
        self.configure("a", "b", extra=f"audit: {{syslog: {self.path('log')}}}\n")

    def versions(self):
        return {name: self.data(name)["versions"] for name in ("a", "b")}

    def runs(self, *args, before):
        """Runs it with room for no line, one, two, ... until it loses none. Returns how often."""
        for room in range(30):
            before()
            self.assertTrue(self.log.fill(room), "the log's queue is too short")
            was = self.versions()
            code, _, err = self.run_it(*args)
            lines, lost, now = self.log.lines(), self.log.lost(), self.versions()
            begun = {line["provider"] for line in lines if line.get("outcome") == "begun"}
            changed = {name for name in was if was[name] != now[name]}
            with self.subTest(args, room=room, code=code, err=err, lines=[(x["event"], x.get("outcome")) for x in lines]):
                self.assertLessEqual(changed, begun)
                if not changed:
                    self.assertEqual(code, 1)
                    self.assertIn("nothing was done, since ", err)
                elif lost:
                    self.assertEqual(code, 3)
                    self.assertIn("not on record: sending audit lines to ", err)
                else:
                    self.assertEqual(code, 0)
                # What is lost is counted, and the next line tells.
                self.assertEqual(self.run_it("list")[0] in (0, 3), True)
                told = self.log.lines()
                self.assertEqual([x["lines"] for x in told if x["event"] == "dropped"], [lost] if lost else [])
                self.assertEqual(told[0]["event"], "dropped" if lost else "login")
                self.assertEqual(self.log.lost(), 0)
            if not lost and changed:
                return room
        self.fail("it always loses a line")

    def test_no_change_is_made_that_the_log_did_not_take(self):
        # Two logins, two lines that it begins.
        self.assertGreaterEqual(self.runs("promote", "2", before=lambda: self.both(
            self.version(1, "WU"), self.version(2, "U"))), 6)

    def test_no_key_is_made_that_the_log_did_not_take(self):
        self.configure("a", "b", extra=f"audit: {{syslog: {self.path('log')}}}\n")
        self.assertGreaterEqual(self.runs("generate", "--provider", "a", before=lambda: self.both(
            self.version(1, "WU"))), 4)

    def test_a_command_that_only_looks_goes_on_and_says_so(self):
        self.both(self.version(1, "WU"))
        self.log.fill(0)
        code, out, err = self.run_it("list")
        self.assertEqual((code, "k.v1" in out), (3, True))
        self.assertEqual(err.count("the audit log does not have this command's logins"), 1)
        self.assertGreaterEqual(self.log.lost(), 2)

    def test_logins_are_counted_where_the_log_cannot_be_opened(self):
        self.both(self.version(1, "WU"))
        os.mkdir(self.path("folder"))
        lost = 0
        for log in (f"file: {self.path('folder')}", f"syslog: {self.path('nobody')}"):
            self.configure("a", "b", extra=f"audit: {{{log}}}\n")
            code, _, err = self.run_it("list")
            before, lost = lost, self.log.lost()
            self.assertEqual(code, 3, err)
            self.assertGreaterEqual(lost, before + 2)  # one more where a worker of a busy machine was slow
        self.configure("a", "b", extra=f"audit: {{syslog: {self.path('log')}}}\n")
        self.assertEqual(self.run_it("list")[0], 0)
        told = [(x["event"], x.get("lines")) for x in self.log.lines()]
        self.assertEqual(told[:3], [("dropped", lost), ("login", None), ("login", None)])


class Good(Changes):
    def test_each_change_reaches_every_provider_and_is_done_once(self):
        old, new = self.version(1, "WU"), self.version(2, "U")
        for args, versions, record, state, may in (
                (("promote", "2"), (old, new), 1, ACTIVE, "WU"),
                (("retire", "1"), (old, self.version(2, "WU")), 2, DEACTIVATED, "U"),
                (("retire", "--compromised", "1"), (old, self.version(2, "WU")), 2, COMPROMISED, "U"),
                (("suspend", "1"), (self.version(1, "U"), self.version(2, "WU")), 2, SUSPENDED, ""),
                (("resume", "1"), (self.version(1, ""), self.version(2, "WU")), 2, DEACTIVATED, "U")):
            with self.subTest(args):
                self.record(record)
                self.both(*versions)
                code, steps, err = self.steps(*args)
                self.assertEqual((code, steps, err), (0, ["done", "done"], ""))
                for name in ("a", "b"):
                    self.assertEqual(self.sent(name), [state])
                    self.assertEqual(self.may(name, int(args[-1])), [may])
                if args[0] != "resume":
                    self.assertEqual(self.steps(*args)[:2], (0, ["already", "already"]))
                    self.assertEqual(self.sent("a"), [state])

    def test_what_is_resumed_is_called_as_it_is_then(self):
        """Newer than what is active it is pre-active again, and one that is marked stays marked."""
        self.record(2)
        for versions, number, state in (
                ((self.version(2, "WU"), self.version(3, "")), 3, "pre-active"),
                ((self.version(1, ""), self.version(2, "WU")), 1, "deactivated"),
                ((self.version(1, "", compromised=True), self.version(2, "WU")), 1, "compromised")):
            with self.subTest(state):
                self.both(*versions)
                code, out, err = self.run_it("resume", str(number), "--dry-run")
                self.assertEqual((code, err), (0, ""))
                self.assertEqual(out.splitlines()[1].split(), ["a", str(number), "suspended", state, "todo"])
                found = json.loads(self.run_it("resume", str(number), "--dry-run", "--output", "json")[1])
                self.assertEqual((found["state"], found["steps"][1]["wanted"]), (state, state))

    def test_the_table_says_what_is_and_what_is_to_be(self):
        self.both(self.version(1, "WU"), self.version(2, "U"))
        code, out, err = self.run_it("promote", "2", "--dry-run")
        self.assertEqual((code, err), (0, ""))
        self.assertEqual([line.split() for line in out.splitlines()], [
            ["PROVIDER", "VERSION", "IS", "TO-BE", "OUTCOME"],
            ["a", "2", "pre-active", "active", "todo"], ["b", "2", "pre-active", "active", "todo"]])
        self.assertEqual((self.sent("a"), self.sent("b")), ([], []))

    def test_json_has_the_change_and_a_step_for_each_provider(self):
        self.configure("a")
        self.token("a", self.version(1, "WU"), self.version(2, "U"))
        code, out, _ = self.run_it("promote", "2", "--i-have-a-backup", "--output", "json")
        self.assertEqual(code, 0)
        self.assertEqual(json.loads(out), {
            "change": "promote", "version": 2, "kek_id": f"{2:032x}", "state": "active", "dry_run": False,
            "steps": [{"provider": "a", "version": 2, "there": True, "before": "pre-active", "wanted": "active",
                       "outcome": "done", "why": "", "todo": "", "entry": ""}]})

    def test_each_change_is_put_on_record(self):
        self.configure("a", "b", extra=f"audit: {{file: {self.path('audit')}}}\n")
        self.both(self.version(1, "WU"), self.version(2, "U"))
        self.token("b", self.version(1, "WU"), self.version(2, "U"), set_state="fail")
        self.assertEqual(self.run_it("promote", "2", "--dry-run")[0], 0)
        with open(self.path("audit"), encoding="utf-8") as file:
            self.assertEqual({json.loads(line)["event"] for line in file}, {"login"})
        self.assertEqual(self.run_it("promote", "2")[0], 3)
        with open(self.path("audit"), encoding="utf-8") as file:
            lines = [json.loads(line) for line in file]
        acts = [line for line in lines if line["event"] == "promote"]
        self.assertEqual([(a["provider"], a["outcome"], a["token"], a["version"], a["kek_id"], a["state"])
                          for a in acts],
                         [(name, outcome, "serial-" + name, 2, f"{2:032x}", "active")
                          for name, outcome in (("a", "begun"), ("b", "begun"), ("a", "ok"), ("b", "failed"))])
        self.assertIn("CKR_KEY_FUNCTION_NOT_PERMITTED", acts[3]["error"])
        self.assertFalse([act for act in acts if "said" in act])
        os.remove(self.path("audit"))
        os.mkdir(self.path("audit"))
        self.assertIn("nothing was done, since it could not be put on record", self.refused("promote", "2"))

    def test_the_word_about_a_backup_is_on_record_with_what_rests_on_it(self):
        self.configure("a", extra=f"audit: {{file: {self.path('audit')}}}\n")
        self.token("a", self.version(1, "WU"), self.version(2, "U"))
        self.assertEqual(self.run_it("promote", "2", "--i-have-a-backup")[0], 0)
        with open(self.path("audit"), encoding="utf-8") as file:
            acts = [line for line in map(json.loads, file) if line["event"] == "promote"]
        self.assertEqual([(act["outcome"], act["said"]) for act in acts],
                         [("begun", "i-have-a-backup"), ("ok", "i-have-a-backup")])

    def test_a_kek_id_says_which_of_two_keys_is_meant(self):
        twin = self.version(2, "U", id=f"{0xab:032x}")
        self.both(self.version(1, "WU"), self.version(2, "U"), twin, self.version(3, "WU"))
        self.assertIn(f"version 2 is two different keys, {2:032x} on a and {0xab:032x} on a: say which by its kek id",
                      self.refused("retire", "--compromised", "2"))
        self.assertEqual(self.steps("retire", "--compromised", f"{0xab:032X}")[:2], (0, ["done", "done"]))
        self.assertEqual(self.data("b")["set"], [[f"{0xab:032x}", COMPROMISED]])
        # A key that nobody may use, planted under the number, is not in the way.
        self.both(self.version(1, "WU"), self.version(2, "U"), {**twin, "refusal": "planted"})
        self.assertEqual(self.steps("promote", "2")[:2], (0, ["done", "done"]))


class Partial(Changes):
    def test_who_is_behind_is_named_and_the_next_run_finishes(self):
        for behind, ahead in (("a", "b"), ("b", "a")):
            for mode, said in (("fail", "CKR_KEY_FUNCTION_NOT_PERMITTED"), ("die before", f"{behind}: "),
                               ("lie", "the token took the change and shows the key as pre-active")):
                with self.subTest(behind=behind, mode=mode):
                    self.both(self.version(1, "WU"), self.version(2, "U"))
                    self.token(behind, self.version(1, "WU"), self.version(2, "U"), set_state=mode)
                    code, steps, err = self.steps("promote", "2")
                    self.assertEqual(code, 3)
                    self.assertEqual(dict(zip("ab", steps)), {behind: "behind", ahead: "done"})
                    self.assertIn(f"{behind} is behind, as a look at its keys shows: ", err)
                    self.assertIn(said, err)
                    self.assertIn("run this again", err)
                    self.assertEqual(len(self.sent(behind)), 1)
                    self.token(behind, self.version(1, "WU"), self.version(2, "U"))
                    code, steps, err = self.steps("promote", "2")
                    self.assertEqual((code, err), (0, ""))
                    self.assertEqual(dict(zip("ab", steps)), {behind: "done", ahead: "already"})
                    self.assertEqual(self.sent(ahead), [ACTIVE])

    def test_a_lost_reply_is_resolved_by_a_list(self):
        self.both(self.version(1, "WU"), self.version(2, "U"), set_state="die after")
        code, steps, err = self.steps("promote", "2")
        self.assertEqual((code, steps), (0, ["done", "done"]))
        self.assertRegex(err, "a: it is done, though that was not confirmed: (?!a: )")
        self.assertEqual(self.sent("a"), [ACTIVE])

    def test_where_no_list_tells_it_is_unclear(self):
        self.both(self.version(1, "WU"), self.version(2, "U"))
        self.token("a", self.version(1, "WU"), self.version(2, "U"), list="die once made")
        code, steps, err = self.steps("promote", "2")
        self.assertEqual((code, steps), (3, ["unclear", "done"]))
        self.assertRegex(err, "a: whether it is done is not known: (?!a: )")
        self.assertIn("once it answers, run this again", err)

    def test_where_every_provider_refuses_it_failed(self):
        self.both(self.version(1, "WU"), self.version(2, "U"), set_state="fail")
        self.assertEqual(self.steps("promote", "2")[:2], (1, ["behind", "behind"]))

    def test_half_a_suspension_is_finished_and_half_a_one_is_resumed(self):
        self.token("a", self.version(1, ""), self.version(2, "WU"))
        self.token("b", self.version(1, "WU"), self.version(2, "WU"))
        self.assertEqual(self.steps("resume", "1")[:2], (0, ["done", "already"]))
        self.assertEqual((self.may("a", 1), self.may("b", 1)), (["U"], ["WU"]))
        self.token("a", self.version(1, ""), self.version(2, "WU"))
        self.assertEqual(self.steps("suspend", "1")[:2], (0, ["already", "done"]))

    def test_a_provider_without_the_key_keeps_none_from_retiring_it(self):
        self.token("a", self.version(1, "WU"), self.version(2, "WU"))
        self.token("b", self.version(2, "WU"))
        code, steps, err = self.steps("retire", "1")
        self.assertEqual((code, steps), (0, ["done", "already"]))
        self.assertIn("b has no version 1", err)


class ByConfig(Changes):
    LINES = ("%s cannot change this key. In every node's kekd.yaml, under providers: %s: versions:, let the entry "
             "read\n      - %s\n   and restart kekd there, one node after the other\n")

    def test_a_key_that_the_configuration_names_is_changed_there(self):
        self.configure("a", "b", extra="    versions: [{n: 1, label: \"it's\\t\\\"1\\\"\", state: active}, {n: 2, state: pre-active}]\n")
        self.token("a", self.version(1, "WU"), self.version(2, "U"))
        self.token("b", self.version(1, "WU", label="it's\t\"1\""), self.version(2, "U"))
        code, steps, err = self.steps("promote", "2")
        self.assertEqual((code, steps), (3, ["done", "by-config"]))
        self.assertEqual(err, "kekctl: key promote: " + self.LINES % ("b", "b", "{n: 2, state: active}"))
        self.assertEqual(self.sent("b"), [])
        # Once it is said there, and so.
        self.configure("a", "b", extra="    versions: [{n: 2, state: active}]\n")
        self.token("b", self.version(1, "WU"), self.version(2, "WU"))
        self.assertEqual(self.steps("promote", "2"), (0, ["already", "already"], ""))
        # What the token forbids, the configuration does not allow.
        self.token("b", self.version(1, "WU"), self.version(2, "U"))
        code, steps, err = self.steps("promote", "2")
        self.assertEqual((code, steps), (3, ["already", "behind"]))
        self.assertIn("b is behind, as a look at its keys shows: versions: says active, and the token forbids more; give the key its use back", err)

    def test_a_label_of_its_own_stands_in_the_entry(self):
        label = "it's\t\"1\""
        self.configure("a", "b", extra=f"    versions: [{{n: 1, label: {json.dumps(label)}, state: active}}]\n")
        self.token("a", self.version(1, "WU"), self.version(2, "WU"))
        self.token("b", self.version(1, "WU", label=label), self.version(2, "WU"))
        code, steps, err = self.steps("retire", "1")
        self.assertEqual((code, steps), (3, ["done", "by-config"]))
        entry = '{n: 1, label: "it\'s\\x09\\"1\\"", state: deactivated}'
        self.assertIn(self.LINES % ("b", "b", entry), err)
        # It is what the configuration takes.
        self.configure("a", "b", extra=f"    versions:\n      - {entry}\n")
        self.token("b", self.version(1, "U", label=label), self.version(2, "WU"))
        self.assertEqual(self.steps("retire", "1"), (0, ["already", "already"], ""))

    def test_a_token_that_changes_no_key(self):
        self.both(self.version(1, "WU"), self.version(2, "WU"), set_state="unsupported")
        code, steps, err = self.steps("retire", "1")
        self.assertEqual((code, steps), (3, ["by-config", "by-config"]))
        for name in ("a", "b"):
            self.assertIn("CKR_ATTRIBUTE_READ_ONLY", err)
            self.assertIn(self.LINES % (name, name, "{n: 1, state: deactivated}"), err)
        # The configuration cannot let a key wrap.
        self.both(self.version(1, "WU"), self.version(2, "U"), set_state="unsupported")
        code, steps, err = self.steps("promote", "2")
        self.assertEqual((code, steps), (1, ["behind", "behind"]))
        self.assertIn("change the key by the vendor's tools, then run this again", err)

    def test_a_dry_run_says_so_too(self):
        self.configure("a", "b", extra="    versions: [{n: 2, state: pre-active}]\n")
        self.both(self.version(1, "WU"), self.version(2, "U"))
        code, steps, err = self.steps("promote", "2", "--dry-run")
        self.assertEqual((code, steps), (3, ["todo", "by-config"]))
        self.assertIn(self.LINES % ("b", "b", "{n: 2, state: active}"), err)


class Refused(Changes):
    def test_what_is_no_version(self):
        self.both(self.version(1, "WU"), self.version(5, "U"))
        self.assertIn("nothing was changed: no provider shows a version 4 of keyring k, only 1, 5",
                      self.refused("promote", "4"))
        self.assertIn(f"no provider shows a version {4:032x}", self.refused("promote", f"{4:032x}"))
        for text in ("x", "-", "01x", "4294967296", "g" * 32):
            self.assertIn(f'"{text}" is no version: expected its number, or its kek id',
                          self.refused("promote", text, code=2))
        self.assertIn("the VERSION is missing", self.refused("promote", code=2))
        self.assertIn('key promote: does not take "2"', self.refused("promote", "1", "2", code=2))
        self.assertIn("takes no --compromised", self.refused("promote", "--compromised", "1", code=2))
        self.both()
        self.assertIn("the keyring k has no version: key generate makes the first", self.refused("promote", "1"))

    def test_states_that_do_not_allow_the_change(self):
        one, two, three = self.version(1, "WU"), self.version(2, "WU"), self.version(3, "U")
        bad = self.version(1, "U", compromised=True)
        for args, versions, record, said in (
                (("promote", "1"), (one, two), 2, "version 1 is older than version 2, which is announced, and a node "
                                                  "never goes back: key generate makes a new one"),
                (("promote", "1"), (bad, two), None, "version 1 is compromised on a: it is never made active again"),
                (("promote", "3"), (two, self.version(3, "")), 2, "version 3 is suspended on a: resume it first"),
                (("retire", "1"), (bad, two), 2, "version 1 is compromised on a: it stays so"),
                (("retire", "1"), (self.version(1, ""), two), 2, "version 1 is suspended on a: resume it first"),
                (("suspend", "1"), (bad, two), 2, "version 1 is compromised on a: it stays so"),
                (("resume", "1"), (bad, two), 2, "version 1 is compromised on a: it is not resumed"),
                (("resume", "3"), (two, three), 2, "version 3 is pre-active, not suspended on any provider")):
            with self.subTest(args):
                if os.path.exists(self.path("state/k.json")):
                    os.remove(self.path("state/k.json"))
                if record:
                    self.record(record)
                self.both(*versions)
                self.assertIn("nothing was changed: " + said, self.refused(*args))
                self.assertIn(said, self.refused(*args, "--dry-run"))

    def test_what_a_node_announces_stays_in_use(self):
        self.record(1)
        self.both(self.version(1, "WU"), self.version(2, "WU"))
        for args in (("retire", "1"), ("retire", "--compromised", "1"), ("suspend", "1")):
            self.assertIn("version 1 is in use, this node announces it or still seals under it: promote a newer "
                          "one, and wait until no node does", self.refused(*args))
        with open(self.path("state/k.json"), "w", encoding="utf-8") as file:
            file.write("{")
        self.assertIn("which version this node announced last is not known", self.refused("retire", "1"))

    def test_the_only_active_one_stays_so(self):
        one, two = self.version(1, "WU"), self.version(2, "WU")
        self.configure("a")
        self.token("b")
        for others in ((), (self.version(2, "U"),), (self.version(2, "WU", refusal="planted"),),
                       (self.version(1, "WU", id=f"{7:032x}"),)):
            self.token("a", one, *others)
            for args in (("retire", one["id"]), ("retire", "--compromised", one["id"]), ("suspend", one["id"])):
                self.assertIn("is the only active one: promote another one first", self.refused(*args))
        # Each of two providers has another one, and no other is on both.
        self.configure("a", "b")
        self.token("a", one, two)
        for b in ((one,), (one, self.version(2, "U")), (one, self.version(3, "WU"))):
            self.token("b", *b)
            self.assertIn("version 1 is needed, since no other version that kekd could seal under is active on every "
                          "provider: promote another one first", self.refused("retire", "1"))
        # One that is older than what is announced is never sealed under again.
        self.record(2)
        self.both(one, self.version(2, "U"), self.version(3, "WU"))
        self.assertIn("version 3 is needed", self.refused("retire", "3"))

    def test_a_version_that_one_provider_has_not(self):
        self.token("a", self.version(1, "WU"), self.version(2, "U"))
        self.token("b", self.version(1, "WU"))
        self.assertIn("version 2 is not on b, which could not open what it seals: bring the key there first",
                      self.refused("promote", "2", "--i-have-a-backup"))

    def test_a_key_that_is_unfit_or_two(self):
        self.token("a", self.version(1, "WU"), self.version(2, "U"))
        self.token("b", self.version(1, "WU"), self.version(2, "U", refusal="it is extractable"))
        self.assertIn("version 2 is refused by kekd on b: it is extractable", self.refused("promote", "2"))
        self.token("b", self.version(1, "WU"), self.version(2, "U"), self.version(2, "U"))
        self.assertIn("version 2 is two keys with one CKA_ID on b", self.refused("promote", "2"))

    def test_a_surplus_key_is_not_promoted_unless_it_was_announced(self):
        self.both(self.version(2, "U"), self.version(2, "U", id=f"{9:032x}"))
        self.assertIn("version 2 is also the number of another key, which stands",
                      self.refused("promote", f"{9:032x}"))
        self.record(9)
        self.both(self.version(9, "U"), self.version(9, "U", id=f"{2:032x}"))
        self.assertIn("which stands", self.refused("promote", f"{2:032x}"))
        self.assertEqual(self.steps("promote", f"{9:032x}")[:2], (0, ["done", "done"]))

    def test_two_changes_at_once(self):
        """Each would find the other's version active."""
        self.both(self.version(1, "WU"), self.version(2, "WU"))
        with open(self.path("state/k.changing"), "w", encoding="utf-8") as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX)
            self.assertIn("nothing was changed: another kekctl changes keys of keyring k (pid %d): wait for its end"
                          % os.getpid(), self.refused("retire", "1"))
            self.assertEqual(self.steps("retire", "1", "--dry-run")[0], 0)
        self.assertEqual(self.steps("retire", "1")[0], 0)

    def test_providers_that_do_not_answer(self):
        for away in ("a", "b"):
            for login, said in (("refuse", "refused (0xa0)"), ("pin file", "mode 0644")):
                shutil.rmtree(self.path("state"))
                os.mkdir(self.path("state"), 0o700)
                self.both(self.version(1, "WU"), self.version(2, "U"))
                self.token(away, self.version(1, "WU"), self.version(2, "U"), login=login)
                err = self.refused("promote", "2")
                self.assertIn("nothing was changed: every provider must answer first", err)
                self.assertIn(f"key promote: {away}: ", err)
                self.assertIn(said, err)

    def test_a_version_on_one_token_needs_a_backup(self):
        said = "version 2 is on one token alone, and with that token all would be lost"
        versions = self.version(1, "WU"), self.version(2, "U")
        self.both(*versions, serial="0815")
        self.assertIn(said, self.refused("promote", "2"))
        self.assertIn(said, self.refused("promote", "2", "--dry-run"))
        self.configure("a")
        self.token("a", *versions)
        self.assertIn(said, self.refused("promote", "2"))
        self.assertEqual(self.steps("promote", "2", "--i-have-a-backup")[:2], (0, ["done"]))
        # Nothing is sealed under a keyring's first version yet, and what is done needs no word.
        self.assertEqual(self.steps("promote", "2")[:2], (0, ["already"]))
        self.token("a", self.version(1, "U"))
        self.assertEqual(self.steps("promote", "1")[:2], (0, ["done"]))


class States(Changes):
    def states(self):
        code, out, _ = self.run_it("list", "--output", "json")
        return code, [(v["provider"], v["version"], v["state"]) for v in json.loads(out)["versions"]]

    def test_a_retired_version_is_not_pre_active(self):
        self.configure("a")
        self.token("a", self.version(1, "U"))
        self.assertEqual(self.states(), (3, [("a", 1, "pre-active")]))
        self.record(1)
        self.assertEqual(self.states(), (3, [("a", 1, "deactivated")]))
        self.token("a", self.version(1, "U"), self.version(2, "U"))
        self.assertEqual(self.states()[1], [("a", 1, "deactivated"), ("a", 2, "pre-active")])
        # What another provider has active counts.
        self.configure("a", "b")
        os.remove(self.path("state/k.json"))
        self.token("a", self.version(1, "U"))
        self.token("b", self.version(1, "U"), self.version(2, "WU"))
        self.assertEqual(self.states()[1], [("a", 1, "deactivated"), ("b", 1, "deactivated"), ("b", 2, "active")])

    def test_compromised_suspended_and_surplus_are_told(self):
        self.configure("a")
        self.record(5)
        self.token("a", self.version(1, "U", compromised=True), self.version(2, ""), self.version(4, "WU"),
                   self.version(4, "WU", id=f"{3:032x}"), self.version(5, "WU"), self.version(5, "WU", id=f"{1:032x}"))
        self.assertEqual(self.states(), (3, [("a", 1, "compromised"), ("a", 2, "suspended"), ("a", 4, "surplus"),
                                             ("a", 4, "active"), ("a", 5, "active"), ("a", 5, "surplus")]))
        self.assertIn(f"{4:032x} is surplus, and kekd seals nothing under it", self.run_it("list")[2])


if __name__ == "__main__":
    unittest.main()
