"""The audit log's chain as kekd-audit(5) describes it, made and looked at by nothing of kekd's."""

import hashlib
import json

ZEROS = "0" * 64


class Chain:
    """Makes chained lines, each as bytes with its line feed."""

    def __init__(self, name="0123456789abcdef", n=0, last=ZEROS):
        self.name, self.n, self.last = name, n, last

    def line(self, event="call", second=0, **fields):
        self.n += 1
        text = '{"time":"2026-11-29T%02d:%02d:%02d.%03dZ","seq":%d,"node":"cp-1","event":"%s"' % (
            10 + second // 3600, second // 60 % 60, second % 60, self.n % 1000, self.n, event)
        for key, value in fields.items():
            text += ',"%s":%s' % (key, json.dumps(value))
        body = text + ',"chain":"%s","n":%d,"prev":"%s"' % (self.name, self.n, self.last)
        self.last = hashlib.sha256(body.encode() + b"\n").hexdigest()
        return (body + ',"hash":"%s"}\n' % self.last).encode()

    def lines(self, count):
        return [self.line(uid="%032x" % i, status="OK") for i in range(count)]

    def record(self):
        """What stands in state_dir."""
        text = '{"chain":"%s","n":%d,"hash":"%s"}' % (self.name, self.n, self.last)
        return (text.ljust(255) + "\n").encode()


def check(lines):
    """Raises where the lines, parsed or not, are not one chain; returns them parsed."""
    parsed = []
    for raw in lines:
        line = json.loads(raw)
        body = raw[:raw.rindex(b',"hash":"')]
        assert hashlib.sha256(body + b"\n").hexdigest() == line["hash"], raw
        if parsed:
            assert line["prev"] == parsed[-1]["hash"] and line["n"] == parsed[-1]["n"] + 1, raw
        parsed.append(line)
    return parsed
