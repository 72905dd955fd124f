#!/usr/bin/python3
"""A TPM: its keys are made by its own tool and named in the configuration, and it knows AES-CBC alone."""

import sys

from conformance import main
from tokens import TPM2

EXPECTED = {
    "generate": "cannot: C_GenerateKey: CKR_FUNCTION_NOT_SUPPORTED (0x54)",
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
    "set_state": "cannot: the state of key kek-2 stands in the configuration (versions:)",
    "destroy": "pass",
    "wrong PIN": "pass: C_Login: CKR_PIN_INCORRECT (0xa0)",
}

if __name__ == "__main__":
    sys.exit(main(TPM2(), EXPECTED))
