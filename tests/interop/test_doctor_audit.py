#!/usr/bin/python3
"""kekctl doctor on the end of the audit log's chain: as it should be, changed, cut, gone, not MACed, not there at all."""

import contextlib
import fcntl
import json
import os
import pty
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios

import fault as faults
import rig as rigs

sys.path.insert(0, os.path.join(os.environ["abs_top_srcdir"], "tests", "unit"))
import audit_chain  # noqa: E402

DEK = bytes(range(32))


class Chain(rigs.Case):
    def node(self, **audit):
        node = self.rig()
        node.audit = node.folder + "/audit.jsonl"
        node.write(audit=dict({"file": node.audit}, **audit))
        return node

    def chain(self, node, subject="audit chain"):
        """[(verdict, seen, do)]"""
        lines = json.loads(node.kekctl("doctor", "--output", "json").stdout)["lines"]
        return [(line["verdict"], line["seen"], line["do"]) for line in lines if line["subject"] == subject]

    def well(self, node, seen):
        (verdict, said, todo), = self.chain(node)
        self.assertEqual((verdict, todo), ("OK", ""), said)
        self.assertRegex(said, seen)

    def unwell(self, node, seen):
        (verdict, said, todo), = self.chain(node)
        self.assertEqual(verdict, "WARN", said)
        self.assertRegex(said, seen)
        return todo

    @staticmethod
    def run_it(todo):
        """The exit code of exactly that command."""
        where = os.path.dirname(rigs.program("kekctl"))
        return subprocess.run(["sh", "-c", todo], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False,
                              env=dict(os.environ, PATH="%s:%s" % (where, os.environ["PATH"]))).returncode

    @staticmethod
    def lines(node):
        with open(node.audit, "rb") as file:
            return file.readlines()

    @staticmethod
    def put(node, lines):
        with open(node.audit, "wb") as file:
            file.writelines(lines)

    def used(self, node, calls=20):
        with node.client() as client:
            for _ in range(calls):
                client.encrypt(DEK)
        rigs.wait_for(lambda: len(self.lines(node)) > calls, "the lines")

    def stopped(self, **audit):
        """One whose log has some lines, and its lines."""
        node = self.node(**audit).start()
        self.used(node)
        node.close_clients()
        node.stop()
        return node, self.lines(node)

    def test_a_chain_that_is_whole(self):
        node = self.node()
        self.well(node, "it was not begun: doctor's own logins have begun it")
        (verdict, seen, todo), = self.chain(node)
        self.assertEqual(verdict, "OK")
        self.assertRegex(seen, r"its end is whole, and at line [1-9]\d* of chain [0-9a-f]{16}.*without MACs: no token that answers")
        self.assertRegex(todo, "^kekctl --config %s audit generate #" % node.path)
        node.start()
        self.used(node)
        self.assertEqual(self.chain(node)[0][0], "OK")
        self.assertEqual(self.run_it(todo), 0)
        self.well(node, r"its end is whole, .*without a MAC yet \(hsm-a has a key for it\)|its end is whole, .*MACed at")
        with node.client() as client:  # beside one that writes
            for _ in range(5):
                client.encrypt(DEK)
                self.well(node, "its end is whole")
        # Behind older files it goes on.
        node.close_clients()
        node.stop()
        os.rename(node.audit, node.audit + ".1")
        node.start()
        self.used(node)
        self.well(node, "its end is whole")
        node.close_clients()
        node.stop()

    def test_a_changed_line_near_the_end(self):
        node, whole = self.stopped()
        line = whole[-5].replace(b'{"time":"2', b'{"time":"1')
        self.put(node, whole[:-5] + [line] + whole[-4:])
        todo = self.unwell(node, "^4 lines before the last, was changed: expected SHA-256")
        self.assertEqual(self.run_it(todo), 3)
        self.assertIn("this line ends once the file is kept elsewhere (mv) and kekd had SIGHUP", todo)
        node.start()
        os.rename(node.audit, node.folder + "/evidence")
        node.signal(signal.SIGHUP)
        rigs.wait_for(lambda: os.path.exists(node.audit), "the new file")
        self.used(node)
        (verdict, seen, _), = self.chain(node)
        self.assertEqual((verdict, seen[:16]), ("OK", "its end is whole"))
        node.close_clients()
        node.stop()

    def test_an_end_that_is_missing(self):
        for cut in (lambda lines: lines[:-2], lambda lines: lines[:-1] + [lines[-1][:20]]):
            node, whole = self.stopped()
            self.put(node, cut(whole))
            self.unwell(node, "as is on record|expected a line feed")
            # What doctor adds there itself hides nothing.
            self.assertEqual(self.run_it(self.unwell(node, "missing|tells of what was found")), 3)

    def test_lines_past_the_record(self):
        node, whole = self.stopped()
        last = json.loads(whole[-1])
        self.put(node, whole + audit_chain.Chain(last["chain"], last["n"], last["hash"]).lines(2))
        self.unwell(node, "the last line here .*as is on record, found %d" % (last["n"] + 2))
        self.unwell(node, "tells of what was found here")  # doctor's own logins said it

    def test_a_chain_that_is_not_on_record_is_told_with_what_was_looked_at(self):
        """No token is asked here: that no MAC vouches for it is for the one who asks to say."""
        node, whole = self.stopped()
        other = audit_chain.Chain("feedfacefeedface")
        forged = other.lines(2)
        self.put(node, whole[:1] + forged + whole[1:])
        self.unwell(node, "chain feedfacefeedface begins here: expected it on record in state_dir, or a MAC of it")
        forged.append(other.line("mac", covers=2, provider="hsm-a", mac_key="00" * 16, mac="ab" * 32))
        self.put(node, whole[:1] + forged + whole[1:])
        todo = self.unwell(node, "chain feedfacefeedface begins here: .*kekctl audit verify asks for its MACs")
        (_, seen, _), = self.chain(node)
        self.assertNotIn("found neither", seen)
        self.assertEqual(self.run_it(todo), 3)

    def test_a_line_in_another_place(self):
        node, whole = self.stopped()
        self.put(node, whole[:-4] + [whole[-3], whole[-4]] + whole[-2:])
        self.unwell(node, "1 line before it comes later")

    def test_a_file_or_a_record_that_is_gone(self):
        node = self.node().start()
        self.used(node)
        os.rename(node.audit, node.audit + ".gone")
        todo = self.unwell(node, "is not there, and chain [0-9a-f]{16} is on record with [0-9]+ lines")
        self.assertTrue(todo.startswith("kill -HUP %d #" % node.kekd.pid), todo)
        node.close_clients()
        node.stop()
        node, _ = self.stopped()
        os.unlink(node.state + "/k8s-test.audit")
        todo = self.unwell(node, "expected a record of the chain in state_dir")
        self.assertTrue(todo.startswith("in %s: state_dir: where the record is; or restore it" % node.path), todo)
        os.rename(node.state, node.state + ".was")
        (verdict, seen, todo), = self.chain(node, "state_dir")
        self.assertEqual((verdict, seen), ("FAIL", "%s is not there, and the audit log %s has lines of one that was"
                                           % (node.state, node.audit)))
        self.assertTrue(todo.startswith("in %s: state_dir: the one that is there; or restore it" % node.path), todo)
        self.assertFalse(os.path.exists(node.state))

    def lost(self, node, seen):
        """No login is put on record there, so that it is told the next time, too."""
        for _ in range(2):
            (verdict, said, todo), = self.chain(node, "state_dir")
            self.assertEqual((verdict, said), ("FAIL", "%s %s, and the audit log %s has lines of one that was"
                                               % (node.state, seen, node.audit)))
            self.assertTrue(todo.startswith("in %s: state_dir: the one that has it; or restore it" % node.path), todo)
            (verdict, _, todo), = self.chain(node, "tokens")
            self.assertEqual((verdict, todo), ("UNSEEN", "the line of state_dir first"))

    def test_a_state_dir_without_what_the_log_says_was_announced(self):
        node, _ = self.stopped()
        before = self.lines(node)
        away = node.state + ".was"
        os.rename(node.state, away)
        os.mkdir(node.state, 0o700)
        self.lost(node, "is empty")
        self.assertEqual((os.listdir(node.state), self.lines(node)), ([], before))
        # As kekd leaves it, under which the folder was replaced: it has a chain, and no record.
        shutil.copy(away + "/k8s-test.audit", node.state)
        self.lost(node, "has no record of the key that was announced")
        shutil.rmtree(node.state)
        os.rename(away, node.state)
        self.assertNotEqual(self.chain(node, "state_dir")[0][0], "FAIL")
        os.unlink(node.state + "/k8s-test.json")
        self.lost(node, "has no record of the key that was announced")
        # One that begins there has one again.
        node.start()
        node.stop()
        self.assertNotEqual(self.chain(node, "state_dir")[0][0], "FAIL")

    def test_a_node_that_announced_nothing_yet_has_no_record(self):
        node = self.node()  # its key was made: the log has lines of kekctl
        node.kekctl("key", "list", check=True)
        self.assertTrue(self.lines(node))
        self.assertEqual([line[0] for line in self.chain(node, "state_dir") if line[0] == "FAIL"], [])
        with node.token.away():
            node.spawn().serving()
            node.stop()
        self.assertEqual([line[0] for line in self.chain(node, "state_dir") if line[0] == "FAIL"], [])

    @staticmethod
    def put_counts(node, acts=b"", kekd=b""):
        """In their places, behind the chain's."""
        with open(node.state + "/k8s-test.audit", "r+b") as file:
            file.seek(144)
            file.write(acts.ljust(40))
            file.seek(184)
            file.write(kekd)

    def test_a_count_of_lost_lines_that_was_changed(self):
        node, _ = self.stopped()
        self.put_counts(node, b',"lost":7x')
        self.unwell(node, "expected a count of lost lines, or none, in the record")
        # Where the chain's line does not say it.
        self.put_counts(node, b',"lost":7x')
        os.rename(node.audit, node.audit + ".1")
        self.assertIn(("WARN", "the record of the audit log's chain in state_dir is damaged: any number of lines may be missing from "
                       + node.audit), [line[:2] for line in self.chain(node, "audit")])
        path = tempfile.mkdtemp() + "/log"
        self.addCleanup(shutil.rmtree, os.path.dirname(path))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
            log.bind(path)
            node = self.rig()
            node.write(audit={"syslog": path})
            self.assertEqual([line[0] for line in self.chain(node, "audit")], ["OK"])
            self.put_counts(node, b',"lost":7x')
            (verdict, _, _), (_, seen, _) = self.chain(node, "audit")
            self.assertEqual(verdict, "OK")
            self.assertIn("is damaged: any number of lines may be missing from " + path, seen)
            self.assertEqual([line[0] for line in self.chain(node, "audit")], ["OK"], "a line tells of it")

    def test_lines_that_kekctls_lost_are_told_beside_those_that_kekd_lost(self):
        node, _ = self.stopped()
        self.put_counts(node, b',"lost":3', b',"kekd":{"lost":2,"waiting":0}')
        self.assertEqual([seen for verdict, seen, _ in self.chain(node, "audit") if verdict == "WARN"],
                         ["2 lines were not written to %s, and no line there tells of it yet" % node.audit,
                          "3 lines were not written to %s, as a line there tells now" % node.audit])
        node.start()
        node.stop()
        self.assertEqual([line[0] for line in self.chain(node, "audit")], ["OK"])

    def test_macs_that_do_not_come(self):
        node = self.node(mac_interval="1s")
        node.kekctl("audit", "generate", check=True)
        fault = faults.inject(node)
        self.addCleanup(fault.close)
        self.well(node, r"without a MAC yet \(hsm-a has a key for it\)")
        node.start()
        self.used(node)
        rigs.wait_for(lambda: any(b'"event":"mac"' in line for line in self.lines(node)), "a MAC")
        self.well(node, "MACed at 20")
        fault.put("C_SignInit every rv 5")

        def failed():
            self.used(node, 1)
            return any(b'"event":"mac"' in line and b'"failed"' in line for line in self.lines(node))
        rigs.wait_for(failed, "a MAC that fails")
        todo = self.unwell(node, "no token makes its MAC since 20")
        self.assertIn("audit verify", todo)
        node.close_clients()
        node.stop()

    def fails(self, node, count):
        """A kekd whose token is away at its start, and so cannot say whether it has a key."""
        node.spawn()
        node.wait_log("serving on")
        rigs.wait_for(lambda: self.macs(node).count("failed") == count, "a MAC that fails")

    @staticmethod
    def macs(node):
        return [line["outcome"] for line in rigs.json_lines(node.audit) if line["event"] == "mac"]

    def test_a_token_without_a_key_that_was_away_at_the_start_is_no_mac_that_fails(self):
        node = self.node(mac_interval="1s")
        with node.token.away():
            self.fails(node, 1)
        node.wait_log("no token has a key for it")
        rigs.wait_for(lambda: self.macs(node) == ["failed", "none"], "the line of it")
        (verdict, seen, _), = self.chain(node)
        self.assertEqual(verdict, "OK", seen)
        node.stop()
        with node.token.away():
            self.fails(node, 2)
            node.stop()
        node.start()  # which the one before it has not heard
        rigs.wait_for(lambda: node.log().count("no token has a key for it") == 2, "a round of it")
        (verdict, seen, _), = self.chain(node)
        self.assertEqual(verdict, "OK", seen)
        self.assertRegex(seen, "without MACs: no token that answers has a key for them")
        self.assertEqual(self.macs(node), ["failed", "none", "failed"])
        node.stop()

    @staticmethod
    def read_all(log):
        """What was there."""
        log.setblocking(False)
        there = b""
        with contextlib.suppress(BlockingIOError):
            while True:
                there += log.recv(65536)
        return there

    def test_lines_that_a_receiver_does_not_take_are_told(self):
        path = tempfile.mkdtemp() + "/log"
        self.addCleanup(shutil.rmtree, os.path.dirname(path))
        node = self.rig()
        node.write(audit={"syslog": path})
        full = "cannot send to %s: it is full, and nobody reads what is there; .*kekctl changes no key" % path
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            log.bind(path)
            (verdict, seen, _), = self.chain(node, "audit")
            self.assertEqual(verdict, "OK", seen)
            other.connect(path)
            other.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    other.send(b"x")
            (verdict, seen, todo), (_, lost, _) = self.chain(node, "audit")
            self.assertEqual((verdict, todo), ("WARN", "have whoever listens at %s read on, or start it anew" % path))
            self.assertRegex(seen, full)
            self.assertRegex(lost, r"^[1-9]\d* lines? (was|were) not written to %s, and no line there tells of it yet" % path)
            self.read_all(log)
            (verdict, _, _), (_, lost, todo) = self.chain(node, "audit")
            self.assertEqual(verdict, "OK")
            self.assertRegex(lost, r"^[1-9]\d* lines? (was|were) not written to %s, as a line there tells now" % path)
            self.assertIn('before its last line "dropped"', todo)
            self.read_all(log)
            self.assertEqual([line[0] for line in self.chain(node, "audit")], ["OK"])
            # A count that was changed is told before a line tells of it, as doctor's logins do.
            with open(node.state + "/k8s-test.audit", "r+b") as file:
                file.seek(144)
                file.write(b',"lost":7x')
            _, (verdict, seen, _) = self.chain(node, "audit")
            self.assertEqual(verdict, "WARN")
            self.assertIn("is damaged: any number of lines may be missing from %s" % path, seen)
            self.assertIn(b'"event":"broken"', self.read_all(log))

    def test_a_file_that_is_removed_under_kekd_is_told_until_it_is_dealt_with(self):
        node = self.node().start()
        self.used(node)
        last = json.loads(self.lines(node)[-1])
        os.unlink(node.audit)
        with node.client() as client:
            client.encrypt(DEK)
        rigs.wait_for(lambda: os.path.exists(node.audit) and len(self.lines(node)) == 2, "the lines")
        told = json.loads(self.lines(node)[0])
        said = "the file %s was removed while it was open, with its lines up to line %d of chain %s" % (
            node.audit, last["n"], last["chain"])
        self.assertEqual((told["event"], told["n"], told["error"]), ("broken", last["n"] + 1, said))
        node.wait_log("audit: " + said)
        verified = node.kekctl("audit", "verify", "--output", "json", node.audit)
        self.assertEqual(verified.returncode, 3)
        self.assertIn(("told", "tells of what was found here: " + said), [(problem["kind"], problem["text"]) for problem in json.loads(verified.stdout)["problems"]])
        todo = self.unwell(node, said)
        self.assertIn("this line ends once the file is kept elsewhere (mv) and kekd had SIGHUP", todo)
        os.rename(node.audit, node.audit + ".kept")
        node.signal(signal.SIGHUP)
        rigs.wait_for(lambda: os.path.exists(node.audit), "a new file")
        self.used(node)
        (verdict, seen, _), = self.chain(node)
        self.assertEqual(verdict, "OK", seen)
        node.close_clients()
        node.stop()

    def test_lines_that_were_not_written_to_the_file_are_told(self):
        node, _ = self.stopped()
        os.rename(node.audit, node.audit + ".1")
        os.symlink(node.audit + ".1", node.audit)
        lost, = [line for line in self.chain(node, "audit") if " not written to " in line[1]]
        self.assertRegex(lost[1], "^[1-9].* not written to %s, and no line there tells of it yet$" % node.audit)
        self.assertEqual(lost[0], "WARN")
        os.unlink(node.audit)
        os.rename(node.audit + ".1", node.audit)
        (verdict, seen, todo), = [line for line in self.chain(node, "audit") if line[0] != "OK"]
        self.assertEqual(verdict, "WARN")
        self.assertRegex(seen, "^[1-9].* not written to %s, as a line there tells now$" % node.audit)
        self.assertEqual(self.run_it(todo), 0)
        self.assertEqual([line[0] for line in self.chain(node, "audit")], ["OK"])

    def test_lines_that_a_kekd_which_was_killed_may_not_have_written(self):
        node = self.node().start()
        self.used(node)
        node.close_clients()
        self.assertEqual([line[0] for line in self.chain(node, "audit")], ["OK"], "it has them yet")
        node.kill()
        (verdict, seen, todo), = [line for line in self.chain(node, "audit") if line[0] != "OK"]
        self.assertEqual((verdict, todo.split(" #")[0]), ("WARN", "start kekd, whose first line tells how many"))
        self.assertEqual(seen, "kekd does not run here and did not end in good order: up to 256 lines may be missing from " + node.audit)
        node.start()
        node.stop()
        self.assertEqual([line[0] for line in self.chain(node, "audit")], ["OK"], "its first line tells of them")

    def test_on_a_narrow_terminal_what_is_to_be_copied_is_in_one_piece(self):
        node = self.node()
        self.chain(node)  # whose logins begin it
        todos = [line["do"] for line in json.loads(node.kekctl("doctor", "--output", "json").stdout)["lines"] if line["do"]]
        self.assertTrue(any(len(todo) > 80 for todo in todos), todos)
        main, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 25, 80, 0, 0))
        with subprocess.Popen([rigs.program("kekctl"), "--config", node.path, "doctor"], stdin=subprocess.DEVNULL, stdout=terminal) as doctor:
            os.close(terminal)
            shown = b""
            with contextlib.suppress(OSError):  # once nobody has it open any more
                while piece := os.read(main, 65536):
                    shown += piece
        os.close(main)
        self.assertIn(doctor.returncode, (1, 3))
        shown = shown.decode().splitlines()
        self.assertRegex(shown[0], "^VERDICT +SUBJECT +SEEN$")
        self.assertEqual([line[2:] for line in shown if line[:2] == "  " and line[2:] in todos], todos)
        self.assertEqual([line for line in shown if len(line) > 80 and line[2:] not in todos], [])

    def test_without_an_audit_log_there_is_no_chain(self):
        node = self.node()
        node.write(audit=None)
        self.assertEqual(self.chain(node), [])
        (verdict, seen, todo), = self.chain(node, "audit")
        self.assertEqual((verdict, todo), ("WARN", "in %s: audit.file: /var/log/kekd/audit.jsonl" % node.path))
        self.assertIn("no audit log: nothing is put on record", seen)

    def test_the_word_about_a_backup_is_a_line_and_not_taken_without_one(self):
        node = self.node()
        backup = node.state + "/k8s-test.backup"
        node.write(audit={"file": node.folder + "/later/audit.jsonl"})
        node.kekctl("doctor", "--i-have-a-backup")
        (verdict, seen, _), = self.chain(node, "backup")
        self.assertEqual((verdict, os.path.exists(backup)), ("WARN", False))
        node.write(audit={"file": node.audit})
        node.kekctl("doctor", "--i-have-a-backup")
        line, = [line for line in map(json.loads, self.lines(node)) if line["event"] == "backup"]
        self.assertEqual((line["command"], line["version"], line["outcome"], line["said"]),
                         ("doctor", 1, "ok", "i-have-a-backup"))
        self.assertTrue(os.path.exists(backup))

    def test_what_cannot_be_read_is_not_judged(self):
        node, _ = self.stopped()
        os.rename(node.audit, node.audit + ".1")
        os.symlink(node.audit + ".1", node.audit)
        (verdict, seen, todo), = self.chain(node)
        self.assertEqual(verdict, "UNSEEN")
        self.assertIn("not looked at: opening " + node.audit, seen)
        self.assertTrue(todo)


if __name__ == "__main__":
    rigs.main()
