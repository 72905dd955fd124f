#!/usr/bin/python3
"""A node whose KEK moves from an HSM to a TPM, by docs/roots.md: the TPM's own tool makes its key, and knows AES-CBC alone."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "conformance"))
import rig as rigs  # noqa: E402
from moved import Move  # noqa: E402
from tokens import TPM2  # noqa: E402


class Moved(rigs.Case):
    def test_a_node_moves_from_an_hsm_to_its_tpm(self):
        TOKEN.make_key(1, os.urandom(16))
        node = self.rig(config={"settle": "0s"}).start()
        Move(self, [node], {"name": "tpm", "type": "pkcs11", **TOKEN.settings(), "env": TOKEN.env, "timeout": "5s",
                            "versions": TOKEN.versions}).go(lambda node: None)
        node.close_clients()
        node.stop()


if __name__ == "__main__":
    TOKEN = TPM2()
    rigs.main()
