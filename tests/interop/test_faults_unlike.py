"""A module, or one of its workers, that is wrong without an error to tell it by: another key, another algorithm, one bad
word about a blob."""

import os
import time

import fault as faults
import p11
import rig as rigs
from grpc import StatusCode

from failing import AWAY, DAMAGED, DEK, Calls, FaultCase, node_client


class OtherKeys(FaultCase):
    """Handles that silently mean another key."""

    def two_keys(self, **config):
        """A node whose token holds a second key, of another keyring, fit to wrap."""
        node = self.rig(config={"keyring": "another"}, provider={"processes": 1, "timeout": "2s"})
        node.write(keyring="k8s-test", **config)
        node.kekctl("key", "generate", check=True)
        node.fault = faults.inject(node)
        self.addCleanup(node.fault.close)
        return node.start()

    def survives(self, node, *faults_put, pause=0):
        """Whatever is sealed while this lasts opens afterwards, in a fresh kekd."""
        with node_client(node) as client:
            calls = Calls(client)
            calls.round()
            time.sleep(pause)
            node.fault.put(*faults_put)
            for _ in range(5):
                calls.round()
            self.assertTrue(node.fault.done())
            self.assertEqual(calls.wrong, [])
            self.assertFalse(calls.codes() & DAMAGED, calls.statuses)
        node.fault.put()
        node.stop()
        node.start()
        self.recovers(node, calls.sealed)
        return calls

    def test_keys_numbered_anew_under_strict_load(self):
        node = self.two_keys(data_key={"max_uses": 1})
        for function in ("C_WrapKey", "C_UnwrapKey", "C_CreateObject", "C_GetAttributeValue",
                         "C_DestroyObject"):
            with self.subTest(function):
                calls = self.survives(node, function + " 1 renumber")
                self.assertEqual(calls.statuses, [])
        self.end(node)

    def test_keys_numbered_anew_where_a_data_key_serves_three_calls(self):
        node = self.two_keys(data_key={"max_uses": 3})
        calls = self.survives(node, "C_WrapKey 1 renumber")
        self.assertEqual(calls.statuses, [])
        self.end(node)

    def test_a_module_that_wraps_with_another_key_is_found_out_before_anything_is_sealed(self):
        # Only C_WrapKey lies, so nothing but unwrapping each new data key shows it. In strict mode
        # nobody does that (kekd.conf(5), data_key.max_uses).
        node = self.two_keys(data_key={"max_uses": 3})
        calls = self.survives(node, "C_WrapKey every mislead")
        self.assertTrue(calls.statuses)
        self.end(node)

    def test_a_module_that_uses_another_key_for_everything_is_found_out_by_its_witness(self):
        # It wraps and unwraps with that key and still shows the right attributes: a blob from before is
        # all that tells.
        for max_uses in (1, 3):
            with self.subTest(max_uses):
                node = self.two_keys(data_key={"max_uses": max_uses})
                calls = self.survives(node, "C_WrapKey every mislead", "C_UnwrapKey every mislead",
                                      pause=1.5)
                self.assertTrue(calls.statuses)
                self.end(node)


class Unlike(FaultCase):
    """One of two workers differs from the other, without an error to tell it by.  (Where C_WrapKey alone lies
    only an unwrap tells, which strict mode does without: OtherKeys has that.)"""

    LINES = ("* every wrongkey 1 pid=%d", "* 7+ wrongkey 1 pid=%d", "C_UnwrapKey every wrongkey 1 pid=%d",
             "C_FindObjects every blind 0 pid=%d", "C_FindObjectsInit every caching pid=%d",
             "C_FindObjects every repeat pid=%d")

    def differs(self, node, line):
        node.settled()
        with node_client(node) as client:
            calls = Calls(client)
            calls.round()
            node.fault.put(line % node.workers()[0])
            for _ in range(20):
                calls.round()
        self.recovers(node, calls.sealed)
        node.stop()
        node.start()
        self.recovers(node, calls.sealed)
        if calls.wrong:
            return "a wrong plaintext"
        return [status for status in calls.statuses if status[0] not in AWAY]

    def test_a_worker_that_differs_costs_nothing_that_was_sealed(self):
        nodes = [self.node(strategy=strategy).start() for strategy in ("wrap-key", "wrap-key", "encrypt", "encrypt")]
        self.work_through([(line,) for line in self.LINES], nodes[:2], self.differs)
        self.work_through([(line.replace("C_UnwrapKey", "C_DecryptInit"),) for line in self.LINES], nodes[2:],
                          self.differs)
        for node in nodes:
            self.end(node)


class Algorithms(FaultCase):
    def test_a_version_wrapped_with_two_algorithms_opens(self):
        # A start at which the first mechanism does not exist takes the second.
        node = self.node(processes=1).start()
        with node_client(node) as client:
            calls = Calls(client)
            calls.round()
            node.fault.put("C_WrapKey 1 rv 70", "C_WrapKey 2 rv 70")
            node.token.kill(node.workers())
            rigs.wait_for(node.fault.done, "the fault to happen")
            calls.round()
            calls.open(calls.sealed)
            node.fault.put()
            self.assertEqual((calls.statuses, calls.wrong), ([], []))
        node.stop()
        node.start()
        self.recovers(node, calls.sealed)
        self.end(node)


    def test_what_a_token_was_found_to_do_is_remembered_over_a_restart(self):
        # Afterwards it could do better, as with a new firmware; that changes no version's algorithm.
        node = self.node(processes=1)
        node.fault.put("C_WrapKey 1 rv 70", "C_WrapKey 2 rv 70")
        for _ in range(2):
            node.start()
            with node_client(node) as client:
                self.assertEqual(client.encrypt(DEK).ciphertext[7], 2)  # AES-KWP
            node.fault.put()
            node.stop()


class OneAnswer(FaultCase):
    def test_one_bad_answer_about_a_blob_is_not_its_damage(self):
        node = self.node(processes=1).start()
        with node_client(node) as client:
            calls = Calls(client)
            calls.round()
            for code in ("40", "110", "112"):
                node.fault.put("C_UnwrapKey 1 rv " + code)
                calls.open(calls.sealed)
                self.assertTrue(node.fault.done())
            self.assertEqual((calls.statuses, calls.wrong), ([], []))
        node.fault.put()
        self.end(node)


class Unproven(FaultCase):
    def test_one_workers_damaged_is_not_believed_where_nothing_proves_who_is_right(self):
        # A new node, and version 1 may only unwrap by now: there is no witness of it.
        node = self.node(recycle_memory="64GiB")
        node.start()
        with node_client(node) as client:
            sealed = client.encrypt1(DEK)
        node.stop()
        for name in os.listdir(node.state):
            os.unlink(os.path.join(node.state, name))
        p11.plant(node.token, "k8s-test.v2", os.urandom(16))
        node.config["providers"][0]["versions"] = [{"n": 1, "state": "deactivated"},
                                                   {"n": 2, "state": "active"}]
        node.write(refresh="60s", health={"probe_interval": "1h"}, metrics=rigs.own_address())
        node.start()
        rigs.wait_for(lambda: node.page("/readyz")[0] == 200 and len(node.workers()) == 2, "service")
        with node_client(node) as client:
            faults.quiet(node.fault)  # both are judged
            node.fault.put("C_UnwrapKey 1 rv 110")  # CKR_WRAPPED_KEY_INVALID
            self.assertEqual(client.decrypt1(sealed), DEK)
            self.assertEqual(node.fault.done(), 1)
            node.fault.put()
            broken = bytearray(sealed)
            broken[40] ^= 1  # in the wrapped data key: both workers say so
            self.refused(StatusCode.INVALID_ARGUMENT, client.decrypt1, bytes(broken))
        self.end(node)


if __name__ == "__main__":
    rigs.main()
