"""What the tests of the cloud's workers take from npm and PyPI: by name and version, checked by package-lock.json.

A folder is made once for each set of packages: below KEK_CLOUD_PARTS, which check.sh shares between its builds, or
else in the build tree.  Without node, npm or their packages the tests skip, and say so loudly; with
KEKD_REQUIRE_CLOUD=1 in the environment that is a failure.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.realpath(__file__))
TOP_BUILD = os.environ.get("abs_top_builddir") or os.getcwd()
SKIP = 77  # what automake takes as "skipped"
PATIENCE = 300.0


def skip(what):
    print("SKIP: %s: the tests against Google's own definitions did not run (%s)"
          % (what, os.path.basename(sys.argv[0])), flush=True)
    sys.exit(1 if os.environ.get("KEKD_REQUIRE_CLOUD") == "1" else SKIP)


def run(*command, cwd=None):
    """None, or how it failed."""
    try:
        done = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None if done.returncode == 0 else done.stdout.decode(errors="replace").strip()[-300:]


def made(name, *inputs, make):
    """The folder of this name and these inputs. make(folder) fills it, once; what it says is why it could not."""
    digest = hashlib.sha256()
    for path in inputs:
        with open(path, "rb") as file:
            digest.update(file.read())
    above = os.environ.get("KEK_CLOUD_PARTS") or os.path.join(TOP_BUILD, "tests", "cloud-parts")
    folder = os.path.join(above, "%s-%s" % (name, digest.hexdigest()[:16]))
    os.makedirs(above, exist_ok=True)
    with open(folder + ".lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.isdir(folder):
            shutil.rmtree(folder + ".new", ignore_errors=True)
            os.mkdir(folder + ".new")
            failed = make(folder + ".new")
            if failed is not None:
                shutil.rmtree(folder + ".new", ignore_errors=True)
                skip("%s cannot be had: %s" % (name, failed))
            os.rename(folder + ".new", folder)
    return folder


def node():
    """The folder whose node_modules has Google's definitions."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        skip("node and npm are not found")
    inputs = [os.path.join(HERE, name) for name in ("package.json", "package-lock.json")]

    def make(folder):
        for path in inputs:
            shutil.copy(path, folder)
        return run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=folder)
    return made("node", *inputs, make=make)


def python():
    """An interpreter that has Google's Python client."""
    wanted = os.path.join(HERE, "requirements.txt")

    def make(folder):
        # Not moved after it is made: its scripts have its path, its interpreter does not.
        failed = run(sys.executable, "-m", "venv", "--without-pip", folder)
        pip = shutil.which("pip3") or shutil.which("pip")
        if failed is not None or pip is None:
            return failed or "pip is not found"
        return run(pip, "--python", folder + "/bin/python", "install", "--quiet", "--disable-pip-version-check",
                   "-r", wanted)
    return os.path.join(made("python", wanted, make=make), "bin", "python")
