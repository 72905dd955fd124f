"""What kekctl doctor says to do cures what is wrong, and makes nothing worse where only one thing is wrong."""

import glob
import json
import os
import re
import shutil
import signal
import subprocess
import sys

import doctoring
import rig as rigs
from doctoring import edit, write


class Cures(doctoring.Case):
    def announced(self, **options):
        """A node whose kekd has announced version 1, and sealed something; it does not run."""
        node = self.healthy(**options).start()
        with node.client() as client:
            node.sealed = client.encrypt(bytes(32))
        node.stop()
        return node

    def opens(self, node):
        node.start()
        with node.client() as client:
            self.assertEqual(client.open(node.sealed), bytes(32))
        node.stop()

    def never_new(self, node):
        for line in self.doctor(node):
            self.assertNotIn("--init-token", line.do)
            self.assertNotIn("key generate", line.do)

    # ---- tokens ----

    def test_a_token_that_was_restored_as_root_is_given_to_kekd(self):
        node = self.announced()
        folder, = glob.glob(node.token.folder + "/tokens/*")
        subprocess.run(["chown", "-R", "root:root", folder], check=True)
        self.never_new(node)
        line = self.found(node, "token of hsm-a", "the module shows none")
        self.assertTrue(line.do.startswith("chown -R nobody %s && chmod -R u+rwX %s # if it is" % (folder, folder)), line.do)
        self.run_it(node, line)
        self.well(node)
        self.opens(node)

    def test_a_folder_of_tokens_that_was_restored_as_root_is_opened_step_by_step(self):
        node = self.announced()
        tokens = node.token.folder + "/tokens"
        subprocess.run(["chown", "-R", "root:root", tokens], check=True)
        os.chmod(tokens, 0o700)
        line = self.found(node, "token of hsm-a", "C_Initialize")
        self.assertEqual(line.do, "chown nobody %s && chmod u+rwx %s" % (tokens, tokens))
        self.run_it(node, line)
        self.run_it(node, self.found(node, "token of hsm-a", "the module shows none"))
        self.well(node)
        self.opens(node)

    def test_a_folder_of_tokens_that_softhsms_configuration_does_not_name_is_named_there(self):
        node = self.announced()
        conf, tokens = node.token.conf, node.token.folder + "/tokens"
        with open(conf, encoding="utf-8") as file:
            right = file.read()
        entry, = [line for line in right.splitlines() if line.startswith("directories.tokendir")]
        number = right.splitlines().index(entry) + 1
        wrong = ["directories.tokendir = %s/tokns" % node.token.folder, "directories.tokendir = %s/hms/tokens/" % node.folder,
                 "directories.tokendir = tokens", "directories.tokendr = " + tokens, "directories.tokendir " + tokens, ""]
        for text in wrong:
            write(conf, right.replace(entry, text))
            line = self.found(node, "token of hsm-a", "C_Initialize")
            where, has = ("line %d" % number, "it has: " + text.rstrip("/")) if text else ("a line more", "it has no such line")
            self.assertEqual(line.do.replace("it has: " + text, has), "in %s, %s: directories.tokendir = %s # %s" % (conf, where, tokens, has))
            setting = line.do.split(where + ": ")[1].split(" # ")[0]
            write(conf, right.replace(entry, setting) if text else right.replace(entry, "") + setting + "\n")
            self.well(node)
        self.opens(node)

    def test_a_folder_of_tokens_that_is_nowhere(self):
        node = self.announced()
        conf, tokens = node.token.conf, node.token.folder + "/tokens"
        os.rename(tokens, node.state + "/not-looked-for")
        line = self.found(node, "token of hsm-a", "C_Initialize")
        self.assertRegex(line.do, r"^in %s, line \d+: directories.tokendir = the folder .* # it has: directories.tokendir = %s; where it is lost: "
                         % (conf, tokens))
        for record in (*glob.glob(node.state + "/k8s-test*"), node.config["audit"]["file"]):
            os.unlink(record)
        line = self.found(node, "token of hsm-a", "C_Initialize")
        self.assertTrue(line.do.startswith("install -d -m 0700 -o nobody -g nogroup %s # or, where that path is mistyped, correct %s, line "
                                           % (tokens, conf)), line.do)
        self.run_it(node, line)
        self.assertIn("softhsm2-util --init-token", self.found(node, "token of hsm-a", "the module shows none").do)

    def test_of_two_tokens_that_are_shut_none_is_given_away_by_a_guess(self):
        node = self.announced()
        folder, = glob.glob(node.token.folder + "/tokens/*")
        shutil.copytree(folder, os.path.dirname(folder) + "/another")
        subprocess.run(["chown", "-R", "root:root", folder, os.path.dirname(folder) + "/another"], check=True)
        line = self.found(node, "token of hsm-a", "the module shows none")
        self.assertTrue(line.do.startswith("chown -R nobody FOLDER # the one below %s" % os.path.dirname(folder)), line.do)
        self.assertIn("(as root, env SOFTHSM2_CONF=%s softhsm2-util --show-slots says" % node.token.conf, line.do)
        self.never_new(node)

    def test_a_token_that_root_made_is_given_to_kekd_before_there_is_a_version(self):
        node = self.healthy(generate=False, backup=False)
        folder, = glob.glob(node.token.folder + "/tokens/*")
        subprocess.run(["chown", "-R", "root:root", folder], check=True)
        self.run_it(node, self.found(node, "token of hsm-a", "the module shows none"))
        self.found(node, "keyring", "has no version yet")
        # Somebody else's is not taken.
        subprocess.run(["chown", "-R", "daemon", folder], check=True)
        self.assertIn("softhsm2-util --init-token", self.found(node, "token of hsm-a", "the module shows none").do)

    def test_a_token_that_is_gone_is_restored_and_not_made_anew(self):
        for node in (self.announced(backup=False), self.healthy()):  # by what it announced; by the word about a backup
            node.token.unplug()
            line = self.found(node, "token of hsm-a", "the module shows none")
            self.assertTrue(line.do.startswith("restore the token kek-test from its backup (docs/operations.md, Backup)"), line.do)
            self.never_new(node)
            node.token.plug()

    def test_two_tokens_of_one_name_are_told_apart_by_their_serial(self):
        node = self.announced(backup=True)
        subprocess.run(["runuser", "-u", doctoring.USER, "--", "softhsm2-util", "--init-token", "--free", "--label", "kek-test",
                        "--so-pin", "12345678", "--pin", "12345678"], check=True, stdout=subprocess.DEVNULL,
                       env=dict(os.environ, SOFTHSM2_CONF=node.token.conf))
        line = self.found(node, "token of hsm-a", "2 tokens match the URI")
        own = re.search(r"serial=(\w+) in uri:, beside token= # of them, this node has logged in to that one alone$", line.do)
        self.assertTrue(line.do.startswith("in %s, provider hsm-a: serial=" % node.path), line.do)
        self.assertIn("serial " + own[1], line.seen)
        entry = node.config["providers"][0]
        whole = entry["uri"]
        entry["uri"] = whole.replace("token=kek-test", "token=kek-test;serial=" + own[1])
        node.write()
        self.well(node)
        self.opens(node)
        # Who has logged in to both, or to none, is told of the choice.
        other, = set(re.findall(r"serial (\w+)", line.seen)) - {own[1]}
        locks = glob.glob(node.state + "/login-*.lock")
        entry["uri"] = whole.replace("token=kek-test", "token=kek-test;serial=" + other)
        node.write()
        self.doctor(node)
        self.assertEqual(len(glob.glob(node.state + "/login-*.lock")), len(locks) + 1)
        entry["uri"] = whole
        node.write()
        said = "in %s, provider hsm-a: serial= in uri:, beside token=, of the one that has the keys" % node.path
        self.assertEqual(self.found(node, "token of hsm-a", "2 tokens match the URI").do, said)
        for path in glob.glob(node.state + "/login-*.lock"):
            os.unlink(path)
        self.assertEqual(self.found(node, "token of hsm-a", "2 tokens match the URI").do, said)

    # ---- logins ----

    def test_a_turn_to_log_in_that_another_process_keeps(self):
        node = self.announced()
        node.config["providers"][0].update(timeout="900ms", start_timeout="1s")
        node.write()
        lock, = glob.glob(node.state + "/login-*.lock")
        code = ("import fcntl, os, signal, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); "
                "len(sys.argv) < 3 or os.kill(os.getpid(), signal.SIGSTOP); len(sys.argv) < 3 and sys.stdin.read(); f.close(); print(flush=True)")
        for stopped in (True, False):
            with subprocess.Popen([sys.executable, "-c", code, lock] + ["stop"] * stopped, stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE) as holder:
                try:
                    holder.stdout.readline()
                    if stopped:
                        os.waitpid(holder.pid, os.WUNTRACED)
                    line = self.found(node, "token of hsm-a", "waiting for another process to log in")
                    self.assertRegex(line.seen, r"; process %d \(.*python.* -c import fcntl, .*\) has that turn%s$"
                                     % (holder.pid, ", and was stopped" if stopped else ""))
                    self.assertTrue(line.do.startswith(("kill -CONT %d # " if stopped else "kill %d # ") % holder.pid), line.do)
                    self.run_it(node, line)
                    holder.stdout.readline()  # it let go of it, or it is gone
                finally:
                    holder.kill()
            self.well(node)
        self.opens(node)

    def test_a_pin_file_that_the_user_of_the_workers_cannot_read(self):
        node = self.healthy()
        edit(node.unit, "User=nobody", "User=root")
        edit(node.unit, "Group=nogroup", "Group=root")
        subprocess.run(["chown", "-R", "root:root", node.state, node.folder + "/audit", node.folder + "/run"], check=True)
        node.config["providers"][0]["user"] = "nobody"
        node.write()
        pin = node.token.pin_file
        self.well(node)
        self.assertEqual([line.subject for line in self.doctor(node) if line.subject in ("files of hsm-a", "tokens")], [])
        os.chown(pin, 0, 0)
        line = self.found(node, "PIN of hsm-a", "user nobody cannot use %s: %s: Permission denied" % (pin, pin))
        self.assertEqual(line.do, "chown nobody %s && chmod 0600 %s" % (pin, pin))
        self.assertEqual([line.do for line in self.lines(node) if line.subject == "token of hsm-a"], ["the line of PIN of hsm-a first"])
        self.run_it(node, line)
        self.well(node)
        secret = node.folder + "/of root"
        os.mkdir(secret, 0o700)
        shutil.copy2(pin, secret)
        shutil.chown(secret + "/pin", "nobody")
        entry = node.config["providers"][0]
        entry["uri"] = entry["uri"].replace(pin, secret.replace(" ", "%20") + "/pin")
        node.write()
        line = self.found(node, "PIN of hsm-a", "user nobody cannot use .*/pin: .*/of root: Permission denied")
        self.assertEqual(line.do, "chgrp nogroup '%s' && chmod g+x '%s'" % (secret, secret))
        self.run_it(node, line)
        self.well(node)
        os.unlink(secret + "/pin")
        line = self.found(node, "PIN of hsm-a", "/pin is not there")
        self.assertIn("install -m 0400 -o nobody -g nogroup /dev/stdin '%s/pin'" % secret, line.do)

    # ---- keys ----

    def test_a_strategy_that_the_keys_are_not_for_is_the_only_line(self):
        node = self.announced()
        node.config["providers"][0]["strategy"] = "encrypt"
        node.write()
        line, = self.lines(node)
        self.assertEqual((line.subject, line.verdict), ("keys of hsm-a", "FAIL"))
        self.assertIn("it is there for strategy wrap-key (CKA_WRAP is true), and the configuration says strategy: encrypt", line.seen)
        self.assertEqual(line.do, "in %s, provider hsm-a: strategy: auto" % node.path)
        unseen, = [line for line in self.doctor(node) if line.subject == "keyring"]
        self.assertEqual((unseen.verdict, unseen.do), ("UNSEEN", "the line of keys of hsm-a first"))
        node.config["providers"][0]["strategy"] = line.do.split("strategy: ")[1]
        node.write()
        self.well(node)
        self.opens(node)

    def test_what_is_there_and_refused_is_not_called_gone(self):
        node = self.announced(config={"settle": "0s", "refresh": "1s"})
        kekctl = ["runuser", "-u", doctoring.USER, "--", rigs.program("kekctl"), "--config", node.path, "key"]
        subprocess.run(kekctl + ["generate"], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(kekctl + ["promote", "2", "--i-have-a-backup"], check=True, stdout=subprocess.DEVNULL)
        node.start()
        rigs.wait_for(lambda: node.metrics().get("kekd_kek_primary_version") == 2, "version 2")
        node.stop()
        node.config["providers"][0]["strategy"] = "encrypt"
        node.write()
        done = subprocess.run(kekctl + ["list"], check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.assertRegex(done.stdout, r"version 1 \(kek id \w+\) is there, and no provider uses it: it is there for strategy")
        self.assertNotIn("is on no provider", done.stdout)

    def test_a_context_that_is_mistyped(self):
        node = self.announced(config={"context": "prod-eu1"})
        node.write(context="prod-eu2")
        line = self.found(node, "keyring", "of context 'prod-eu1', and the configuration says 'prod-eu2': one of them is mistyped")
        self.assertTrue(line.do.startswith("in %s: context: prod-eu1 # to rename it on purpose: context_accept: [prod-eu1]"
                                           % node.path), line.do)
        self.assertEqual([line for line in self.doctor(node) if line.subject == "versions in use"], [])
        node.write(context=re.search(r"context: (\S+)", line.do)[1])
        self.well(node)
        self.opens(node)

    def test_a_context_so_long_that_the_message_is_cut(self):
        one, deep = "a" * 250, "deep" * 60
        node = self.announced(config={"context": one})
        os.makedirs("%s/%s" % (node.folder, deep))
        os.rename(node.state, "%s/%s/state" % (node.folder, deep))
        node.state = "%s/%s/state" % (node.folder, deep)
        node.write(context="other", state_dir=node.state)
        line = self.found(node, "keyring", "is not known: .*it is of context 'a+[.]")
        self.assertTrue(line.do.startswith("in %s: context: %s # " % (node.path, one)), line.do)
        node.write(context=re.search(r"context: (\S+)", line.do)[1])
        self.well(node)

    def test_a_record_that_is_damaged(self):
        node = self.announced()
        record = node.state + "/k8s-test.json"
        backup = node.folder + "/backup.json"
        shutil.copy(record, backup)
        with open(backup, encoding="utf-8") as file:
            text = file.read()
        for damaged in (text[:len(text) // 2], text.replace('"format"', '"farmot"')):
            write(record, damaged)
            line = self.found(node, "keyring", "not a state file")
            self.assertTrue(line.do.startswith('install -m 0600 -o nobody -g nogroup "${BACKUP:?}" %s #' % record), line.do)
            self.assertEqual([line for line in self.doctor(node) if line.subject == "versions in use"], [])
            os.environ["BACKUP"] = backup
            self.addCleanup(os.environ.pop, "BACKUP", None)
            self.run_it(node, line)
            self.well(node)
        self.opens(node)

    def test_two_lines_about_one_refused_pin_have_one_cure(self):
        node = self.healthy()
        pin = node.token.pin_file
        write(pin, "wrong-" + node.token.pin)
        command = ': "${PIN:?}" && printf \'%%s\\n\' "$PIN" | install -m 0400 -o nobody -g nogroup /dev/stdin %s #' % pin
        line = self.found(node, "token of hsm-a", "was refused")
        self.assertTrue(line.do.startswith(command), line.do)
        lines = {line.subject: line for line in self.lines(node)}
        self.assertEqual(lines["token of hsm-a"].do, "the line of PIN of hsm-a first")
        self.assertTrue(lines["PIN of hsm-a"].do.startswith(command), lines["PIN of hsm-a"].do)
        self.assertRegex(lines["PIN of hsm-a"].do, r"; where it is right there: .*kekctl --config \S+ pin retry --provider hsm-a$")
        os.environ["PIN"] = node.token.pin
        self.addCleanup(os.environ.pop, "PIN", None)
        self.run_it(node, lines["PIN of hsm-a"])
        self.doctor(node)  # which logs in, so that no wrong try is counted any more
        self.well(node)

    # ---- a kekd that runs ----

    def test_a_kekd_that_runs_by_another_file_is_to_be_restarted(self):
        node = self.announced(config={"context": "one"})
        node.start()
        metrics = node.config["metrics"]
        node.write(metrics=rigs.own_address())
        self.assertEqual(self.found(node, "nodes", "not reached").do,
                         "systemctl restart kekd.service # for it to go by %s as it is now" % node.path)
        node.write(metrics=metrics, context="two", context_accept=["one"])
        self.assertTrue(self.found(node, "nodes", "has another context than").do.startswith("systemctl restart kekd.service #"))
        # With this one it would not come back.
        node.write(metrics=metrics, context="two", context_accept=[])
        self.assertTrue(self.found(node, "nodes", "has another context than").do.startswith("the lines with FAIL first"))
        node.write(context="one")
        os.kill(node.kekd.pid, signal.SIGSTOP)
        try:
            self.assertTrue(self.found(node, "nodes", "not reached").do.startswith("systemctl restart kekd.service #"))
        finally:
            os.kill(node.kekd.pid, signal.SIGCONT)
        self.well(node)
        node.stop()

    # ---- the API server ----

    def test_a_v1_entry_keeps_its_reader(self):
        node = self.healthy()
        edit(node.encryption, "apiVersion: v2", "apiVersion: v1")
        line = self.found(node, "encryption", "is of KMS v1", "WARN")
        self.assertIn("kube config --phase add-reader --from %s --name kekd-v2" % node.encryption, line.do)
        self.run_it(node, line)
        with open(node.encryption + ".add-reader", encoding="utf-8") as file:
            text = re.sub("(?m)^#.*\n", "", file.read())
        self.assertRegex(text, r"(?s)apiVersion: v1\n\s+name: kekd\n.*apiVersion: v2\n\s+name: kekd-v2\n")
        write(node.encryption, text)
        line = self.found(node, "encryption", "is of KMS v1", "WARN")
        self.assertIn("kube config --phase make-writer --from %s --name kekd-v2" % node.encryption, line.do)
        self.run_it(node, line)
        with open(node.encryption + ".make-writer", encoding="utf-8") as file:
            self.assertRegex(file.read(), r"(?s)name: kekd-v2\n.*name: kekd\n")

    def test_an_entry_for_others_than_secrets_keeps_them(self):
        node = self.healthy()
        edit(node.encryption, "[secrets]", "[configmaps]")
        line = self.found(node, "encryption", "is for configmaps, not for secrets", "WARN")
        self.assertEqual([line.seen for line in self.lines(node) if "identity is still" in line.seen], [])
        self.assertNotIn("resources:", line.do)
        self.run_it(node, line)
        with open(node.encryption + ".add-reader", encoding="utf-8") as file:
            text = re.sub("(?m)^#.*\n", "", file.read())
        self.assertRegex(text, r"(?s)- configmaps\n.*name: kekd\n.*- secrets\n.*identity.*name: kekd-secrets\n")

    def test_a_path_in_the_manifest_that_is_mistyped_gets_no_new_file(self):
        node = self.healthy()
        missing = node.folder + "/encyption.yaml"
        edit(node.manifest, node.encryption, missing)
        done = node.kekctl("doctor", "--output", "json", "--unit", node.unit, "--api-server", node.manifest)
        line, = [line for line in json.loads(done.stdout)["lines"] if line["subject"] == "encryption"]
        self.assertEqual(line["verdict"], "FAIL")
        self.assertTrue(line["do"].startswith("in %s: --encryption-provider-config: the path of the file that is there; or restore "
                                              "%s" % (node.manifest, missing)), line["do"])
        self.assertNotIn("kube config", line["do"])

    def test_the_endpoint_waits_for_the_socket(self):
        node = self.healthy()
        edit(node.unit, "[Unit]\n", "[Unit]\nRequires=kekd.socket\n")
        write(node.folder + "/kekd.socket", "[Socket]\nListenStream=%s\n" % node.socket)
        node.write(listen="unix://" + node.socket + "2")
        line, = self.lines(node)
        self.assertEqual((line.subject, line.do.split("listen: ")[1]), ("socket", "unix://" + node.socket))
        waiting = [line for line in self.doctor(node) if line.subject in ("encryption", "API server")]
        self.assertEqual({(line.verdict, line.do) for line in waiting}, {("UNSEEN", "the line of socket first")}, waiting)
        node.write(listen="unix://" + node.socket)
        self.well(node)

    def test_another_name_is_asked_about_by_a_command(self):
        node = self.healthy()
        edit(node.encryption, "name: kekd", "name: kekx")
        line = self.found(node, "encryption", "called kekx, not kekd", "WARN")
        self.assertEqual(line.do, "kekctl --config %s doctor --name kekx # if that is kekd's entry" % node.path)
        self.run_it(node, line)
        self.well(node, "--name", "kekx")


if __name__ == "__main__":
    rigs.main()
