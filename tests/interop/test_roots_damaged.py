"""What one of several roots of trust calls damaged, or opens wrong: the others may open it, and what somebody changed opens by
none."""

import os
import re

from grpc import RpcError, StatusCode

import fault as faults
import rig as rigs
import swap
from roots import DEK, OUT, STRICT, Roots, entries

AES_CBC = 4


class Damaged(Roots):
    """In mode any: what one root calls damaged another may open."""

    # A worker opens what it made itself (2), asks again (3) and opens that again (4), and then its witness (5).
    DAMAGED = ("C_UnwrapKey 1 rv 110", "C_UnwrapKey 3 rv 110")

    def node(self):
        node = self.two("any", config=dict(STRICT, refresh="60s", health={"probe_interval": "60s"}))
        node.write(audit={"file": node.folder + "/audit"})
        node.faults = [faults.inject(node, which) for which in (0, 1)]
        for fault in node.faults:
            self.addCleanup(fault.close)
        node.start()
        faults.quiet(*node.faults)
        return node

    def audited(self, node):
        return [line for line in rigs.json_lines(node.folder + "/audit") if "damaged_root" in line]

    def test_what_one_hsm_calls_damaged_opens_and_is_told(self):
        node = self.node()
        with node.client() as client:
            sealed = client.encrypt(DEK)
            node.faults[0].put(*self.DAMAGED)
            self.assertEqual(client.decrypt(sealed.ciphertext, sealed.key_id), DEK)
            self.assertEqual(node.faults[0].done(), 2)
            node.wait_log("v2.Decrypt opened by another root of trust: to site it is damaged: .*root=site")
            line, = rigs.wait_for(lambda: self.audited(node), "the line of the audit log")
            self.assertEqual((line["damaged_root"], line["status"], line["origin"], line["code"]),
                             ("site", "OK", "pkcs11", 0x110))
            self.assertEqual(client.decrypt(sealed.ciphertext, sealed.key_id), DEK)
            self.assertEqual(len(self.audited(node)), 1)
        node.stop()

    def test_it_is_damaged_when_every_root_says_so(self):
        node = self.node()
        with node.client() as client:
            sealed = client.encrypt(DEK)
            for fault in node.faults:
                fault.put(*self.DAMAGED)
            self.refused(StatusCode.INVALID_ARGUMENT, client.decrypt, sealed.ciphertext, sealed.key_id)
            self.assertEqual([fault.done() for fault in node.faults], [2, 2])
            self.assertEqual(client.decrypt(sealed.ciphertext, sealed.key_id), DEK)
        node.stop()

    def test_it_is_not_damaged_while_another_root_does_not_answer(self):
        node = self.node()
        with node.client(timeout=3.0) as client:
            sealed = client.encrypt(DEK)
            node.faults[0].put(*self.DAMAGED)
            node.faults[1].put("* every hang")
            with self.assertRaises(RpcError) as caught:
                client.decrypt(sealed.ciphertext, sealed.key_id)
            self.assertIn(caught.exception.code(), OUT)
            self.assertEqual(node.faults[0].done(), 2)
            node.faults[1].put()
            self.assertEqual(client.decrypt(sealed.ciphertext, sealed.key_id), DEK)
        node.stop()

    def test_what_one_root_is_waited_for_leaves_the_other_its_time(self):
        """A key that may not unwrap is looked at by fresh workers, which hang: after half of the time the other root is asked."""
        node = self.node()
        with node.client(timeout=3.0) as client:
            sealed = client.encrypt(DEK)
            node.faults[0].put("C_UnwrapKey every rv 68", "C_Initialize every hang")
            self.assertEqual(client.decrypt(sealed.ciphertext, sealed.key_id), DEK)
            self.assertGreater(node.faults[0].counts()["C_Initialize"], 0)
            node.faults[0].put()
        node.stop()

    def test_a_flipped_byte_in_the_wrap_of_one_root_is_damage_of_the_whole(self):
        """The tag covers what each root wrapped: nobody who can write to etcd changes it and has it opened."""
        node = self.node()
        with node.client() as client:
            sealed = client.encrypt(DEK)
            for _, _, wrapped in entries(sealed.ciphertext)[1]:
                at = sealed.ciphertext.index(wrapped) + len(wrapped) // 2
                flipped = sealed.ciphertext[:at] + bytes([sealed.ciphertext[at] ^ 1]) + sealed.ciphertext[at + 1:]
                self.refused(StatusCode.INVALID_ARGUMENT, client.decrypt, flipped, sealed.key_id)
            self.assertEqual(client.decrypt(sealed.ciphertext, sealed.key_id), DEK)
        node.stop()


    def test_another_wrap_of_a_roots_own_in_its_place_is_damage_of_the_whole(self):
        """A good wrap of another data key by that very root: no root opens that envelope, whichever is asked first."""
        node = self.two("any", config=STRICT).start()
        whole = self.status(node).key_id
        with node.client() as client:
            one, two = client.encrypt(DEK), client.encrypt(DEK)
        mixed = []
        for (_, _, mine), (_, _, other) in zip(entries(one.ciphertext)[1], entries(two.ciphertext)[1]):
            self.assertEqual((len(mine), mine == other), (len(other), False))
            mixed.append(one.ciphertext.replace(mine, other))
        def judged():
            with node.client() as client:
                for sealed in mixed:
                    self.refused(StatusCode.INVALID_ARGUMENT, client.decrypt, sealed, whole)
                self.assertEqual(client.decrypt(one.ciphertext, whole), DEK)
        judged()
        for token in (node.token, node.other):
            with token.away():
                rigs.wait_for(lambda: self.status(node).key_id != whole, "another key_id")
                judged()
            rigs.wait_for(lambda: self.status(node).key_id == whole, "the key_id of both")
        node.stop()


def by_aes_cbc(sealed, entry):
    """The envelope as if the data key, or share, of that entry were wrapped with AES-CBC: 48 bytes."""
    count, at, out = sealed[6], 7, sealed[:7]
    for number in range(count):
        size = int.from_bytes(sealed[at + 17:at + 19], "big")
        out += (bytes([AES_CBC]) + sealed[at + 1:at + 17] + b"\0\x30" + bytes(48) if number == entry
                else sealed[at:at + 19 + size])
        at += 19 + size
    return out + sealed[at:]


class All(Roots):
    def test_nobody_else_chooses_the_algorithm_of_any_entry(self):
        """AES-CBC unwraps anything to something."""
        node = self.two("all").start()
        with node.client() as client:
            sealed = client.encrypt(DEK)
            for entry in (0, 1):
                before = len(re.findall("does not wrap with", node.log()))
                self.refused(StatusCode.INVALID_ARGUMENT, client.decrypt, by_aes_cbc(sealed.ciphertext, entry),
                             sealed.key_id)
                rigs.wait_for(lambda: len(re.findall("does not wrap with", node.log())) > before,
                              "the refusal of entry %d in the log" % entry)
            self.assertEqual(client.decrypt(sealed.ciphertext, sealed.key_id), DEK)
        node.stop()


class Doubts(Roots):
    """Both roots wrap by AES-CBC, which unwraps anything to something: only what opens tells a wrong key."""

    def node(self, mode):
        node = self.two(mode, config=dict(STRICT, refresh="60s", health={"probe_interval": "60s"}),
                        provider={"strategy": "encrypt", "processes": 1})
        node.faults = [faults.inject(node, which) for which in (0, 1)]
        for fault in node.faults:
            self.addCleanup(fault.close)
        for refused in swap.ALGORITHMS["CBC"][2]:
            for fault in node.faults:
                fault.put(*["C_EncryptInit %d rv 70" % (call + 1) for call in range(refused)])
            node.start()
            with node.client() as client:
                sealed = client.encrypt(DEK)
            node.close_clients()
            node.stop()
            if [alg for alg, _, _ in entries(sealed.ciphertext)[1]] == [AES_CBC, AES_CBC]:
                break
            for name in os.listdir(node.state):
                os.unlink(os.path.join(node.state, name))
        else:
            raise AssertionError("the tokens could not be made to use AES-CBC")
        for entry in node.config["providers"]:
            entry.update(processes=2)
        node.write()
        for fault in node.faults:
            fault.put()
        return node.start(), sealed

    def test_a_wrong_worker_of_either_root_is_found_out(self):
        rigs.need_root("which worker belongs to which token")
        for mode in ("all", "any"):
            node, sealed = self.node(mode)
            with node.client() as client:
                for fault, token in zip(node.faults, (node.token, node.other)):
                    node.settled()
                    fault.put("* every wrongkey 1 pid=%d" % node.workers_of(token)[0])
                    for _ in range(8):  # each goes to either worker
                        self.assertEqual(client.decrypt(sealed.ciphertext, sealed.key_id), DEK)
                    if mode == "all":
                        node.wait_log("%s: .*different key" % ("site" if token is node.token else "spare"))
                    fault.put()
                damaged = sealed.ciphertext[:-1] + bytes([sealed.ciphertext[-1] ^ 1])
                self.refused(StatusCode.INVALID_ARGUMENT, client.decrypt, damaged, sealed.key_id)
                self.assertEqual(client.decrypt(sealed.ciphertext, sealed.key_id), DEK)
            node.stop()


if __name__ == "__main__":
    rigs.main()
