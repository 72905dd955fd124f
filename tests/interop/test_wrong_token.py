#!/usr/bin/python3
"""Keys of this keyring's names that are another's: on the wrong token, on a replica that nobody filled, made anew after a loss.
kekd seals under none of them, however long the right ones are away."""

import contextlib
import os
import time

import p11
import rig as rigs
from grpc import RpcError, StatusCode

DEK = bytes(range(32))
LONG = 4  # seconds in which whatever may come to lead would: `settle` is one of them
GONE = r"loss: KEK version 1 is missing from the HSM"


class Wrong(rigs.Case):
    def node(self, **options):
        return self.rig(config={"metrics": rigs.own_address(), "settle": "1s"}, provider={"timeout": "500ms"}, **options)

    def seals_under(self, node, key_id):
        """Nobody seals under another key for as long as that might take."""
        until = time.monotonic() + LONG
        while time.monotonic() < until:
            for call in ("status", "encrypt"):
                with contextlib.suppress(RpcError), node.client() as client:
                    said = client.status() if call == "status" else client.encrypt(DEK)
                    self.assertEqual(said.key_id, key_id)
            time.sleep(0.1)

    def sealed(self, node):
        with node.client() as client:
            return client.status().key_id, client.encrypt(DEK)

    def opens(self, node, sealed):
        with node.client(timeout=rigs.PATIENCE) as client:
            self.assertEqual(client.open(sealed), DEK)


class Token(Wrong):
    def other(self, number):
        node = self.node().start()
        key_id, sealed = self.sealed(node)
        node.close_clients()
        node.stop()
        right = node.config["providers"]
        other = rigs.Token(node.folder + "/other", "kek-test")
        p11.plant(other, "k8s-test.v%d" % number, os.urandom(16), wrap=True)
        node.write(providers=[node.provider("hsm-a", other)])
        node.spawn().serving()
        node.wait_log(GONE + ".*see whether it is the right token")
        self.seals_under(node, key_id)
        with node.client() as client:
            with self.assertRaises(RpcError) as refused:
                client.encrypt(DEK)
            self.assertEqual(refused.exception.code(), StatusCode.FAILED_PRECONDITION)
        self.assertEqual(node.page("/readyz")[0], 503)
        node.close_clients()
        node.stop()
        node.write(providers=right)
        node.spawn().good()
        self.assertEqual(self.sealed(node)[0], key_id)
        self.opens(node, sealed)

    def test_that_has_a_key_of_the_same_number(self):
        self.other(1)

    def test_that_has_a_key_of_a_newer_number(self):
        self.other(2)


class Replica(Wrong):
    def alone(self, number):
        rigs.need_root("which worker belongs to which token")
        node = self.node(pair=True).start()
        key_id, sealed = self.sealed(node)
        node.twin.tool("--delete-object", "--type", "secrkey", "--id", sealed.ciphertext[8:24].hex())
        p11.plant(node.twin, "k8s-test.v%d" % number, os.urandom(16), wrap=True)
        own = 'kekd_kek_version_providers{version="%d"' % number
        rigs.wait_for(lambda: [name for name in node.metrics() if name.startswith(own)], "its key to be seen")
        node.token.unplug()
        for pid in node.workers_of(node.token):
            with contextlib.suppress(ProcessLookupError):
                rigs.kill(pid)
        node.wait_log("KEK version 1 is on no HSM that answers, and provider hsm-a does not answer")
        self.seals_under(node, key_id)
        node.token.plug()
        rigs.wait_for(lambda: node.page("/readyz")[0] == 200, "the end of the outage")
        self.seals_under(node, key_id)
        self.opens(node, sealed)
        self.assertNotIn("new primary", node.log())

    def test_that_has_a_key_of_the_primarys_number_alone(self):
        self.alone(1)

    def test_that_has_a_newer_key_alone(self):
        self.alone(2)


class Anew(Wrong):
    def test_a_key_made_under_the_name_of_the_lost_one(self):
        node = self.node().start()
        key_id, sealed = self.sealed(node)
        node.token.tool("--delete-object", "--type", "secrkey", "--id", sealed.ciphertext[8:24].hex())
        node.wait_log(GONE)
        p11.plant(node.token, "k8s-test.v1", os.urandom(16), wrap=True)
        node.wait_log("a surplus key is named version 1")
        self.seals_under(node, key_id)
        self.assertNotIn("is there again", node.log())
        self.assertEqual(node.page("/readyz")[0], 503)
        node.close_clients()
        node.stop()
        node.spawn().serving()
        node.wait_log("(?s)--- run 2.*" + GONE)
        self.seals_under(node, key_id)


if __name__ == "__main__":
    rigs.main()
