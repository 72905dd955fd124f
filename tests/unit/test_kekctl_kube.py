#!/usr/bin/python3
"""kekctl kube config as it is called: what it prints, what it says beside it, and what it refuses. That the API server
loads each file, and reads what the phase before wrote, is for tests/kube/phases_test.go."""

import hashlib
import json
import os
import re
import subprocess
import tempfile
import unittest

KEKCTL = os.path.join(os.environ["abs_top_builddir"], "kekctl")
SOURCE = os.environ["abs_top_srcdir"]

CONFIG = """listen: unix:///run/kekd/kms.sock
keyring: k
providers:
  - name: a
    type: pkcs11
    uri: "pkcs11:token=t?module-path=/m.so&pin-source=file:/pin"
"""
HEAD = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n"
SECRETS = HEAD + "- resources: [secrets]\n  providers:\n"
KEY = "c3VwZXJzZWNyZXRzdXBlcnNlY3JldHN1cGVyc2VjcmU="
AESCBC = "  - aescbc: {keys: [{name: key1, secret: %s}]}\n" % KEY
PLAIN = "  - identity: {}\n"
KEKD = "  - kms: {apiVersion: v2, name: kekd, endpoint: 'unix:///run/kekd/kms.sock', timeout: 3s}\n"


class KubeConfig(unittest.TestCase):
    def setUp(self):
        # pylint: disable=consider-using-with
        self.folder = tempfile.TemporaryDirectory(prefix="kek-kube-config-")
        self.addCleanup(self.folder.cleanup)
        self.config = self.write("kekd.yaml", CONFIG)

    def write(self, name, text):
        path = os.path.join(self.folder.name, name)
        with open(path, "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())
        return path

    def run_it(self, *arguments):
        done = subprocess.run([KEKCTL, "--config", self.config, "kube", "config", *arguments],
                              capture_output=True, timeout=60, check=False)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def good(self, *arguments):
        code, out, err = self.run_it(*arguments)
        self.assertEqual(code, 0, err)
        return out, err

    def refused(self, expected, text, *arguments):
        code, out, err = self.run_it(*arguments)
        self.assertEqual((code, out), (expected, ""), err)
        self.assertIn(text, err)
        self.assertEqual(err.count("\n"), 1, err)
        self.assertNotIn("c3Vw", err)

    def test_the_deployed_example_is_what_a_new_cluster_gets(self):
        with open(os.path.join(SOURCE, "deploy", "encryption-configuration.yaml"), encoding="utf-8") as file:
            out = self.good("--phase", "make-writer")[0]
            self.assertEqual(out.replace("kekctl --config %s " % self.config, "kekctl "), file.read())

    def test_the_hash_is_what_an_api_server_shows_of_the_file(self):
        for form in ("table", "json"):
            out, err = self.good("--phase", "add-reader", "--output", form)
            text = out if form == "table" else json.loads(out)["configuration"]
            digest = "sha256:" + hashlib.sha256(text.encode()).hexdigest()
            self.assertIn(digest, err)
        self.assertEqual(json.loads(out)["sha256"], digest)
        self.assertEqual(json.loads(out)["resources"], "secrets")

    def test_each_file_is_the_next_ones_beginning(self):
        file = self.write("start", SECRETS + AESCBC + PLAIN)
        for phase, writer, count in (("add-reader", "aescbc", 3), ("make-writer", "kms", 3),
                                     ("remove-old", "kms", 1), ("disable", "kms", 2),
                                     ("disable", "identity", 2), ("disable", "identity", 1)):
            out, _ = self.good("--phase", phase, "--from", file)
            providers = [line[8:].split(":")[0] for line in out.splitlines()
                         if line.startswith("      - ") and line.endswith((":", "{}"))]
            self.assertEqual((providers[0], len(providers)), (writer, count), out)
            self.assertIn("Phase " + phase, out.splitlines()[0])
            self.assertEqual(KEY in out, phase in ("add-reader", "make-writer"))
            if phase != "disable":      # whose files differ, so that a second call goes on
                again, err = self.good("--phase", phase, "--from", self.write("again", out))
                self.assertEqual(again, out)
                self.assertIn("remark: %s is there already" % phase, err)
            file = self.write("file", out)

    def test_the_next_steps_name_the_entry_again(self):
        file = self.write("v1", SECRETS + KEKD.replace("apiVersion: v2, ", "") + PLAIN)
        out, _ = self.good("--phase", "add-reader", "--from", file, "--name", "kekd-v2", "--timeout", "1500ms")
        self.assertIn("--phase make-writer --from THIS-FILE --name kekd-v2\n", out)
        self.assertIn("timeout: 1500ms\n", out)
        out, _ = self.good("--phase", "make-writer", "--from", self.write("file", out), "--name", "kekd-v2")
        self.assertIn("timeout: 1500ms\n", out)

    def test_the_next_steps_name_the_configuration_again(self):
        file = self.write("start", SECRETS + AESCBC + PLAIN)
        for phase in "add-reader", "make-writer", "remove-old", "disable", "disable", "disable":
            out, _ = self.good("--phase", phase, "--from", file)
            commands = re.findall("kekctl(?! kube config\\.)(.*)", out)
            self.assertEqual([words for words in commands if not words.startswith(" --config %s " % self.config)], [])
            self.assertTrue(commands, out)
            file = self.write("file", out)

    def test_a_configuration_cannot_break_out_of_a_comment(self):
        for name, shown in (("a b.yaml", "'%s'"), ("a\nkind: pod", "FILE")):
            self.config = self.write(name, CONFIG)
            out, _ = self.good("--phase", "add-reader")
            self.assertIn("kekctl --config %s kube" % (shown.replace("%s", self.config)), out)
            self.assertNotIn("\nkind: pod", out)

    def test_what_is_read_cannot_break_out_of_a_comment(self):
        file = self.write("odd", HEAD + '- resources: ["x\\nkind: pod", "#\\u00e9"]\n  providers:\n' + AESCBC)
        out, _ = self.run_odd(file)
        self.assertEqual(out.splitlines()[0][0], "#")
        self.assertEqual([line for line in out.splitlines() if line.startswith("kind:")],
                         ["kind: EncryptionConfiguration"])
        again, _ = self.run_odd(self.write("again", out), "make-writer")
        self.assertIn('- "x\\x0akind: pod"\n', again)

    def run_odd(self, file, phase="add-reader"):
        return self.good("--phase", phase, "--from", file, "--resource", "x\nkind: pod", "--resource", "#\u00e9")

    def test_usage(self):
        self.refused(2, "--phase: expected add-reader, make-writer, remove-old or disable (see")
        self.refused(2, 'found "addreader"', "--phase", "addreader")
        for phase in ("remove-old", "disable"):
            self.refused(2, "needs --from FILE", "--phase", phase)
        self.refused(2, "--name: expected", "--phase", "add-reader", "--name", "a:b")
        self.refused(2, "--resource Secrets: ", "--phase", "add-reader", "--resource", "Secrets")
        self.refused(2, "--timeout: expected a duration", "--phase", "add-reader", "--timeout", "0s")

    def test_what_cannot_be_read_is_refused(self):
        def refused(code, text, content=None, path=None):
            path = path or self.write("bad", content)
            self.refused(code, text, "--phase", "add-reader", "--from", path)
        refused(1, "--from: ", path=os.path.join(self.folder.name, "nowhere"))
        refused(1, "nowhere cannot be opened by uid ", path=os.path.join(self.folder.name, "nowhere"))
        refused(2, self.folder.name, path=self.folder.name)
        refused(2, "bad:1:1: expected a mapping, found nothing", "")
        refused(2, "not UTF-8 text", b"kind: \xff")
        # Another file altogether.
        refused(2, "expected kind EncryptionConfiguration of apiVersion apiserver.config.k8s.io/v1", CONFIG)
        refused(2, "bad:2:7: expected kind EncryptionConfiguration of apiVersion apiserver.config.k8s.io/v1, "
                "found kind Config", "apiVersion: v1\nkind: Config\nclusters: []\n")
        refused(2, "has more than 262144 bytes", "#" * (256 * 1024 + 1))
        refused(2, "bad:6:43: resources[0].providers[0].kms: unknown field \"cachsize\": is it \"cachesize\"?",
                SECRETS + "  - kms: {name: a, endpoint: 'unix:///a', cachsize: 7}\n")
        refused(2, "secret: expected 16, 24 or 32 bytes in base64, found 20",
                SECRETS + AESCBC.replace(KEY, "c3VwZXJzZWNyZXRzdXBlcnNlY3I="))
        refused(2, "secret: expected base64", SECRETS + AESCBC.replace(KEY, KEY[:-1]))
        refused(2, "unknown field", SECRETS + AESCBC.replace("secret:", "secrets:"))

    def test_a_phase_that_is_not_the_next_is_refused(self):
        def refused(text, phase, content):
            self.refused(1, text, "--phase", phase, "--from", self.write("present", content))
        refused("--phase add-reader comes first", "make-writer", SECRETS + PLAIN)
        refused("--phase make-writer comes first", "remove-old", SECRETS + PLAIN + KEKD)
        refused("what comes next is remove-old or disable", "add-reader", SECRETS + KEKD + PLAIN)
        refused("no kms entry of this --name", "disable", SECRETS + AESCBC)

    def check(self, code, *arguments):
        """What --check found, {check: result}, and what it said. No kekd runs here."""
        done, out, err = self.run_it("--check", "--single-node", "--output", "json", *arguments)
        self.assertEqual(done, code, out + err)
        found = json.loads(out)
        self.assertEqual(found["safe"], code == 0)
        return {row["check"]: row["result"] for row in found["checks"]}, err

    def test_what_cannot_be_looked_at_is_not_safe(self):
        found, err = self.check(3, "--phase", "add-reader")
        self.assertEqual(found, {"nodes": "not good", "etcd": "not good"})
        self.assertIn("names no etcd: add `etcd` to it", err)
        self.assertIn("add-reader is not safe now", err)
        writer = self.write("writer", SECRETS + KEKD + PLAIN)
        found, err = self.check(3, "--phase", "remove-old", "--from", writer)
        self.assertEqual(found, {"nodes": "not good", "etcd": "not good", "API servers": "for you to check"})
        with open(writer, "rb") as file:
            self.assertIn("shows sha256:" + hashlib.sha256(file.read()).hexdigest(), err)
        # Nothing is taken out, and the file says what the API servers have.
        found, _ = self.check(3, "--phase", "add-reader", "--from", self.write("present", SECRETS + AESCBC))
        self.assertEqual(found["etcd"], "not looked at")
        # The last file of disable needs no kekd, and all the more what is stored.
        found, _ = self.check(3, "--phase", "disable", "--from", self.write("clear", SECRETS + PLAIN + KEKD))
        self.assertEqual(found, {"etcd": "not good", "API servers": "for you to check"})

    def test_an_etcd_that_does_not_answer_is_not_safe(self):
        self.config = self.write("kekd.yaml", CONFIG + "etcd:\n  - {name: main, endpoints: ['http://127.0.0.1:1']}\n")
        found, err = self.check(3, "--phase", "disable", "--from", self.write("clear", SECRETS + PLAIN + KEKD))
        self.assertEqual(found["etcd main"], "not good")
        self.assertIn("127.0.0.1:1", err)

    def test_an_etcd_of_another_context_is_looked_at_or_left_out_by_name(self):
        self.config = self.write("kekd.yaml", CONFIG + "context: here\netcd:\n"
                                 "  - {name: main, endpoints: ['http://127.0.0.1:1']}\n"
                                 "  - {name: events, endpoints: ['http://127.0.0.1:2']}\n"
                                 "  - {name: far, endpoints: ['http://127.0.0.1:3'], context: elsewhere}\n")
        clear = self.write("clear", SECRETS + PLAIN + KEKD)
        found, err = self.check(3, "--phase", "disable", "--from", clear)
        self.assertEqual({found.pop("etcd " + name) for name in ("main", "events", "far")}, {"not good"})
        self.assertIn("etcd far is of context elsewhere: if that is another cluster, name those of this one", err)
        found, _ = self.check(3, "--phase", "disable", "--from", clear, "--etcd", "main")
        self.assertEqual(found, {"etcd main": "not good", "etcd events": "not looked at", "etcd far": "not looked at",
                                 "API servers": "for you to check"})

    def test_a_phase_that_is_not_the_next_is_not_safe(self):
        code, out, err = self.run_it("--check", "--phase", "make-writer", "--from", self.write("p", SECRETS + PLAIN))
        self.assertEqual((code, out), (3, ""), err)
        self.assertIn("--phase add-reader comes first", err)


if __name__ == "__main__":
    unittest.main(verbosity=2)
