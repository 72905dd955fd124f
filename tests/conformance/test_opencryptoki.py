#!/usr/bin/python3
"""openCryptoki's soft token: no key wrap in 3.8, so AES-CBC, which the envelope's tag authenticates."""

import sys

from conformance import main
from tokens import OpenCryptoki

EXPECTED = {
    "generate": "pass",
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
    "other strategies": "pass: wrap-key AES-CBC",
    "remembered algorithm": "pass: AES-GCM gives AES-CBC",
    "kekd serves": "pass",
    "states": "pass: enforced: C_UnwrapKey: CKR_KEY_FUNCTION_NOT_PERMITTED (0x68), "
              "C_WrapKey: CKR_KEY_FUNCTION_NOT_PERMITTED (0x68)",
    "crash between two changes": "pass",
    "destroy": "pass",
    "wrong PIN": "pass: C_Login: CKR_PIN_INCORRECT (0xa0)",
}

MATRIX = [
    "wrap-key CKM_AES_KEY_WRAP (not advertised): refused: C_WrapKey: CKR_MECHANISM_INVALID (0x70)",
    "wrap-key CKM_AES_KEY_WRAP_KWP (not advertised): refused: C_WrapKey: CKR_MECHANISM_INVALID (0x70)",
    "wrap-key CKM_AES_KEY_WRAP_PAD (not advertised): refused: C_WrapKey: CKR_MECHANISM_INVALID (0x70)",
    "wrap-key CKM_AES_GCM (not advertised): refused: C_WrapKey: CKR_MECHANISM_INVALID (0x70)",
    "wrap-key CKM_AES_GCM with the token's IV (not advertised): refused: C_WrapKey: CKR_MECHANISM_INVALID (0x70)",
    "wrap-key CKM_AES_CBC: works, accepts tampered data, used",
    "encrypt CKM_AES_KEY_WRAP (not advertised): refused: C_EncryptInit: CKR_MECHANISM_INVALID (0x70)",
    "encrypt CKM_AES_KEY_WRAP_KWP (not advertised): refused: C_EncryptInit: CKR_MECHANISM_INVALID (0x70)",
    "encrypt CKM_AES_KEY_WRAP_PAD (not advertised): refused: C_EncryptInit: CKR_MECHANISM_INVALID (0x70)",
    "encrypt CKM_AES_GCM (not advertised): refused: C_EncryptInit: CKR_MECHANISM_INVALID (0x70)",
    "encrypt CKM_AES_GCM with the token's IV (not advertised): refused: C_EncryptInit: CKR_MECHANISM_INVALID (0x70)",
    "encrypt CKM_AES_CBC: works, accepts tampered data",
    "keeps the KEK in: yes",
    "pre-active to active: taken yes, enforced yes, running yes, fresh yes",
    "active to deactivated: taken yes, enforced yes: C_WrapKey: CKR_KEY_FUNCTION_NOT_PERMITTED (0x68), running yes, fresh yes",
    "deactivated to active: taken yes, enforced yes, running yes, fresh yes",
    "deactivated to suspended: taken yes, enforced yes: C_WrapKey: CKR_KEY_FUNCTION_NOT_PERMITTED (0x68), running yes, fresh yes",
    "suspended to deactivated: taken yes, enforced yes: C_WrapKey: CKR_KEY_FUNCTION_NOT_PERMITTED (0x68), running yes, fresh yes",
    "deactivated to compromised: taken yes, enforced yes: C_WrapKey: CKR_KEY_FUNCTION_NOT_PERMITTED (0x68), running yes, fresh yes",
    "a copy: yes: loses nothing, may wrap again",
]

if __name__ == "__main__":
    sys.exit(main(OpenCryptoki(), EXPECTED, MATRIX))
