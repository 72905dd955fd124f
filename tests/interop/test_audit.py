"""The audit log of a whole kekd: every change of the keyring that the node saw, told when it saw it."""

import json
import os
import signal
import subprocess
import sys
import time

import h2
import p11
import rig as rigs
from grpc import StatusCode

sys.path.insert(0, os.path.join(os.environ["abs_top_srcdir"], "tests", "unit"))
import audit_chain  # noqa: E402

DEK = bytes(range(32))


class Audit(rigs.Case):
    def node(self, config=None, **options):
        node = self.rig(config=config, **options)
        node.audit = node.folder + "/audit.jsonl"
        node.write(audit={"file": node.audit}, settle="1s")
        return node

    @staticmethod
    def lines(node, **fields):
        """The audit lines that have these fields; None: have no such field."""
        return [line for line in rigs.json_lines(node.audit) if all(line.get(key) == value for key, value in fields.items())]

    def line(self, node, **fields):
        """Waits for the first such line."""
        return rigs.wait_for(lambda: (self.lines(node, **fields) or [None])[0], "an audit line with %s" % fields)

    @staticmethod
    def kek_id(node):
        listed = json.loads(node.kekctl("key", "list", "--output", "json", check=True).stdout)
        return bytes.fromhex(listed["versions"][0]["kek_id"])

    @staticmethod
    def delete(token, kek_id):
        token.tool("--delete-object", "--type", "secrkey", "--id", kek_id.hex(), "--login", "--pin", token.pin)

    def changes(self, node, token, provider):
        """Everything that an officer does to the keys of one token; the states told of it, in order."""
        first, second = self.kek_id(node), os.urandom(16)
        steps = (
            (first, "deactivated", lambda: p11.set_attributes(token, first, wrap=False)),
            (first, "active", lambda: p11.set_attributes(token, first, wrap=True)),
            (second, "pre-active", lambda: p11.plant(token, "k8s-test.v2", second, wrap=False)),
            (second, "active", lambda: p11.set_attributes(token, second, wrap=True)),
            (first, "deactivated", lambda: p11.set_attributes(token, first, wrap=False)),
            (first, "suspended", lambda: p11.set_attributes(token, first, unwrap=False)),
            (first, "gone", lambda: self.delete(token, first)),
            (second, "gone", lambda: self.delete(token, second)),
        )
        told = len(self.lines(node, event="version", provider=provider))
        for number, (kek_id, state, change) in enumerate(steps, told):
            begun = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
            change()
            rigs.wait_for(lambda n=number: len(self.lines(node, event="version", provider=provider)) > n,
                          "a line about %s on %s" % (state, provider))
            line = self.lines(node, event="version", provider=provider)[number]
            self.assertEqual((line["kek_id"], line["state"], line["version"]),
                             (kek_id.hex(), state, 1 if kek_id == first else 2))
            self.assertGreaterEqual(line["time"], begun)
            self.assertRegex(line["key_id"], "^kek1-[0-9a-f]{32}$")
        return first

    def test_each_change_on_the_only_token_is_told(self):
        node = self.node().start()
        first = self.changes(node, node.token, "hsm-a")
        primaries = self.lines(node, event="primary")
        self.assertEqual([line["version"] for line in primaries], [1, 2])
        # The key_id of the API server's log leads to the key on the token.
        versions = {line["kek_id"]: line["key_id"] for line in self.lines(node, event="version")}
        self.assertEqual(primaries[0]["kek_id"], first.hex())
        self.assertEqual({line["kek_id"]: line["key_id"] for line in primaries}, versions)
        self.line(node, event="health", health="loss")
        node.stop()
        self.assertEqual(self.lines(node)[-1]["event"], "stop")

    def test_each_change_on_one_of_two_tokens_is_told_of_that_one(self):
        node = self.node(pair=True).start()
        self.changes(node, node.twin, "hsm-b")
        states = [line["state"] for line in self.lines(node, event="version", provider="hsm-a")]
        self.assertEqual(states, ["active"])
        node.stop()

    def test_what_is_on_record_and_not_there_any_more_at_a_start_is_absent(self):
        node = self.node().start()
        kek_id = self.kek_id(node)
        node.stop()
        self.delete(node.token, kek_id)
        node.spawn().serving()
        line = self.line(node, event="version", state="absent")
        self.assertEqual((line["kek_id"], line["provider"]), (kek_id.hex(), "hsm-a"))
        node.stop()

    def test_a_change_that_is_seen_while_kekd_stops_is_told(self):
        node = self.node().start()
        kek_id = self.kek_id(node)
        node.close_clients()
        peer = h2.Peer(node.socket)  # kekd waits until it has closed its connection
        self.addCleanup(peer.close)
        peer.open(1, "/v2.KeyManagementService/Status")
        self.assertEqual(peer.done(1).status, 0)
        node.signal()
        peer.until(lambda: peer.goaway == (1, 0), "the last GOAWAY")
        p11.set_attributes(node.token, kek_id, wrap=False)
        self.line(node, event="version", state="deactivated")
        peer.close()
        node.ended()
        self.assertEqual(self.lines(node)[-1]["event"], "stop")

    def test_a_call_says_which_kek_it_used_and_which_hsm_was_asked(self):
        for config in ({}, {"data_key": {"max_uses": 1}}):
            with self.subTest(**config):
                node = self.node(config).start()
                kek = {"kek_id": self.kek_id(node).hex(), "version": 1}
                with node.client() as client:
                    sealed, sealed1 = client.encrypt(DEK), client.encrypt1(DEK)
                    self.assertEqual(client.open(sealed), DEK)
                    self.assertEqual(client.decrypt1(sealed1), DEK)
                    key_id = sealed.key_id
                    self.refused(StatusCode.INVALID_ARGUMENT, client.decrypt, sealed.ciphertext, "kek1-another")
                    self.refused(StatusCode.INVALID_ARGUMENT, client.decrypt, b"no envelope", key_id)
                self.line(node, event="call", status="INVALID_ARGUMENT", key_id="kek1-another", **kek)
                self.line(node, event="call", status="INVALID_ARGUMENT", key_id=key_id, kek_id=None, version=None)
                calls = self.lines(node, event="call", status="OK", key_id=key_id, **kek)
                self.assertEqual(sorted((line["api"], line["method"]) for line in calls),
                                 [(api, method) for api in ("v1beta1", "v2") for method in ("Decrypt", "Encrypt")])
                for line in calls:
                    self.assertEqual(line.get("provider"), "hsm-a" if line["hsm"] else None)
                self.assertEqual(len([line for line in calls if line["hsm"]]), 4 if config else 0)
                node.stop()

    def test_a_call_that_an_hsm_failed_says_which_one(self):
        node = self.node({"data_key": {"max_uses": 1}, "refresh": "1m"}).start()  # only the call finds it out
        kek_id = self.kek_id(node)
        with node.client() as client:
            sealed = client.encrypt(DEK)
            p11.set_attributes(node.token, kek_id, wrap=False, unwrap=False)
            self.refused(StatusCode.FAILED_PRECONDITION, client.decrypt, sealed.ciphertext, sealed.key_id)
        line = self.line(node, event="call", method="Decrypt", status="FAILED_PRECONDITION")
        self.assertEqual((line["kek_id"], line["version"], line["hsm"], line["provider"]),
                         (kek_id.hex(), 1, True, "hsm-a"))
        node.stop()

    def verify(self, node, *files):
        done = node.kekctl("audit", "verify", "--output", "json", *files)
        return done.returncode, json.loads(done.stdout)

    def test_what_kekd_and_kekctl_write_is_one_chain_over_files_crashes_and_changes(self):
        node = self.node({"refresh": "1s"}).start()
        old = node.audit + ".1"
        with node.client() as client:
            for _ in range(50):
                client.encrypt(DEK)
            os.rename(node.audit, old)
            node.signal(signal.SIGHUP)
            rigs.wait_for(lambda: os.path.exists(node.audit), "the new file")
            node.kekctl("key", "generate", check=True)
            for _ in range(50):
                client.encrypt(DEK)
            self.line(node, event="version", version=2)
        node.kill()
        with open(node.audit, "ab") as file:
            file.write(b'{"time":"20')  # as if it had been in the middle of a line
        node.spawn().serving()
        self.line_after_torn(node)
        node.stop()
        code, told = self.verify(node, node.audit, old)
        self.assertEqual((code, told["good"], told["record"], told["torn"]), (0, True, True, 1), told)
        chain, = told["chains"]
        with open(old, "rb") as one, open(node.audit, "rb") as two:
            lines = [line for line in one.readlines() + two.readlines() if line != b'{"time":"20\n']
        self.assertEqual([line["n"] for line in audit_chain.check(lines)], list(range(1, chain["last"] + 1)))
        # The record knows the end.
        with open(node.audit, "r+b") as file:
            file.truncate(os.path.getsize(node.audit) - len(lines[-1]))
        code, told = self.verify(node, node.audit, old)
        self.assertEqual((code, [problem["kind"] for problem in told["problems"]]), (3, ["record"]))
        self.assertEqual(self.verify(node, old)[0], 3)

    @staticmethod
    def forge(node, count):
        """Lines behind the last one, by who knows how and has no more than the file."""
        with open(node.audit, "r+b") as file:
            last = json.loads(file.readlines()[-1])
            file.writelines(audit_chain.Chain(last["chain"], last["n"], last["hash"]).lines(count))

    def test_lines_that_somebody_puts_into_the_file_are_told_and_not_taken_for_kekds(self):
        node = self.node().start()
        self.line(node, event="health")  # the last one of a start
        self.forge(node, 2)
        with node.client() as client:
            client.encrypt(DEK)
        self.assertIn("put in by somebody", self.line(node, event="broken")["error"])
        node.wait_log("audit: the file goes on to line .*put in by somebody")
        node.stop()
        self.forge(node, 1)
        code, told = self.verify(node, node.audit)
        self.assertEqual((code, [problem["kind"] for problem in told["problems"]]), (3, ["told", "record"]), told)
        node.start()
        node.stop()
        self.assertEqual(len(self.lines(node, event="broken")), 2)
        code, told = self.verify(node, node.audit)
        self.assertEqual((code, [problem["kind"] for problem in told["problems"]], len(told["chains"])), (3, ["told"] * 2, 1), told)

    def test_a_kekd_that_is_refused_because_another_holds_the_state_dir_writes_nothing(self):
        """Neither into the file that both have nor, which would end the live one's chain, into another."""
        node = self.node().start()
        pid = node.kekd.pid
        with node.client() as client:
            client.encrypt(DEK)
        other = node.folder + "/other.jsonl"
        path = node.folder + "/second.yaml"
        for file in (node.audit, other):
            second = dict(node.config, listen="unix://" + node.socket + ".second", audit={"file": file})
            with open(path, "w", encoding="ascii") as out:
                out.write("\n".join(rigs.yaml_lines(second)) + "\n")
            done = subprocess.run([rigs.program("kekd"), "--config", path], stdin=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE, timeout=rigs.PATIENCE, check=False)
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertIn(b"another kekd uses this state_dir", done.stderr)
        self.assertFalse(os.path.exists(other))
        with node.client() as client:
            client.encrypt(DEK)
        node.stop()
        self.assertEqual([line["pid"] for line in self.lines(node) if line["event"] in ("start", "stop")],
                         [pid] * 2)
        code, told = self.verify(node, node.audit)
        self.assertEqual((code, len(told["chains"])), (0, 1), told)

    def test_a_record_that_is_removed_under_kekd_is_told_and_both_go_on_in_one_chain(self):
        node = self.node().start()
        self.line(node, event="health")  # the last one of a start
        os.unlink(node.state + "/k8s-test.audit")
        node.kekctl("key", "list", check=True)  # makes another one
        with node.client() as client:
            client.encrypt(DEK)
        self.assertIn("was not there or empty", self.line(node, event="broken")["error"])
        rigs.wait_for(lambda: len(self.lines(node, event="broken")) == 2, "kekd's line")
        self.assertIn("was replaced: it had line ", self.lines(node, event="broken")[1]["error"])
        os.unlink(node.state + "/k8s-test.audit")
        with node.client() as client:
            client.encrypt(DEK)
        rigs.wait_for(lambda: len(self.lines(node, event="broken")) == 3, "kekd's line")
        self.assertIn("is made anew", self.lines(node, event="broken")[2]["error"])
        node.stop()
        code, told = self.verify(node, node.audit)
        self.assertEqual((code, [problem["kind"] for problem in told["problems"]], len(told["chains"])),
                         (3, ["told"] * 3 + ["unknown"], 2))  # the first chain is on record no more

    def test_a_count_in_the_record_that_was_changed_is_told_by_verify_and_by_the_next_kekd(self):
        node = self.node().start()
        self.line(node, event="login")
        node.kill()
        record = node.state + "/k8s-test.audit"
        with open(record, "rb") as file:
            text = file.read()
        with open(record, "wb") as file:
            file.write(text.replace(b'"waiting":256', b'"waiting":2x6'))
        code, told = self.verify(node, node.audit)
        self.assertEqual((code, [problem["kind"] for problem in told["problems"]]), (3, ["record"]), told)
        self.assertIn("count of lost lines", told["problems"][0]["text"])
        node.kekctl("key", "list", check=True)  # does not forget it
        self.assertEqual(self.verify(node, node.audit)[0], 3)
        node.spawn().serving()
        self.assertIn("count of lost lines", self.line(node, event="broken")["error"])

        def mended():
            with open(record, "rb") as file:
                return b"2x6" not in file.read()
        rigs.wait_for(mended, "the record to be written anew once the line is there")
        node.kill()
        code, told = self.verify(node, node.audit)
        self.assertEqual((code, [problem["kind"] for problem in told["problems"]]), (3, ["told"]), told)
        self.assertEqual(told["waiting"], 256)

    def line_after_torn(self, node):
        def torn():
            with open(node.audit, "rb") as file:
                return [line for line in file if b'"event":"torn"' in line]
        rigs.wait_for(torn, "a line about the piece of one")

    def test_each_login_and_a_refused_pin_leave_a_line(self):
        node = self.node(provider={"processes": 2}).start()
        rigs.wait_for(lambda: len(self.lines(node, event="login")) > 1, "two logins")
        logins = self.lines(node, event="login")
        self.assertEqual([(line["provider"], line["outcome"]) for line in logins], [("hsm-a", "ok")] * 2)
        self.assertEqual(len({line["worker"] for line in logins}), 2)
        self.assertEqual(len({line["token"] for line in logins}), 1)
        self.assertRegex(logins[0]["token"], "^[0-9a-f]{16}$")
        node.stop()
        with open(node.token.pin_file, "w", encoding="ascii") as file:
            file.write("not-the-pin")
        node.spawn().serving()
        line = self.line(node, event="login", outcome="refused")
        self.assertEqual((line["provider"], line["origin"], line["code"]), ("hsm-a", "pkcs11", 0xa0))
        self.assertNotIn("not-the-pin", json.dumps(self.lines(node)))
        node.stop()
        self.assertEqual(len(self.lines(node, event="login")), 3)

    def test_what_an_operator_does_is_told_and_not_done_where_it_cannot_be(self):
        node = self.node(generate=False)
        node.write(audit={"file": node.folder + "/later/audit.jsonl"})
        refused = node.kekctl("key", "generate")
        self.assertEqual(refused.returncode, 1)
        self.assertIn(b"nothing was done", refused.stderr)
        self.assertIn(node.folder.encode() + b"/later/audit.jsonl", refused.stderr)
        self.assertEqual(node.kekctl("pin", "retry").returncode, 1)
        node.write(audit={"file": node.audit})
        made = json.loads(node.kekctl("key", "generate", "--output", "json", check=True).stdout)
        self.assertEqual(made["version"], 1)  # the one that was refused made none
        begun, line = self.lines(node, event="generate")
        self.assertEqual((begun["kek_id"], begun["version"], begun["outcome"]), (line["kek_id"], line["version"], "begun"))
        self.assertEqual((line["kek_id"], line["version"], line["state"], line["provider"], line["outcome"]),
                         (made["kek_id"], 1, "active", "hsm-a", "ok"))
        self.assertEqual(line["peer_uid"], os.getuid())
        self.assertTrue(self.lines(node, event="login", provider="hsm-a", outcome="ok"))
        node.start()
        self.line(node, event="version", kek_id=made["kek_id"], state="active")
        with open(node.token.pin_file, "w", encoding="ascii") as file:
            file.write("not-the-pin")
        self.assertEqual(node.kekctl("key", "generate").returncode, 1)
        self.assertEqual(len(self.lines(node, event="login", outcome="refused", code=0xa0)), 1)
        node.kekctl("pin", "retry", "--provider", "hsm-a", check=True)
        begun, line = self.lines(node, event="pin-retry")
        self.assertEqual((begun["provider"], begun["outcome"]), ("hsm-a", "begun"))
        self.assertEqual((line["provider"], line["outcome"], line["forgotten"]), ("hsm-a", "ok", 1))
        node.stop()

    def test_each_login_by_kekctl_is_told_whatever_the_command(self):
        node = self.node().start()
        commands = (["key", "list"], ["doctor"], ["probe"], ["key", "adopt", "k8s-test.v1"],
                    ["report", "--out", node.folder + "/report"])
        with node.client() as client:  # whose lines come between
            for command in commands:
                words = " ".join(command[:2] if command[0] == "key" else command[:1])
                client.encrypt(DEK)
                self.assertIn(node.kekctl(*command).returncode, (0, 1, 3), words)
                client.encrypt(DEK)
                logins = self.lines(node, event="login", command=words)
                # With the processes that change and use the key that a probe makes.
                self.assertGreaterEqual(len(logins), 4 if words == "probe" else 1, words)
                for line in logins:
                    self.assertEqual((line["provider"], line["outcome"], line["peer_uid"], line["seq"], "worker" in line),
                                     ("hsm-a", "ok", os.getuid(), 0, False))
        with open(node.token.pin_file, "w", encoding="ascii") as file:
            file.write("not-the-pin")
        self.assertEqual(node.kekctl("key", "list").returncode, 1)
        line, = self.lines(node, event="login", command="key list", outcome="refused")
        self.assertEqual(line["code"], 0xa0)
        node.close_clients()
        node.stop()
        with open(node.audit, "rb") as file:
            lines = audit_chain.check(file.readlines())  # kekd's and kekctl's, of one chain
        self.assertGreater(len({line["seq"] for line in lines}), 1)

    def test_a_login_that_cannot_be_told_stops_no_command_that_only_looks(self):
        node = self.node(pair=True)  # two providers, so two logins at least
        node.write(audit={"file": node.folder + "/later/audit.jsonl"})
        done = node.kekctl("key", "list")
        self.assertEqual((done.returncode, b"k8s-test.v1" in done.stdout), (3, True))
        self.assertEqual(done.stderr.decode().count("to be mended: the audit log does not have this command's logins: "), 1)
        self.assertIn(node.folder + "/later/audit.jsonl", done.stderr.decode())
        # On a disk that takes no more.
        node.write(audit={"file": node.audit})
        while not os.path.exists(node.audit) or os.path.getsize(node.audit) < 8192:
            node.kekctl("key", "list", check=True)
        full = subprocess.run(["prlimit", "--fsize=%d" % os.path.getsize(node.audit), rigs.program("kekctl"), "--config",
                               node.path, "key", "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        self.assertEqual(full.returncode, 3)
        self.assertEqual(full.stderr.decode().count("to be mended: the audit log does not have this command's logins: writing"), 1)
        judged = subprocess.run(["prlimit", "--fsize=%d" % os.path.getsize(node.audit), rigs.program("kekctl"), "--config",
                                 node.path, "doctor"], stdout=subprocess.PIPE, check=False).stdout.decode()
        self.assertRegex(judged, r"(?m)^WARN +workers +the audit log does not have this command's logins: writing")
        node.kekctl("key", "list", check=True)
        # Of the log that could not be opened, and of two commands on the full disk.
        dropped = [line["lines"] for line in self.lines(node, event="dropped")]
        self.assertEqual(len(dropped), 2)
        for count, least in zip(dropped, (2, 4)):  # a worker that a busy machine has start anew logs in once more
            self.assertGreaterEqual(count, least)
        node.write(audit=None)
        self.assertEqual(node.kekctl("key", "list", check=True).stderr, b"")
        self.assertFalse(os.path.exists(node.folder + "/later"))

    def test_a_command_with_workers_for_each_provider_says_once_that_its_logins_are_not_on_record(self):
        node = self.node(pair=True)
        node.write(audit={"file": node.folder + "/later/audit.jsonl"})
        done = node.kekctl("probe")
        self.assertEqual(done.returncode, 3)
        self.assertEqual(done.stderr.decode().count("to be mended: the audit log does not have this command's logins: "), 1)

    def test_nothing_is_changed_on_a_token_that_a_full_disk_keeps_from_being_told(self):
        node = self.node()
        node.kekctl("key", "generate", check=True)
        while os.path.getsize(node.audit) < 16384:
            node.kekctl("key", "list", check=True)
        shown = node.kekctl("key", "list", "--output", "json", check=True).stdout
        keys = node.token.tool("--list-objects", "--login", "--pin", node.token.pin)
        for command in (("key", "generate"), ("key", "promote", "2", "--i-have-a-backup"), ("audit", "generate"), ("pin", "retry"),
                        ("conformance",), ("probe",)):
            size = os.path.getsize(node.audit)
            with self.subTest(command):
                done = subprocess.run(["prlimit", "--fsize=%d" % size, rigs.program("kekctl"), "--config", node.path, *command],
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
                self.assertEqual(done.returncode, 3 if command == ("probe",) else 1, done.stderr)
                self.assertRegex(done.stderr.decode(), "nothing was (done|changed)")
                self.assertEqual(node.token.tool("--list-objects", "--login", "--pin", node.token.pin), keys)
        self.assertEqual([line["command"] for line in self.lines(node, outcome="begun")], ["key generate"])  # the first one
        self.assertEqual(node.kekctl("key", "list", "--output", "json", check=True).stdout, shown)
        self.assertEqual(len(self.lines(node, event="dropped")), 1)

    def test_each_word_about_a_backup_is_told(self):
        node = self.node()
        node.kekctl("key", "generate", check=True)
        promote = ("key", "promote", "2", "--i-have-a-backup")

        def said():
            with open(node.state + "/k8s-test.backup", encoding="ascii") as file:
                return json.load(file)["said_ms"]
        before, words = 0, []
        for count, command in enumerate((promote, promote, ("doctor", "--i-have-a-backup")), 1):
            done = node.kekctl(*command)
            self.assertTrue(done.returncode == 0 or command[0] == "doctor", done.stderr)  # without a kekd, doctor has a FAIL
            self.assertGreater(said(), before)
            before = said()
            words.append((" ".join(command[:2]) if command[0] == "key" else "doctor", 2, "ok", "i-have-a-backup"))
            self.assertEqual([(line["command"], line["version"], line["outcome"], line["said"])
                              for line in self.lines(node, event="backup")], words, count)
        self.assertEqual(len(self.lines(node, event="promote", outcome="ok")), 1)
        node.kekctl(*promote, "--dry-run", check=True)
        node.kekctl("key", "promote", "2", check=True)
        self.assertEqual((said(), len(self.lines(node, event="backup"))), (before, len(words)))
        # The line is there, and the word's file cannot be written.
        os.rename(node.state + "/k8s-test.backup", node.state + "/aside")
        os.mkdir(node.state + "/k8s-test.backup")
        self.assertEqual(node.kekctl(*promote).returncode, 3)
        self.assertEqual([line["outcome"] for line in self.lines(node, event="backup")][len(words):], ["ok", "failed"])
        os.rmdir(node.state + "/k8s-test.backup")
        os.rename(node.state + "/aside", node.state + "/k8s-test.backup")
        # On a disk that takes its login and not the word.
        size = os.path.getsize(node.audit)
        node.kekctl("key", "promote", "2", check=True)  # one login
        full = subprocess.run(["prlimit", "--fsize=%d" % (2 * os.path.getsize(node.audit) - size + 64), rigs.program("kekctl"),
                               "--config", node.path, *promote], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        self.assertEqual(full.returncode, 3, full.stderr)
        self.assertIn(b"that there is a backup was not put on record: ", full.stderr)
        self.assertEqual((said(), len(self.lines(node, event="backup"))), (before, len(words) + 2))

    def test_a_rotation_that_a_full_disk_keeps_from_being_told_changes_nothing_and_goes_on_later(self):
        node = self.node(config={"metrics": rigs.own_address(), "refresh": "1s"}).start()
        rotate = ("key", "rotate", "--single-node", "--i-have-a-backup", "--timeout", "30s", "--until", "create")
        while os.path.getsize(node.audit) < 16384:
            node.kekctl("key", "list", check=True)
        keys = node.token.tool("--list-objects", "--login", "--pin", node.token.pin)
        done = subprocess.run(["prlimit", "--fsize=%d" % os.path.getsize(node.audit), rigs.program("kekctl"), "--config", node.path,
                               *rotate], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn(b"the rotation stops at step create: nothing was changed", done.stderr)
        self.assertEqual(node.token.tool("--list-objects", "--login", "--pin", node.token.pin), keys)
        node.kekctl(*rotate, check=True)
        self.assertEqual([line["outcome"] for line in self.lines(node, event="generate", version=2)], ["begun", "ok"])
        self.assertTrue(self.lines(node, event="dropped"))  # logins of the first run
        node.stop()


if __name__ == "__main__":
    rigs.main()
