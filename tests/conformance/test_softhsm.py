#!/usr/bin/python3
"""SoftHSM: all of it by the standard's own key wrap."""

import sys

from conformance import main
from tokens import SoftHSM

EXPECTED = {
    "conformance": "pass: 31 passed, 0 failed, 0 not supported, 0 skipped",
    "generate": "pass",
    "probe": "pass",
    "logout elsewhere": "pass",
    "other strategies": "pass: wrap-key AES-KW",
    "remembered algorithm": "pass: AES-GCM gives AES-KW",
    "kekd serves": "pass",
    "crash between two changes": "pass",
    "audit key": "pass: CKM_SHA256_HMAC",
    "wrong PIN": "pass: C_Login: CKR_PIN_INCORRECT (0xa0)",
}

# What kekctl conformance finds, where that is worth saying.
CASES = {"list": "PASS: AES-KW", "mechanism": "PASS: wrap-key CKM_AES_KEY_WRAP",
         "states-enforced": r"PASS: C_WrapKey: CKR_KEY_FUNCTION_NOT_PERMITTED \(0x68\)"}

MATRIX = [
    "wrap-key CKM_AES_KEY_WRAP: works, used",
    "wrap-key CKM_AES_KEY_WRAP_KWP (not advertised): refused: C_WrapKey: CKR_MECHANISM_INVALID (0x70)",
    "wrap-key CKM_AES_KEY_WRAP_PAD: works",
    "wrap-key CKM_AES_GCM (not advertised): refused: C_WrapKey: CKR_MECHANISM_INVALID (0x70)",
    "wrap-key CKM_AES_GCM with the token's IV (not advertised): refused: C_WrapKey: CKR_MECHANISM_INVALID (0x70)",
    "wrap-key CKM_AES_CBC: refused: C_UnwrapKey: CKR_MECHANISM_INVALID (0x70)",
    "encrypt CKM_AES_KEY_WRAP (not advertised): refused: C_EncryptInit: CKR_MECHANISM_INVALID (0x70)",
    "encrypt CKM_AES_KEY_WRAP_KWP (not advertised): refused: C_EncryptInit: CKR_MECHANISM_INVALID (0x70)",
    "encrypt CKM_AES_KEY_WRAP_PAD (not advertised): refused: C_EncryptInit: CKR_MECHANISM_INVALID (0x70)",
    "encrypt CKM_AES_GCM: works",
    "encrypt CKM_AES_GCM with the token's IV: refused: C_Encrypt: no IV of the token's in AES-GCM",
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
    sys.exit(main(SoftHSM(), EXPECTED, MATRIX, CASES))
