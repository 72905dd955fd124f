#!/usr/bin/python3
"""Two roots of trust of different kinds, an HSM and a real OpenBao: each is lost in every way under load."""

import os
import signal

import fault as faults
import openbao
import pages
import rig as rigs
from etcd_server import covered_by_gcm
from moved import Move
from roots import DEK, STRICT, Roots, by_page, by_token, entries

KEY = "k8s-test"


def setUpModule():  # pylint: disable=invalid-name
    Kinds.bao = openbao.OpenBao()


def tearDownModule():  # pylint: disable=invalid-name
    Kinds.bao.stop()


class Kinds(Roots):
    bao = None

    def provider(self, **more):
        """OpenBao, with the first version of a key there, and what kekd needs to get in."""
        key = "%s-%d" % (KEY, next(rigs.PORTS))
        self.bao.make_key(key)
        token = self.bao.secret(key + ".token", self.bao.token(self.bao.policy(key, key)))
        return dict({"name": "bao", "type": "transit", "address": self.bao.address, "ca": self.bao.authority.cert,
                     "key": key, "token_file": token, "timeout": "1s"}, **more)

    def kinds(self, mode, **options):
        node = self.two(mode, other=self.provider(), **options)
        node.fault = faults.inject(node)
        self.addCleanup(node.fault.close)
        return node.start()


class Lost(Kinds):
    """In mode any: whichever is lost, and however, no call that has the time fails, and no answer is wrong."""

    def seals_under(self, node, count):
        """Waits until new envelopes have that many KEKs."""
        def seals():
            with node.client() as client:
                return len(entries(client.encrypt(bytes(32)).ciphertext)[1]) == count
        rigs.wait_for(seals, "envelopes of %d KEKs" % count)

    def without_it(self, node, load):
        """Until sealing goes on under the other root alone, and a while longer."""
        self.seals_under(node, 1)
        load.more(100)

    def sealed(self, node, load):
        self.bao.ask("PUT", "sys/seal")
        self.without_it(node, load)
        self.bao.unseal()

    def stopped(self, node, load):
        rigs.freeze(self.bao.process.pid)
        self.without_it(node, load)
        self.bao.process.send_signal(signal.SIGCONT)

    def killed(self, node, load):
        self.bao.end()
        self.without_it(node, load)
        self.bao.start()
        self.bao.unseal()

    @staticmethod
    def workers_killed(node, load):
        for _ in range(5):
            node.token.kill([process.pid for process in rigs.processes()
                             if process.parent == node.kekd.pid and process.name == "kekd-pkcs11"])
            load.more(60)

    def module_hangs(self, node, load):
        node.fault.put("* every hang")
        self.without_it(node, load)
        node.fault.put()

    def lost(self, config):
        node = self.kinds("any", config=config)
        sealed = []
        # What hung is tried again after 30 s: nothing comes after it.
        for lose in (self.sealed, self.workers_killed, self.stopped, self.killed, self.module_hangs):
            self.seals_under(node, 2)
            # What is sealed while one is out is under the other alone: it is of no load that another loss meets.
            with self.subTest(lose.__name__), self.unharmed(node, timeout=3.0) as load:  # what an API server gives
                lose(node, load)
            sealed += load.sealed
        node.close_clients()
        node.stop()
        node.spawn().good()
        with node.client() as client:
            for item in sealed[::len(sealed) // 200 + 1]:
                self.assertEqual(item.open(client), item.plain)
        node.stop()

    def test_in_the_default_mode(self):
        self.lost({"data_key": {"max_uses": 64}})

    def test_in_strict_mode(self):
        self.lost(STRICT)


class ByHand(Kinds):
    """docs/recovery.md and docs/openbao.md as they stand, from a value in etcd to the object, without kekd."""

    KEY = "/registry/secrets/default/db"
    OBJECT = b"k8s\0" + bytes(range(256)) + b"the Secret"

    def value(self, mode):
        """(kekd, which is gone, and a value from etcd)"""
        node = self.kinds(mode)
        with node.client() as client:
            sealed = client.encrypt1(DEK)
        node.close_clients()
        node.stop()
        return node, (b"k8s:enc:kms:v1:kekd:" + len(sealed).to_bytes(2, "big") + sealed +
                      covered_by_gcm(DEK, self.KEY, self.OBJECT))

    def opens(self, node, way, value, **more):
        """Whether it opens, and to the object. The rest is what is said."""
        path = node.folder + "/object"
        seed, said = way(node, value, ETCD_KEY=self.KEY, OBJECT=path, **more)
        if seed is None:
            self.assertFalse(os.path.exists(path))
            return False, said
        self.assertEqual(seed, DEK)
        with open(path, "rb") as file:
            self.assertEqual(file.read(), self.OBJECT)
        os.unlink(path)
        return True, said

    def by_openbao(self, node, value, **more):
        provider = node.config["providers"][1]
        with open(provider["token_file"], encoding="ascii") as file:
            token = file.read().strip()
        return by_page(node, pages.recovery("openbao.md"), value, BAO_ADDR=self.bao.address, BAO_TOKEN=token,
                       BAO_CACERT=self.bao.authority.cert, BAO_KEY=provider["key"], **more)

    @staticmethod
    def by_hsm(node, value, **more):
        return by_token(node, node.token, value, **more)

    def test_any_opens_by_either_alone(self):
        node, value = self.value("any")
        for way in (self.by_openbao, self.by_hsm):
            self.assertEqual(self.opens(node, way, value)[0], True)
        self.bao.configure(node.config["providers"][1]["key"], deletion_allowed=True)
        self.bao.ask("DELETE", "transit/keys/" + node.config["providers"][1]["key"])
        opened, said = self.opens(node, self.by_openbao, value)
        self.assertFalse(opened)
        self.assertIn("the key cannot be read", said)
        self.assertEqual(self.opens(node, self.by_hsm, value)[0], True)

    def test_all_opens_by_both_in_either_order(self):
        node, value = self.value("all")
        for name, ways in (("one", (self.by_openbao, self.by_hsm)), ("other", (self.by_hsm, self.by_openbao))):
            shares = "%s/%s" % (node.folder, name)
            os.mkdir(shares, 0o700)
            opened, said = self.opens(node, ways[0], value, SHARES=shares)
            self.assertEqual((opened, "is left: run this for its root" in said), (False, True), said)
            self.assertEqual(self.opens(node, ways[1], value, SHARES=shares)[0], True)


class Moved(Kinds):
    def test_a_cluster_moves_from_an_hsm_to_openbao(self):
        first = self.rig(config={"settle": "0s", "context": "moved"})
        nodes = [first.start(), self.rig(token=first.token, generate=False, config={"settle": "0s", "context": "moved"}).start()]
        key = "%s-%d" % (KEY, next(rigs.PORTS))
        tokens = [self.bao.secret(name + ".token", self.bao.token(self.bao.policy(name, key, text)))
                  for name, text in ((key, openbao.POLICY), (key + "-officer", openbao.OFFICER))]
        move = Move(self, nodes, {"name": "bao", "type": "transit", "address": self.bao.address, "key": key,
                                  "ca": self.bao.authority.cert, "token_file": tokens[0], "admin_token_file": tokens[1],
                                  "timeout": "10s"})
        move.go(lambda node: node.kekctl("key", "generate", "--root", "spare", check=True))
        for node in nodes:
            node.close_clients()
            node.stop()


if __name__ == "__main__":
    openbao.program()
    rigs.main()
