#!/usr/bin/python3
"""What kekctl report says of the audit log: its chain, what was changed, renamed, compressed or is missing, and a log in no
file."""

import glob
import gzip
import os
import re
import shutil
import socket

import rig as rigs
from reporting import DEK, Report


class AuditLog(Report):
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


if __name__ == "__main__":
    rigs.main()
