"""The audit log of a whole kekd: every change of the keyring that the node saw, told when it saw it."""

import json
import os
import time

import h2
import p11
import rig as rigs
from grpc import StatusCode

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
        with open(node.audit, encoding="utf-8") as file:
            lines = [json.loads(line) for line in file]
        return [line for line in lines if all(line.get(key) == value for key, value in fields.items())]

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
        line, = self.lines(node, event="generate")
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
        line, = self.lines(node, event="pin-retry")
        self.assertEqual((line["provider"], line["outcome"], line["forgotten"]), ("hsm-a", "ok", 1))
        node.stop()


if __name__ == "__main__":
    rigs.main()
