#!/usr/bin/python3
"""A TPM: its keys are made by its own tool, it knows AES-CBC alone, and a key's flags are a note on the side."""

import sys

from conformance import main
from tokens import TPM2

EXPECTED = {
    "conformance": "pass: 17 passed, 0 failed, 3 not supported, 11 skipped",
    "generate": "cannot: C_GenerateKey: CKR_FUNCTION_NOT_SUPPORTED (0x54)",
    "probe": "pass",
    "logout elsewhere": "pass",
    "other strategies": "pass: encrypt AES-CBC",
    "remembered algorithm": "pass: AES-GCM gives AES-CBC",
    "kekd serves": "pass",
    "crash between two changes": "pass",
    "audit key": "pass: CKM_SHA256_HMAC, made by the token's own tool",
    "wrong PIN": "pass: C_Login: CKR_PIN_INCORRECT (0xa0)",
}

# What kekctl conformance finds, where that is worth saying.
CASES = {
    "list": "PASS: AES-CBC", "mechanism": "PASS: encrypt CKM_AES_CBC, which takes damaged data",
    **{name: "NOT SUPPORTED: AES-CBC takes .* blob, and another data key comes out" for name in ("tamper-changed", "other-key")},
    **{name: "SKIPPED: with --existing-key no key is made" for name in (
        "generate", "generate-taken", "deactivate", "reactivate", "suspend", "resume", "compromise", "states-enforced",
        "states-noticed", "destroy", "destroyed-key")},
    "keeps-key": r"NOT SUPPORTED: not tried: C_GenerateKey: CKR_FUNCTION_NOT_SUPPORTED \(0x54\)"}

MATRIX = [
    "wrap-key CKM_AES_KEY_WRAP (not advertised): refused: C_CreateObject: CKR_ATTRIBUTE_VALUE_INVALID (0x13)",
    "wrap-key CKM_AES_KEY_WRAP_KWP (not advertised): refused: C_CreateObject: CKR_ATTRIBUTE_VALUE_INVALID (0x13)",
    "wrap-key CKM_AES_KEY_WRAP_PAD (not advertised): refused: C_CreateObject: CKR_ATTRIBUTE_VALUE_INVALID (0x13)",
    "wrap-key CKM_AES_GCM (not advertised): refused: C_CreateObject: CKR_ATTRIBUTE_VALUE_INVALID (0x13)",
    "wrap-key CKM_AES_GCM with the token's IV (not advertised): refused: C_CreateObject: CKR_ATTRIBUTE_VALUE_INVALID (0x13)",
    "wrap-key CKM_AES_CBC (not advertised): refused: C_CreateObject: CKR_ATTRIBUTE_VALUE_INVALID (0x13)",
    "encrypt CKM_AES_KEY_WRAP (not advertised): refused: C_EncryptInit: CKR_MECHANISM_INVALID (0x70)",
    "encrypt CKM_AES_KEY_WRAP_KWP (not advertised): refused: C_EncryptInit: CKR_MECHANISM_INVALID (0x70)",
    "encrypt CKM_AES_KEY_WRAP_PAD (not advertised): refused: C_EncryptInit: CKR_MECHANISM_INVALID (0x70)",
    "encrypt CKM_AES_GCM (not advertised): refused: C_EncryptInit: CKR_MECHANISM_INVALID (0x70)",
    "encrypt CKM_AES_GCM with the token's IV (not advertised): refused: C_EncryptInit: CKR_MECHANISM_INVALID (0x70)",
    "encrypt CKM_AES_CBC: works, accepts tampered data, used",
    "keeps the KEK in: not tried: C_GenerateKey: CKR_FUNCTION_NOT_SUPPORTED (0x54)",
] + ["%s: no key could be made: C_GenerateKey: CKR_FUNCTION_NOT_SUPPORTED (0x54)" % row for row in (
    "pre-active to active: taken untried", "active to deactivated: taken untried",
    "deactivated to active: taken untried", "deactivated to suspended: taken untried",
    "suspended to deactivated: taken untried", "deactivated to compromised: taken untried", "a copy: untried")]

if __name__ == "__main__":
    sys.exit(main(TPM2(), EXPECTED, MATRIX, CASES))
