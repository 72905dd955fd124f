#!/usr/bin/python3
"""Google Cloud KMS, by the stand-in of tests/cloud, which Google's own clients have proven: a service and no PKCS#11 module."""

import contextlib
import os
import sys

from conformance import main
from services import CASES, NO_MACS, SERVICES
from tokens import Token

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "cloud"))
import gcp  # noqa: E402

if not os.path.exists(os.path.join(os.environ.get("abs_top_builddir") or os.getcwd(), "kekd-gcpkms")):
    print("SKIP: test_gcpkms.py: built with --disable-bridge", flush=True)
    sys.exit(77)

EXPECTED = {name: "pass" for name in (
    "generate", "disabled key", "outage", "slow", "garbage", "credentials end", "clock off", "kekd serves")}
EXPECTED["conformance"] = "pass: 17 passed, 0 failed, 2 not supported, 12 skipped"
EXPECTED["audit key"] = NO_MACS
EXPECTED["destroy"] = ("cannot: Cloud KMS destroys by a schedule of its own: gcloud kms keys versions destroy 2 --key kek "
                       "--keyring ring --location europe-west3 --project kekd-test")
SLOW = 20000  # ms, more than any call of the suite


class CloudKms(Token):
    type = "gcpkms"
    not_applicable = SERVICES
    GARBAGE = {
        "no JSON": {"text": "<html>"}, "half of it": {"cut": 20}, "nothing": {"status": 502, "text": ""},
        "a list": {"text": "[]"}, "a key twice": {"text": '{"name":"a","name":"b"}'}, "too much": {"pad": 300000},
        "a redirect": {"status": 302, "headers": {"Location": "/v1/elsewhere"}}, "no end": {"reset": True},
    }

    def __init__(self):
        super().__init__("gcpkms", None)
        self.server = gcp.Server()
        self.server.make_key(versions=0)
        self.credentials = self.server.new_account_key()

    def settings(self):
        return {"key": gcp.KEY, "endpoint": self.server.url, "credentials": "file:" + self.credentials}

    def spare_keys(self):
        name = gcp.KEY.replace("/kek", "/spare")
        self.server.do("key", name=name, versions=2)
        return [name]

    def secrets(self):
        return self.server.secrets + self.server.do("secrets")

    @contextlib.contextmanager
    def faulty(self, **fault):
        self.server.do("faults", faults=[dict(fault, call="*")])
        try:
            yield
        finally:
            self.server.do("faults", faults=[])

    def outage(self):
        return self.faulty(reset=True)

    def slow(self):
        return self.faulty(wait=SLOW)

    def garbage(self, kind):
        return self.faulty(**self.GARBAGE[kind])

    def end_credentials(self):
        self.server.do("revoke")

    def lose_credentials(self):
        """The account's key was exchanged, and its file was not."""
        with open(self.credentials, encoding="ascii") as file:
            before = file.read()
        self.server.new_account_key("exchanged", "key-2")
        self.server.do("revoke")
        with open(self.credentials, encoding="ascii") as file:
            assert file.read() == before

    def restore_credentials(self):
        self.server.new_account_key(key_id="key-3")

    @contextlib.contextmanager
    def clock_off(self, seconds):
        self.server.do("skew", seconds=seconds)
        try:
            yield
        finally:
            self.server.do("skew", seconds=0)

    def end(self):
        super().end()
        if hasattr(self, "server") and self.server.process.poll() is None:
            self.server.close()


if __name__ == "__main__":
    sys.exit(main(CloudKms(), EXPECTED, [], {
        **CASES, "list": "PASS: GCP-KMS", **dict.fromkeys(("keeps-key", "mechanism"), "NOT SUPPORTED: .*Cloud KMS wraps in one way alone")}))
