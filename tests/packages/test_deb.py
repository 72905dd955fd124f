#!/usr/bin/env python3
"""The Debian packages: built twice out of what make dist packs, looked at by lintian, and in a clean root with a systemd of
its own (interop/clean_root.py) installed, configured, upgraded while calls come, removed and purged; and in another one
docs/first-hour.md is followed up to a Secret that an API server has sealed (first_hour.py).
"""
import concurrent.futures
import hashlib
import os
import re
import shutil
import sys
import tempfile
import unittest

import made

sys.path.insert(0, os.path.join(made.SOURCE, "tests", "interop"))
import certs  # noqa: E402
import start_page  # noqa: E402
from clean_root import Root, read, why_not, write  # noqa: E402

UNITS = "kekd.socket kekd.service kekd-rotate.timer"

BEFORE = r"""
set -eux
export DEBIAN_FRONTEND=noninteractive
rm -f /usr/sbin/policy-rc.d /var/lib/man-db/auto-update
put() { dpkg --force-unsafe-io --force-confdef --force-confold --install /steps/debs/$1/*.deb; }
pid() { systemctl show -P MainPID kekd.service; }
all_are() { test "$(systemctl $1 """ + UNITS + r""" | sort -u)" = $2; }
mode() { stat -c '%U:%G %a' $1; }
till() { i=0; until "$@" >/dev/null 2>&1; do i=$((i + 1)); test $i -lt 300; sleep 0.2; done; }
nothing_runs() { if pgrep -x 'kekd.*'; then return 1; fi; }
well() { kekctl node status --node self; }
"""

# Nothing has begun, and everything is there that a configuration asks for.
FRESH = r"""
put first
all_are is-enabled disabled
all_are is-active inactive
nothing_runs
test "$(mode /var/lib/kekd)" = 'kekd:kekd 700'
test "$(mode /var/log/kekd)" = 'kekd:kekd 750'
test "$(mode /etc/kekd)" = 'root:root 755'
test "$(getent passwd kekd | cut -d: -f6)" = /var/lib/kekd
systemd-analyze verify --man=no kekd.service kekd.socket kekd-rotate.service kekd-rotate.timer >/steps/said 2>&1 || true
if grep kekd /steps/said; then exit 1; fi
dpkg-query -W -f '${Conffiles}\n' kekd | grep -q '^ /etc/logrotate.d/kekd '
"""

# An upgrade beside calls: another process, the same socket and key, no call lost, and the administrator's file kept.
UPGRADE = r"""
printf 'refresh: 1s\n' >>/etc/kekd/kekd.yaml
systemctl restart kekd.service
till well
echo '# mine' >>/etc/logrotate.d/kekd
key_id=$(kekctl kms status | grep key_id)
socket=$(stat -c %i /run/kekd/kms.sock)
was=$(pid)
while test ! -e /steps/enough; do
    echo hello | kekctl kms encrypt 2>/dev/null | kekctl kms decrypt || echo lost
done >/steps/calls &
put second
till well
touch /steps/enough
wait
test "$(sort -u /steps/calls)" = hello
test "$(pid)" != "$was"
test "$(stat -c %i /run/kekd/kms.sock)" = "$socket"
test "$(kekctl kms status | grep key_id)" = "$key_id"
grep -qx '# mine' /etc/logrotate.d/kekd
grep -qx '# of the second version' /etc/logrotate.d/kekd.dpkg-dist
test "$(systemctl is-enabled kekd.socket kekd.service | sort -u)" = enabled
"""

# One that would lose what is in memory, or end in a kekd that does not start, leaves kekd as it is and says so.
NOT_NOW = r"""
mv /var/lib/softhsm/tokens /var/lib/softhsm/away
kill $(cat /proc/$(pid)/task/*/children)
till eval '! well'
was=$(pid)
put first >/steps/said 2>&1
grep 'NOT restarted.*not well' /steps/said
test "$(pid)" = "$was"
mv /var/lib/softhsm/away /var/lib/softhsm/tokens
till well
cp /etc/kekd/kekd.yaml /steps/good.yaml
echo 'nonsense: 1' >>/etc/kekd/kekd.yaml
put second >/steps/said 2>&1
grep 'NOT restarted.*configuration' /steps/said
grep 'kekd.yaml:.*nonsense' /steps/said
test "$(pid)" = "$was"
cp /steps/good.yaml /etc/kekd/kekd.yaml
systemctl stop kekd.socket kekd.service
put first
all_are is-active inactive
"""

REMOVED = r"""
systemctl start kekd.socket kekd.service
till well
dpkg --remove kekd-bridge kekd
nothing_runs
test ! -e /run/kekd/kms.sock
test -s /var/lib/kekd/k8s-prod.json
grep -qx '# mine' /etc/logrotate.d/kekd
put first
test "$(systemctl is-enabled kekd.service)" = enabled
systemctl start kekd.socket kekd.service
till well
test "$(kekctl kms status | grep key_id)" = "$key_id"
cp /bin/sleep /steps/kekd
/steps/kekd 1000 & other=$!
dpkg --purge kekd-bridge kekd >/steps/said 2>&1
grep 'still runs' /steps/said
test -s /var/lib/kekd/k8s-prod.json
kill $other
put first
rm -rf /var/log/kekd /srv/log
mkdir /srv/log
touch /srv/log/audit.jsonl
ln -s /srv/log /var/log/kekd
mount -t tmpfs none /var/lib/kekd
touch /var/lib/kekd/state
dpkg --purge kekd-bridge kekd >/steps/said 2>&1
nothing_runs
grep -x 'Left: /var/log/kekd, a link to /srv/log, and what is there' /steps/said
grep 'Left: /var/lib/kekd, which' /steps/said
test -e /srv/log/audit.jsonl
test ! -e /var/lib/kekd/state
umount /var/lib/kekd
rm -r /var/log/kekd /var/lib/kekd
grep 'keys in the HSM stay' /steps/said
for file in kekd.yaml hsm-a.pin; do grep -x "/etc/kekd/$file" /steps/said; test -s /etc/kekd/$file; done
for gone in /var/lib/kekd /var/log/kekd /run/kekd /etc/logrotate.d/kekd; do test ! -e $gone; done
getent passwd kekd
runuser -u kekd -- softhsm2-util --show-slots | grep kek-a
"""


def build(folder, kinds, umask, **variables):
    """Makes a folder with the packages, out of a copy of what make dist packs."""
    os.makedirs(folder)
    tree = os.path.join(folder, "kekd-" + made.version())
    made.run("cp", "-r", os.path.join(WORK, os.path.basename(tree)), tree, umask=umask)
    made.run("dpkg-buildpackage", "-us", "-uc", "-j2", *kinds, cwd=tree, umask=umask, DEB_BUILD_OPTIONS="nocheck", **variables)
    shutil.rmtree(tree)
    return folder


def other_locale():
    known = made.run("locale", "-a").split()
    return next((name for name in known if name.lower() not in ("c", "posix", "c.utf8", "c.utf-8")), "POSIX")


def files_of_kind(folder, *suffixes):
    return sorted(name for name in os.listdir(folder) if name.endswith(suffixes))


def digests(folder):
    found = {}
    for name in files_of_kind(folder, ".deb"):
        with open(os.path.join(folder, name), "rb") as file:
            found[name] = hashlib.sha256(file.read()).hexdigest()
    return found


def api_server():
    """The program of tests/kube/apiserver; None: it cannot be built here, which has been said."""
    try:
        import apiserver  # pylint: disable=import-outside-toplevel
        return os.environ.get("KEK_APISERVER") or apiserver.build()
    except SystemExit:
        if os.environ.get("KEKD_REQUIRE_KUBE") == "1":
            raise AssertionError("KEKD_REQUIRE_KUBE=1, and there is no API server") from None
        return None


class Deb(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        made.unpacked_tarball(WORK)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            one = pool.submit(build, WORK + "/one", [], 0o022, LC_ALL="C.UTF-8", TZ="UTC")
            two = pool.submit(build, WORK + "/another/and/longer", ["-b"], 0o077, LC_ALL=other_locale(), TZ="Pacific/Chatham",
                              HOME="/nonexistent", USER="somebody")
            cls.one, cls.two = one.result(), two.result()

    def package(self, name, folder=None):
        return os.path.join(folder or self.one, next(file for file in files_of_kind(self.one, ".deb")
                                                     if file.startswith(name + "_")))

    def contents(self, name):
        folder = tempfile.mkdtemp(dir=WORK)
        made.run("dpkg-deb", "-x", self.package(name), folder)
        return folder

    def test_it_is_of_the_version_that_kekd_is(self):
        control = made.run("dpkg-deb", "-f", self.package("kekd"), "Version")
        self.assertEqual(control.strip(), made.version())

    def test_two_builds_are_the_same_bytes(self):
        found = digests(self.one)
        self.assertEqual(len(found), 4, found)  # two, and their debug symbols
        self.assertEqual(found, digests(self.two))

    def test_lintian_has_nothing_to_say(self):
        changes, = files_of_kind(self.one, ".changes")
        said = made.run("lintian", "--allow-root", os.path.join(self.one, changes))
        self.assertEqual(said, "")

    def test_what_make_install_installs_is_in_them(self):
        want = made.installed(tempfile.mkdtemp(dir=WORK), *made.PREFIX, "systemdsystemunitdir=/lib/systemd/system")
        have = set()
        for name in ("kekd", "kekd-bridge"):
            have |= {path[:-3] if path.startswith("/usr/share/man/") else path for path in made.files(self.contents(name))
                     if not path.endswith(("/changelog.gz", "/changelog.Debian.gz", "/copyright"))}
        want.remove("/usr/share/doc/kekd/examples/kekd.logrotate")
        want.add("/etc/logrotate.d/kekd")
        want.remove("/usr/share/zsh/site-functions/_kekctl")
        want.add("/usr/share/zsh/vendor-completions/_kekctl")
        self.assertEqual(have, want)

    def test_pages_name_each_other_where_they_lie(self):
        folder = self.contents("kekd") + "/usr/share/doc/kekd/"
        pages, broken = [name for name in os.listdir(folder) if name.endswith(".md")], []
        for page in pages:
            with open(folder + page, encoding="utf-8") as file:
                links = re.findall(r"\]\(([^)#: ]+)[)#]", file.read())
            broken += ["%s: %s" % (page, link) for link in links if not os.path.exists(folder + link)]
        self.assertGreater(len(pages), 10)
        self.assertEqual(broken, [])

    def test_who_is_in_the_way_of_a_call_has_no_part_of_libcurl(self):
        front, bridge = self.contents("kekd"), self.contents("kekd-bridge")
        of = {name: any(library.startswith("libcurl") for library in made.needed(folder + path)) for name, folder, path in (
            ("kekd", front, "/usr/sbin/kekd"), ("kekd-pkcs11", front, "/usr/libexec/kekd/kekd-pkcs11"),
            ("kekctl", front, "/usr/bin/kekctl"), ("kekd-transit", bridge, "/usr/libexec/kekd/kekd-transit"),
            ("kekd-gcpkms", bridge, "/usr/libexec/kekd/kekd-gcpkms"))}
        self.assertEqual(of, {"kekd": False, "kekd-pkcs11": False, "kekctl": True, "kekd-transit": True, "kekd-gcpkms": True})

    def next_version(self, name, folder):
        """The same package as a later version, with another conffile."""
        tree = os.path.join(folder, name)
        made.run("dpkg-deb", "-R", self.package(name), tree)
        control = read(tree, "DEBIAN/control").replace(made.version(), made.version() + "+1")
        write(control, tree, "DEBIAN/control")
        conffile = os.path.join(tree, "etc/logrotate.d/kekd")
        if os.path.exists(conffile):
            write(read(conffile) + "# of the second version\n", conffile)
        made.run("dpkg-deb", "-Znone", "--root-owner-group", "-b", tree, folder)
        shutil.rmtree(tree)

    def test_installed_upgraded_removed_and_purged(self):
        reason = why_not("dpkg", "systemd-analyze", "pgrep", *start_page.PROGRAMS)
        if reason is not None:
            print(f"SKIP: {reason}: the packages were NOT installed anywhere")
            self.skipTest(reason)
        root = Root()
        self.addCleanup(root.remove)
        start_page.prepare(root)
        for folder in ("first", "second"):
            os.makedirs(os.path.join(root.upper, "steps/debs", folder))
        for name in ("kekd", "kekd-bridge"):
            shutil.copy(self.package(name), os.path.join(root.upper, "steps/debs/first"))
            self.next_version(name, os.path.join(root.upper, "steps/debs/second"))
        status = root.run(BEFORE + FRESH + start_page.script(by_package=True) + UPGRADE + NOT_NOW + REMOVED)
        self.assertEqual(status, "0", root.said())

    def test_the_first_hour(self):
        reason = why_not("dpkg", "etcd", "etcdctl", "curl", *start_page.PROGRAMS)
        server = api_server() if reason is None else None
        if server is None:
            print(f"SKIP: {reason or 'there is no API server'}: docs/first-hour.md was NOT followed")
            self.skipTest("docs/first-hour.md was not followed")
        root = Root()
        self.addCleanup(root.remove)
        start_page.prepare(root)
        for folder in ("debs", "bin"):
            os.makedirs(os.path.join(root.upper, "steps", folder))
        for name in ("kekd", "kekd-bridge"):
            shutil.copy(self.package(name), os.path.join(root.upper, "steps/debs"))
        shutil.copy(server, os.path.join(root.upper, "steps/bin/kube-apiserver"))
        for file in ("tests/packages/first_hour.py", "docs/first-hour.md"):
            shutil.copy(os.path.join(made.SOURCE, file), os.path.join(root.upper, "steps"))
        certs.Authority(os.path.join(root.upper, "steps/pki"), "Kubernetes CA").issue("/CN=server", "IP:127.0.0.1", name="server")
        status = root.run("exec /usr/bin/python3 -B /steps/first_hour.py\n")
        self.assertEqual(status, "0", root.said())


if __name__ == "__main__":
    made.skip_without("dpkg-buildpackage", "dh", "lintian", what="the Debian packages")
    with tempfile.TemporaryDirectory(prefix="kek-deb-") as WORK:
        os.chmod(WORK, 0o755)
        unittest.main(verbosity=2)
