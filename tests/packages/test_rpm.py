#!/usr/bin/env python3
"""The RPM packages, built by packages/kekd.spec out of what make dist packs (without a look at the build dependencies, which
have their names of Fedora): the same files as make install's and the Debian packages', and in a clean root with a systemd of
its own (interop/clean_root.py) installed, upgraded and removed.
"""
import os
import re
import sys
import tempfile
import unittest

import made

sys.path.insert(0, os.path.join(made.SOURCE, "tests", "interop"))
import start_page  # noqa: E402
from clean_root import Root, read, why_not  # noqa: E402

SPEC = os.path.join(made.SOURCE, "packages", "kekd.spec")

STEPS = r"""
set -eux
units='kekd.socket kekd.service kekd-rotate.timer'
put() { rpm --dbpath /var/lib/kek-rpm --upgrade --nodeps --replacepkgs --nosignature /steps/rpms/*.rpm; }
all_are() { test "$(systemctl $1 $units | sort -u)" = $2; }
put
all_are is-enabled disabled
all_are is-active inactive
test "$(stat -c '%U:%G %a' /var/lib/kekd)" = 'kekd:kekd 700'
"""
LATER = r"""
was=$(systemctl show -P MainPID kekd.service)
i=0; until kekctl node status --node self; do i=$((i + 1)); test $i -lt 300; sleep 0.2; done
put
test "$(systemctl show -P MainPID kekd.service)" != "$was"
"""
GONE = r"""
rpm --dbpath /var/lib/kek-rpm --erase kekd-bridge kekd 2>&1 | grep 'keys in the HSM'
if pgrep -x 'kekd.*'; then exit 1; fi
test ! -e /usr/sbin/kekd
test -s /var/lib/kekd/k8s-prod.json
test -s /etc/kekd/kekd.yaml
"""


def build(folder):
    """The packages' files, in a folder. Not optimised: what is looked at is what they hold."""
    tree = made.unpacked_tarball(folder)
    os.mkdir(os.path.join(folder, "SOURCES"))
    made.run("tar", "-C", folder, "-cJf", f"{folder}/SOURCES/{os.path.basename(tree)}.tar.xz", os.path.basename(tree),
             XZ_OPT="-0")
    made.run("rpmbuild", "-bb", "--nodeps", "--define", f"_topdir {folder}", "--define", "optflags -O0",
             "--define", "debug_package %{nil}", "--define", "_smp_mflags -j2", SPEC)
    return sorted(os.path.join(path, name) for path, _, names in os.walk(folder + "/RPMS") for name in names)


def debian_split(name):
    return set(read(made.SOURCE, "debian", name + ".install").split())


class Rpm(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.kekd, cls.bridge = build(WORK)

    def paths(self, package, *options):
        listed = made.run("rpm", "--query", "--list", *options, "--package", package).split("\n")
        return {re.sub(r"(/man/.*)\.gz$", r"\1", path) for path in listed
                if path.startswith("/") and "/.build-id" not in path}

    def test_it_is_of_the_version_that_kekd_is(self):
        for package in (self.kekd, self.bridge):
            self.assertEqual(made.run("rpm", "--query", "--queryformat", "%{VERSION}", "--package", package), made.version())

    def test_they_hold_what_make_install_installs(self):
        want = made.installed(tempfile.mkdtemp(dir=WORK), *made.PREFIX, "systemdsystemunitdir=/usr/lib/systemd/system")
        want.remove("/usr/share/doc/kekd/examples/kekd.logrotate")
        want.add("/etc/logrotate.d/kekd")
        have = self.paths(self.kekd) | self.paths(self.bridge)
        self.assertEqual(want - have, set())
        self.assertEqual(have - want, {"/usr/libexec/kekd", "/usr/share/doc/kekd", "/usr/share/doc/kekd/examples"})
        self.assertEqual(self.paths(self.kekd, "--configfiles"), {"/etc/logrotate.d/kekd"})

    def test_they_are_split_as_the_debian_packages_are(self):
        self.assertEqual({path[1:] for path in self.paths(self.bridge)}, debian_split("kekd-bridge"))

    def test_installed_upgraded_and_removed(self):
        reason = why_not("pgrep", *start_page.PROGRAMS)
        if reason is not None:
            print(f"SKIP: {reason}: the packages were NOT installed anywhere")
            self.skipTest(reason)
        root = Root()
        self.addCleanup(root.remove)
        start_page.prepare(root)
        os.makedirs(root.upper + "/steps/rpms")
        made.run("cp", self.kekd, self.bridge, root.upper + "/steps/rpms")
        status = root.run(STEPS + start_page.script(by_package=True) + LATER + GONE)
        self.assertEqual(status, "0", root.said())


if __name__ == "__main__":
    made.skip_without("rpmbuild", "rpm", what="the RPM packages")
    with tempfile.TemporaryDirectory(prefix="kek-rpm-") as WORK:
        os.chmod(WORK, 0o755)
        unittest.main(verbosity=2)
