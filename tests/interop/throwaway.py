"""For commands of kekctl that make throw-away keys: a real SoftHSM behind the fault module, with one key of somebody else's, which
nothing of this may touch."""

import glob
import json
import os
import signal
import subprocess
import tempfile
import unittest

import fault as faults
import p11
import rig as rigs
from softhsm import Token

# What ends a run, which destroys its keys first.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def object_files(token):
    """{path: the bytes} of each object on it."""
    found = {}
    for path in glob.glob(token.folder + "/tokens/*/*.object"):
        if not path.endswith("/token.object"):
            with open(path, "rb") as file:
                found[path] = file.read()
    return found


class Case(unittest.TestCase):
    """A test of this file starts `command`."""

    command = None

    def setUp(self):
        # pylint: disable=consider-using-with
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.token = Token(self.path("token"))
        self.fault = faults.Fault(self.path("fault"))
        self.addCleanup(self.fault.close)
        p11.plant(self.token, "ring.v1", bytes(range(16)))
        self.before = self.objects()
        self.assertEqual(len(self.before), 1)

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def objects(self):
        return object_files(self.token)

    def new(self):
        return [path for path in self.objects() if path not in self.before]

    def trials(self, state="state"):
        """(outcome, error, code) of each line `trial` of the audit log."""
        with open(self.path(state + ".jsonl"), encoding="utf-8") as file:
            return [(line["outcome"], line.get("error", ""), line.get("code")) for line in map(json.loads, file)
                    if line["event"] == "trial"]

    def start(self, *arguments, state="state", provider=None, token=None, **options):
        """`provider`: of the configuration's entry, in place of what it has."""
        config = self.path("kekd.yaml")
        token = token or self.token
        entry = {"name": "a", "type": "pkcs11", "uri": token.uri.replace(p11.SOFTHSM, faults.module()),
                 "env": {"SOFTHSM2_CONF": token.conf, "KEK_FAULT_CONTROL": self.fault.path}, **(provider or {})}
        with open(config + ".new", "w", encoding="ascii") as file:
            json.dump({"listen": "unix://" + self.path("s"), "keyring": "ring", "state_dir": self.path(state),
                       "audit": {"file": self.path(state + ".jsonl")}, "log": {"level": "error"}, "providers": [entry]}, file)
        os.replace(config + ".new", config)  # another run may be reading it
        # pylint: disable=consider-using-with
        return subprocess.Popen([rigs.program("kekctl"), "--config", config, self.command, *arguments],
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
