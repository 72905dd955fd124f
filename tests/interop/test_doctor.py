"""kekctl doctor finds what is wrong, names it, and what it says cures it: files, unit, socket, system."""

import json
import os
import shutil
import socket
import subprocess
import time

import doctoring
import fault as faults
import rig as rigs
from doctoring import edit, write

ROOT = (0, 0)


class Files(doctoring.Case):
    def cured(self, node, subject, seen, verdict="FAIL"):
        """It is found, by its own command it is cured, and then all is well."""
        line = self.found(node, subject, seen, verdict)
        self.run_it(node, line)
        self.well(node)
        return line

    def by_a_variable(self, node, line, path, variable, secret):
        """It is written by the line's command, from a variable, which must be set."""
        def run():
            return subprocess.run(["sh", "-c", line.do + "\ntrue"], stderr=subprocess.PIPE, check=False, env=env).stderr.decode()
        env = {name: value for name, value in os.environ.items() if name != variable}
        before = os.stat(path) if os.path.exists(path) else None
        self.assertIn("%s: parameter" % variable, run())
        env[variable] = ""
        self.assertIn("%s: parameter" % variable, run())
        after = os.stat(path) if os.path.exists(path) else None
        self.assertEqual(before, after, "something was written")
        env[variable] = secret
        self.assertEqual(run(), "")
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o400)
        self.well(node)

    def test_a_healthy_node_is_well_within_the_time_that_was_promised(self):
        node = self.healthy(pair=True)
        took = []
        for _ in range(5):
            begun = time.monotonic()
            self.well(node)
            took.append(time.monotonic() - begun)
            if took[-1] < 5:
                break
        if not rigs.sanitized():
            self.assertLess(min(took), 5)
        seen = {line.subject for line in self.doctor(node) if line.verdict == "OK"}
        self.assertLess({"user", "configuration", "unit", "state_dir", "audit", "PIN of hsm-a", "PIN of hsm-b", "socket",
                         "peer", "locked memory", "descriptors", "token of hsm-a", "token of hsm-b", "sessions of hsm-a",
                         "keys of hsm-a", "keyring", "versions in use", "API server", "encryption", "backup"}, seen)

    def test_the_table_says_the_same(self):
        node = self.healthy()
        os.chmod(node.token.pin_file, 0o644)
        done = node.kekctl("doctor", "--unit", node.unit)
        self.assertEqual((done.returncode, done.stderr), (1, b""))
        self.assertRegex(done.stdout.decode(), r"(?m)^VERDICT +SUBJECT +SEEN +DO")
        self.assertRegex(done.stdout.decode(), r"(?m)^FAIL +PIN of hsm-a .*chown nobody .*chmod 0600 ")

    def test_what_root_can_read_and_kekd_cannot(self):
        node = self.healthy()
        os.chown(node.path, *ROOT)
        os.chmod(node.path, 0o600)
        self.cured(node, "configuration", "user nobody cannot use .*kekd.yaml: Permission denied")
        self.assertEqual(os.stat(node.path).st_mode & 0o777, 0o640)
        os.chown(node.token.pin_file, *ROOT)
        self.cured(node, "PIN of hsm-a", "user nobody cannot use .*/pin")
        folder = node.folder + "/it is root's"
        os.mkdir(folder, 0o700)
        shutil.copy2(node.token.pin_file, folder + "/pin")
        os.chown(folder + "/pin", os.stat(node.token.pin_file).st_uid, 0)
        entry = node.config["providers"][0]
        entry["uri"] = entry["uri"].replace(node.token.pin_file, folder.replace(" ", "%20").replace("'", "%27") + "/pin")
        node.write()
        os.chmod(node.path, 0o644)
        self.cured(node, "PIN of hsm-a", "it is root's: Permission denied")

    def test_a_configuration_that_is_missing_or_behind_a_shut_folder(self):
        node = self.healthy()
        folder = node.folder + "/etc"
        os.mkdir(folder, 0o700)
        was, node.path = node.path, folder + "/kekd.yaml"
        edit(node.unit, "--config " + was, "--config " + node.path)
        shutil.copy2(was, node.path)
        self.cured(node, "configuration", "/etc: Permission denied")
        os.unlink(node.path)
        line = self.found(node, "configuration", "No such file")
        self.run_it(node, line)
        self.assertTrue(os.path.getsize(node.path))
        shutil.copy2(was, node.path)
        self.well(node)

    def test_a_configuration_that_others_may_write(self):
        node = self.healthy()
        os.chown(node.path, 1, 1)
        self.cured(node, "configuration", "is of uid 1")
        os.chmod(node.path, 0o666)
        self.cured(node, "configuration", "mode 0666")

    def test_a_configuration_that_is_wrong_is_said_where_and_the_rest_is_not_looked_at(self):
        node = self.healthy()
        with open(node.path, "a", encoding="utf-8") as file:
            file.write("nonsense: 1\n")
        lines = self.doctor(node)
        self.assertIn("nonsense", [line for line in lines if line.subject == "configuration"][0].seen)
        self.assertIn(("all else", "UNSEEN"), [(line.subject, line.verdict) for line in lines])
        edit(node.path, "nonsense: 1\n", "")
        self.well(node)

    def test_pin_files(self):
        node = self.healthy()
        pin = node.token.pin_file
        os.chmod(pin, 0o644)
        self.cured(node, "PIN of hsm-a", "has mode 0644")
        os.chmod(os.path.dirname(pin), 0o777)
        self.cured(node, "PIN of hsm-a", "^the folder of .*%s has mode 0777, so anybody may" % pin, "WARN")
        if os.stat(node.state).st_uid == 0:
            os.chown(pin, 65534, 0)
            self.cured(node, "PIN of hsm-a", "/pin is of uid 65534, who may use it, too", "WARN")
        os.unlink(pin)
        line = self.found(node, "PIN of hsm-a", "/pin is not there")
        self.by_a_variable(node, line, pin, "PIN", node.token.pin)
        # What printf '%s\n' "$PIN" wrote where PIN was not set, an empty file, and what a slip of an editor leaves.
        for wrong, seen in (("\n", "is empty"), ("", "is empty"), ("%s\n%s\n" % (node.token.pin, node.token.pin), "more than one line")):
            write(pin, wrong)
            line = self.found(node, "PIN of hsm-a", "PIN file %s .*%s" % (pin, seen))
            self.assertNotIn(node.token.pin, line.seen)
            self.by_a_variable(node, line, pin, "PIN", node.token.pin)

    def test_a_pin_that_was_refused_is_not_tried_again(self):
        node = self.healthy(spy=True)
        pin, was = node.token.pin_file, os.stat(node.token.pin_file)
        write(pin, node.token.pin[::-1] + "x")
        with open(pin, "rb") as file:
            size = len(file.read())
        self.assertNotEqual(size, 0)
        self.found(node, "token of hsm-a", "^the PIN .* was refused")
        logins = node.spy.count("C_Login")
        line = self.found(node, "PIN of hsm-a", "refused it at .*nobody tries it again")
        self.assertIn("/dev/stdin %s # by a variable: read -rs PIN; where it is right there: " % pin, line.do)
        self.assertEqual(node.spy.count("C_Login"), logins, "another try")
        # The right one, in a file that looks as it did.
        wrong = os.stat(pin)
        write(pin, node.token.pin.ljust(size, "\n"))
        os.utime(pin, ns=(wrong.st_atime_ns, wrong.st_mtime_ns))
        line = self.found(node, "PIN of hsm-a", "refused it")
        line.do = line.do.split("where it is right there: ")[1]
        self.run_it(node, line)
        write(pin, node.token.pin)
        self.assertEqual(was.st_ino, os.stat(pin).st_ino)
        self.found(node, "token of hsm-a", "tried wrongly before", "WARN")  # as it was before this login
        self.well(node)

    def test_a_wrong_try_is_told_though_another_worker_has_logged_in_since(self):
        node = self.healthy()
        fault = faults.inject(node)
        self.addCleanup(fault.close)
        shutil.chown(fault.path, doctoring.USER)
        write(node.token.pin_file, "wrong-" + node.token.pin)
        self.found(node, "token of hsm-a", "^the PIN .* was refused")
        write(node.token.pin_file, node.token.pin)
        fault.put("C_FindObjectsInit every delay 200 proc=1")  # the second worker asks the token before the first one's list is there
        shutil.chown(fault.path, doctoring.USER)
        self.found(node, "token of hsm-a", "tried wrongly before", "WARN")
        self.well(node)

    def test_a_pin_of_the_officers_that_is_missing_or_everybodys(self):
        node = self.healthy()
        pin, entry = node.folder + "/officers", node.config["providers"][0]
        entry["uri"] += "&admin-pin-source=file:" + pin
        node.write()
        line = self.found(node, "PIN of hsm-a", "^admin-pin-source: %s is not there" % pin, "WARN")
        self.assertEqual(line.do, "put it there, or in %s correct its path" % node.path)
        write(pin, node.token.pin)
        os.chmod(pin, 0o644)
        self.cured(node, "PIN of hsm-a", "^admin-pin-source: %s has mode 0644" % pin, "WARN")

    def test_state_dir(self):
        node = self.healthy()
        os.chown(node.state, *ROOT)
        self.cured(node, "state_dir", "user nobody cannot use .*uid 0")
        subprocess.run(["chown", "-R", "4242:4242", node.state], check=True)  # restored, with the uid of before
        self.run_it(node, self.found(node, "state_dir", "user nobody cannot use .*uid 4242"))
        self.cured(node, "state_dir", "in .* is not user nobody's to write")
        others, file = node.folder + "/others", node.folder + "/others/theirs"
        os.mkdir(others, 0o700)  # a path that is mistyped
        write(file, "")
        for path in (file, others):
            os.chown(path, 4242, 4242)
        node.write(state_dir=others)
        self.run_it(node, self.found(node, "state_dir", "user nobody cannot use .*uid 4242"))
        self.assertEqual(os.stat(file).st_uid, 4242)
        node.write(state_dir=node.state)
        record = node.state + "/root-was-here"
        write(record, "")
        os.chmod(record, 0o600)
        self.cured(node, "state_dir", "root-was-here in .* is not user nobody's", "WARN")  # kekd does not need it
        for name, verdict in (("k8s-test.changing", "WARN"), ("k8s-test.backup", "WARN"), ("k8s-test.json", "FAIL")):
            path = node.state + "/" + name
            kept = os.path.exists(path)
            if not kept:
                write(path, "")
            os.chown(path, *ROOT)
            os.chmod(path, 0o600)
            self.found(node, "state_dir", name + " in .* is not user", verdict)
            os.chown(path, os.stat(node.state).st_uid, 0)
            if not kept:
                os.unlink(path)
        os.chmod(node.state, 0o770)
        self.cured(node, "state_dir", "has mode 0770, so group [0-9]+ may put other files in it", "WARN")
        shut = node.folder + "/shut"
        os.mkdir(shut, 0o700)
        shutil.copytree(node.state, shut + "/state")
        subprocess.run(["chown", "-R", doctoring.USER, shut + "/state"], check=True)
        os.chmod(shut + "/state", 0o700)
        node.write(state_dir=shut + "/state")
        line = self.cured(node, "state_dir", "user nobody cannot use .*/shut: Permission denied")
        self.assertEqual(line.do, "chgrp nogroup %s && chmod g+x %s" % (shut, shut))
        missing = node.folder + "/run/state"
        node.write(state_dir=missing, audit={"file": node.folder + "/audit/new.log"})
        self.found(node, "state_dir", "is not there yet: kekd makes it when it starts", "WARN")
        self.assertIn("tokens", [line.subject for line in self.doctor(node) if line.verdict == "UNSEEN"])
        self.assertFalse(os.path.exists(missing), "doctor changes nothing")
        missing = node.folder + "/of root/state"
        os.mkdir(os.path.dirname(missing), 0o755)
        node.write(state_dir=missing)
        line = self.found(node, "state_dir", "is not there")
        self.run_it(node, line)
        self.assertEqual([line.subject for line in self.lines(node)], ["backup"])  # nobody said so in that folder

    def test_a_state_dir_that_forgets(self):
        if subprocess.run(["stat", "-f", "-c", "%T", "/dev/shm"], stdout=subprocess.PIPE, check=False,
                          text=True).stdout != "tmpfs\n":
            self.skipTest("SKIP: /dev/shm is no tmpfs: a state_dir in memory was not tested")
        node = self.healthy()
        folder = "/dev/shm/" + os.path.basename(node.folder)
        shutil.copytree(node.state, folder)
        self.addCleanup(shutil.rmtree, folder)
        subprocess.run(["chown", "-R", doctoring.USER, folder], check=True)
        node.write(state_dir=folder)
        line = self.found(node, "state_dir", "in memory", "WARN")
        self.assertEqual(line.do, "in %s: state_dir: a folder on a disk" % node.path)
        edit(node.unit, "[Service]\n", "[Service]\nReadOnlyPaths=/dev/shm\n")
        self.assertEqual(self.found(node, "unit", "state_dir: kekd cannot write in " + folder).do, "the line of state_dir first")
        edit(node.unit, "ReadOnlyPaths=/dev/shm\n", "")
        node.write(state_dir=folder + "/not-there")
        missing = self.found(node, "state_dir", "is not there, and would be in memory")
        self.assertEqual(missing.do, line.do)
        node.write(state_dir=node.state)
        record = "/%s.audit" % node.config["keyring"]
        shutil.copyfile(folder + record, node.state + record)  # the chain went on there
        self.well(node)

    def test_the_audit_file(self):
        node = self.healthy()
        audit = node.config["audit"]["file"]
        os.chown(audit, *ROOT)  # which doctor's own logins are in
        os.chmod(audit, 0o600)
        self.run_it(node, self.found(node, "audit", "cannot use .*audit.log"))
        self.found(node, "audit", "not written to .*audit.log, as a line there tells now", "WARN")  # doctor's logins
        self.well(node)
        shutil.rmtree(os.path.dirname(audit))
        self.run_it(node, self.found(node, "audit", "is not there"))
        self.found(node, "audit chain", "is not there, and chain [0-9a-f]+ is on record", "WARN")
        self.well(node)

    def test_a_draft_that_names_another_file_than_the_one_the_chain_is_in(self):
        node = self.healthy().start()
        was, draft = node.config["audit"]["file"], node.folder + "/audit/draft.log"
        node.write(audit={"file": draft})
        line = self.found(node, "audit", "the chain is in %s, by kekd's record" % was)
        self.assertIn("audit.file: %s #" % was, line.do)
        done = node.kekctl("key", "generate", "--provider", "hsm-a")
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn(b"nothing was done, since it could not be put on record: the audit log is " + was.encode(), done.stderr)
        self.assertFalse(os.path.exists(draft))
        node.write(audit={"file": was})
        self.assertEqual(node.kekctl("audit", "verify", was).returncode, 0)
        node.stop()
        node.write(audit={"file": draft})
        node.start()  # on purpose
        node.kekctl("key", "list", check=True)
        done = node.kekctl("audit", "verify", was, draft)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_audit_lines_that_go_to_a_socket(self):
        node = self.healthy()
        node.config["audit"]["syslog"] = path = node.folder + "/log"
        node.write()
        line = self.found(node, "audit", "cannot send to %s: No such file.*the copies that go there are lost" % path, "WARN")
        self.assertIn("audit.syslog: ", line.do)
        del node.config["audit"]["file"]
        node.write()
        self.found(node, "audit", "cannot send to %s: No such file.*kekctl changes no key" % path, "WARN")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
            log.bind(path)
            self.found(node, "audit", "cannot send to %s: Permission denied" % path, "WARN")
            os.chmod(path, 0o666)
            self.found(node, "audit", "not written to %s, as a line there tells now" % path, "WARN")
            self.well(node)
            said = [line.seen for line in self.doctor(node) if line.subject == "audit"]
            self.assertEqual(len(said), 1)
            self.assertIn("lines go to %s, where somebody listens, and into no file" % path, said[0])

    def test_the_socket(self):
        node = self.healthy()
        folder = os.path.dirname(node.socket)
        os.chmod(folder, 0o777)
        self.cured(node, "socket", "writable by everybody")
        write(node.socket, "")
        self.cured(node, "socket", "exists and is not a socket")
        os.unlink(node.socket + ".was-here")
        os.chown(folder, 1, 1)
        self.cured(node, "socket", "belongs to uid 1")
        os.rmdir(folder)
        self.cured(node, "socket", "must be made first")
        os.chown(folder, *ROOT)
        line = self.found(node, "socket", "user nobody cannot use .*/run: ")
        self.run_it(node, line)
        self.well(node)

    def test_the_socket_that_systemd_makes(self):
        node = self.healthy()
        edit(node.unit, "[Unit]\n", "[Unit]\nRequires=kekd.socket\n")
        write(node.folder + "/kekd.socket", "[Socket]\nListenStream=%s/other.sock\n" % node.folder)
        line = self.found(node, "socket", "has ListenStream=.*/other.sock, and .* listens at")
        listen = line.do.split("listen: ")[1]
        edit(node.encryption, "unix://" + node.socket, listen)
        node.write(listen=listen)
        self.well(node)
        os.rmdir(os.path.dirname(node.socket))
        write(node.folder + "/kekd.socket", "[Socket]\nListenStream=%s\n" % node.socket)
        edit(node.encryption, listen, "unix://" + node.socket)
        node.write(listen="unix://" + node.socket)
        self.well(node)  # systemd makes the folder, too
        write(node.folder + "/kekd.socket", "[Socket]\nListenStream=%s\nSocketMode=0600\n" % node.socket)
        self.well(node)
        edit(node.manifest, "spec:\n", "spec:\n  securityContext: {runAsUser: 1}\n")
        node.write(allow_uids=[0, 1, os.stat(node.state).st_uid])
        line = self.found(node, "peer", "uid 1, the API server's, may not connect to " + node.socket)
        self.assertTrue(line.do.startswith("in [Socket] of kekd.socket: SocketUser=1 # then systemctl daemon-reload "), line.do)
        edit(node.folder + "/kekd.socket", "[Socket]\n", "[Socket]\nSocketUser=1\n")
        self.well(node)
        edit(node.folder + "/kekd.socket", "SocketUser=1\nListenStream=%s\nSocketMode=0600" % node.socket,
             "ListenStream=%s\nSocketGroup=daemon\nSocketMode=0660" % node.socket)
        self.well(node)

    def test_who_may_call(self):
        node = self.healthy()
        edit(node.manifest, "spec:\n", "spec:\n  securityContext: {runAsUser: 1234}\n")
        line = self.found(node, "peer", "is uid 1234, which allow_uids does not name")
        self.assertRegex(line.do, r"^in %s: allow_uids: \[1234, " % node.path)
        node.write(allow_uids=json.loads(line.do.split("allow_uids: ")[1]))
        self.well(node)

    def test_who_may_call_where_no_api_server_is_found(self):
        node = self.healthy()
        node.write(allow_uids=[os.stat(node.state).st_uid])
        lines = json.loads(node.kekctl("doctor", "--output", "json").stdout)["lines"]
        said, = [line["seen"] for line in lines if line["subject"] == "peer"]
        # One may run on this machine, for other tests.
        self.assertRegex(said, r"^the API server( \([^()]+\))? is uid \d+( unless it is told otherwise)?, which allow_uids does not")

    def test_a_socket_that_is_its_groups(self):
        node = self.healthy().start()
        edit(node.manifest, "spec:\n", "spec:\n  securityContext: {runAsUser: 1}\n")  # daemon
        node.write(allow_uids=[0, 1, os.stat(node.state).st_uid])
        os.chmod(node.socket, 0o660)
        self.found(node, "peer", "uid 1, the API server's, may not connect to")
        os.chown(node.socket, -1, 1)
        self.assertEqual([line for line in self.lines(node) if line.subject == "peer"], [])
        os.chmod(node.socket, 0o600)
        self.found(node, "peer", "uid 1, the API server's, may not connect to")
        node.stop()

    def test_nobody_is_told_to_give_a_folder_away_that_is_everybodys(self):
        node = self.healthy()
        node.write(audit={"file": "/var/log/kekd-test-audit.jsonl"})
        line = self.found(node, "audit", "user nobody cannot use .*: /var/log: Permission denied")
        self.assertIn("into a folder of its own", line.do)
        self.assertNotRegex(line.do, "chown|chgrp|chmod")
        self.assertFalse(os.path.exists("/var/log/kekd-test-audit.jsonl"))
        node.write(state_dir="/var/lib")
        self.assertEqual(self.found(node, "state_dir", "/var/lib is everybody's").do, "in %s: state_dir: /var/lib/kekd" % node.path)
        node.write(listen="unix://" + node.state)
        self.assertEqual(self.found(node, "socket", "exists and is not a socket").do,
                         "in %s: listen: unix://%s/kms.sock" % (node.path, node.state))

    def test_nobody_is_told_to_take_from_a_group_what_it_has(self):
        node = self.healthy()
        shut = node.folder + "/shut"
        os.mkdir(shut, 0o710)
        os.chown(shut, 0, 1)
        shutil.copy2(node.path, shut + "/k.yaml")
        whole, node.path = node.path, shut + "/k.yaml"
        edit(node.unit, "--config " + whole, "--config " + node.path)
        line = self.found(node, "configuration", "/shut: Permission denied")
        self.assertTrue(line.do.startswith("put a copy of %s into a folder of its own" % node.path), line.do)
        self.assertTrue(line.do.endswith(": %s is for group 1" % shut), line.do)

    def test_a_record_of_a_root_with_a_keyring_of_its_own(self):
        node = self.healthy()
        node.write(keyring="of-all", roots=[{"name": "site", "keyring": "k8s-test", "providers": ["hsm-a"]},
                                            {"name": "spare", "keyring": "k8s-other", "providers": ["hsm-b"]}],
                   mode="any", providers=node.config["providers"] + [dict(node.config["providers"][0], name="hsm-b")])
        path = node.state + "/k8s-other@spare.json"
        write(path, "")
        os.chmod(path, 0o600)
        line = self.found(node, "state_dir", "k8s-other@spare.json in .* is not user nobody's to write")
        self.run_it(node, line)
        self.assertEqual([line for line in self.lines(node) if line.subject == "state_dir"], [])

    def test_the_unit(self):
        node = self.healthy()
        edit(node.unit, "ProtectSystem=strict\n", "ProtectSystem=no\n")
        edit(node.unit, "NoNewPrivileges=yes\n", "")
        line = self.found(node, "unit", "2 more rights", "WARN")
        self.set_in(line, node.unit, "Service")
        self.well(node)
        edit(node.unit, "ReadWritePaths=" + node.folder, "")
        lines = [line for line in self.lines(node) if "kekd cannot write in" in line.seen]
        self.assertEqual([line.seen.split(":")[0] for line in lines], ["state_dir", "audit.file", "listen"])
        for line in lines:
            setting = line.do.split(node.unit + ": ")[1]
            edit(node.unit, "[Service]\n", "[Service]\n%s\n" % setting)
        self.well(node)
        for hides, key in (("InaccessiblePaths=" + os.path.dirname(node.token.pin_file), "pin-source"),
                           ("TemporaryFileSystem=" + node.state, "state_dir"), ("PrivateTmp=yes", "audit.file")):
            edit(node.unit, "[Service]\n", "[Service]\n%s\n" % hides)
            lines = [line for line in self.lines(node) if "is hidden from kekd by" in line.seen]
            self.assertIn(key, [line.seen.split(":")[0] for line in lines])
            edit(node.unit, hides + "\n", "")
        edit(node.unit, "--config " + node.path, "--config /etc/kekd/other.yaml")
        line = self.found(node, "unit", "another configuration", "WARN")
        self.assertIn("--config " + node.path, line.do)
        edit(node.unit, "--config /etc/kekd/other.yaml", "--config " + node.path)
        self.well(node)

    def test_the_same_configuration_by_another_name(self):
        node = self.healthy()
        beside = node.folder + "/beside"
        os.mkdir(beside, 0o755)
        os.symlink(node.path, beside + "/k.yaml")
        whole, node.path = node.path, os.path.relpath(beside + "/k.yaml")
        self.well(node)
        edit(node.unit, "--config " + whole, "--config /etc/kekd/other.yaml")
        line = self.found(node, "unit", "another configuration", "WARN")
        self.assertTrue(line.do.endswith("--config " + whole), line.do)

    def test_a_unit_that_was_named_and_is_not_there(self):
        node = self.healthy()
        node.unit += ".nope"
        line = self.found(node, "unit", "kekd.service.nope")
        self.assertTrue(line.do.startswith("--unit"), line.do)

    def test_what_the_unit_starts_and_how(self):
        node = self.healthy()
        edit(node.unit, "ExecStart=", "ExecStart=-/nope")
        self.found(node, "unit", "starts what is not there: /nope")
        edit(node.unit, "[Service]\n", "[Service]\nRootDirectory=/srv/root\n")
        self.assertEqual([line for line in self.lines(node) if "not there: /nope" in line.seen], [])
        edit(node.unit, "RootDirectory=/srv/root\n", "")
        edit(node.unit, "ExecStart=-/nope", "ExecStart=")
        for was, now in (("Type=notify", "Type=oneshot"), ("Restart=always", "Restart=no")):
            edit(node.unit, was + "\n", now + "\n")
            line = self.found(node, "unit", "has " + now, "WARN")
            self.set_in(line, node.unit, "Service")
        self.well(node)

    def test_a_unit_that_starts_nothing(self):
        node = self.healthy()
        os.rename(node.unit, node.unit + ".was")
        os.symlink("/dev/null", node.unit)
        line = self.found(node, "unit", "is masked")
        self.assertEqual(line.do, "systemctl unmask kekd.service")
        os.rename(node.unit + ".was", node.unit)
        with open(node.unit, encoding="utf-8") as file:
            start = [text for text in file if text.startswith("ExecStart=")][0]
        edit(node.unit, start, "")
        line = self.found(node, "unit", "has no ExecStart=: it starts nothing")
        self.assertTrue(line.do.endswith(" --config " + node.path), line.do)
        edit(node.unit, "[Service]\n", "[Service]\n" + start)
        self.well(node)

    def test_workers_of_an_account_that_is_not_there_or_that_kekd_may_not_become(self):
        node = self.healthy()
        entry = node.config["providers"][0]
        entry.update(user="kekd-nowhere", groups=["kekd-none"])
        node.write()
        line = self.found(node, "worker of hsm-a", "there is no user kekd-nowhere")
        self.assertTrue(line.do.startswith("useradd --system --shell /usr/sbin/nologin kekd-nowhere # "), line.do)
        line = self.found(node, "worker of hsm-a", "there is no group kekd-none")
        self.assertTrue(line.do.startswith("groupadd --system kekd-none # "), line.do)
        entry.update(user="daemon", groups=["daemon"])
        node.write()
        line = self.found(node, "worker of hsm-a", "the unit lets kekd become none")
        self.set_in(line, node.unit, "Service")
        self.assertEqual([line for line in self.lines(node) if line.subject == "worker of hsm-a"], [])

    def test_who_is_not_root_is_told_what_that_means(self):
        node = self.healthy()
        edit(node.unit, "User=nobody", "User=root")
        done = node.kekctl("doctor", "--output", "json", "--unit", node.unit, user=doctoring.USER)
        line = [line for line in json.loads(done.stdout)["lines"] if line["subject"] == "user"][0]
        self.assertEqual(line["verdict"], "WARN")
        self.assertRegex(line["seen"], r"^kekd runs as root \(.*\), and this is judged as uid [0-9]+: as root, doctor")

    def test_who_may_not_see_kekd_judges_nothing_of_it(self):
        node = self.healthy()
        subprocess.run(["chown", "-R", "root:", node.state, node.folder + "/audit", node.folder + "/run"], check=True)
        node.user = None
        node.start()
        for unit in ([], ["--unit", node.unit]):
            if unit:
                edit(node.unit, "User=nobody", "User=root")
            done = node.kekctl("doctor", "--output", "json", "--encryption-config", node.encryption, "--api-server",
                               node.manifest, *unit, user=doctoring.USER)
            self.assertEqual(done.returncode, 3, done.stdout)
            lines = {line["subject"]: line for line in json.loads(done.stdout)["lines"]}
            self.assertEqual(lines["user"]["verdict"], "WARN")
            for subject in ("state_dir", "socket", "metrics", "audit", "tokens", "encryption", "API server"):
                self.assertEqual(lines[subject]["verdict"], "UNSEEN", lines[subject])
            self.assertNotIn("no kekd runs", done.stdout.decode())
            self.assertEqual([line for line in lines.values() if line["verdict"] == "FAIL"], [])
            self.assertNotRegex(" ".join(line["do"] for line in lines.values()), r"ch(own|mod|grp)|end that|\brm ")

    def user_line(self, node):
        line, = [line for line in self.doctor(node) if line.subject == "user"]
        return line

    def test_without_a_unit_it_is_who_runs_then_who_has_state_dir(self):
        node = self.healthy().start()
        node.unit = node.folder + "/none.service"
        os.chown(node.socket, *ROOT)  # which says nothing beside a kekd that runs
        line = self.user_line(node)
        self.assertEqual(line.verdict, "OK")
        self.assertEqual(line.seen, "judged as nobody (process %d, which runs on this state_dir; no unit says User=)" % node.kekd.pid)
        os.unlink(node.state + "/k8s-test.lock")  # as by a restore of state_dir: it runs all the same
        lines = {line.subject: line for line in self.doctor(node)}
        self.assertEqual(lines["user"].seen, "judged as nobody (the owner of state_dir %s; no unit says User=, and the process "
                         "of the kekd that runs here is not known)" % node.state)
        self.assertEqual((lines["user"].verdict, lines["socket"].verdict, lines["nodes"].verdict), ("OK", "OK", "OK"))
        node.stop()
        line = self.user_line(node)
        self.assertEqual(line.verdict, "OK")
        self.assertEqual(line.seen, "judged as nobody (the owner of state_dir %s; no unit says User=, and no kekd runs here)" % node.state)
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(node.socket)  # root's
        line = self.user_line(node)
        self.assertEqual(line.verdict, "WARN")
        self.assertIn("judged as nobody (the owner of state_dir %s; " % node.state, line.seen)
        self.assertTrue(line.seen.endswith(", socket %s is root's" % node.socket), line.seen)
        self.run_it(node, line)
        self.assertEqual(self.user_line(node).verdict, "OK")
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(node.socket)
        os.chown(node.socket, os.stat(node.state).st_uid, -1)
        subprocess.run(["chown", "-R", "root:", node.state], check=True)
        line = self.user_line(node)
        self.assertIn("judged as nobody (the owner of PIN file %s; " % node.token.pin_file, line.seen)
        self.assertIn("state_dir %s is root's, " % node.state, line.seen)
        self.run_it(node, line)
        line = self.user_line(node)
        self.assertEqual((line.verdict, line.seen.split(" (")[0]), ("OK", "judged as nobody"))

    def test_a_unit_of_another_user_than_who_runs_or_has_state_dir(self):
        node = self.healthy().start()
        edit(node.unit, "User=nobody", "User=root")
        files = "judged as root .*, but state_dir %s is nobody's, PIN file " % node.state
        runs = "process %d, which runs on this state_dir, is %s's"
        setting = "in [Service] of %s: User=nobody # " % node.unit
        line = self.found(node, "user", files + ".*, " + runs % (node.kekd.pid, "nobody"), "WARN")
        self.assertTrue(line.do.startswith(setting), line.do)
        node.stop()
        self.assertTrue(self.found(node, "user", files, "WARN").do.startswith(setting))
        edit(node.unit, "User=root", "User=nobody")
        node.user = None
        os.chown(os.path.dirname(node.socket), 0, 0)
        node.start()
        line = self.found(node, "user", "judged as nobody .*, but " + runs % (node.kekd.pid, "root") + "$", "WARN")
        self.assertTrue(line.do.startswith("systemctl restart kekd.service # "), line.do)
        node.stop()

    def test_a_user_who_does_not_exist(self):
        node = self.healthy()
        for key, was, more in (("User", "nobody", "nobody"), ("Group", "nogroup", "")):
            edit(node.unit, "%s=%s" % (key, was), key + "=kekd-nowhere")
            line = self.found(node, "user", "no user or group kekd-nowhere, which %s= of %s names" % (key, node.unit))
            self.assertTrue(line.do.startswith("in [Service] of %s: %s=%s # the right one" % (node.unit, key, more)), line.do)
            for other in self.doctor(node):  # nothing is given to who asks instead
                self.assertNotRegex(other.do, "chown|chgrp|install -", other)
            edit(node.unit, key + "=kekd-nowhere", "%s=%s" % (key, was))

    def test_a_drop_in_counts(self):
        node = self.healthy()
        os.mkdir(node.unit + ".d")
        write(node.unit + ".d/10.conf", "[Service]\nLimitMEMLOCK=64K\nLimitNOFILE=100\n")
        for subject, setting in (("locked memory", "LimitMEMLOCK=infinity"), ("descriptors", "LimitNOFILE=4096")):
            line = self.found(node, subject, "and kekd needs", "WARN")
            self.assertTrue(line.do.endswith(": " + setting))
            with open(node.unit + ".d/20.conf", "a", encoding="utf-8") as file:
                file.write("[Service]\n%s\n" % setting)
        self.well(node)

    def test_a_credential_that_the_unit_does_not_give(self):
        node = self.healthy()
        entry = node.config["providers"][0]
        entry["uri"] = entry["uri"].replace("file:" + node.token.pin_file, "credential:a.pin")
        node.write()
        line = self.found(node, "PIN of hsm-a", "does not give the credential a.pin")
        setting, source = line.do.split(node.unit + ": ")[1], node.folder + "/a.pin"
        self.assertEqual(setting, "LoadCredential=a.pin:/etc/kekd/a.pin")
        edit(node.unit, "[Service]\n", "[Service]\n%s\n" % setting.replace("/etc/kekd/a.pin", source))
        line = self.found(node, "PIN of hsm-a", "takes a.pin from %s, which is not there" % source)
        self.by_a_variable(node, line, source, "PIN", node.token.pin)
        os.truncate(source, 0)
        line = self.found(node, "PIN of hsm-a", "takes a.pin from %s, which is empty" % source)
        self.by_a_variable(node, line, source, "PIN", node.token.pin)
        os.chmod(source, 0o644)
        self.cured(node, "PIN of hsm-a", "has mode 0644", "WARN")
        unseen = [line.subject for line in self.doctor(node) if line.verdict == "UNSEEN"]
        self.assertIn("tokens", unseen)
        # As systemd gives it to a kekd that runs.
        given = node.folder + "/credentials"
        os.mkdir(given, 0o755)
        write(given + "/a.pin", "\n")
        os.chown(given + "/a.pin", os.stat(node.state).st_uid, 0)
        os.chmod(given + "/a.pin", 0o440)
        edit(node.unit, "[Service]\n", "[Service]\nEnvironment=CREDENTIALS_DIRECTORY=%s\n" % given)
        self.found(node, "PIN of hsm-a", "credential %s/a.pin is empty" % given)
        write(given + "/a.pin", node.token.pin)
        self.well(node)

    def test_a_clock_that_was_set_back(self):
        node = self.healthy().start()
        node.stop()
        node.announced_before(-100000)
        line = self.found(node, "clock", "this node announced its key at")
        self.assertEqual(line.do, "timedatectl set-ntp true")
        node.announced_before(100)
        self.well(node)

    def test_a_backup_that_nobody_spoke_of(self):
        node = self.healthy(backup=False)
        self.cured(node, "backup", "nobody has said", "WARN")
        with open(node.state + "/k8s-test.backup", encoding="utf-8") as file:
            word = json.load(file)
        for change, seen in (({"said_ms": 1000}, "the last one was spoken of"),
                             ({"said_ms": word["said_ms"] + 30 * 86400 * 1000}, "spoken of (29|30) days from now"), ({"version": 0}, "is not what kekctl")):
            write(node.state + "/k8s-test.backup", json.dumps(dict(word, **change)))
            self.cured(node, "backup", seen, "WARN")


if __name__ == "__main__":
    rigs.main()
