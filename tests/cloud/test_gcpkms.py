"""kekd on a KEK of Google Cloud KMS: a round trip, rotation, each state of a version, tokens that end, outages."""

import json
import os
import subprocess

import gcp
import pages
import rig as rigs
from grpc import StatusCode

DEK = bytes(range(32))


class RoundTrip(gcp.Case):
    def test_what_is_sealed_opens_and_each_wrap_names_its_version(self):
        self.server.make_key(versions=2)
        self.server.do("primary", key=gcp.KEY, number=1)  # Google's own is not asked
        node = self.node(config={"data_key": {"max_uses": 1}}).start()
        client = node.client()
        self.server.seen()
        sealed = client.encrypt(DEK)
        self.assertEqual(client.open(sealed), DEK)
        self.assertLessEqual(len(sealed.ciphertext), 1024)
        paths = [one["path"] for one in self.server.seen("encrypt")]
        self.assertIn("/v1/%s/cryptoKeyVersions/2:encrypt" % gcp.KEY, paths)
        self.assertTrue(all("/cryptoKeyVersions/" in path for path in paths), paths)
        node.close_clients()
        node.stop()
        node.start()
        self.assertEqual(node.client().open(sealed), DEK)

    def test_a_new_version_is_taken_and_the_old_one_opens_as_google_lets_it(self):
        node = self.node(config={"data_key": {"max_uses": 1}}).start()
        client = node.client()
        old = client.encrypt(DEK)
        self.server.do("version", key=gcp.KEY)
        new = rigs.wait_for(lambda: (lambda one: one if one.key_id != old.key_id else None)(client.encrypt(DEK)),
                            "an Encrypt under the new version")
        self.assertEqual(client.status().key_id, new.key_id)
        self.assertEqual(client.open(old), DEK)
        self.server.set(1, state="DISABLED")
        rigs.wait_for(lambda: "version 1 is suspended" in node.page("/readyz")[1], "the remark")
        self.refused(StatusCode.FAILED_PRECONDITION, client.open, old)
        self.assertEqual(client.open(new), DEK)
        self.server.set(1, state="DESTROY_SCHEDULED", destroyTime="2030-01-02T03:04:05Z")
        told = "provider gcp destroys KEK version 1 at 2030-01-02 03:04 UTC"
        rigs.wait_for(lambda: told in node.page("/readyz")[1], "the date of its destruction")
        self.assertEqual(node.metrics()['kekd_degraded{reason="destruction_scheduled",version="1",provider="gcp"}'], 1)
        node.wait_log("to be mended: " + told)
        self.server.set(1, state="ENABLED", destroyTime=None)
        rigs.wait_for(lambda: "version 1" not in node.page("/readyz")[1], "the end of the remarks")
        self.assertEqual(client.open(old), DEK)
        self.server.set(2, state="DISABLED")  # the announced one: nothing is sealed by the older one
        node.wait_log("version 2.*(suspended|may not|disabled)")
        self.assertEqual(client.open(old), DEK)

    def test_a_key_of_software_is_never_sealed_under(self):
        self.server.make_key(level="SOFTWARE")
        node = self.node()
        node.spawn().serving()
        node.wait_log("its protectionLevel is SOFTWARE")
        self.refused(StatusCode.UNAVAILABLE, node.client().encrypt, DEK)
        self.assertEqual(self.server.seen("encrypt"), [])


class Tokens(gcp.Case):
    def test_a_revoked_token_and_an_exchanged_key_fail_no_call(self):
        credentials = self.server.new_account_key()
        node = self.node(credentials, config={"data_key": {"max_uses": 1}}).start()
        client = node.client()
        for _ in range(3):
            self.server.do("revoke")
            self.assertEqual(client.open(client.encrypt(DEK)), DEK)
        self.server.new_account_key(key_id="key-2")  # the same file, another key; the old one is no more
        self.server.do("revoke")
        self.assertEqual(client.open(client.encrypt(DEK)), DEK)

    def test_a_role_taken_away_is_told_and_given_back_is_enough(self):
        node = self.node(config={"data_key": {"max_uses": 1}}).start()
        client = node.client()
        sealed = client.encrypt(DEK)
        self.server.do("allow", principal=gcp.EMAIL, permissions=[])
        with self.assertRaises(rigs.grpc.RpcError):
            client.open(sealed)
        node.wait_log("AUTHZ.*403 PERMISSION_DENIED.*useToDecrypt")
        self.server.do("allow", principal=gcp.EMAIL, permissions=None)

        def opens():
            try:
                return client.open(sealed) == DEK
            except rigs.grpc.RpcError:
                return False
        rigs.wait_for(opens, "the role's return")


class Outages(gcp.Case):
    def test_what_is_in_memory_goes_on_and_service_is_back_by_itself(self):
        node = self.node(config={"health": {"probe_interval": "1s"}}).start()
        client = node.client()
        sealed = client.encrypt(DEK)
        for fault in ({"refuse": "UNAVAILABLE"}, {"hang": True}):
            self.server.do("faults", faults=[dict(fault, call="*")])
            rigs.wait_for(lambda: node.page("/readyz")[0] == 503, "the outage to be told")
            self.assertEqual(client.open(sealed), DEK)
            self.assertEqual(client.open(client.encrypt(DEK)), DEK)
            self.assertEqual(client.status().healthz, "ok")
            self.server.do("faults", faults=[])
            rigs.wait_for(lambda: node.page("/readyz")[0] == 200, "service again")

    def test_whatever_is_answered_nothing_is_sealed_that_does_not_open(self):
        node = self.node(config={"data_key": {"max_uses": 1}}).start()
        client = node.client()
        sealed = [client.encrypt(DEK)]
        for fault in ({"flip": "ciphertext"}, {"set": {"ciphertextCrc32c": 1}}, {"drop": ["verifiedPlaintextCrc32c"]},
                      {"set": {"name": gcp.KEY + "/cryptoKeyVersions/2"}}, {"set": {"protectionLevel": "SOFTWARE"}},
                      {"cut": 20}, {"pad": 300000}, {"text": "{}"}, {"reset": True}, {"status": 302},
                      {"refuse": "INTERNAL", "message": "you sent " + DEK.hex()}):
            self.server.do("faults", faults=[dict(fault, call="encrypt", times=3)])
            for _ in range(3):
                try:
                    sealed.append(client.encrypt(DEK))
                except rigs.grpc.RpcError as error:
                    self.assertNotIn(DEK.hex()[:16], error.details())
            self.server.do("faults", faults=[])
        node.close_clients()
        node.stop()
        node.start()
        client = node.client()
        for one in sealed:
            self.assertEqual(client.open(one), DEK)

    def test_a_wrap_is_within_the_deadline_of_the_api_server(self):
        node = self.node(config={"data_key": {"max_uses": 1}}, timeout="1s").start()
        client = node.client(timeout=3.0)
        sealed = client.encrypt(DEK)
        self.server.do("faults", faults=[{"call": "decrypt", "wait": 1500, "times": 1}])
        self.assertEqual(client.open(sealed), DEK)


class Recovery(gcp.Case):
    """docs/cloud-hsm.md, as it stands, with the steps of docs/recovery.md that it names."""

    def test_the_page_opens_an_envelope_and_refuses_a_damaged_one(self):
        node = self.node().start()
        sealed = bytearray(node.client().encrypt(DEK).ciphertext)
        script = pages.recovery("cloud-hsm.md")
        for damage, code in ((None, 0), (60, 1), (-1, 1)):
            if damage is not None:
                sealed[damage] ^= 1
            with open(node.folder + "/envelope", "wb") as file:
                file.write(sealed)
            done = subprocess.run(["sh"], input=script, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  check=False, timeout=rigs.PATIENCE, env=dict(
                                      os.environ, KEY=gcp.KEY, ENDPOINT=self.server.url, CONTEXT="interop",
                                      ENVELOPE=node.folder + "/envelope", PLAINTEXT=node.folder + "/plaintext",
                                      SCRATCH=node.folder, ACCESS_TOKEN=self.server.do("token", principal=gcp.EMAIL)))
            self.assertEqual(done.returncode, code, done.stdout)
            if code == 0:
                with open(node.folder + "/plaintext", "rb") as file:
                    self.assertEqual(file.read(), DEK)
                os.unlink(node.folder + "/plaintext")
            self.assertFalse(os.path.exists(node.folder + "/plaintext"))
            if damage is not None:
                sealed[damage] ^= 1


class Operator(gcp.Case):
    def test_kekctl_lists_and_makes_versions_there(self):
        node = self.node().start()
        before = node.client().status().key_id
        listed = node.kekctl("key", "list", check=True).stdout.decode()
        self.assertRegex(listed, r"1 .*active")
        made = node.kekctl("key", "generate", check=True)
        self.assertIn("2", made.stdout.decode() + made.stderr.decode())
        rigs.wait_for(lambda: node.client().status().key_id != before, "the new version's announcement")
        done = node.kekctl("key", "destroy", "1")
        self.assertNotEqual(done.returncode, 0)

    def test_a_report_says_what_the_service_tells(self):
        self.server.make_key(versions=2)
        node = self.node(config={"settle": "0ms"})
        self.server.set(1, state="DESTROY_SCHEDULED", destroyTime="2030-01-02T03:04:05Z")
        done = node.kekctl("report", "--out", node.folder + "/report")
        self.assertEqual(done.returncode, 3, done.stderr.decode())
        self.assertIn("provider gcp destroys KEK version 1 at 2030-01-02T03:04:05Z", done.stderr.decode())
        with open(node.folder + "/report/report.json", encoding="utf-8") as file:
            (root,) = json.load(file)["roots"]
        (token,) = root["tokens"]["tokens"]
        self.assertEqual((token["model"], token["told_by"]), ("Cloud KMS", "the service, by its API"))
        self.assertIn(("2030-01-02T03:04:05Z", 1, "the provider"),
                      [(row["at"], row["version"], row["source"]) for row in root["history"]["rows"]])
        self.assertIn("gcp is a service (gcpkms): its versions have no attributes to show", root["versions"]["why"])


if __name__ == "__main__":
    gcp.main()
