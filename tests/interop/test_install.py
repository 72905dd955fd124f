#!/usr/bin/env python3
"""docs/operations.md, "Start", run as it stands: make install, then each block as root under a real systemd; and the first
steps of docs/encryption.md, "Another HSM", by which a second kekd runs beside the first.

What cannot be had (root, namespaces, systemd, SoftHSM) is said, and the test is skipped.
"""
import os
import re
import subprocess
import sys
import unittest

import pages
import start_page
from clean_root import Root, read, why_not
from start_page import WELL

BUILD = os.environ["abs_top_builddir"]
SOURCE = os.environ["abs_top_srcdir"]
SKIPPED = 77

# What kekd's clients do while its configuration is wrong.
GIVES_UP = """
echo 'nonsense: 1' >>/etc/kekd/kekd.yaml
systemctl restart kekd.service || true
i=0
while systemctl is-active --quiet kekd.socket; do
    i=$((i + 1)); [ $i -lt 500 ]
    python3 -c "import socket; socket.socket(socket.AF_UNIX).connect('/run/kekd/kms.sock')" || true
done
echo "service $(systemctl show -P Result kekd.service) $(systemctl show -P ExecMainStatus kekd.service)"
echo "socket $(systemctl show -P Result kekd.socket)"
"""

# What the page has the reader do by hand before its blocks: a configuration, for a token of its own, and its end after them.
SECOND = """
runuser -u kekd -- softhsm2-util --init-token --free --label kek-b --so-pin 5678 --pin "$PIN"
sed -e 's|/run/kekd/|/run/kekd-b/|; s/k8s-prod/k8s-b/; s/kek-a/kek-b/; s/9478/9480/; s|/var/log/kekd/|/var/log/kekd-b/|' /etc/kekd/kekd.yaml >/etc/kekd/kekd-b.yaml
echo 'state_dir: /var/lib/kekd-b' >>/etc/kekd/kekd-b.yaml
"""
SECOND_SERVES = """
i=0; until kekctl --config /etc/kekd/kekd-b.yaml kms status; do i=$((i + 1)); [ $i -lt 60 ]; sleep 1; done
systemctl is-active kekd-b.socket kekd-b.service
echo "second: $(systemctl show -P User kekd-b.service) $(ls /var/lib/kekd-b/k8s-b.json)"
systemctl disable --now kekd-b.socket kekd-b.service
"""

# What runs by the timer, once it is enabled.
ROTATES = """
test "$(systemctl is-enabled kekd-rotate.timer)" = disabled
printf 'settle: 1s\nrefresh: 1s\n' >>/etc/kekd/kekd.yaml
systemctl restart kekd.service
mkdir -p /etc/systemd/system/kekd-rotate.service.d
cp /etc/systemd/system/kekd.service.d/softhsm.conf /etc/systemd/system/kekd-rotate.service.d
printf '[Service]\nEnvironment="ROTATE_OPTIONS=--single-node --until seen"\nStandardError=append:/steps/kekd.log\n' \
    >/etc/systemd/system/kekd-rotate.service.d/options.conf
systemctl daemon-reload
systemctl start kekd-rotate.service
runuser -u kekd -- kekctl key list
"""


# As logrotate does.
RENAMED = """
mv /var/log/kekd/audit.jsonl /var/log/kekd/audit.jsonl.1
systemctl kill --kill-whom=main --signal=HUP kekd.service
i=0; until test -e /var/log/kekd/audit.jsonl; do i=$((i + 1)); [ $i -lt 100 ]; sleep 0.1; done
gzip /var/log/kekd/audit.jsonl.1
"""

# The programs are in several folders, and evidence has the digest of each.
EVIDENCE = """
kekctl report --out /root/evidence || test $? = 3
for program in kekctl kekd kekd-pkcs11; do grep -q '"program": "'$program'",' /root/evidence/report.json; done
"""


def documented_way_back():
    section = read(SOURCE, "docs", "operations.md").split("\n### After a wrong configuration\n")[1]
    return re.search(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL).group(1)


class Install(unittest.TestCase):
    def setUp(self):
        self.root = Root()
        self.addCleanup(self.root.remove)
        env = {name: value for name, value in os.environ.items()
               if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "DESTDIR")}
        done = subprocess.run(["make", "-C", BUILD, "install", "DESTDIR=" + self.root.upper],
                              env=env, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)

    def prepare(self):
        """A fresh node: no user kekd, nothing of kekd's, and the folder of configuration where the docs say."""
        start_page.prepare(self.root)
        unit = next(os.path.join(folder, "kekd.service")
                    for folder, _, names in os.walk(self.root.upper) if "kekd.service" in names)
        config = re.search(r"^ExecStart=.*--config (\S+)/kekd/kekd.yaml$", read(unit),
                           re.MULTILINE).group(1)
        if config != "/etc":
            os.makedirs(self.root.upper + config, exist_ok=True)
            os.symlink(config + "/kekd", self.root.upper + "/etc/kekd")

    def second(self):
        check, key, start = pages.steps("encryption.md", "## Another HSM")[:3]
        status = "kekctl --config /etc/kekd/kekd-b.yaml kms status\n"
        self.assertIn(status, start)
        return SECOND + check + key + start.replace(status, SECOND_SERVES)

    @staticmethod
    def audit():
        """docs/operations.md, "The audit log", but for what is there with packages alone."""
        page = "operations.md", "## The audit log"
        _, generate = pages.steps(*page)
        verify, older = re.findall(r"^```sh\n(.*?)^```$", pages.section(*page), re.MULTILINE | re.DOTALL)
        return generate + verify + RENAMED + older

    def test_the_documented_steps_end_in_a_kekd_that_is_well(self):
        self.prepare()
        status = self.root.run(start_page.script() + "systemctl restart kekd.service\n" + WELL + self.audit() + self.second() + WELL +
                               "systemctl show -P User kekd.service\n" + EVIDENCE + ROTATES)
        self.assertEqual(status, "0", self.root.said())
        self.assertIn("\nkekd\n", self.root.said())
        for said in (r"FAIL +configuration .*kekd.yaml", r"FAIL +keyring .*runuser -u kekd -- kekctl key generate",
                     r"WARN +unit .*systemctl enable --now kekd.socket kekd.service", r"OK +user +judged as kekd ",
                     r"OK +socket +/run/kekd/kms.sock, which systemd makes", r"OK +nodes .*announcing kek1-",
                     r"WARN +descriptors +100 \(/etc/systemd/system/kekd.service.d/few.conf\), and kekd needs", r"OK +descriptors +4096 \(process ",
                     r"OK +backup +version 1 "):
            self.assertRegex(self.root.said(), r"(?m)^" + said)
        self.assertIn("\nsecond: kekd /var/lib/kekd-b/k8s-b.json\n", self.root.said())
        self.assertRegex(self.root.said(), r"\n2 +pre-active ")

    def test_a_wrong_configuration_ends_the_socket_and_the_documented_steps_bring_it_back(self):
        self.prepare()
        status = self.root.run(start_page.script() + GIVES_UP + "cp /steps/kekd.yaml /etc/kekd/kekd.yaml\n" +
                               documented_way_back() + WELL)
        self.assertEqual(status, "0", self.root.said())
        self.assertIn("\nservice exit-code 2\n", self.root.said())
        self.assertIn("\nsocket trigger-limit-hit\n", self.root.said())


if __name__ == "__main__":
    reason = why_not(*start_page.PROGRAMS)
    if reason is not None:
        print(f"SKIP: {reason}: the documented installation was NOT tried")
        sys.exit(SKIPPED)
    unittest.main(verbosity=2)
