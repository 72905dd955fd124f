#!/usr/bin/env python3
"""kekctl completion: what bash and zsh offer at the cursor, asked of the shells themselves."""

import os
import re
import shutil
import subprocess
import tempfile
import unittest

KEKCTL = os.path.join(os.environ["abs_top_builddir"], "kekctl")

# $1: the script, the rest: the words up to the cursor.
BASH = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); ' \
       'eval "$(complete -p kekctl | sed "s/.*-F \\([^ ]*\\) .*/\\1/")" 2>/dev/null; printf "%s\\n" "${COMPREPLY[@]}"'

# zsh's completion runs in its line editor alone: what it is told is heard here instead.
ZSH = 'compdef() { :; }; compadd() { shift; print -l -- "$@"; }; _files() { print -- @files; }; ' \
      'source "$1"; shift; words=("$@"); CURRENT=$#; _kekctl'


def kekctl(*words):
    return subprocess.run([KEKCTL, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)


class Completion(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="kek-completion-")  # pylint: disable=consider-using-with
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        for shell in ("bash", "zsh"):
            done = kekctl("completion", shell)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            with open(os.path.join(self.folder, shell), "w", encoding="utf-8") as file:
                file.write(done.stdout)

    def ask(self, shell, script, *words):
        path = os.path.dirname(KEKCTL) + ":" + os.environ["PATH"]
        done = subprocess.run([shell, *(["--norc"] if shell == "bash" else ["-f"]), "-c", script, shell,
                               os.path.join(self.folder, shell), "kekctl", *words], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, check=False, cwd=self.folder, env=dict(os.environ, PATH=path))
        self.assertEqual(done.stderr, "", words)
        return [line for line in done.stdout.splitlines() if line]

    def offered(self, *words):
        """By bash."""
        return self.ask("bash", BASH, *words)

    def test_words_of_commands_are_those_of_the_help(self):
        commands = re.findall(r"^  ([a-z]+(?: [a-z]+)?) ", kekctl("--help").stdout, re.MULTILINE)
        self.assertEqual(self.offered(""), list(dict.fromkeys(command.split()[0] for command in commands)))
        for first in {command.split()[0] for command in commands if " " in command}:
            self.assertEqual(self.offered(first, ""), [command.split()[1] for command in commands
                                                       if command.startswith(first + " ")])

    def test_options_of_each_command_are_those_of_its_help(self):
        commands = re.findall(r"^  ([a-z]+(?: [a-z]+)?) ", kekctl("--help").stdout, re.MULTILINE)
        for command in commands:
            wanted = re.findall(r"^  (?:-[a-z], )?(--[a-z-]+)", kekctl(*command.split(), "--help").stdout, re.MULTILINE)
            self.assertEqual(sorted(self.offered(*command.split(), "--")), sorted(wanted), command)

    def test_what_was_begun_is_completed(self):
        self.assertEqual(self.offered("do"), ["doctor"])
        self.assertEqual(self.offered("key", "des"), ["destroy"])
        self.assertEqual(self.offered("doctor", "--enc"), ["--encryption-config"])
        self.assertEqual(self.offered("nonsense", ""), [])
        self.assertIn("--config", self.offered("nonsense", "--"))

    def test_options_and_their_values_do_not_count_as_words(self):
        for words in (("--config", "key"), ("-c", "key"), ("--config", "=", "key"), ("--help",)):
            self.assertEqual(self.offered(*words, "key", "pro"), ["promote"], words)

    def test_values_are_words_files_or_free(self):
        self.assertEqual(self.offered("--output", ""), ["table", "json", "junit"])
        self.assertEqual(self.offered("key", "list", "--output", "=", "js"), ["json"])
        self.assertEqual(self.offered("--output", "="), ["table", "json", "junit"])
        self.assertEqual(sorted(self.offered("kms", "status", "--api", "")), ["v1", "v2"])
        self.assertEqual(sorted(self.offered("--config", "")), ["bash", "zsh"])  # the folder's files
        self.assertEqual(self.offered("config", "check", "b"), ["bash"])
        self.assertEqual(self.offered("audit", "verify", "b"), ["bash"])
        self.assertEqual(self.offered("audit", "verify", "/var/log/a file", "z"), ["zsh"])
        self.assertEqual(self.offered("report", "verify", "--key", "k", "report.json", "z"), ["zsh"])
        self.assertEqual(self.offered("key", "list", "--root", ""), [])
        self.assertEqual(self.offered("completion", ""), ["bash", "zsh"])

    CONFIG = """listen: unix:///s
keyring: k
mode: any
providers:
  - {name: hsm-a, type: pkcs11, uri: "pkcs11:token=a?module-path=/m.so&pin-source=file:/pin"}
  - {name: hsm-b, type: pkcs11, uri: "pkcs11:token=b?module-path=/m.so&pin-source=file:/pin"}
roots:
  - {name: site, providers: [hsm-b]}
  - {name: spare, providers: [hsm-a]}
"""

    def test_names_of_roots_and_providers_are_those_of_the_configuration(self):
        with open(os.open(self.folder + "/a file", os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as file:
            file.write(self.CONFIG)
        for shell, script in (("bash", BASH), ("zsh", ZSH)):
            if shutil.which(shell) is None:
                continue
            for given in (("-c", "a file"), ("--config", "a file"), ("--config=a file",) if shell == "zsh" else
                          ("--config", "=", "a file")):
                self.assertEqual(self.ask(shell, script, *given, "key", "generate", "--root", ""), ["site", "spare"])
                self.assertEqual(self.ask(shell, script, *given, "probe", "--provider", ""), ["hsm-b", "hsm-a"])
            self.assertEqual(self.ask(shell, script, "-c", "nowhere", "key", "generate", "--root", ""), [])
        self.assertEqual(self.offered("-c", "a file", "key", "generate", "--root", "=", "sp"), ["spare"])

    def test_a_root_is_not_offered_where_none_can_be_named(self):
        for words in (("inventory",), ("kube", "config"), ("completion",), ("version",), ("config", "example")):
            self.assertNotIn("--root", self.offered(*words, "--"), words)
        self.assertIn("--root", self.offered("key", "list", "--"))

    def test_folders_phases_and_steps_are_offered(self):
        for words in (("report", "--out"), ("probe", "--into"), ("kms", "status", "--socket")):
            self.assertEqual(self.offered(*words, "b"), ["bash"], words)
        for command, option in ((("kube", "config"), "--phase"), (("key", "rotate"), "--until")):
            text = " ".join(kekctl(*command, "--help").stdout.split())
            said = re.search(r" %s [A-Z]+ (.*?)(?: --|$)" % option, text).group(1)
            words = self.offered(*command, option, "")
            self.assertGreater(len(words), 3)
            for word in words:
                self.assertIn(word, said)
        done = kekctl("kube", "config", "--phase", "nonsense")
        self.assertEqual(self.offered("kube", "config", "--phase", "add"), ["add-reader"], done.stderr)

    def test_help_takes_the_words_of_a_command(self):
        self.assertEqual(self.offered("help", "aud"), ["audit"])
        self.assertEqual(self.offered("help", "audit", ""), self.offered("audit", ""))
        self.assertEqual(kekctl("help", "audit", "verify").stdout, kekctl("audit", "verify", "--help").stdout)
        self.assertEqual(kekctl("help", "audit").stdout, kekctl("audit", "--help").stdout)
        done = kekctl("help", "audit", "nonsense")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("there are audit ", done.stderr)

    def test_zsh_offers_the_same(self):
        if shutil.which("zsh") is None:
            self.skipTest("SKIP: zsh is missing: its completion was only read, not run")
        for words in (("",), ("key", ""), ("doctor", "--"), ("help", "key", ""), ("--output", ""), ("--config", "x", "kms", "")):
            self.assertEqual(self.ask("zsh", ZSH, *words), self.offered(*words), words)
        self.assertEqual(self.ask("zsh", ZSH, "--config", ""), ["@files"])

    def test_another_shell_is_refused(self):
        done = kekctl("completion", "fish")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn('expected bash or zsh, found "fish"', done.stderr)

    def test_what_is_installed_is_what_is_printed(self):
        for name, shell in (("kekctl", "bash"), ("_kekctl", "zsh")):
            with open(os.path.join(os.environ["abs_top_builddir"], "completions", name), encoding="utf-8") as file:
                self.assertEqual(file.read(), kekctl("completion", shell).stdout)


if __name__ == "__main__":
    unittest.main(verbosity=2)
