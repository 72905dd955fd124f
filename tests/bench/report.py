"""The benchmark's table."""
import statistics
import sys


class Report:
    """The rows of the table, as they are measured."""

    def __init__(self, quiet):
        self.rows, self.notes, self.quiet = [], {}, quiet

    def say(self, text):
        if not self.quiet:
            print(f"... {text}", file=sys.stderr, flush=True)

    def add(self, figure, values, unit, goal, limit=None, limit_name="", at_least=False):
        """`goal` is for the ratio to the limit where there is one, else for the figure itself."""
        row = {"figure": figure, "unit": unit, "measured": statistics.median(values),
               "low": min(values), "high": max(values), "rounds": len(values), "goal": goal,
               "goal_is": "at least" if at_least else "at most"}
        judged = row["measured"]
        if limit is not None:
            row |= {"limit_name": limit_name, "limit": statistics.median(limit),
                    "limit_low": min(limit), "limit_high": max(limit)}
            row["ratio"] = judged = row["measured"] / row["limit"]
        row["met"] = judged >= goal if at_least else judged <= goal
        self.rows.append(row)

    def table(self):
        head = ("figure", "measured (low .. high)", "limit of the same run", "ratio", "goal", "met?")
        lines = [head]
        for row in self.rows:
            unit = row["unit"]
            measured = (f"{number(row['measured'])} {unit} "
                        f"({number(row['low'])} .. {number(row['high'])})")
            limit = ratio = "-"
            goal = f"{'>=' if row['goal_is'] == 'at least' else '<='} {number(row['goal'])}"
            if "limit" in row:
                limit = (f"{row['limit_name']} {number(row['limit'])} {unit} "
                         f"({number(row['limit_low'])} .. {number(row['limit_high'])})")
                ratio = f"{row['ratio']:.2f}"
                goal += " x"
            else:
                goal += f" {unit}"
            lines.append((row["figure"], measured, limit, ratio, goal,
                          "yes" if row["met"] else "NO"))
        widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
        for line in lines:
            print(" | ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())
            if line is head:
                print("-|-".join("-" * width for width in widths))


def number(value):
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"
