"""The fault module (tests/faults/README.md) under a rig's kekd, and the hand that tells it what to do."""

import os
import re
import struct
import time

import rig as rigs

PAGE = 4096
FUNCTIONS = 64  # entries of a name and a number
RULES = 16


def module():
    path = rigs.program("tests/faults/fault.so")
    if not os.path.exists(path):
        raise AssertionError("tests/faults/fault.so is not built (make check builds it)")
    return path


class Fault:
    """One control file. Every set of faults is a file of its own; what was counted in it stays known."""

    def __init__(self, path):
        self.path, self.files = path, []

    def put(self, *lines):
        """These faults from now on, in place of others. None: calls are only counted."""
        text = "".join(line + "\n" for line in lines).encode()
        assert len(text) < PAGE and len(lines) <= RULES
        fresh = self.path + ".next"
        with open(fresh, "wb") as file:
            file.write(text.ljust(2 * PAGE, b"\0"))
        self.files.append(open(fresh, "rb"))  # pylint: disable=consider-using-with
        os.rename(fresh, self.path)

    @staticmethod
    def page(file):
        return os.pread(file.fileno(), PAGE, PAGE)

    def counts(self, whole=False):
        """{function: calls} since the last put(), or since the first."""
        sums = {}
        for file in self.files if whole else self.files[-1:]:
            for name, calls in struct.iter_unpack("=24sQ", self.page(file)[:FUNCTIONS * 32]):
                name = name.rstrip(b"\0").decode()
                sums[name] = sums.get(name, 0) + calls
        return sums

    def done(self):
        """How often the faults in place were done, together."""
        page = self.page(self.files[-1])[FUNCTIONS * 32:FUNCTIONS * 32 + RULES * 16]
        return sum(done for _, done in struct.iter_unpack("=QQ", page))

    def close(self):
        for file in self.files:
            file.close()
        self.files = []


def quiet(*held):
    """Waits until no HSM has been asked for a second: what comes next is a call's."""
    def still():
        before = [fault.counts() for fault in held]
        time.sleep(1)
        return before == [fault.counts() for fault in held]
    rigs.wait_for(still, "the HSMs to have nothing to do")


def inject(node, which=0):
    """Puts a rig's provider on the fault module. Its kekd must be (re)started after it."""
    fault = Fault("%s/fault-%d" % (node.folder, which))
    entry = node.config["providers"][which]
    entry["uri"] = re.sub(r"module-path=[^&]*", "module-path=" + module(), entry["uri"])
    entry["env"]["KEK_FAULT_CONTROL"] = fault.path
    node.write()
    fault.put()
    return fault
