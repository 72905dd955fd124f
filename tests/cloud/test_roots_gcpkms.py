"""Two roots of trust, both needed: an HSM, and Google Cloud KMS. What one of them holds opens nothing."""

import os

import gcp
import pages
from grpc import RpcError, StatusCode
from roots import DEK, MODE_ALL, MODE_ANY, OUT, Roots, by_page, by_token, entries, rebuilt


class Both(gcp.Case, Roots):
    def both(self):
        """(kekd, what it sealed under both)"""
        node = self.two("all", other=self.provider(timeout="1s")).start()
        with node.client() as client:
            sealed = client.encrypt(DEK)
            self.assertEqual(client.decrypt(sealed.ciphertext, sealed.key_id), DEK)
        self.assertEqual(entries(sealed.ciphertext)[0], MODE_ALL)
        self.assertEqual([alg for alg, _, _ in entries(sealed.ciphertext)[1]][1:], [6])
        return node, sealed

    def restart(self, node, **more):
        node.close_clients()
        node.stop()
        node.write(**more)
        return node.spawn().serving()

    def is_out(self, node, sealed):
        with node.client(timeout=3.0) as client, self.assertRaises(RpcError) as caught:
            client.decrypt(sealed.ciphertext, sealed.key_id)
        self.assertIn(caught.exception.code(), OUT)


class Kekd(Both):
    def test_either_alone_opens_nothing_and_both_do(self):
        node, sealed = self.both()
        with node.token.away():
            self.is_out(self.restart(node), sealed)
        self.server.do("faults", faults=[{"refuse": "UNAVAILABLE", "call": "*"}])
        self.is_out(self.restart(node), sealed)
        self.server.do("faults", faults=[])
        self.restart(node).good()
        with node.client() as client:
            self.assertEqual(client.decrypt(sealed.ciphertext, sealed.key_id), DEK)
        node.stop()

    def test_no_edited_envelope_opens_in_any_configuration(self):
        node, sealed = self.both()
        whole = sealed.ciphertext
        edited = [rebuilt(whole, mode, chosen) for mode in (MODE_ANY, MODE_ALL)
                  for chosen in ((0,), (1,), (0, 0), (1, 1), (1, 0), (0, 1), (0, 1, 0))
                  if (mode, chosen) != (MODE_ALL, (0, 1))]
        edited += [whole[:6] + bytes([count]) + whole[7:] for count in (0, 1, 3, 4, 255)]
        both, roots = node.config["providers"], node.config["roots"]
        for more, opens in (({}, True), ({"mode": "any"}, False), ({"mode": "any", "mode_accept": "all"}, True),
                            ({"mode": None, "mode_accept": None, "roots": roots[:1], "providers": both[:1]}, False),
                            ({"roots": roots[1:], "providers": both[1:]}, False)):
            with self.subTest(configuration=more):
                self.restart(node, **more).good()
                with node.client() as client:
                    for envelope in edited + ([] if opens else [whole]):
                        for call in (client.decrypt1, lambda it, c=client: c.decrypt(it, sealed.key_id)):
                            with self.assertRaises(RpcError) as caught:
                                call(envelope)
                            self.assertIn(caught.exception.code(),  # damaged; not of this configuration
                                          (StatusCode.INVALID_ARGUMENT, StatusCode.FAILED_PRECONDITION))
                    if opens:
                        self.assertEqual(client.decrypt(whole, sealed.key_id), DEK)
        node.stop()


class ByHand(Both):
    """docs/recovery.md and docs/cloud-hsm.md as they stand, without kekd."""

    def setUp(self):
        super().setUp()
        self.node, self.sealed = self.both()
        self.node.close_clients()
        self.node.stop()

    def by_token(self, shares, envelope=None):
        return by_token(self.node, self.node.token, envelope or self.sealed.ciphertext, SHARES=shares)

    def by_cloud(self, shares, envelope=None):
        return by_page(self.node, pages.recovery("cloud-hsm.md"), envelope or self.sealed.ciphertext, SHARES=shares,
                       KEY=gcp.KEY, ENDPOINT=self.server.url, ACCESS_TOKEN=self.server.do("token", principal=gcp.EMAIL))

    def folder(self, name):
        path = os.path.join(self.node.folder, name)
        os.mkdir(path, 0o700)
        return path

    def test_the_pages_open_it_in_either_order(self):
        for name, first, last in (("one", self.by_token, self.by_cloud), ("other", self.by_cloud, self.by_token)):
            shares = self.folder(name)
            opened, said = first(shares)
            self.assertIsNone(opened)
            self.assertIn("is left: run this for its root", said)
            opened, said = last(shares)
            self.assertEqual(opened, DEK, said)

    def test_no_share_is_the_data_key_nor_one_of_them_twice(self):
        shares = self.folder("shares")
        self.by_token(shares)
        self.assertEqual(self.by_cloud(shares)[0], DEK)
        share = []
        for number in (0, 1):
            with open("%s/share.%d" % (shares, number), "rb") as file:
                share.append(file.read())
        begin, _, apart, _, _, expand, decrypt = pages.blocks("recovery.md")[:7]
        some_id = entries(self.sealed.ciphertext)[1][0][1].hex()
        script = "".join((begin, 'echo %s >"$work/keks"\n' % some_id, apart, 'cp "$KEY" "$work/data-key"\n', expand, decrypt))
        for key, opens in ((share[0] + share[1], True), (share[1] + share[0], False), (share[0], False),
                           (share[1], False), (share[0] * 2, False), (share[1] * 2, False),
                           (bytes(a ^ b for a, b in zip(*share)), False), (share[0] + bytes(32), False)):
            with open(self.node.folder + "/key", "wb") as file:
                file.write(key)
            opened, said = by_page(self.node, script, self.sealed.ciphertext, KEY=self.node.folder + "/key")
            self.assertEqual(opened, DEK if opens else None, said)
            self.assertTrue(opens or "the tag does not match" in said, said)

    def test_what_says_that_one_is_enough_does_not_open(self):
        for chosen, way in (((0, 1), self.by_token), ((0,), self.by_token), ((0, 1), self.by_cloud), ((1,), self.by_cloud)):
            opened, said = way(self.node.folder, rebuilt(self.sealed.ciphertext, MODE_ANY, chosen))
            self.assertIsNone(opened)
            self.assertIn("the tag does not match", said)


if __name__ == "__main__":
    gcp.main()
