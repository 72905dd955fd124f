#!/usr/bin/env python3
"""deploy/grafana-dashboard.json: Grafana's schema takes it, every metric of kekd is on it, and whatever the pages let an
operator see. A real Prometheus that scrapes a real kekd answers each of its queries and each alert's, and what kekd serves
has each metric that they name; an outage and its end show.
"""
import collections
import html
import json
import os
import re
import shutil
import subprocess
import unittest

from watched import SOURCE, Watched
from proc import wait_for

# What a kekd that is well, alone and without a status listener has no sample of.
NONE_WHERE_ALL_IS_WELL = {"To be mended", "Alerts that fire", "Decrypts that asked for a suspended version",
                          "Clients of the status listener", "The status certificate ends in", "Share of calls that fail",
                          "Operations, and those that failed"}


def read(*path):
    with open(os.path.join(SOURCE, *path), encoding="utf-8") as file:
        return file.read()


BOARD = json.loads(read("deploy", "grafana-dashboard.json"))
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
QUERIES = [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]
Rule = collections.namedtuple("Rule", "name text metrics")


def names(text):
    return {re.sub(r"_(bucket|sum|count)$", "", name) if "duration" in name else name
            for name in re.findall(r"\b(?:kekd|process)_[a-z0-9_]+|\bup\b", text)}


def rules():
    for text in re.split(r"- alert: ", read("deploy", "prometheus-rules.yaml"))[1:]:
        expression = re.search(r"expr: (.*?)\n +(?:for|labels):", text, re.DOTALL).group(1)
        yield Rule(text.split()[0], re.sub(r"^>-\s*|\s*\n\s*", " ", expression).strip(), names(expression))


SHOWN = set().union(*(names(expression) for _, expression in QUERIES))


class Page(unittest.TestCase):
    def test_every_metric_is_on_it(self):
        manual = set(re.findall(r"^\.It Ic ((?:kekd|process)_\w+) Pq", read("docs", "kekd-metrics.7"), re.MULTILINE))
        self.assertGreater(len(manual), 50)
        self.assertEqual(SHOWN, manual | {"up"})

    def test_each_row_of_when_things_break_has_a_panel(self):
        section = re.search(r"## When things break\n(.*?)\n## ", read("docs", "architecture.md"), re.DOTALL).group(1)
        rows = [line.split("|")[1].strip().replace("*", "") for line in section.splitlines() if line.startswith("|")][2:]
        said = "; ".join(panel["description"] for panel in PANELS)
        self.assertGreater(len(rows), 10)
        self.assertEqual([row for row in rows if row.lower() not in said.lower()], [])

    def test_what_failure_modes_let_an_operator_see_is_on_it(self):
        of_alert = {rule.name: rule.metrics for rule in rules()}
        rows = [line.split(" | ") for line in read("docs", "failure-modes.md").splitlines() if line.startswith("| ")]
        wanted = set()
        for cells in rows:
            if len(cells) == 6:
                wanted |= set(re.findall(r"\bkekd_[a-z_]+", cells[3]))
                for alert in re.findall(r"\bKekd[A-Z]\w+", cells[3]):
                    wanted |= of_alert[alert]
                wanted |= {"kekd_ready"} if "/readyz" in cells[3] else set()
        self.assertGreater(len(wanted), 15)
        self.assertEqual(wanted - SHOWN, set())

    def test_each_alert_has_a_panel_that_names_it(self):
        said = " ".join(panel["description"] for panel in PANELS)
        degraded = {rule.name for rule in rules() if rule.metrics == {"kekd_degraded"}}     # the table To be mended
        self.assertEqual({rule.name for rule in rules() if rule.name not in said} - degraded, set())

    def test_the_picture_in_the_documentation_is_of_this_dashboard(self):
        picture = read("docs", "dashboard.svg")
        self.assertEqual([panel["title"] for panel in BOARD["panels"] if html.escape(panel["title"]) + "</text>" not in picture], [],
                         "make picture")

    def test_no_two_panels_have_one_place(self):
        seen = set()
        for panel in BOARD["panels"]:
            place = panel["gridPos"]
            squares = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
            self.assertLessEqual(place["x"] + place["w"], 24)
            self.assertFalse(squares & seen, panel["title"])
            seen |= squares

    def test_grafana_s_schema_takes_it_and_no_other(self):
        go = os.environ.get("GO") or shutil.which("go")
        if not go:
            self.skipTest("SKIP: no Go: the dashboard was NOT held against Grafana's schema")
        program = os.path.join(os.environ["abs_top_builddir"], "tests", "monitoring", "dashboard-schema")
        os.makedirs(os.path.dirname(program), exist_ok=True)
        built = subprocess.run([go, "build", "-o", program, "."], cwd=os.path.join(SOURCE, "tests", "monitoring", "schema"),
                               env=dict(os.environ, GOFLAGS="-mod=readonly", GOTOOLCHAIN="local"), check=False,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if built.returncode != 0:
            self.skipTest("SKIP: the dashboard was NOT held against Grafana's schema: " + built.stdout[-300:])
        text = read("deploy", "grafana-dashboard.json")
        for given, good in ((text, True), (text.replace("gridPos", "gridpos"), False),
                            (text.replace("legendFormat", "legend"), False), (text.replace("showLegend", "legend"), False)):
            done = subprocess.run([program], input=given, text=True, capture_output=True, check=False)
            self.assertEqual(done.returncode == 0, good, done.stderr)


class Live(Watched):
    @unittest.skipIf(shutil.which("prometheus") is None, "SKIP: prometheus is missing: no query was tried")
    def test_every_query_and_alert_is_answered_of_what_kekd_serves(self):
        rig = self.node()
        self.watch(rig)
        served = set(re.findall(r"^# TYPE (\w+)", rig.page("/metrics")[1], re.MULTILINE)) | {"up"}
        self.assertEqual(SHOWN - served, set())
        for rule in rules():
            with self.subTest(alert=rule.name):
                self.assertLessEqual(rule.metrics, served)
                self.ask("query", query=rule.text)      # an error is an HTTP status
        silent = set()
        for title, expression in QUERIES:
            with self.subTest(panel=title, query=expression):
                asked = expression.replace("$instance", ".*").replace("$__rate_interval", "1m")
                self.assertNotIn("$", asked)
                if not self.ask("query", query=asked)["result"]:
                    silent.add(title)
        self.assertLessEqual(silent, NONE_WHERE_ALL_IS_WELL)
        for group in self.ask("rules")["groups"]:
            for rule in group["rules"]:
                self.assertEqual((rule["name"], rule["health"], rule["state"]), (rule["name"], "ok", "inactive"))
        with rig.token.away():
            wait_for(lambda: self.value("kekd_ready") == [0], "an outage to show")
            wait_for(lambda: self.alert("KekdNotReady") != "inactive", "its alert")
        wait_for(lambda: self.value("kekd_ready") == [1], "its end to show")
        wait_for(lambda: self.alert("KekdNotReady") == "inactive", "the alert's end")


if __name__ == "__main__":
    unittest.main(verbosity=2)
