#!/usr/bin/python3
"""A TPM: its keys are made by its own tool, it knows AES-CBC alone, and a key's flags are a note on the side."""

import sys

from conformance import main
from tokens import TPM2

EXPECTED = {
    "generate": "cannot: C_GenerateKey: CKR_FUNCTION_NOT_SUPPORTED (0x54)",
    "probe": "pass",
    "list": "pass: AES-CBC",
    "round trip": "pass",
    "tampered": "cannot: AES-CBC takes a damaged blob, and another key comes out",
    "truncated": "pass",
    "another key's": "cannot: AES-CBC takes another key's blob, and another key comes out",
    "missing key": "pass",
    "concurrent": "pass",
    "two processes": "pass",
    "logout elsewhere": "pass",
    "killed and restarted": "pass",
    "other strategies": "pass: encrypt AES-CBC",
    "remembered algorithm": "pass: AES-GCM gives AES-CBC",
    "kekd serves": "pass",
    "states": "cannot: the token shows the new flags and wraps and unwraps all the same; "
              "a process that was there before does not see them",
    "crash between two changes": "pass",
    "destroy": "pass",
    "wrong PIN": "pass: C_Login: CKR_PIN_INCORRECT (0xa0)",
}

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
    sys.exit(main(TPM2(), EXPECTED, MATRIX))
