"""The blocks of a documented procedure, to be run as they stand."""

import os
import re

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
    return [re.sub(r"^   ", "", block, flags=re.MULTILINE)
            for block in re.findall(r"^   ```sh\n(.*?)^   ```$", section(page, heading),
                                    re.MULTILINE | re.DOTALL)]
