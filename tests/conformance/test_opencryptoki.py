#!/usr/bin/python3
"""openCryptoki's soft token: no key wrap in 3.8, so AES-CBC, which the envelope's tag authenticates."""

import sys

from conformance import main
from tokens import OpenCryptoki

EXPECTED = {
    "conformance": "pass: 29 passed, 0 failed, 2 not supported, 0 skipped",
    "generate": "pass",
    "probe": "pass",
    "logout elsewhere": "pass",
    "other strategies": "pass: wrap-key AES-CBC",
    "remembered algorithm": "pass: AES-GCM gives AES-CBC",
    "kekd serves": "pass",
    "crash between two changes": "pass",
    "audit key": "pass: CKM_SHA256_HMAC",
    "wrong PIN": "pass: C_Login: CKR_PIN_INCORRECT (0xa0)",
}

# What kekctl conformance finds, where that is worth saying.
CASES = {
    "list": "PASS: AES-CBC", "mechanism": "PASS: wrap-key CKM_AES_CBC, which takes damaged data",
    "states-enforced": r"PASS: C_WrapKey: CKR_KEY_FUNCTION_NOT_PERMITTED \(0x68\)",
    **{name: "NOT SUPPORTED: AES-CBC takes .* blob, and another data key comes out" for name in ("tamper-changed", "other-key")}}

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
    sys.exit(main(OpenCryptoki(), EXPECTED, MATRIX, CASES))
