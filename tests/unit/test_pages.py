#!/usr/bin/env python3
"""The pages of docs/ and the README: every kekctl command in them is one, with options that it takes, every link within
them leads to a file and a heading that are there, and every block that is typed is one command that fails where a part of it
does, and leaves the shell open."""

import os
import re
import subprocess
import textwrap
import unittest

SOURCE = os.environ["abs_top_srcdir"]
KEKCTL = os.path.join(os.environ["abs_top_builddir"], "kekctl")
PAGES = ["README.md"] + sorted("docs/" + name for name in os.listdir(SOURCE + "/docs") if name.endswith(".md"))

# Text in a code block or between backticks, and in it a call of kekctl up to where the shell ends a command.
CODE = re.compile(r"^ *```[a-z]*\n(.*?)^ *```|`([^`\n]+)`", re.MULTILINE | re.DOTALL)
CALL = re.compile(r"(?:^|[\s(;|&]|--\s)kekctl((?:\s+[^\s|;&><()`]+)+)")
ANY = {"--config", "--output", "--help", "--version"}  # behind each command

# Their blocks are one script, or pasted into a shell of its own, which ends at the first failure; recovery.md says so.
SCRIPTS = ["docs/cloud-hsm.md", "docs/openbao.md", "docs/recovery.md"]
SUBSHELL = re.compile(r"\(\n.*\)\s*", re.DOTALL)


def read(page):
    with open(os.path.join(SOURCE, page), encoding="utf-8") as file:
        return re.sub(r"^Not there yet:.*?\n\n", "", file.read(), flags=re.MULTILINE | re.DOTALL)


def said(*words):
    return subprocess.run([KEKCTL, *words], stdout=subprocess.PIPE, text=True, check=True).stdout


def commands():
    """{words of a command: its options}"""
    names = re.findall(r"^  ([a-z]+(?: [a-z]+)?) ", said("help"), re.MULTILINE)
    return {name: ANY | set(re.findall(r"^ +(?:-., )?(--[a-z-]+)", said(*name.split(), "--help"), re.MULTILINE))
            for name in names if name not in ("help", "version")}


def calls(text):
    """The words behind each kekctl of a page, a list each."""
    for block, inline in CODE.findall(text):
        for line in re.sub(r"\\\n", " ", block or inline).splitlines():
            line = re.sub(r" #.*", "", line)
            yield from (found.split() for found in CALL.findall(line))


def split(words, known):
    """(command, options) of a call; command None: it is none."""
    while words and words[0] in ("--config", "--output"):
        words = words[2:]
    name = next((" ".join(words[:n]) for n in (2, 1) if " ".join(words[:n]) in known), None)
    return name, [word.split("=")[0].rstrip("].,") for word in words if word.startswith("--")]


def anchors(text):
    """What a link may name: headings, as a forge makes anchors of them, and anchors that stand there."""
    found = set(re.findall(r'<a id="([^"]+)">', text))
    for heading in re.findall(r"^#+ (.*)$", re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE):
        found.add(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-"))
    return found


def is_whole(script):
    return subprocess.run(["bash", "-n"], input=script, text=True, stderr=subprocess.DEVNULL, check=False).returncode == 0


def commands_of(block):
    """Those that a shell runs one after the other, whatever became of the one before."""
    found = [""]
    for line in block.splitlines(keepends=True):
        found[-1] += line
        if is_whole(found[-1]) and not re.search(r"(&&|\|\|?|\\)\n\Z", found[-1]):
            found.append("")
    return [command for command in found if command.strip()]


def faults(block):
    """What is wrong with a block that somebody types."""
    if not is_whole(block):
        return ["it is no command of a shell"]
    found = []
    subshell = SUBSHELL.fullmatch(block) is not None
    if len(commands_of(block)) > 1:
        found.append("its second command runs where the first one fails: join them by &&")
    if re.search(r"(?<![\w-])(exit|return|exec|set -)", block) and not subshell:
        found.append("it ends the shell that it is typed in, or changes it: put it between ( and )")
    if re.search(r"^ *(for|while|until|if) ", block, re.MULTILINE) and not (subshell and "\n    set -eu\n" in block):
        found.append("its status is that of the last turn: put it between ( and ), after set -eu")
    checked = set(re.findall(r"\$\{(\w+):\?\}", block))
    for name in set(re.findall(r"\$\{?([A-Z_]+)\b", block)) - checked:
        found.append("where %s is not set it does something else: ${%s:?}" % (name, name))
    if re.search(r"(?<!\|)\|(?!\|)[^|\n]*\bwhile\b", block):
        found.append("what is before the pipe may fail unseen")
    return found


class Pages(unittest.TestCase):
    def test_a_block_that_is_typed_fails_loudly_and_leaves_the_shell_open(self):
        count = 0
        for page in PAGES:
            for block in re.findall(r"^ *```sh\n(.*?)^ *```", read(page), re.MULTILINE | re.DOTALL):
                with self.subTest(page=page, block=block):
                    if page not in SCRIPTS:
                        self.assertEqual(faults(textwrap.dedent(block)), [])
                        count += 1
        self.assertGreater(count, 100)

    def test_what_is_wrong_with_a_block_is_found(self):
        for block, seen in (("if a | grep b; then exit 1; fi\n", "ends the shell"), ("a\nb\n", "second command"),
                            ("set -e\n", "ends the shell"), ("a $NAME\n", "NAME is not set"),
                            ("for x in y; do\n    a\ndone\n", "last turn"), ("a | while read -r b; do c; done\n", "before the pipe"),
                            ("(\n", "no command")):
            with self.subTest(block=block):
                self.assertIn(seen, " ".join(faults(block)))
        self.assertEqual(faults("(\n    set -eu\n    for x in ${Y:?}; do\n        exit 1\n    done\n)\n"), [])
        self.assertEqual(faults("a &&\n    b \\\n    c\n"), [])
    def test_every_kekctl_is_a_command_and_takes_these_options(self):
        known, count = commands(), 0
        for page in PAGES:
            for words in calls(read(page)):
                with self.subTest(page=page, call=" ".join(words)):
                    name, options = split(words, known)
                    self.assertIsNotNone(name)
                    self.assertLessEqual(set(options), known[name])
                    count += 1
        self.assertGreater(count, 150)

    def test_every_link_leads_somewhere(self):
        count = 0
        for page in PAGES:
            for target in re.findall(r"\]\(([^)\s]+)\)", read(page)):
                if target.startswith("http"):
                    continue
                path, _, anchor = target.partition("#")
                file = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
                with self.subTest(page=page, link=target):
                    self.assertTrue(os.path.exists(os.path.join(SOURCE, file)))
                    if anchor:
                        self.assertIn(anchor, anchors(read(file)))
                    count += 1
        self.assertGreater(count, 50)


if __name__ == "__main__":
    unittest.main()
