#!/usr/bin/env python3
"""The order of the rooms, checked.

* An include points to the left only: a room sees its own folder, include/kek/ of the rooms to its
  left, and nothing else of the tree. Some libraries belong to one room.
* Every header compiles alone, and twice.
* The calls that the style bans do not occur in src/.

Each check is first shown a tree that breaks its rule.
"""
import os
import re
import shlex
import subprocess
import tempfile
import unittest

SOURCE = os.path.realpath(os.environ["abs_top_srcdir"])
BUILD = os.environ["abs_top_builddir"]

FRONT = ["base", "envelope", "config", "login", "pool", "keyring", "roots", "datakey", "kms", "grpc", "ops"]
# What each room may see: the rooms to its left. Neighbours at one height do not see each other.
LEFT = {
    "base": [],
    "envelope": ["base"],
    "config": ["base"],
    "login": ["base", "config"],
    "pool": FRONT[:4],
    "keyring": FRONT[:5],
    "roots": FRONT[:6],
    "datakey": FRONT[:7],
    "kms": FRONT[:8],
    "grpc": FRONT[:9],
    "ops": FRONT[:9],
    "kekd": FRONT,
    "kekctl": FRONT + ["kube", "remote", "etcd", "kubeapi"],
    "kube": ["base", "envelope"],
    "remote": ["base"],
    "etcd": ["base", "remote"],
    "kubeapi": ["base", "remote"],
    # The worker's side.
    "worker": ["base"],
    "pkcs11": ["base", "worker"],
    "bridge": ["base", "remote", "worker"],
    "transit": ["base", "remote", "worker", "bridge"],
    "gcpkms": ["base", "remote", "worker", "bridge"],
}
# Headers that neither have the name of a room nor of a source in one.
HEADER_ROOM = {"auto.h": "base", "rpc.h": "base", "wire.h": "base", "provider.h": "worker",
               "provider.pb-c.h": "base", "kms_v2.pb-c.h": "kms", "kms_v1beta1.pb-c.h": "kms"}
LIBRARY_ROOM = {"p11-kit/": "pkcs11", "pkcs11.h": "pkcs11", "curl/": "remote", "yaml.h": "base"}

BANNED = ("strcpy", "strcat", "sprintf", "strtok", "gets", "atoi", "strtol", "sscanf", "alloca",
          "system", "popen")
BANNED_CALL = re.compile(r"(?<![\w.>])(" + "|".join(BANNED) + r")\s*\(")
SECRET_MEMCMP = re.compile(r"\bmemcmp\s*\([^;]*kek_secret")
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.MULTILINE)
NOT_CODE = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def sources(folder):
    for where, _, names in os.walk(folder):
        for name in sorted(names):
            if name.endswith((".c", ".h")):
                yield os.path.join(where, name)


def without(text, keep_strings):
    """The code, with each comment (and string) replaced by its line breaks."""
    def blank(match):
        token = match.group(0)
        if keep_strings and token[0] == '"':
            return token
        return "\n" * token.count("\n") + " "
    return NOT_CODE.sub(blank, text)


def room_of_header(root, name):
    """kek/x.h is the face of the room x, or of src/ROOM/x.c."""
    stem = name[:-len(".h")]
    if name in HEADER_ROOM or stem in LEFT:
        return HEADER_ROOM.get(name, stem)
    rooms = [room for room in LEFT if os.path.exists(os.path.join(root, "src", room, stem + ".c"))]
    return rooms[0] if len(rooms) == 1 else stem


def include_problem(root, room, path, quote, name):
    """What is wrong with one include of a file of `room`, or None."""
    for prefix, owner in LIBRARY_ROOM.items():
        if name.startswith(prefix) and room != owner:
            return f"<{name}> belongs to {owner} alone"
    if name.startswith("kek/") or name.endswith(".pb-c.h"):
        target = room_of_header(root, os.path.basename(name))
        if target not in LEFT:
            return f"{name} belongs to no room that this test knows"
        if target != room and target not in LEFT[room]:
            return f"{room} includes {name}, but {target} is not to its left"
        return None
    if quote == '"':
        own = os.path.join(root, "src", room)
        places = [os.path.join(os.path.dirname(path), name), os.path.join(root, "src", name)]
        found = [os.path.normpath(place) for place in places if os.path.exists(place)]
        if not found:
            return f'"{name}" is not in src/ (library headers are included with <>)'
        if not found[0].startswith(own + os.sep):
            return f'"{name}" is outside its own folder'
    return None


def layer_problems(root):
    files = []
    for path in sources(os.path.join(root, "include", "kek")):
        files.append((room_of_header(root, os.path.basename(path)), path))
    for path in sources(os.path.join(root, "src")):
        files.append((os.path.relpath(path, os.path.join(root, "src")).split(os.sep)[0], path))
    problems = []
    for room, path in files:
        where = os.path.relpath(path, root)
        if room not in LEFT:
            problems.append(f"{where}: {room} is no room that this test knows")
            continue
        for quote, name in INCLUDE.findall(without(read(path), keep_strings=True)):
            problem = include_problem(root, room, path, quote, name)
            if problem is not None:
                problems.append(f"{where}: {problem}")
    return problems


def banned_problems(root):
    problems = []
    for path in sources(os.path.join(root, "src")):
        where = os.path.relpath(path, root)
        code = without(read(path), keep_strings=False)
        for match in list(BANNED_CALL.finditer(code)) + list(SECRET_MEMCMP.finditer(code)):
            line = code.count("\n", 0, match.start()) + 1
            problems.append(f"{where}:{line}: {match.group(0)}...")
    return problems


def compile_problems(root):
    """Compiles each header as a source of its own that has nothing else in it."""
    command = shlex.split(read(os.path.join(BUILD, "tests", "compile-command")))
    problems = []
    headers = [*sources(os.path.join(root, "include", "kek")), *sources(os.path.join(root, "src"))]
    for path in headers:
        if not path.endswith(".h"):
            continue
        done = subprocess.run([*command, "-I" + os.path.join(root, "src"), "-fsyntax-only",
                               "-x", "c", "-"], cwd=BUILD, text=True,
                              input=f'#include "{path}"\n#include "{path}"\n', capture_output=True,
                              check=False)
        if done.returncode != 0:
            problems.append(f"{os.path.relpath(path, root)}: {done.stderr}")
    return problems


class Tree(unittest.TestCase):
    def test_includes_point_left(self):
        self.assertEqual(layer_problems(SOURCE), [])

    def test_every_header_compiles_alone(self):
        self.assertEqual(compile_problems(SOURCE), [])

    def test_no_banned_call(self):
        self.assertEqual(banned_problems(SOURCE), [])


class Checks(unittest.TestCase):
    """That the checks fail where they must, and only there."""

    def tree(self, files):
        folder = tempfile.TemporaryDirectory(prefix="kek-layers-")
        self.addCleanup(folder.cleanup)
        for name, content in files.items():
            path = os.path.join(folder.name, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as out:
                out.write(content)
        return folder.name

    def check(self, problems, text):
        """There is exactly one, and it says so."""
        self.assertEqual(len(problems), 1, problems)
        self.assertIn(text, problems[0])

    def test_an_include_to_the_right_is_found(self):
        for name, content, text in (
                ("src/base/a.c", '#include "kek/envelope.h"', "envelope is not to its left"),
                ("src/envelope/a.c", ' # include <kek/config.h>', "config is not to its left"),
                ("src/envelope/a.c", '/* x */ \n#include "kek/pool.h"', "pool is not"),
                ("src/grpc/a.c", '#include "kek/ops.h"', "ops is not to its left"),
                ("src/pkcs11/a.c", '#include "kek/config.h"', "config is not to its left"),
                ("src/kms/a.c", '#include "kek/grpc.h"', "grpc is not to its left"),
                ("src/datakey/a.c", '#include <kms_v2.pb-c.h>', "kms is not to its left"),
                ("include/kek/secret.h", '#include "kek/kms.h"', "kms is not to its left"),
                ("include/kek/pool.h", '#include "kek/keyring.h"', "keyring is not"),
                ("src/kekd/a.c", '#include "kek/nothing.h"', "no room"),
                ("src/newroom/a.c", "", "no room"),
                ("src/kekd/a.c", "#include <p11-kit/pkcs11.h>", "pkcs11 alone"),
                ("src/pkcs11/a.c", "#include <curl/curl.h>", "remote alone"),
                ("src/kubeapi/a.c", "#include <yaml.h>", "base alone"),
                ("src/kekd/a.c", '#include "kek/remote.h"', "remote is not to its left"),
                ("src/kekd/a.c", '#include "kek/kube.h"', "kube is not to its left"),
                ("src/kms/a.c", '#include "../keyring/ring.h"', "outside its own folder"),
                ("src/kms/a.c", '#include "keyring/ring.h"', "outside its own folder"),
                ("include/kek/kms.h", '#include "keyring/ring.h"', "outside its own folder"),
                ("src/kms/a.c", '#include "kek/audit.h"', "ops is not to its left"),
                ("src/kms/a.c", '#include "ring.h"', "not in src/")):
            with self.subTest(name=name, content=content):
                tree = {"src/keyring/ring.h": "", "src/ops/audit.c": "", "src/base/secret.c": "",
                        name: content}
                self.check(layer_problems(self.tree(tree)), text)

    def test_an_include_to_the_left_is_not(self):
        self.assertEqual(layer_problems(self.tree({
            "src/kms/a.c": '#include "kek/kms.h"\n#include "b.h"\n#include "kek/datakey.h"\n'
                           '#include <stdio.h>\n#include <openssl/evp.h>\n#include "kms_v2.pb-c.h"\n'
                           '// #include "kek/grpc.h"\n/* \n#include "kek/grpc.h"\n*/\n',
            "src/kms/b.h": '#include "kms/c.h"',
            "src/kms/c.h": "",
            "src/pkcs11/a.c": '#include "kek/provider.h"\n#include <p11-kit/pkcs11.h>\n',
            "include/kek/pool.h": '#include "kek/config.h"\n'})), [])

    def test_a_banned_call_is_found(self):
        for call in BANNED:
            with self.subTest(call=call):
                self.check(banned_problems(self.tree(
                    {"src/base/a.c": f"int f(void)\n{{\n    return {call} (x);\n}}\n"})),
                    f"src/base/a.c:3: {call} (")
        self.check(banned_problems(self.tree(
            {"src/base/a.c": "x = memcmp(a,\n kek_secret_data(b), 3);"})), "memcmp")

    def test_its_name_elsewhere_is_not(self):
        self.assertEqual(banned_problems(self.tree(
            {"src/base/a.c": '/* gets(x) */ char *s = "system(1)"; // atoi(2)\n'
                             "snprintf(a, b); vsnprintf(c); ops->system(1); o.gets(2); my_gets(3);\n"
                             "memcmp(a, b, 3); kek_secret_data(c);"})), [])

    def test_a_header_that_needs_another_is_found(self):
        self.check(compile_problems(self.tree({"include/kek/a.h": "size_t f(void);\n"})), "size_t")
        self.check(compile_problems(self.tree({"src/kms/a.h": "struct s {int a;};\n"})), "redefin")
        self.assertEqual(compile_problems(self.tree(
            {"src/kms/a.h": '#ifndef A\n#define A\n#include "kek/bytes.h"\n'
                            "struct kek_bytes f(void);\n#endif\n"})), [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
