#!/usr/bin/python3
"""kekctl key destroy against workers that do as they are told, the pages of two nodes, and a file of inventories."""

import copy
import datetime
import hashlib
import http.server
import json
import os
import re
import socket
import stat
import subprocess
import sys
import threading
import time
import unittest

from full_log import FullLog
from test_kekctl_changes import Changes, SUSPENDED
from test_kekctl_keys import INTEROP

sys.path.insert(0, INTEROP)
import etcd_fake  # noqa: E402  pylint: disable=wrong-import-position,import-error

HOUR = 3600
SELF = socket.gethostname()  # what a node calls itself that is told no name
WORDS = ("--backups-checked", "--api-servers-restarted")
STATUS = """status:
  listen: 127.0.0.1:1
  cert: {0}
  key: {0}
  ca: {0}
  allow: ["CN=n"]
  nodes: [n3:9443]
"""
SSH = '#!/bin/sh\nexec cat "%s"\n'


def date(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def boot(begun, ended):
    """As an inventory of that time says the time since boot."""
    up, now = time.clock_gettime(time.CLOCK_BOOTTIME), time.time()
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        this = file.read().strip()
    if now - begun < up:
        return {"id": this, "begun_ms": int((up - now + begun) * 1000), "ended_ms": int((up - now + ended) * 1000)}
    return {"id": "00000000-0000-4000-8000-000000000000", "begun_ms": int(begun * 1000), "ended_ms": int(ended * 1000)}


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):  # pylint: disable=invalid-name
        body = json.dumps(self.server.page()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):  # pylint: disable=arguments-differ
        pass


class Destroy(Changes):
    """Version 1 was retired 100 hours ago, and nothing needs it; two providers, two nodes, one etcd."""

    def setUp(self):
        super().setUp()
        self.server = http.server.HTTPServer(("127.0.0.1", 0), Page)
        self.server.page = lambda: self.page(SELF)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.pages, self.started = {}, time.time()
        os.mkdir(self.path("bin"))
        with open(self.path("bin/ssh"), "w", encoding="utf-8") as file:
            file.write(SSH % self.path("n2.json"))
        os.chmod(self.path("bin/ssh"), stat.S_IRWXU)
        self.env = dict(os.environ, PATH=self.path("bin") + ":" + os.environ["PATH"])
        self.other = etcd_fake.Fake(self, cluster=0x2222222222222222)
        for key in (b"/other/x", b"/registry2/x"):
            self.other.pairs[key] = b"k8s\0"
        self.main = etcd_fake.Fake(self)
        self.config()
        self.record(2)
        self.both(self.version(1, "U"), self.version(2, "WU"))
        self.inventories = [self.inventory(1, 60), self.inventory(2, 40)]
        self.pages = {name: self.usual(name) for name in (SELF, "n2")}

    def tearDown(self):
        self.server.shutdown()
        self.server.server_close()
        super().tearDown()

    def config(self, destroy_after="72h", quarantine="24h", etcd="[{name: main, endpoints: [https://e:2379]}]"):
        etcd = etcd.replace("https://e:2379", self.main.endpoint).replace("https://f:2379", self.other.endpoint)
        self.configure("a", "b", extra=(
            f"metrics: 127.0.0.1:{self.server.server_port}\n"
            f"audit: {{file: {self.path('audit')}}}\ndestroy_after: {destroy_after}\nquarantine: {quarantine}\n"
            + (f"etcd: {etcd}\n" if etcd else "")))

    # What the nodes say.

    def usual(self, name):
        ago = lambda hours: {"since": date(self.started - hours * HOUR), "ms": hours * HOUR * 1000}
        held = {"a": "deactivated", "b": "deactivated"}
        return {
            "node": name, "version": "1", "keyring": "k", "context_sha256":
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "config_sha256": "0" * 64,
            "health": "good", "since": date(self.started - 5), "what": "", "todo": "",
            "primary": {"version": 2, "kek_id": f"{2:032x}", "key_id": "kek1-2", "key_id_hash": "sha256:2",
                        "announced_at": date(self.started - 100 * HOUR)},
            "sealing": [{"version": 2, "kek_id": f"{2:032x}", "key_id": "kek1-2"}],
            "versions": [
                {"version": 1, "kek_id": f"{1:032x}", "key_id": "kek1-1", "state": "deactivated", "providers": held,
                 "proven": ["a", "b"], "inactive": ago(99), "superseded": ago(100), "suspended": None,
                 "asked_for": None},
                {"version": 2, "kek_id": f"{2:032x}", "key_id": "kek1-2", "state": "active",
                 "providers": {"a": "active", "b": "active"}, "proven": ["a", "b"], "inactive": None,
                 "superseded": None, "suspended": None, "asked_for": None}],
            "destroyed": [], "etcd": [], "rotation": None, "destruction": None,
            "providers": [{"name": p, "serial": "serial-" + p, "label": "t", "answers": True} for p in "ab"],
            "settle_ms": 1000, "refresh_ms": 1000, "max_age_ms": HOUR * 1000}

    def page(self, name):
        return dict(self.pages[name], now=date(time.time()))

    def suspended(self, hours=25, asked=0):
        """As both nodes say it in the quarantine."""
        for page in self.pages.values():
            page["versions"][0].update(
                state="suspended", suspended={"since": date(self.started - hours * HOUR), "ms": int(hours * HOUR * 1000)},
                asked_for={"count": asked, "last": date(self.started)} if asked else None)

    # What inventories say.

    def inventory(self, revision, hours_ago, **more):
        return dict({"etcd": "main", "cluster_id": "cdf818194e3a8c32", "prefix": "/registry", "context": "",
                     "revision": revision, "begun": date(self.started - hours_ago * HOUR),
                     "ended": date(self.started - hours_ago * HOUR + 60), "objects": 10, "unreadable": 0,
                     "disagreeing": 0, "verified": False, "by_kek": {f"{2:032x}": 9},
                     "boot": boot(self.started - hours_ago * HOUR, self.started - hours_ago * HOUR + 60)}, **more)

    @staticmethod
    def set_boot(inventory):
        inventory["boot"] = boot(*(datetime.datetime.fromisoformat(inventory[at].replace("Z", "+00:00")).timestamp()
                                   for at in ("begun", "ended")))

    def write_inventories(self):
        with open(self.path("state/k.inventories"), "w", encoding="utf-8") as file:
            json.dump({"format": 1, "keyring": "k", "inventories": self.inventories}, file)

    # What is on record.

    def step(self):
        try:
            with open(self.path("state/k.destroy"), encoding="utf-8") as file:
                now = json.load(file)["now"]
        except FileNotFoundError:
            return None
        return now and now["step"]

    def quarantined(self, hours=25, **more):
        """A quarantine that began so long ago, as it is once an inventory came after it."""
        self.both(self.version(1, ""), self.version(2, "WU"))
        self.suspended(hours)
        self.inventories.append(self.inventory(3, 10))
        with open(self.path("state/k.destroy"), "w", encoding="utf-8") as file:
            at = re.sub(r"\.\d+", "", date(self.started - hours * HOUR))
            json.dump({"node": SELF, "past": [], "now": dict({
                "step": "quarantined", "version": 1, "kek_id": f"{1:032x}", "since": at, "quarantined": at,
                "who": "alice (uid 7)"}, **more)}, file)

    # What it does.

    def ids(self, name):
        return [(v["number"], v["may"]) for v in self.data(name)["versions"]]

    def objects(self):
        return {name: (self.ids(name), self.data(name).get("set"), self.data(name).get("destroyed"))
                for name in ("a", "b")}

    def destroy(self, *args, words=WORDS):
        """The exit code, the object of --output json, and standard error."""
        self.write_inventories()
        version = f"{1:032x}"  # one that no second key can be taken for
        with open(self.path("n2.json"), "w", encoding="utf-8") as file:
            json.dump({"nodes": [{"page": self.page("n2")}]}, file)
        code, out, err = self.run_it("destroy", version, "--node", "self", "--node", "ssh:n2", *words, *args,
                                     "--output", "json")
        return code, json.loads(out) if out else None, err

    def stays(self, condition, said, todo="", **more):
        """That condition alone is not met, and no token was asked to change anything."""
        before = self.objects(), self.step()
        code, found, err = self.destroy(**more)
        self.assertEqual(code, 3, err)
        self.assertEqual([row["condition"] for row in found["conditions"] if not row["met"]], [condition],
                         found["conditions"])
        row = next(row for row in found["conditions"] if not row["met"])
        self.assertIn(said, row["evidence"])
        self.assertIn(todo, row["todo"])
        self.assertNotEqual(row["todo"], "")
        self.assertRegex(err, "nothing was changed: (1 of [0-9]+ conditions? is not met|version 1 is in use, )")
        self.assertEqual((self.objects(), self.step()), before)

    def stays_not(self, condition, said, **more):
        """The same where more than that one follows."""
        before = self.objects()
        code, found, err = self.destroy(**more)
        self.assertEqual(code, 3, err)
        rows = {row["condition"]: row for row in found["conditions"]}
        self.assertFalse(rows[condition]["met"])
        self.assertIn(said, rows[condition]["evidence"])
        self.assertEqual(self.objects(), before)

    def acts(self):
        with open(self.path("audit"), encoding="utf-8") as file:
            lines = [json.loads(line) for line in file]
        return [(a["event"], a.get("provider"), a["outcome"], a["state"]) for a in lines if a["event"] != "login"]


class Good(Destroy):
    def test_a_version_is_quarantined_and_then_destroyed_on_each_provider(self):
        before = self.objects()
        code, found, err = self.destroy("--dry-run")
        self.assertEqual((code, err, found["next"], found["dry_run"]), (0, "", "quarantine", True))
        self.assertEqual([row["condition"] for row in found["conditions"]], [
            "providers", "nodes", "others", "version", "deactivated", "superseded", "asked-for", "inventory main",
            "backups"])
        self.assertEqual((self.objects(), self.step()), (before, None))
        self.assertEqual(self.acts(), [])  # but logins

        code, found, err = self.destroy()
        self.assertEqual(code, 0, err)
        self.assertEqual([step["outcome"] for step in found["steps"]], ["done", "done"])
        self.assertIn("version 1 is suspended on every provider, and in quarantine until 20", err)
        self.assertEqual(self.sent("a"), [SUSPENDED])
        self.assertEqual((self.ids("a"), self.ids("b")), ([(1, ""), (2, "WU")],) * 2)
        self.assertEqual(self.step(), "quarantined")

        self.suspended(0)
        self.assertEqual(self.destroy()[0], 3)  # it has not lasted
        self.quarantined()
        code, found, err = self.destroy()
        self.assertEqual(code, 0, err)
        self.assertEqual([step["outcome"] for step in found["steps"]], ["done", "done"])
        self.assertIn("version 1 is destroyed on every provider, as fresh processes show", err)
        for name in ("a", "b"):
            self.assertEqual(self.ids(name), [(2, "WU")])
            self.assertEqual(self.data(name)["destroyed"], [f"{1:032x}"])
        self.assertEqual(self.step(), "destroyed")
        self.assertEqual(self.acts(), [
            ("suspend", "a", "begun", "suspended"), ("suspend", "b", "begun", "suspended"),
            ("suspend", "a", "ok", "suspended"), ("suspend", "b", "ok", "suspended"),
            ("quarantine", None, "ok", "suspended"), ("destroy", None, "refused", "destroyed"),
            ("destroy", "a", "begun", "destroyed"), ("destroy", "a", "ok", "destroyed"),
            ("destroy", "b", "begun", "destroyed"), ("destroy", "b", "ok", "destroyed"),
            ("destroyed", None, "ok", "destroyed")])
        # Once more it is done already; key list says what became of it.
        code, found, err = self.destroy()
        self.assertEqual((code, found["next"]), (0, "nothing"))
        self.assertIn("version 1 was destroyed before, by ", err)
        _, out, _ = self.run_it("list", "--output", "json")
        listed = json.loads(out)
        self.assertEqual([(v["version"], v["state"], v["provider"]) for v in listed["versions"]],
                         [(1, "destroyed", ""), (2, "active", "a"), (2, "active", "b")])
        self.assertEqual([(d["version"], d["kek_id"]) for d in listed["destroyed"]], [(1, f"{1:032x}")])
        self.assertRegex(listed["destroyed"][0]["who"], r"uid \d+")

    def test_the_table_says_what_is_not_met_and_how_to_meet_it(self):
        self.write_inventories()
        code, out, err = self.run_it("destroy", "1", "--single-node", "--node", "self")
        self.assertEqual(code, 3, err)
        lines = out.splitlines()
        self.assertRegex(lines[0], r"^CONDITION +STATE +EVIDENCE +TO-DO$")
        self.assertIn("NOT MET", next(line for line in lines if line.startswith("backups")))
        self.assertIn("kekctl inventory --snapshot FILE", out)

    def test_on_a_terminal_the_table_breaks_between_words(self):
        self.write_inventories()
        words = ("destroy", "1", "--single-node", "--node", "self")
        rows = json.loads(self.run_it(*words, "--output", "json")[1])["conditions"]
        lines = self.on_terminal(100, *words)
        self.assertLessEqual(max(map(len, lines)), 100)
        for row in rows:
            self.assertLessEqual(set((row["evidence"] + " " + row["todo"]).split()), set(" ".join(lines).split()))

    def test_of_a_version_in_use_only_that_is_said(self):
        """What else its end would take is of no use to anybody who has to rotate first."""
        for version, said in (
                ("2", f"version 2 is in use, {SELF} announces it and seals under it: rotate first (kekctl key "
                      "rotate). What else its end takes, this command says then\n"),
                ("3", "version 3 is in use, it is active: rotate first (kekctl key rotate)."),
                ("1", "version 1 is in use, it is active: retire it first (kekctl key retire 1).")):
            self.both(self.version(1, "WU"), self.version(2, "WU"), self.version(3, "WU"))
            code, out, err = self.run_it("destroy", version, "--single-node", "--node", "self")
            self.assertEqual((code, out), (3, ""), err)
            self.assertIn("kekctl: key destroy: nothing was changed: " + said, err)

    def test_a_compromised_version_may_go_too_and_comes_back_marked(self):
        self.both(self.version(1, "U", compromised=True), self.version(2, "WU"))
        self.assertEqual(self.destroy()[0], 0)
        self.assertEqual(self.ids("a")[0], (1, ""))
        code, _, err = self.run_it("resume", "1", "--node", "self")
        self.assertEqual(code, 0, err)
        self.assertEqual(self.ids("a")[0], (1, "U"))

    def test_resume_gives_it_up(self):
        self.quarantined()
        code, _, err = self.run_it("resume", "1", "--node", "self")
        self.assertEqual(code, 0, err)
        self.assertIn("the quarantine of version 1 is given up", err)
        self.assertIsNone(self.step())
        self.assertEqual(self.ids("a")[0], (1, "U"))
        self.assertEqual(self.destroy("--dry-run")[1]["next"], "quarantine")

    def test_a_quarantine_that_somebody_broke_begins_anew(self):
        self.quarantined()
        self.token("b", self.version(1, "U"), self.version(2, "WU"))
        self.assertEqual(self.destroy()[1]["next"], "quarantine")
        self.assertEqual((self.step(), self.ids("b")[0]), ("quarantined", (1, "")))
        self.assertEqual(self.destroy("--dry-run")[0], 3)

    def test_resume_does_what_it_can_where_a_provider_is_away_and_the_rest_later(self):
        for away, there in (("b", "a"), ("a", "b")):
            with self.subTest(away):
                self.inventories = [self.inventory(1, 60), self.inventory(2, 40)]
                self.quarantined()
                self.token(away, self.version(1, ""), self.version(2, "WU"), login="pin file")
                for outcome in ("done", "already"):
                    code, steps, err = self.steps("resume", "1", "--node", "self")
                    self.assertEqual((code, dict(zip("ab", steps))), (3, {there: outcome, away: "unclear"}), err)
                    self.assertIn(f"{away}: whether it is done is not known: ", err)
                    self.assertIn("once it answers, run this again", err)
                    self.assertEqual((self.step(), self.ids(there)[0]), (None, (1, "U")))
                self.token(away, self.version(1, ""), self.version(2, "WU"))
                code, steps, err = self.steps("resume", "1", "--node", "self")
                self.assertEqual((code, dict(zip("ab", steps))), (0, {there: "already", away: "done"}), err)
        self.both(self.version(1, ""), self.version(2, "WU"), login="pin file")
        self.assertIn("nothing was changed: a provider must answer first", self.refused("resume", "1", "--node", "self"))

    def test_what_is_back_with_a_tokens_backup_is_said(self):
        found = lambda: self.run_it("list")
        self.quarantined()
        self.assertNotIn("in quarantine since", found()[2])
        for tokens, where in (("b", "b"), ("ab", "a, b, which are all")):
            for token in tokens:
                self.token(token, self.version(1, "U"), self.version(2, "WU"))
            said = r"version 1, which is in quarantine since 20\S+, may be used again on %s: its token was restored" % where
            code, _, err = found()
            self.assertEqual(code, 3)
            self.assertRegex(err, said)
            self.assertNotIn("finish its change there", err)
            self.assertRegex(self.destroy("--dry-run")[2], said)
        self.quarantined(step="destroyed", since="2026-01-02T03:04:05Z")
        for tokens, where in (("b", "b"), ("ab", "a, b, which are all")):
            self.both(self.version(2, "WU"))
            for token in tokens:
                self.token(token, self.version(1, "U"), self.version(2, "WU"))
            said = ("version 1, which was destroyed at 2026-01-02T03:04:05Z by alice (uid 7), is back on %s: its token was "
                    "restored from a backup that has the key" % where)
            code, _, err = found()
            self.assertEqual(code, 3)
            self.assertIn(said, err)
            self.assertNotIn("bring its key there", err)
            self.assertIn(said, self.destroy("--dry-run")[2])
        # Destroyed from another node: kekd has seen it, and that it is back or not yet.
        os.remove(self.path("state/k.destroy"))
        with open(self.path("state/k.json"), encoding="utf-8") as file:
            state = json.load(file)
        for returned in (0, 1767323046000):
            state["history"] = [{"number": 1, "kek_id": f"{1:032x}", "destroyed_ms": 1767323045000,
                                 "returned_ms": returned}]
            with open(self.path("state/k.json"), "w", encoding="utf-8") as file:
                json.dump(state, file)
            code, _, err = found()
            self.assertEqual(code, 3)
            self.assertIn("version 1, which was destroyed at 2026-01-02T03:04:05Z, is back on a, b, which are all", err)

    def test_short_times_are_warned_of(self):
        self.config(destroy_after="1h", quarantine="10s")
        _, _, err = self.destroy("--dry-run")
        self.assertIn("destroy_after is less than 24h", err)
        self.assertIn("quarantine is less than 24h", err)
        done = subprocess.run([self.kekctl, "--config", self.path("f.yaml"), "config", "check"], capture_output=True,
                              timeout=120, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(b"destroy_after is less than 24h", done.stderr)


class Refused(Destroy):
    def test_each_thing_that_is_wrong_alone_keeps_it(self):
        one = lambda name="n2": self.pages[name]["versions"][0]
        age = lambda key, hours, name="n2": one(name).update({key: {"since": date(self.started - hours * HOUR),
                                                                    "ms": hours * HOUR * 1000}})
        put = lambda name, **more: self.pages[name].update(more)
        inventory = lambda at, **more: self.inventories[at].update(more) or self.set_boot(self.inventories[at])
        for label, spoil, condition, said in (
                ("a node away", lambda: put("n2", node=None), "nodes", "n2"),
                ("another keyring", lambda: put("n2", keyring="other"), "nodes", "n2 has another keyring"),
                ("another context", lambda: put("n2", context_sha256="1" * 64), "nodes", "n2 has a context that is"),
                ("a node's provider away", lambda: self.pages["n2"]["providers"][1].update(answers=False), "nodes",
                 "n2: its provider b does not answer"),
                ("a token of its own", lambda: self.pages["n2"]["providers"][0].update(serial="far"), "nodes",
                 "n2: its provider a is token far"),
                ("a token without a serial", lambda: self.pages["n2"]["providers"][0].update(serial=""), "nodes",
                 "n2: its provider a is token"),
                ("a rotation", lambda: put("n2", rotation={"node": "n2", "step": "seen", "version": 3, "kek_id":
                                                           f"{3:032x}", "since": date(1), "pid": 1}),
                 "others", "n2 has a rotation on record"),
                ("another destruction", lambda: put("n2", destruction={"node": "n2", "step": "destroying",
                                                                       "version": 7}),
                 "others", "n2 has the destruction of version 7 on record"),
                ("one of this node", lambda: self.quarantined(version=5, kek_id=f"{5:032x}") or self.both(
                    self.version(1, "U"), self.version(2, "WU")), "others",
                 "this node has the destruction of version 5"),
                ("active on one", lambda: self.token("b", self.version(1, "WU"), self.version(2, "WU")), "version",
                 "it is active"),
                ("two of its number", lambda: self.token("b", self.version(1, "U"), self.version(2, "WU"),
                                                         self.version(1, "U", id=f"{9:032x}")), "version",
                 f"b has a second key of its number, kek id {9:032x}"),
                ("unfit on one", lambda: self.token("b", self.version(1, "U", refusal="it is extractable"),
                                                    self.version(2, "WU")), "version",
                 "kekd refuses it on b: it is extractable"),
                ("two of its id", lambda: self.token("b", self.version(1, "U"), self.version(1, "U"),
                                                     self.version(2, "WU")), "version", "two keys have this CKA_ID"),
                ("none that is newer", lambda: self.both(self.version(1, "U"), self.version(2, "U")), "version",
                 "no newer version is active"),
                ("seen in use lately", lambda: age("inactive", 71), "deactivated",
                 "n2 has seen it out of use on every provider for 71 h, of 72 h that it takes"),
                ("a clock that was set forward", lambda: one().update(inactive={
                    "since": date(self.started - 99 * HOUR), "ms": HOUR * 1000}), "deactivated", "for 60 min"),
                ("a clock that was set back", lambda: one().update(inactive={
                    "since": date(self.started + HOUR), "ms": 99 * HOUR * 1000}), "deactivated", "for 0 s"),
                ("not out of use there", lambda: one().update(inactive=None), "deactivated",
                 "n2 does not see it out of use"),
                ("asked for", lambda: one().update(asked_for={"count": 2, "last": date(self.started)}), "asked-for",
                 "2 Decrypts asked n2 for it"),
                ("still sealing", lambda: self.pages["n2"]["sealing"].append(
                    {"version": 1, "kek_id": f"{1:032x}", "key_id": "kek1-1"}), None,
                 "an Encrypt of n2 may still seal under it"),
                ("objects", lambda: inventory(1, by_kek={f"{1:032x}": 1}), "inventory main",
                 "it found objects that this version sealed"),
                ("a KEK id that may be damaged", lambda: inventory(1, disagreeing=1), "inventory main",
                 "it found objects whose KEK id may be damaged"),
                ("objects in the one before", lambda: inventory(0, by_kek={f"{1:032x}": 1}), "inventory main",
                 "1 of 2 inventories"),
                ("unreadable objects", lambda: inventory(1, unreadable=1), "inventory main", "nobody can say"),
                ("no object at all", lambda: inventory(1, objects=0, by_kek={}), "inventory main",
                 "it found no object at all"),
                ("one inventory", lambda: self.inventories.pop(), "inventory main", "1 of 2 inventories"),
                ("no inventory", self.inventories.clear, "inventory main", "0 of 2 inventories"),
                ("another prefix", lambda: inventory(1, prefix="/other"), "inventory main", "another prefix"),
                ("another context in etcd", lambda: inventory(1, context="x"), "inventory main", "another context"),
                ("another cluster", lambda: inventory(0, cluster_id="1" * 16), "inventory main", "another etcd cluster"),
                ("another etcd", lambda: inventory(1, etcd="second"), "inventory main", "1 of 2 inventories"),
                ("one revision", lambda: inventory(1, revision=1), "inventory main",
                 "nothing was written to that etcd between it and the one after it"),
                ("an etcd that went back", lambda: inventory(0, revision=9), "inventory main",
                 "its revision is after that of the one after it"),
                ("at the same time", lambda: inventory(0, ended=date(self.started - 39 * HOUR)), "inventory main",
                 "it had not ended when the one after it began"),
                ("too early", lambda: inventory(0, begun=date(self.started - 99 * HOUR)), "inventory main",
                 "it was begun before every node had announced a newer version for long enough"),
                ("of the future", lambda: inventory(1, begun=date(self.started + HOUR),
                                                    ended=date(self.started + HOUR + 1)), "inventory main",
                 "it is of the future"),
        ):
            with self.subTest(label):
                self.restart()
                spoil()
                if label == "a node away":
                    self.pages["n2"].pop("node")
                    self.stays_not("nodes", said)
                elif condition is None:
                    self.stays_not("superseded", said)
                else:
                    self.stays(condition, said)

    def restart(self):
        self.main.stop()
        self.main = etcd_fake.Fake(self)
        self.config()
        self.both(self.version(1, "U"), self.version(2, "WU"))
        self.pages = {name: self.usual(name) for name in (SELF, "n2")}
        self.inventories[:] = [self.inventory(1, 60), self.inventory(2, 40)]
        if os.path.exists(self.path("state/k.destroy")):
            os.remove(self.path("state/k.destroy"))

    def test_a_version_that_a_node_announces_or_announced_a_moment_ago(self):
        primary = {"version": 1, "kek_id": f"{1:032x}", "key_id": "kek1-1", "key_id_hash": "sha256:1",
                   "announced_at": None}
        self.pages["n2"].update(primary=primary)
        self.stays_not("version", "n2 announces it")
        self.stays_not("superseded", "n2 does not announce a newer version")
        self.pages["n2"] = dict(self.usual("n2"), primary=None)
        self.stays_not("superseded", "n2 does not announce a newer version")
        for key in ("max_age_ms", "refresh_ms"):
            self.pages["n2"] = dict(self.usual("n2"), **{key: (1 << 63) - 1})
            self.stays_not("superseded", "n2 has seen it superseded for 100 h, of 277")
        # 1 h of a data key, 1 s of refresh, and 5 minutes.
        self.pages["n2"] = self.usual("n2")
        for ms, met in ((3900999, False), (3901000, True)):
            self.pages["n2"]["versions"][0]["superseded"]["ms"] = ms
            rows = {row["condition"]: row for row in self.destroy("--dry-run")[1]["conditions"]}
            self.assertEqual(rows["superseded"]["met"], met)
            self.assertFalse(rows["inventory main"]["met"])  # both were begun before that

    def test_a_kekd_before_this_one_says_too_little(self):
        for key in ("inactive", "superseded", "suspended", "asked_for"):
            self.pages["n2"]["versions"][0].pop(key)
        self.stays_not("deactivated", "n2 has a kekd that does not say it: update it")
        self.pages["n2"] = self.usual("n2")
        self.pages["n2"].pop("max_age_ms")
        self.stays_not("superseded", "n2 has a kekd that does not say how long a data key lives")
        self.pages["n2"] = self.usual("n2")
        self.pages["n2"]["versions"].pop(0)
        self.stays_not("deactivated", "n2 does not know the version")

    def test_a_node_that_came_yesterday_has_seen_nothing_older(self):
        for key in ("inactive", "superseded"):
            self.pages["n2"]["versions"][0][key] = {"since": date(self.started - 24 * HOUR), "ms": 24 * HOUR * 1000}
        self.inventories = [self.inventory(1, 20), self.inventory(2, 10)]
        self.stays("deactivated", "n2 has seen it out of use on every provider for 24 h, of 72 h",
                   todo="wait for 48 h more")

    def test_words_that_were_not_said(self):
        self.stays("backups", "nothing was said of backups", todo="--snapshot FILE", words=())
        self.quarantined()
        self.stays("api-servers", "nothing was said of a restart", words=WORDS[:1])
        self.stays("backups", "nothing was said of backups", words=WORDS[1:])

    def test_nobody_names_the_nodes(self):
        self.write_inventories()
        code, out, _ = self.run_it("destroy", "1", *WORDS, "--output", "json")
        self.assertEqual(code, 3)
        self.assertEqual([row["evidence"] for row in json.loads(out)["conditions"] if not row["met"]],
                         ["this node alone is known"])
        for nodes in (1, 2):
            code, out, _ = self.run_it("destroy", "1", *WORDS, *["--node", "self"] * nodes, "--output", "json")
            self.assertEqual((code, [row["evidence"] for row in json.loads(out)["conditions"] if not row["met"]]),
                             (3, ["this node alone is known"]))
        code, out, _ = self.run_it("destroy", "1", *WORDS, "--dry-run", "--single-node")
        self.assertEqual(code, 0)

    def test_a_node_that_the_configuration_names_is_left_out(self):
        with open(self.path("f.yaml"), encoding="utf-8") as file:
            text = file.read()
        with open(self.path("f.yaml"), "w", encoding="utf-8") as file:
            file.write(text + STATUS.format(self.path("f.yaml")))
        self.stays("nodes", "n3:9443, which status.nodes names, is not among those that are asked",
                   todo="leave --node away")

    def test_this_node_is_not_among_those_that_are_asked(self):
        self.pages[SELF]["node"] = "n3"
        self.stays("nodes", f"this node, {SELF}, is not among those that are asked")

    def test_two_names_that_lead_to_one_node(self):
        """A third may be the one that nobody asked."""
        with open(self.path("bin/ssh"), "w", encoding="utf-8") as file:
            file.write('#!/bin/sh\ncase "$*" in *n3*) exec cat "%s";; esac\nexec cat "%s"\n' % (
                self.path("n3.json"), self.path("n2.json")))
        for names, said in ((("n2", "n2"), "ssh:n2 and ssh:n3 lead to one node, n2"),
                            ((SELF, "n3"), f"self and ssh:n2 lead to one node, {SELF}")):
            self.pages["n2"]["node"] = names[0]
            with open(self.path("n3.json"), "w", encoding="utf-8") as file:
                json.dump({"nodes": [{"page": dict(self.page("n2"), node=names[1])}]}, file)
            code, found, err = self.destroy("--node", "ssh:n3")
            self.assertEqual(code, 3, err)
            row, = [row for row in found["conditions"] if not row["met"]]
            self.assertEqual((row["condition"], row["evidence"]), ("nodes", said + ", so that another may not be asked"))
            self.assertIn("name each node once", row["todo"])

    def test_a_node_of_another_cluster_that_has_the_name_of_this_one(self):
        self.config(etcd="[{name: main, endpoints: [https://e:2379]}, {name: events, endpoints: [https://f:2379], "
                         "context: c2, prefix: /other}]")
        more = {"etcd": "events", "prefix": "/other", "context": "c2", "cluster_id": "2" * 16}
        self.inventories += [self.inventory(1, 15, **more), self.inventory(2, 14, **more)]
        self.pages["n2"].update(node=SELF, context_sha256=hashlib.sha256(b"c2").hexdigest())
        self.assertEqual(self.destroy("--dry-run")[0], 0)
        self.pages["n2"].update(destruction={"node": SELF, "step": "quarantined", "version": 1})
        self.stays("others", f"{SELF} has the destruction of version 1 on record", todo="ssh:n2")

    def test_no_etcd_is_configured(self):
        self.config(etcd="")
        self.stays("inventory", "no etcd is configured", todo="by etcd: in " + self.path("f.yaml"))

    def test_one_of_several_etcds(self):
        self.config(etcd="[{name: main, endpoints: [https://e:2379]}, {name: events, endpoints: [https://f:2379], "
                         "context: c2, prefix: /other}]")
        self.stays_not("nodes", "no node of context c2 is asked, in which etcd events is sealed")
        self.pages["n2"].update(context_sha256=hashlib.sha256(b"c2").hexdigest())
        self.stays("inventory events", "0 of 2 inventories", todo="run kekctl inventory twice")
        more = {"etcd": "events", "prefix": "/other", "context": "c2", "cluster_id": "2" * 16}
        self.inventories += [self.inventory(1, 15, **more), self.inventory(2, 14, **more)]
        self.assertEqual(self.destroy("--dry-run")[0], 0)

    def test_a_context_whose_etcd_is_not_configured(self):
        self.config(etcd="[{name: events, endpoints: [https://f:2379], context: c2, prefix: /other}]")
        more = {"etcd": "events", "prefix": "/other", "context": "c2", "cluster_id": "2" * 16}
        self.inventories = [self.inventory(1, 15, **more), self.inventory(2, 14, **more)]
        self.pages["n2"].update(context_sha256=hashlib.sha256(b"c2").hexdigest())
        self.stays("nodes", f"{SELF} has a context that is of none of the etcds here", todo="name its etcd")

    def test_two_entries_that_led_to_one_etcd(self):
        self.config(etcd="[{name: main, endpoints: [https://e:2379]}, {name: events, endpoints: [https://f:2379]}]")
        self.inventories += [self.inventory(at, 30 - at, etcd="events") for at in (3, 4)]
        said = "it read the same etcd and keys as that of "
        self.stays_not("inventory main", said + "events")
        self.stays_not("inventory events", said + "main")
        self.main.pairs[b"/registry2/x"] = b"k8s\0"
        for spoil, where in (({"cluster_id": "2" * 16}, "f"), ({"prefix": "/registry2"}, "e")):
            with self.subTest(spoil):
                self.config(etcd="[{name: main, endpoints: [https://e:2379]}, {name: events, endpoints: [https://%s:2379]"
                                 ", prefix: %s}]" % (where, spoil.get("prefix", "/registry")))
                self.inventories[2:] = [self.inventory(at, 30 - at, etcd="events", **spoil) for at in (3, 4)]
                self.assertEqual(self.destroy("--dry-run")[0], 0)

    def test_an_etcd_that_is_not_what_it_was_at_the_last_inventory(self):
        def sealed(kek):
            envelope = (b"KEK\1\1\1\1\1" + kek.to_bytes(16, "big") + (40).to_bytes(2, "big") + bytes(40 + 16 + 16 + 32))
            return {b"/registry/secrets/a/x": b"k8s:enc:kms:v1:kekd:" + len(envelope).to_bytes(2, "big") + envelope +
                                              bytes(48)}

        for stage in ("quarantine", "destroy"):
            for label, spoil, said, todo in (
                    ("restored and in use since", lambda: self.main.pairs.update(sealed(1)),
                     "2 objects, 1 that the version sealed", "see what was restored there"),
                    ("one that may be of it, with a byte of the KEK id changed", lambda: self.main.pairs.update(sealed(257)),
                     "0 that the version sealed and 1 of which nobody can say what sealed them", "see what was restored there"),
                    ("restored to an older state", lambda: setattr(self.main, "revision", 1),
                     "it is at revision 1 now, and was at ", "see what was restored there"),
                    ("a member of another cluster", lambda: setattr(self.main, "cluster", 7),
                     "it is cluster 0000000000000007 now, and was cdf818194e3a8c32", "see what was restored there"),
                    ("empty", lambda: self.main.pairs.clear(), "it has 0 objects", "see what was restored there"),
                    ("away", lambda: self.main.stop(), "it cannot be looked at now: etcd main: ",
                     "only one that is gone for good, with all its backups, is taken out of etcd:")):
                with self.subTest(label, stage=stage):
                    self.restart()
                    if stage == "destroy":
                        self.quarantined()
                    self.assertEqual(self.destroy("--dry-run")[1]["next"], stage)
                    self.assertGreater(self.main.asked, 0)
                    self.main.pairs.update(sealed(2))  # of a version that is known
                    self.assertEqual(self.destroy("--dry-run")[0], 0)
                    spoil()
                    self.stays("inventory main", said, todo=todo)

    def test_an_etcd_that_only_another_node_names(self):
        none, c2 = hashlib.sha256(b"").hexdigest(), hashlib.sha256(b"c2").hexdigest()
        main = {"name": "main", "prefix": "/registry", "context_sha256": none}
        for label, etcds in (("one more", [main, dict(main, name="events")]), ("a prefix", [dict(main, prefix="/r")]),
                             ("a context", [dict(main, context_sha256=c2)])):
            with self.subTest(label):
                self.pages["n2"]["etcd"] = etcds
                self.stays("nodes", "the configuration of n2 names etcd " + etcds[-1]["name"],
                           todo="name each etcd alike on all nodes")
        self.pages["n2"]["etcd"] = [main]
        self.assertEqual(self.destroy("--dry-run")[0], 0)
        self.pages["n2"].pop("etcd")
        self.stays("nodes", "n2 has a kekd that does not say which etcds", todo="update it")

    def test_a_clock_that_was_set_beside_an_inventory(self):
        shift = lambda at, key, ms: self.inventories[at]["boot"].update({key: self.inventories[at]["boot"][key] + ms})
        recent = lambda: self.inventories.__setitem__(slice(None), [self.inventory(1, 0.06), self.inventory(2, 0.04)])
        for label, spoil, said in (
                ("forward before it ended", lambda: shift(1, "begun_ms", 59000) or shift(1, "ended_ms", 1000),
                 "the wall clock was set while it was made or since"),
                ("between it and now", lambda: shift(1, "begun_ms", -60000) or shift(1, "ended_ms", -60000),
                 "the wall clock was set while it was made or since"),
                ("no time since boot", lambda: self.inventories[1].pop("boot"),
                 "it does not say the time since boot: a kekctl before this one made it"),
                ("of an earlier boot, and begun in this one", lambda: self.inventories[1]["boot"].update(
                    id="00000000-0000-4000-8000-000000000000"), "the wall clock was set while it was made or since"),
                ("between two", lambda: [self.inventories[i].update(boot={
                    "id": "00000000-0000-4000-8000-000000000000", "begun_ms": 100000 + i, "ended_ms": 160000 + i})
                                         for i in (0, 1)], None)):
            with self.subTest(label):
                self.restart()
                recent()
                for page in self.pages.values():
                    for key in ("inactive", "superseded"):
                        page["versions"][0][key].update(since=date(self.started - 100 * HOUR), ms=100 * HOUR * 1000)
                spoil()
                if said is None:
                    self.inventories = [dict(record, begun=date(self.started - hours * HOUR),
                                             ended=date(self.started - hours * HOUR + 60))
                                        for record, hours in zip(self.inventories, (60, 40))]
                    said = "the wall clock was set between it and the one after it"
                    if time.clock_gettime(time.CLOCK_BOOTTIME) > 40 * HOUR:
                        continue  # this machine was not booted since
                self.stays("inventory main", said, todo="run kekctl inventory")

    def test_a_clock_that_was_set_between_the_quarantine_and_the_inventory_after_it(self):
        up = int(time.clock_gettime(time.CLOCK_BOOTTIME) * 1000)
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            this = file.read().strip()
        for ago, met in ((120000, True), (10000, False)):
            self.restart()
            self.config(quarantine="30s")
            self.quarantined(120 / HOUR, boot={"id": this, "quarantined_ms": up - ago})
            self.inventories[-1:] = [self.inventory(3, 0.02)]
            rows = {row["condition"]: row for row in self.destroy("--dry-run")[1]["conditions"]}
            self.assertEqual((rows["quarantine"]["met"], rows["inventory main"]["met"]), (met, met), rows)

    def test_providers_that_do_not_answer(self):
        for away in ("a", "b"):
            self.restart()
            self.token(away, self.version(1, "U"), self.version(2, "WU"), login="pin file")
            self.stays_not("providers", f"provider {away} does not answer")
        for name in "ab":
            self.token(name, self.version(1, "U"), self.version(2, "WU"), login="pin file")
        code, _, err = self.destroy()
        self.assertEqual(code, 1, err)
        self.assertRegex(err, "no provider that answers shows a version 0*1 of keyring k, and not every one answers: ")

    def test_in_quarantine(self):
        for label, spoil, condition, said in (
                ("too short", lambda: self.quarantined(23), "quarantine", "it has not lasted 24 h"),
                ("not seen by one node for that long", lambda: self.pages["n2"]["versions"][0]["suspended"].update(
                    ms=23 * HOUR * 1000), "quarantine", "n2 has seen it suspended for 23 h, of 24 h that it takes"),
                ("not seen by one node", lambda: self.pages["n2"]["versions"][0].update(suspended=None), "quarantine",
                 "n2 does not see it suspended on every provider"),
                ("asked for", lambda: self.suspended(asked=1), "asked-for", f"1 Decrypt asked {SELF} for it"),
                ("no inventory since", lambda: self.inventories.pop(), "inventory main",
                 "was begun before the quarantine"),
                ("broken and begun again by another node's kekctl", lambda: self.config(quarantine="5h")
                 or self.suspended(6), "inventory main", "was begun before the quarantine"),
                ("an inventory that found some", lambda: self.inventories[-1].update(by_kek={f"{1:032x}": 3}),
                 "inventory main", "it found objects that this version sealed"),
                ("a clock that was set back", lambda: self.quarantined(-1) or self.suspended(), "quarantine",
                 "it has not lasted")):
            with self.subTest(label):
                self.restart()
                self.quarantined()
                self.inventories[:] = self.inventories[:3]
                spoil()
                self.inventories[:] = self.inventories[:3]
                if label == "a clock that was set back":
                    self.stays_not(condition, said)
                else:
                    self.stays(condition, said)

    def test_a_key_that_went_by_another_hand_does_not_keep_its_destruction_on_record(self):
        self.quarantined()
        self.both(self.version(2, "WU"))
        self.stays_not("providers", "no provider has the key, and this destruction did not end it")
        code, _, err = self.run_it("resume", f"{1:032x}")
        self.assertEqual((code, self.step()), (0, None), err)
        self.assertIn("the quarantine of version 1 is given up", err)

    def test_two_that_began_at_once_are_told_how_one_goes_on(self):
        self.quarantined()
        self.pages["n2"].update(destruction={"node": "n2", "step": "quarantined", "version": 1})
        self.stays("others", "n2 has the destruction of version 1 on record",
                   todo="give it up there by kekctl key resume 1")

    def test_what_is_no_version_and_what_another_kekctl_changes(self):
        self.write_inventories()
        before = self.objects()
        code, out, err = self.run_it("destroy", "4")
        self.assertEqual((code, out), (1, ""))
        self.assertIn("nothing was changed: no provider shows a version 4 of keyring k, only 1, 2", err)
        self.assertEqual(self.run_it("destroy", "x")[0], 2)
        self.assertEqual(self.run_it("destroy")[0], 2)
        with open(self.path("state/k.destroy"), "w", encoding="utf-8") as file:
            file.write("{")
        code, out, err = self.run_it("destroy", "1")
        self.assertEqual((code, out), (1, ""))
        self.assertIn("k.destroy is not what a destruction writes", err)
        os.remove(self.path("state/k.destroy"))
        with open(self.path("state/k.inventories"), "w", encoding="utf-8") as file:
            file.write("{")
        code, out, err = self.run_it("destroy", "1")
        self.assertEqual((code, out), (1, ""))
        self.assertEqual(self.objects(), before)


class Told(Destroy):
    """The audit log is told of each provider's destruction before it is asked for."""

    def test_no_key_is_destroyed_that_the_log_did_not_take(self):
        log = FullLog(self.path("log"), self.path("state/k.audit"))
        self.addCleanup(log.close)
        configure = self.configure
        self.configure = lambda *names, extra: configure(*names, extra=re.sub("audit: {.*}", "audit: {syslog: %s}"
                                                                              % log.path, extra))
        self.config()
        met = set()
        inventories = list(self.inventories)
        for room in range(9):
            self.inventories = list(inventories)
            self.quarantined()
            self.assertTrue(log.fill(room))
            code, found, err = self.destroy()
            lines = log.lines()
            begun = [x["provider"] for x in lines if x["event"] == "destroy" and x["outcome"] == "begun"]
            gone = [name for name in ("a", "b") if self.data(name).get("destroyed")]
            with self.subTest(room=room, code=code, err=err):
                self.assertEqual(gone, begun)
                self.assertEqual(code, 3 if gone else 1)
                met.add(len(gone))
                if len(gone) < 2:
                    self.assertIn(f"{'ab'[len(gone)]}: nothing was done, since ", err)
                    self.assertEqual([step["outcome"] for step in found["steps"]][len(gone)], "behind")
        self.assertLessEqual({0, 1}, met)


class Partial(Destroy):
    def test_a_key_whose_state_stands_in_the_configuration_is_suspended_there(self):
        self.config(etcd="[{name: main, endpoints: [https://e:2379]}]")
        with open(self.path("f.yaml"), encoding="utf-8") as file:
            text = file.read()

        def say(state):
            with open(self.path("f.yaml"), "w", encoding="utf-8") as file:
                file.write(text.replace("metrics:", "    versions: [{n: 1, state: %s}]\nmetrics:" % state, 1))
        say("deactivated")
        code, found, err = self.destroy()
        self.assertEqual((code, [s["outcome"] for s in found["steps"]]), (3, ["done", "by-config"]))
        self.assertIn("b cannot change this key: in every node's kekd.yaml, under providers: b: versions:, let the "
                      "entry read {n: 1, state: suspended}", err)
        self.assertEqual((self.step(), self.sent("b")), ("suspending", []))
        say("suspended")
        self.token("b", self.version(1, ""), self.version(2, "WU"))
        self.assertEqual(self.destroy()[0], 0)
        self.assertEqual(self.step(), "quarantined")

    def test_a_suspension_that_one_provider_refuses_is_no_quarantine(self):
        self.token("b", self.version(1, "U"), self.version(2, "WU"), set_state="fail")
        code, found, err = self.destroy()
        self.assertEqual((code, [s["outcome"] for s in found["steps"]]), (3, ["done", "behind"]))
        self.assertRegex(err, "b: version 1 is not suspended there: (?!b: )")
        self.assertEqual(self.step(), "suspending")
        self.token("b", self.version(1, "U"), self.version(2, "WU"))
        self.assertEqual(self.destroy()[0], 0)
        self.assertEqual(self.step(), "quarantined")

    def test_who_is_not_destroyed_is_named_and_the_next_run_finishes(self):
        for mode, outcome, said in (("fail", "behind", "CKR_ACTION_PROHIBITED"), ("die before", "behind", "b: "),
                                    ("lie", "behind", "the token took the destruction and shows the key still")):
            with self.subTest(mode):
                self.inventories[:] = [self.inventory(1, 60), self.inventory(2, 40)]
                self.quarantined()
                self.token("b", self.version(1, ""), self.version(2, "WU"), destroy=mode)
                code, found, err = self.destroy()
                self.assertEqual((code, [s["outcome"] for s in found["steps"]]), (3, ["done", outcome]), err)
                self.assertIn("b: version 1 is not destroyed there: ", err)
                self.assertIn("a: it is destroyed there", err)
                self.assertIn(said, err)
                self.assertEqual(self.step(), "destroying")
                tokens = [(t["provider"], t["serial"], t["gone"] != "") for t in found["tokens"]]
                self.assertEqual(tokens, [("a", "serial-a", True), ("b", "serial-b", False)])
                self.token("b", self.version(1, ""), self.version(2, "WU"), serial="another")
                self.stays_not("providers", "token serial-b of provider b had the key when its destruction began")
                self.token("b", self.version(1, ""), self.version(2, "WU"))
                code, found, err = self.destroy()
                self.assertRegex(err, r"a \(token serial-a\): it was destroyed there before, at 20")
                self.assertEqual((code, [s["outcome"] for s in found["steps"]]), (0, ["already", "done"]), err)
                self.assertEqual(self.data("a")["destroyed"], [f"{1:032x}"])  # once

    def test_what_is_resumed_elsewhere_after_the_look_is_not_destroyed(self):
        for away, gone in (("b", "a"), ("a", None)):
            with self.subTest(away):
                self.inventories[:] = [self.inventory(1, 60), self.inventory(2, 40)]
                self.quarantined()
                data = self.data(away)
                data["versions"][0]["may"] = "U"
                with open(self.path("resumed.json"), "w", encoding="utf-8") as file:
                    json.dump(data, file)
                with open(self.path("bin/ssh"), "w", encoding="utf-8") as file:
                    file.write(f'#!/bin/sh\ncp "{self.path("resumed.json")}" "{self.path(away + ".json")}"\n'
                               f'exec cat "{self.path("n2.json")}"\n')
                code, found, err = self.destroy()
                self.assertEqual(code, 3 if gone else 1, err)
                self.assertIn(f"{away}: version 1 is not destroyed there: it is not suspended any more", err)
                self.assertEqual(self.ids(away), [(1, "U"), (2, "WU")])

    def test_a_token_that_is_not_done_is_not_forgotten_when_no_other_has_the_key(self):
        self.quarantined(step="destroying")
        self.both(self.version(2, "WU"))
        with open(self.path("state/k.destroy"), encoding="utf-8") as file:
            record = json.load(file)
        record["tokens"] = [{"provider": "old", "serial": "far", "gone": ""}]
        with open(self.path("state/k.destroy"), "w", encoding="utf-8") as file:
            json.dump(record, file)
        self.stays("providers", "token far of provider old had the key", todo="configure it again")

    def test_where_the_first_fails_the_others_are_left_alone(self):
        self.quarantined()
        self.token("a", self.version(1, ""), self.version(2, "WU"), destroy="fail")
        code, found, _ = self.destroy()
        self.assertEqual((code, [s["outcome"] for s in found["steps"]]), (1, ["behind", "todo"]))
        self.assertEqual(self.ids("b"), [(1, ""), (2, "WU")])

    def test_a_lost_reply_is_resolved_by_a_list(self):
        self.quarantined()
        self.token("a", self.version(1, ""), self.version(2, "WU"), destroy="die after")
        self.assertEqual(self.destroy()[0], 0)
        self.assertEqual(self.step(), "destroyed")

    def test_where_no_list_tells_it_is_unclear(self):
        self.quarantined()
        self.token("a", self.version(1, ""), self.version(2, "WU"), list="die once made")
        code, found, err = self.destroy()
        self.assertEqual((code, [s["outcome"] for s in found["steps"]]), (3, ["unclear", "todo"]))
        self.assertIn("a: whether version 1 is destroyed there is not known: ", err)

    def test_what_is_gone_everywhere_is_only_put_on_record(self):
        self.quarantined(step="destroying")
        self.both(self.version(2, "WU"))
        code, found, err = self.destroy(words=())
        self.assertEqual((code, found["next"], found["conditions"]), (0, "finish", []), err)
        self.assertEqual(self.step(), "destroyed")

    def test_one_destruction_after_the_other_is_remembered(self):
        self.quarantined(step="destroying")
        self.both(self.version(2, "WU"))
        self.assertEqual(self.destroy()[0], 0)
        for page in self.pages.values():
            second = copy.deepcopy(page["versions"][0])
            page["versions"][0].update(version=3, kek_id=f"{3:032x}")
            page["versions"].append(second)
            page["primary"].update(version=4)
        self.both(self.version(3, "U"), self.version(4, "WU"))
        self.record(4)
        self.write_inventories()
        self.suspended()
        for page in self.pages.values():
            page["versions"][0].update(suspended=None)
        code, _, err = self.run_it("destroy", "3", "--node", "self", "--single-node", *WORDS)
        self.assertEqual(code, 0, err)
        _, out, _ = self.run_it("list", "--output", "json")
        self.assertEqual([d["version"] for d in json.loads(out)["destroyed"]], [1])


if __name__ == "__main__":
    unittest.main()
