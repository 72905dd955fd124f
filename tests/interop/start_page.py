"""docs/operations.md, "Start", as a script for a clean root (clean_root.py), with a token of SoftHSM in the HSM's place and
the README's configuration."""
import re

import pages
from clean_root import read, write

PROGRAMS = ("softhsm2-util", "usermod")     # what it asks for besides a clean root

WELL = """
i=0; until kekctl kms status; do i=$((i + 1)); [ $i -lt 60 ]; sleep 1; done
systemctl is-active kekd.socket kekd.service
"""


# What doctor, as root, has to say after each step. At the end nothing is FAIL; what may be WARN is a backup that nobody has
# spoken of, and a clock.
LOOKS = "kekctl doctor || test $? -le 3\n"
FEW = """
printf '[Service]\\nLimitNOFILE=100\\n' >/etc/systemd/system/kekd.service.d/few.conf
kekctl doctor || test $? -le 3
rm /etc/systemd/system/kekd.service.d/few.conf
"""
IS_WELL = "kekctl doctor || test $? = 3\nkekctl doctor --i-have-a-backup || test $? = 3\n"


def configuration():
    text = read(pages.SOURCE, "README.md")
    return next(block for block in re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
                if block.startswith("listen:"))


def prepare(root):
    """A fresh node: no user kekd, and no token."""
    root.hide_users("kekd")
    for folder in ("/var/lib/softhsm", "/var/lib/softhsm/tokens"):
        root.hide(folder)
    write(configuration(), root.upper, "steps", "kekd.yaml")


def script(by_package=False):
    """The blocks of the page, in which a package has done the first step already, up to a kekd that is well."""
    user, reach, pin, token, check, key, start = pages.steps("operations.md", "## Start")
    assert "kekctl kms status\n" in start
    return ("set -eux\nPIN=1234 SO_PIN=5678\n" + ("" if by_package else user) + LOOKS + reach + pin + token +
            "cp /steps/kekd.yaml /etc/kekd/kekd.yaml\n" + LOOKS + check + FEW + key + LOOKS +
            start.replace("kekctl kms status\n", WELL) + IS_WELL)
