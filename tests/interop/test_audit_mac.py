"""The audit log's chain, MACed in the HSM: by whom, when not, and what that shows of a chain that was made anew."""

import json
import os
import subprocess
import sys
import time

import fault as faults
import p11
import rig as rigs

sys.path.insert(0, os.path.join(os.environ["abs_top_srcdir"], "tests", "unit"))
import audit_chain  # noqa: E402

DEK = bytes(range(32))


class Mac(rigs.Case):
    def node(self, generate=True, **options):
        node = self.rig(**options)
        node.audit = node.folder + "/audit.jsonl"
        node.write(audit={"file": node.audit, "mac_interval": "1s"})
        if generate:
            self.key = json.loads(node.kekctl("audit", "generate", "--provider", "hsm-a", "--output", "json",
                                              check=True).stdout)
        return node

    @staticmethod
    def lines(node, **fields):
        return [line for line in rigs.json_lines(node.audit) if all(line.get(key) == value for key, value in fields.items())]

    def maced(self, node, count=1, **fields):
        """Waits for that many lines with a MAC."""
        rigs.wait_for(lambda: len(self.lines(node, event="mac", **fields)) >= count, "%d MACs" % count)
        return self.lines(node, event="mac", **fields)

    def verify(self, node, *files):
        done = node.kekctl("audit", "verify", "--output", "json", *(files or (node.audit,)))
        return done.returncode, json.loads(done.stdout)

    def encrypt(self, node, calls=3):
        with node.client() as client:
            for _ in range(calls):
                client.encrypt(DEK)

    def test_the_token_makes_the_mac_that_the_manual_describes(self):
        node = self.node().start()
        self.encrypt(node)
        self.maced(node, 1, outcome="ok")
        self.encrypt(node)
        mac = self.maced(node, 2, outcome="ok")[1]
        node.wait_log("the chain is MACed by hsm-a")
        node.stop()
        self.assertEqual((mac["provider"], mac["mechanism"], mac["mac_key"]),
                         ("hsm-a", "CKM_SHA256_HMAC", self.key["mac_key"]))
        covered, = self.lines(node, n=mac["covers"], chain=mac["chain"])
        text = "kekd audit 1 %s %d %s" % (covered["chain"], covered["n"], covered["hash"])
        with open(node.folder + "/text", "w", encoding="ascii") as file:
            file.write(text)
        try:
            node.token.tool("--sign", "--mechanism", "SHA256-HMAC", "--id", mac["mac_key"], "--input-file",
                            node.folder + "/text", "--output-file", node.folder + "/mac")
        except subprocess.CalledProcessError as failure:
            self.skipTest("SKIP: this pkcs11-tool signs with no secret key: " + failure.stdout)
        with open(node.folder + "/mac", "rb") as file:
            self.assertEqual(file.read().hex(), mac["mac"])

    def test_nothing_is_said_of_the_last_macs_own_line_where_no_other_comes_after_it(self):
        node = self.node().start()
        self.encrypt(node)

        def at_its_mac():
            last, lines = self.lines(node)[-1], len(self.lines(node))
            return last["event"] == "mac" and last["covers"] == last["n"] - 1 == lines - 1
        rigs.wait_for(at_its_mac, "a MAC of all lines but its own")
        done = node.kekctl("audit", "verify", node.audit)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        node.stop()
        lines = self.lines(node)  # and what kekd wrote when it ended is told
        mac = [line for line in lines if line["event"] == "mac"][-1]
        said = node.kekctl("audit", "verify", node.audit).stderr.decode()
        self.assertIn("lines %d to %d of chain" % (mac["covers"] + 1, len(lines)), said)

    def test_a_chain_that_was_made_anew_with_its_record_is_found_out(self):
        node = self.node().start()
        self.encrypt(node, 20)
        self.maced(node, 1, outcome="ok")
        node.stop()
        code, told = self.verify(node)
        chain, = told["chains"]
        self.assertEqual((code, told["good"]), (0, True), told)
        self.assertGreater(chain["maced"], 0)
        self.assertIn(b"come after the last MAC that was confirmed", node.kekctl("audit", "verify", node.audit).stderr)
        with open(node.audit, "rb") as file:
            true = file.readlines()
        record = [name for name in os.listdir(node.folder + "/state") if name.endswith(".audit")]
        record = os.path.join(node.folder, "state", record[0])
        # All lines after the third with another uid, the chain, its end and its record as they must be.
        lines, last = true[:3], json.loads(true[2])["hash"]
        for raw in true[3:]:
            body = raw[:raw.index(b',"chain"')].replace(b'"peer_uid":', b'"peer_uid":1')
            line = json.loads(raw)
            body += b',"chain":"%s","n":%d,"prev":"%s"' % (line["chain"].encode(), line["n"], last.encode())
            last = audit_chain.hashlib.sha256(body + b"\n").hexdigest()
            lines.append(body + b',"hash":"%s"}\n' % last.encode())
        audit_chain.check(lines)
        with open(node.audit, "wb") as file:
            file.writelines(lines)
        forged = audit_chain.Chain(chain["chain"], len(lines), last)
        with open(record, "wb") as file:
            file.write(forged.record())
        code, told = self.verify(node)
        self.assertEqual((code, [problem["kind"] for problem in told["problems"]]), (3, ["mac"]), told)
        self.assertIn("not the one that the token makes", told["problems"][0]["text"])
        self.assertEqual(told["chains"][0]["maced"], 0)

    def test_lines_of_a_chain_that_somebody_made_himself_are_told(self):
        node = self.node().start()
        self.encrypt(node)
        self.maced(node, 1, outcome="ok")
        node.stop()
        self.assertEqual(self.verify(node)[0], 0)
        with open(node.audit, "rb") as file, open(node.state + "/k8s-test.audit", "rb") as head:
            true, record = file.readlines(), head.read()
        self.assertEqual(json.loads(true[-1])["command"], "audit verify")  # whose login comes when all is read
        forged = audit_chain.Chain("deadbeefdeadbeef").lines(3)
        for at in (0, 2, len(true)):
            with open(node.audit, "wb") as file, open(node.state + "/k8s-test.audit", "wb") as head:
                file.writelines(true[:at] + forged + true[at:])
                head.write(record)
            code, told = self.verify(node)
            self.assertEqual((code, [(problem["kind"], problem["line"]) for problem in told["problems"]]),
                             (3, [("unknown", at + 1)]), told)

    def test_a_chain_whose_record_is_lost_is_good_up_to_its_last_mac(self):
        node = self.node().start()
        self.encrypt(node)

        def at_its_mac():
            with open(node.audit, "rb") as file:
                lines = file.readlines()
            last = json.loads(lines[-1])
            return lines if last["event"] == "mac" and last["covers"] == last["n"] - 1 else None
        lines = rigs.wait_for(at_its_mac, "a MAC of all lines but its own")
        node.stop()
        os.unlink(node.audit)
        os.unlink(node.state + "/k8s-test.audit")
        node.start()
        self.encrypt(node)
        self.maced(node, 1, outcome="ok")
        node.stop()
        old, last = node.folder + "/old", json.loads(lines[-1])
        for more, expected in ((0, (0, [])), (1, (3, [("unknown", len(lines) + 1)]))):
            with open(old, "wb") as file:
                file.writelines(lines + audit_chain.Chain(last["chain"], last["n"], last["hash"]).lines(more))
            code, told = self.verify(node, old, node.audit)
            self.assertEqual((code, [(problem["kind"], problem["line"]) for problem in told["problems"]]), expected, told)

    def test_who_verifies_adds_nothing_to_what_is_verified(self):
        node = self.node().start()
        self.encrypt(node)
        self.maced(node, 1, outcome="ok")
        node.stop()
        os.rename(node.audit, node.audit + ".1")
        node.start()
        self.encrypt(node)
        node.stop()
        count = 0
        for name in (node.audit + ".1", node.audit):
            with open(name, "rb") as file:
                count += len(file.readlines())
        code, told = self.verify(node, node.audit + ".1", node.audit)
        self.assertEqual((code, told["lines"]), (0, count), told)
        self.assertEqual(self.lines(node)[-1]["command"], "audit verify")  # its login, once all was read

    def test_a_token_that_is_away_is_told_of_and_macs_come_later(self):
        node = self.node()
        with node.token.away():
            node.spawn()
            self.maced(node, 1, outcome="failed")
            node.wait_log("the chain cannot be MACed now: hsm-a: ")
            self.assertNotIn("hsm-a: hsm-a: ", node.log())
        self.maced(node, 1, outcome="ok")
        node.serving()
        self.encrypt(node)
        self.assertEqual(len(self.lines(node, event="mac", outcome="failed")), 1)
        node.stop()
        code, told = self.verify(node)
        self.assertEqual(code, 0, told)
        with node.token.away():
            code, told = self.verify(node)
            self.assertEqual((code, [problem["kind"] for problem in told["problems"]]), (3, ["mac"]), told)
            self.assertIn("was not checked", told["problems"][0]["text"])

    def test_whatever_happens_at_a_mac_costs_no_call_and_the_next_one_comes(self):
        node = self.node(provider={"timeout": "500ms", "start_timeout": "5s"})
        node.fault = faults.inject(node)
        self.addCleanup(node.fault.close)
        node.start()
        with node.client() as client:
            for function in ("C_SignInit", "C_Sign"):
                for what in ("rv 5", "rv b3", "rv 60", "hang", "segv"):
                    with self.subTest(function=function, what=what):
                        node.fault.put("%s 1 %s" % (function, what))
                        rigs.wait_for(lambda: self.answered(client) and node.fault.done(), "the fault to happen")
                        node.fault.put()
                        good = len(self.lines(node, event="mac", outcome="ok"))
                        rigs.wait_for(lambda good=good: self.answered(client) and
                                      len(self.lines(node, event="mac", outcome="ok")) > good, "a MAC after it")
        node.stop()
        self.assertEqual(self.verify(node)[0], 0)

    def test_a_library_that_crashes_at_each_mac_costs_ever_fewer_workers(self):
        node = self.node(provider={"timeout": "500ms", "start_timeout": "5s"})
        node.fault = faults.inject(node)
        self.addCleanup(node.fault.close)
        node.start()
        node.fault.put("C_Sign every segv")
        with node.client() as client:
            end = time.monotonic() + 12
            while time.monotonic() < end or node.fault.done() < 2:
                self.answered(client)
                time.sleep(0.05)
            # At each interval it would be eleven, and twice that if each were tried again elsewhere.
            self.assertLess(node.fault.done(), 7)
            node.fault.put()
            good = len(self.lines(node, event="mac", outcome="ok"))
            rigs.wait_for(lambda: self.answered(client) and len(self.lines(node, event="mac", outcome="ok")) > good,
                          "a MAC after it")
        node.stop()

    def answered(self, client):
        sealed = client.encrypt(DEK)
        self.assertEqual(client.decrypt(sealed.ciphertext, sealed.key_id), DEK)
        return True

    def test_without_a_key_the_log_says_so_once_and_one_that_is_made_is_used(self):
        node = self.node(generate=False).start()
        node.wait_log("no token has a key for it")
        self.encrypt(node)
        made = node.kekctl("audit", "generate", "--output", "json", check=True)
        self.encrypt(node)
        mac = self.maced(node, 1, outcome="ok")[0]
        self.assertEqual(mac["mac_key"], json.loads(made.stdout)["mac_key"])
        again = node.kekctl("audit", "generate")
        self.assertEqual(again.returncode, 1)
        self.assertIn(b"exists already", again.stderr)
        node.stop()
        self.assertEqual(node.log().count("no token has a key for it"), 1)
        self.assertEqual(self.lines(node, event="mac", outcome="failed"), [])
        acts = self.lines(node, event="audit-key", provider="hsm-a")
        self.assertEqual([line["outcome"] for line in acts], ["begun", "ok", "begun", "failed"])

    def test_a_token_that_has_no_key_is_no_failure_when_it_is_away(self):
        node = self.node(generate=False).start()
        node.wait_log("no token has a key for it")
        self.encrypt(node)
        with node.token.away():
            node.wait_log("provider hsm-a is down")
            for _ in range(14):  # a line in each interval, so that there is something to MAC, and beyond what one may take
                self.encrypt(node, 1)
                time.sleep(1)
        node.wait_log("provider hsm-a is ready(?s:.*)provider hsm-a is ready")
        node.kekctl("audit", "generate", check=True)
        self.encrypt(node)
        self.maced(node, 1, outcome="ok")
        node.stop()
        self.assertNotIn("cannot be MACed", node.log())
        self.assertEqual(self.lines(node, event="mac", outcome="failed"), [])

    def test_a_key_that_could_have_left_the_token_is_refused(self):
        node = self.node(generate=False)
        p11.plant(node.token, "k8s-test.audit", os.urandom(16), extractable=True, sensitive=False, wrap=False, unwrap=False,
                  sign=True)
        node.start()
        failed = self.maced(node, 1, outcome="failed")[0]
        self.assertIn("key k8s-test.audit is refused: it can leave the token", failed["error"])
        node.stop()

    def test_a_second_token_makes_them_while_the_first_has_no_key(self):
        node = self.node(pair=True, generate=False)
        refused = node.kekctl("audit", "generate")
        self.assertEqual(refused.returncode, 2)
        self.assertIn(b"name one by --provider", refused.stderr)
        node.kekctl("audit", "generate", "--provider", "hsm-b", check=True)
        node.start()
        self.encrypt(node)
        self.assertEqual(self.maced(node, 1, outcome="ok")[0]["provider"], "hsm-b")
        node.stop()
        self.assertEqual(self.verify(node)[0], 0)


if __name__ == "__main__":
    rigs.main()
