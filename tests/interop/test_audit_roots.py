"""The audit log of a kekd with several roots of trust: each root whose KEK a call used, and of whose key a line is."""

import os
import subprocess

from grpc import StatusCode

import fault as faults
import rig as rigs
from roots import DEK, STRICT, Roots, entries

A_DAY = {"refresh": "60s", "health": {"probe_interval": "60s"}}  # nothing but a call asks an HSM


class AuditRoots(Roots):
    def node(self, mode, config=None):
        node = self.two(mode, config=config)
        node.audit = node.folder + "/audit.jsonl"
        node.write(audit={"file": node.audit})
        return node

    @staticmethod
    def lines(node, **fields):
        return [line for line in rigs.json_lines(node.audit) if all(line.get(key) == value for key, value in fields.items())]

    def calls(self, node, count, **fields):
        """That many lines of calls, once they are there."""
        def there():
            found = self.lines(node, event="call", **fields)
            return found if len(found) >= count else None
        found = rigs.wait_for(there, "%d lines of calls" % count)
        self.assertEqual(len(found), count)
        return found

    def kek(self, node, sealed, place, **more):
        """What a line says of the root at that place."""
        root = node.config["roots"][place]["name"]
        return dict({"root": root, "version": 1, "kek_id": entries(sealed.ciphertext)[1][place][1].hex()}, **more)

    def test_each_root_that_sealed_or_opened_stands_in_the_line(self):
        for mode, config in (("any", {}), ("all", {}), ("any", STRICT), ("all", STRICT)):
            with self.subTest(mode=mode, **config):
                node = self.node(mode, config).start()
                with node.client() as client:
                    sealed = client.encrypt(DEK)
                    self.assertEqual(client.decrypt(sealed.ciphertext, sealed.key_id), DEK)
                asked = [{"provider": name} if config else {} for name in ("hsm-a", "hsm-b")]
                both = [self.kek(node, sealed, place, **asked[place]) for place in (0, 1)]
                line, = self.calls(node, 1, method="Encrypt")
                self.assertEqual(line["keks"], both)
                self.assertEqual((line["kek_id"], line["version"]), (both[0]["kek_id"], 1))
                line, = self.calls(node, 1, method="Decrypt")
                # Any: one opened it, where an HSM was asked; else the key at hand was made under both.
                self.assertEqual(line["keks"], both[:1] if config and mode == "any" else both)
                self.assertEqual(line["kek_id"], both[0]["kek_id"])
                node.stop()

    def test_of_one_root_alone_no_line_has_more_than_before(self):
        node = self.rig()
        node.audit = node.folder + "/audit.jsonl"
        node.write(audit={"file": node.audit})
        node.start()
        with node.client() as client:
            self.assertEqual(client.open(client.encrypt(DEK)), DEK)
        self.calls(node, 1, method="Encrypt")
        self.calls(node, 1, method="Decrypt")
        node.kekctl("key", "generate", check=True)
        node.stop()
        self.assertEqual([line for line in self.lines(node) if "root" in line or "keks" in line], [])

    def test_what_another_root_opened_names_it_and_the_one_that_did_not(self):
        node = self.node("any", dict(STRICT, **A_DAY))
        held = [faults.inject(node, which) for which in (0, 1)]
        for fault in held:
            self.addCleanup(fault.close)
        node.start()
        faults.quiet(*held)
        damaged = ("C_UnwrapKey 1 rv 110", "C_UnwrapKey 3 rv 110")  # as test_roots_damaged.py has them
        with node.client() as client:
            sealed = client.encrypt(DEK)
            held[0].put(*damaged)
            self.assertEqual(client.decrypt(sealed.ciphertext, sealed.key_id), DEK)
            line, = self.calls(node, 1, method="Decrypt")
            site, spare = self.kek(node, sealed, 0, provider="hsm-a"), self.kek(node, sealed, 1, provider="hsm-b")
            self.assertEqual(line["keks"], [dict(site, opened=False), spare])
            self.assertEqual((line["kek_id"], line["provider"]), (spare["kek_id"], "hsm-b"))
            for fault in held:
                fault.put(*damaged)
            self.refused(StatusCode.INVALID_ARGUMENT, client.decrypt, sealed.ciphertext, sealed.key_id)
        line, = self.calls(node, 1, method="Decrypt", status="INVALID_ARGUMENT")
        self.assertEqual(line["keks"], [dict(site, opened=False), dict(spare, opened=False)])
        node.stop()

    def test_one_chain_is_never_that_of_two_kekds(self):
        """The chain goes by the keyring, whatever the roots are called."""
        node = self.node("any").start()
        other = self.rig(token=node.token, generate=False, config=dict(node.config, metrics=rigs.own_address()))
        other.config["listen"] = "unix://" + other.socket
        renamed = [dict(root, name=name) for root, name in zip(node.config["roots"], ("near", "far"))]
        held = r"%s/k8s-test.lock: another kekd uses this state_dir for keyring k8s-test \(pid " % node.state
        for roots, mode, providers, pid in ((renamed, "any", 2, node.kekd.pid), (None, None, 1, node.kekd.pid),
                                            (renamed, "any", 2, None), (None, None, 1, None)):
            if pid is None and os.path.exists(node.state + "/k8s-test.lock"):
                os.unlink(node.state + "/k8s-test.lock")
            other.write(roots=roots, mode=mode, providers=node.config["providers"][:providers],
                        audit={"file": other.folder + "/audit.jsonl"})
            done = subprocess.run([rigs.program("kekd"), "--config", other.path], stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, timeout=rigs.PATIENCE, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stderr.decode(), held + (str(pid) if pid else "unknown: its lock file was removed"))
            self.assertFalse(os.path.exists(other.folder + "/audit.jsonl"))
        node.stop()
        node.kekctl("--config", node.path, "audit", "verify", node.audit, check=True)

    def test_changes_of_keys_name_the_root_they_are_of(self):
        node = self.node("any").start()
        first = self.status(node).key_id
        node.kekctl("--root", "spare", "key", "generate", check=True)
        node.kekctl("--root", "spare", "key", "promote", "2", "--i-have-a-backup", check=True)
        rigs.wait_for(lambda: self.status(node).key_id != first, "the new version")
        rigs.wait_for(lambda: len(self.lines(node, event="primary")) == 2, "the line of it")
        last = self.lines(node, event="primary")[-1]
        self.assertEqual([(kek["root"], kek["version"]) for kek in last["keks"]], [("site", 1), ("spare", 2)])
        for event in ("generate", "promote"):
            self.assertEqual({line["root"] for line in self.lines(node, event=event, version=2)}, {"spare"})
        for line in self.lines(node, event="version") + self.lines(node, event="login"):
            self.assertEqual(line["root"], "site" if line["provider"] == "hsm-a" else "spare")
        self.assertEqual({line["root"] for line in self.lines(node, event="version", version=2)}, {"spare"})
        node.stop()


if __name__ == "__main__":
    rigs.main()
