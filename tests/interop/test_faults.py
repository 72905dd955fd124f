"""Every C_* call x every class of failure: what the API server sees.

kekd in strict mode, so that every KMS call is an HSM operation, on the fault module.  Whatever a module
does, a ciphertext opens to what was sealed or the call fails with a status that says why; a failure that
passes costs no call, but for the module's clear word on the blob or on the key; and once the module does
its work again, so does kekd, without a restart.
"""

import json
import os
import queue
import re
import signal
import subprocess
import time

import fault as faults
import p11
import rig as rigs
from grpc import RpcError, StatusCode

DEK = bytes(range(32))
NODES = 5  # that work through a table side by side: most of the time is waited for
REFUSED = {StatusCode.FAILED_PRECONDITION}
DAMAGED = {StatusCode.INVALID_ARGUMENT}
AWAY = {StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED}

SERVING = {
    "wrap-key": ("C_CreateObject", "C_WrapKey", "C_DestroyObject", "C_UnwrapKey",
                 "C_GetAttributeValue", "C_FindObjectsInit", "C_FindObjects", "C_FindObjectsFinal",
                 "C_OpenSession", "C_CloseSession"),
    "encrypt": ("C_EncryptInit", "C_Encrypt", "C_DecryptInit", "C_Decrypt"),
}
# A worker that serves opens and closes a session only after it has lost one.
LOST = {"C_OpenSession": ("C_WrapKey 1 rv b3",), "C_CloseSession": ("C_WrapKey 1 rv b3",)}
USING = ("C_WrapKey", "C_UnwrapKey", "C_EncryptInit", "C_Encrypt", "C_DecryptInit", "C_Decrypt")
STARTING = ("C_Initialize", "C_GetInfo", "C_GetSlotList", "C_GetSlotInfo", "C_GetTokenInfo",
            "C_GetMechanismList", "C_OpenSession", "C_Login", "C_FindObjectsInit", "C_FindObjects",
            "C_FindObjectsFinal", "C_GetAttributeValue", "C_CreateObject", "C_WrapKey", "C_UnwrapKey",
            "C_DestroyObject")
ENCRYPTING = SERVING["encrypt"]  # at a start by that strategy
OFFICER = {"C_GenerateKey": ("key", "generate"), "C_GetMechanismInfo": ("probe",), "C_CopyObject": ("probe",)}
# kekctl has no command for these yet; tests/unit/test_pkcs11_returns.c drives them.
UNIT = {"C_SetAttributeValue"}
MACING = {"C_SignInit", "C_Sign"}  # test_audit_mac.py drives these

# The classes of return values, each with its most telling members.
LINK = {"DEVICE_REMOVED": 0x32, "TOKEN_NOT_PRESENT": 0xE0, "CRYPTOKI_NOT_INITIALIZED": 0x190,
        "USER_NOT_LOGGED_IN": 0x101, "SLOT_ID_INVALID": 0x03}
AMBIGUOUS = {"GENERAL_ERROR": 0x05, "FUNCTION_FAILED": 0x06, "DEVICE_ERROR": 0x30,
             "a vendor's own": 0x80000123}
SESSION = {"SESSION_HANDLE_INVALID": 0xB3, "SESSION_CLOSED": 0xB0, "OPERATION_ACTIVE": 0x90}
HANDLE = {"KEY_HANDLE_INVALID": 0x60, "OBJECT_HANDLE_INVALID": 0x82,
          "WRAPPING_KEY_HANDLE_INVALID": 0x113, "UNWRAPPING_KEY_HANDLE_INVALID": 0xF0}
BUSY = {"SESSION_COUNT": 0xB1, "HOST_MEMORY": 0x02, "DEVICE_MEMORY": 0x31}
DATA = {"WRAPPED_KEY_INVALID": 0x110, "ENCRYPTED_DATA_INVALID": 0x40, "DATA_LEN_RANGE": 0x21}
POLICY = {"KEY_FUNCTION_NOT_PERMITTED": 0x68, "KEY_TYPE_INCONSISTENT": 0x63, "KEY_UNEXTRACTABLE": 0x6A,
          "ACTION_PROHIBITED": 0x1B}
TEMPLATE = {"ATTRIBUTE_TYPE_INVALID": 0x12, "TEMPLATE_INCONSISTENT": 0xD1}
UNSUPPORTED = {"MECHANISM_INVALID": 0x70, "FUNCTION_NOT_SUPPORTED": 0x54}
PIN = {"PIN_INCORRECT": 0xA0, "PIN_LOCKED": 0xA4, "PIN_EXPIRED": 0xA3}
CODES = {**LINK, **AMBIGUOUS, **SESSION, **HANDLE, **BUSY, **DATA, **POLICY, **TEMPLATE, **UNSUPPORTED,
         **PIN}
OTHER = ("hang", "abort", "segv", "delay 100", "delay 4000", "leak 100000", "disconnect 30",
         "disconnect b3")


def doings():
    return ["rv %x" % code for code in CODES.values()] + list(OTHER)


def name_of(what):
    for name, code in CODES.items():
        if what == "rv %x" % code:
            return name
    return what


def may_refuse(function, what):
    """The statuses that a call may fail with when this happens once: the module's clear word."""
    name = name_of(what)
    if name in POLICY and function in USING:
        return REFUSED
    if name in DATA and function in ("C_UnwrapKey", "C_Decrypt"):
        return DAMAGED
    return set()


class Calls:
    """KMS calls of both versions at once, whose outcomes are kept."""

    def __init__(self, client):
        self.client, self.statuses, self.sealed, self.wrong = client, [], [], []

    def together(self, requests):
        running = [self.client.begin(path, message) for path, message in requests]
        answers = []
        for call in running:
            try:
                answers.append(call.result())
            except RpcError as error:
                self.statuses.append((error.code(), error.details()))
                answers.append(None)
        return answers

    def round(self):
        plain = os.urandom(32)
        v2, v1 = self.together([
            ("/v2.KeyManagementService/Encrypt", self.client.encrypt_request(plain)),
            ("/v1beta1.KeyManagementService/Encrypt",
             rigs.kms.field(1, "v1beta1") + rigs.kms.field(2, plain))])
        fresh = []
        if v2 is not None:
            item = rigs.kms.Encrypted(v2)
            fresh.append(("/v2.KeyManagementService/Decrypt", self.client.decrypt_request(
                item.ciphertext, item.key_id, item.annotations)))
        if v1 is not None:
            fresh.append(("/v1beta1.KeyManagementService/Decrypt", rigs.kms.field(1, "v1beta1") +
                          rigs.kms.field(2, rigs.kms.one(rigs.kms.fields(v1), 1))))
        self.open([(*request, plain) for request in fresh])
        self.sealed += [(*request, plain) for request in fresh]

    def open(self, sealed):
        answers = self.together([request[:2] for request in sealed])
        for (_, _, plain), answer in zip(sealed, answers):
            if answer is not None and rigs.kms.one(rigs.kms.fields(answer), 1) != plain:
                self.wrong.append(plain)

    def codes(self):
        return {code for code, _ in self.statuses}


class FaultCase(rigs.Case):
    def node(self, **provider):
        node = self.rig(config={"data_key": {"max_uses": 1}, "log": {"level": "error"}},
                        provider={"processes": 2, "sessions": 2, "timeout": "1s",
                                  "start_timeout": "5s", **provider})
        node.fault = faults.inject(node)
        self.addCleanup(node.fault.close)
        return node

    def work_through(self, cases, nodes, work):
        """Gives each case to whichever node is free; what any finds wrong fails the test."""
        left, found = queue.Queue(), []
        for case in cases:
            left.put(case)

        def run(node):
            while True:
                try:
                    case = left.get_nowait()
                except queue.Empty:
                    return
                try:
                    problem = work(node, *case)
                except Exception as error:  # pylint: disable=broad-except
                    problem = "%s: %s" % (type(error).__name__, error)
                if problem:
                    found.append("%s: %s" % (" ".join(map(str, case)), problem))

        rigs.side_by_side(run, nodes)
        self.assertFalse(found, "\n" + "\n".join(found))

    def end(self, node):
        """It ends cleanly, no worker is left, and none has ever logged out or finalized."""
        counts = node.fault.counts(whole=True)
        node.close_clients()
        if node.kekd is not None:
            node.stop()
        self.assertEqual((counts["C_Finalize"], counts["C_Logout"]), (0, 0))

    @staticmethod
    def recovers(node, sealed=()):
        """The fault is gone: kekd works again, and opens all that it ever sealed."""
        node.fault.put()
        with node_client(node) as client:
            def good():
                calls = Calls(client)
                calls.round()
                calls.open(list(sealed))
                if calls.wrong:
                    raise AssertionError("a wrong plaintext")
                if calls.codes() & DAMAGED:
                    raise AssertionError("a good ciphertext was called damaged: %s" % calls.statuses)
                return not calls.statuses
            rigs.wait_for(good, "kekd to work again")


def node_client(node, timeout=20):
    return rigs.kms.Client(node.socket, timeout=timeout)


class Everything(FaultCase):
    """The tables above against the worker's own source: a call that nobody fails is noticed here."""

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
        node.write(health={"probe_interval": "1h"}, metrics=rigs.own_address())
        node.start()
        rigs.wait_for(lambda: node.page("/readyz")[0] == 200 and len(node.workers()) == 2, "service")
        with node_client(node) as client:
            time.sleep(1)  # until both are judged
            node.fault.put("C_UnwrapKey 1 rv 110")  # CKR_WRAPPED_KEY_INVALID
            self.assertEqual(client.decrypt1(sealed), DEK)
            self.assertEqual(node.fault.done(), 1)
            node.fault.put()
            broken = bytearray(sealed)
            broken[40] ^= 1  # in the wrapped data key: both workers say so
            self.refused(StatusCode.INVALID_ARGUMENT, client.decrypt1, bytes(broken))
        self.end(node)


class Starting(FaultCase):
    @staticmethod
    def logins(node):
        return node.fault.counts()["C_Login"]

    def once(self, node, function, what):
        node.fault.put("%s 1 %s" % (function, what))
        node.start()
        rigs.wait_for(node.fault.done, "the fault to happen")
        self.recovers(node)
        node.stop()

    def test_a_start_survives_a_failure_of_any_call(self):
        nodes = [self.node(processes=1) for _ in range(NODES)]
        what = [what for what in doings() if name_of(what) not in PIN]
        picked = [item for item in what if name_of(item) in (
            "DEVICE_REMOVED", "GENERAL_ERROR", "SESSION_HANDLE_INVALID", "segv", "hang")]
        self.work_through([(function, item) for item in picked for function in STARTING], nodes,
                          self.once)
        nodes += [self.node(processes=1, strategy="encrypt")]
        self.work_through([(function, item) for item in picked for function in ENCRYPTING], nodes[-1:],
                          self.once)
        for node in nodes:
            self.end(node)

    def test_a_first_try_that_fails_is_no_outage(self):
        node = self.node(processes=1)
        node.start()
        node.close_clients()
        node.stop()
        node.fault.put("C_GetTokenInfo 1 rv 5")
        node.spawn().serving()
        said = set()
        with node_client(node) as client:
            def seals():
                said.add(client.status().healthz)
                try:
                    return node.fault.done() and client.encrypt(DEK, timeout=0.2)
                except RpcError:
                    return False
            rigs.wait_for(seals, "kekd to seal")
        self.assertEqual(said, {"ok"})
        self.end(node)

    def always(self, node, function, what):
        node.fault.put("%s every %s" % (function, what))
        node.spawn().serving()
        rigs.wait_for(node.fault.done, "the fault to happen")
        with node_client(node, timeout=2) as client:
            try:
                client.encrypt(DEK)
                good = True
            except RpcError as error:
                good = False
                if error.code() not in AWAY:
                    return "Encrypt: %s" % error
        if good and function not in ("C_GetMechanismList", "C_DestroyObject"):
            return "it works all the same"
        self.recovers(node)
        node.stop()
        return None

    def test_kekd_serves_and_mends_itself_when_no_start_works(self):
        nodes = [self.node(processes=1) for _ in range(NODES)]
        self.work_through([(function, what) for what in ("rv 32", "abort") for function in STARTING
                           if function != "C_DestroyObject" or what == "rv 32"],
                          nodes, self.always)
        for node in nodes:
            self.end(node)

    @staticmethod
    def slot_of(node, label):
        shown = subprocess.run(["softhsm2-util", "--show-slots"], check=True, stdout=subprocess.PIPE, text=True,
                               env={**os.environ, "SOFTHSM2_CONF": node.token.conf}).stdout
        return re.search(r"^Slot (\d+)$(?:(?!^Slot).)*?Label: +%s *$" % label, shown, re.M | re.S).group(1)

    def test_a_neighbours_slot_that_hangs_keeps_no_worker_from_starting(self):
        node = self.node()
        node.config["metrics"] = rigs.own_address()
        node.write()
        subprocess.run(["softhsm2-util", "--init-token", "--free", "--label", "neighbour", "--so-pin", "12345678",
                        "--pin", "1234"], check=True, stdout=subprocess.DEVNULL,
                       env={**os.environ, "SOFTHSM2_CONF": node.token.conf})
        node.start()
        dead = self.slot_of(node, "neighbour")
        hangs = ["%s@%s every hang" % (function, dead) for function in ("C_GetSlotInfo", "C_GetTokenInfo")]
        with node_client(node) as client:
            calls = Calls(client)
            for _ in range(2):
                rigs.wait_for(lambda: node.metric("kekd_hsm_workers_ready") == 2, "both workers")
                node.fault.put(*hangs)
                before = node.workers()
                for pid in before:
                    os.kill(pid, signal.SIGKILL)
                calls.round()
                rigs.wait_for(lambda old=before: len(set(node.workers()) - set(old)) == 2, "two new workers")
            self.assertEqual((calls.statuses, calls.wrong), ([], []))
        node.stop()
        # A kekd that starts meanwhile, and kekctl, know of no place: the configuration has to say it.
        entry = node.config["providers"][0]
        entry["uri"] = entry["uri"].replace("?", ";slot-id=%s?" % self.slot_of(node, "kek-test"), 1)
        node.write()
        node.start()
        node.kekctl("key", "list", check=True)
        self.assertEqual(node.fault.done(), 0)
        node.stop()
        self.end(node)

    def test_a_token_with_too_few_sessions_is_warned_of_once(self):
        node = self.node()
        node.config["log"] = {"level": "info"}
        node.write()
        node.fault.put("C_GetTokenInfo every sessions 8")
        node.start()
        node.wait_log(r"provider hsm-a: the token allows 8 sessions, and kekd opens up to 9, \(processes")
        before = node.workers()
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        rigs.wait_for(lambda: len(set(node.workers()) - set(before)) == 2, "two new workers")
        node.good()
        self.assertEqual(node.log().count("the token allows"), 1)
        node.stop()
        # What it does not say, or what suffices, is no warning.
        for allowed in ("", "C_GetTokenInfo every sessions 9"):
            node.fault.put(*filter(None, [allowed]))
            node.start()
            node.stop()
        self.assertEqual(node.log().count("the token allows"), 1)
        self.end(node)

    def pin(self, node, what):
        node.fault.put("C_Login every " + what)
        node.spawn().serving()
        rigs.wait_for(lambda: os.listdir(node.state) and any(
            "pin-refused" in name for name in os.listdir(node.state)), "the refusal on record")
        with node_client(node, timeout=2) as client:
            for _ in range(3):
                try:
                    client.encrypt(DEK)
                    return "an Encrypt without a login"
                except RpcError as error:
                    if error.code() not in AWAY:
                        return "Encrypt: %s" % error
        node.kekctl("key", "list")
        node.stop()
        node.spawn().serving()
        time.sleep(0.5)
        if self.logins(node) != 1:
            return "%d logins" % self.logins(node)
        node.fault.put()
        with open(node.token.pin_file, "w", encoding="ascii") as file:
            file.write(node.token.pin + "\n")
        node.stop()
        node.start()
        if self.logins(node) < 1:
            return "no login with a changed PIN file"
        self.recovers(node)
        node.stop()
        return None

    def test_a_refused_pin_is_tried_once_in_all(self):
        nodes = [self.node(processes=2) for _ in PIN]
        self.work_through([("rv %x" % code,) for code in PIN.values()], nodes, self.pin)
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


class Neighbours(FaultCase):
    """A token that is shared with others."""

    def test_many_keys_on_a_slow_token_end_no_worker(self):
        node = self.rig(generate=False, config={"data_key": {"max_uses": 1}},
                        provider={"processes": 2, "sessions": 2, "timeout": "100ms",
                                  "start_timeout": "30s"})
        p11.plant(node.token, "tenant.v1", os.urandom(16))
        node.token.multiply_key(299)
        node.kekctl("key", "generate", check=True)
        node.fault = faults.inject(node)
        self.addCleanup(node.fault.close)
        node.fault.put("* every delay 5")
        node.start()
        rigs.wait_for(lambda: len(node.workers()) == 2, "two workers")
        with node_client(node) as client:
            calls = Calls(client)
            rigs.wait_for(lambda: calls.round() or calls.sealed, "something sealed")
            first, calls = node.workers(), Calls(client)
            end = time.monotonic() + 6  # a look each second
            while time.monotonic() < end:
                calls.round()
            self.assertEqual((calls.statuses, calls.wrong), ([], []))
            self.assertEqual(node.workers(), first)
        node.fault.put()
        node.stop()

    def test_a_foreign_key_that_cannot_be_read_is_named_once_by_each_worker(self):
        node = self.node(processes=2, recycle_memory="64GiB")
        node.config["log"] = {"level": "info"}
        p11.plant(node.token, "sick tenant", os.urandom(16))
        node.write()
        node.fault.put("C_GetAttributeValue every sick 30")
        node.log_to_journal()
        node.start()
        with node_client(node) as client:
            calls = Calls(client)
            end = time.monotonic() + 4
            while time.monotonic() < end:
                calls.round()
            self.assertEqual((calls.statuses, calls.wrong), ([], []))
        named = re.findall(r"\n<4>.*a key on the token cannot be read and is passed over.*", node.log())
        self.assertEqual(len(named), 2, named)
        self.assertIn("C_GetAttributeValue: CKR_DEVICE_ERROR (0x30)", named[0])
        self.end(node)


if __name__ == "__main__":
    rigs.main()
