#!/usr/bin/python3
"""kekctl doctor beside a kekd that runs here and not on the record that the configuration names: which of the two is right is
settled before anything is made, ended or put on record."""

import glob
import os
import shutil

import doctoring
import rig as rigs

FIRST = "the line of kekd first"
SUBJECT = "kekd"


class Elsewhere(doctoring.Case):
    def read(self, node):
        """kekctl's lines in the audit log: a kekd that runs writes on, and tells of a record that was replaced."""
        with open(node.config["audit"]["file"], "rb") as file:
            return [line for line in file if b'"seq":0,' in line and b'"event":"broken"' not in line]

    @staticmethod
    def is_quiet(node):
        with open(node.config["audit"]["file"], "rb") as file:
            return b'"event":"health","health":"good"' in file.read()

    def told(self, node, seen, todo):
        """The line, beside which nothing is told to be ended or made; and doctor itself makes nothing."""
        before, made = self.read(node), os.path.exists(node.config["state_dir"])
        line = self.found(node, SUBJECT, seen)
        lines = self.doctor(node)
        self.assertTrue(line.do.startswith(todo), line.do)
        for other in lines:
            if other.subject != SUBJECT:
                self.assertNotRegex(other.do, "^ss |end that|install -d|ReadWritePaths=|systemctl (re)?start|systemctl enable|chown|^kill", other)
        tokens, = [other for other in lines if other.subject == "tokens"]
        self.assertEqual((tokens.verdict, tokens.do), ("UNSEEN", FIRST))
        self.assertEqual(self.read(node), before)
        self.assertEqual(os.path.exists(node.config["state_dir"]), made)
        self.assertEqual(glob.glob(node.state + "/other*"), [])
        return lines

    def untold(self, node):
        self.assertEqual([line for line in self.doctor(node) if line.subject == SUBJECT], [])

    def test_another_state_dir_or_keyring_than_that_of_the_kekd_that_runs(self):
        node = self.healthy().start()
        self.untold(node)
        was, keyring = node.state, node.config["keyring"]
        runs = "^process %d, a kekd with this configuration, runs on state_dir %s, " % (node.kekd.pid, was)
        node.write(state_dir="/srv/kekd-test-not-there")
        lines = self.told(node, runs, "in %s: state_dir: %s #" % (node.path, was))
        waits = {line.subject for line in lines if line.do == FIRST}
        self.assertLessEqual({"unit", "state_dir", "socket", "metrics", "tokens"}, waits)
        empty = node.folder + "/empty"
        os.mkdir(empty, 0o700)
        os.chown(empty, os.stat(was).st_uid, os.stat(was).st_gid)
        node.write(state_dir=empty)
        self.told(node, runs, "in %s: state_dir: %s #" % (node.path, was))
        self.assertEqual(os.listdir(empty), [])
        node.write(state_dir=was, keyring="other")
        self.told(node, runs + "keyring %s, and not on .*, keyring other: " % keyring, "in %s: keyring: %s" % (node.path, keyring))
        node.write(keyring=keyring)
        self.untold(node)

    def test_a_state_dir_that_was_replaced_or_removed_under_the_kekd_that_runs(self):
        node = self.healthy().start()
        rigs.wait_for(lambda: self.is_quiet(node), "the last line of its start")  # one that comes later makes a file in the new folder
        about, away = os.stat(node.state), node.state + ".away"
        os.rename(node.state, away)
        os.mkdir(node.state, 0o700)
        os.chown(node.state, about.st_uid, about.st_gid)
        self.told(node, "runs on state_dir %s, .* and not on %s, " % (away, node.state),
                  "in %s: state_dir: %s # or, where that folder was moved, move it back" % (node.path, away))
        os.rmdir(node.state)
        os.rename(away, node.state)
        self.untold(node)
        def gone():
            shutil.rmtree(node.state, ignore_errors=True)
            return not os.path.exists(node.state)
        rigs.wait_for(gone, "its end: kekd makes its audit record anew in it meanwhile")
        self.told(node, r"runs on state_dir %s \(which is gone\)" % node.state,
                  "make %s anew, empty and user %s's: " % (node.state, doctoring.USER))
        os.mkdir(node.state, 0o700)
        os.chown(node.state, about.st_uid, about.st_gid)
        rigs.wait_for(lambda: os.path.exists(node.state + "/k8s-test.json"), "the record that kekd puts there")
        self.untold(node)

    def test_the_kekd_of_another_configuration_listens_there(self):
        node = self.healthy().start()
        was, path, node.path = node.state, node.path, node.folder + "/second.yaml"
        node.write(state_dir=node.folder + "/second")
        self.told(node, "^process %d, a kekd that listens where this configuration says, runs on state_dir %s, " % (node.kekd.pid, was),
                  "in %s: state_dir: %s " % (node.path, was))
        node.write(listen="unix://%s/run/second.sock" % node.folder)
        self.told(node, "a kekd that listens where", "in %s: state_dir: " % node.path)  # by the port of its metrics
        node.write(metrics=rigs.own_address())
        self.untold(node)
        node.path = path

    def test_a_keyring_that_is_mistyped_leaves_nothing(self):
        node = self.healthy()
        keyring = node.config["keyring"]
        before, files = self.read(node), sorted(os.listdir(node.state))
        node.write(keyring="k8s-tset")
        line = self.found(node, "keyring", "^%s has a record of keyring %s, and none of k8s-tset" % (node.state, keyring))
        self.assertTrue(line.do.startswith("in %s: keyring: %s # or, where k8s-tset is to begin here: " % (node.path, keyring)), line)
        tokens, = [other for other in self.doctor(node) if other.subject == "tokens"]
        self.assertEqual((tokens.verdict, tokens.do), ("UNSEEN", "the line of keyring first"))
        self.assertEqual([other.subject for other in self.lines(node)], ["keyring"], "what follows from it waits")
        self.assertEqual((self.read(node), sorted(os.listdir(node.state))), (before, files))
        node.write(keyring=keyring)
        self.well(node)

    def test_a_chain_that_doctor_begins_is_told(self):
        node = self.healthy(backup=False)
        chain, = [line for line in self.doctor(node) if line.subject == "audit chain"]
        self.assertEqual((chain.verdict, chain.seen), ("OK", "it was not begun: doctor's own logins have begun it"))
        os.unlink("%s/%s.audit" % (node.state, node.config["keyring"]))
        chain, = [line for line in self.doctor(node) if line.subject == "audit chain"]
        self.assertEqual(chain.verdict, "WARN")
        self.assertIn("; doctor's own logins have begun a new chain there", chain.seen)

    def test_a_lock_file_that_was_removed_is_no_other_record(self):
        node = self.healthy().start()
        os.unlink("%s/%s.lock" % (node.state, node.config["keyring"]))
        self.untold(node)


if __name__ == "__main__":
    rigs.main()
