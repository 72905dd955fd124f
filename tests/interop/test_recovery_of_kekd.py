"""docs/recovery.md on what a running kekd sealed, under the KEK that kekctl made: it may wrap and unwrap, no more.

test_recovery.py runs the page against every wrap algorithm and every kind of damage; here it meets the
whole system, which is gone, state and all, when the page opens what it left.
"""

import os
import shutil
import subprocess
import unittest

import rig as rigs
from test_recovery import MODULE, page_blocks

CONTEXT = "recovery"


class RecoveryOfKekd(rigs.Case):
    def open_by_page(self, node, envelope):
        plaintext = os.path.join(node.folder, "plaintext")
        scratch = os.path.join(node.folder, "scratch")
        os.mkdir(scratch)
        with open(os.path.join(node.folder, "envelope"), "wb") as out:
            out.write(envelope)
        env = {**os.environ, "SOFTHSM2_CONF": node.token.conf, "KEK_PIN": node.token.pin, "MODULE": MODULE,
               "TOKEN": node.token.label, "CONTEXT": CONTEXT, "PLAINTEXT": plaintext,
               "ENVELOPE": os.path.join(node.folder, "envelope"), "SCRATCH": scratch}
        done = subprocess.run(["sh"], input="\n".join(page_blocks()), text=True, env=env,
                              capture_output=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("holds what it held before", done.stdout)
        shutil.rmtree(scratch)
        with open(plaintext, "rb") as file:
            return file.read()

    def test_page_opens_what_kekd_sealed_once_kekd_is_gone(self):
        node = self.rig(config={"context": CONTEXT}).start()
        seed = os.urandom(32)
        with node.client() as client:
            sealed = client.encrypt(seed).ciphertext
            cipher = client.encrypt1(b"ping")
        node.stop()
        shutil.rmtree(os.path.join(node.folder, "state"))
        listing = node.token.tool("--list-objects")
        self.assertEqual(self.open_by_page(node, sealed), seed)
        self.assertEqual(self.open_by_page(node, cipher), b"ping")
        self.assertEqual(node.token.tool("--list-objects"), listing)


if __name__ == "__main__":
    unittest.main(verbosity=2)
