"""docs/failure-modes.md says of each fault which test shows it: each of them exists, and so does every
metric and alert that it names."""

import os
import re
import sys

TOP = os.environ.get("abs_top_srcdir") or os.path.dirname(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PAGE = "docs/failure-modes.md"
COLUMNS = 6
DEFINED = {".py": r"def %s\(", ".c": r"START_TEST\(%s\)", ".go": r"func %s\("}


def read(path):
    with open(os.path.join(TOP, path), encoding="utf-8") as file:
        return file.read()


def rows(text):
    for line in text.splitlines():
        if line.startswith("|") and not re.match(r"\|(-+\||\s*fault\s*\|)", line):
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


def tests_of(cell):
    return re.findall(r"`(tests/[^`:]+)(?:: (\w+))?`", cell)


def troubles(text):
    count = 0
    for row in rows(text):
        count += 1
        if len(row) != COLUMNS:
            yield "%d columns, not %d: %s" % (len(row), COLUMNS, row[0])
            continue
        named = tests_of(row[-1])
        if not named or len(named) != row[-1].count("`") // 2:
            yield "not a list of tests: %s" % row[-1]
        for path, name in named:
            if not os.path.exists(os.path.join(TOP, path)):
                yield "no such file: %s" % path
            elif name and not re.search(DEFINED[os.path.splitext(path)[1]] % name, read(path)):
                yield "no such test: %s: %s" % (path, name)
    if count < 30:
        yield "only %d rows were understood" % count
    metrics = read("docs/kekd-metrics.7")
    for name in re.findall(r"\bkekd_[a-z_]+", text):
        if name not in metrics:
            yield "no such metric: %s" % name
    alerts = read("deploy/prometheus-rules.yaml")
    for name in re.findall(r"\bKekd[A-Z]\w+", text):
        if "alert: %s\n" % name not in alerts:
            yield "no such alert: %s" % name


def main():
    text = read(PAGE)
    found = list(troubles(text))
    # The check itself: a slip must show.
    slips = {"test_a_hung_worker": "test_a_hanged_worker", "`kekd_health`": "`kekd_heelth`",
             "KekdKeyLost": "KekdKeyFound", "tests/interop/test_wire.py": "tests/interop/test_wine.py"}
    for right, wrong in slips.items():
        if right not in text or not list(troubles(text.replace(right, wrong))):
            found.append("a slip of %s was not seen" % right)
    for trouble in found:
        print("%s: %s" % (PAGE, trouble))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
