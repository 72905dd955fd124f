"""The blocks of a documented procedure, to be run as they stand."""

import os
import re
import textwrap

SOURCE = os.environ.get("abs_top_srcdir") or os.path.dirname(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def section(page, heading):
    """The text below a heading, to the next one: "## Start", "### After a loss"."""
    with open(os.path.join(SOURCE, "docs", page), encoding="utf-8") as file:
        _, found, rest = file.read().partition("\n%s\n" % heading)
    assert found, "%s has no section %s" % (page, heading)
    return re.split(r"^#", rest, maxsplit=1, flags=re.MULTILINE)[0]


def steps(page, heading):
    """The sh blocks of a section's numbered list, in order."""
    return [textwrap.dedent(block) for _, block in
            re.findall(r"^( {3,4})```sh\n(.*?)^\1```$", section(page, heading), re.MULTILINE | re.DOTALL)]


def blocks(page):
    """All sh blocks of a page that stand at its margin, in order."""
    with open(os.path.join(SOURCE, "docs", page), encoding="utf-8") as file:
        return re.findall(r"^```sh\n(.*?)^```$", file.read(), re.MULTILINE | re.DOTALL)


def recovery(service=None):
    """docs/recovery.md as a script; with the page of a service ("openbao.md") where it says that its blocks go."""
    begin, token, apart, unwrap, join, expand, decrypt, remove, obj = blocks("recovery.md")
    if service is not None:
        token, unwrap = blocks(service)
        remove = ""
    return "".join((begin, token, apart, unwrap, join, expand, decrypt, remove, obj))
