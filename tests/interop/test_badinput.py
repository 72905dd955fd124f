"""What a writer of etcd could send: each gets its exact status, says nothing of why, changes nothing."""

import os

import rig as rigs
from grpc import StatusCode

DEK = bytes(range(32, 64))
BAD = StatusCode.INVALID_ARGUMENT


class BadInput(rigs.SharedCase):
    settings = {"config": {"log": {"level": "info"}}}

    def setUp(self):
        self.client = self.node.client()
        self.sealed = self.client.encrypt(DEK)
        self.cipher = self.client.encrypt1(DEK)

    def tearDown(self):
        # Whatever was sent: what was good is good, and so is the health.
        self.assertEqual(self.client.open(self.sealed), DEK)
        self.assertEqual(self.client.decrypt1(self.cipher), DEK)
        self.assertEqual(self.client.status().healthz, "ok")
        self.client.close()

    def open(self, ciphertext):
        return self.client.decrypt(ciphertext, self.sealed.key_id, self.sealed.annotations)

    def test_every_truncation_is_refused_with_one_message(self):
        messages = set()
        for size in range(len(self.sealed.ciphertext)):
            messages.add(self.refused(BAD, self.open, self.sealed.ciphertext[:size]))
            messages.add(self.refused(BAD, self.client.decrypt1, self.cipher[:size]))
        # Empty may be told apart; among the rest, the message must not tell a truncation from another.
        self.assertLessEqual(len(messages), 2, messages)

    def test_every_flipped_byte_is_refused(self):
        messages = set()
        for good, call in ((self.sealed.ciphertext, self.open), (self.cipher, self.client.decrypt1)):
            for at in range(len(good)):
                for mask in (0x01, 0x80):
                    bad = bytearray(good)
                    bad[at] ^= mask
                    said = self.refused(BAD, call, bytes(bad))
                    # A KEK that is not known is named as it was sent.
                    messages.add(said.replace(bytes(bad)[8:24].hex(), "KEK"))
        # One for damage, one for a KEK that is not known or not the key_id's; never more.
        self.assertLessEqual(len(messages), 3, messages)

    def test_bytes_put_after_or_between_are_refused(self):
        for good, call in ((self.sealed.ciphertext, self.open), (self.cipher, self.client.decrypt1)):
            for bad in (good + b"\0", good + os.urandom(16), good + good, good[:40] + b"\0" + good[40:],
                        b"\0" + good):
                self.refused(BAD, call, bad)

    def test_anything_else_is_refused(self):
        for junk in (b"", b"K", b"KEK", b"KEK\x01", b"KEK\x01\x01\x01\x01", b"KEK\x02" + bytes(200),
                     bytes(16), bytes(200), os.urandom(200), b"\xff" * 1024, os.urandom(60000)):
            self.refused(BAD, self.open, junk)
            self.refused(BAD, self.client.decrypt1, junk)

    def test_an_oversized_message_is_refused(self):
        big = os.urandom(70000)
        self.refused(StatusCode.RESOURCE_EXHAUSTED, self.open, big)
        self.refused(StatusCode.RESOURCE_EXHAUSTED, self.client.decrypt1, big)
        self.refused(StatusCode.RESOURCE_EXHAUSTED, self.client.encrypt, big)
        self.refused(StatusCode.RESOURCE_EXHAUSTED, self.client.encrypt1, big)
        self.refused(StatusCode.RESOURCE_EXHAUSTED, self.client.encrypt1, os.urandom(3 << 20))

    def test_plaintexts_that_do_not_fit_are_refused(self):
        self.refused(BAD, self.client.encrypt, b"")
        self.refused(BAD, self.client.encrypt1, b"")
        # The API server takes 1,024 bytes of v2 ciphertext at most: the last that fits, the first not.
        fits = 512
        while True:
            try:
                sealed = self.client.encrypt(bytes(fits))
            except rigs.grpc.RpcError as error:
                self.assertEqual(error.code(), BAD)
                break
            self.assertLessEqual(len(sealed.ciphertext), 1024)
            last = len(sealed.ciphertext)
            fits += 1
            self.assertLess(fits, 1024)
        # AES-CBC pads to 16: one block more would not have fitted.
        self.assertGreater(last + 16, 1024)
        self.refused(BAD, self.client.encrypt, bytes(1024))
        self.assertTrue(self.client.encrypt1(bytes(1024)))

    def test_a_key_id_that_is_not_the_envelopes_is_refused(self):
        good = self.sealed.key_id
        for key_id in ("", "kek1-" + "0" * 32, good[:-1], good + "0", good.upper(), "x" * 1024,
                       "x" * 2000, good + "\n", good + "\0", good + "\0x", "\0" + good):
            self.refused(BAD, self.client.decrypt, self.sealed.ciphertext, key_id)

    def test_a_kek_nobody_knows_is_refused(self):
        # The kek id stands after magic, suite, mode, n and alg: 8 bytes in (docs/envelope-format.md).
        for at in (8, 23):
            bad = bytearray(self.sealed.ciphertext)
            bad[at] ^= 0xFF
            self.refused(BAD, self.open, bytes(bad))

    def test_another_tokens_ciphertext_is_refused(self):
        other = self.rig(label="other").start()
        stranger = other.client()
        sealed, cipher = stranger.encrypt(DEK), stranger.encrypt1(DEK)
        self.assertNotEqual(sealed.key_id, self.sealed.key_id)
        self.refused(BAD, self.client.open, sealed)
        self.refused(BAD, self.open, sealed.ciphertext)
        self.refused(BAD, self.client.decrypt1, cipher)
        other.stop()

    def test_spliced_envelopes_are_refused(self):
        other = self.client.encrypt(os.urandom(32)).ciphertext
        good = self.sealed.ciphertext
        self.assertEqual(len(other), len(good))
        for at in (4, 7, 24, 26, 60, len(good) - 80, len(good) - 48, len(good) - 32):
            mixed = good[:at] + other[at:]
            if mixed not in (good, other):
                self.refused(BAD, self.open, mixed)

    def test_malformed_messages_are_refused(self):
        for path in ("/v2.KeyManagementService/Encrypt", "/v2.KeyManagementService/Decrypt",
                     "/v1beta1.KeyManagementService/Encrypt", "/v1beta1.KeyManagementService/Decrypt"):
            for junk in (b"\x0a", b"\x0a\xff", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
                         b"\x0a\x05abc", b"\xff" * 20, b"\x0b\x0a\x01a", b"\x0d\x01",
                         b"\x80" * 30, b"\x0a\x80\x80\x80\x80\x08"):
                self.refused(BAD, self.client.call, path, junk)

    def test_strings_are_utf8_and_nothing_else_is_asked_of_them(self):
        # As Go's and every other protobuf has it; which one is wrong does not matter.
        field, client = rigs.kms.field, self.client
        for bad in (b"\xff", b"a\x80", b"\xc3", b"\xe2\x82", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80"):
            for path, message in (
                    ("/v2.KeyManagementService/Encrypt", field(1, DEK) + field(2, bad)),
                    ("/v2.KeyManagementService/Encrypt", field(2, bad) + field(1, DEK) + field(2, "last")),
                    ("/v2.KeyManagementService/Decrypt", field(1, self.sealed.ciphertext) + field(3, bad)),
                    ("/v2.KeyManagementService/Decrypt",
                     client.decrypt_request(self.sealed.ciphertext, self.sealed.key_id) +
                     field(4, field(1, bad) + field(2, b"value"))),
                    ("/v1beta1.KeyManagementService/Version", field(1, bad)),
                    ("/v1beta1.KeyManagementService/Encrypt", field(1, bad) + field(2, DEK))):
                self.assertIn("UTF-8", self.refused(BAD, client.call, path, message))
        for good in ("\u0080", "\u009f", "\u00e9", "\u20ac", "\U0010ffff", "\0", "", "\0\u20ac"):
            sealed = client.encrypt(DEK, uid=good)
            self.assertEqual(client.open(sealed, uid=good), DEK)

    def test_fields_nobody_knows_are_ignored(self):
        # proto3's promise to later API servers.
        extra = rigs.kms.field(15, b"later") + b"\x98\x06\x01"
        answer = self.client.call("/v2.KeyManagementService/Encrypt",
                                  self.client.encrypt_request(DEK) + extra)
        self.assertEqual(self.client.open(rigs.kms.Encrypted(answer)), DEK)
        answer = self.client.call("/v2.KeyManagementService/Status", extra)
        self.assertEqual(rigs.kms.Status(answer).healthz, "ok")

    def test_unknown_methods_are_unimplemented(self):
        for path in ("/v2.KeyManagementService/Rewrap", "/v2alpha1.KeyManagementService/Status",
                     "/v1beta1.KeyManagementService/Status", "/v2.KeyManagementService/",
                     "/v2.KeyManagementService/status", "/v2.KeyManagementService/StatusX",
                     "/grpc.health.v1.Health/Check", "/x"):
            self.refused(StatusCode.UNIMPLEMENTED, self.client.call, path, b"")

    def test_hostile_uids_and_annotations_change_nothing(self):
        for uid in ("a" * 4096, "line\nbreak \x1b[31m \x00 end", "ünïcode", "%s%n%x"):
            sealed = self.client.encrypt(DEK, uid=uid)
            self.assertEqual(self.client.open(sealed, uid=uid), DEK)
        self.assertNotIn("\x1b[31m", self.node.log())
        many = {"a%d.example.com" % number: b"v" * 64 for number in range(300)}
        try:
            self.client.decrypt(self.sealed.ciphertext, self.sealed.key_id, many)
        except rigs.grpc.RpcError as error:
            self.assertEqual(error.code(), BAD)


if __name__ == "__main__":
    rigs.main()
