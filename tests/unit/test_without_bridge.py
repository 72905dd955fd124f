#!/usr/bin/env python3
"""./configure --disable-bridge: no worker for services, no code of theirs, and a configuration that says why."""

import os
import re
import subprocess
import sys
import tempfile

SOURCE = os.path.realpath(os.environ["abs_top_srcdir"])
LIST = "include Makefile\nlist:\n\t@echo $(pkglibexec_PROGRAMS) $(noinst_LIBRARIES) $(TESTS)\n"


def run(folder, *command, given=None):
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    done = subprocess.run(command, cwd=folder, env=environment, input=given, check=False, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        sys.exit("%s: exit %d\n%s" % (command, done.returncode, done.stdout))
    return done.stdout


def is_of_services(name):
    words = set(re.split("[^a-z0-9]", os.path.basename(name)))
    return "bridge" in words and "without" not in words or words & {"transit", "gcpkms"} and not name.endswith(".py")


def main():
    with tempfile.TemporaryDirectory(prefix="kek-bridge-") as folder:
        run(folder, os.path.join(SOURCE, "configure"), "-q", "--disable-bridge", "CFLAGS=-O0")
        built = run(folder, "make", "-s", "-f", "-", "list", given=LIST).split()
        assert "kekd-pkcs11" in built and "libkek-config.a" in built, built
        assert not [name for name in built if is_of_services(name)], built
        # It has the words of both builds, and compares this one's.
        run(folder, "make", "-s", "proto/provider.pb-c.h")
        run(folder, "make", "-s", "-j2", "tests/unit/test_config")
        said = run(folder, os.path.join("tests", "unit", "test_config"))
        assert "100%" in said, said
        with open(os.path.join(folder, "libkek-config.a"), "rb") as file:
            assert b"built without transit and gcpkms: --disable-bridge" in file.read()


if __name__ == "__main__":
    main()
