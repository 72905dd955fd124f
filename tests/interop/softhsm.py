"""Throw-away SoftHSM tokens: one of its own, a twin that holds the same keys, and a witness of all calls."""

import contextlib
import glob
import os
import re
import shutil
import signal
import subprocess
import time
import unittest

from proc import processes, wait_for

TOP_SRC = os.environ.get("abs_top_srcdir") or os.path.dirname(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SOFTHSM = "/usr/lib/softhsm/libsofthsm2.so"


def spy_module():
    """OpenSC's pkcs11-spy, which logs every PKCS#11 call: our independent witness."""
    for folder in ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64",
                   "/usr/lib"):
        for path in (folder + "/pkcs11-spy.so", folder + "/pkcs11/pkcs11-spy.so"):
            if os.path.exists(path):
                return path
    raise unittest.SkipTest("SKIP: pkcs11-spy.so (package opensc) is missing: PKCS#11 calls are not counted")


class Token:
    """A throw-away SoftHSM token; folder() / "pin" holds its PIN."""

    def __init__(self, folder, label="kek-test"):
        made = subprocess.run(
            [os.path.join(TOP_SRC, "softhsm-conf", "make-token.sh"), folder, label],
            check=True, stdout=subprocess.PIPE, text=True)
        lines = dict(line.split("=", 1) for line in made.stdout.splitlines())
        self.folder = folder
        self.label = label
        self.conf = lines["SOFTHSM2_CONF"]
        self.uri = lines["URI"]
        self.pin_file = os.path.join(folder, "pin")
        with open(self.pin_file, encoding="ascii") as file:
            self.pin = file.read().strip()

    def tool(self, *arguments, **options):
        """pkcs11-tool, logged in."""
        return subprocess.run(
            ["pkcs11-tool", "--module", SOFTHSM, "--token-label", self.label,
             "--login", "--pin", self.pin, *arguments],
            check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=dict(os.environ, SOFTHSM2_CONF=self.conf), **options).stdout

    @contextlib.contextmanager
    def away(self):
        """The token is gone while this lasts, as if unplugged."""
        self.unplug()
        try:
            yield
        finally:
            self.plug()

    def multiply_key(self, copies):
        """Copies the file of the only key on the token. Who has the token open does not see the copies."""
        (path,) = [path for path in glob.glob(self.folder + "/tokens/*/*.object")
                   if not path.endswith("/token.object")]
        for i in range(copies):
            name = "%s/%08x-c0c0-c0c0-c0c0-c0c0c0c0c0c0." % (os.path.dirname(path), i)
            shutil.copy2(path, name + "object")
            shutil.copy2(path[:-len("object")] + "lock", name + "lock")

    def kill(self, pids):
        """Kills workers at any moment.  SoftHSM writes its token's file in place at every login: one that
        a kill has torn is put right again, as a device would never have torn it."""
        (path,) = glob.glob(self.folder + "/tokens/*/token.object")
        with open(path, "rb") as file:
            content = file.read()
        whole = getattr(self, "whole", content)
        self.whole = content if len(content) >= len(whole) else whole
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not [p for p in processes() if p.pid in pids and p.state != "Z"], "their end")
        if os.path.getsize(path) < len(self.whole):
            time.sleep(0.05)  # another process may be writing it
        if os.path.getsize(path) < len(self.whole):
            with open(path + ".whole", "wb") as file:
                file.write(self.whole)
            os.rename(path + ".whole", path)

    def unplug(self):
        os.rename(self.folder + "/tokens", self.folder + "/tokens.away")
        os.mkdir(self.folder + "/tokens", 0o755)

    def plug(self):
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.folder + "/tokens")
            os.rename(self.folder + "/tokens.away", self.folder + "/tokens")


class Twin(Token):
    """The same keys on a second device: a copy of the token's objects under a serial of its own, with
    a configuration, a PIN file and a store of its own."""

    def __init__(self, token, folder):
        shutil.copytree(token.folder, folder)
        self.folder, self.label, self.pin = folder, token.label, token.pin
        self.conf = os.path.join(folder, os.path.basename(token.conf))
        with open(token.conf, encoding="utf-8") as file:
            text = file.read()
        with open(self.conf, "w", encoding="utf-8") as file:
            file.write(text.replace(token.folder, folder))
        self.pin_file = os.path.join(folder, "pin")
        self.uri = token.uri.replace(token.folder, folder)
        self.renumber()

    def renumber(self):
        """Two devices never have one serial number: SoftHSM keeps it as 16 hex digits."""
        for path in glob.glob(self.folder + "/tokens/*/token.object"):
            with open(path, "rb") as file:
                content = file.read()
            serial = os.path.dirname(path).replace("-", "")[-16:].encode()
            assert content.count(serial) == 1, "SoftHSM keeps its serial elsewhere"
            with open(path, "wb") as file:
                file.write(content.replace(serial, os.urandom(8).hex().encode()))

    def replicate(self, token):
        """Brings over what the other device has by now, as a vendor's replication does."""
        (source,), (target,) = (glob.glob(store.folder + "/tokens/*") for store in (token, self))
        for name in sorted(os.listdir(source)):  # "generation", which says that there is news, after
            if not name.startswith("token."):    # no object can be missing any more
                shutil.copy2(os.path.join(source, name), os.path.join(target, name + ".new"))
                os.rename(os.path.join(target, name + ".new"), os.path.join(target, name))


class Spy:
    """The calls that a provider's module saw, counted in pkcs11-spy's own log."""

    def __init__(self, path):
        self.path = path

    def count(self, function):
        pattern = re.compile(rb"^\d+: %s$" % function.encode(), re.MULTILINE)
        try:
            with open(self.path, "rb") as file:
                return len(pattern.findall(file.read()))
        except FileNotFoundError:
            return 0

    def size(self):
        return os.path.getsize(self.path)

    def text(self):
        with open(self.path, "rb") as file:
            return file.read()
