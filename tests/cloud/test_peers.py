"""The stand-in for Cloud KMS is one to Google's own clients, of npm and PyPI, too; and refuses what Google refuses."""

import json
import os
import subprocess
import urllib.error
import urllib.request

import gcp
import parts

HERE = os.path.dirname(os.path.realpath(__file__))


class Peers(gcp.Case):
    def setUp(self):
        super().setUp()
        self.server.make_key(versions=3, page=2)

    def run_peer(self, *command, credentials, env=None):
        done = subprocess.run([*command, self.server.url, gcp.KEY, credentials],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False,
                              timeout=gcp.rigs.PATIENCE, env=dict(os.environ, **(env or {})))
        self.assertEqual(done.returncode, 0, done.stderr)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def said(self, answer, code, text):
        self.assertEqual((answer.get("code"), text in answer.get("message", "")), (code, True), answer)

    def test_google_s_client_for_node(self):
        modules = os.path.join(parts.node(), "node_modules")
        (sealed, opened, bound, summed, large, missing, states, disabled, closed, scheduled, shown) = self.run_peer(
            "node", os.path.join(HERE, "peer.js"), credentials=self.server.do("token", principal=gcp.EMAIL),
            env={"NODE_PATH": modules, "NODE_NO_WARNINGS": "1"})
        self.assertEqual(sealed["ok"]["name"], gcp.KEY + "/cryptoKeyVersions/1")
        self.assertIs(sealed["ok"]["verifiedPlaintextCrc32c"], True)
        self.assertIs(sealed["ok"]["verifiedAdditionalAuthenticatedDataCrc32c"], True)
        self.assertEqual(sealed["ok"]["protectionLevel"], "HSM")
        self.assertEqual(bytes(opened["ok"]["plaintext"]["data"]), b"hello-dek-0123456789abcdef")
        self.assertEqual(opened["ok"]["plaintextCrc32c"]["value"], "1616519357")
        self.said(bound, 3, "Decryption failed")
        self.said(summed, 3, "ciphertext_crc32c did not match")
        self.said(large, 3, "8KiB")
        self.said(missing, 5, "not found")
        self.assertEqual(states["ok"], ["ENABLED"] * 3)
        self.assertEqual(disabled["ok"]["state"], "DISABLED")
        self.said(closed, 9, "is not enabled, current state is: DISABLED")
        self.assertEqual(scheduled["ok"]["state"], "DESTROY_SCHEDULED")
        self.assertGreater(int(shown["ok"]["destroyTime"]["seconds"]), 1700000000)

    def test_google_s_client_for_python(self):
        sealed, opened, bound, summed, large, shown, count = self.run_peer(
            parts.python(), "-B", os.path.join(HERE, "peer.py"), credentials=self.server.new_account_key())
        self.assertGreater(len(self.server.seen("token")), 0)
        self.assertTrue("ok" in sealed and "ok" in opened and "ok" in shown)
        self.said(bound, 400, "Decryption failed")
        self.said(summed, 400, "ciphertext_crc32c did not match")
        self.said(large, 400, "8KiB")
        self.assertEqual(count["ok"], 3)

    def test_what_google_s_definitions_do_not_have_is_refused(self):
        token = self.server.do("token", principal=gcp.EMAIL)

        def ask(path, body=None, method="POST", bearer=token):
            request = urllib.request.Request(self.server.url + path, data=body, method=method, headers={
                "Authorization": "Bearer " + bearer, "Content-Type": "application/json"})
            try:
                with urllib.request.urlopen(request, timeout=gcp.rigs.PATIENCE) as answer:
                    return 200, json.load(answer)
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, json.load(error)["error"]["status"]
        key = "/v1/" + gcp.KEY
        for path, body, method, wanted in (
                (key + ":encrypt", b'{"plaintext":"aGk="}', "POST", 200),
                (key + ":encrypt", b'{"plaintext":"aGk=","other":1}', "POST", (400, "INVALID_ARGUMENT")),
                (key + ":encrypt", b'{"plaintext":1}', "POST", (400, "INVALID_ARGUMENT")),
                (key + ":encrypt", b'{"plaintext"', "POST", (400, "INVALID_ARGUMENT")),
                (key + ":encrypt", None, "GET", (404, "NOT_FOUND")),
                (key + ":nothing", b"{}", "POST", (404, "NOT_FOUND")),
                (key + "/cryptoKeyVersions/1:decrypt", b"{}", "POST", None),
                (key + "/cryptoKeyVersions?pageSize=2&other=1", None, "GET", (400, "INVALID_ARGUMENT")),
                (key + "/cryptoKeyVersions?pageSize=2", None, "GET", 200)):
            with self.subTest(path=path, body=body):
                code, said = ask(path, body, method)
                if wanted is None:
                    self.assertGreaterEqual(code, 400)
                else:
                    self.assertEqual(code if wanted == 200 else (code, said), wanted)
        self.assertEqual(ask(key + ":encrypt", b"{}", bearer="other"), (401, "UNAUTHENTICATED"))


if __name__ == "__main__":
    gcp.main()
