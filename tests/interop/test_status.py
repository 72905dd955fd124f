"""What a node says to the others: the page, who is let in to it, and what a hostile client costs."""

import hashlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time

import certs
import rig as rigs

REQUEST = b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n"


def split(address):
    host, port = address.rsplit(":", 1)
    return host, int(port)


def end_of(sock):
    """All that comes until the server ends."""
    got = b""
    while True:
        try:
            part = sock.recv(65536)
        except (ConnectionResetError, ssl.SSLEOFError):
            return got
        if not part:
            return got
        got += part


class StatusCase(rigs.SharedCase):
    """One kekd for all: each client is another."""

    @classmethod
    def setUpClass(cls):
        holder = rigs.Holder(cls)
        cls.addClassCleanup(lambda: holder.node is None or holder.node.cleanup(holder))
        holder.node = cls.node = rigs.Rig()
        cls.folder = cls.node.folder + "/tls"
        cls.ca = certs.Authority(cls.folder)
        cls.other = certs.Authority(cls.folder + "/other")
        cls.cert, cls.key = cls.ca.issue("/CN=cp1", "IP:127.0.0.1", name="cp1")
        cls.friend = cls.ca.issue("/CN=friend", name="friend")
        cls.address = rigs.own_address()
        cls.node.write(metrics=rigs.own_address(), settle="0s", status={
            "listen": cls.address, "cert": cls.cert, "key": cls.key, "ca": cls.ca.cert,
            "allow": ["friend", "by.dns.name"], "name": "cp1"})
        cls.node.start()
        holder.started = True

    def context(self, pair, version=None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(self.ca.cert)
        if pair is not None:
            context.load_cert_chain(*pair)
        if version is not None:
            context.minimum_version = context.maximum_version = version
        return context

    def ask(self, pair, request=REQUEST, version=None):
        """The whole answer to one request; ssl.SSLError where there is none."""
        with socket.create_connection(split(self.address), timeout=20) as plain, \
                self.context(pair, version).wrap_socket(plain) as tls:
            tls.sendall(request)
            return end_of(tls)

    def count(self, result):
        return self.node.metrics()['kekd_status_clients_total{result="%s"}' % result]



class Page(StatusCase):
    def turned_away(self, pair, words):
        """The handshake fails, for this reason in the log, and is counted."""
        before = self.count("refused")
        with self.assertRaises((ssl.SSLError, ConnectionResetError)):
            if self.ask(pair) == b"":
                raise ssl.SSLError("ended without an answer")
        self.assertEqual(self.count("refused"), before + 1)
        self.assertRegex(self.node.log(), "status: a client was refused: (%s)" % words)

    def test_the_page_says_what_this_node_announces(self):
        head, body = self.ask(self.friend).split(b"\r\n\r\n", 1)
        self.assertIn(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n", head)
        page = json.loads(body)
        status = self.node.client().status()
        with open(self.node.path, "rb") as file:
            config = hashlib.sha256(file.read()).hexdigest()
        primary = page["primary"]
        self.assertEqual(primary["key_id"], status.key_id)
        self.assertEqual(primary["key_id_hash"],
                         "sha256:" + hashlib.sha256(status.key_id.encode()).hexdigest())
        self.assertRegex(primary["announced_at"], r"^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        self.assertRegex(page["now"], r"^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        self.assertLessEqual(primary["announced_at"], page["now"])
        for key, value in (("node", "cp1"), ("keyring", "k8s-test"), ("config_sha256", config),
                           ("context_sha256", hashlib.sha256(b"interop").hexdigest()),
                           ("health", "good"), ("what", ""), ("todo", ""), ("rotation", None),
                           ("settle_ms", 0), ("refresh_ms", 1000)):
            self.assertEqual(page[key], value, key)
        self.assertEqual([(v["version"], v["state"], v["providers"], v["proven"])
                          for v in page["versions"]],
                         [(1, "active", {"hsm-a": "active"}, ["hsm-a"])])
        self.assertEqual(page["versions"][0]["kek_id"], primary["kek_id"])
        self.assertEqual(page["versions"][0]["key_id"], primary["key_id"])
        self.assertEqual([s["kek_id"] for s in page["sealing"]], [primary["kek_id"]])
        (provider,) = page["providers"]
        self.assertEqual((provider["name"], provider["label"], provider["answers"]),
                         ("hsm-a", "kek-test", True))
        self.assertRegex(provider["serial"], "^[0-9a-f]{16}$")
        self.assertLessEqual(page["versions"][0]["canary"]["hsm-a"]["opened_at"], page["now"])
        # The same on the metrics' listener, but for the time.
        code, plain = self.node.page("/status")
        self.assertEqual(code, 200)
        plain = json.loads(plain)
        for part in (page, plain):
            part.pop("now"), part.pop("since"), part["primary"].pop("announced_at")
            part["versions"][0].pop("canary")
        self.assertEqual(page, plain)

    def test_another_path_is_no_page(self):
        for path in (b"/metrics", b"/healthz", b"/"):
            self.assertIn(b"HTTP/1.1 404 ",
                          self.ask(self.friend, b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path))
        self.assertIn(b"HTTP/1.1 405 ",
                      self.ask(self.friend, b"POST /status HTTP/1.1\r\nHost: x\r\n\r\n"))
        head = self.ask(self.friend, b"HEAD /status HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertTrue(head.endswith(b"Connection: close\r\n\r\n"), head)

    def test_a_name_of_the_list_is_let_in_by_cn_and_by_dns(self):
        by_dns = self.ca.issue("/CN=somebody", "DNS:x.example.org,DNS:by.dns.name", name="by-dns")
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            for pair in (self.friend, by_dns):
                self.assertIn(b"HTTP/1.1 200 ", self.ask(pair, version=version))

    def test_a_name_that_is_not_on_the_list_is_forbidden_and_named(self):
        before = self.count("forbidden")
        strangers = ("/CN=stranger", ""), ("/CN=friend.evil", "DNS:friend.example.org"), \
            ("/O=friend", "email:friend@friend,IP:127.0.0.1"), ("/CN=Friend", "DNS:*.dns.name"), \
            ("/CN=\u0661 \u20ac", "URI:friend")
        for subject, san in strangers:
            pair = self.ca.issue(subject, san, name="stranger")
            answer = self.ask(pair)
            self.assertIn(b"HTTP/1.1 403 Forbidden\r\n", answer, subject)
            self.assertNotIn(b"kek1-", answer)
        self.assertIn("\"\u0661 \u20ac\" is not in status.allow of this node", answer.decode())
        self.assertEqual(self.count("forbidden"), before + len(strangers))
        self.assertRegex(self.node.log(),
                         "its name is not in status.allow .*subject=\"?stranger")

    def test_a_client_without_a_good_certificate_gets_no_page(self):
        self.turned_away(None, "peer did not return a certificate")
        self.turned_away(self.other.issue("/CN=friend"), "self-signed|unable to get (local )?issuer")
        self.turned_away(self.ca.issue("/CN=friend", days=-1, name="late"), "certificate has expired")
        self.turned_away(self.ca.issue("/CN=friend", usage="serverAuth", name="server"),
                     "unsuitable certificate purpose|unsupported certificate purpose")

    def test_old_tls_is_not_spoken(self):
        done = subprocess.run(["openssl", "s_client", "-connect", self.address, "-tls1_1",
                               "-cipher", "ALL:@SECLEVEL=0"], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False)
        self.assertIn(b"Cipher is (NONE)", done.stdout)
        self.assertNotEqual(done.returncode, 0)

    def test_plain_http_is_told_what_this_port_is(self):
        with socket.create_connection(split(self.address), timeout=20) as plain:
            plain.sendall(REQUEST)
            answer = end_of(plain)
        self.assertIn(b"HTTP/1.1 400 Bad Request\r\n", answer)
        self.assertIn(b"This port speaks TLS", answer)

    def test_the_rotation_on_record_is_shown_and_a_damaged_one_is_none(self):
        path = self.node.state + "/k8s-test.rotation"
        record = {"node": "cp2", "step": "create", "version": 4, "kek_id": "0f" * 16,
                  "since": "2026-01-02T03:04:05Z", "pid": 77}
        self.addCleanup(lambda: os.path.lexists(path) and os.unlink(path))

        def shown(content):
            with open(path, "wb") as file:
                file.write(content)
            return json.loads(self.node.page("/status")[1])["rotation"]
        self.assertEqual(shown(json.dumps(dict(record, more={"a": [1]})).encode()), record)
        for wrong in (b"", b"{", b"[]", b"null", b"\xff", b"[" * 4000, json.dumps(record).encode()[:-1],
                      json.dumps(dict(record, version="4")).encode(),
                      json.dumps(dict(record, version=0)).encode(),
                      json.dumps(dict(record, kek_id="0f")).encode(),
                      json.dumps(dict(record, node=None)).encode(),
                      json.dumps(record).encode() + b" " * 4096):
            self.assertIsNone(shown(wrong), wrong[:80])
        os.unlink(path)
        os.mkfifo(path)  # nobody waits for somebody to write it
        self.assertIsNone(json.loads(self.node.page("/status")[1])["rotation"])

    def test_the_metric_says_when_the_certificate_ends(self):
        end = self.node.metric("kekd_status_certificate_expiry_timestamp_seconds")
        self.assertAlmostEqual(end, time.time() + 365 * 86400, delta=3600)

    def test_a_renewed_certificate_is_taken_and_a_wrong_one_is_not(self):
        def end():
            return self.node.metric("kekd_status_certificate_expiry_timestamp_seconds")
        old = end()
        self.assertNotIn("ends to be valid", self.node.log())
        with open(self.cert, "rb") as file:
            before = file.read()
        with open(self.key, "rb") as file:
            key = file.read()
        with open(self.cert, "wb") as file:
            file.write(b"nothing\n")
        self.node.signal(signal.SIGHUP)
        self.node.wait_log("the certificates stay as they were: status.cert: .*cp1.pem has no certificate")
        self.assertIn(b"HTTP/1.1 200 ", self.ask(self.friend))
        log = self.node.log()
        self.ca.issue("/CN=cp1", "IP:127.0.0.1", days=-1, name="cp1")
        self.node.signal(signal.SIGHUP)
        self.node.wait_log("the certificates stay as they were: status.cert: .*cp1.pem, held against .*: certificate has expired")
        self.assertIn(b"HTTP/1.1 200 ", self.ask(self.friend))
        self.assertEqual(end(), old)
        self.assertNotIn("is not valid any more", self.node.log()[len(log):])
        self.ca.issue("/CN=cp1", "IP:127.0.0.1", days=10, name="cp1")
        self.node.signal(signal.SIGHUP)
        rigs.wait_for(lambda: end() < old, "the new certificate's end")
        self.node.wait_log(r"status.cert: .*cp1.pem ends to be valid in (9|10) days")
        self.assertIn(b"HTTP/1.1 200 ", self.ask(self.friend))
        self.ca.issue("/CN=cp1", "IP:127.0.0.1", days=5, name="cp1")
        self.node.signal(signal.SIGHUP)
        self.node.wait_log(r"status.cert: .*cp1.pem ends to be valid in [45] days")
        for path, content in ((self.cert, before), (self.key, key)):
            with open(path, "wb") as file:
                file.write(content)
        self.node.signal(signal.SIGHUP)
        rigs.wait_for(lambda: end() == old, "the old certificate")


class Hostile(StatusCase):
    """Who wants to do harm costs places for ten seconds, and nothing else."""

    def hello(self):
        """A ClientHello, as OpenSSL makes it."""
        out = ssl.MemoryBIO()
        tls = self.context(self.friend).wrap_bio(ssl.MemoryBIO(), out)
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        return out.read()

    def connect(self, text=b""):
        sock = socket.create_connection(split(self.address), timeout=30)
        self.addCleanup(sock.close)
        sock.sendall(text)
        return sock

    def quick(self):
        """The API server notices nothing."""
        client = self.node.client()
        began = time.monotonic()
        for _ in range(20):
            client.open(client.encrypt(os.urandom(32)))
        client.close()
        self.assertLess(time.monotonic() - began, 5)

    def test_garbage_costs_nothing(self):
        for text in (b"\0" * 100, b"\x16\x03\x01\xff\xff" + os.urandom(70000),
                     b"\x16\x03\x01\x00\x05\x01\xff\xff\xff\xff", os.urandom(300),
                     b"\x80\x2e\x01\x00\x02" + os.urandom(50), self.hello()[:-1] + b"x" * 5000):
            sock = self.connect()
            try:
                sock.sendall(text)
                sock.shutdown(socket.SHUT_WR)
                end_of(sock)
            except (BrokenPipeError, ConnectionResetError):
                pass
        self.assertIn(b"HTTP/1.1 200 ", self.ask(self.friend))
        self.quick()

    def test_too_much_of_a_request_is_refused(self):
        self.assertIn(b"HTTP/1.1 431 ", self.ask(self.friend, b"GET /status HTTP/1.1\r\nX: " + b"x" * 5000))

    def test_a_handshake_that_is_begun_again_is_refused(self):
        with subprocess.Popen(["openssl", "s_client", "-connect", self.address, "-tls1_2", "-cert",
                               self.friend[0], "-key", self.friend[1]], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as client:
            client.stdin.write(b"R\n")
            client.stdin.flush()
            out = client.communicate(timeout=60)[0]
        self.assertIn(b"RENEGOTIATING", out)
        self.assertIn(b"no renegotiation", out)

    def test_all_places_taken_are_free_after_ten_seconds(self):
        """Silent ones, half a handshake, and whoever shakes hands in a row: 16 of them, and no more."""
        began = time.monotonic()
        for i in range(8):
            self.connect(b"" if i % 2 else self.hello()[:50])
        for _ in range(30):
            sock = self.connect(self.hello())
            try:
                if not sock.recv(1):
                    break
            except ConnectionResetError:
                break
            sock.close()  # the place that a handshake was begun in stays taken
        else:
            self.fail("handshakes in a row are not limited")
        try:
            self.assertEqual(end_of(self.connect(self.hello())), b"")
        except BrokenPipeError:
            pass
        self.quick()
        self.assertEqual(self.node.page("/healthz")[0], 200)

        def answers():
            try:
                return b"HTTP/1.1 200 " in self.ask(self.friend)
            except (ssl.SSLError, OSError):
                return False
        rigs.wait_for(answers, "a free place")
        self.assertGreater(time.monotonic() - began, 8)


class Start(rigs.Case):
    """What is wrong with the files stops kekd before it serves, and is named."""

    def test_wrong_files_are_named(self):
        node = self.rig(generate=False)
        ca = certs.Authority(node.folder + "/tls")
        other = certs.Authority(node.folder + "/other")
        cert, key = ca.issue("/CN=cp1", "IP:127.0.0.1", name="cp1")
        good = {"listen": rigs.own_address(), "cert": cert, "key": key, "ca": ca.cert,
                "allow": ["friend"]}
        locked = node.folder + "/locked.key"
        certs.openssl("pkey", "-in", key, "-aes256", "-passout", "pass:x", "-out", locked)
        open_key = node.folder + "/open.key"
        shutil.copy(key, open_key)
        os.chmod(open_key, 0o644)
        cases = (
            ({"cert": "/nowhere/x.pem"}, "status.cert: /nowhere/x.pem cannot be opened by uid [0-9]*: No such file"),
            ({"cert": key}, "status.cert: .*cp1.key has no certificate as PEM"),
            ({"cert": node.folder}, "status.cert: .* is no regular file"),
            ({"key": cert}, "status.key: .*"),
            ({"key": "/nowhere/x.key"}, "status.key: /nowhere/x.key cannot be opened by uid [0-9]*: No such file"),
            ({"key": ca.key}, "status.key: .*ca.key is not the key of the certificate in status.cert"),
            ({"key": locked}, "status.key: .*locked.key has a passphrase, and nobody is there"),
            ({"key": open_key}, "status.key: .*open.key has mode 0644: .*: chmod 0640 or 0600"),
            ({"ca": key}, "status.ca: .*cp1.key has no certificate as PEM"),
            ({"ca": other.cert}, "status.cert: .*held against status.ca .*: .*it must lead there"),
            (dict(zip(("cert", "key"), ca.issue("/CN=cp1", usage="clientAuth", name="client"))),
             "status.cert: .*client.pem, held against .*purpose.*be for TLS servers"),
        )
        for change, words in cases:
            with self.subTest(words=words):
                node.write(status=dict(good, **change))
                node.spawn()
                self.assertEqual(node.kekd.wait(rigs.PATIENCE), 1)
                node.kekd = None
                run = node.log().rsplit("--- run", 1)[1]
                self.assertRegex(run, "cannot start: " + words)
                self.assertFalse(os.path.lexists(node.socket))

    def test_a_certificate_that_is_over_costs_no_kms_call(self):
        node = self.rig()
        ca = certs.Authority(node.folder + "/tls")
        cert, key = ca.issue("/CN=cp1", "IP:127.0.0.1", days=-1, name="late")
        node.write(status={"listen": rigs.own_address(), "cert": cert, "key": key, "ca": ca.cert,
                           "allow": ["cp1"]})
        node.start()
        node.wait_log("status.cert: .*late.pem is not valid any more: the other nodes do not hear this one")

    def test_one_that_is_over_is_no_worse_than_another_that_is(self):
        node = self.rig(config={"metrics": rigs.own_address()})
        ca = certs.Authority(node.folder + "/tls")
        cert, key = ca.issue("/CN=cp1", "IP:127.0.0.1", days=-1, name="late")
        node.write(status={"listen": rigs.own_address(), "cert": cert, "key": key, "ca": ca.cert, "allow": ["cp1"]})
        node.start()
        old = node.metric("kekd_status_certificate_expiry_timestamp_seconds")
        time.sleep(1.1)  # a certificate's times are of seconds
        ca.issue("/CN=cp1", "IP:127.0.0.1", days=-1, name="late")
        node.signal(signal.SIGHUP)
        rigs.wait_for(lambda: node.metric("kekd_status_certificate_expiry_timestamp_seconds") > old, "the later one")
        node.wait_log("the certificates were read anew, and the other nodes still do not hear this one: status.cert: .*late.pem, "
                      "held against .*: certificate has expired")

    def test_an_address_that_is_taken_is_named(self):
        node = self.rig(generate=False)
        ca = certs.Authority(node.folder + "/tls")
        cert, key = ca.issue("/CN=cp1", "IP:127.0.0.1", name="cp1")
        address = rigs.own_address()
        with socket.create_server(split(address)):
            node.write(status={"listen": address, "cert": cert, "key": key, "ca": ca.cert,
                               "allow": ["friend"]})
            node.spawn()
            self.assertEqual(node.kekd.wait(rigs.PATIENCE), 1)
            node.kekd = None
        self.assertRegex(node.log(), "cannot start: status.listen: listening on .* address already in use")


if __name__ == "__main__":
    rigs.main()
