"""What a wrong command line or configuration gets: exit 2, and the place, before anything is touched."""

import os
import re
import subprocess
import tempfile

import rig as rigs

BASE = """\
listen: unix:///nowhere/kms.sock
keyring: k8s
providers:
  - name: a
    type: pkcs11
    uri: "pkcs11:token=t?module-path=/nowhere.so&pin-source=file:/nowhere/pin"
"""

# What is put after BASE (line 7 on), or replaced in it: (line, column, word of the message).
APPENDED = [
    ("colour: blue\n", 7, 1, "colour"),
    ("keyring: again\n", 7, 1, "keyring"),
    ("data_key: {max_uses: many}\n", 7, 22, "data_key.max_uses"),
    ("data_key: {max_uses: 0}\n", 7, 22, "data_key.max_uses"),
    ("data_key: {max_uses: -5}\n", 7, 22, "data_key.max_uses"),
    ("data_key: {max_uses: 99999999999999999999}\n", 7, 22, "data_key.max_uses"),
    ("data_key:\n  max_uses: 5\n  max_uses: 6\n", 9, 3, "max_uses"),
    ("data_key: 5\n", 7, 11, "data_key"),
    ("health: {probe_intervall: 1s}\n", 7, 10, "probe_intervall"),
    ("refresh: 15 parsecs\n", 7, 10, "refresh"),
    ("refresh: [15s]\n", 7, 10, "refresh"),
    ("settle: -1s\n", 7, 9, "settle"),
    ("allow_uids: [root]\n", 7, 14, "allow_uids"),
    ("allow_uids: 0\n", 7, 13, "allow_uids"),
    ("metrics: everywhere\n", 7, 10, "metrics"),
    ("log: {level: chatty}\n", 7, 14, "log.level"),
    ("log: {format: xml}\n", 7, 15, "log.format"),
    ("context_accept: plain\n", 7, 17, "context_accept"),
    ("state_dir: relative/path\n", 7, 12, "state_dir"),
    ("    sessions: 0\n", 7, 15, "sessions"),
    ("    processes: 1000\n", 7, 16, "processes"),
    ("    strategy: ecb\n", 7, 15, "strategy"),
    ("    timeout: soon\n", 7, 14, "timeout"),
    ("    pin: 1234\n", 7, 5, "pin"),
    ("    env: {OK: yes, OK: no}\n", 7, 20, "OK"),
    ("  - {name: a, type: pkcs11, uri: \"pkcs11:token=u?module-path=/m.so&pin-source=file:/p\"}\n",
     7, 12, "name"),
]

REPLACED = [
    ("unix:///nowhere/kms.sock", "unix://kms.sock", 1, 9, "listen"),
    ("unix:///nowhere/kms.sock", "tcp://127.0.0.1:1", 1, 9, "listen"),
    ("unix:///nowhere/kms.sock", "unix:///" + "x" * 200, 1, 9, "listen"),
    ("keyring: k8s", "keyring: K8S!", 2, 10, "keyring"),
    ("type: pkcs11", "type: tpm", 5, 11, "type"),
    ("pin-source=file:/nowhere/pin", "pin-value=1234", 6, 10, "pin-value"),
    ("pkcs11:token", "pkcs12:token", 6, 10, "uri"),
    ("module-path=/nowhere.so&", "", 6, 10, "module"),
]

MISSING = [
    ("listen: unix:///nowhere/kms.sock\n", "listen"),
    ("keyring: k8s\n", "keyring"),
    ("    type: pkcs11\n", "type"),
    ("  - name: a\n    type", "name"),
]


class Config(rigs.Case):
    def kekd(self, *arguments):
        return subprocess.run([rigs.program("kekd"), *arguments], stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=rigs.PATIENCE,
                              check=False)

    def check(self, text, run=("--check",)):
        with tempfile.NamedTemporaryFile("w", suffix=".yaml", prefix="kekd-test-") as file:
            file.write(text)
            file.flush()
            done = self.kekd(*run, "--config", file.name)
            return done.returncode, done.stderr.replace(file.name, "FILE")

    def place(self, text, line, column, word):
        with self.subTest(text[len(BASE):] if text.startswith(BASE) else text):
            code, said = self.check(text)
            self.assertEqual(code, 2, said)
            self.assertIn("FILE:%d:%d: " % (line, column), said)
            self.assertIn(word, said)
            self.assertNotIn("1234", said, "it may be a PIN")

    def test_a_good_file_passes(self):
        self.assertEqual(self.check(BASE), (0, ""))

    def test_every_error_names_file_line_and_column(self):
        for tail, line, column, word in APPENDED:
            self.place(BASE + tail, line, column, word)
        for old, new, line, column, word in REPLACED:
            self.assertIn(old, BASE)
            self.place(BASE.replace(old, new), line, column, word)

    def test_what_is_missing_is_named(self):
        for piece, word in MISSING:
            text = BASE.replace(piece, "  - type" if word == "name" else "")
            self.assertNotEqual(text, BASE)
            with self.subTest(word):
                code, said = self.check(text)
                self.assertEqual(code, 2, said)
                self.assertTrue(re.search(r"FILE:\d+:\d+: .*" + word, said), said)
        code, said = self.check(BASE.split("providers")[0])
        self.assertEqual(code, 2)
        self.assertIn("providers", said)
        code, said = self.check(BASE.split("providers")[0] + "providers: []\n")
        self.assertEqual(code, 2)
        self.assertIn("providers", said)

    def test_what_is_not_yaml_is_refused_with_its_place(self):
        for text in ("listen: [unclosed\n", "\tlisten: x\n", "a: b: c\n", "- a\n- b\n", "just words\n",
                     "", "---\n...\n", BASE + "---\n" + BASE, "&a [*a]\n", "\x00\x01\x02",
                     "a: &x [1,2]\nb: *x\n", "!!python/object:os.system {}\n", "? {a: b}\n: c\n"):
            with self.subTest(text):
                code, said = self.check(text)
                self.assertEqual(code, 2, said)
                self.assertTrue(re.search(r"FILE:\d+:\d+: ", said), said)
        deep = "[" * 20000
        code, said = self.check(deep)
        self.assertEqual(code, 2, said[:300])
        code, said = self.check("# " + "x" * (300 << 10) + "\n" + BASE)
        self.assertEqual(code, 2, said[:300])

    def test_a_file_that_cannot_be_read_is_named(self):
        for path in ("/nowhere/kekd.yaml", "/"):
            done = self.kekd("--config", path)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(path, done.stderr)

    def test_running_with_a_wrong_file_is_the_same(self):
        code, said = self.check(BASE + "colour: blue\n", run=())
        self.assertEqual(code, 2)
        self.assertIn("FILE:7:1: ", said)

    def test_an_answer_that_cannot_be_printed_is_exit_1(self):
        with tempfile.NamedTemporaryFile("w", suffix=".yaml", prefix="kekd-test-") as file:
            file.write(BASE)
            file.flush()
            for arguments in (["--check", "--config", file.name], ["--version"], ["--help"]):
                with open("/dev/full", "w", encoding="ascii") as full:
                    done = subprocess.run([rigs.program("kekd"), *arguments], stdout=full, check=False,
                                          stderr=subprocess.PIPE, text=True, timeout=rigs.PATIENCE)
                self.assertEqual(done.returncode, 1, arguments)
                self.assertRegex(done.stderr, "kekd: cannot write to standard output: No space left on device\n$")

    def test_bad_usage_is_exit_2(self):
        for arguments in ((), ("--config",), ("--nonsense",), ("--check",), ("extra",),
                          ("--config", "/nowhere/a", "extra")):
            done = self.kekd(*arguments)
            self.assertEqual(done.returncode, 2, (arguments, done.stderr))
            self.assertTrue(done.stderr, arguments)

    def test_kekctl_says_the_same(self):
        with tempfile.NamedTemporaryFile("w", suffix=".yaml", prefix="kekd-test-") as file:
            file.write(BASE + "colour: blue\n")
            file.flush()
            done = subprocess.run([rigs.program("kekctl"), "--config", file.name, "config", "check"],
                                  stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, check=False,
                                  timeout=rigs.PATIENCE)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("%s:7:1: " % file.name, done.stderr + done.stdout)

    def test_the_example_is_a_good_file(self):
        done = subprocess.run([rigs.program("kekctl"), "config", "example"], stdout=subprocess.PIPE,
                              text=True, check=True, timeout=rigs.PATIENCE)
        self.assertEqual(self.check(done.stdout), (0, ""))

    def test_the_environment_is_no_back_door(self):
        os.environ["KEKD_CONFIG"] = "/nowhere/else"
        self.addCleanup(os.environ.pop, "KEKD_CONFIG")
        self.assertEqual(self.check(BASE), (0, ""))


if __name__ == "__main__":
    rigs.main()
