#!/usr/bin/python3
"""The signature of kekctl's report, by each kind of key and by an HSM, and what is no key or no signature."""

import contextlib
import os
import re
import shutil
import subprocess

import rig as rigs
from reporting import Report, shell


class Signature(Report):
    def setUp(self):
        self.at = self.rig()
        self.json, self.signature = [self.at.folder + "/report/" + name for name in ("report.json", "report.json.sig")]

    def key(self, node, name="signer", options="-algorithm ed25519"):
        """(private, public) PEM files."""
        private, public = node.folder + "/%s.key" % name, node.folder + "/%s.pem" % name
        shell("umask 077; openssl genpkey {options} -out {private} 2>&1 && openssl pkey -in {private} -pubout -out {public}",
              options=options, private=private, public=public)
        return private, public

    def verify(self, node, code, report, signature, public):
        done = node.kekctl("report", "verify", report, signature, "--key", public)
        self.assertEqual(done.returncode, code, done.stderr.decode())
        return done.stdout.decode() + done.stderr.decode()

    def test_each_kind_of_key_signs_and_openssl_verifies_alone(self):
        kinds = (("ed", "-algorithm ed25519", "Ed25519", "pkeyutl -verify -rawin -pubin -inkey {public} -in {json} -sigfile {sig}"),
                 ("p256", "-algorithm EC -pkeyopt ec_paramgen_curve:P-256", "ECDSA P-256",
                  "dgst -sha256 -verify {public} -signature {sig} {json}"),
                 ("p384", "-algorithm EC -pkeyopt ec_paramgen_curve:P-384", "ECDSA P-384",
                  "dgst -sha384 -verify {public} -signature {sig} {json}"),
                 ("rsa", "-algorithm RSA -pkeyopt rsa_keygen_bits:2048", "RSA-PSS",
                  "dgst -sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest -verify {public} -signature {sig} {json}"))
        for name, options, kind, alone in kinds:
            private, public = self.key(self.at, name, options)
            found, _, _ = self.report(self.at, 0, name, "--key", private)
            paths = [self.at.folder + "/%s/%s" % (name, file) for file in ("report.json", "report.json.sig")]
            self.assertIn(kind, found["signature"]["algorithm"])
            der = subprocess.run(["openssl", "pkey", "-pubin", "-in", public, "-outform", "DER"], stdout=subprocess.PIPE, check=True)
            digest = subprocess.run(["sha256sum"], input=der.stdout, stdout=subprocess.PIPE, check=True).stdout.split()[0]
            self.assertEqual(found["signature"]["public_key_sha256"], digest.decode())
            self.assertIn(kind, self.verify(self.at, 0, *paths, public))
            shell("openssl " + alone, public=public, json=paths[0], sig=paths[1])

    def test_a_changed_byte_is_found(self):
        private, public = self.key(self.at)
        _, other = self.key(self.at, "other")
        _, kind = self.key(self.at, "kind", "-algorithm EC -pkeyopt ec_paramgen_curve:P-256")
        self.report(self.at, 0, "report", "--key", private)
        self.verify(self.at, 0, self.json, self.signature, public)
        for path in (self.json, self.signature):
            with open(path, "rb") as file:
                content = file.read()
            for changed in (bytes([content[0] ^ 1]) + content[1:], content[:-1] + bytes([content[-1] ^ 0x20]),
                            content[:-1], content + b"\n", b""):
                copy = self.at.folder + "/changed"
                with open(copy, "wb") as file:
                    file.write(changed)
                pair = (copy, self.signature) if path == self.json else (self.json, copy)
                said = self.verify(self.at, 3, *pair, public)
                self.assertIn("is not what", said)
        for wrong in (other, kind):
            self.verify(self.at, 3, self.json, self.signature, wrong)

    def test_a_page_that_is_not_of_the_signed_report_is_found(self):
        private, public = self.key(self.at)
        page = self.at.folder + "/report/report.html"
        for name in ("report", "second"):
            self.report(self.at, 0, name, "--key", private)
        pair = (self.json, self.signature)

        def said(code, path, *files):
            done = self.at.kekctl("report", "verify", *(files or pair), "--key", public, "--page", path)
            self.assertEqual(done.returncode, code, done.stderr.decode())
            return done.stdout.decode() + done.stderr.decode()
        self.assertRegex(said(0, page), "PAGE-VERIFIED +yes")
        with open(page, encoding="utf-8") as file:
            text = file.read()
        copy = self.at.folder + "/page"
        for changed in (text.replace("active", "Active", 1), text[:-1], text + " ", ""):
            with open(copy, "w", encoding="utf-8") as file:
                file.write(changed)
            self.assertIn("page is not the page of", said(3, copy))
        self.assertIn("No such file", said(1, copy + "x"))
        # The report is another one, or another version's.
        with open(self.json, encoding="utf-8") as file:
            text = file.read()
        for content, code, word in (
                (text.replace('"command": "kekctl ', '"command": "kekctl 9'), 1, "which alone can compare its page"),
                ("[]", 1, "is no report of kekctl's"), (text.replace('"attention": []', '"attention": [1]'), 3, "is not the page of")):
            other = self.at.folder + "/other"
            with open(other, "w", encoding="utf-8") as file:
                file.write(content)
            shell("openssl pkeyutl -sign -rawin -inkey {key} -in {other} -out {other}.sig", key=private, other=other)
            self.assertIn(word, said(code, page, other, other + ".sig"))
            self.verify(self.at, 0, other, other + ".sig", public)

    def test_what_is_no_key_is_refused_and_nothing_is_written(self):
        private, public = self.key(self.at)
        keys = {"p521": "-algorithm EC -pkeyopt ec_paramgen_curve:P-521", "small": "-algorithm RSA -pkeyopt rsa_keygen_bits:1024",
                "locked": "-algorithm ed25519 -aes256 -pass pass:x"}
        refusals = {public: "has no private key", self.at.folder + "/none": "No such file", self.at.path: "has no private key"}
        for name, options in keys.items():
            shell("umask 077; openssl genpkey {options} -out {path}", options=options, path=self.at.folder + "/" + name)
            refusals[self.at.folder + "/" + name] = "passphrase" if name == "locked" else "expected a key of Ed25519"
        for path in refusals:
            with contextlib.suppress(FileNotFoundError):
                os.chmod(path, 0o600)
        shutil.copy(private, self.at.folder + "/open")
        os.chmod(self.at.folder + "/open", 0o640)
        refusals[self.at.folder + "/open"] = "chmod 0600"
        for path, word in refusals.items():
            done = self.at.kekctl("report", "--out", self.at.folder + "/report", "--key", path)
            self.assertEqual(done.returncode, 1, path)
            self.assertIn(word, done.stderr.decode())
        self.assertFalse(os.path.exists(self.at.folder + "/report"))
        self.report(self.at, 0, "report", "--key", private)
        for report, signature, key, word in ((self.json, self.signature, private, "has no public key"),
                                             (self.json + "x", self.signature, public, "No such file"),
                                             (self.json, self.signature + "x", public, "No such file"),
                                             (self.json, self.json, public, "more than 4096 bytes"),
                                             (self.json, self.signature, self.at.folder + "/none", "No such file")):
            self.assertIn(word, self.verify(self.at, 1, report, signature, key))
        done = self.at.kekctl("report", "verify", self.json, self.signature)
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"--key FILE is missing", done.stderr)

    def test_a_key_is_made_and_signs_elsewhere_as_docs_evidence_says(self):
        with open(os.environ["abs_top_srcdir"] + "/docs/evidence.md", encoding="utf-8") as file:
            section = re.split(r"^## ", file.read().split("\n## Signing\n")[1], maxsplit=1, flags=re.MULTILINE)[0]
        commands = re.findall(r"^    (.*)$", section, re.MULTILINE)
        self.assertEqual(len(commands), 3)
        self.report(self.at, 0)
        for command in commands:
            shell("cd {folder} && " + command, folder=self.at.folder + "/report")
        self.verify(self.at, 0, self.json, self.signature, self.at.folder + "/report/evidence.pem")
        self.report(self.at, 0, "second", "--key", self.at.folder + "/report/evidence.key")

    def test_an_hsm_signs_the_file_as_docs_evidence_says(self):
        if shutil.which("pkcs11-tool") is None:
            self.skipTest("SKIP: pkcs11-tool is missing: a signature by an HSM was not tested")
        token = self.at.token
        self.report(self.at, 0)
        token.tool("--keypairgen", "--key-type", "EC:prime256v1", "--id", "a1", "--label", "report", "--usage-sign")
        public = self.at.folder + "/hsm.pem"
        token.tool("--read-object", "--type", "pubkey", "--id", "a1", "--output-file", public + ".der")
        shell("openssl pkey -pubin -inform DER -in {public}.der -out {public}", public=public)
        shell("openssl dgst -sha256 -binary -out {json}.sha256 {json}", json=self.json)
        token.tool("--sign", "--mechanism", "ECDSA", "--id", "a1", "--signature-format", "openssl",
                   "--input-file", self.json + ".sha256", "--output-file", self.signature)
        self.assertIn("ECDSA P-256", self.verify(self.at, 0, self.json, self.signature, public))


if __name__ == "__main__":
    rigs.main()
