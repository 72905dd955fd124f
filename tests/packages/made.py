"""What packages are made of here: the folder that make dist packs, builds out of it, and what make install puts where."""
import os
import shutil
import subprocess
import sys

BUILD = os.environ["abs_top_builddir"]
SOURCE = os.environ["abs_top_srcdir"]
SKIPPED = 77
PREFIX = ("prefix=/usr", "sysconfdir=/etc", "localstatedir=/var", "libexecdir=/usr/libexec", "mandir=/usr/share/man",
          "docdir=/usr/share/doc/kekd")     # of packages, for make
NOT_OURS = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "DESTDIR", "CFLAGS", "CPPFLAGS", "LDFLAGS", "CC")


def run(*command, cwd=None, umask=0o022, **variables):
    """Its output, both streams. Fails with all of it."""
    env = {name: value for name, value in os.environ.items() if name not in NOT_OURS}
    done = subprocess.run(command, cwd=cwd, env={**env, **variables}, stdin=subprocess.DEVNULL, text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=lambda: os.umask(umask))
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout[-6000:]}")
    return done.stdout


def version():
    return run(os.path.join(BUILD, "kekd"), "--version").split()[-1]


def unpacked_tarball(folder):
    """What make dist would pack, in a folder kekd-VERSION."""
    tree = os.path.join(folder, "kekd-" + version())
    run("make", "-s", "-C", BUILD, "distdir", "distdir=" + tree)
    return tree


def installed(folder, *arguments):
    """The paths that make install makes in an empty folder."""
    run("make", "-s", "-C", BUILD, "install", "DESTDIR=" + folder, *arguments)
    return files(folder)


def files(folder):
    return {os.path.join(path, name)[len(folder):] for path, _, names in os.walk(folder) for name in names}


def needed(program):
    """The libraries that a program names."""
    lines = run("objdump", "-p", program).splitlines()
    return {line.split()[1] for line in lines if line.strip().startswith("NEEDED")}


def skip_without(*programs, what):
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        print(f"SKIP: {', '.join(missing)} is missing: {what} were NOT built")
        sys.exit(SKIPPED)
