#!/usr/bin/python3
"""NSS softokn: told where its database is by C_Initialize's reserved argument."""

import sys

from conformance import main
from tokens import NSS

EXPECTED = {
    "conformance": "pass: 30 passed, 1 failed, 0 not supported, 0 skipped",
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
         "states-enforced": r"PASS: C_WrapKey: CKR_KEY_TYPE_INCONSISTENT \(0x63\)",
         "keeps-key": "FAIL: hands out a key that it shows as not extractable: C_WrapKey by CKM_AES_KEY_WRAP"}

MATRIX = [
    "wrap-key CKM_AES_KEY_WRAP: works, used",
    "wrap-key CKM_AES_KEY_WRAP_KWP: works",
    "wrap-key CKM_NSS_AES_KEY_WRAP: works",
    "wrap-key CKM_AES_KEY_WRAP_PAD: refused: C_WrapKey: not as long as AES-KWP",
    "wrap-key CKM_AES_GCM (not advertised): refused: C_WrapKey: CKR_MECHANISM_INVALID (0x70)",
    "wrap-key CKM_AES_GCM with the token's IV (not advertised): refused: C_WrapKey: CKR_MECHANISM_INVALID (0x70)",
    "wrap-key CKM_AES_CBC: works, accepts tampered data",
    "encrypt CKM_AES_KEY_WRAP: works",
    "encrypt CKM_AES_KEY_WRAP_KWP: works",
    "encrypt CKM_NSS_AES_KEY_WRAP: works",
    "encrypt CKM_AES_KEY_WRAP_PAD: refused: C_Encrypt: not as long as AES-KWP",
    "encrypt CKM_AES_GCM: works",
    "encrypt CKM_AES_GCM with the token's IV: refused: C_Encrypt: no IV of the token's in AES-GCM",
    "encrypt CKM_AES_CBC: works, accepts tampered data",
    "keeps the KEK in: NO: C_WrapKey by CKM_AES_KEY_WRAP",
    "pre-active to active: taken yes, enforced yes, running yes, fresh yes",
    "active to deactivated: taken yes, enforced yes: C_WrapKey: CKR_KEY_TYPE_INCONSISTENT (0x63), running yes, fresh yes",
    "deactivated to active: taken yes, enforced yes, running yes, fresh yes",
    "deactivated to suspended: taken yes, enforced yes: C_WrapKey: CKR_KEY_TYPE_INCONSISTENT (0x63), running yes, fresh yes",
    "suspended to deactivated: taken yes, enforced yes: C_WrapKey: CKR_KEY_TYPE_INCONSISTENT (0x63), running yes, fresh yes",
    "deactivated to compromised: taken yes, enforced yes: C_WrapKey: CKR_KEY_TYPE_INCONSISTENT (0x63), running yes, fresh yes",
    "a copy: yes: loses CKA_ALWAYS_SENSITIVE, CKA_NEVER_EXTRACTABLE, may wrap again",
]

# A database without a password demands no login: all that needs none, without a pin-source and with one that the
# database would refuse (CKR_PIN_INCORRECT).
OPEN = ("conformance", "generate", "kekd serves")

if __name__ == "__main__":
    sys.exit(main(NSS(), EXPECTED, MATRIX, CASES) or
             main(NSS(password="", pin=None), EXPECTED, None, CASES, OPEN) or
             main(NSS(password="", pin="not the password"), EXPECTED, None, CASES, OPEN))
