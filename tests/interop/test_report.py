#!/usr/bin/python3
"""kekctl report on SoftHSM: two versions, an inventory of an etcd and an audit log; what it says, what it cannot say and
why, its page, and its signature."""

import contextlib
import glob
import gzip
import html.parser
import json
import os
import re
import shutil
import socket
import subprocess

import etcd_server
import fault as faults
import p11
import rig as rigs
import roots
import transit_server
from grpc import RpcError

DEK = bytes(range(32))
HOSTILE = '<script>alert("1")</script>&\''
VOID = {"meta", "br"}
GLOBAL = ["software", "configuration", "usage", "boundary", "algorithms"]
OF_ROOT = ["tokens", "versions", "history", "cryptoperiods", "objects", "proofs", "fitness"]


class Page(html.parser.HTMLParser):
    """A page taken apart: which elements, which attributes, and the text of each cell and point."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.links, self.texts, self.ids = [], set(), [], [""], []
        self.feed(text)
        self.close()
        assert not self.open, "not closed: %s" % self.open

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.links += [value for name, value in attrs if name in ("href", "src", "action", "data")]
        self.ids += [value for name, value in attrs if name == "id"]
        assert not [name for name, _ in attrs if name.startswith("on")], attrs
        if tag not in VOID:
            self.open.append(tag)
        self.texts.append("")

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, "</%s> in %s" % (tag, self.open)
        self.open.pop()
        self.texts.append("")

    def handle_data(self, data):
        self.texts[-1] += data


def shell(command, **names):
    return subprocess.run(command.format(**names), shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          check=True).stdout.decode()


class Report(rigs.Case):
    def node(self, **options):
        node = self.rig(**options)
        node.audit = node.folder + "/audit.jsonl"
        node.write(audit={"file": node.audit}, settle="0ms")
        return node

    def report(self, node, code, name="report", *options):
        """(JSON, page, what was said) of a report that ends with this exit code."""
        folder = "%s/%s" % (node.folder, name)
        done = node.kekctl("report", "--out", folder, *options)
        said = done.stderr.decode()
        self.assertEqual(done.returncode, code, said + done.stdout.decode())
        self.assertEqual([self.mode(path) for path in glob.glob(folder + "/*")],
                         [0o640] * len(os.listdir(folder)))
        with open(folder + "/report.json", encoding="utf-8") as file:
            found = json.load(file)
        with open(folder + "/report.html", encoding="utf-8") as file:
            text = file.read()
        page = Page(text)
        self.stands_alone(page, text)
        self.says_the_same(found, page, folder)
        return found, page, said

    def stands_alone(self, page, text):
        self.assertFalse(page.tags & {"script", "img", "link", "iframe", "object", "embed", "form", "base"}, page.tags)
        self.assertTrue(all(link.startswith("#") and link[1:] in page.ids for link in page.links), page.links)
        self.assertNotRegex(text, r"@import|url\(|https?://")
        self.assertEqual(len(page.ids), len(set(page.ids)))

    def says_the_same(self, found, page, folder):
        """The rows that an auditor reads are those of the JSON; and the page names that file."""
        with open(folder + "/report.json", "rb") as file:
            content = file.read()
        sha256 = subprocess.run(["sha256sum"], input=content, stdout=subprocess.PIPE, check=True).stdout.split()[0].decode()
        texts = set(page.texts)
        shown = [text for text in page.texts if text.strip()]
        beside = set(zip(shown, shown[1:]))
        self.assertIn(sha256, texts)
        wanted = [found["configuration"]["sha256"], found["made"]["at"], found["software"]["version"], *found["attention"]]
        for part in self.parts(found):
            wanted += part["why"]
        for root in found["roots"]:
            for row in root["tokens"]["tokens"]:
                wanted += [row["provider"], row["serial"], row["model"], row["firmware"], row["library"]]
            for row in root["versions"]["versions"]:
                wanted += [str(row["version"]), row["state"], row["kek_id"], row["key_id"]]
            for row in root["versions"]["keys"]:
                wanted += row["yes"] + row["no"] + row["not_told"]
            for row in root["cryptoperiods"]["rows"]:
                wanted += [row[name] for name in ("originator", "recipient", "originator_begin", "recipient_until")]
            for row in root["history"]["rows"]:
                wanted += [row["at"], row["what"], row["source"]]
            for row in root["proofs"]["trials"]:
                wanted += [row["mechanism"], row["says"]]
            for row in root["proofs"]["witnesses"]:
                wanted += [row["outcome"], row["says"]]
            for row in root["objects"]["inventories"]:
                wanted += [row["etcd"], row["cluster_id"], str(row["revision"]), row["ended"], row["age"]]
                wanted += [count["share"] for count in row["by_version"]]
            for row in root["fitness"]["runs"]:
                wanted += [row["ended"], row["age"], row["serial"], str(row["pass"]), str(row["fail"])]
            for row in root["fitness"]["cases"]:
                wanted += [row["case"], row["title"], row["outcome"], row["says"]]
        for row in found["usage"].get("uses", []):
            wanted += [row["kek_id"], row["method"], str(row["ok"]), row["first"], row["last"]]
        for row in found["usage"].get("acts", []):
            wanted += [row["command"], row["outcome"], row["said"]]
            self.assertIn((row["time"], row["event"]), beside)  # of a row's first two cells
        for row in found["usage"].get("chains", []) + found["usage"].get("problems", []):
            wanted += [str(value) for value in row.values() if value is not None and row.get("hash") != value]
        for row in found["algorithms"]["algorithms"]:
            wanted += [row["algorithm"], row["provider"], row["provider_version"]]
        for row in found["boundary"]["operations"]:
            wanted += [row["operation"], row["note"]]
        missing = [text for text in wanted if text and text not in texts]
        self.assertEqual(missing, [])

    @staticmethod
    def parts(found):
        return [found[name] for name in GLOBAL] + [root[name] for root in found["roots"] for name in OF_ROOT]

    def key(self, node, name="signer", options="-algorithm ed25519"):
        """(private, public) PEM files."""
        private, public = node.folder + "/%s.key" % name, node.folder + "/%s.pem" % name
        shell("umask 077; openssl genpkey {options} -out {private} 2>&1 && openssl pkey -in {private} -pubout -out {public}",
              options=options, private=private, public=public)
        return private, public

    def verify(self, node, code, report, signature, public):
        done = node.kekctl("report", "verify", report, signature, "--key", public)
        self.assertEqual(done.returncode, code, done.stderr.decode())
        return done.stdout.decode() + done.stderr.decode()


class Whole(Report):
    def test_two_versions_an_inventory_and_an_audit_log(self):
        etcd_server.need()
        etcd = etcd_server.Etcd(self).start()
        node = self.node(generate=False, config={"etcd": [etcd.entry()], "context": HOSTILE})
        node.kekctl("key", "generate", check=True)
        node.start()
        for name in ("a", "b", "c"):
            self.v1(node, etcd, name)
        self.newer(node)
        self.v1(node, etcd, "d")
        node.kekctl("key", "retire", "1", check=True)
        self.listed(node, lambda versions: versions[0]["state"] == "deactivated")
        self.listed_audit(node, "deactivated")
        node.kekctl("inventory")
        found, page, said = self.report(node, 0)
        self.assertEqual(said, "")
        self.assertEqual(found["attention"], [])
        (root,) = found["roots"]
        one, two = root["versions"]["versions"]
        self.assertEqual((one["state"], two["state"]), ("deactivated", "active"))
        for row in root["versions"]["keys"]:
            self.assertLessEqual({"CKA_SENSITIVE", "CKA_LOCAL", "CKA_NEVER_EXTRACTABLE"}, set(row["yes"]))
            self.assertIn("CKA_EXTRACTABLE", row["no"])
        # Dates: kekctl made, promoted and retired them here, so they are known to the second.
        periods = {row["version"]: row for row in root["cryptoperiods"]["rows"]}
        self.assertEqual([(row["originator"], row["recipient"]) for row in periods.values()], [("within", "within")] * 2)
        acts = {(act["event"], act["version"]): act for act in found["usage"]["acts"]}
        day = acts[("generate", 1)]["time"][:16]
        self.assertEqual(acts[("promote", 2)]["said"], "i-have-a-backup")
        self.assertTrue(periods[1]["originator_begin"].startswith(day))
        self.assertEqual(periods[1]["originator_end"], acts[("retire", 1)]["time"][:19] + "Z")
        self.assertEqual(periods[2]["originator_end"], "not ended")
        self.assertEqual(periods[2]["originator_until"][:4], str(int(periods[2]["generated"][:4]) + 2))
        # Who: this process's uid, by key.
        uses = {(row["kek_id"], row["method"]): row for row in found["usage"]["uses"]}
        self.assertEqual(uses[(one["kek_id"], "Encrypt")]["ok"], 3)
        self.assertEqual(uses[(two["kek_id"], "Encrypt")]["ok"], 1)
        self.assertEqual({row["peer_uid"] for row in uses.values()}, {os.geteuid()})
        self.assertEqual(found["usage"]["chain"], "intact")
        self.assertIn("audit log: done by kekctl", {row["source"] for row in root["history"]["rows"]})
        # What share.
        (inventory,) = root["objects"]["inventories"]
        self.assertEqual({row["version"]: (row["objects"], row["share"]) for row in inventory["by_version"]},
                         {1: (3, "75.0 %"), 2: (1, "25.0 %")})
        self.assertEqual(inventory["revision"], etcd.revision())
        # What was proven.
        self.assertEqual([row["outcome"] for row in root["proofs"]["witnesses"]], ["opened"] * 2)
        self.assertEqual([row["keeps_kek"] for row in root["proofs"]["tokens"]], ["yes"])
        self.assertEqual([row["mechanism"] for row in root["proofs"]["trials"] if row["used"]], ["CKM_AES_KEY_WRAP"])
        # What is outside.
        outside = [row["operation"] for row in found["boundary"]["operations"] if not row["inside"]]
        self.assertIn("A data key is generated", outside)
        self.assertTrue(any("Data keys are used outside" in row["note"] for row in found["boundary"]["operations"]))
        self.assertEqual({row["provider"] for row in found["algorithms"]["algorithms"]}, {"default"})
        self.assertEqual({row["fips"] for row in found["algorithms"]["algorithms"]}, {False})
        digest = shell("sha256sum {path}", path=node.path).split()[0]
        self.assertEqual(found["configuration"]["sha256"], digest)
        self.assertEqual(found["configuration"]["context"], HOSTILE)
        self.assertIn(HOSTILE, page.texts)  # as text; that it is no element, stands_alone() saw
        node.close_clients()
        node.stop()

    @staticmethod
    def v1(node, etcd, name):
        sealed = node.client().encrypt1(DEK)
        value = (b"k8s:enc:kms:v1:kekd:" + len(sealed).to_bytes(2, "big") + sealed
                 + etcd_server.covered(DEK, b"k8s\0" + b"x" * 40))
        etcd.put("/registry/secrets/default/" + name, value)

    def newer(self, node):
        client = node.client()
        before = client.status().key_id
        node.kekctl("key", "generate", check=True)
        node.kekctl("key", "promote", "2", "--i-have-a-backup", check=True)

        def announced():
            with contextlib.suppress(RpcError):
                return client.status().key_id != before
            return False
        rigs.wait_for(announced, "version 2")

    def test_a_log_that_was_renamed_and_not_yet_made_anew_is_read_where_it_is(self):
        node = self.chained()
        os.rename(node.audit, node.audit + ".1")  # as logrotate does, before it signals
        found, _, _ = self.report(node, 0)
        self.assertEqual((found["usage"]["chain"], found["usage"]["files_read"][0]), ("intact", "audit.jsonl.1"))
        if found["usage"]["files_read"] == ["audit.jsonl.1"]:
            self.assertTrue(any("is not there: it was renamed" in text for text in found["usage"]["why"]), found["usage"]["why"])
        node.stop()

    def test_what_a_killed_kekd_may_not_have_written_is_no_less_than_it_can_be(self):
        node = self.chained()
        node.kill()
        node.spawn().serving()
        rigs.wait_for(lambda: [line for line in self.log(node) if line["event"] == "dropped"], "the line of what may be missing")
        found, _, said = self.report(node, 3)
        self.assertEqual((found["usage"]["dropped_lines"], found["usage"]["dropped_at_most"]), (0, 256))
        self.assertIn("the audit log lacks up to 256 lines that could not be written", said)
        node.stop()

    def listed(self, node, good):
        rigs.wait_for(lambda: good(json.loads(node.kekctl("key", "list", "--output", "json").stdout)["versions"]),
                      "the list to be so")

    @staticmethod
    def listed_audit(node, state):
        def told():
            with open(node.audit, encoding="utf-8") as file:
                return any(json.loads(line).get("state") == state for line in file)
        rigs.wait_for(told, "a line about " + state)

    def test_what_is_not_known_is_said(self):
        """No kekd has ever run here, no etcd is configured, and nobody kept an audit log."""
        node = self.rig()
        found, _, said = self.report(node, 0)
        self.assertEqual(said, "")
        (root,) = found["roots"]
        self.assertEqual((found["usage"]["filled"], root["objects"]["filled"]), ("no", "no"))
        self.assertIn("names no audit log", found["usage"]["why"][0])
        self.assertEqual(root["objects"]["why"], ["no inventory on record: the configuration names no etcd"])
        self.assertEqual(root["fitness"], {"runs": [], "cases": [], "filled": "no",
                                           "why": ["hsm-a: kekctl conformance never ran on this node"]})
        (period,) = root["cryptoperiods"]["rows"]
        self.assertEqual((period["originator"], period["originator_begin"], period["originator_until"], period["generated"]),
                         ("not known",) * 4)
        (witness,) = root["proofs"]["witnesses"]
        self.assertIn("not tried: this node has no witness", witness["outcome"])
        self.assertTrue(all(part["why"] for part in self.parts(found) if part["filled"] != "yes"))

    def test_each_record_that_is_damaged_is_told(self):
        node = self.rig().start()
        node.stop()
        for name, section in (("destroy", "history"), ("inventories", "objects"), ("json", "history"), ("conformance-hsm-a", "fitness")):
            path = "%s/k8s-test.%s" % (node.state, name)
            before = None
            if os.path.exists(path):
                with open(path, "rb") as file:
                    before = file.read()
            with open(path, "wb") as file:
                file.write(b"{")
            found, _, said = self.report(node, 3, "report-" + name)
            with self.subTest(name):
                self.assertTrue([why for why in found["roots"][0][section]["why"] if path in why], found["roots"][0][section])
                self.assertIn("attention: ", said)
                self.assertIn(path, said)
            os.unlink(path)
            if before is not None:
                with open(path, "wb") as file:
                    file.write(before)

    def test_an_audit_log_in_no_file_is_not_read_and_that_is_said(self):
        node = self.rig()
        node.write(audit={"syslog": node.folder + "/log"})
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
            log.bind(node.folder + "/log")
            found, _, said = self.report(node, 0)
            self.assertIn(b'"event":"login"', log.recv(65536))  # of the report's own worker
        self.assertEqual(said, "")
        self.assertEqual((found["usage"]["filled"], found["usage"]["chain"]), ("no", "not verified"))
        self.assertIn("goes to %s/log and into no file (audit.file): what it says was not read" % node.folder,
                      found["usage"]["why"][0])
        self.assertEqual(found["configuration"]["audit_file"], node.folder + "/log")

    def test_an_audit_log_that_is_damaged_or_old_is_told(self):
        node = self.node(generate=False)
        node.kekctl("key", "generate", check=True)
        with open(node.audit, "r+", encoding="utf-8") as file:
            lines = re.sub('"time":"....', '"time":"1996', file.read())  # so it was generated decades ago
            file.seek(0)
            file.write(lines + "{\n")
        shutil.copy(node.audit, node.audit + ".1")
        with open(node.audit + ".2.gz", "wb") as file:
            file.write(b"\x1f\x8b")
        found, _, said = self.report(node, 3)
        self.assertEqual(found["usage"]["damaged_lines"], 2)
        self.assertEqual(found["usage"]["files_not_read"], ["audit.jsonl.2.gz: it is compressed"])
        (period,) = found["roots"][0]["cryptoperiods"]["rows"]
        self.assertEqual((period["originator"], period["recipient"]), ("exceeded", "within"))
        self.assertIn("originator-usage period is longer than NIST", said)
        self.assertIn("2 lines of the audit log are damaged", said)
        self.assertEqual(found["usage"]["chain"], "not intact")
        self.assertIn("changed", {problem["kind"] for problem in found["usage"]["problems"]})
        os.unlink(node.audit)
        os.mkdir(node.audit)
        found, _, said = self.report(node, 3, "second")
        self.assertEqual(found["usage"]["filled"], "no")
        self.assertIn("reading the audit file", said)

    def chained(self, **audit):
        """A node whose kekd has sealed, and stopped; kekctl made its key and then the audit log's."""
        node = self.node(generate=False)
        node.write(audit={"file": node.audit, **audit})
        node.kekctl("key", "generate", check=True)
        node.kekctl("audit", "generate", check=True)
        node.start()
        with node.client() as client:
            client.encrypt(DEK)
        return node

    def test_the_chain_is_verified_and_a_changed_byte_is_told(self):
        node = self.chained(mac_interval="1s")
        rigs.wait_for(lambda: self.log(node)[-1]["event"] == "mac", "a MAC after all others")
        found, _, _ = self.report(node, 0, "whole")
        self.assertEqual((found["usage"]["filled"], found["usage"]["why"]), ("yes", []))
        node.stop()
        log = self.log(node)
        found, _, said = self.report(node, 0)
        usage = found["usage"]
        (chain,) = usage["chains"]
        self.assertEqual((usage["chain"], usage["problems"], usage["before_chain"], said), ("intact", [], 0, ""))
        self.assertEqual((chain["first"], chain["last"], chain["from"], chain["to"]),
                         (1, len(log), node.audit + ":1", "%s:%d" % (node.audit, len(log))))
        covers = [line["covers"] for line in log if line["event"] == "mac" and line["outcome"] == "ok"]
        self.assertEqual((chain["maced"], chain["maced_by"]), (covers[-1], "hsm-a"))
        self.assertEqual(usage["why"], ["lines %d to %d of chain %s come after the last MAC that was confirmed: who can write "
                                        "files and state_dir could have made or cut them" % (covers[-1] + 1, len(log), chain["chain"])])
        # What the log says of itself is no use of a key; who made its key is an act.
        self.assertEqual([(row["method"], row["ok"]) for row in usage["uses"] if row["kek_id"]], [("Encrypt", 1)])
        self.assertEqual([act["event"] for act in usage["acts"]], ["generate", "audit-key"])
        with node.token.away():
            found, _, _ = self.report(node, 3, "away")
        (problem,) = found["usage"]["problems"]
        self.assertIn("it was not checked", problem["text"])
        self.assertEqual((found["usage"]["chains"][0]["maced"], found["usage"]["chains"][0]["maced_by"]), (0, ""))
        # One byte, in the line of the call.
        (at,) = [number for number, line in enumerate(log, 1) if line.get("method") == "Encrypt"]
        with open(node.audit, "rb+") as file:
            lines = file.readlines()
            lines[at - 1] = lines[at - 1].replace(b'"method":"Encrypt"', b'"method":"Encrypx"')
            file.seek(0)
            file.writelines(lines)
        found, _, said = self.report(node, 3, "changed")
        usage = found["usage"]
        (problem,) = usage["problems"]
        self.assertEqual((usage["chain"], problem["kind"], problem["file"], problem["line"]),
                         ("not intact", "changed", node.audit, at))
        self.assertIn("attention: the audit log's chain is not as it must be: 1 problem, the first one %s:%d: was changed"
                      % (node.audit, at), said)
        self.assertIn("the chain of the lines is not as it must be: 1 problem, named below", usage["why"])

    def test_the_chain_goes_on_over_older_files_and_what_was_before_it_is_told(self):
        node = self.chained()
        node.stop()
        with open(node.audit, "rb") as file:
            lines = file.readlines()
        old = b'{"time":"2020-01-01T00:00:00.000Z","seq":1,"node":"n","event":"start","program":"kekd 0"}\n'
        with open(node.audit + ".2", "wb") as file:
            file.writelines([old, old] + lines[:2])
        with open(node.audit + ".1", "wb") as file:
            file.writelines(lines[2:4])
        with open(node.audit, "wb") as file:
            file.writelines(lines[4:])
        found, _, _ = self.report(node, 0)
        usage = found["usage"]
        (chain,) = usage["chains"]
        self.assertEqual(usage["files_read"], ["audit.jsonl.2", "audit.jsonl.1", "audit.jsonl"])
        self.assertEqual((usage["chain"], usage["before_chain"], usage["lines"], chain["from"]),
                         ("intact", 2, len(lines) + 2, node.audit + ".2:3"))
        self.assertIn("2 lines without a chain stand before the first one that has one: nothing is known of them", usage["why"])
        os.unlink(node.audit + ".1")
        found, _, said = self.report(node, 3, "gap")
        self.assertEqual([(problem["kind"], problem["line"]) for problem in found["usage"]["problems"]], [("missing", 1)])
        self.assertIn("2 lines before it are missing", said)

    def test_what_was_compressed_is_told_as_not_read_and_not_as_missing(self):
        node = self.chained()
        node.stop()
        with open(node.audit, "rb") as file:
            lines = file.readlines()
        with open(node.state + "/k8s-test.audit", "rb") as file:
            record = file.read()

        def compress(name, kept):
            with gzip.open(node.audit + name, "wb") as file:
                file.writelines(kept)

        def write(name, kept):
            with open(node.audit + name, "wb") as file:
                file.writelines(kept)

        def told(folder, code, chain, kinds):
            with open(node.state + "/k8s-test.audit", "wb") as file:
                file.write(record)  # of before a report's own logins
            found, page, said = self.report(node, code, folder)
            usage = found["usage"]
            self.assertEqual((usage["chain"], [problem["kind"] for problem in usage["problems"]]), (chain, kinds), usage["problems"])
            self.assertEqual("what older files of the audit log have, which were not read, is not in these rows" in
                             found["roots"][0]["history"]["why"], bool(glob.glob(node.audit + "*.gz")))
            return usage, page, said
        # Right after a rotation that compresses at once: the log is empty, and nothing of the chain was read.
        write("", [])
        compress(".1.gz", lines)
        usage, page, said = told("empty", 3, "not all read", ["unread"])
        self.assertIn("attention: part of the audit log was not read: decompress its older files", said)
        self.assertNotIn("not as it must be", said + str(usage["why"]))
        self.assertIn("no line was read: the files that were read are empty", usage["why"])
        self.assertIn("No act is in the lines that were read.", page.texts)
        # A gap, and an end, that are in such a file.
        os.unlink(node.audit + ".1.gz")
        write(".3", lines[:2])
        compress(".2.gz", lines[2:4])
        write("", lines[4:])
        usage, _, said = told("gap", 3, "not all read", ["unread"])
        self.assertIn("2 lines before it not read, or missing", usage["problems"][0]["text"])
        self.assertNotIn("not as it must be", said)
        write("", [])
        usage, _, said = told("end", 3, "not all read", ["unread"])
        self.assertIn("the end is in a file that was not read, or missing", usage["problems"][0]["text"])
        # What is wrong besides is told as that, and an empty file hides nothing.
        write("", [lines[4].replace(b'"node"', b'"nodE"')] + lines[5:])
        told("besides", 3, "not intact", ["changed", "unread"])
        # What is gone from between two lines of one file, or from the end of the log itself, is in no other file.
        write("", lines[2:3] + lines[4:])
        usage, _, said = told("within", 3, "not intact", ["missing"])
        self.assertIn("1 line before it is missing", usage["problems"][0]["text"])
        self.assertIn("the audit log's chain is not as it must be", said)
        write("", lines[2:-1])
        usage, _, _ = told("tail", 3, "not intact", ["record"])
        self.assertIn("the end is missing, or a file", usage["problems"][0]["text"])
        write("", lines[4:])
        os.unlink(node.audit + ".2.gz")
        write(".9", [])
        told("hides", 3, "not intact", ["missing"])

    @staticmethod
    def log(node):
        with open(node.audit, encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    def test_a_hostile_label_is_text(self):
        node = self.rig(generate=False)
        kek_id = os.urandom(16)
        p11.plant(node.token, HOSTILE, kek_id, value=os.urandom(32))
        entry = dict(node.config["providers"][0], versions=[{"n": 1, "label": HOSTILE, "state": "active"}])
        node.write(providers=[entry])
        found, page, _ = self.report(node, 0)
        (key,) = found["roots"][0]["versions"]["keys"]
        self.assertEqual((key["label"], key["cka_id"]), (HOSTILE, kek_id.hex()))
        self.assertIn("CKA_LOCAL", key["no"])  # it was imported
        self.assertIn(HOSTILE, page.texts)


class Several(Report):
    def test_one_provider_is_down(self):
        node = self.rig(pair=True)
        with node.twin.away():
            found, _, said = self.report(node, 3)
        (root,) = found["roots"]
        self.assertEqual({row["provider"]: row["answered"] for row in root["tokens"]["tokens"]},
                         {"hsm-a": True, "hsm-b": False})
        self.assertRegex(said, "attention: provider hsm-b did not answer: (?!hsm-b: )")
        self.assertEqual([root[name]["filled"] for name in ("tokens", "versions", "proofs")], ["partly"] * 3)
        self.assertIn("hsm-b did not answer: nothing was proven there", root["proofs"]["why"])
        self.assertEqual([row["pin_count_low"] for row in root["tokens"]["tokens"]], [False, "not known"])
        self.assertIn("a version that is on a provider alone that did not answer has no row", root["cryptoperiods"]["why"])
        self.assertIn("what the audit log has of a version that is on a provider alone that did not answer is not in these rows",
                      root["history"]["why"])
        # It may seal on the one that is away, so nothing is said to be over.
        with node.token.away(), node.twin.away():
            found, _, _ = self.report(node, 3, "none")
        (root,) = found["roots"]
        self.assertEqual([root[name]["filled"] for name in ("tokens", "versions", "proofs")], ["no"] * 3)
        found, _, _ = self.report(node, 0, "both")
        self.assertEqual(len(found["roots"][0]["versions"]["keys"]), 2)

    def test_a_key_on_one_provider_alone_wants_attention_and_so_does_one_that_is_gone(self):
        node = self.rig(pair=True).start()
        config = self.report(node, 0, "beside")[0]["configuration"]
        self.assertEqual(config["announced_by"], "the kekd that runs here")
        self.assertEqual(config["roots"][0]["announced_version"], 1)
        node.stop()
        found = self.report(node, 0)[0]
        self.assertEqual((found["configuration"]["announced"], found["configuration"]["announced_by"]),
                         (config["announced"], "the record of this node"))
        (root,) = found["roots"]
        kek_id = root["versions"]["versions"][0]["kek_id"]
        node.twin.tool("--delete-object", "--type", "secrkey", "--id", kek_id)
        found, _, _ = self.report(node, 3, "one")
        self.assertEqual(found["attention"], ["version 1 (kek id %s) is not on hsm-b, which has no key of that number" % kek_id])
        node.kekctl("--output", "json", "key", "generate", "--provider", "hsm-b")
        node.token.tool("--delete-object", "--type", "secrkey", "--id", kek_id)
        found, _, _ = self.report(node, 3, "gone")
        self.assertIn("version 1 (kek id %s), which this node announced last, is on no provider that answers" % kek_id,
                      found["attention"])

    def test_a_version_that_only_one_provider_calls_pre_active_may_have_begun(self):
        node = self.rig(generate=False)
        other = rigs.Token(node.folder + "/other", "kek-other")
        kek_id, value = os.urandom(16), os.urandom(32)
        entries = [node.provider("hsm-a", node.token), node.provider("hsm-b", other)]
        for token, entry, state in ((node.token, entries[0], "pre-active"), (other, entries[1], "suspended")):
            p11.plant(token, "one", kek_id, value=value)
            entry["versions"] = [{"n": 1, "label": "one", "state": state}]
        node.write(providers=entries)
        found, _, _ = self.report(node, 0)
        (root,) = found["roots"]
        self.assertEqual([row["state"] for row in root["versions"]["versions"]], ["pre-active", "suspended"])
        (period,) = root["cryptoperiods"]["rows"]
        self.assertEqual((period["originator"], period["originator_begin"]), ("not known", "not known"))

    def test_of_a_key_that_is_refused_by_its_id_nothing_is_known(self):
        node = self.rig()
        p11.plant(node.token, "k8s-test.v2", b"short", value=os.urandom(32))
        found, _, said = self.report(node, 3)
        self.assertIn("a key of the keyring on hsm-a is not used", said)
        (row,) = [row for row in found["roots"][0]["cryptoperiods"]["rows"] if row["kek_id"] == b"short".hex()]
        self.assertEqual((row["originator"], row["recipient_end"], row["generated"]), ("not known",) * 3)

    def test_a_program_that_is_needed_and_not_there_is_told(self):
        node = self.rig()
        path = node.folder + "/kekctl"  # alone in its folder
        shutil.copy(os.path.join(os.environ["abs_top_builddir"], "kekctl"), path)
        done = subprocess.run([path, "--config", node.path, "report", "--out", node.folder + "/report"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        self.assertEqual(done.returncode, 3, done.stderr.decode())
        with open(node.folder + "/report/report.json", encoding="utf-8") as file:
            software = json.load(file)["software"]
        found = {row["program"] for row in software["programs"]}
        needed = {"kekctl", "kekd", "kekd-pkcs11"}
        self.assertEqual({sentence.split(":")[0] for sentence in software["why"]}, needed - found)
        self.assertNotIn("kekd", found)
        self.assertEqual(software["filled"], "partly")

    def test_each_root_has_its_sections(self):
        node = self.node(generate=False)
        other = rigs.Token(node.folder + "/other", "kek-other")
        node.write(providers=[node.provider("hsm-a", node.token), node.provider("hsm-b", other)], mode="all",
                   roots=[{"name": "site", "providers": ["hsm-a"]}, {"name": "spare", "providers": ["hsm-b"]}])
        for root in ("site", "spare"):
            node.kekctl("--root", root, "key", "generate", check=True)
        found, page, _ = self.report(node, 0)
        self.assertEqual([root["root"] for root in found["roots"]], ["site", "spare"])
        self.assertLessEqual({"tokens-site", "tokens-spare", "proofs-spare", "usage"}, set(page.ids))
        serials = [root["tokens"]["tokens"][0]["serial"] for root in found["roots"]]
        self.assertEqual(len(set(serials)), 2)
        for root in found["roots"]:  # the log is of both; each has its own key's lines
            (row,) = [row for row in root["history"]["rows"] if row["what"].startswith("generate")]
            self.assertEqual(row["kek_id"], root["versions"]["versions"][0]["kek_id"])
            self.assertEqual(root["objects"]["why"], ["no inventory on record: the configuration names no etcd"])
        self.assertEqual(found["configuration"]["mode"], "all: every root is needed to open")
        self.assertEqual([(root["root"], root["seals"], root["needed"], root["announced"], root["announced_version"])
                          for root in found["configuration"]["roots"]],
                         [("site", True, True, False, None), ("spare", True, True, False, None)])
        found, _, _ = self.report(node, 0, "one", "--root", "spare")
        self.assertEqual([root["root"] for root in found["roots"]], ["spare"])
        with other.away():
            found, _, _ = self.report(node, 3, "away")
        self.assertEqual([root["tokens"]["filled"] for root in found["roots"]], ["yes", "no"])

    def test_a_service_tells_what_it_can(self):
        server = transit_server.Server()
        self.addCleanup(server.stop)
        node = self.rig(generate=False)
        path = node.folder + "/token"
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as file:
            file.write(transit_server.TOKEN)
        node.write(providers=[{"name": "bao", "type": "transit", "address": server.address, "key": "ring",
                               "token_file": path}])
        found, _, _ = self.report(node, 0)
        (root,) = found["roots"]
        (token,) = root["tokens"]["tokens"]
        self.assertEqual((token["type"], token["model"], token["told_by"]), ("transit", "transit", "the service, by its API"))
        self.assertEqual(root["versions"]["keys"], [])
        self.assertIn("bao is a service (transit): its versions have no attributes to show", root["versions"]["why"])
        self.assertEqual([kek["type"] for kek in found["boundary"]["keks"]], ["transit"])
        self.assertEqual(found["boundary"]["operations"][1]["where"], ["in OpenBao or Vault"])


class Roots(Report, roots.Roots):
    def key_id(self, node):
        with contextlib.suppress(RpcError), node.client() as client:
            return client.status().key_id
        return None

    def test_shares_are_told_for_each_root_and_who_lacks_one(self):
        etcd_server.need()
        etcd = etcd_server.Etcd(self).start()
        node = self.two("any", config=dict(roots.STRICT, etcd=[etcd.entry()]))
        node.audit = node.folder + "/audit.jsonl"
        node.write(audit={"file": node.audit, "mac_interval": "1s"})
        node.kekctl("--root", "spare", "audit", "generate", check=True)  # in a token that site does not have
        node.start()
        for name in ("a", "b", "c"):
            Whole.v1(node, etcd, name)
        whole = self.key_id(node)
        with node.other.away():
            rigs.wait_for(lambda: self.key_id(node) not in (None, whole), "another key_id")
            Whole.v1(node, etcd, "alone")
        rigs.wait_for(lambda: self.key_id(node) == whole, "the key_id of both")
        rigs.wait_for(lambda: [line for line in Whole.log(node) if line["event"] == "mac" and line["outcome"] == "ok"], "a MAC")
        node.kekctl("inventory")
        found, _, said = self.report(node, 3)
        site, spare = [root["objects"]["inventories"][0] for root in found["roots"]]
        self.assertEqual([(row["sealed_by_kekd"], row["under_protected"]) for row in (site, spare)], [(4, 0), (3, 1)])
        ids = [root["versions"]["versions"][0]["kek_id"] for root in found["roots"]]
        for row, own, other in ((site, *ids), (spare, *reversed(ids))):
            counts = {count["kek_id"]: (count["version"], count["share"]) for count in row["by_version"]}
            self.assertEqual(counts, {own: (1, "100.0 %"), other: ("none of this root of trust", "")})
        self.assertEqual(found["attention"], ["etcd main: 1 object under-protected, without root of trust spare"])
        self.assertIn("attention: etcd main: 1 object under-protected", said)
        self.assertEqual([root["objects"]["filled"] for root in found["roots"]], ["yes", "partly"])
        uses = {(row.get("root"), row["method"]): row["ok"] for row in found["usage"]["uses"]}
        self.assertEqual((uses[("site", "Encrypt")], uses[("spare", "Encrypt")]), (4, 3))
        self.assertEqual({row.get("root") for row in found["usage"]["acts"] if row["event"] == "audit-key"}, {"spare"})
        # The log is of both, whichever is asked for: its MACs are, too.
        for options in ((), ("--root", "site")):
            found, _, _ = self.report(node, 3 if not options else 0, "again" + "".join(options), *options)
            self.assertEqual((found["usage"]["chain"], found["usage"]["chains"][0]["maced_by"]), ("intact", "hsm-b"))
        node.stop()


    def test_an_inventory_of_before_a_root_says_nothing_of_it(self):
        etcd_server.need()
        etcd = etcd_server.Etcd(self).start()
        node = self.rig(config=dict(roots.STRICT, etcd=[etcd.entry()])).start()
        Whole.v1(node, etcd, "a")
        node.close_clients()
        node.stop()
        node.kekctl("inventory", check=True)
        other = rigs.Token(node.folder + "/other", "kek-other")
        node.write(providers=[*node.config["providers"], node.provider("hsm-b", other)], mode="any",
                   roots=[{"name": "site", "providers": ["hsm-a"]}, {"name": "spare", "providers": ["hsm-b"]}])
        node.kekctl("--root", "spare", "key", "generate", check=True)
        site, spare = self.report(node, 3)[0]["roots"]
        rows = [root["objects"]["inventories"][0] for root in (site, spare)]
        self.assertEqual([(row["sealed_by_kekd"], row["under_protected"]) for row in rows], [(1, 0), (0, "not known")])
        self.assertEqual(spare["objects"]["why"], ["main: how many objects lack this root of trust is not known: it did not seal "
                                                   "yet when they were counted (kekctl inventory counts anew)"])
        with node.token.away():
            site, _ = self.report(node, 3, "away")[0]["roots"]
        row = site["objects"]["inventories"][0]
        self.assertEqual((row["sealed_by_kekd"], row["under_protected"], row["by_version"][0]["version"]), ("not known",) * 3)
        self.assertIn("a provider did not answer", site["objects"]["why"][0])

    def test_the_mode_and_which_roots_are_needed_and_announced_are_told(self):
        node = self.two("all", config={"settle": "0s"})
        third = rigs.Token(node.folder + "/third", "kek-third")
        node.config["providers"].append(node.provider("hsm-c", third))
        site, spare = node.config["roots"]
        node.write(roots=[site, spare, {"name": "third", "providers": ["hsm-c"], "needed": "false"}])
        node.kekctl("--root", "third", "key", "generate", check=True)
        node.start()
        for name, options in (("all", []), ("one", ["--root", "site"])):
            found, page, _ = self.report(node, 3, name, *options)
            config = found["configuration"]
            self.assertEqual((config["mode"], config["mode_accept"], config["announced"], config["announced_by"]),
                             ("all: every root is needed to open", "nothing", self.status(node).key_id,
                              "the kekd that runs here"))
            self.assertEqual([(root["root"], root["needed"], root["announced"], root["announced_version"])
                              for root in config["roots"]],
                             [("site", True, True, 1), ("spare", True, True, 1), ("third", False, True, 1)])
            self.assertTrue(any("third is not needed (needed: false)" in text for text in found["attention"]))
            self.assertLess({"Needed in mode all", "Announced", config["mode"], config["announced"]}, set(page.texts))
        node.close_clients()
        node.stop()
        # In mode any none is needed, and one that is out is not announced.
        node.write(mode="any", providers=node.config["providers"][:2], roots=[site, spare], **roots.STRICT)
        node.start()
        whole = self.status(node).key_id
        with node.other.away():
            rigs.wait_for(lambda: self.status(node).key_id != whole, "another key_id")
            config = self.report(node, 3, "any")[0]["configuration"]
            self.assertEqual(config["mode"], "any: each root opens alone")
            self.assertEqual([(root["root"], root["needed"], root["announced"], root["announced_version"])
                              for root in config["roots"]],
                             [("site", False, True, 1), ("spare", False, False, None)])
        node.stop()


class Trouble(Report):
    """A token that is not as it should be, by the fault module; kekd was there before, and left a witness."""

    def setUp(self):
        self.at = self.rig(config={"settle": "0ms"}).start()
        self.at.stop()
        self.fault = faults.inject(self.at)
        self.addCleanup(self.fault.close)

    def with_fault(self, code, line):
        self.fault.put(line)
        found, _, said = self.report(self.at, code)
        self.assertGreater(self.fault.done(), 0)
        return found["roots"][0], said

    def test_what_a_token_does_not_tell_is_neither_yes_nor_no(self):
        root, _ = self.with_fault(0, "C_GetAttributeValue every mute 164")
        (key,) = root["versions"]["keys"]
        self.assertEqual(key["not_told"], ["CKA_NEVER_EXTRACTABLE"])
        self.assertNotIn("CKA_NEVER_EXTRACTABLE", key["yes"] + key["no"])

    def test_a_token_that_gives_a_key_out_is_told(self):
        root, said = self.with_fault(3, "C_CopyObject every forge")
        self.assertEqual([row["keeps_kek"] for row in root["proofs"]["tokens"]], ["no"])
        self.assertIn("attention: hsm-a hands out a key that is to stay inside", said)

    def test_the_last_trial_of_fitness_is_shown_with_its_date_and_what_did_not_pass(self):
        self.fault.put("C_CopyObject every forge")
        tried = self.at.kekctl("conformance", "--output", "json", timeout=300)
        self.assertEqual(tried.returncode, 3, tried.stderr.decode())
        run = json.loads(tried.stdout)
        self.fault.put()
        found, _, said = self.report(self.at, 3)
        (root,) = found["roots"]
        (row,) = root["fitness"]["runs"]
        self.assertEqual((row["provider"], row["ended"], row["serial"], row["pass"], row["fail"], row["not_supported"]),
                         ("hsm-a", run["ended"], run["token"]["serial"], run["summary"]["pass"], 1, 0))
        self.assertRegex(row["age"], "[0-9]")
        self.assertEqual([(case["provider"], case["case"], case["outcome"]) for case in root["fitness"]["cases"]],
                         [("hsm-a", "keeps-key", "FAIL")])
        self.assertEqual((root["fitness"]["filled"], root["fitness"]["why"]), ("yes", []))
        self.assertIn("attention: hsm-a: of the cases of kekctl conformance, 1 failed at its last run", said)
        with self.at.token.away():
            root, = self.report(self.at, 3, "away")[0]["roots"]
        self.assertEqual(root["fitness"]["why"],
                         ["hsm-a did not answer: whether the token that was tried is there is not known"])
        # That was another token; and that is no such file.
        path = "%s/%s.conformance-hsm-a" % (self.at.state, self.at.config["keyring"])
        with open(path, encoding="utf-8") as file:
            text = file.read()
        for content, code, why in ((text.replace(row["serial"], "0815"), 3, "another token was tried, with serial 0815"),
                                   ("{}", 3, "is not what kekctl conformance writes")):
            with open(path, "w", encoding="utf-8") as file:
                file.write(content)
            shutil.rmtree(self.at.folder + "/report")
            root, = self.report(self.at, code)[0]["roots"]
            (said,) = root["fitness"]["why"]
            self.assertIn(why, said)

    def test_a_version_that_does_not_open_its_witness_is_told(self):
        root, said = self.with_fault(3, "* every wrongkey 1")
        self.assertEqual([row["outcome"] for row in root["proofs"]["witnesses"]], ["failed"])
        self.assertIn("version 1 on hsm-a does not open what it wrapped", said)


class Files(Report):
    @staticmethod
    def contents(node):
        found = {}
        for path in glob.glob(node.folder + "/report/*"):
            with open(path, "rb") as file:
                found[path] = file.read()
        return found

    def test_nothing_is_written_over(self):
        node = self.rig()
        self.assertIn(b"--out FOLDER is missing", node.kekctl("report").stderr)
        self.report(node, 0)
        before = self.contents(node)
        self.assertEqual(len(before), 2)
        done = node.kekctl("report", "--out", node.folder + "/report")
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"report.json is there already, and a report is never written over", done.stderr)
        self.assertEqual(self.contents(node), before)
        os.mkdir(node.folder + "/half")
        os.symlink("/nonexistent", node.folder + "/half/report.html")
        for where, word in ((node.path, b"is no folder"), (node.folder + "/half", b"is there already"),
                            (node.folder + "/no/such", b"No such file or directory")):
            done = node.kekctl("report", "--out", where)
            self.assertEqual(done.returncode, 1)
            self.assertIn(word, done.stderr)
        self.assertEqual(os.listdir(node.folder + "/half"), ["report.html"])

    def test_the_summary_is_json_where_that_is_asked_for(self):
        node = self.rig()
        done = node.kekctl("--output", "json", "report", "--out", node.folder + "/report", check=True)
        summary = json.loads(done.stdout)
        self.assertEqual(summary["sha256"], shell("sha256sum {path}", path=node.folder + "/report/report.json").split()[0])
        self.assertEqual(len(summary["sections"]), len(GLOBAL) + len(OF_ROOT))
        self.assertIsNone(summary["signature"])


class Signature(Report):
    def setUp(self):
        self.at = self.rig()
        self.json, self.signature = [self.at.folder + "/report/" + name for name in ("report.json", "report.json.sig")]

    def test_each_kind_of_key_signs_and_openssl_verifies_alone(self):
        kinds = (("ed", "-algorithm ed25519", "Ed25519", "pkeyutl -verify -rawin -pubin -inkey {public} -in {json} -sigfile {sig}"),
                 ("p256", "-algorithm EC -pkeyopt ec_paramgen_curve:P-256", "ECDSA P-256",
                  "dgst -sha256 -verify {public} -signature {sig} {json}"),
                 ("p384", "-algorithm EC -pkeyopt ec_paramgen_curve:P-384", "ECDSA P-384",
                  "dgst -sha384 -verify {public} -signature {sig} {json}"),
                 ("rsa", "-algorithm RSA -pkeyopt rsa_keygen_bits:2048", "RSA-PSS",
                  "dgst -sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest -verify {public} -signature {sig} {json}"))
        for name, options, kind, alone in kinds:
            private, public = self.key(self.at, name, options)
            found, _, _ = self.report(self.at, 0, name, "--key", private)
            paths = [self.at.folder + "/%s/%s" % (name, file) for file in ("report.json", "report.json.sig")]
            self.assertIn(kind, found["signature"]["algorithm"])
            der = subprocess.run(["openssl", "pkey", "-pubin", "-in", public, "-outform", "DER"], stdout=subprocess.PIPE, check=True)
            digest = subprocess.run(["sha256sum"], input=der.stdout, stdout=subprocess.PIPE, check=True).stdout.split()[0]
            self.assertEqual(found["signature"]["public_key_sha256"], digest.decode())
            self.assertIn(kind, self.verify(self.at, 0, *paths, public))
            shell("openssl " + alone, public=public, json=paths[0], sig=paths[1])

    def test_a_changed_byte_is_found(self):
        private, public = self.key(self.at)
        _, other = self.key(self.at, "other")
        _, kind = self.key(self.at, "kind", "-algorithm EC -pkeyopt ec_paramgen_curve:P-256")
        self.report(self.at, 0, "report", "--key", private)
        self.verify(self.at, 0, self.json, self.signature, public)
        for path in (self.json, self.signature):
            with open(path, "rb") as file:
                content = file.read()
            for changed in (bytes([content[0] ^ 1]) + content[1:], content[:-1] + bytes([content[-1] ^ 0x20]),
                            content[:-1], content + b"\n", b""):
                copy = self.at.folder + "/changed"
                with open(copy, "wb") as file:
                    file.write(changed)
                pair = (copy, self.signature) if path == self.json else (self.json, copy)
                said = self.verify(self.at, 3, *pair, public)
                self.assertIn("is not what", said)
        for wrong in (other, kind):
            self.verify(self.at, 3, self.json, self.signature, wrong)

    def test_a_page_that_is_not_of_the_signed_report_is_found(self):
        private, public = self.key(self.at)
        page = self.at.folder + "/report/report.html"
        for name in ("report", "second"):
            self.report(self.at, 0, name, "--key", private)
        pair = (self.json, self.signature)

        def said(code, path, *files):
            done = self.at.kekctl("report", "verify", *(files or pair), "--key", public, "--page", path)
            self.assertEqual(done.returncode, code, done.stderr.decode())
            return done.stdout.decode() + done.stderr.decode()
        self.assertRegex(said(0, page), "PAGE-VERIFIED +yes")
        with open(page, encoding="utf-8") as file:
            text = file.read()
        copy = self.at.folder + "/page"
        for changed in (text.replace("active", "Active", 1), text[:-1], text + " ", ""):
            with open(copy, "w", encoding="utf-8") as file:
                file.write(changed)
            self.assertIn("page is not the page of", said(3, copy))
        self.assertIn("No such file", said(1, copy + "x"))
        # The report is another one, or another version's.
        with open(self.json, encoding="utf-8") as file:
            text = file.read()
        for content, code, word in (
                (text.replace('"command": "kekctl ', '"command": "kekctl 9'), 1, "which alone can compare its page"),
                ("[]", 1, "is no report of kekctl's"), (text.replace('"attention": []', '"attention": [1]'), 3, "is not the page of")):
            other = self.at.folder + "/other"
            with open(other, "w", encoding="utf-8") as file:
                file.write(content)
            shell("openssl pkeyutl -sign -rawin -inkey {key} -in {other} -out {other}.sig", key=private, other=other)
            self.assertIn(word, said(code, page, other, other + ".sig"))
            self.verify(self.at, 0, other, other + ".sig", public)

    def test_what_is_no_key_is_refused_and_nothing_is_written(self):
        private, public = self.key(self.at)
        keys = {"p521": "-algorithm EC -pkeyopt ec_paramgen_curve:P-521", "small": "-algorithm RSA -pkeyopt rsa_keygen_bits:1024",
                "locked": "-algorithm ed25519 -aes256 -pass pass:x"}
        refusals = {public: "has no private key", self.at.folder + "/none": "No such file", self.at.path: "has no private key"}
        for name, options in keys.items():
            shell("umask 077; openssl genpkey {options} -out {path}", options=options, path=self.at.folder + "/" + name)
            refusals[self.at.folder + "/" + name] = "passphrase" if name == "locked" else "expected a key of Ed25519"
        for path in refusals:
            with contextlib.suppress(FileNotFoundError):
                os.chmod(path, 0o600)
        shutil.copy(private, self.at.folder + "/open")
        os.chmod(self.at.folder + "/open", 0o640)
        refusals[self.at.folder + "/open"] = "chmod 0600"
        for path, word in refusals.items():
            done = self.at.kekctl("report", "--out", self.at.folder + "/report", "--key", path)
            self.assertEqual(done.returncode, 1, path)
            self.assertIn(word, done.stderr.decode())
        self.assertFalse(os.path.exists(self.at.folder + "/report"))
        self.report(self.at, 0, "report", "--key", private)
        for report, signature, key, word in ((self.json, self.signature, private, "has no public key"),
                                             (self.json + "x", self.signature, public, "No such file"),
                                             (self.json, self.signature + "x", public, "No such file"),
                                             (self.json, self.json, public, "more than 4096 bytes"),
                                             (self.json, self.signature, self.at.folder + "/none", "No such file")):
            self.assertIn(word, self.verify(self.at, 1, report, signature, key))
        done = self.at.kekctl("report", "verify", self.json, self.signature)
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"--key FILE is missing", done.stderr)

    def test_a_key_is_made_and_signs_elsewhere_as_docs_evidence_says(self):
        with open(os.environ["abs_top_srcdir"] + "/docs/evidence.md", encoding="utf-8") as file:
            section = re.split(r"^## ", file.read().split("\n## Signing\n")[1], maxsplit=1, flags=re.MULTILINE)[0]
        commands = re.findall(r"^    (.*)$", section, re.MULTILINE)
        self.assertEqual(len(commands), 3)
        self.report(self.at, 0)
        for command in commands:
            shell("cd {folder} && " + command, folder=self.at.folder + "/report")
        self.verify(self.at, 0, self.json, self.signature, self.at.folder + "/report/evidence.pem")
        self.report(self.at, 0, "second", "--key", self.at.folder + "/report/evidence.key")

    def test_an_hsm_signs_the_file_as_docs_evidence_says(self):
        if shutil.which("pkcs11-tool") is None:
            self.skipTest("SKIP: pkcs11-tool is missing: a signature by an HSM was not tested")
        token = self.at.token
        self.report(self.at, 0)
        token.tool("--keypairgen", "--key-type", "EC:prime256v1", "--id", "a1", "--label", "report", "--usage-sign")
        public = self.at.folder + "/hsm.pem"
        token.tool("--read-object", "--type", "pubkey", "--id", "a1", "--output-file", public + ".der")
        shell("openssl pkey -pubin -inform DER -in {public}.der -out {public}", public=public)
        shell("openssl dgst -sha256 -binary -out {json}.sha256 {json}", json=self.json)
        token.tool("--sign", "--mechanism", "ECDSA", "--id", "a1", "--signature-format", "openssl",
                   "--input-file", self.json + ".sha256", "--output-file", self.signature)
        self.assertIn("ECDSA P-256", self.verify(self.at, 0, self.json, self.signature, public))


if __name__ == "__main__":
    rigs.main()
