#!/usr/bin/python3
"""NSS softokn: told where its database is by C_Initialize's reserved argument."""

import sys

from conformance import main
from tokens import NSS

EXPECTED = {
    "generate": "pass",
    "probe": "pass",
    "list": "pass: AES-KW",
    "round trip": "pass",
    "tampered": "pass",
    "truncated": "pass",
    "another key's": "pass",
    "missing key": "pass",
    "concurrent": "pass",
    "two processes": "pass",
    "logout elsewhere": "pass",
    "killed and restarted": "pass",
    "other strategies": "pass: wrap-key AES-KW",
    "remembered algorithm": "pass: AES-GCM gives AES-KW",
    "kekd serves": "pass",
    "states": "pass: enforced: C_UnwrapKey: CKR_KEY_TYPE_INCONSISTENT (0x63), "
              "C_WrapKey: CKR_KEY_TYPE_INCONSISTENT (0x63)",
    "crash between two changes": "pass",
    "destroy": "pass",
    "wrong PIN": "pass: C_Login: CKR_PIN_INCORRECT (0xa0)",
}

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
OPEN = ("generate", "list", "round trip", "another key's", "concurrent", "two processes", "killed and restarted",
        "kekd serves", "states", "destroy")

if __name__ == "__main__":
    sys.exit(main(NSS(), EXPECTED, MATRIX) or
             main(NSS(password="", pin=None), EXPECTED, None, OPEN) or
             main(NSS(password="", pin="not the password"), EXPECTED, None, OPEN))
