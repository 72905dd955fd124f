#!/usr/bin/python3
"""kekctl reencrypt against an API server that answers as it is told to, and a plugin that nobody here wrote (grpcio).
Skipped (77) where grpcio is missing."""

import base64
import concurrent.futures
import hashlib
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

for room in ("unit", "interop"):
    sys.path.insert(0, os.path.join(os.environ["abs_top_srcdir"], "tests", room))
# pylint: disable=wrong-import-position
import kube_server
import proc  # noqa: F401  pylint: disable=unused-import  # so that SIGINT is heard
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


def key_id_of(kek_id):
    """As docs/envelope-format.md has it, without a context."""
    return "kek1-" + hashlib.sha256(b"kekd/key_id/1" + bytes(2) + b"\x01" + kek_id).hexdigest()[:32]


KEK_ID = bytes(15) + b"\x01"
KEY_ID = key_id_of(KEK_ID)


class Plugin(grpc.GenericRpcHandler):
    """kekd's Status."""

    def __init__(self):
        self.healthz, self.key_id = "ok", KEY_ID

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
        """When this node's kekd announced its key; the record itself was written a moment ago, for what else is in it."""
        witness = b"KEK\x01\x01\x01\x01\x01" + KEK_ID + (40).to_bytes(2, "big") + bytes(40 + 16 + 16 + 32)
        with open(self.folder + "/k.json", "w", encoding="utf-8") as file:
            json.dump({"format": 1, "keyring": "k", "context": "",
                       "primary": {"number": 1, "kek_id": KEK_ID.hex(), "announced_ms": int(1000 * (time.time() - ago))},
                       "versions": [{"number": 1, "kek_id": KEK_ID.hex(), "gcm_wraps": 0,
                                     "witness": base64.b64encode(witness).decode()}]}, file)

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
        self.assertIn("1234 written", err)

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

    def test_a_token_file_that_is_away_for_a_moment(self):
        server = self.serve(40, page=10)
        token = self.folder + "/token"
        with open(token, "w", encoding="utf-8") as file:
            file.write("a-token\n")
        server.before_patch = lambda key: os.remove(token) if key[1] == "s00015" else None
        code, report, err = self.run_it(server, "--parallel", "1", kubeconfig=server.kubeconfig({"tokenFile": "token"}))
        self.assertEqual((code, self.counts(report)), (0, {"rewritten": 40}), err)

    def test_many_at_once_with_a_large_token(self):
        server = self.serve(300)
        server.tokens = {"t" * 9000}
        code, report, err = self.run_it(server, "--parallel", "256", kubeconfig=server.kubeconfig({"token": "t" * 9000}))
        self.assertEqual((code, self.counts(report)), (0, {"rewritten": 300}), err)

    def test_a_resource_that_is_named_twice_is_one(self):
        server = self.serve(3)
        code, report, err = self.run_it(server, "--resource", "secrets", "--resource", "secrets")
        self.assertEqual((code, self.counts(report)), (0, {"rewritten": 3}), err)

    def test_two_nodes_that_do_it_at_once_write_each_object_once(self):
        server = self.serve(300)
        other = self.folder + "/other"
        os.mkdir(other)
        with open(self.folder + "/kekd.yaml", encoding="utf-8") as file:
            text = file.read().replace("state_dir: " + self.folder, "state_dir: " + other)
        with open(other + "/kekd.yaml", "w", encoding="utf-8") as file:
            file.write(text)
        os.link(self.folder + "/k.json", other + "/k.json")
        command = self.command(server)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            ends = [pool.submit(subprocess.run, [*command[:2], where, *command[3:]], check=False, capture_output=True,
                                timeout=60) for where in (command[2], other + "/kekd.yaml")]
            for end in ends:
                self.assertEqual(end.result().returncode, 0, end.result().stderr)
        self.assertEqual((server.stale(), set(server.writes.values())), (0, {1}))

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

    def test_409_that_does_not_end_is_named(self):
        server = self.serve(3)
        self.on_patch(server, "s00001", status(409, "the object has been modified", "Conflict"))
        code, report, err = self.run_it(server)
        self.assertEqual((code, self.counts(report)), (3, {"rewritten": 2, "refused": 1}), err)
        self.assertIn("s00001: not rewritten: HTTP status 409, 8 times, each for the version", err)

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
        self.assertIn("the list of secrets: the list goes round: the next page begins where this one did", err)
        self.assertEqual(self.counts(report)["rewritten"], 10)

    def on_list(self, server, answer):
        """answer: of how many pages were asked for before, and where this one begins; None: as it is."""
        asked = []

        def rule(method, path, query, _body):
            if method != "GET" or path != "/api/v1/secrets":
                return None
            start = query.get("continue", [""])[0]
            asked.append(start)
            return answer(len(asked) - 1, start)
        server.rule = rule
        return asked

    def page(self, server, names, following):
        metadata = {"resourceVersion": "1", **({"continue": following} if following else {})}
        return 200, {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
                     "items": [server.describe(("default", name)) for name in names]}

    def test_a_list_that_goes_round_by_ever_other_places(self):
        server = self.serve(30)
        asked = self.on_list(server, lambda at, _: self.page(server, ["s%05d" % (at % 30)], "place %d" % at))
        code, report, err = self.run_it(server)
        self.assertEqual(code, 3, err)
        self.assertIn("the list goes round: a page has an object that one before it had", err)
        self.assertLess(len(asked), 100)
        self.assertEqual(self.counts(report)["rewritten"], 30)

    def test_pages_without_an_object_and_without_an_end(self):
        server = self.serve(3)
        asked = self.on_list(server, lambda at, _: self.page(server, [], "place %d" % at))
        code, _, err = self.run_it(server)
        self.assertEqual(code, 1, err)
        self.assertIn("page after page has no object", err)
        self.assertLess(len(asked), 20)

    def test_a_place_that_is_too_long_to_keep_is_no_end_of_the_list(self):
        server = self.serve(3)
        self.on_list(server, lambda at, _: self.page(server, ["s00000"], "x" * 20000))
        code, _, err = self.run_it(server)
        self.assertNotEqual(code, 0, err)
        self.assertIn("the place at which the list goes on has more than", err)

    def test_410_again_and_again_comes_to_an_end(self):
        server = self.serve(30, page=10)
        asked = self.on_list(server, lambda _, start: status(410, "too old", "Expired") if start else None)
        code, _, err = self.run_it(server)
        self.assertEqual(code, 3, err)
        self.assertIn("the list of secrets: HTTP status 410", err)
        self.assertLess(len(asked), 40)

    def test_an_api_server_that_sends_the_list_away_for_long(self):
        server = self.serve(3)
        self.on_list(server, lambda _, start: (*status(429, "later", "TooManyRequests"), ("Retry-After", "300")))
        began = time.monotonic()
        code, _, err = self.run_it(server, "--timeout", "1s")
        self.assertEqual(code, 1, err)
        self.assertIn("no object was rewritten for 1 s: HTTP status 429: later", err)
        self.assertLess(time.monotonic() - began, 30)

    def test_a_webhook_that_is_down_for_all_comes_to_an_end(self):
        server = self.serve(30)
        self.on_patch(server, "", status(500, 'failed calling webhook "policy.example.com": connection refused'))
        began = time.monotonic()
        code, report, err = self.run_it(server, "--timeout", "3s")
        self.assertEqual((code, report["state"]), (1, "stopped"), err)
        self.assertIn("failed calling webhook", err)
        self.assertLess(time.monotonic() - began, 40)

    def test_404_of_the_resource_is_not_taken_for_an_object_that_is_gone(self):
        server = self.serve(20)
        self.on_patch(server, "s00003", (404, b"404 page not found\n"))
        code, report, err = self.run_it(server)
        self.assertEqual((code, self.counts(report)), (3, {"rewritten": 19, "refused": 1}), err)
        self.assertIn("the API server does not serve the resource now", err)

    def test_an_answer_of_another_object_is_not_taken(self):
        for more in ({"name": "s00001"}, {"uid": "uid-of-another"}, {"namespace": "other"}):
            server = self.serve(3)
            answer = server.describe(("default", "s00002"))
            answer["metadata"].update(more, resourceVersion="99")
            self.on_patch(server, "s00002", (200, answer))
            code, report, err = self.run_it(server, "--parallel", "1")
            self.assertEqual((code, report["state"]), (3, "stopped"), err)
            self.assertIn("secrets default/s00002: the answer is of another object", err)

    def test_a_conflict_is_no_write_where_the_list_has_no_version(self):
        server = self.serve(3)
        lists = server.list

        def without(query):
            code, answer = lists(query)
            return code, dict(answer, metadata={"resourceVersion": ""})
        server.list = without
        touched = []

        def touch(key):
            if key[1] == "s00001" and not touched:
                touched.append(key)
                server.version += 1
                server.objects[key]["version"] = server.version  # by somebody under the old key
        server.before_patch = touch
        code, report, err = self.run_it(server)
        self.assertEqual((code, self.counts(report)), (0, {"rewritten": 3}), err)

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

    def test_what_holds_everything_up_is_told_meanwhile(self):
        server = self.serve(3)
        until = time.monotonic() + 6.5

        def rule(method, path, _query, _body):
            if method == "PATCH" and path.endswith("s00001") and time.monotonic() < until:
                return (*status(429, "too many requests", "TooManyRequests"), ("Retry-After", "1"))
            return None
        server.rule = rule
        code, report, err = self.run_it(server)
        self.assertEqual((code, self.counts(report)), (0, {"rewritten": 3}), err)
        self.assertRegex(err, r"no object was rewritten for [56] s: HTTP status 429: too many requests")

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

    def test_before_there_is_anything_to_go_on_from_it_ends_at_once(self):
        server = self.serve(3)
        hold = threading.Event()
        server.rule = lambda *_: hold.wait(20) and "drop"
        # pylint: disable=consider-using-with
        process = subprocess.Popen(self.command(server), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        until(lambda: server.requests)
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, -signal.SIGINT)
        self.assertLess(time.monotonic() - began, 10)
        hold.set()

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

    def interrupted(self, server, done, *args):
        # pylint: disable=consider-using-with
        process = subprocess.Popen(self.command(server, *args), text=True, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        until(done)
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 3, err)
        return err

    def test_what_was_refused_is_met_again_by_the_run_that_goes_on(self):
        server = self.serve(200, page=50)
        answer = status(422, 'admission webhook "policy.example.com" denied the request: no')
        server.rule = lambda method, path, _query, _body: \
            answer if method == "PATCH" and path.endswith("s00060") else None
        self.interrupted(server, lambda: len(server.writes) >= 140, "--parallel", "2", "--rate", "150")
        code, report, err = self.run_it(server)
        self.assertEqual((code, report["resources"][0]["refused"]), (3, 1), err)
        self.assertEqual(server.stale(), 1)
        self.assertEqual(set(server.writes.values()), {1})

    def test_a_place_on_record_that_the_server_does_not_know(self):
        server = self.serve(30, page=10)
        with open(self.folder + "/k.reencrypt", "w", encoding="utf-8") as file:
            json.dump({"server": server.url, "key_id": KEY_ID, "resources": ["secrets"], "resource": 0,
                       "continue": "of another"}, file)
        lists = server.list
        server.list = lambda query: status(400, "continue key is not valid", "BadRequest") \
            if query.get("continue") == ["of another"] else lists(query)
        code, report, err = self.run_it(server)
        self.assertEqual((code, self.counts(report)), (0, {"rewritten": 30}), err)

    def test_a_record_that_cannot_be_written_is_told_once(self):
        server = self.serve(600, page=10)
        os.mkdir(self.folder + "/k.reencrypt")
        err = self.interrupted(server, lambda: len(server.writes) >= 350, "--rate", "100")
        self.assertEqual(err.count("what is done cannot be put on record"), 1, err)

    def test_two_at_once_are_one_too_many(self):
        server = self.serve(20)
        hold = threading.Event()
        server.before_patch = lambda key: hold.wait(20)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            first = pool.submit(self.run_it, server)
            until(lambda: any(method == "PATCH" for method, _, _ in server.requests))
            code, _, err = self.run_it(server)
            os.unlink(os.path.join(self.folder, "k.reencrypt.lock"))
            removed = self.run_it(server)
            hold.set()
            self.assertEqual((code, removed[0]), (1, 1))
            self.assertRegex(err, r"another kekctl reencrypt runs on this node \(pid [0-9]+; it holds ")
            self.assertIn("another kekctl reencrypt runs on this node (pid unknown: its lock file was removed; ", removed[2])
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
        self.assertRegex(lines[1], "waits: .* for 1[0-9] s more")
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
        self.assertRegex(line, "waits: .* may write under the one before until 2.*Z, for 2[23][0-9] s more")
        self.assertEqual((process.returncode, out), (3, ""), err)
        self.assertIn("nothing was rewritten", err)
        self.assertEqual(server.stale(), 3)

    def test_a_timeout_ends_that_wait_too(self):
        server = self.serve(3)
        self.announced(10)
        began = time.monotonic()
        code, _, err = self.run_it(server, "--single-node", "--timeout", "1s")
        self.assertEqual(code, 1, err)
        self.assertRegex(err, "nothing was rewritten: .* may write under the one before until 2.*Z")
        self.assertLess(time.monotonic() - began, 20)

    def test_a_record_without_a_time_is_waited_for_since_it_was_seen(self):
        server = self.serve(3)
        with open(self.folder + "/k.json", "w", encoding="utf-8") as file:
            file.write("{}")
        code, _, err = self.run_it(server, "--single-node", "--timeout", "2s")
        self.assertEqual(code, 1, err)
        self.assertEqual(err.count("waits: "), 1, err)

    def test_a_node_of_without_that_is_none(self):
        code, _, err = self.run_it(self.serve(3), "--without", "cp7:9443")
        self.assertEqual(code, 2, err)
        self.assertIn('--without: there is no node "cp7:9443"', err)

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
        self.assertNotIn("holds: ", err)

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

    def test_one_whose_making_was_not_answered_is_not_left_behind(self):
        server = self.serve(3)
        server.migration = lambda asked: [{"type": "Succeeded", "status": "True"}]
        lost = []

        def rule(method, path, _query, body):
            if method == "POST" and not lost:
                lost.append(server.migrate(method, path.strip("/").split("/"), body))
                return "drop"
            return None
        server.rule = rule
        code, _, err = self.run_it(server, "--via", "storage-version-migration")
        self.assertEqual((code, lost[0][0]), (0, 201), err)
        self.assertEqual(server.migrations, {})

    def test_a_key_that_changed_meanwhile_is_told(self):
        server = self.serve(3)

        def ends(asked):
            self.plugin.key_id = "kek1-cd"
            return [{"type": "Succeeded", "status": "True"}]
        server.migration = ends
        code, _, err = self.run_it(server, "--via", "storage-version-migration")
        self.assertEqual(code, 3, err)
        self.assertIn("announces another key by now", err)

    def test_a_cluster_without_it(self):
        code, _, err = self.run_it(self.serve(3), "--via", "storage-version-migration")
        self.assertEqual(code, 1, err)
        self.assertIn("has no group storagemigration.k8s.io", err)


class Decrypting(Rig):
    """What keeps a cluster from being decrypted by mistake; tests/interop has what does it."""

    def file(self, *providers, resources=("secrets",)):
        path = self.folder + "/encryption.yaml"
        kms = {"kms": {"apiVersion": "v2", "name": "kekd", "endpoint": "unix:///run/kekd/kms.sock"}}
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration", "resources": [
                {"resources": list(resources), "providers": [{"identity": {}} if name == "identity" else kms
                                                             for name in providers]}]}, file)
        return path

    def test_what_is_not_said_in_full_is_not_done(self):
        server = self.serve(3)
        with open(self.folder + "/kekd.yaml", encoding="utf-8") as file:
            without = file.read()
        with open(self.folder + "/kekd.yaml", "a", encoding="utf-8") as file:
            file.write("etcd: [{name: main, endpoints: [https://127.0.0.1:1]}]\n")
        good = self.file("identity", "kekd")
        for args, says in ((["--decrypt"], "--decrypt needs --from FILE"),
                           (["--from", good], "--from FILE is for --decrypt alone"),
                           (["--decrypt", "--from", good, "--resource", "configmaps"],
                            "identity is not the first provider of configmaps"),
                           (["--decrypt", "--from", self.folder + "/none"], "none")):
            code, _, err = self.run_it(server, *args)
            self.assertEqual(code, 2, err)
            self.assertIn(says, err)
        code, _, err = self.run_it(server, "--decrypt", "--from", self.file("identity", "kekd", resources=["*.apps"]))
        self.assertEqual(code, 2, err)
        self.assertIn("warning: what *.apps in", err)
        code, _, err = self.run_it(server, "--decrypt", "--from", self.file("kekd", "identity"))
        self.assertEqual(code, 2, err)
        self.assertIn("identity is the first provider of no resource that it names", err)
        with open(self.folder + "/kekd.yaml", "w", encoding="utf-8") as file:
            file.write(without)
        code, _, err = self.run_it(server, "--decrypt", "--from", self.file("identity", "kekd"))
        self.assertEqual(code, 2, err)
        self.assertIn("--decrypt needs an etcd of this context", err)
        self.assertEqual((server.requests, server.stale()), ([], 3))


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
        self.assertRegex(err, f"kubeconfig {self.folder}/none cannot be opened by uid .*: No such file")
        self.assertIn("--kubeconfig", err)
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
