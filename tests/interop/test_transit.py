#!/usr/bin/python3
"""kekd-transit against a server in trouble: every answer has its class, nothing is sealed wrongly, and no token or data
key is in any message or log."""

import base64
import json
import os
import ssl
import sys
import tempfile
import time
import unittest
import warnings

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "conformance"))
from worker import FOLDER, Failed, Worker  # noqa: E402

import rig as rigs  # noqa: E402
import scan  # noqa: E402
from certs import Authority  # noqa: E402
from transit_server import (TOKEN, Server, answer, closed, echo, echo_body, errors, raw, slow, status,  # noqa: E402
                            truncated)

SKIP = 77
KEY = bytes(range(32))
TEXT = base64.b64encode(KEY).decode()
SECRET_ID = "5ec2e71d-0123-4567-89ab-cdef01234567"
SECRETS = [TOKEN, KEY, SECRET_ID, "s.another-0123456789"]


class Place:
    """What a Worker is told of."""
    name, type, env = "fake", "transit", {}

    def __init__(self, folder, server):
        self.folder, self.server, self.versions, self.extra = folder, server, [], {}
        self.token(TOKEN)

    def token(self, text):
        path = os.path.join(self.folder, "token")
        with open(os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
            file.write(text)
        os.rename(path + ".new", path)
        self.extra["token_file"] = path

    def settings(self):
        return {"address": self.server.address, "key": "ring", **self.extra}


class Faults(rigs.Case):
    def setUp(self):
        # pylint: disable=consider-using-with
        self.folder = tempfile.TemporaryDirectory(prefix="kek-transit-")
        self.server = Server()
        self.place = Place(self.folder.name, self.server)
        self.said = []

    def tearDown(self):
        self.server.stop()
        self.folder.cleanup()
        scan.insist({"said": "\n".join(["this:"] + self.said + Failed.heard)}, SECRETS)

    def worker(self, role="serve", **options):
        found = Worker(self.place, role, **options)
        self.addCleanup(found.close)
        return found

    def refused(self, cause, native, text, action, *arguments):
        with self.assertRaises(Failed) as caught:
            action(*arguments)
        failure = caught.exception
        self.said.append(failure.text)
        self.assertEqual((failure.cause, failure.native), (cause, native), failure.text)
        self.assertIn(text, failure.text)

    # What a server may answer, the class, the HTTP status and a piece of the text.
    ANSWERS = (
        (status(403, "permission denied"), "STATE", 403, "policy does not allow"),
        (status(404, "no handler for route"), "LINK", 404, "no handler"),
        (status(405), "LINK", 405, "HTTP status 405"),
        (status(412, "required index state not present"), "BUSY", 412, "required index"),
        (status(429, "request path quota exceeded"), "BUSY", 429, "rate limit"),
        (status(472), "LINK", 472, "secondary"),
        (status(500, "internal error"), "LINK", 500, "internal error"),
        (status(501), "LINK", 501, "not initialised"),
        (status(502), "LINK", 502, "HTTP status 502"),
        (status(503, "Vault is sealed"), "LINK", 503, "Vault is sealed"),
        (status(307, headers=[("Location", "http://127.0.0.1:1/")]), "LINK", 307, "no redirect is followed"),
        (raw(b""), "LINK", 0, "has no "),
        (raw(b"not JSON"), "LINK", 0, "no JSON"),
        (raw(b'{"data":{}'), "LINK", 0, "no JSON"),
        (raw(b'["data"]'), "LINK", 0, "no JSON object"),
        (raw(b'{"data":{},"data":{}}'), "LINK", 0, "no JSON"),
        (raw(b'{"data":{}}'), "LINK", 0, "has no "),
        (raw(b"x" * 300000), "LINK", 0, "more than"),
        (truncated, "LINK", 0, "127.0.0.1"),
        (closed, "LINK", 0, "127.0.0.1"),
        (echo(500), "LINK", 500, "HTTP status 500"),
        (echo_body(500), "LINK", 500, "HTTP status 500"),
    )

    def test_every_answer_has_its_class(self):
        worker = self.worker()
        kek_id = worker.versions[1].kek_id
        sealed = worker.wrap(kek_id, KEY)
        for fault, cause, native, text in self.ANSWERS:
            for path, action, arguments in (("/encrypt/", worker.wrap, (kek_id, KEY)),
                                            ("/decrypt/", worker.unwrap, (kek_id, *sealed))):
                self.server.faults = {path: fault}
                with self.subTest(text=text, path=path):
                    self.refused(cause, native, text, action, *arguments)
                self.server.faults = {}
                self.assertEqual(worker.unwrap(kek_id, *worker.wrap(kek_id, KEY)), KEY)

    def test_every_answer_to_a_look_at_the_key_has_its_class(self):
        worker = self.worker()
        for fault, cause, native, text in self.ANSWERS:
            self.server.faults = {"/keys/": fault}
            with self.subTest(text=text):
                self.refused(cause, native, text, worker.list)
            self.server.faults = {}
            self.assertEqual([v.number for v in worker.list()], [1, 2])

    def test_every_answer_to_a_login_has_its_class(self):
        """AppRole's: the secret id is a credential, and so is what comes back."""
        path = os.path.join(self.folder.name, "secret-id")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as file:
            file.write(SECRET_ID)
        self.place.extra = {"auth": "approle", "role": "kekd", "secret_id_file": path}
        logins = {"auth": {"client_token": TOKEN, "lease_duration": 0, "renewable": False}}
        good = raw(json.dumps(logins).encode())
        for fault, _, native, text in self.ANSWERS:
            self.server.faults = {"auth/approle/login": fault}
            with self.subTest(text=text), self.assertRaises(Failed) as caught:
                Worker(self.place).close()
            self.said.append(caught.exception.text)
            self.assertIn(caught.exception.cause, ("LINK", "BUSY", "PIN_UNUSABLE", "PIN_REFUSED"), caught.exception.text)
            self.assertIn(text, caught.exception.text)
            self.assertEqual(caught.exception.native, native)
        self.server.faults = {"auth/approle/login": good}
        self.worker()

    def test_a_kekd_over_it_tells_no_secret_and_seals_nothing_that_does_not_open(self):
        """One answer of each kind, to a wrap and to an unwrap in turn, in strict mode."""
        server = self.server

        class Nothing:
            uri = conf = ""
        node = rigs.Rig(self, token=Nothing(), generate=False, config={
            "settle": "0s", "metrics": rigs.own_address(), "data_key": {"max_uses": 1},
            "audit": {"file": self.folder.name + "/audit.jsonl"},
            "providers": [{"name": "fake", "type": "transit", "timeout": "1s", "processes": 1, "sessions": 2,
                           **self.place.settings()}]})
        node.start()
        client = node.client(timeout=4.0)
        sealed = [client.encrypt(KEY)]
        calls = [("/encrypt/", lambda: sealed.append(client.encrypt(KEY))), ("/decrypt/", lambda: client.open(sealed[0]))]
        wanted = ("policy does", "rate limit", "internal error", "no redirect", "no JSON object", "more than", "HTTP status 500")
        kinds = [fault for text in wanted for fault, _, _, said in self.ANSWERS if said.startswith(text)]
        self.assertEqual(len(kinds), len(wanted) + 1)  # what says all of it back, and what says the body
        for fault in kinds + [echo(403)]:
            path, call = calls[0]
            calls.reverse()
            server.faults = {path: fault}
            try:
                call()
            except rigs.grpc.RpcError as error:
                self.said.append(error.details())
            server.faults = {}
            rigs.wait_for(lambda: self.opens(client, sealed[0]), "service again")
        for one in sealed:
            self.assertEqual(client.open(one), KEY)
        scan.insist({"log": scan.read(node.log_path), "audit": scan.read(self.folder.name + "/audit.jsonl"),
                     "readyz": node.page("/readyz")[1], "metrics": node.page("/metrics")[1],
                     "said": "\n".join(self.said)}, [TOKEN, KEY])

    def test_a_secret_id_that_is_refused_is_told_as_docs_openbao_quotes_it(self):
        class Nothing:
            uri = conf = ""
        path = os.path.join(self.folder.name, "secret-id")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as file:
            file.write(SECRET_ID)
        self.place.extra = {"auth": "approle", "role": "kekd", "secret_id_file": path}
        self.server.faults = {"auth/approle/login": status(400, "invalid role or secret ID")}
        node = rigs.Rig(self, token=Nothing(), generate=False, config={
            "providers": [{"name": "fake", "type": "transit", "processes": 1, **self.place.settings()}]})
        node.spawn()
        node.wait_log("provider fake is pin-refused: the PIN in %s was refused .HTTP 400., not tried again: " % path)
        node.wait_log("origin=http code=400")

    def test_a_versions_label_is_its_keys_own_name(self):
        self.server.key = self.place.extra["key"] = "k8s-prod"  # the keyring is called otherwise
        self.assertEqual([version.label for version in self.worker().list()], ["k8s-prod.v1", "k8s-prod.v2"])

    def test_a_probe_before_there_is_a_key_says_so(self):
        class Nothing:
            uri = conf = ""
        provider = {"type": "transit", "processes": 1, **self.place.settings()}
        self.server.faults = {"/keys/": status(404)}
        for names, more in ((("bao",), ""), (("bao", "standby"), " --provider bao")):
            node = rigs.Rig(self, token=Nothing(), generate=False, config={"providers": [{"name": name, **provider}
                                                                                         for name in names]})
            done = node.kekctl("probe")
            self.assertEqual(done.returncode, 3, done.stderr)
            self.assertIn("bao: there is no key ring yet: the service was reached and took the login, and nothing else could "
                          "be tried; kekctl key generate%s makes the first version" % more, done.stderr.decode())
            self.assertNotIn(b"nothing works", done.stderr)
        self.server.faults = {}
        self.assertEqual(node.kekctl("probe").returncode, 0)

    def test_doctor_speaks_of_no_pin(self):
        class Nothing:
            uri = conf = ""
        os.chmod(self.place.extra["token_file"], 0o640)
        node = rigs.Rig(self, token=Nothing(), generate=False, config={
            "providers": [{"name": "fake", "type": "transit", "processes": 1, **self.place.settings()}]})
        found = json.loads(node.kekctl("doctor", "--output", "json").stdout)["lines"]
        line, = [line for line in found if line["subject"] == "token of fake"]
        self.assertIn("nobody but its owner may use it", line["seen"])
        self.assertEqual([line for line in found if "pin-source" in line["do"] or " uri" in line["do"]], [])

    def test_a_service_is_not_asked_to_mac_the_audit_logs_chain(self):
        class Nothing:
            uri = conf = ""
        node = rigs.Rig(self, token=Nothing(), generate=False, config={
            "audit": {"file": self.folder.name + "/audit.jsonl", "mac_interval": "1s"},
            "providers": [{"name": "fake", "type": "transit", "processes": 1, **self.place.settings()}]})
        self.server.faults = {"/": status(503, "sealed")}
        node.spawn()
        node.wait_log("the chain is not MACed, since no provider is of a type that can")
        node.wait_log("origin=http code=503")
        self.assertNotIn("cannot be MACed", node.log())

    @staticmethod
    def opens(client, sealed):
        try:
            return client.open(sealed) == KEY
        except rigs.grpc.RpcError:
            return False

    def test_nothing_is_taken_that_is_not_what_was_asked_for(self):
        worker = self.worker()
        kek_id = worker.versions[1].kek_id
        good = "vault:v2:" + base64.b64encode(bytes(60)).decode()
        for data in ({"ciphertext": good.replace("v2", "v1")}, {"ciphertext": good.replace("v2", "v02")},
                     {"ciphertext": good, "key_version": 1}, {"ciphertext": good[:-4]}, {"ciphertext": good + "AAAA" * 5},
                     {"ciphertext": good.replace("vault", "other")}, {"ciphertext": good.replace("A", "-")},
                     {"ciphertext": 5}, {"ciphertext": ""}):
            self.server.faults = {"/encrypt/": lambda *_, data=data: answer(data)}
            with self.subTest(data=data):
                self.refused("LINK", 0, "the server's answer", worker.wrap, kek_id, KEY)
        self.server.faults = {}
        sealed = worker.wrap(kek_id, KEY)
        for plain in (bytes(31), bytes(33), b""):
            self.server.faults = {"/decrypt/": lambda *_, p=plain: answer({"plaintext": base64.b64encode(p).decode()})}
            self.refused("LINK", 0, "no plaintext of 32 bytes", worker.unwrap, kek_id, *sealed)

    def test_a_bad_blob_is_told_from_a_server_in_trouble(self):
        worker = self.worker()
        kek_id = worker.versions[1].kek_id
        alg, blob = worker.wrap(kek_id, KEY)
        bad = bytes([blob[0] ^ 1]) + blob[1:]
        self.refused("DATA", 400, "authentication failed", worker.unwrap, kek_id, alg, bad)
        self.refused("DATA", 0, "never wraps by AES-GCM", worker.unwrap, kek_id, "AES-GCM", blob)
        # All is refused in the same words: then it is the server, not the blob.
        self.server.faults = {"/decrypt/": status(400, "cipher: message authentication failed")}
        self.refused("LINK", 400, "authentication failed", worker.unwrap, kek_id, alg, blob)
        self.server.faults = {"/decrypt/": status(400, "anything")}
        self.refused("LINK", 400, "anything", worker.unwrap, kek_id, alg, blob)

    def test_a_key_that_is_not_as_it_must_be_at_the_start(self):
        for piece, fault, cause, text in (
                ("/health", status(503, "sealed"), "LINK", "sealed"),
                ("/health", status(501), "LINK", "not initialised"),
                ("/health", raw(b"<html>"), "LINK", "no JSON"),
                ("/lookup-self", status(500), "LINK", "HTTP status 500"),
                ("/lookup-self", echo(403), "PIN_UNUSABLE", "does not take this token"),
                ("/keys/", lambda *_: answer({"type": "aes256-gcm96"}), "LINK", "no good latest_version"),
                ("/keys/", lambda *_: answer({"type": "aes256-gcm96", "latest_version": 1, "keys": {"01": 5}}), "LINK",
                 "no good keys"),
                ("/keys/", lambda *_: answer({"type": "aes256-gcm96", "latest_version": 1, "keys": {"1": "x"}}), "LINK",
                 "creation time"),
                ("/keys/", status(404, "no handler for route"), "LINK", "no handler"),
                ("/decrypt/", lambda *_: answer({"plaintext": TEXT}), None, "unwraps another data key"),
                ("/encrypt/", status(429), "BUSY", "rate limit")):
            self.server.faults = {piece: fault}
            with self.subTest(piece=piece, text=text):
                if cause is not None:
                    self.refused(cause, *self.native_of(cause, text, piece), text, lambda: self.worker().close())
                else:
                    shown = self.worker().versions
                    self.assertTrue(all(not v.eligible and text in v.refusal for v in shown), [v.refusal for v in shown])

    @staticmethod
    def native_of(cause, text, piece):
        numbers = {"sealed": 503, "not initialised": 501, "HTTP status 500": 500, "no handler": 404, "rate limit": 429}
        return (403,) if cause == "PIN_UNUSABLE" else (numbers.get(text, 0),)

    def test_a_server_that_takes_anything_is_not_used(self):
        def takes_all(_, body):
            asked = json.loads(body)
            return self.server.decrypt(asked) if asked["ciphertext"] in sealed else answer({"plaintext": TEXT})
        sealed = []
        self.server.faults = {"/decrypt/": takes_all}

        def remember(_, body):
            made = self.server.encrypt(json.loads(body))
            sealed.append(json.loads(made[1])["data"]["ciphertext"])
            return made
        self.server.faults["/encrypt/"] = remember
        shown = self.worker().versions
        self.assertTrue(all("opens a damaged blob" in v.refusal and not v.eligible for v in shown),
                        [v.refusal for v in shown])

    def test_each_version_says_why_it_itself_could_not_be_proven(self):
        sealed = []

        def encrypt(_, body):
            if json.loads(body)["key_version"] == 1:
                return errors(403, "permission denied")
            made = self.server.encrypt(json.loads(body))
            sealed.append(json.loads(made[1])["data"]["ciphertext"])
            return made

        def decrypt(_, body):
            good = json.loads(body)["ciphertext"] in sealed
            return self.server.decrypt(json.loads(body)) if good else answer({"plaintext": TEXT})
        self.server.faults = {"/encrypt/": encrypt, "/decrypt/": decrypt}
        first, second = self.worker().versions
        self.assertIn("policy does not allow", first.refusal)
        self.assertIn("opens a damaged blob", second.refusal)

    def test_a_slow_server_is_told_of_before_kekd_gives_up(self):
        worker = self.worker()
        kek_id = worker.versions[1].kek_id
        self.server.faults = {"/encrypt/": slow(3)}
        began = time.monotonic()
        self.refused("LINK", 0, "no answer in time", worker.wrap, kek_id, KEY)
        self.assertLess(time.monotonic() - began, 2.9)  # Hello says nothing: 1 s, less a tenth

    def test_a_token_that_ends_is_replaced_in_the_middle_of_a_call(self):
        worker = self.worker(sessions=4)
        kek_id = worker.versions[1].kek_id
        self.server.tokens = {"s.another-0123456789": 0}
        self.place.token("s.another-0123456789")
        for _ in range(8):
            worker.send(5, worker.wrap_body(kek_id, KEY))
        for _ in range(8):
            Worker.result(worker.receive()[1])
        taken = [token for method, path, token in self.server.asked if "lookup-self" in path and "another" in token]
        self.assertLessEqual(len(taken), 2, "more than one thread asked for a new token")
        self.server.tokens = {}
        self.refused("LINK", 403, "does not take this token", worker.wrap, kek_id, KEY)
        asked = len(self.server.asked)
        for _ in range(5):
            self.refused("LINK", 403, "does not take this token", worker.wrap, kek_id, KEY)
        self.assertLess(len(self.server.asked) - asked, 20)

    def test_a_token_is_renewed_before_it_ends(self):
        self.server.tokens = {TOKEN: 3}
        self.worker()
        rigs.wait_for(lambda: any("renew-self" in path for _, path, _ in self.server.asked), "its renewal")

    def test_a_key_that_vanishes_or_changes(self):
        worker = self.worker()
        kek_id = worker.versions[1].kek_id
        sealed = worker.wrap(kek_id, KEY)
        self.server.faults = {"/keys/": lambda *_: errors(404)}
        self.refused("LINK", 0, "was there and is not any more", worker.list)
        self.assertEqual(self.worker().versions, [])
        self.server.faults = {}
        self.server.created[2] += 1
        self.server.secret = os.urandom(32)
        self.refused("KEY_MISSING", 0, "any more", worker.unwrap, kek_id, *sealed)
        self.assertNotIn(kek_id, [v.kek_id for v in worker.list()])

    def test_the_connection_is_kept(self):
        worker = self.worker()
        kek_id = worker.versions[1].kek_id
        ports = set()

        def note(handler, body):
            ports.add(handler.client_address[1])
            return self.server.encrypt(json.loads(body))
        self.server.faults = {"/encrypt/": note}
        for _ in range(10):
            worker.wrap(kek_id, KEY)
        self.assertEqual(len(ports), 1)

    def test_only_the_ca_that_is_configured_is_believed(self):
        good, other = (Authority(os.path.join(self.folder.name, name), name) for name in ("good", "other"))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*good.issue("/CN=x", "IP:127.0.0.1", name="server"))
        self.server.stop()
        self.server = self.place.server = Server(context)
        self.place.extra["ca"] = good.cert
        self.worker()
        self.place.extra["ca"] = other.cert
        self.refused("LINK", 0, "its certificate must lead to ca", lambda: self.worker().close())
        del self.place.extra["ca"]
        self.refused("LINK", 0, "for want of", lambda: self.worker().close())
        warnings.simplefilter("ignore", DeprecationWarning)  # of old versions of TLS
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
        self.place.extra["ca"] = good.cert
        self.refused("LINK", 0, "127.0.0.1", lambda: self.worker().close())

    def test_settings_that_are_not_good_are_named(self):
        for extra, text in (({"mount": "../x"}, "mount: expected"), ({"key": "a/b"}, "key: expected"),
                            ({"key": "a\r\nX: y"}, "key: expected"), ({"namespace": "a/"}, "namespace: expected"),
                            ({"auth": "userpass"}, "auth: expected"), ({"auth": "approle"}, "secret_id_file: expected"),
                            ({"auth": "approle", "secret_id_file": "/x"}, "role: expected"),
                            ({"auth": "cert"}, "cert: expected"), ({"token_file": "x"}, "token_file: expected"),
                            ({"address": "ftp://x:1"}, "address: expected")):
            place = Place(self.folder.name, self.server)
            place.extra.update(extra)
            with self.subTest(text=text):
                self.refused("BAD_REQUEST", 0, text, lambda place=place: Worker(place).close())

    def test_a_token_file_that_others_read_is_not_used(self):
        os.chmod(self.place.extra["token_file"], 0o640)
        self.refused("PIN_UNUSABLE", 0, "nobody but its owner may use it", lambda: self.worker().close())


if __name__ == "__main__":
    if not os.path.exists(os.path.join(FOLDER, "kekd-transit")):
        print("SKIP: test_transit.py: built with --disable-bridge", flush=True)
        sys.exit(SKIP)
    LOG = tempfile.TemporaryFile()  # pylint: disable=consider-using-with
    KEPT = os.dup(2)
    os.dup2(LOG.fileno(), 2)
    PROGRAM = unittest.main(exit=False, verbosity=0, testRunner=unittest.TextTestRunner(
        stream=os.fdopen(os.dup(KEPT), "w"), verbosity=1))
    os.dup2(KEPT, 2)
    LOG.seek(0)
    LINES = LOG.read().decode(errors="replace")
    print(LINES)
    scan.insist({"what workers logged": "this:" + LINES}, SECRETS)
    sys.exit(0 if PROGRAM.result.wasSuccessful() else 1)
