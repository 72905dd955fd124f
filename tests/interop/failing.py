"""A kekd in strict mode, so that every KMS call is an HSM operation, on the fault module: which calls can fail, and how, and
KMS calls whose outcomes are kept."""

import os
import queue

import fault as faults
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
STARTING = ("C_Initialize", "C_GetInfo", "C_GetSlotList", "C_GetSlotInfo", "C_GetTokenInfo",
            "C_GetMechanismList", "C_OpenSession", "C_Login", "C_FindObjectsInit", "C_FindObjects",
            "C_FindObjectsFinal", "C_GetAttributeValue", "C_CreateObject", "C_WrapKey", "C_UnwrapKey",
            "C_DestroyObject")
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
