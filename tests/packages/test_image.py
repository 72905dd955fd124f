#!/usr/bin/env python3
"""The container image, as far as it can be looked at without a container engine: its root is put together by the script that
the Containerfile runs, with SoftHSM as the vendor's module, and a whole kekd serves in it, by a number that is not root's, on
a root that is read-only, in namespaces of its own. What the Containerfile and the static pod name is there.
"""
import os
import re
import socket
import subprocess
import sys
import tempfile
import unittest

import made

sys.path.insert(0, os.path.join(made.SOURCE, "tests", "interop"))
import proc  # noqa: E402
import start_page  # noqa: E402
from clean_root import read, write  # noqa: E402

CONTAINERFILE = read(made.SOURCE, "packages/image/Containerfile")
POD = read(made.SOURCE, "deploy/static-pod.yaml")
MODULE = "/usr/lib/softhsm/libsofthsm2.so"
NAMES = {"kekd", "kekctl", "kekd-as", "kekd-gcpkms", "kekd-pkcs11", "kekd-transit"}
NUMBER = 65532

# $1: the image's root. The folders that the pod mounts from the node are $1.node's; nothing else can be written.
ENTER = r"""
set -eu
mount --bind "$1" "$1"
for folder in etc/kekd run/kekd var/lib/kekd var/log/kekd; do mount --bind "$1.node/$folder" "$1/$folder"; done
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
mount -o remount,bind,ro "$1"
root=$1
shift
exec chroot --userspec=65532:65532 "$root" "$@"
"""

CONFIGURATION = """listen: unix:///run/kekd/kms.sock
keyring: k8s-prod
providers:
  - name: hsm-a
    type: pkcs11
    uri: "pkcs11:token=kek-a?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/kekd/hsm-a.pin"
    env: {SOFTHSM2_CONF: /etc/kekd/softhsm2.conf}
metrics: 127.0.0.1:%d
audit: {file: /var/log/kekd/audit.jsonl}
"""


def instructions(stage):
    """(word, rest) of a stage's instructions, 0 the first."""
    text = re.sub(r"\\\n\s*", " ", re.sub(r"^#.*\n", "", CONTAINERFILE, flags=re.MULTILINE))
    stages = re.split(r"^(?=FROM )", text, flags=re.MULTILINE)[1:]
    return [tuple(line.split(None, 1)) for line in stages[stage].splitlines() if line.strip()]


class Image(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.root = WORK + "/root"
        cls.programs = {path for path in made.files(WORK + "/staged")
                        if os.path.basename(path) in NAMES and "/share/" not in path}
        cls.at = {os.path.basename(path): path for path in cls.programs}

    def inside(self, *command, **variables):
        return made.run("chroot", self.root, *command, **variables)

    def test_each_program_and_library_is_there_for_somebody(self):
        loader = next(path for path in made.files(self.root) if os.path.basename(path).startswith("ld-linux"))
        modules = {path for path in made.files(self.root) if "/ossl-modules/" in path}
        self.assertTrue(modules)
        named = {loader}
        for program in self.programs | modules | {MODULE}:
            listed = self.inside(loader, "--list", program)
            self.assertNotIn("not found", listed)
            named |= set(re.findall(r"=> (\S+) \(", listed))
        have = {path for path in made.files(self.root) if not path.startswith("/etc/")}
        self.assertEqual(have, self.programs | modules | {MODULE} | named)

    def test_what_its_programs_name_is_what_this_system_gives_them(self):
        for program in self.programs:
            said = made.run("ldd", WORK + "/staged" + program)
            for library in re.findall(r"=> (\S+) \(", said):
                self.assertTrue(os.path.exists(self.root + library), f"{program} needs {library}")

    def test_there_is_no_shell_and_nobody_elses_program(self):
        runnable = {path for path in made.files(self.root) if os.access(self.root + path, os.X_OK) and ".so" not in path}
        self.assertEqual(runnable, self.programs)
        self.assertEqual(set(self.at), NAMES)

    def test_who_is_who_and_whom_to_trust(self):
        self.assertIn(f"kekd:x:{NUMBER}:{NUMBER}:", read(self.root, "etc/passwd"))
        self.assertIn("BEGIN CERTIFICATE", read(self.root, "etc/ssl/certs/ca-certificates.crt"))

    def test_the_programs_run(self):
        self.assertIn(made.version(), self.inside(self.at["kekd"], "--version"))
        write("listen: tcp://1\n", self.root, "etc/kekd/bad.yaml")
        self.addCleanup(os.remove, self.root + "/etc/kekd/bad.yaml")
        with self.assertRaisesRegex(AssertionError, r"exit 2\n.*bad\.yaml:1:"):
            self.inside(self.at["kekctl"], "--config", "/etc/kekd/bad.yaml", "config", "check")
        for worker in ("kekd-gcpkms", "kekd-transit", "kekd-pkcs11"):
            with self.assertRaisesRegex(AssertionError, r"exit [12]\n"):    # not 127: nothing that it needs is missing
                self.inside(self.at[worker])


class Pod(unittest.TestCase):
    def test_the_containerfile_copies_what_is_there(self):
        copied = [rest.split() for word, rest in instructions(0) if word == "COPY"]
        self.assertGreater(len(copied), 1)
        for words in copied:
            for source in words[:-1]:
                self.assertTrue(os.path.exists(os.path.join(made.SOURCE, source)), source)
        used = set(re.findall(r"\S+/\S+\.sh\b", CONTAINERFILE))
        self.assertEqual(used, {".ci/debian.sh", "packages/image/assemble.sh"})
        for script in used:
            self.assertTrue(os.path.exists(os.path.join(made.SOURCE, script)), script)

    def test_its_last_stage_is_the_assembled_root_and_nothing_else(self):
        self.assertEqual([word for word, _ in instructions(1)], ["FROM", "COPY", "USER", "ENTRYPOINT", "CMD"])
        self.assertEqual(dict(instructions(1))["FROM"], "scratch")
        self.assertEqual(dict(instructions(1))["COPY"], "--from=build /image /")
        self.assertEqual(dict(instructions(1))["USER"], f"{NUMBER}:{NUMBER}")

    def test_the_static_pod_is_the_images_user_and_mounts_what_it_writes(self):
        self.assertIn(f"runAsUser: {NUMBER}\n", POD)
        self.assertIn("runAsNonRoot: true\n", POD)
        self.assertIn(f"image: kekd:{made.version()}\n", POD)
        mounts = dict(re.findall(r"name: (\w+), mountPath: ([^,}]+)", POD))
        paths = dict(re.findall(r"name: (\w+)(?: #.*)?\n +hostPath: \{path: ([^,}]+)", POD))
        self.assertEqual(mounts, paths)
        self.assertEqual(set(paths.values()), {"/etc/kekd", "/run/kekd", "/var/lib/kekd", "/var/log/kekd"})

    @unittest.skipIf(os.geteuid() != 0, "SKIP: no kekd was run in the image: it needs root")
    def test_a_kekd_serves_in_it(self):
        root = WORK + "/root"
        node = root + ".node"
        for folder in ("etc/kekd", "run/kekd", "var/lib/kekd/tokens", "var/log/kekd"):
            os.makedirs(os.path.join(node, folder))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            write(CONFIGURATION % free.getsockname()[1], node, "etc/kekd/kekd.yaml")
        write("1234\n", node, "etc/kekd/hsm-a.pin")
        os.chmod(node + "/etc/kekd/hsm-a.pin", 0o400)
        write(f"directories.tokendir = {node}/var/lib/kekd/tokens\n", WORK, "softhsm2.conf")
        write("directories.tokendir = /var/lib/kekd/tokens\n", node, "etc/kekd/softhsm2.conf")
        made.run("softhsm2-util", "--init-token", "--free", "--label", "kek-a", "--so-pin", "5678", "--pin", "1234",
                 SOFTHSM2_CONF=WORK + "/softhsm2.conf")
        made.run("chown", "-R", f"{NUMBER}:{NUMBER}", node)
        kekd, kekctl = (made.run("find", root, "-name", name, "-type", "f").strip()[len(root):] for name in ("kekd", "kekctl"))
        enter = ["unshare", "--mount", "--pid", "--fork", "sh", "-c", ENTER, "sh", root]
        made.run(*enter, kekctl, "config", "check")
        made.run(*enter, kekctl, "key", "generate")
        with open(WORK + "/log", "wb") as log:
            server = subprocess.Popen([*enter, kekd, "--config", "/etc/kekd/kekd.yaml"], stdin=subprocess.DEVNULL,
                                    stdout=log, stderr=log)
        try:
            self.sealed_and_opened([*enter, kekctl, "kms"])
        except AssertionError as error:
            raise AssertionError(f"{error}\n{read(WORK, 'log')}") from error
        finally:
            # The first in there, and all with it. --kill-child does not reach one that became another user.
            for process in proc.processes():
                if process.parent == server.pid:
                    proc.kill(process.pid)
            server.wait()

    def sealed_and_opened(self, call):
        def sealed():
            done = subprocess.run([*call, "encrypt"], input=b"secret", capture_output=True, check=False)
            return done.stdout if done.returncode == 0 else None
        ciphertext = proc.wait_for(sealed, "an Encrypt that succeeds")
        self.assertNotIn(b"secret", ciphertext)
        opened = subprocess.run([*call, "decrypt"], input=ciphertext, capture_output=True, check=False)
        self.assertEqual((opened.returncode, opened.stdout), (0, b"secret"), opened.stderr)


if __name__ == "__main__":
    made.skip_without("ldd", "objdump", "chroot", "unshare", "softhsm2-util", what="the parts of the image")
    with tempfile.TemporaryDirectory(prefix="kek-image-") as WORK:
        os.chmod(WORK, 0o755)
        made.installed(WORK + "/staged")
        made.run("sh", made.SOURCE + "/packages/image/assemble.sh", WORK + "/staged", WORK + "/root", MODULE)
        unittest.main(verbosity=2)
