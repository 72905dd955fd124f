#!/usr/bin/env python3
"""Files of one room that call each other in a circle, found in the objects they were built into.

A file uses another if its object needs a symbol that the other's defines: a function or a variable.
Files that reach each other both ways cannot be read, tested or changed one at a time.

The check is first shown objects with a circle and without.
"""
import collections
import os
import shlex
import subprocess
import tempfile
import unittest

SOURCE = os.path.realpath(os.environ["abs_top_srcdir"])
BUILD = os.environ["abs_top_builddir"]

# Circles that still stand, by room: the files of each. What a circle shrinks to, or that it is gone,
# must be said here; nothing may be added.
STANDING = {
    # A worker's end, its calls' and its successor's beginning lead to one another.
    "pool": [{"answer", "outcome", "start", "supervise", "worker"}],
    # A session is opened for the ways that ask it what it can do.
    "pkcs11": [{"probe", "session", "wrap"}],
}


def file_of(path):
    """What an object was built from: automake puts the target's name and a hyphen before it."""
    return os.path.basename(path)[:-len(".o")].rsplit("-", 1)[-1]


def objects(folder, sources):
    """The object of each source in `sources` and its folders; one that outlived its source is not of the room."""
    found = {}
    for where, _, names in os.walk(folder):
        own = os.path.join(sources, os.path.relpath(where, folder))
        for name in sorted(names):
            stem = file_of(name)
            if name.endswith(".o") and os.path.exists(os.path.join(own, stem + ".c")):
                path = os.path.join(where, name)
                if stem not in found or os.path.getmtime(found[stem]) < os.path.getmtime(path):
                    found[stem] = path
    return found


def symbols(path):
    """(defined, needed) of an object."""
    done = subprocess.run(["nm", "-g", "-P", path], check=True, text=True, capture_output=True)
    defined, needed = set(), set()
    for line in done.stdout.splitlines():
        name, kind = line.split()[:2]
        (needed if kind in "Uvw" else defined).add(name)
    return defined, needed


def uses(found):
    """{file: {file that it needs: the symbols}}"""
    tables = {stem: symbols(path) for stem, path in found.items()}
    home = {name: stem for stem, (defined, _) in tables.items() for name in defined}
    edges = {stem: collections.defaultdict(set) for stem in tables}
    for stem, (_, needed) in tables.items():
        for name in needed:
            if home.get(name, stem) != stem:
                edges[stem][home[name]].add(name)
    return edges


def reached(edges, start):
    seen, left = set(), [start]
    while left:
        for other in edges[left.pop()]:
            if other not in seen:
                seen.add(other)
                left.append(other)
    return seen


def circles(edges):
    """The sets of files that reach each other both ways, of two or more."""
    reach = {stem: reached(edges, stem) for stem in edges}
    found = []
    for stem in sorted(edges):
        together = {other for other in reach[stem] if stem in reach[other]}
        if together and together not in found:
            found.append(together)
    return found


def show(edges, circle):
    return "\n".join(f"  {stem} -> {other}: {', '.join(sorted(edges[stem][other]))}"
                     for stem in sorted(circle) for other in sorted(edges[stem])
                     if other in circle)


def circle_problems(rooms, standing):
    """What differs between the circles of {room: {file: object}} and those that may stand."""
    problems = []
    for room, found in rooms.items():
        edges = uses(found)
        there = circles(edges)
        listed = standing.get(room, [])
        problems += [f"{room}: a circle of {', '.join(sorted(circle))}\n{show(edges, circle)}"
                     for circle in there if circle not in listed]
        problems += [f"{room}: no such circle any more: {', '.join(sorted(circle))}"
                     for circle in listed if circle not in there]
    problems += [f"{room}: no such room" for room in standing if room not in rooms]
    return problems


def built_rooms():
    rooms = {}
    for room in sorted(os.listdir(os.path.join(SOURCE, "src"))):
        folder = os.path.join(BUILD, "src", room)
        if os.path.isdir(folder):
            rooms[room] = objects(folder, os.path.join(SOURCE, "src", room))
    return rooms


class Tree(unittest.TestCase):
    def test_files_of_a_room_make_no_circle(self):
        problems = circle_problems(built_rooms(), STANDING)
        self.assertFalse(problems, "\n" + "\n".join(problems))

    def test_every_source_is_looked_at(self):
        """Each room's, of those that are built: all of them, in a build of everything."""
        rooms = built_rooms()
        self.assertGreater(len(rooms), 10)
        for room, found in rooms.items():
            names = [name for _, _, names in os.walk(os.path.join(SOURCE, "src", room)) for name in names
                     if name.endswith(".c")]
            self.assertEqual(len(names), len(set(names)), room)  # by which the files are told apart
            self.assertEqual({name[:-2] for name in names} - set(found), set(), room)


class Checks(unittest.TestCase):
    """That the check fails where it must, and only there."""

    def room(self, files, prefix=""):
        folder = tempfile.TemporaryDirectory(prefix="kek-circles-")
        self.addCleanup(folder.cleanup)
        with open(os.path.join(BUILD, "tests", "compile-command"), encoding="utf-8") as command:
            compiler = shlex.split(command.read())
        for name, code in files.items():
            path = os.path.join(folder.name, name)
            with open(path + ".c", "w", encoding="utf-8") as out:
                out.write(code)
            subprocess.run([*compiler, "-w", "-c", path + ".c", "-o",
                            os.path.join(folder.name, prefix + name + ".o")],
                           cwd=BUILD, check=True, capture_output=True)
        return folder.name

    def problems(self, files, standing=(), prefix=""):
        folder = self.room(files, prefix)
        return circle_problems({"room": objects(folder, folder)},
                               {"room": list(standing)} if standing else {})

    def test_files_in_folders_of_a_room_are_of_it(self):
        folder = self.room(self.TWO)
        os.mkdir(folder + "/own")
        for name in ("b.c", "b.o"):
            os.rename(os.path.join(folder, name), os.path.join(folder, "own", name))
        self.check(circle_problems({"room": objects(folder, folder)}, {}), "room: a circle of a, b")

    def check(self, problems, *texts):
        self.assertEqual(len(problems), 1, problems)
        for text in texts:
            self.assertIn(text, problems[0])

    TWO = {"a": "int g(void); int f(void) { return g(); }",
           "b": "int f(void); int g(void) { return f() + 1; }"}

    def test_two_that_call_each_other_are_found(self):
        self.check(self.problems(self.TWO), "room: a circle of a, b", "a -> b: g", "b -> a: f")
        self.check(self.problems(self.TWO, prefix="libkek_room_a-"), "a circle of a, b")

    def test_a_circle_of_three_through_a_table_is_found(self):
        self.check(self.problems({
            "a": "extern int (*const table[])(void); int f(void) { return table[0](); }",
            "b": "int h(void); int (*const table[])(void) = {h};",
            "c": "int f(void); int h(void) { return f(); }",
            "d": "int f(void); int d(void) { return f(); }"}),
            "a circle of a, b, c", "a -> b: table", "b -> c: h", "c -> a: f")

    def test_calls_one_way_are_none(self):
        self.assertEqual(self.problems({
            "a": "int g(void); static int own(void) { return 1; } int f(void) { return g() + own(); }",
            "b": "int h(void); static int own(void) { return 2; } int g(void) { return h() + own(); }",
            "c": "int h(void) { return 3; }",
            "d": "int f(void), h(void); int d(void) { return f() + h(); }"}), [])

    def test_one_that_may_stand_must_stand_as_it_is_said(self):
        self.assertEqual(self.problems(self.TWO, [{"a", "b"}]), [])
        self.check(self.problems({"a": "int f(void) { return 1; }",
                                  "b": "int f(void); int g(void) { return f(); }"}, [{"a", "b"}]),
                   "no such circle any more: a, b")
        grown = dict(self.TWO, a="int h(void); int f(void) { return h(); }",
                     c="int g(void); int h(void) { return g(); }")
        found = self.problems(grown, [{"a", "b"}])
        self.assertEqual(len(found), 2, found)
        self.assertIn("a circle of a, b, c", found[0])
        self.assertIn("no such circle any more: a, b", found[1])
        self.assertEqual(circle_problems({}, {"room": [{"a", "b"}]}), ["room: no such room"])

    def test_an_object_without_its_source_is_not_looked_at(self):
        folder = self.room(self.TWO)
        os.unlink(os.path.join(folder, "b.c"))
        self.assertEqual(circle_problems({"room": objects(folder, folder)}, {}), [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
