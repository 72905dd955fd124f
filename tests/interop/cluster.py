"""Several kekds of one cluster on one machine: nodes cp1, cp2, ... on the same tokens, which ask each other by
their status listeners with certificates of one authority."""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile

import certs
import rig as rigs


class Cluster:
    """pair: a second token, hsm-b, that holds the same keys."""

    def __init__(self, case, nodes=3, pair=False, **config):
        self.folder = tempfile.mkdtemp(prefix="kekd-cluster-")
        case.addCleanup(shutil.rmtree, self.folder, True)
        os.chmod(self.folder, 0o755)
        self.ca = certs.Authority(self.folder + "/tls")
        self.addresses = [rigs.own_address() for _ in range(nodes)]
        self.nodes, self.twin = [], None
        for number in range(nodes):
            self.nodes.append(self.add(case, number, pair, config))
        self.token = self.nodes[0].token

    def add(self, case, number, pair, config):
        name = "cp%d" % (number + 1)
        address = self.addresses[number]
        cert, key = self.ca.issue("/CN=" + name, "IP:" + address.split(":")[0], name=name)
        first = number == 0
        node = rigs.Rig(case, token=None if first else self.nodes[0].token, generate=first,
                        config={"refresh": "1s", "settle": "0s", "metrics": rigs.own_address(),
                                "status": {"listen": address, "cert": cert, "key": key,
                                           "ca": self.ca.cert, "allow": ["cp1", "cp2", "cp3"],
                                           "nodes": self.addresses, "name": name}, **config})
        if pair:
            self.twin = self.twin or rigs.Twin(node.token, self.folder + "/twin")
            node.config["providers"].append(node.provider("hsm-b", self.twin))
            node.write()
        node.name_of = name
        return node

    def start(self):
        for node in self.nodes:
            node.spawn()
        for node in self.nodes:
            self.ready(node)
        return self

    @staticmethod
    def ready(node):
        """Without asking for Status: who was told a key_id may seal under it for a while after a change."""
        def is_ready():
            with contextlib.suppress(OSError):
                return node.page("/readyz")[0] == 200
            return False
        rigs.wait_for(is_ready, "kekd to be ready")

    def stop(self):
        for node in self.nodes:
            node.close_clients()
            node.stop()

    def restart(self):
        for node in self.nodes:
            node.close_clients()
            node.stop()
            node.spawn()
            self.ready(node)

    # kekctl, on the first node.

    def command(self, *arguments, node=0, config=None):
        return [rigs.program("kekctl"), "--config", config or self.nodes[node].path, "key", "rotate",
                *arguments]

    def rotate(self, *arguments, timeout=rigs.PATIENCE, env=None, **options):
        """Runs it to its end."""
        return subprocess.run(self.command(*arguments, **options), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=timeout, check=False,
                              env=dict(os.environ, **(env or {})))

    def begin(self, *arguments, **options):
        """Starts it, in a session of its own."""
        return subprocess.Popen(self.command(*arguments, **options), stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, start_new_session=True)

    def record(self, node=0):
        """What is on record of a rotation; None: nothing."""
        try:
            with open(self.nodes[node].state + "/k8s-test.rotation", encoding="utf-8") as file:
                return json.load(file)
        except FileNotFoundError:
            return None

    def states(self):
        """{provider: {number: [states]}} as the tokens show it."""
        done = self.nodes[0].kekctl("--output", "json", "key", "list")
        found = {}
        for version in json.loads(done.stdout)["versions"]:
            found.setdefault(version["provider"], {}).setdefault(version["version"], []).append(
                version["state"])
        return found

    def announced(self):
        """The version that each node announces."""
        return [json.loads(node.page("/status")[1])["primary"]["version"] for node in self.nodes]
