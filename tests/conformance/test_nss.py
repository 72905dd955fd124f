#!/usr/bin/python3
"""NSS softokn: told where its database is by C_Initialize's reserved argument."""

import sys

from conformance import main
from tokens import NSS

EXPECTED = {
    "generate": "pass",
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
    "set_state": "pass: enforced: C_WrapKey: CKR_KEY_TYPE_INCONSISTENT (0x63)",
    "destroy": "pass",
    "wrong PIN": "pass: C_Login: CKR_PIN_INCORRECT (0xa0)",
}

if __name__ == "__main__":
    sys.exit(main(NSS(), EXPECTED))
