"""What is sealed opens again: both APIs, every size, over a restart, on another node; and not elsewhere."""

import os
import re

import rig as rigs
from grpc import StatusCode

DEK = bytes(range(32))


class RoundTrip(rigs.Case):
    def setUp(self):
        self.node = self.rig().start()
        self.client = self.node.client()

    def test_v2_opens_what_it_sealed_at_every_size(self):
        for size in (1, 4, 15, 16, 17, 31, 32, 33, 64, 255, 256, 512):
            plaintext = os.urandom(size)
            sealed = self.client.encrypt(plaintext)
            self.assertLessEqual(len(sealed.ciphertext), 1024, "size %d" % size)
            self.assertNotIn(plaintext[:16] if size >= 16 else b"\0" * 40, sealed.ciphertext)
            self.assertEqual(self.client.open(sealed), plaintext, "size %d" % size)

    def test_v1_opens_what_it_sealed_ping_included(self):
        for plaintext in (b"ping", b"p", DEK, os.urandom(300), os.urandom(60000)):
            cipher = self.client.encrypt1(plaintext)
            self.assertEqual(self.client.decrypt1(cipher), plaintext)
            self.assertLessEqual(len(cipher), 65535)

    def test_v1_seals_nothing_that_cannot_come_back(self):
        # A Decrypt's ciphertext must fit into a message of 64 KiB, and the API server's length field.
        sealed = []
        for size in range(65200, 65520):
            try:
                sealed.append((size, self.client.encrypt1(bytes(size))))
            except rigs.grpc.RpcError as error:
                self.assertEqual(error.code(), rigs.grpc.StatusCode.INVALID_ARGUMENT, error.details())
        self.assertTrue(sealed and sealed[0][0] == 65200 and sealed[-1][0] < 65500)
        for size, cipher in sealed:
            self.assertLessEqual(len(cipher), 65535)
            self.assertEqual(self.client.decrypt1(cipher), bytes(size))

    def test_answers_are_what_the_api_server_accepts(self):
        status = self.client.status()
        self.assertEqual(status.version, "v2")
        self.assertEqual(status.healthz, "ok")
        self.assertTrue(re.fullmatch(r"kek1-[0-9a-f]{32}", status.key_id), status.key_id)
        sealed = self.client.encrypt(DEK)
        self.assertEqual(sealed.key_id, status.key_id)
        self.assertLess(len(sealed.ciphertext), 256)
        for name, value in sealed.annotations.items():
            self.assertTrue(re.fullmatch(r"([a-z0-9]([-a-z0-9]*[a-z0-9])?\.)+[a-z0-9]([-a-z0-9]*[a-z0-9])?", name))
            self.assertLess(len(name) + len(value), 32768)
        version = self.client.version1()
        self.assertEqual(version.version, "v1beta1")
        self.assertEqual(version.runtime_name, "kekd")
        self.assertTrue(version.runtime_version)

    def test_equal_plaintexts_never_look_alike(self):
        seen = {self.client.encrypt(DEK).ciphertext for _ in range(50)}
        seen |= {self.client.encrypt1(DEK) for _ in range(50)}
        self.assertEqual(len(seen), 100)

    def test_a_fresh_kekd_and_a_fresh_client_read_everything_back(self):
        sealed = [(os.urandom(32), None) for _ in range(40)]
        sealed = [(plaintext, self.client.encrypt(plaintext)) for plaintext, _ in sealed]
        ciphers = [(plaintext, self.client.encrypt1(plaintext)) for plaintext, _ in sealed]
        key_id = self.client.status().key_id
        for end in (self.node.stop, self.node.kill):
            self.node.close_clients()
            end()
            self.node.start()
            fresh = self.node.client()
            self.assertEqual(fresh.status().key_id, key_id)
            for plaintext, item in sealed:
                self.assertEqual(fresh.open(item), plaintext)
            for plaintext, item in ciphers:
                self.assertEqual(fresh.decrypt1(item), plaintext)

    def test_stopping_leaves_nothing_behind(self):
        self.client.encrypt(DEK)
        self.node.stop()
        # The lock's file stays: removing it would let two starters hold two locks of one name.
        self.assertEqual(set(os.listdir(self.node.folder)) - {"kms.sock.lock"},
                         {"hsm", "kekd.log", "kekd.yaml", "state"})


class TwoNodes(rigs.Case):
    def test_nodes_of_one_token_and_context_are_one(self):
        first = self.rig().start()
        second = self.rig(token=first.token, generate=False).start()
        one, two = first.client(), second.client()
        self.assertEqual(one.status().key_id, two.status().key_id)
        for sealer, opener in ((one, two), (two, one)):
            plaintext = os.urandom(32)
            self.assertEqual(opener.open(sealer.encrypt(plaintext)), plaintext)
            self.assertEqual(opener.decrypt1(sealer.encrypt1(plaintext)), plaintext)
        second.stop()
        first.stop()

    def test_another_context_neither_opens_nor_shares_the_key_id(self):
        ours = self.rig().start()
        theirs = self.rig(token=ours.token, generate=False, config={"context": "elsewhere"}).start()
        one, two = ours.client(), theirs.client()
        own = two.status().key_id
        self.assertNotEqual(one.status().key_id, own)
        sealed = one.encrypt(DEK)
        self.refused(StatusCode.INVALID_ARGUMENT, two.open, sealed)
        # The right key_id for that node, so that only the envelope itself can tell.
        self.refused(StatusCode.INVALID_ARGUMENT, two.decrypt, sealed.ciphertext, own)
        self.refused(StatusCode.INVALID_ARGUMENT, two.decrypt1, one.encrypt1(DEK))
        self.assertEqual(one.open(sealed), DEK)

    def test_an_accepted_old_context_opens_and_is_never_sealed_under(self):
        old = self.rig(config={"context": "old"}).start()
        sealed, cipher = old.client().encrypt(DEK), old.client().encrypt1(DEK)
        new = self.rig(token=old.token, generate=False,
                       config={"context": "new", "context_accept": ["old"]}).start()
        client = new.client()
        self.assertEqual(client.open(sealed), DEK)
        self.assertEqual(client.decrypt1(cipher), DEK)
        fresh = client.encrypt(DEK)
        self.assertNotEqual(fresh.key_id, sealed.key_id)
        self.refused(StatusCode.INVALID_ARGUMENT, old.client().open, fresh)


if __name__ == "__main__":
    rigs.main()
