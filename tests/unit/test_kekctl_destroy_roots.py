#!/usr/bin/python3
"""kekctl key destroy with several roots of trust: version 1 of the root `spare` (a, b); `site` (c) is another."""

import json
import os
import unittest

import test_kekctl_destroy as single

SITE = 0x51  # the kek id of its version 1


def envelope(*keks, mode=1):
    """A kms v1 value of these KEKs; nobody opens it."""
    sealed = b"KEK\x01\x01" + bytes([mode, len(keks)])
    for kek in keks:
        sealed += b"\x01" + kek.to_bytes(16, "big") + (40).to_bytes(2, "big") + bytes(40)
    sealed += bytes(16 + 48 + 32)
    return b"k8s:enc:kms:v1:kekd:" + len(sealed).to_bytes(2, "big") + sealed + bytes(64)


class Roots(single.Destroy):
    def config(self, *args, **more):
        super().config(*args, **more)
        with open(self.path("f.yaml"), encoding="utf-8") as file:
            text = file.read()
        a = text[text.index("  - name: a"):text.index("  - name: b")]
        roots = ("mode: any\nroots:\n  - {name: site, providers: [c]}\n"
                 "  - {name: spare, providers: [a, b]}\n")
        with open(self.path("f.yaml"), "w", encoding="utf-8") as file:
            file.write(text.replace("  - name: a", a.replace("name: a", "name: c").replace("/a", "/c") + "  - name: a")
                       + roots)
        self.token("c", self.version(1, "WU", id=f"{SITE:032x}"))

    def version(self, number, may, **more):  # pylint: disable=arguments-differ
        return dict({"number": number, "id": f"{number:032x}", "may": may}, **more)

    def record(self, number):
        super().record(number)
        os.rename(self.path("state/k.json"), self.path("state/k@spare.json"))

    def run_it(self, *args):
        return super().run_it("--root", "spare", *args)

    def usual(self, name):
        page = super().usual(name)
        for item in page["versions"] + page["providers"]:
            item["root"] = "spare"
        site = {"root": "site", "version": 1, "kek_id": f"{SITE:032x}",
                "announced_at": page["primary"]["announced_at"]}
        page["primary"].update(version=1, kek_id=site["kek_id"], keks=[
            site, dict(page["primary"], root="spare")])
        page["sealing"].insert(0, {"version": 1, "kek_id": site["kek_id"], "key_id": "kek1-2"})
        page["providers"].insert(0, {"root": "site", "name": "c", "serial": "serial-c", "label": "t", "answers": True})
        return page

    def inventory(self, revision, hours_ago, **more):
        found = {"by_kek": {f"{SITE:032x}": 9, f"{2:032x}": 9}, "keks_each": 2}
        return super().inventory(revision, hours_ago, **dict(found, **more))

    def test_a_version_of_one_root_is_quarantined_and_then_destroyed(self):
        self.main.pairs[b"/registry/secrets/a/both"] = envelope(SITE, 2)
        code, found, err = self.destroy()
        self.assertEqual(code, 0, err)
        self.assertEqual([(s["provider"], s["outcome"]) for s in found["steps"]], [("a", "done"), ("b", "done")])
        self.quarantined(root="spare")
        code, _, err = self.destroy()
        self.assertEqual(code, 0, err)
        self.assertEqual((self.ids("a"), self.ids("b")), ([(2, "WU")],) * 2)
        self.assertEqual((self.ids("c"), self.data("c").get("destroyed")), ([(1, "WU")], None))
        with open(self.path("state/k.destroy"), encoding="utf-8") as file:
            now = json.load(file)["now"]
        self.assertEqual(now["root"], "spare")
        # The words are of this version of this root, in the record and in the audit log.
        for word in ("backups_checked", "api_servers_restarted"):
            self.assertRegex(now[word], r"^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        with open(self.path("audit"), encoding="utf-8") as file:
            acts = [act for act in map(json.loads, file) if act["event"] in ("quarantine", "destroy", "destroyed")]
        self.assertEqual([(act["event"], act["outcome"]) for act in acts],
                         [("quarantine", "ok")] + [("destroy", "begun"), ("destroy", "ok")] * 2 + [("destroyed", "ok")])
        self.assertEqual({(act["root"], act["command"], act["version"], act["said"]) for act in acts},
                         {("spare", "key destroy", 1, "backups-checked, api-servers-restarted")})
        # It is that root's alone.
        listed = json.loads(single.Destroy.run_it(self, "list", "--output", "json")[1])
        self.assertEqual([(r["root"], [d["version"] for d in r["destroyed"]]) for r in listed["roots"]],
                         [("site", []), ("spare", [1])])
        self.token("c", self.version(2, "WU", id=f"{SITE + 1:032x}"))
        code, _, err = single.Destroy.run_it(self, "destroy", "1", "--root", "site", "--node", "self", "--single-node")
        self.assertEqual(code, 1, err)
        self.assertNotIn("was destroyed before", err)

    def test_a_word_is_asked_for_of_this_version_of_this_root(self):
        code, found, _ = self.destroy(words=())
        self.assertEqual(code, 3)
        row, = [row for row in found["conditions"] if row["condition"] == "backups"]
        self.assertEqual((row["met"], row["evidence"]),
                         (False, "nothing was said of backups of etcd that version 1 of spare sealed"))
        code, found, err = self.destroy()
        self.assertEqual(code, 0, err)
        row, = [row for row in found["conditions"] if row["condition"] == "backups"]
        self.assertEqual(row["evidence"], "--backups-checked was said of version 1 of spare")
        # What was said of another key is no word of this one.
        self.quarantined(root="spare", kek_id=f"{3:032x}", backups_checked="2026-01-02T03:04:05Z")
        self.stays_not("others", "this node has the destruction of version 1 of spare on record")
        # A record of a kekctl that wrote none has none.
        self.quarantined(root="spare")
        code, _, err = self.destroy(words=("--backups-checked",))
        self.assertEqual(code, 3, err)
        with open(self.path("state/k.destroy"), encoding="utf-8") as file:
            self.assertNotIn("api_servers_restarted", json.load(file)["now"])

    def test_what_another_root_opens_too_keeps_it(self):
        self.inventories[1]["by_kek"][f"{1:032x}"] = 1
        self.stays("inventory main", "it found objects that this version sealed",
                   "kekctl reencrypt writes anew what has this KEK in its envelope, whatever other root opens it")

    def test_what_came_back_since_keeps_it_though_another_root_opens_it(self):
        for mode in (1, 2):  # kekd refuses the second, which names it all the same
            self.main.pairs[b"/registry/secrets/a/back"] = envelope(SITE, 1, mode=mode)
            self.stays("inventory main", "1 that the version sealed and 0 of which nobody can say")
        # Beside either root's KEK that of no version: as an inventory judges.
        for keks in ((SITE, 257), (SITE + 1, 2)):
            self.main.pairs[b"/registry/secrets/a/back"] = envelope(*keks)
            self.stays("inventory main", "0 that the version sealed and 1 of which nobody can say")
        self.main.pairs[b"/registry/secrets/a/back"] = envelope(SITE, 2)
        code, _, err = self.destroy("--dry-run")
        self.assertEqual(code, 0, err)

    def test_a_node_that_announces_nothing_of_the_root_keeps_it(self):
        """It is out there, and what comes next nobody knows."""
        primary = self.pages["n2"]["primary"]
        primary["keks"] = primary["keks"][:1]
        primary["keks"][0]["version"] = 7
        self.stays_not("superseded", "n2 announces no version of root spare at all")

    def test_a_node_that_announces_it_beside_another_root_s_keeps_it(self):
        kek = self.pages["n2"]["primary"]["keks"][1]
        kek.update(version=1, kek_id=f"{1:032x}")
        code, found, _ = self.destroy()
        self.assertEqual(code, 3)
        rows = {row["condition"]: row for row in found["conditions"]}
        self.assertIn("n2 announces it and seals under it", rows["version"]["evidence"])

    def test_a_generation_that_still_has_it_keeps_it(self):
        self.pages["n2"]["sealing"].append({"version": 1, "kek_id": f"{1:032x}", "key_id": "kek1-1"})
        self.stays_not("superseded", "an Encrypt of n2 may still seal under it")

    def test_another_root_s_destruction_is_told_with_its_root(self):
        self.quarantined(root="site", kek_id=f"{SITE + 7:032x}")
        self.both(self.version(1, "U"), self.version(2, "WU"))
        self.stays_not("others", "this node has the destruction of version 1 of site on record")
        _, found, _ = self.destroy()
        self.assertIn("give it up by key resume --root site 1", [row["todo"] for row in found["conditions"]
                                                                 if row["condition"] == "others"][0])

    def test_what_is_to_be_typed_names_the_root(self):
        self.both(self.version(1, "WU"), self.version(2, "WU"))
        for version, todo in ((1, "retire it first (kekctl key retire --root spare 1)."),
                              (2, "rotate first (kekctl key rotate --root spare).")):
            code, _, err = self.run_it("destroy", str(version), "--single-node", "--node", "self")
            self.assertEqual(code, 3, err)
            self.assertIn(todo, err)
        self.both(self.version(1, "U"), self.version(2, "WU"))
        code, _, err = self.destroy()
        self.assertEqual(code, 0, err)
        self.assertIn("key resume --root spare 1 gives it up", err)
        self.suspended(hours=1, asked=3)
        _, found, _ = self.destroy()
        todos = {row["condition"]: row["todo"] for row in found["conditions"]}
        self.assertIn("it is in use: key resume --root spare 1, find what it sealed", todos["asked-for"])
        self.assertIn("key resume --root spare 1 gives it up", todos["quarantine"])

    def test_the_root_must_be_named(self):
        code, _, err = single.Destroy.run_it(self, "destroy", "1")
        self.assertEqual(code, 2)
        self.assertIn("--root NAME is missing: ", err)


def load_tests(loader, _tests, _pattern):
    return loader.loadTestsFromTestCase(Roots)


if __name__ == "__main__":
    unittest.main()
