"""kekd-gcpkms alone, against a stand-in for Cloud KMS that fails in every way: which class it says each failure is,
that what could be wrong is not taken, and by how many requests."""

import os

import gcp
from worker import Failed, Worker

KEY = bytes(range(32))
SLOW = 5000  # ms, more than one call may take


class Faults(gcp.Case):
    """One worker; each test leaves the server as it was."""

    def setUp(self):
        super().setUp()
        self.worker = Worker(gcp.AsWorker(self.provider()))
        self.addCleanup(self.worker.close)
        self.id = self.worker.versions[-1].kek_id
        self.blob = self.worker.wrap(self.id, KEY)[1]
        self.server.seen()

    def ask(self, call):
        if call == "encrypt":
            alg, blob = self.worker.wrap(self.id, KEY)
            self.assertEqual((alg, self.worker.unwrap(self.id, alg, blob)), ("GCP-KMS", KEY))
        elif call == "decrypt":
            self.assertEqual(self.worker.unwrap(self.id, "GCP-KMS", self.blob), KEY)
        else:
            self.assertEqual([version.number for version in self.worker.list()], [1])

    # (calls, fault, cause, what the text has, requests)
    ALL = ("encrypt", "decrypt", "list")
    TABLE = [
        (ALL, {"refuse": "UNAVAILABLE"}, "BUSY", "TRANSIENT: {}: HTTP status 503 UNAVAILABLE: as told", 2),
        (ALL, {"refuse": "RESOURCE_EXHAUSTED"}, "BUSY", "TRANSIENT: {}: HTTP status 429", 2),
        (ALL, {"refuse": "INTERNAL"}, "BUSY", "TRANSIENT: {}: HTTP status 500", 2),
        (ALL, {"refuse": "DEADLINE_EXCEEDED"}, "BUSY", "TRANSIENT: {}: HTTP status 504", 2),
        (ALL, {"status": 502, "text": "<html>"}, "BUSY", "TRANSIENT: {}: HTTP status 502", 2),
        (ALL, {"status": 404, "text": "<html>"}, "BUSY", "TRANSIENT: {}: HTTP status 404", 2),
        (ALL, {"status": 302, "headers": {"Location": "/v1/elsewhere"}}, "BUSY", "a redirect, which is not followed", 2),
        (ALL, {"refuse": "PERMISSION_DENIED"}, "KEY_UNFIT", "AUTHZ: {}: HTTP status 403 PERMISSION_DENIED", 1),
        (ALL, {"refuse": "NOT_FOUND"}, "KEY_MISSING", "NOTFOUND: {}: HTTP status 404 NOT_FOUND", 1),
        (ALL, {"refuse": "FAILED_PRECONDITION"}, "STATE", "KEYSTATE: {}: HTTP status 400 FAILED_PRECONDITION", 1),
        (("encrypt", "list"), {"refuse": "INVALID_ARGUMENT"}, "UNSUPPORTED", "REQUEST: {}: HTTP status 400", 1),
        (("decrypt",), {"refuse": "INVALID_ARGUMENT"}, "DATA", "INTEGRITY: {}: HTTP status 400", 1),
        (ALL, {"refuse": "UNAUTHENTICATED"}, "KEY_UNFIT", "AUTH: {}: HTTP status 401 UNAUTHENTICATED", 2),
        (ALL, {"text": "{"}, "BUSY", "TRANSIENT: {}: ", 2),
        (ALL, {"text": "[]"}, "BUSY", "TRANSIENT: {}: ", 2),
        (ALL, {"text": '{"name":"a","name":"b"}'}, "BUSY", "TRANSIENT: {}: ", 2),
        (ALL, {"cut": 20}, "BUSY", "TRANSIENT: {}: ", 2),
        (ALL, {"pad": 300000}, "BUSY", "the answer has more than", 2),
        (ALL, {"reset": True}, "BUSY", "TRANSIENT: {}: ", 3),  # libcurl itself tries a kept connection's request again
        (ALL, {"wait": SLOW}, "BUSY", "no answer in time", 1),
        (("encrypt",), {"text": ""}, "BUSY", "verifiedPlaintextCrc32c", 1),
        (("encrypt",), {"drop": ["verifiedPlaintextCrc32c"]}, "BUSY", "the request was damaged", 1),
        (("encrypt",), {"drop": ["verifiedAdditionalAuthenticatedDataCrc32c"]}, "BUSY", "the request was damaged", 1),
        (("encrypt",), {"flip": "ciphertext"}, "BUSY", "CRC32C do not match", 1),
        (("encrypt",), {"drop": ["ciphertextCrc32c"]}, "BUSY", "CRC32C do not match", 1),
        (("encrypt",), {"set": {"ciphertextCrc32c": 1}}, "BUSY", "CRC32C do not match", 1),
        (("encrypt",), {"set": {"name": gcp.KEY + "/cryptoKeyVersions/2"}}, "KEY_UNFIT", "another key version", 1),
        (("encrypt", "decrypt"), {"set": {"protectionLevel": "SOFTWARE"}}, "KEY_UNFIT", "protection level SOFTWARE", 1),
        (("encrypt", "decrypt"), {"drop": ["protectionLevel"]}, "KEY_UNFIT", "protection level none", 1),
        (("decrypt",), {"flip": "plaintext"}, "BUSY", "CRC32C do not match", 1),
        (("decrypt",), {"drop": ["plaintextCrc32c"]}, "BUSY", "CRC32C do not match", 1),
        (("decrypt",), {"set": {"plaintext": "aGk=", "plaintextCrc32c": "4120762818"}}, "DATA", "no data key", 1),
        (("list",), {"set": {"cryptoKeyVersions": [{"name": "projects/x"}]}}, "KEY_UNFIT", "of another key", 1),
    ]
    NAMES = {"list": "listCryptoKeyVersions"}

    def test_each_failure_is_of_its_class_and_the_next_call_works(self):
        for calls, fault, cause, text, requests in self.TABLE:
            for call in calls:
                with self.subTest(call=call, fault=fault):
                    name = self.NAMES.get(call, call)
                    self.server.do("faults", faults=[dict(fault, call=name)])
                    self.server.seen()
                    with self.assertRaises(Failed) as caught:
                        self.ask(call)
                    self.assertEqual(caught.exception.cause, cause, caught.exception.text)
                    self.assertIn(text.format(call), caught.exception.text)
                    self.assertLess(len(caught.exception.text), 512)
                    asked = len(self.server.seen(name))
                    self.server.do("faults", faults=[])
                    self.assertIn(asked, (requests, 2) if requests == 3 else (requests,))
                    self.ask(call)

    def test_nothing_that_was_sent_comes_back_in_a_message(self):
        for call in self.ALL:
            secrets = [one for one in self.server.do("secrets") if one.startswith("ya29.")] + ["AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="]
            for secret in secrets[:None if call == "encrypt" else -1]:
                self.server.do("faults", faults=[{"call": self.NAMES.get(call, call), "refuse": "PERMISSION_DENIED",
                                                  "message": "you sent " + secret}])
                with self.assertRaises(Failed) as caught:
                    self.ask(call)
                self.assertNotIn(secret[:12], caught.exception.text)
                self.assertIn("403", caught.exception.text)

    def test_what_passes_is_tried_once_more_unseen(self):
        for call in self.ALL:
            for fault in ({"refuse": "UNAVAILABLE"}, {"reset": True}, {"refuse": "UNAUTHENTICATED"}):
                with self.subTest(call=call, fault=fault):
                    self.server.do("faults", faults=[dict(fault, call=self.NAMES.get(call, call), times=1)])
                    self.ask(call)

    def test_what_another_provider_wrapped_is_no_ciphertext(self):
        for alg, length in (("AES-KW", 40), ("AES-GCM", 60)):
            with self.assertRaises(Failed) as caught:
                self.worker.unwrap(self.id, alg, bytes(length))
            self.assertEqual(caught.exception.cause, "DATA")
        self.assertEqual(self.server.seen(), [])

    def test_a_version_that_was_made_a_moment_ago_is_found(self):
        self.server.do("version", key=gcp.KEY)
        with Worker(gcp.AsWorker(self.provider())) as other:
            second = other.versions[-1].kek_id
        alg, blob = self.worker.wrap(second, KEY)
        self.assertEqual(self.worker.unwrap(second, alg, blob), KEY)
        with self.assertRaises(Failed) as caught:
            self.worker.wrap(os.urandom(16), KEY)
        self.assertEqual(caught.exception.cause, "KEY_MISSING")

    def test_a_list_goes_over_pages_and_leaves_destroyed_ones_out(self):
        self.server.make_key(versions=9, page=2)
        self.server.set(2, state="DESTROYED")
        self.server.set(3, state="DISABLED")
        self.server.set(4, state="DESTROY_SCHEDULED", destroyTime="2030-01-02T03:04:05Z")
        self.server.set(5, protectionLevel="SOFTWARE")
        shown = self.worker.list()
        self.assertEqual([one.number for one in shown], [5, 1, 3, 4, 6, 7, 8, 9])
        states = {one.number: (one.can_wrap, one.can_unwrap, one.eligible) for one in shown}
        self.assertEqual(states[9], (True, True, True))
        self.assertEqual(states[3], (False, False, True))
        self.assertEqual(states[4], (False, False, True))
        self.assertEqual(states[5][2], False)
        self.assertEqual(len(self.server.seen("listCryptoKeyVersions")), 5)

    def test_what_an_officer_changes_is_asked_for_once_and_believed_by_its_name_alone(self):
        other = gcp.KEY + "x/cryptoKeyVersions/1"
        with Worker(gcp.AsWorker(self.provider()), role="officer") as officer:
            for call, change in (("createCryptoKeyVersion", lambda: officer.generate(9, bytes(16))),
                                 ("updateCryptoKeyVersion", lambda: officer.set_state(self.id, "active"))):
                for fault, cause, text in (
                        ({"refuse": "UNAVAILABLE"}, "BUSY", "503"), ({"cut": 20}, "BUSY", "TRANSIENT"),
                        ({"text": "{"}, "BUSY", "TRANSIENT"), ({"pad": 300000}, "BUSY", "more than"),
                        ({"set": {"name": other}}, "KEY_UNFIT", "of another version"), ({"text": "{}"}, "KEY_UNFIT", "another"),
                        ({"refuse": "PERMISSION_DENIED"}, "KEY_UNFIT", "AUTHZ"),
                        ({"status": 302, "headers": {"Location": "/v1/elsewhere"}}, "BUSY", "redirect"),
                        ({"set": {"state": "DISABLED"}}, "STATE", "is DISABLED")):
                    with self.subTest(call=call, fault=fault):
                        self.server.do("faults", faults=[dict(fault, call=call)])
                        self.server.seen()
                        with self.assertRaises(Failed) as caught:
                            change()
                        self.assertEqual(caught.exception.cause, cause, caught.exception.text)
                        self.assertIn(text, caught.exception.text)
                        self.assertEqual(len(self.server.seen(call)), 1)
                self.server.do("faults", faults=[])

    def test_an_officer_waits_for_what_takes_longer_than_a_call(self):
        self.server.do("faults", faults=[{"call": name, "wait": 1500} for name in (
            "listCryptoKeyVersions", "updateCryptoKeyVersion")])
        with self.assertRaisesRegex(Failed, "no answer in time"):
            self.worker.list()
        with Worker(gcp.AsWorker(self.provider()), role="officer") as officer:
            self.assertEqual(len(officer.list()), 1)
            officer.set_state(self.id, "active")

    def test_an_officer_makes_disables_and_enables_versions_and_a_server_does_not(self):
        with self.assertRaises(Failed) as caught:
            self.worker.generate(2, bytes(16))
        self.assertEqual(caught.exception.cause, "UNSUPPORTED")
        with Worker(gcp.AsWorker(self.provider()), role="officer") as officer:
            with self.assertRaisesRegex(Failed, "STATE: version 1 exists already"):
                officer.generate(1, bytes(16))
            made = officer.generate(2, bytes(16))
            self.assertEqual([one.kek_id for one in officer.list()], [self.id, made])
            officer.set_state(made, "suspended")
            self.assertEqual([one.can_unwrap for one in officer.list()], [True, False])
            officer.set_state(made, "active")
            self.assertEqual([one.can_wrap for one in officer.list()], [True, True])
            for refused in (lambda: officer.set_state(made, "deactivated"), lambda: officer.destroy(made),
                            lambda: officer.generate(3, bytes(16), "pre-active")):
                with self.assertRaises(Failed) as caught:
                    refused()
                self.assertEqual(caught.exception.cause, "UNSUPPORTED", caught.exception.text)
            with self.assertRaisesRegex(Failed, "gcloud kms keys versions destroy 2 "):
                officer.destroy(made)
            for of_none in (lambda: officer.set_state(bytes(16), "suspended"), lambda: officer.destroy(bytes(16))):
                with self.assertRaises(Failed) as caught:
                    of_none()
                self.assertEqual(caught.exception.cause, "KEY_MISSING", caught.exception.text)


class Starts(gcp.Case):
    """What a worker says that cannot start, and each way to an access token."""

    def fails(self, cause, *texts, **settings):
        with self.assertRaises(Failed) as caught:
            Worker(gcp.AsWorker(self.provider(**settings))).close()
        self.assertEqual(caught.exception.cause, cause, caught.exception.text)
        for text in texts:
            self.assertIn(text, caught.exception.text)

    def works(self, provider, **more):
        with Worker(gcp.AsWorker(provider, **more)) as worker:
            kek_id = worker.versions[-1].kek_id
            self.assertEqual(worker.unwrap(kek_id, *worker.wrap(kek_id, KEY)), KEY)

    def test_the_least_permissions_are_enough_and_each_is_needed(self):
        for missing in [None] + gcp.LEAST:
            with self.subTest(missing=missing):
                allowed = [one for one in gcp.LEAST if one != missing]
                self.server.do("allow", principal=gcp.EMAIL, permissions=allowed)
                if missing is None:
                    self.works(self.provider())
                else:
                    self.fails("PIN_UNUSABLE", "AUTHZ", missing)

    def test_an_identity_of_another_issuer_is_exchanged(self):
        for impersonate in (False, True):
            for kind in ("text", "json"):
                self.works(self.provider(self.server.federate(impersonate, kind)))
        self.server.do("allow", principal="principal://workload", permissions=[])
        self.fails("PIN_UNUSABLE", "impersonation", "iam.serviceAccounts.getAccessToken",
                   credentials=self.server.federate(True))
        federated = self.server.federate()
        self.server.write("subject", "a-subject-that-has-ended\n")
        self.fails("PIN_UNUSABLE", "security token service", "invalid_grant", credentials=federated)

    def test_the_metadata_server_is_asked_by_its_rules(self):
        host = {"GCE_METADATA_HOST": self.server.url.replace("http://", "")}
        provider = dict(self.provider(), credentials="metadata")
        self.works(provider, env=host)
        self.server.do("faults", faults=[{"call": "metadata", "headers": {"Metadata-Flavor": "Other"}}])
        with self.assertRaises(Failed) as caught:
            Worker(gcp.AsWorker(provider, env=host)).close()
        self.assertIn("none of Google's", caught.exception.text)

    # What an endpoint that gives access tokens may answer, and what the text has.
    GRANTS = (
        ({"oauth": "invalid_client", "code": 401}, "401 invalid_client"), ({"status": 500, "text": "<html>"}, "500"),
        ({"status": 503, "text": ""}, "503"), ({"text": ""}, ""), ({"text": "{"}, ""), ({"text": "[]"}, ""), ({"text": "{}"}, ""),
        ({"text": '{"access_token":"a b","expires_in":3600,"token_type":"Bearer"}'}, ""),
        ({"text": '{"access_token":"%s","expires_in":3600,"token_type":"Bearer"}' % ("a" * 20000)}, ""),
        ({"text": '{"accessToken":7,"access_token":7}'}, ""), ({"cut": 20}, ""), ({"pad": 300000}, "more than"),
        ({"reset": True}, ""), ({"status": 302, "headers": {"Location": "/v1/elsewhere"}}, "302"),
        ({"oauth": "invalid_grant", "echo": True}, "400"))

    def test_each_answer_of_an_endpoint_that_gives_tokens_is_told_as_that(self):
        host = {"GCE_METADATA_HOST": self.server.url.replace("http://", "")}
        ways = (("token", self.provider(), {}), ("sts", self.provider(self.server.federate()), {}),
                ("impersonate", self.provider(self.server.federate(True)), {}),
                ("metadata", dict(self.provider(), credentials="metadata"), host))
        for call, provider, env in ways:
            for fault, text in self.GRANTS:
                with self.subTest(call=call, fault=str(fault)[:80]):
                    self.server.do("faults", faults=[dict(fault, call=call)])
                    with self.assertRaises(Failed) as caught:
                        Worker(gcp.AsWorker(provider, env=env)).close()
                    self.assertIn(caught.exception.cause, ("LINK", "PIN_UNUSABLE"), caught.exception.text)
                    self.assertRegex(caught.exception.text, "^(TRANSIENT|AUTH|AUTHZ): ")
                    self.assertIn(text, caught.exception.text)
            self.server.do("faults", faults=[])
            self.works(provider, env=env)
        self.assertEqual(self.server.seen("encrypt")[-1]["call"], "encrypt")

    def test_a_refused_assertion_is_told_with_google_s_word(self):
        credentials = self.server.new_account_key()
        self.server.new_account_key("other", "key-2")
        self.fails("PIN_UNUSABLE", "AUTH: the token endpoint", "invalid_grant", "Invalid JWT Signature",
                   credentials=credentials)

    def test_a_key_of_too_low_a_protection_is_shown_and_refused(self):
        self.server.make_key(level="SOFTWARE")
        with Worker(gcp.AsWorker(self.provider())) as worker:
            self.assertEqual([(one.eligible, one.refusal) for one in worker.versions],
                             [(False, "its protectionLevel is SOFTWARE, which `protection` does not allow")])
            with self.assertRaises(Failed) as caught:
                worker.wrap(worker.versions[0].kek_id, KEY)
            self.assertEqual(caught.exception.cause, "KEY_UNFIT")
        self.works(self.provider(protection="any"))
        self.server.make_key(level="HSM_SINGLE_TENANT")
        self.works(self.provider(protection="hsm-single-tenant"))

    def test_a_key_of_another_purpose_or_name_is_told(self):
        self.server.make_key(purpose="ASYMMETRIC_SIGN", algorithm="EC_SIGN_P256_SHA256")
        with Worker(gcp.AsWorker(self.provider())) as worker:
            self.assertIn("EC_SIGN_P256_SHA256", worker.versions[0].refusal)
        self.fails("KEY_MISSING", "NOTFOUND", key=gcp.KEY + "x")
        self.fails("BAD_REQUEST", "key: expected", key="kek")
        self.fails("BAD_REQUEST", "endpoint", endpoint="http://cloudkms.googleapis.com:80")

    def test_a_service_that_binds_nothing_is_not_used(self):
        self.server.do("faults", faults=[{"call": "decrypt", "ignoreAad": True}])
        with Worker(gcp.AsWorker(self.provider())) as worker:
            self.assertIn("protects nothing", worker.versions[0].refusal)

    def test_a_token_that_ends_is_made_anew_ahead(self):
        self.server.do("life", seconds=3)
        with Worker(gcp.AsWorker(self.provider())) as worker:
            kek_id = worker.versions[-1].kek_id
            self.server.seen()
            gcp.rigs.wait_for(lambda: len([one for one in self.server.do("seen") if one["call"] == "token"]) > 0,
                              "a new token")
            worker.wrap(kek_id, KEY)
            self.server.do("revoke")
            worker.wrap(kek_id, KEY)


class Tls(gcp.rigs.Case):
    def test_the_certificate_must_lead_to_the_ca(self):
        server = gcp.Server(self, tls=True)
        server.make_key()
        provider = {"key": gcp.KEY, "endpoint": server.url, "credentials": "file:" + server.new_account_key()}
        with Worker(gcp.AsWorker(dict(provider, ca=server.ca))) as worker:
            worker.wrap(worker.versions[-1].kek_id, KEY)
        server.seen()
        with self.assertRaises(Failed) as caught:
            Worker(gcp.AsWorker(provider)).close()
        self.assertEqual(caught.exception.cause, "LINK", caught.exception.text)
        self.assertIn("certificate", caught.exception.text)
        self.assertEqual(server.seen(), [])


if __name__ == "__main__":
    gcp.main()
