#!/usr/bin/env python3
"""The test vector of docs/envelope-format.md, computed a second time without kekd's code.

HKDF and HMAC are Python's, AES is the openssl program's. The page, the fuzz seed and the unit test's
constants must all say the same bytes.
"""
import hashlib
import hmac
import os
import re
import subprocess
import unittest

SOURCE = os.environ["abs_top_srcdir"]


def read(*path, mode="r"):
    with open(os.path.join(SOURCE, *path), mode) as file:
        return file.read()


def page_vector():
    block = re.search(r"^```vector\n(.*?)^```$", read("docs", "envelope-format.md"),
                      re.MULTILINE | re.DOTALL).group(1)
    fields, name = {}, None
    for line in block.splitlines():
        words = line.split()
        if not line.startswith(" "):
            name = words.pop(0)
        fields[name] = fields.get(name, b"") + bytes.fromhex(words[0])
    return fields


def openssl(*args, data):
    return subprocess.run(["openssl", *args], input=data, capture_output=True, check=True).stdout


def hkdf_sha512(ikm, info, length):
    prk = hmac.new(bytes(64), ikm, hashlib.sha512).digest()
    block, out = b"", b""
    while len(out) < length:
        block = hmac.new(prk, block + info + bytes([len(out) // 64 + 1]), hashlib.sha512).digest()
        out += block
    return out[:length]


class Vector(unittest.TestCase):
    def setUp(self):
        self.page = page_vector()

    def test_every_field_of_the_page_follows_from_its_inputs(self):
        page = self.page
        self.assertEqual(openssl("enc", "-id-aes256-wrap", "-K", page["kek"].hex(), "-iv", "a6" * 8,
                                 data=page["data_key"]), page["wrapped"])
        self.assertEqual(page["info"], b"kekd/suite1" + page["context"])
        self.assertEqual(hkdf_sha512(page["data_key"], page["info"], 64), page["expanded"])
        self.assertEqual(page["header"], b"KEK\x01" + bytes([1, 1, 1]) + bytes([1]) + page["kek_id"] +
                         len(page["wrapped"]).to_bytes(2, "big") + page["wrapped"])
        self.assertEqual(openssl("enc", "-aes-256-cbc", "-K", page["expanded"][32:].hex(), "-iv",
                                 page["iv"].hex(), data=page["plaintext"]), page["ciphertext"])
        aad = page["header"] + page["context"]
        self.assertEqual(page["al"], (8 * len(aad)).to_bytes(8, "big"))
        tag = hmac.new(page["expanded"][:32], aad + page["iv"] + page["ciphertext"] + page["al"],
                       hashlib.sha512).digest()[:32]
        self.assertEqual(page["tag"], tag)

    def test_the_seed_and_the_unit_test_hold_the_vector_of_the_page(self):
        page = self.page
        body = page["iv"] + page["ciphertext"] + page["tag"]
        self.assertEqual(read("tests", "fuzz", "seeds", "envelope", "vector", mode="rb"),
                         page["header"] + body)
        constants = re.sub(r'"\s*"', "", read("tests", "unit", "test_envelope.c"))
        self.assertIn(body.hex(), constants)
        shared = re.sub(r'"[\s\\]*"', "", read("tests", "unit", "envelope_help.h"))
        self.assertIn(page["header"].hex(), shared)
        self.assertIn(page["data_key"].hex(), shared)


if __name__ == "__main__":
    unittest.main(verbosity=2)
