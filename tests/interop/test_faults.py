"""Every C_* call x every class of failure: what the API server sees.

kekd in strict mode, so that every KMS call is an HSM operation, on the fault module.  Whatever a module
does, a ciphertext opens to what was sealed or the call fails with a status that says why; a failure that
passes costs no call, but for the module's clear word on the blob or on the key; and once the module does
its work again, so does kekd, without a restart.
"""

import json
import os
import re

import rig as rigs
from grpc import StatusCode

from failing import (AWAY, DAMAGED, DATA, MACING, NODES, OFFICER, POLICY, REFUSED, SERVING, STARTING, UNIT, Calls, FaultCase,
                     doings, name_of, node_client)

# A worker that serves opens and closes a session only after it has lost one.
LOST = {"C_OpenSession": ("C_WrapKey 1 rv b3",), "C_CloseSession": ("C_WrapKey 1 rv b3",)}
USING = ("C_WrapKey", "C_UnwrapKey", "C_EncryptInit", "C_Encrypt", "C_DecryptInit", "C_Decrypt")


def may_refuse(function, what):
    """The statuses that a call may fail with when this happens once: the module's clear word."""
    name = name_of(what)
    if name in POLICY and function in USING:
        return REFUSED
    if name in DATA and function in ("C_UnwrapKey", "C_Decrypt"):
        return DAMAGED
    return set()


class Everything(FaultCase):
    """The tables of failing.py against the worker's own source: a call that nobody fails is noticed here."""

    @staticmethod
    def read(path):
        with open(os.path.join(rigs.TOP_SRC, path), encoding="utf-8") as file:
            return file.read()

    def test_every_call_that_the_worker_makes_is_in_a_table(self):
        made = set(re.findall(r"CALL\(f, (C_\w+)", self.read("src/pkcs11/calls.c")))
        driven = set(STARTING) | set(OFFICER) | UNIT | MACING
        for functions in SERVING.values():
            driven |= set(functions)
        self.assertGreater(len(made), 20)
        self.assertEqual(made, driven)

    def test_the_worker_makes_no_call_past_that_source(self):
        for name in os.listdir(os.path.join(rigs.TOP_SRC, "src/pkcs11")):
            if name.endswith((".c", ".h")) and name != "calls.c":
                self.assertEqual(re.findall(r"(?:->|\.)\s*C_\w+", self.read("src/pkcs11/" + name)), [], name)

    def test_the_module_can_fail_every_call(self):
        made = set(re.findall(r"CALL\(f, (C_\w+)", self.read("src/pkcs11/calls.c")))
        self.assertLessEqual(made, set(re.findall(r"USE\((C_\w+)\)", self.read("tests/faults/fault.c"))))


class Serving(FaultCase):
    def once(self, node, function, what):
        node.settled()  # who hangs in a start keeps all others from theirs: it must be who serves
        lines = (*LOST.get(function, ()), "%s 1 %s" % (function, what))
        node.fault.put(*lines)
        with node_client(node) as client:
            calls = Calls(client)
            calls.round()
            calls.round()
            rigs.wait_for(lambda: node.fault.done() == len(lines), "the fault to happen")
        self.recovers(node, calls.sealed)
        if calls.wrong:
            return "a wrong plaintext"
        if not calls.codes() <= may_refuse(function, what) or len(calls.statuses) > 1:
            return calls.statuses
        return None

    def test_a_failure_that_passes_costs_no_call(self):
        for strategy, functions in SERVING.items():
            nodes = [self.node(strategy=strategy, start_timeout="15s").start()
                     for _ in range(NODES if strategy == "wrap-key" else 3)]
            self.work_through([(function, what) for what in doings() for function in functions],
                              nodes, self.once)
            for node in nodes:
                self.assertEqual(node.log().count("different key"), 0)
                self.end(node)

    def lasting(self, node, function, what, statuses):
        with node_client(node, timeout=1.5) as client:
            before = Calls(client)
            rigs.wait_for(lambda: before.round() or before.sealed, "something sealed")
            node.fault.put("%s every %s" % (function, what))
            calls = Calls(client)
            calls.round()
            calls.open(before.sealed)
        self.recovers(node, calls.sealed + before.sealed)
        if calls.wrong:
            return "a wrong plaintext"
        if not calls.codes() <= statuses:
            return calls.statuses
        return None

    def test_a_failure_that_lasts_is_an_outage_and_ends_with_it(self):
        crash = AWAY | {StatusCode.INTERNAL}
        cases = [(function, what, statuses)
                 for what, statuses in (
                     ("rv 32", AWAY), ("rv 5", AWAY), ("rv b3", AWAY), ("rv 82", AWAY),
                     ("rv b1", AWAY), ("rv 110", AWAY), ("rv 70", AWAY | REFUSED | {StatusCode.UNIMPLEMENTED}),
                     ("rv 68", AWAY | REFUSED), ("hang", AWAY), ("segv", crash),
                     ("disconnect 190", AWAY))
                 for function in ("C_CreateObject", "C_WrapKey", "C_UnwrapKey", "C_FindObjects",
                                  "C_GetAttributeValue")]
        nodes = [self.node().start() for _ in range(NODES)]
        self.work_through(cases, nodes, self.lasting)
        for node in nodes:
            self.end(node)


class Officer(FaultCase):
    """What kekctl's worker does while kekd serves: whatever happens there, the API server sees nothing of it."""

    def keys(self, node):
        found = json.loads(node.kekctl("key", "list", "--output", "json", check=True).stdout)["versions"]
        self.assertEqual([key["version"] for key in found], list(range(1, len(found) + 1)))
        return found

    def once(self, node, function, what):
        words = OFFICER[function]
        node.fault.put("%s 1 %s" % (function, what))
        with node_client(node) as client:
            calls = Calls(client)
            calls.round()
            done = node.kekctl(*words)
            calls.round()
        happened = node.fault.done()
        node.fault.put()
        if calls.statuses or calls.wrong:
            return "the API server: %s" % calls.statuses
        if not happened:
            return "the fault did not happen"
        if done.returncode not in (0, 1) or (done.returncode == 1 and not done.stderr):
            return "kekctl: exit %d: %s" % (done.returncode, done.stderr.decode())
        # What was not done can be done now, and what was made is good.
        if done.returncode == 1:
            node.kekctl(*words, check=True)
        if not all(key["eligible"] and key["can_unwrap"] for key in self.keys(node)):
            return "a bad key: %s" % self.keys(node)
        return None

    def test_a_failure_of_an_officers_call_disturbs_no_service_and_spoils_no_key(self):
        nodes = [self.node(processes=1).start() for _ in range(3)]
        picked = [what for what in doings() if name_of(what) in (
            "DEVICE_REMOVED", "GENERAL_ERROR", "SESSION_HANDLE_INVALID", "KEY_HANDLE_INVALID", "SESSION_COUNT",
            "DATA_LEN_RANGE", "PIN_INCORRECT", "hang", "segv", "delay 100", "leak 100000", "disconnect b3")]
        self.work_through([(function, what) for what in picked for function in OFFICER], nodes, self.once)
        for node in nodes:
            self.end(node)


class Idle(FaultCase):
    def test_a_key_that_no_longer_wraps_is_noticed_while_nobody_calls(self):
        # CKR_BUFFER_TOO_SMALL, CKR_WRAPPED_KEY_INVALID; the keys are listed as ever.
        for function, code in (("C_WrapKey", 0x150), ("C_UnwrapKey", 0x110)):
            node = self.node(processes=1, recycle_memory="64GiB")
            node.write(health={"probe_interval": "2s"}, metrics=rigs.own_address(),
                       data_key={"max_uses": 1000}, log={"level": "info"})
            node.start()
            rigs.wait_for(lambda node=node: node.page("/readyz")[0] == 200, "service")
            node.fault.put("%s every rv %x" % (function, code))
            rigs.wait_for(lambda node=node: node.page("/readyz")[0] == 503, "it to be noticed")
            node.wait_log("outage")
            with node.client() as client:
                self.assertEqual(client.status().healthz, "ok")  # it is bridged
            node.fault.put()
            rigs.wait_for(lambda node=node: node.page("/readyz")[0] == 200, "service again")
            node.stop()


class Leaking(FaultCase):
    def test_a_module_that_leaks_is_recycled_and_no_call_fails(self):
        node = self.node(recycle_memory="64MiB", processes=1).start()
        first = node.workers()
        node.fault.put("C_WrapKey every leak 4000000")
        with node_client(node) as client:
            calls = Calls(client)

            def recycled():
                calls.round()
                return not set(first) & set(node.workers()) and node.workers()
            rigs.wait_for(recycled, "a worker to be recycled")
            calls.round()
            self.assertEqual((calls.statuses, calls.wrong), ([], []))
        self.end(node)


if __name__ == "__main__":
    rigs.main()
