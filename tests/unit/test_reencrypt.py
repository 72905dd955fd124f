#!/usr/bin/python3
"""kekctl reencrypt against an API server that answers as it is told to, and a plugin that nobody here wrote (grpcio).
Skipped (77) where grpcio is missing."""

import concurrent.futures
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

try:
    import grpc
except ImportError:
    print("python3-grpcio is missing")
    sys.exit(77)

sys.path.insert(0, os.path.join(os.environ["abs_top_srcdir"], "tests", "unit"))
# pylint: disable=wrong-import-position
import kube_server
from kube_server import status, until

KEKCTL = os.path.join(os.environ["abs_top_builddir"], "kekctl")
KEKD = """listen: unix://{folder}/kms.sock
keyring: k
state_dir: {folder}
settle: 1s
refresh: 1s
providers:
  - name: a
    type: pkcs11
    uri: "pkcs11:token=t?module-path=/m.so&pin-source=file:/pin"
"""


def field(number, value):
    return bytes([number << 3 | 2, len(value)]) + value.encode()


class Plugin(grpc.GenericRpcHandler):
    """kekd's Status."""

    def __init__(self):
        self.healthz, self.key_id = "ok", "kek1-ab"

    def service(self, call):
        if call.method != "/v2.KeyManagementService/Status":
            return None
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: field(1, "v2") + field(2, self.healthz) + field(3, self.key_id))


class Rig(unittest.TestCase):
    certificates = None

    @classmethod
    def setUpClass(cls):
        cls.certificates = tempfile.TemporaryDirectory()  # pylint: disable=consider-using-with
        kube_server.certificates(cls.certificates.name)

    @classmethod
    def tearDownClass(cls):
        cls.certificates.cleanup()

    def setUp(self):
        # pylint: disable=consider-using-with
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = temporary.name
        for name in ("ca.pem", "server.pem", "server.key", "client.pem", "client.key"):
            os.link(os.path.join(self.certificates.name, name), os.path.join(self.folder, name))
        with open(self.folder + "/kekd.yaml", "w", encoding="utf-8") as file:
            file.write(KEKD.format(folder=self.folder))
        self.announced(3600)
        self.plugin = Plugin()
        self.kekd = grpc.server(concurrent.futures.ThreadPoolExecutor(2), handlers=[self.plugin])
        self.kekd.add_insecure_port("unix://" + self.folder + "/kms.sock")
        self.kekd.start()
        self.addCleanup(lambda: self.kekd.stop(None).wait())

    def announced(self, ago):
        """When this node's kekd put its announcement on record."""
        path = self.folder + "/k.json"
        with open(path, "w", encoding="utf-8"):
            pass
        os.utime(path, (time.time() - ago,) * 2)

    def serve(self, secrets=0, page=None):
        server = kube_server.Server(self.folder, secrets, page)
        self.addCleanup(server.close)
        return server

    def command(self, server, *args, kubeconfig=None):
        return [KEKCTL, "--config", self.folder + "/kekd.yaml", "reencrypt", "--kubeconfig",
                kubeconfig or server.kubeconfig(), "--output", "json", *args]

    def run_it(self, server, *args, kubeconfig=None):
        done = subprocess.run(self.command(server, *args, kubeconfig=kubeconfig), check=False,
                              capture_output=True, timeout=120, text=True)
        self.assertNotIn(kube_server.SECRET, done.stdout + done.stderr)
        self.assertNotIn("a-token", done.stdout + done.stderr)
        return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr

    def counts(self, report):
        self.assertEqual(len(report["resources"]), 1)
        return {key: value for key, value in report["resources"][0].items()
                if value and key not in ("resource", "objects")}


class Rewriting(Rig):
    def test_every_object_is_written_once(self):
        server = self.serve(1234)
        code, report, err = self.run_it(server)
        self.assertEqual(code, 0, err)
        self.assertEqual(report["state"], "done")
        self.assertEqual(self.counts(report), {"rewritten": 1234})
        self.assertEqual(server.stale(), 0)
        self.assertEqual(set(server.writes.values()), {1})
        self.assertEqual(sum("limit=500" in path for _, path, _ in server.requests), 3)
        self.assertFalse(os.path.exists(self.folder + "/k.reencrypt"))
        self.assertIn("1234 were written", err)

    def test_what_is_fresh_is_not_written(self):
        server = self.serve(5)
        server.touch("s00003")
        code, report, err = self.run_it(server)
        self.assertEqual((code, self.counts(report)), (0, {"rewritten": 4, "fresh": 1}), err)
        self.assertNotIn("s00003", server.writes)
        code, report, _ = self.run_it(server)
        self.assertEqual((code, self.counts(report)), (0, {"fresh": 5}))

    def test_nothing_there_is_good(self):
        code, report, err = self.run_it(self.serve())
        self.assertEqual((code, self.counts(report)), (0, {}), err)

    def test_a_client_certificate_is_shown(self):
        server = self.serve(3)
        kubeconfig = server.kubeconfig({"client-certificate": "client.pem", "client-key": "client.key"})
        code, report, err = self.run_it(server, kubeconfig=kubeconfig)
        self.assertEqual((code, self.counts(report)), (0, {"rewritten": 3}), err)

    def test_a_token_file_is_read_anew(self):
        server = self.serve(40, page=10)
        token = self.folder + "/token"

        def write(text):
            with open(token + ".new", "w", encoding="utf-8") as file:
                file.write(text + "\n")
            os.replace(token + ".new", token)

        def exchange(key):
            with server.lock:
                if server.tokens == {"first"} and key[1] == "s00015":
                    server.tokens.add("second")
                    write("second")
                if key[1] == "s00035":
                    server.tokens.discard("first")
        write("first")
        server.tokens = {"first"}
        server.before_patch = exchange
        code, report, err = self.run_it(server, "--parallel", "1", kubeconfig=server.kubeconfig(
            {"tokenFile": "token"}))
        self.assertEqual((code, self.counts(report)), (0, {"rewritten": 40}), err)

    def test_a_tls_server_name_is_what_the_certificate_must_have(self):
        with tempfile.TemporaryDirectory() as folder:
            kube_server.certificates(folder, "kube.test")
            for name in ("ca.pem", "server.pem", "server.key"):
                os.replace(os.path.join(folder, name), os.path.join(self.folder, name))
        server = self.serve(3)
        code, report, err = self.run_it(server, kubeconfig=server.kubeconfig(
            cluster={"tls-server-name": "kube.test"}))
        self.assertEqual((code, self.counts(report)), (0, {"rewritten": 3}), err)
        code, _, err = self.run_it(server)
        self.assertEqual(code, 1, err)
        self.assertIn("have this host's name", err)

    def test_a_proxy_is_used_where_it_is_configured_and_nowhere_else(self):
        server = self.serve(3)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            asked = []

            def proxy():
                while True:
                    try:
                        client, _ = listener.accept()
                    except OSError:
                        return
                    threading.Thread(target=tunnel, args=(client,), daemon=True).start()

            def tunnel(client):
                asked.append(client.recv(4096).split(b"\r\n")[0].decode())
                with client, socket.create_connection(("127.0.0.1", server.port)) as onward:
                    client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                    back = threading.Thread(target=pump, args=(onward, client), daemon=True)
                    back.start()
                    pump(client, onward)

            def pump(source, sink):
                try:
                    for data in iter(lambda: source.recv(65536), b""):
                        sink.sendall(data)
                except OSError:
                    pass
            threading.Thread(target=proxy, daemon=True).start()
            url = "http://127.0.0.1:%d" % listener.getsockname()[1]
            code, report, err = self.run_it(server, kubeconfig=server.kubeconfig(cluster={"proxy-url": url}))
            self.assertEqual((code, self.counts(report)), (0, {"rewritten": 3}), err)
            self.assertEqual(set(asked), {"CONNECT 127.0.0.1:%d HTTP/1.1" % server.port})
            asked.clear()
            os.environ["HTTPS_PROXY"] = os.environ["https_proxy"] = url
            try:
                self.assertEqual(self.run_it(server)[0], 0)
            finally:
                del os.environ["HTTPS_PROXY"], os.environ["https_proxy"]
            self.assertEqual(asked, [])
            listener.shutdown(socket.SHUT_RDWR)

    def test_a_rate_is_kept(self):
        server = self.serve(30)
        began = time.monotonic()
        code, _, err = self.run_it(server, "--rate", "20")
        self.assertEqual(code, 0, err)
        self.assertGreater(time.monotonic() - began, 1.2)

    def test_odd_names_are_asked_for_as_they_are(self):
        server = self.serve(1)
        server.add("a b:c%2e?x")
        code, report, err = self.run_it(server)
        self.assertEqual((code, self.counts(report)), (0, {"rewritten": 2}), err)


class Answers(Rig):
    """What an API server may answer instead."""

    def on_patch(self, server, name, answer, times=1000000):
        left = [times]

        def rule(method, path, _query, _body):
            if method == "PATCH" and path.endswith(name) and left[0] > 0:
                left[0] -= 1
                return answer
            return None
        server.rule = rule

    def test_409_of_one_that_was_written_meanwhile(self):
        server = self.serve(20)
        server.before_patch = lambda key: server.touch("s00007") \
            if key[1] == "s00007" and server.objects[key]["stale"] else None
        code, report, err = self.run_it(server)
        self.assertEqual((code, self.counts(report)), (0, {"rewritten": 19, "written_meanwhile": 1}),
                         err)
        self.assertEqual(server.stale(), 0)

    def test_409_that_is_none_is_asked_again(self):
        server = self.serve(3)
        self.on_patch(server, "s00001", status(409, "the object has been modified", "Conflict"), 2)
        code, report, err = self.run_it(server)
        self.assertEqual((code, self.counts(report)), (0, {"rewritten": 3}), err)

    def test_404_is_fine(self):
        server = self.serve(3)
        server.before_patch = lambda key: server.objects.pop(("default", "s00002"), None)
        code, report, err = self.run_it(server, "--parallel", "1")
        self.assertEqual((code, self.counts(report)), (0, {"rewritten": 2, "gone": 1}), err)

    def test_a_webhook_that_refuses_is_named_and_the_rest_goes_on(self):
        for code in (400, 403, 422):
            server = self.serve(30)
            self.on_patch(server, "s00009", status(
                code, 'admission webhook "policy.example.com" denied the request: no owner label'))
            exit_code, report, err = self.run_it(server)
            self.assertEqual((exit_code, self.counts(report)), (3, {"rewritten": 29, "refused": 1}), err)
            self.assertEqual(report["refused_by"][0]["by"], "webhook policy.example.com")
            self.assertEqual(report["refused_by"][0]["first"], "secrets default/s00009")
            self.assertIn("secrets default/s00009: not rewritten: HTTP status %d: admission webhook "
                          '"policy.example.com" denied the request: no owner label' % code, err)

    def test_403_says_which_rule_is_missing(self):
        server = self.serve(100)
        self.on_patch(server, "", status(
            403, 'secrets "x" is forbidden: User "u" cannot patch resource "secrets" in API group "" '
                 'in the namespace "default"', "Forbidden"))
        code, report, err = self.run_it(server)
        self.assertEqual(code, 1, err)
        self.assertEqual(report["state"], "stopped")
        self.assertIn('lacks {apiGroups: [""], resources: ["secrets"], verbs: ["patch"]}', err)
        self.assertLess(sum(method == "PATCH" for method, _, _ in server.requests), 100)

    def test_403_of_the_list(self):
        server = self.serve(1)
        server.rule = lambda method, path, query, body: status(
            403, 'secrets is forbidden: User "u" cannot list resource "secrets"', "Forbidden") \
            if path == "/api/v1/secrets" else None
        code, _, err = self.run_it(server)
        self.assertEqual(code, 1, err)
        self.assertIn('verbs: ["list"]', err)

    def test_a_list_that_goes_round_is_told(self):
        server = self.serve(30, page=10)
        asked = []

        def rule(method, path, query, _body):
            if method == "GET" and path == "/api/v1/secrets" and query.get("continue", [""])[0]:
                asked.append(query["continue"][0])
                return 200, {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "items": [],
                             "metadata": {"resourceVersion": "1", "continue": query["continue"][0]}}
            return None
        server.rule = rule
        code, report, err = self.run_it(server)
        self.assertEqual((code, len(asked)), (3, 1), err)
        self.assertIn("the list of secrets: the API server says that the next page begins where this one did", err)
        self.assertEqual(self.counts(report)["rewritten"], 10)

    def test_429_slows_down_and_loses_nothing(self):
        server = self.serve(60)
        left = [20]

        def rule(method, _path, _query, _body):
            if method == "PATCH" and left[0] > 0:
                left[0] -= 1
                return (*status(429, "too many requests", "TooManyRequests"), ("Retry-After", "1"))
            return None
        server.rule = rule
        began = time.monotonic()
        code, report, err = self.run_it(server)
        self.assertEqual((code, self.counts(report)), (0, {"rewritten": 60}), err)
        self.assertGreater(time.monotonic() - began, 1)
        self.assertEqual(set(server.writes.values()), {1})

    def test_500_is_tried_again_and_then_told(self):
        server = self.serve(5)
        self.on_patch(server, "s00001", status(500, "Internal error occurred: etcd is slow"), 2)
        code, report, err = self.run_it(server)
        self.assertEqual((code, self.counts(report)), (0, {"rewritten": 5}), err)

    def test_a_lost_connection_is_begun_anew(self):
        server = self.serve(100)
        left = [10]

        def rule(method, _path, _query, _body):
            with server.lock:
                if method == "PATCH" and left[0] > 0:
                    left[0] -= 1
                    return "drop"
            return None
        server.rule = rule
        code, report, err = self.run_it(server)
        self.assertEqual((code, self.counts(report)), (0, {"rewritten": 100}), err)
        self.assertEqual(set(server.writes.values()), {1})

    def test_an_answer_that_is_lost_is_no_second_write(self):
        server = self.serve(10)
        lost = []

        def rule(method, path, _query, body):
            if method == "PATCH" and path.endswith("s00004") and not lost:
                lost.append(server.patch(("default", "s00004"), body))
                return "drop"
            return None
        server.rule = rule
        code, report, err = self.run_it(server)
        self.assertEqual((code, self.counts(report)), (0, {"rewritten": 9, "written_meanwhile": 1}),
                         err)
        self.assertEqual(server.writes["s00004"], 1)

    def test_410_goes_on_by_the_token_that_it_gives(self):
        for more in ({}, {"metadata": {"continue": "10@2000"}}):
            server = self.serve(30, page=10)
            expired = []

            def rule(_method, _path, query, _body, expired=expired, more=more):
                if "continue" in query and not expired:
                    expired.append(True)
                    return status(410, "the provided continue parameter is too old", "Expired", **more)
                return None
            server.rule = rule
            code, report, err = self.run_it(server)
            self.assertEqual(code, 0, err)
            self.assertEqual(server.stale(), 0)
            counts = self.counts(report)
            # Begun anew, those of the first page are met once more, and not written again.
            self.assertEqual(counts["rewritten"], 30)
            self.assertEqual("fresh" in counts or "written_meanwhile" in counts, not more)
            self.assertEqual(set(server.writes.values()), {1})

    def test_401_stops_and_says_why(self):
        server = self.serve(5)
        server.tokens = set()
        code, _, err = self.run_it(server)
        self.assertEqual(code, 1, err)
        self.assertIn("has expired, or is of another cluster", err)

    def test_a_certificate_that_does_not_match(self):
        server = self.serve(1)
        code, _, err = self.run_it(server, kubeconfig=server.kubeconfig(
            cluster={"tls-server-name": "other.example.com"}))
        self.assertEqual(code, 1, err)
        self.assertIn("must lead to the kubeconfig's certificate-authority and have this host's name",
                      err)
        self.assertEqual(server.requests, [])

    def test_a_list_that_fails_says_what_may_be_the_cause(self):
        server = self.serve(3)
        server.rule = lambda method, path, query, body: status(500, "Internal error occurred") \
            if path == "/api/v1/secrets" else None
        with concurrent.futures.ThreadPoolExecutor() as pool:
            run = pool.submit(self.run_it, server)
            until(lambda: len(server.requests) >= 5, 30)
            server.rule = lambda method, path, query, body: status(406, "no") \
                if path == "/api/v1/secrets" else None
            code, _, err = run.result()
        self.assertEqual(code, 1, err)
        self.assertIn("the list of secrets", err)

    def test_a_server_that_sends_whole_objects_is_refused(self):
        server = self.serve(1)
        server.rule = lambda method, path, query, body: (200, {
            "kind": "SecretList", "items": [{"metadata": {"name": "a"}, "data": {"p": kube_server.SECRET}}]}) \
            if path == "/api/v1/secrets" else None
        code, _, err = self.run_it(server)
        self.assertEqual(code, 1, err)
        self.assertIn("it does not give metadata alone", err)

    def test_resources_that_are_not_there(self):
        server = self.serve(1)
        for name, says in (("sekrets", "no such resource"), ("things.example.com", "no such group"),
                           ("bindings", "does not let it be listed and patched"),
                           ("Secrets", "expected a resource")):
            code, _, err = self.run_it(server, "--resource", name)
            self.assertIn(code, (1, 2), err)
            self.assertIn(says, err)


class Interrupts(Rig):
    def test_interrupted_ten_times_each_object_is_written_once(self):
        server = self.serve(600, page=50)
        server.before_patch = lambda key: time.sleep(0.002)
        runs = 0
        for _ in range(10):
            before = len(server.writes)
            # pylint: disable=consider-using-with
            process = subprocess.Popen(self.command(server, "--parallel", "4"), text=True,
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            until(lambda before=before: len(server.writes) >= min(before + 40, 600))
            process.send_signal(signal.SIGINT if runs % 2 else signal.SIGTERM)
            out, err = process.communicate(timeout=60)
            if process.returncode == 0:
                break
            runs += 1
            self.assertEqual(process.returncode, 3, err)
            self.assertEqual(json.loads(out)["state"], "interrupted")
            self.assertIn("run it again to go on", err)
        self.assertGreater(runs, 4)
        code, _, err = self.run_it(server)
        self.assertEqual(code, 0, err)
        self.assertEqual(server.stale(), 0)
        self.assertEqual(set(server.writes.values()), {1})
        patches = sum(method == "PATCH" for method, _, _ in server.requests)
        # Behind the last whole page, some were asked for again; each at most once a run.
        self.assertLess(patches, 600 + 12 * 2 * 50)

    def test_a_run_goes_on_with_the_page_that_was_not_done(self):
        server = self.serve(200, page=50)
        hold = threading.Event()
        server.before_patch = lambda key: hold.wait(20) if key[1] >= "s00120" else None
        # pylint: disable=consider-using-with
        process = subprocess.Popen(self.command(server, "--parallel", "4"), text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        until(lambda: len(server.writes) >= 118)
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        hold.set()
        _, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 3, err)
        server.requests.clear()
        code, report, err = self.run_it(server)
        self.assertEqual(code, 0, err)
        self.assertIn("goes on where the last run was interrupted, in secrets", err)
        self.assertLessEqual(report["resources"][0]["objects"], 100)
        self.assertEqual(set(server.writes.values()), {1})

    def test_a_record_of_another_key_is_begun_anew(self):
        server = self.serve(3)
        with open(self.folder + "/k.reencrypt", "w", encoding="utf-8") as file:
            json.dump({"server": server.url, "key_id": "kek1-old", "resources": ["secrets"],
                       "resource": 0, "continue": "2@1"}, file)
        code, report, err = self.run_it(server)
        self.assertEqual((code, self.counts(report)), (0, {"rewritten": 3}), err)
        self.assertIn("begins anew", err)

    def test_two_at_once_are_one_too_many(self):
        server = self.serve(20)
        hold = threading.Event()
        server.before_patch = lambda key: hold.wait(20)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            first = pool.submit(self.run_it, server)
            until(lambda: any(method == "PATCH" for method, _, _ in server.requests))
            code, _, err = self.run_it(server)
            hold.set()
            self.assertEqual(code, 1)
            self.assertIn("another kekctl reencrypt runs on this node", err)
            self.assertEqual(first.result()[0], 0)


class Guard(Rig):
    def test_nothing_is_touched_while_kekd_is_not_well(self):
        server = self.serve(3)
        self.plugin.healthz = "the HSM is away"
        code, _, err = self.run_it(server, "--timeout", "1s")
        self.assertEqual(code, 1, err)
        self.assertIn("is not well: the HSM is away", err)
        self.assertIn("nothing was rewritten", err)
        self.assertEqual(server.stale(), 3)

    def test_nodes_that_nobody_named_are_given_more_time(self):
        server = self.serve(1)
        self.announced(250)  # 1 s + 1 s + 240 s would be over
        # pylint: disable=consider-using-with
        process = subprocess.Popen(self.command(server), text=True, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        lines = [process.stderr.readline(), process.stderr.readline()]
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        self.assertIn("no other node is known (status.nodes), so none is asked", lines[0])
        self.assertRegex(lines[1], "waits: .* until 1[0-9] s from now")
        code, report, err = self.run_it(server, "--single-node")
        self.assertEqual((code, self.counts(report)), (0, {"rewritten": 1}), err)
        self.assertNotIn("warning", err)

    def test_a_kekd_that_does_not_answer(self):
        server = self.serve(3)
        self.kekd.stop(None).wait()
        code, _, err = self.run_it(server, "--timeout", "1s")
        self.assertEqual(code, 1, err)
        self.assertIn("does not answer, and its API server may still write under an older key", err)
        self.assertEqual(server.stale(), 3)

    def test_api_servers_are_given_time_to_hear_of_the_key(self):
        server = self.serve(3)
        self.announced(10)
        # pylint: disable=consider-using-with
        process = subprocess.Popen(self.command(server, "--single-node"), text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        line = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        self.assertRegex(line, "waits: .* may write under the one before until 2[23][0-9] s from now")
        self.assertEqual((process.returncode, out), (3, ""), err)
        self.assertIn("nothing was rewritten", err)
        self.assertEqual(server.stale(), 3)

    def test_it_holds_while_kekd_is_not_well_and_goes_on(self):
        server = self.serve(2000)
        server.before_patch = lambda key: time.sleep(0.05)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            run = pool.submit(self.run_it, server, "--parallel", "4")
            until(lambda: len(server.writes) > 20)
            self.plugin.healthz = "the HSM is away"
            time.sleep(6.5)
            held = len(server.writes)
            time.sleep(0.5)
            self.assertEqual(len(server.writes), held)
            server.before_patch = lambda key: None
            self.plugin.healthz = "ok"
            code, report, err = run.result()
        self.assertEqual((code, self.counts(report)), (0, {"rewritten": 2000}), err)
        self.assertIn("holds: kekd is not well: the HSM is away", err)
        self.assertIn("kekd is well again", err)

    def test_it_stops_when_the_key_changes(self):
        server = self.serve(400)
        server.before_patch = lambda key: time.sleep(0.1)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            run = pool.submit(self.run_it, server, "--parallel", "2")
            until(lambda: len(server.writes) > 5)
            self.plugin.key_id = "kek1-cd"
            code, report, err = run.result()
        self.assertEqual((code, report["state"]), (3, "stopped"), err)
        self.assertIn("announces another key by now", err)

    def test_an_api_server_that_is_not_ready(self):
        server = self.serve(3)
        server.ready = (500, b"[-]kms-providers failed: reason withheld\n")
        code, _, err = self.run_it(server, "--timeout", "1s")
        self.assertEqual(code, 1, err)
        self.assertIn("the API server is not ready", err)
        self.assertEqual(server.stale(), 3)

    def test_kms_v1_is_told(self):
        server = self.serve(3)
        server.ready = (200, b"[+]kms-provider-0 ok\n")
        code, _, err = self.run_it(server)
        self.assertEqual(code, 0, err)
        self.assertIn("uses KMS v1, under which it does not see that the key has changed", err)


class Migration(Rig):
    def test_the_clusters_own_way_is_followed(self):
        server = self.serve(3)
        server.migration = lambda asked: [
            {"type": "Running", "status": "True", "message": "3 of 3 to do"}] if asked < 2 else [
                {"type": "Running", "status": "True", "message": "0 of 3 to do"},
                {"type": "Succeeded", "status": "True"}]
        code, _, err = self.run_it(server, "--via", "storage-version-migration")
        self.assertEqual(code, 0, err)
        self.assertIn("secrets: 3 of 3 to do", err)
        self.assertIn("secrets: the migration succeeded", err)
        self.assertEqual(server.migrations, {})

    def test_one_that_waits_for_a_write_is_given_one(self):
        server = self.serve(5)
        server.touch("s00000")
        server.migration = lambda asked: [{"type": "Succeeded", "status": "True"}] if server.writes else []
        code, _, err = self.run_it(server, "--via", "storage-version-migration", "--timeout", "20s")
        self.assertEqual(code, 0, err)
        self.assertEqual(server.writes, {"s00001": 1})
        self.assertIn("secrets: kube-controller-manager has not begun it", err)

    def test_whoever_may_not_write_is_told_why_it_waits(self):
        server = self.serve(5)
        server.migration = lambda asked: [] if asked < 3 else [{"type": "Succeeded", "status": "True"}]
        server.rule = lambda method, path, query, body: status(
            403, 'secrets is forbidden: User "u" cannot list resource "secrets"', "Forbidden") \
            if path == "/api/v1/secrets" else None
        code, _, err = self.run_it(server, "--via", "storage-version-migration")
        self.assertEqual(code, 0, err)
        self.assertEqual(err.count("waits for somebody to write to the resource, and this user may not"), 1)

    def test_one_that_does_not_get_on_is_left(self):
        server = self.serve(3)
        server.migration = lambda asked: [{"type": "Running", "status": "True", "message": "begun"}]
        code, _, err = self.run_it(server, "--via", "storage-version-migration", "--timeout", "2s")
        self.assertEqual(code, 3, err)
        self.assertIn("does not get on (begun, for", err)
        self.assertIn("kekctl reencrypt without --via does the same itself", err)
        self.assertEqual(server.migrations, {})

    def test_one_that_fails(self):
        server = self.serve(3)
        server.migration = lambda asked: [{"type": "Failed", "status": "True", "message": "no rights"}]
        code, _, err = self.run_it(server, "--via", "storage-version-migration")
        self.assertEqual(code, 3, err)
        self.assertIn("the migration failed: no rights", err)
        self.assertEqual(server.migrations, {})

    def test_a_cluster_without_it(self):
        code, _, err = self.run_it(self.serve(3), "--via", "storage-version-migration")
        self.assertEqual(code, 1, err)
        self.assertIn("has no group storagemigration.k8s.io", err)


class Kubeconfigs(Rig):
    def test_what_is_refused_is_a_matter_of_usage(self):
        server = self.serve(1)
        for user, says in (({"exec": {"command": "aws"}}, "from a program (exec), which is not run"),
                           ({"client-key": "client.key"}, "no client-certificate")):
            code, _, err = self.run_it(server, kubeconfig=server.kubeconfig(user))
            self.assertEqual(code, 2, err)
            self.assertIn(says, err)
        code, _, err = self.run_it(server, kubeconfig=self.folder + "/none")
        self.assertEqual(code, 2, err)
        self.assertIn("cannot open the kubeconfig", err)
        self.assertEqual(server.requests, [])

    def test_one_that_others_may_read_is_told(self):
        server = self.serve(1)
        path = server.kubeconfig()
        os.chmod(path, 0o644)
        code, _, err = self.run_it(server, kubeconfig=path)
        self.assertEqual(code, 0, err)
        self.assertIn("may be read by others than its owner", err)

    def test_options_out_of_range(self):
        server = self.serve(1)
        for args in (("--parallel", "0"), ("--parallel", "257"), ("--rate", "0"), ("--rate", "x"),
                     ("--via", "magic"), ("--kubeconfig", "")):
            code, _, err = self.run_it(server, *args)
            self.assertEqual(code, 2, err)
            self.assertIn(args[0] + ": expected", err)


if __name__ == "__main__":
    unittest.main(verbosity=2)
