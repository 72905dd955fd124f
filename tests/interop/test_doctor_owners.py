#!/usr/bin/python3
"""kekctl doctor where it is not certain whom kekd runs as, and where others may write what is kekd's."""

import os
import subprocess

import doctoring
import rig as rigs
from doctoring import edit, write

DAEMON = 1
FIRST = "the line of user first"


class Owners(doctoring.Case):
    def node(self):
        """Without a unit, and no kekd runs: the files say whom it runs as."""
        node = self.healthy()
        node.unit = node.folder + "/none.service"
        node.audit, node.pin = node.config["audit"]["file"], node.token.pin_file
        return node

    def doubt(self, node, judged, *named):
        """The line of the user, which names these; nothing else gives anything to anybody."""
        lines = self.doctor(node)
        user, = [line for line in lines if line.subject == "user"]
        self.assertEqual(user.verdict, "WARN", user)
        self.assertRegex(user.seen, "^judged as %s .*doctor cannot know whom kekd runs as: " % judged)
        for words in named:
            self.assertIn(words, user.seen)
        for line in lines:
            if line is not user:
                self.assertNotRegex(line.do, "chown|chgrp|install -|usermod", line)
        return user, lines

    def agreed(self, node, user):
        line, = [line for line in self.doctor(node) if line.subject == "user"]
        self.assertEqual((line.verdict, line.seen.split(" (")[0]), ("OK", "judged as " + user))

    def test_a_state_dir_of_another_user_than_the_secret_and_the_log(self):
        node = self.node()
        self.agreed(node, "nobody")
        for name in ("root", "daemon"):
            subprocess.run(["chown", "-R", name + ":", node.state], check=True)
            user, lines = self.doubt(node, "nobody", "state_dir %s is %s's" % (node.state, name),
                                     "PIN file %s is nobody's" % node.pin, "audit file %s is nobody's" % node.audit)
            self.assertTrue(user.do.startswith("chown -R nobody: %s # where kekd is to run as nobody" % node.state), user.do)
            state, = [line for line in lines if line.subject == "state_dir"]
            self.assertEqual((state.verdict, state.do), ("FAIL", FIRST))
            self.run_it(node, user)
            self.agreed(node, "nobody")

    def test_a_secret_of_another_user_than_state_dir_and_the_log(self):
        node = self.node()
        os.chown(node.pin, 0, 0)
        user, lines = self.doubt(node, "nobody", "PIN file %s is root's" % node.pin)
        self.assertTrue(user.do.startswith("chown nobody: %s # where" % node.pin), user.do)
        pin, = [line for line in lines if line.subject == "PIN of hsm-a"]
        self.assertEqual((pin.verdict, pin.do), ("FAIL", FIRST))
        self.run_it(node, user)
        self.agreed(node, "nobody")

    def test_nothing_is_given_to_root_by_a_majority(self):
        node = self.node()
        subprocess.run(["chown", "-R", "root:", node.state, node.audit], check=True)
        user, _ = self.doubt(node, "nobody", "PIN file %s is nobody's" % node.pin)
        self.assertTrue(user.do.startswith("--unit FILE, whose User= says it; or start kekd"), user.do)

    def test_one_against_one_is_nobodys_to_give_away(self):
        node = self.node()
        os.unlink(node.audit)
        subprocess.run(["chown", "-R", "daemon:", node.state], check=True)
        user, lines = self.doubt(node, "daemon", "state_dir %s is daemon's" % node.state, "PIN file %s is nobody's" % node.pin)
        self.assertTrue(user.do.startswith("--unit FILE, whose User= says it; or start kekd"), user.do)
        pin, = [line for line in lines if line.subject == "PIN of hsm-a"]
        self.assertEqual((pin.verdict, pin.do), ("FAIL", FIRST))

    def test_a_secret_that_is_missing_is_written_for_nobody_who_is_not_certain(self):
        node = self.node()
        os.unlink(node.pin)
        os.chown(node.audit, 0, 0)
        _, lines = self.doubt(node, "nobody", "audit file %s is root's" % node.audit)
        pin, = [line for line in lines if line.subject == "PIN of hsm-a"]
        self.assertEqual((pin.verdict, pin.do), ("FAIL", FIRST))

    def test_a_unit_or_a_process_of_root_beside_files_of_another(self):
        node = self.healthy()
        edit(node.unit, "User=nobody", "User=root")
        pin = self.found(node, "PIN of hsm-a", "is of uid [0-9]+, who may use it, too", "WARN")
        self.assertEqual(pin.do, FIRST)
        node.unit = node.folder + "/none.service"
        node.user = None
        os.chown(os.path.dirname(node.socket), 0, 0)
        node.start()
        line = self.found(node, "user", "judged as root .*, but state_dir %s is nobody's" % node.state, "WARN")
        self.assertTrue(line.do.startswith("end process %d, and start kekd as nobody; or" % node.kekd.pid), line.do)
        self.assertEqual(self.found(node, "PIN of hsm-a", "who may use it, too", "WARN").do, FIRST)
        node.stop()

    def test_a_unit_of_another_user_than_the_files(self):
        """Its User= or the files are wrong, and the setting is the lesser of the two: where it stands is named, and nothing else
        gives anything away, or starts anew a kekd that serves."""
        node = self.healthy()
        os.mkdir(node.unit + ".d")
        dropin = node.unit + ".d/own.conf"
        for runs in (False, True):
            for name in ("daemon", "root"):
                write(dropin, "[Service]\nUser=%s\n" % name)
                lines = self.doctor(node)
                user, = [line for line in lines if line.subject == "user" and line.verdict == "WARN"]
                self.assertTrue(user.seen.startswith("judged as %s (User= of %s), but state_dir %s is nobody's, PIN file " %
                                                     (name, dropin, node.state)), user)
                self.assertTrue(user.do.startswith("in [Service] of %s: User=nobody # " % dropin), user)
                for line in lines:
                    self.assertNotRegex(line.do, "chown|chgrp|install -|usermod|^systemctl restart|^end process", line)
            write(dropin, "[Service]\nUser=nobody\n")
            self.assertEqual([line for line in self.lines(node) if line.subject == "user"], [])
            if not runs:
                node.start()
        node.stop()
        self.well(node)

    def test_one_file_of_another_user_is_given_to_the_units(self):
        node = self.healthy()
        subprocess.run(["chown", "-R", "daemon:", node.state], check=True)
        state = self.found(node, "state_dir", "user nobody cannot use")
        self.assertTrue(state.do.startswith("chown nobody:"), state)
        self.run_it(node, state)
        self.run_it(node, self.found(node, "state_dir", "in .* is not user nobody's to write"))
        self.well(node)


class Writers(doctoring.Case):
    def cured(self, node, subject, seen):
        line = self.found(node, subject, seen, "WARN")
        self.run_it(node, line)
        self.well(node)
        return line.do

    def test_what_others_may_write(self):
        node = self.healthy()
        audit, state = node.config["audit"]["file"], node.state
        folders = {"audit": os.path.dirname(audit), "PIN of hsm-a": os.path.dirname(node.token.pin_file)}
        for subject, folder in folders.items():
            was = os.stat(folder)
            replaced = "^the folder of .* has mode 0%s, so %s may put another one in its place$"
            os.chmod(folder, 0o777)
            self.assertEqual(self.cured(node, subject, replaced % ("777", "anybody")), "chmod o-w " + folder)
            os.chmod(folder, 0o1777)
            self.well(node)
            os.chmod(folder, 0o770)  # of kekd's own group
            self.well(node)
            os.chown(folder, -1, DAEMON)
            self.assertEqual(self.cured(node, subject, replaced % ("770", "group 1")), "chmod g-w " + folder)
            os.chown(folder, was.st_uid, was.st_gid)
        os.chmod(audit, 0o666)
        self.assertEqual(self.cured(node, "audit", "^%s has mode 0666, so anybody may change it" % audit), "chmod o-w " + audit)
        for name in ("k8s-test.audit", "k8s-test.backup"):
            os.chmod("%s/%s" % (state, name), 0o666)
            self.assertEqual(self.cured(node, "state_dir", "^%s in .* has mode 0666, so others may change it" % name),
                             "chmod -R go-w " + state)
        os.chmod(state, 0o777)
        self.assertEqual(self.cured(node, "state_dir", "has mode 0777, so anybody may put other files in it"), "chmod go-w " + state)

    def test_a_folder_that_kekd_may_write_in_only_as_everybody_stays_kekds_to_write(self):
        node = self.healthy()
        folder = os.path.dirname(node.config["audit"]["file"])
        os.chown(folder, 0, 0)
        os.chmod(folder, 0o777)
        self.assertEqual(self.cured(node, "audit", "so anybody may put another"), "chown nobody %s && chmod go-w %s" % (folder, folder))
        self.assertEqual(os.stat(folder).st_uid, os.stat(node.state).st_uid)


if __name__ == "__main__":
    rigs.main()
