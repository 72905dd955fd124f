#!/usr/bin/env python3
"""The pages of docs/ and the README: every kekctl command in them is one, with options that it takes, and every link within
them leads to a file and a heading that are there."""

import os
import re
import subprocess
import unittest

SOURCE = os.environ["abs_top_srcdir"]
KEKCTL = os.path.join(os.environ["abs_top_builddir"], "kekctl")
PAGES = ["README.md"] + sorted("docs/" + name for name in os.listdir(SOURCE + "/docs") if name.endswith(".md"))

# Text in a code block or between backticks, and in it a call of kekctl up to where the shell ends a command.
CODE = re.compile(r"^ *```[a-z]*\n(.*?)^ *```|`([^`\n]+)`", re.MULTILINE | re.DOTALL)
CALL = re.compile(r"(?:^|[\s(;|&]|--\s)kekctl((?:\s+[^\s|;&><()`]+)+)")
ANY = {"--config", "--output", "--help", "--version"}  # behind each command


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


class Pages(unittest.TestCase):
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
