#!/usr/bin/env python3
"""Draws deploy/grafana-dashboard.json as a Prometheus answers its queries, for the documentation: docs/dashboard.svg.

"make picture" runs two kekds, a Prometheus and the loss of an HSM, and draws what the dashboard has to say of it. It is no
Grafana: panels stand where they stand there, with the same titles, queries and legends.
"""
import html
import json
import math
import os
import re
import time
import unittest

import watched

UNIT, ROW = 50, 26  # pixels of a square of the dashboard's grid
HEAD, FOOT, SIDE = 24, 20, 44  # of a panel: its title; its axis of time and legend; its axis of values
COLORS = ("#3274d9", "#e0752d", "#299c46", "#a352cc", "#c4162a", "#0a8a8a", "#b7950b", "#6d4c41")
STATES = {"good": "#299c46", "ready": "#299c46", "active": "#299c46", "outage": "#e0752d", "degraded": "#e0752d", "down": "#c4162a"}
SECONDS = 180  # that it shows
LEGENDS = 4  # that a panel has room for
CELLS = 6  # columns of a table
HIDDEN = {"__name__", "job", "library", "alertstate"}


def text(x, y, words, size=10, anchor="start", color="#24292e", bold=False):
    return '<text x="%d" y="%d" font-size="%d" text-anchor="%s" fill="%s"%s>%s</text>' % (
        x, y, size, anchor, color, ' font-weight="bold"' if bold else "", html.escape(words))


def short(value, unit=None):
    """A value as an axis has room for."""
    if unit == "percentunit":
        return "%.3g %%" % (value * 100)
    if unit == "s" and 0 < abs(value) < 1:
        return "%.2g ms" % (value * 1000)
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return "%.3g%s" % (value / limit, letter)
    return "%.3g%s" % (value, " s" if unit == "s" else "")


def legend(form, labels):
    return re.sub(r"{{(\w+)}}", lambda name: labels.get(name.group(1), ""), form) or ", ".join(sorted(labels.values()))


class Picture:
    """query(expression, instant) returns what Prometheus' API calls "result"; begin and end are in seconds."""

    def __init__(self, board, query, begin, end):
        self.board, self.query, self.begin, self.end = board, query, begin, end
        self.out = []

    def series(self, panel, instant=False):
        """(its name, its labels, [(time, value), ...]) of each."""
        for target in panel["targets"]:
            for result in self.query(target["expr"], instant):
                values = [result["value"]] if instant else result["values"]
                yield (legend(target["legendFormat"], result["metric"]), result["metric"],
                       [(float(at), float(value)) for at, value in values])

    def across(self, at, width):
        return SIDE + (at - self.begin) / (self.end - self.begin) * (width - SIDE - 10)

    def named(self, names, width, height):
        """The legend under a panel."""
        room = (width - 16) // max(1, min(len(names), LEGENDS))
        for number, name in enumerate(names[:LEGENDS]):
            self.out.append('<rect x="%d" y="%d" width="8" height="3" fill="%s"/>' % (
                8 + number * room, height - 9, COLORS[number % len(COLORS)]))
            self.out.append(text(19 + number * room, height - 5, name[:max(4, room // 6 - 2)], 9))

    def timeseries(self, panel, width, height):
        unit = panel["fieldConfig"]["defaults"].get("unit")
        all_series = [(name, [(at, value) for at, value in points if math.isfinite(value)])
                      for name, _, points in self.series(panel)]
        all_series = [(name, points) for name, points in all_series if points]
        top = max((value for _, points in all_series for _, value in points), default=1) or 1
        bottom = min(0, *(value for _, points in all_series for _, value in points)) if all_series else 0
        floor, room = height - FOOT - 14, height - FOOT - 14 - HEAD - 6
        for part in (0, 0.5, 1):
            y = floor - part * room
            self.out.append('<path d="M%d %.1fH%d" stroke="#e1e4e8"/>' % (SIDE, y, width - 10))
            self.out.append(text(SIDE - 4, int(y) + 3, short(bottom + part * (top - bottom), unit), 9, "end", "#6a737d"))
        for part in (0, 0.5, 1):
            at = self.begin + part * (self.end - self.begin)
            self.out.append(text(int(self.across(at, width)), floor + 12, "%+d s" % (at - self.end) if part < 1 else "now", 9,
                                 "end" if part == 1 else "start", "#6a737d"))
        for number, (_, points) in enumerate(all_series):
            path, last = [], None
            for at, value in points:
                y = floor - (value - bottom) / ((top - bottom) or 1) * room
                path.append("%s%.0f %.0f" % ("M" if last is None or at - last > 3 * self.step() else "L", self.across(at, width), y))
                last = at
            self.out.append('<path d="%s" fill="none" stroke="%s" stroke-width="1.5"/>' % (
                "".join(path), COLORS[number % len(COLORS)]))
        self.named([name for name, _ in all_series], width, height)

    def step(self):
        return max(1.0, (self.end - self.begin) / 60)

    def timeline(self, panel, width, height):
        rows = sorted((name, labels, points) for name, labels, points in self.series(panel))
        each = min(22, (height - HEAD - 8) // max(1, len(rows)))
        for number, (name, labels, points) in enumerate(rows):
            y = HEAD + 4 + number * each
            color = STATES.get(labels.get("state", labels.get("usable", "")), "#8ab8ff")
            for at, _ in points:
                x = self.across(at, width)
                self.out.append('<rect x="%.0f" y="%d" width="%.1f" height="%d" fill="%s"/>' % (
                    x, y, (width - SIDE - 10) / 60 + 1, each - 4, color))
            self.out.append(text(SIDE + 4, y + each - 8, name, 9, bold=True))

    def stat(self, panel, width, height):
        defaults = panel["fieldConfig"]["defaults"]
        shown = list(self.series(panel, instant=True))
        words = {key: value for mapping in defaults.get("mappings", []) for key, value in mapping["options"].items()}
        for number, (name, _, points) in enumerate(shown):
            value = points[0][1]
            said = words.get("%d" % value, {"text": short(value, defaults.get("unit")), "color": "green"})
            middle = int(width * (number + 0.5) / len(shown))
            self.out.append(text(middle, height // 2 + 18, said["text"], 26, "middle",
                                 {"green": "#299c46", "red": "#c4162a"}.get(said["color"], "#24292e"), True))
            self.out.append(text(middle, height - 10, name, 9, "middle", "#6a737d"))

    def table(self, panel, width, height):
        rows = [labels for _, labels, _ in self.series(panel, instant=True)]
        columns = sorted({name for row in rows for name in row} - HIDDEN)[:CELLS]
        for number, name in enumerate(columns):
            room = (width - 16) // len(columns)
            x = 8 + number * room
            self.out.append(text(x, HEAD + 12, name, 9, bold=True))
            for line, row in enumerate(rows[:(height - HEAD - 20) // 14]):
                self.out.append(text(x, HEAD + 27 + line * 14, row.get(name, "")[:max(3, room // 6)], 9))

    def panel(self, panel):
        place = panel["gridPos"]
        width, height = place["w"] * UNIT - 6, place["h"] * ROW - 6
        self.out.append('<g transform="translate(%d %d)">' % (place["x"] * UNIT + 3, place["y"] * ROW + 3))
        if panel["type"] == "row":
            self.out.append(text(2, 16, panel["title"], 14, bold=True))
        else:
            self.out.append('<rect width="%d" height="%d" rx="3" fill="#fff" stroke="#d1d5da"/>' % (width, height))
            self.out.append(text(8, 16, panel["title"], 12, bold=True))
            before = len(self.out)
            {"timeseries": self.timeseries, "state-timeline": self.timeline, "stat": self.stat,
             "table": self.table}[panel["type"]](panel, width, height)
            if len(self.out) == before:
                self.out.append(text(width // 2, height // 2 + 8, "No data", 12, "middle", "#6a737d"))
        self.out.append("</g>")

    def draw(self):
        """The picture, as SVG."""
        height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in self.board["panels"]) * ROW + 3
        self.out = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif">' % (24 * UNIT, height),
                    '<rect width="100%" height="100%" fill="#f4f5f5"/>']
        for panel in self.board["panels"]:
            self.panel(panel)
        return "\n".join([*self.out, "</svg>", ""])


class Outage(watched.Watched):
    """Two nodes with an HSM between them; the first has another one, and loses it for a third of the time."""

    def use(self, clients, seconds):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for client in clients:
                client.open(client.encrypt(b"x" * 32))
                time.sleep(0.02)

    def query(self, expression, instant):
        asked = expression.replace("$instance", ".*").replace("$__rate_interval", "10s")
        times = {"time": self.end} if instant else {"start": self.begin, "end": self.end, "step": (self.end - self.begin) / 60}
        return self.ask("query" if instant else "query_range", query=asked, **times)["result"]

    def test_draw(self):
        first = self.node(pair=True)
        second = self.node(token=first.twin, generate=False)
        self.watch(first, second)
        clients = [first.client(), second.client()]
        self.begin = time.time()
        self.use(clients, SECONDS / 3)
        with first.token.away():
            self.use(clients, SECONDS / 3)
        self.use(clients, SECONDS / 3)
        self.end = time.time()
        with open(os.path.join(watched.SOURCE, "deploy", "grafana-dashboard.json"), encoding="utf-8") as file:
            board = json.load(file)
        with open(os.path.join(watched.SOURCE, "docs", "dashboard.svg"), "w", encoding="utf-8") as file:
            file.write(Picture(board, self.query, self.begin, self.end).draw())


if __name__ == "__main__":
    unittest.main()
