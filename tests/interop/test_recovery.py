#!/usr/bin/env python3
"""docs/recovery.md, run as it stands: every block of it, in order, in one shell, on a SoftHSM token.

The envelopes are sealed by kekd's own code under a data key that the token wrapped. What is opened
must be what was sealed; what is damaged must give no plaintext; and whatever happens, the token
must end with the objects it began with.
"""
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import unittest

BUILD = os.environ["abs_top_builddir"]
SOURCE = os.environ["abs_top_srcdir"]
MODULE = "/usr/lib/softhsm/libsofthsm2.so"
PAGE = os.path.join(SOURCE, "docs", "recovery.md")
SKIPPED = 77
TOKEN = "recovery-test"
KEK_ID = "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf"
CONTEXT = "prod-eu1"
AES_KW, AES_KWP, AES_GCM, AES_CBC = 1, 2, 3, 4


def page_blocks():
    with open(PAGE, encoding="utf-8") as page:
        return re.findall(r"^```sh\n(.*?)^```$", page.read(), re.MULTILINE | re.DOTALL)


class Token:
    """A throw-away token with one AES KEK on it."""

    def __init__(self, folder):
        self.pin = secrets.token_hex(8)
        os.mkdir(os.path.join(folder, "tokens"))
        conf = os.path.join(folder, "softhsm2.conf")
        with open(conf, "w", encoding="ascii") as out:
            out.write(f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\n"
                      "log.level = ERROR\n")
        self.env = {**os.environ, "SOFTHSM2_CONF": conf, "KEK_PIN": self.pin}
        subprocess.run(["softhsm2-util", "--init-token", "--free", "--label", TOKEN,
                        "--so-pin", secrets.token_hex(8), "--pin", self.pin],
                       env=self.env, check=True, capture_output=True)
        self.tool("--keygen", "--key-type", "AES:32", "--id", KEK_ID, "--label", "kek-test.v1",
                  "--usage-wrap", "--sensitive")

    def tool(self, *args):
        done = subprocess.run(["pkcs11-tool", "--module", MODULE, "--token-label", TOKEN, "--login",
                               "--pin", "env:KEK_PIN", *args],
                              env=self.env, capture_output=True, check=False)
        if done.returncode != 0:
            raise AssertionError(done.stderr.decode())
        return done.stdout

    def objects(self):
        return sorted(self.tool("--list-objects").splitlines())


class RecoveryPage(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="kek-recovery-")
        self.addCleanup(shutil.rmtree, self.folder)
        self.token = Token(self.folder)
        self.data_key = os.path.join(self.folder, "data-key")
        self.plaintext = os.path.join(self.folder, "plaintext")
        self.secret = secrets.token_bytes(32)
        self.write("data-key", secrets.token_bytes(32))
        self.write("secret", self.secret)

    def write(self, name, content):
        path = os.path.join(self.folder, name)
        with open(path, "wb") as out:
            out.write(content)
        return path

    def wrap(self, algorithm):
        """The data key, wrapped by the token as the wrap algorithm's layout says."""
        wrapped = os.path.join(self.folder, "wrapped")
        if algorithm == AES_CBC:
            iv = secrets.token_bytes(16)
            self.token.tool("--encrypt", "--mechanism", "AES-CBC", "--iv", iv.hex(), "--id", KEK_ID,
                            "--input-file", self.data_key, "--output-file", wrapped)
            with open(wrapped, "rb") as ciphertext:
                return self.write("wrapped", iv + ciphertext.read())
        if algorithm == AES_GCM:
            return self.write("wrapped", secrets.token_bytes(60))
        self.token.tool("--write-object", self.data_key, "--type", "secrkey", "--key-type",
                        "AES:32", "--id", "01", "--extractable")
        self.token.tool("--wrap", "--mechanism", "AES-KEY-WRAP" if algorithm == AES_KW else "0x210A",
                        "--id", KEK_ID, "--application-id", "01", "--output-file", wrapped)
        self.token.tool("--delete-object", "--type", "secrkey", "--id", "01")
        return wrapped

    def seal(self, algorithm=AES_KW, context=CONTEXT):
        done = subprocess.run([os.path.join(BUILD, "tests", "interop", "seal_one"), self.data_key,
                               str(algorithm), KEK_ID, self.wrap(algorithm), context,
                               os.path.join(self.folder, "secret")],
                              capture_output=True, check=True)
        return done.stdout

    def run_page(self, envelope, context=CONTEXT, **changed):
        before = self.token.objects()
        scratch = os.path.join(self.folder, "scratch")
        os.makedirs(scratch, exist_ok=True)
        env = {**self.token.env, "MODULE": MODULE, "TOKEN": TOKEN, "CONTEXT": context,
               "ENVELOPE": self.write("envelope", envelope), "PLAINTEXT": self.plaintext,
               "SCRATCH": scratch, **changed}
        done = subprocess.run(["sh"], input="\n".join(page_blocks()), text=True, env=env,
                              capture_output=True, check=False)
        self.assertEqual(self.token.objects(), before, "the token was left changed")
        self.assertEqual(os.listdir(scratch), [], "a scratch folder was left behind")
        return done

    def opens(self, envelope, context=CONTEXT):
        done = self.run_page(envelope, context)
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(self.plaintext, "rb") as opened:
            self.assertEqual(opened.read(), self.secret)
        self.assertIn("holds what it held before", done.stdout)
        os.unlink(self.plaintext)

    def refuses(self, envelope, reason, context=CONTEXT):
        done = self.run_page(envelope, context)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(reason, done.stderr)
        self.assertFalse(os.path.exists(self.plaintext), "there is a plaintext")

    def test_page_opens_what_was_sealed_under_each_wrap_algorithm_it_names(self):
        for algorithm in (AES_KW, AES_KWP, AES_CBC):
            with self.subTest(algorithm=algorithm):
                self.opens(self.seal(algorithm))

    def test_page_opens_without_a_context(self):
        self.opens(self.seal(context=""), context="")

    def test_page_finds_the_envelope_in_what_etcd_holds(self):
        envelope = self.seal()
        size = len(envelope)
        encrypted = secrets.token_bytes(76).replace(b"KEK", b"kek")
        key_id = b"kek1-0123456789abcdef0123456789abcdef"
        v2 = (b"k8s:enc:kms:v2:kekd:" + bytes([0x0a, len(encrypted)]) + encrypted +
              bytes([0x12, len(key_id)]) + key_id +
              bytes([0x1a, size & 0x7f | 0x80, size >> 7]) + envelope + bytes([0x28, 1]))
        v1 = b"k8s:enc:kms:v1:kekd:" + size.to_bytes(2, "big") + envelope + encrypted
        for value in (v2, v1):
            with self.subTest(value=value[:20]):
                self.opens(value)
        self.refuses(b"k8s:enc:aescbc:v1:key:" + encrypted, "no envelope")
        self.refuses(b"k8s:enc:aescbc:v1:key:" + envelope, "neither an envelope nor")
        self.refuses(v1[:100], "cut short")

    def test_page_gives_no_plaintext_of_a_damaged_envelope(self):
        envelope = self.seal()
        header = 66
        for at, reason in ((4, "suite"), (5, "mode"), (6, "entries"), (30, "does not unwrap"),
                           (10, "does not unwrap"), (header, "tag does not match"),
                           (header + 20, "tag does not match"), (len(envelope) - 1, "tag does not")):
            with self.subTest(at=at):
                damaged = bytearray(envelope)
                damaged[at] ^= 0x40
                self.refuses(bytes(damaged), reason)
        self.refuses(envelope[:-32], "tag does not match")
        self.refuses(envelope[:80], "cut short")

    def test_page_gives_no_plaintext_under_another_context(self):
        self.refuses(self.seal(), "tag does not match", context="prod-eu2")

    def counting(self):
        """A PATH on which each run of pkcs11-tool leaves a line in "runs" first."""
        folder = os.path.join(self.folder, "bin")
        os.mkdir(folder)
        tool = os.path.join(folder, "pkcs11-tool")
        with open(tool, "w", encoding="ascii") as out:
            out.write("#!/bin/sh\necho run >>%s/runs\nexec %s \"$@\"\n"
                      % (self.folder, shutil.which("pkcs11-tool")))
        os.chmod(tool, 0o755)
        return folder + ":" + os.environ["PATH"]

    def test_page_tries_a_wrong_pin_once(self):
        done = self.run_page(self.seal(), PATH=self.counting(), KEK_PIN="wrong-pin")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("cannot be listed: error: PKCS11 function C_Login failed", done.stderr)
        with open(os.path.join(self.folder, "runs"), encoding="ascii") as runs:
            self.assertEqual(runs.read(), "run\n")

    def test_page_does_not_begin_without_a_pin(self):
        done = self.run_page(self.seal(), PATH=self.counting(), KEK_PIN="")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("KEK_PIN", done.stderr)
        self.assertFalse(os.path.exists(os.path.join(self.folder, "runs")))

    def test_page_says_what_pkcs11_tool_cannot_do(self):
        self.refuses(self.seal(AES_GCM), "cannot undo wrap algorithm 3")


if __name__ == "__main__":
    for program in ("softhsm2-util", "pkcs11-tool", "openssl"):
        if shutil.which(program) is None:
            print(f"{program} is missing: install softhsm2, opensc, openssl")
            sys.exit(SKIPPED)
    unittest.main(verbosity=2)
