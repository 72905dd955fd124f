#!/usr/bin/python3
"""kekctl reencrypt with several roots of trust, one of which is out: this node's kekd serves its page, n2's comes by ssh.
Skipped (77) where grpcio is missing."""

import concurrent.futures
import datetime
import hashlib
import http.server
import json
import os
import socket
import stat
import threading
import time
import unittest

import test_reencrypt as single
from kube_server import until

SELF = socket.gethostname()  # what a node calls itself that is told no name
KEKD = """listen: unix://{folder}/kms.sock
keyring: k
state_dir: {folder}
settle: 1s
refresh: 1s
metrics: 127.0.0.1:{port}
providers:
  - {{name: a, type: pkcs11, uri: "pkcs11:token=t?module-path=/m.so&pin-source=file:/pin"}}
  - {{name: b, type: pkcs11, uri: "pkcs11:token=u?module-path=/m.so&pin-source=file:/pin"}}
mode: any
roots:
  - {{name: site, providers: [a]}}
  - {{name: spare, providers: [b], seals: {seals}}}
"""
SSH = '#!/bin/sh\nexec cat "%s"\n'
LESS = "kek1-" + "5" * 32  # the key_id of site alone


def date(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):  # pylint: disable=invalid-name
        body = json.dumps(self.server.page()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):  # pylint: disable=arguments-differ
        pass


class Roots(single.Rig):
    def setUp(self):
        super().setUp()
        http_server = http.server.HTTPServer(("127.0.0.1", 0), Page)
        self.addCleanup(http_server.server_close)
        self.addCleanup(http_server.shutdown)
        http_server.page = lambda: self.page(SELF)
        self.port = http_server.server_port
        threading.Thread(target=http_server.serve_forever, daemon=True).start()
        self.configure()
        os.mkdir(self.folder + "/bin")
        with open(self.folder + "/bin/ssh", "w", encoding="utf-8") as file:
            file.write(SSH % (self.folder + "/n2.json"))
        os.chmod(self.folder + "/bin/ssh", stat.S_IRWXU)
        self.roots = {}
        self.announce("site", "spare")

    def configure(self, seals="true", more=""):
        with open(self.folder + "/kekd.yaml", "w", encoding="utf-8") as file:
            file.write(KEKD.format(folder=self.folder, port=self.port, seals=seals) + more)

    def announce(self, *roots, nodes=(SELF, "n2")):
        """What is announced there has a KEK of each of these roots."""
        self.roots.update({node: roots for node in nodes})
        if SELF in nodes:
            self.plugin.key_id = self.key_id(SELF)
        with open(self.folder + "/n2.new", "w", encoding="utf-8") as file:
            json.dump({"nodes": [{"node": "ssh:n2", "page": self.page("n2")}]}, file)
        os.rename(self.folder + "/n2.new", self.folder + "/n2.json")

    def key_id(self, node):
        return single.KEY_ID if len(self.roots[node]) == 2 else LESS

    def page(self, node):
        kek = lambda root: {"version": 1, "kek_id": hashlib.sha256(root.encode()).hexdigest()[:32],
                            "announced_at": date(time.time() - 3600)}
        keks = [dict(kek(root), root=root) for root in self.roots[node]]
        return {
            "node": node, "version": "1", "keyring": "k", "context_sha256": hashlib.sha256(b"").hexdigest(),
            "config_sha256": "0" * 64, "now": date(time.time()), "health": "ok", "since": date(time.time() - 7200),
            "what": "", "todo": "", "primary": dict(kek(self.roots[node][0]), key_id=self.key_id(node),
                                                    key_id_hash="sha256:2", keks=keks),
            "sealing": [], "versions": [], "destroyed": [], "etcd": [], "rotation": None, "destruction": None,
            "providers": [], "settle_ms": 1000, "refresh_ms": 1000, "max_age_ms": 3600000}

    def command(self, server, *args, kubeconfig=None):
        return ["env", "PATH=" + self.folder + "/bin:" + os.environ["PATH"],
                *super().command(server, "--node", "self", "--node", "ssh:n2", *args, kubeconfig=kubeconfig)]

    def refused(self, server, *args, says):
        began = time.monotonic()
        code, report, err = self.run_it(server, *args)
        self.assertEqual((code, report), (1, None), err)
        for text in ("nothing was rewritten: ", *says):
            self.assertIn(text, err)
        self.assertNotIn("waits: ", err)
        self.assertLess(time.monotonic() - began, 60)  # and not the patience of minutes
        self.assertFalse([request for request in server.requests if request[0] != "GET"], err)


class Before(Roots):
    def test_all_roots_of_all_nodes_are_good(self):
        server = self.serve(5)
        code, report, err = self.run_it(server)
        self.assertEqual((code, self.counts(report)), (0, {"rewritten": 5}), err)

    def test_a_root_that_is_out_everywhere_at_one_node_or_at_this_one(self):
        for nodes in ((SELF, "n2"), ("n2",), (SELF,)):
            self.announce("site", "spare")
            self.announce("site", nodes=nodes)
            for way in ((), ("--via", "storage-version-migration")):
                server = self.serve(3)
                self.refused(server, *way, says=(nodes[0] + " announces no KEK of spare: ", "mend it",
                                                 'give that root "seals: false" on every node first'))
                self.assertEqual((server.stale(), server.migrations), (3, {}))

    def test_a_root_that_only_opens_may_be_out(self):
        self.configure(seals="false")
        self.announce("site")
        code, report, err = self.run_it(self.serve(5))
        self.assertEqual((code, self.counts(report)), (0, {"rewritten": 5}), err)

    def test_a_node_that_seals_by_another_configuration(self):
        """What kekctl inventory wants is by this one: what is rewritten now would be stale again."""
        self.configure(seals="false")
        self.announce("site", nodes=(SELF,))
        self.refused(self.serve(3), says=("n2 announces a KEK of spare, which seals nothing by this configuration",))

    def test_what_is_to_lie_in_clear_needs_no_root(self):
        self.configure(more="etcd: [{name: main, endpoints: [https://127.0.0.1:1]}]\n")
        self.announce("site")
        with open(self.folder + "/encryption.yaml", "w", encoding="utf-8") as file:
            json.dump({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration", "resources": [
                {"resources": ["secrets"], "providers": [{"identity": {}}, {"kms": {
                    "apiVersion": "v2", "name": "kekd", "endpoint": "unix:///run/kekd/kms.sock"}}]}]}, file)
        code, _, err = self.run_it(self.serve(3), "--decrypt", "--from", self.folder + "/encryption.yaml")
        self.assertEqual(code, 1, err)
        self.assertIn("https://127.0.0.1:1", err)  # it came as far as that etcd
        self.assertNotIn("announces no KEK", err)


class Meanwhile(Roots):
    def stopped(self, *nodes):
        server = self.serve(2000, page=50)
        server.before_patch = lambda key: time.sleep(0.05)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            run = pool.submit(self.run_it, server, "--parallel", "4")
            until(lambda: len(server.writes) > 60)
            self.announce("site", nodes=nodes)
            code, report, err = run.result()
        self.assertEqual((code, report["state"]), (3, "stopped"), err)
        self.assertIn("stopped: " + nodes[0] + " announces no KEK of spare: ", err)
        self.assertIn("run it again to go on", err)
        self.assertNotIn("holds: ", err)
        self.assertGreater(server.stale(), 0)
        # What was written last may be without that root: the next run does not go on behind it.
        self.assertFalse(os.path.exists(self.folder + "/k.reencrypt"))
        self.refused_again(server)
        self.announce("site", "spare")
        server.before_patch = lambda key: None
        code, report, err = self.run_it(server)
        self.assertEqual((code, report["resources"][0]["objects"], server.stale()), (0, 2000, 0), err)
        self.assertEqual(set(server.writes.values()), {1})

    def refused_again(self, server):
        server.requests.clear()
        self.refused(server, says=("announces no KEK of spare",))

    def test_a_root_that_goes_out_everywhere(self):
        self.stopped(SELF, "n2")

    def test_a_root_that_goes_out_at_another_node(self):
        self.stopped("n2")

    def test_a_migration_is_taken_away(self):
        server = self.serve(3)

        def goes_on(asked):
            if asked == 1:
                self.announce("site")
            return [{"type": "Running", "status": "True", "message": "%d of 100 done" % asked}]
        server.migration = goes_on
        code, _, err = self.run_it(server, "--via", "storage-version-migration", "--timeout", "60s")
        self.assertEqual((code, server.migrations), (3, {}), err)
        self.assertRegex(err, "secrets: stopped, and what the migration has rewritten stays so: .* "
                              "announces no KEK of spare: ")


if __name__ == "__main__":
    unittest.main(verbosity=2)
