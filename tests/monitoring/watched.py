"""A real Prometheus that scrapes real kekds each second, with the alert rules that kekd comes with."""
import json
import os
import socket
import subprocess
import sys
import urllib.parse
import urllib.request

SOURCE = os.environ["abs_top_srcdir"]
sys.path.insert(0, os.path.join(SOURCE, "tests", "interop"))
from proc import wait_for  # noqa: E402
from rig import Case  # noqa: E402

RULES = os.path.join(SOURCE, "deploy", "prometheus-rules.yaml")

CONFIGURATION = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [{rules}]
scrape_configs:
  - job_name: kekd
    static_configs: [{targets}]
"""


def addresses(count):
    """So many of which nobody listens on, to be had at once."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return ["127.0.0.1:%d" % one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


class Watched(Case):
    def ask(self, path, **arguments):
        with urllib.request.urlopen("%s/api/v1/%s?%s" % (self.url, path, urllib.parse.urlencode(arguments)), timeout=20) as page:
            return json.load(page)["data"]

    def value(self, expression):
        """The values of an instant query."""
        return [float(sample["value"][1]) for sample in self.ask("query", query=expression)["result"]]

    def alert(self, name):
        return next(rule["state"] for group in self.ask("rules")["groups"] for rule in group["rules"] if rule["name"] == name)

    def node(self, **options):
        """A kekd with traffic, metrics and an audit log."""
        rig = self.rig(config={"metrics": addresses(1)[0], "refresh": "1s"}, **options)
        rig.write(audit={"file": rig.folder + "/audit.jsonl"})
        rig.start()
        client = rig.client()
        for _ in range(20):
            client.open(client.encrypt(b"x" * 32))
        return rig

    def watch(self, *nodes):
        """A Prometheus that has scraped each of them three times."""
        folder, own = nodes[0].folder, addresses(1)[0]
        with open(folder + "/prometheus.yml", "w", encoding="ascii") as file:
            targets = ", ".join('{targets: ["%s"], labels: {instance: node-%d}}' % (node.config["metrics"], number)
                                for number, node in enumerate(nodes, 1))
            file.write(CONFIGURATION.format(rules=RULES, targets=targets))
        log = open(folder + "/prometheus.log", "wb")  # pylint: disable=consider-using-with
        self.addCleanup(log.close)
        server = subprocess.Popen(["prometheus", "--config.file", folder + "/prometheus.yml", "--storage.tsdb.path",
                                   folder + "/tsdb", "--web.listen-address", own], stdout=log, stderr=log)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        self.url = "http://" + own

        def scraped():
            try:
                return len(self.value("count_over_time(kekd_ready[1m]) >= 3")) == len(nodes)
            except OSError:
                return None
        wait_for(scraped, "three scrapes")
