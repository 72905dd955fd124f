#!/usr/bin/python3
"""kekctl as it is called: usage, the config commands, the kms commands against a gRPC server that
nobody here wrote (grpcio). Skipped (77) where grpcio is missing."""

import base64
import concurrent.futures
import fcntl
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import termios
import time
import unittest

try:
    import grpc
except ImportError:
    print("python3-grpcio is missing")
    sys.exit(77)

KEKCTL = os.path.join(os.environ["abs_top_builddir"], "kekctl")
UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z")

GOOD = """listen: unix://{socket}
keyring: k
providers:
  - name: a
    type: pkcs11
    uri: "pkcs11:token=t?module-path=/m.so&pin-source=file:/pin"
"""


def kekctl(*args, stdin=b""):
    done = subprocess.run([KEKCTL, *args], input=stdin, capture_output=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr.decode()


def field(number, value):
    """A length-delimited field of at most 16,383 bytes."""
    value = value.encode() if isinstance(value, str) else value
    size = bytes([len(value)]) if len(value) < 128 else bytes([len(value) & 127 | 128, len(value) >> 7])
    return bytes([number << 3 | 2]) + size + value


def fields(message):
    found, at = {}, 0
    while at < len(message):
        number, size, shift = message[at] >> 3, 0, 0
        at += 1
        while True:
            size |= (message[at] & 127) << shift
            shift += 7
            at += 1
            if message[at - 1] < 128:
                break
        found[number] = message[at:at + size]
        at += size
    return found


class Plugin(grpc.GenericRpcHandler):
    """Answers what it is told to; remembers what it was asked."""

    def __init__(self):
        self.answers, self.asked = {}, []

    def service(self, call):
        def handle(request, context):
            self.asked.append((call.method, fields(request)))
            answer = self.answers[call.method]
            if isinstance(answer, tuple):
                context.abort(*answer)
            return answer
        return grpc.unary_unary_rpc_method_handler(handle) if call.method in self.answers else None


HASH = "sha256:" + hashlib.sha256(b"kek1-ab").hexdigest()  # as the API server's log and metrics have it
V1, V2 = "/v1beta1.KeyManagementService/", "/v2.KeyManagementService/"


class Kms(unittest.TestCase):
    def setUp(self):
        # pylint: disable=consider-using-with
        self.folder = tempfile.TemporaryDirectory()
        self.socket = os.path.join(self.folder.name, "kms.sock")
        self.plugin = Plugin()
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(2), handlers=[self.plugin])
        self.server.add_insecure_port("unix://" + self.socket)
        self.server.start()

    def tearDown(self):
        self.server.stop(None).wait()
        self.folder.cleanup()

    def kms(self, *args, stdin=b""):
        return kekctl("kms", *args, "--socket", self.socket, "--timeout", "20s", stdin=stdin)

    def status(self, healthz="ok", version="v2", key_id="kek1-ab"):
        self.plugin.answers[V2 + "Status"] = field(1, version) + field(2, healthz) + field(3, key_id)

    def test_status(self):
        self.status()
        code, out, err = self.kms("status")
        self.assertEqual((code, err), (0, ""))
        self.assertEqual([line.split() for line in out.decode().splitlines()],
                         [["version", "v2"], ["healthz", "ok"], ["key_id", "kek1-ab"],
                          ["key_id_hash", HASH]])
        code, out, err = self.kms("status", "--output", "json")
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(json.loads(out), {"version": "v2", "healthz": "ok", "key_id": "kek1-ab",
                                           "key_id_hash": HASH})
        self.assertEqual(self.plugin.asked, [(V2 + "Status", {})] * 2)

    def test_status_that_the_api_server_refuses_exits_3(self):
        for change in ({"healthz": "no\x1b[31m provider"}, {"version": "v3"}, {"key_id": ""}):
            self.status(**change)
            code, out, err = self.kms("status")
            self.assertEqual(code, 3, change)
            self.assertIn("the API server", err)
            self.assertNotIn(b"\x1b", out)
            self.assertEqual(self.kms("status", "--output", "json")[0], 3)

    def test_status_that_is_not_utf8_is_still_json(self):
        self.status(healthz=b"\xff\xfe")
        code, out, _ = self.kms("status", "--output", "json")
        self.assertEqual((code, json.loads(out)["healthz"]), (3, "??"))

    def test_status_v1(self):
        self.plugin.answers[V1 + "Version"] = field(1, "v1beta1") + field(2, "kekd") + field(3, "1")
        code, out, err = self.kms("status", "--api", "v1", "--output", "json")
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(json.loads(out),
                         {"version": "v1beta1", "runtime_name": "kekd", "runtime_version": "1"})
        self.assertEqual(self.plugin.asked, [(V1 + "Version", {1: b"v1beta1"})])
        self.plugin.answers[V1 + "Version"] = field(1, "v1")
        self.assertEqual(self.kms("status", "--api", "v1")[0], 3)

    def test_encrypt(self):
        secret = bytes(range(256)) * 30
        sealed = b"\x00KEK\xff" + secret[:500]
        self.plugin.answers[V2 + "Encrypt"] = field(1, sealed) + field(2, "kek1-ab")
        code, out, err = self.kms("encrypt", stdin=secret)
        self.assertEqual((code, out, err), (0, sealed, "key_id: kek1-ab\n"))
        code, out, err = self.kms("encrypt", "--output", "json", stdin=secret)
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(json.loads(out), {"ciphertext": base64.b64encode(sealed).decode(),
                                           "key_id": "kek1-ab"})
        uids = [asked[1][2].decode() for asked in self.plugin.asked]
        for uid in uids:
            self.assertRegex(uid, UUID4)
        self.assertNotEqual(uids[0], uids[1])
        self.assertEqual(self.plugin.asked[0][1][1], secret)

    def test_encrypt_v1(self):
        self.plugin.answers[V1 + "Encrypt"] = field(1, b"sealed")
        code, out, err = self.kms("encrypt", "--api", "v1", stdin=b"ping")
        self.assertEqual((code, out, err), (0, b"sealed", ""))
        self.assertEqual(self.plugin.asked, [(V1 + "Encrypt", {1: b"v1beta1", 2: b"ping"})])

    def test_decrypt_takes_the_key_id_of_status(self):
        self.status(key_id="kek1-now")
        secret = bytes(range(256))
        self.plugin.answers[V2 + "Decrypt"] = field(1, secret)
        code, out, err = self.kms("decrypt", stdin=b"sealed")
        self.assertEqual((code, out, err), (0, secret, ""))
        code, out, err = self.kms("decrypt", "--output", "json", stdin=b"sealed")
        self.assertEqual(json.loads(out), {"plaintext": base64.b64encode(secret).decode()})
        asked = self.plugin.asked[1]
        self.assertEqual((asked[0], asked[1][1], asked[1][3]),
                         (V2 + "Decrypt", b"sealed", b"kek1-now"))
        self.assertRegex(asked[1][2].decode(), UUID4)

    def test_decrypt_with_a_key_id_asks_for_no_status(self):
        self.plugin.answers[V2 + "Decrypt"] = field(1, b"x")
        self.assertEqual(self.kms("decrypt", "--key-id", "old", stdin=b"s"), (0, b"x", ""))
        self.assertEqual([asked[0] for asked in self.plugin.asked], [V2 + "Decrypt"])
        self.assertEqual(self.plugin.asked[0][1][3], b"old")

    def test_decrypt_takes_the_key_id_from_the_ciphertext_where_the_context_is_known(self):
        """After a rotation, the one in Status is not that of older ciphertexts."""
        self.plugin.answers[V2 + "Decrypt"] = field(1, b"x")
        path = os.path.join(self.folder.name, "f.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(GOOD.format(socket=self.socket) + "context: prod\n")
        kek_id = bytes(range(16))
        sealed = b"KEK\x01\x01\x01\x01\x01" + kek_id + b"\x00\x28" + bytes(40 + 16 + 16 + 32)
        key_id = "kek1-" + hashlib.sha256(b"kekd/key_id/1\x00\x04prod\x01" + kek_id).hexdigest()[:32]
        for words in ([], ["--socket", self.socket]):
            self.plugin.asked.clear()
            self.assertEqual(kekctl("--config", path, "kms", "decrypt", *words, stdin=sealed), (0, b"x", ""))
            self.assertEqual([(asked[0], asked[1][3]) for asked in self.plugin.asked],
                             [(V2 + "Decrypt", key_id.encode())])
        self.status(key_id="kek1-now")
        kekctl("--config", path, "kms", "decrypt", stdin=b"not ours")
        self.assertEqual(self.plugin.asked[-1][1][3], b"kek1-now")

    def test_decrypt_v1(self):
        self.plugin.answers[V1 + "Decrypt"] = field(1, b"ping")
        self.assertEqual(self.kms("decrypt", "--api", "v1", stdin=b"sealed"), (0, b"ping", ""))
        self.assertEqual(self.plugin.asked, [(V1 + "Decrypt", {1: b"v1beta1", 2: b"sealed"})])

    def test_a_refusal_is_said_and_exits_1(self):
        self.plugin.answers[V2 + "Encrypt"] = (grpc.StatusCode.UNAVAILABLE, "no provider: ü")
        code, out, err = self.kms("encrypt", stdin=b"x")
        self.assertEqual((code, out), (1, b""))
        self.assertEqual(err, "kekctl: kms encrypt: UNAVAILABLE: no provider: ??\n")
        self.assertEqual(self.kms("decrypt", "--api", "v1", stdin=b"x")[0], 1)
        self.assertIn("UNIMPLEMENTED", self.kms("decrypt", "--api", "v1", stdin=b"x")[2])

    def test_no_connection_waits_for_standard_input(self):
        """kekd throws out a connection that says nothing for ten seconds, and an operator may type longer."""
        path = self.socket + "2"
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
            server.listen(1)
            with subprocess.Popen([KEKCTL, "kms", "encrypt", "--socket", path, "--timeout", "50s"], bufsize=0,
                                  stderr=subprocess.PIPE, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
                client.stdin.write(b"x" * 1000)
                end = time.monotonic() + 60
                while any(fcntl.ioctl(client.stdin, termios.FIONREAD, bytes(4))):
                    self.assertLess(time.monotonic(), end, "nobody reads")
                    time.sleep(0.01)
                server.setblocking(False)
                self.assertRaises(BlockingIOError, server.accept)
                client.stdin.close()
                server.settimeout(60)
                taken, _ = server.accept()
                server.close()  # nobody takes it a second time
                taken.close()
                self.assertEqual(client.wait(60), 1)
                self.assertIn(b"kms encrypt: UNAVAILABLE", client.stderr.read())

    def test_a_call_that_a_server_ends_unseen_is_sent_to_the_next_one(self):
        """As of a kekd that is restarted under a socket that stays."""
        path = self.socket + "3"
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
            server.listen(4)
            server.settimeout(60)
            with subprocess.Popen([KEKCTL, "kms", "status", "--socket", path, "--timeout", "50s"],
                                  stderr=subprocess.PIPE, stdout=subprocess.PIPE) as client:
                for _ in range(3):
                    server.accept()[0].close()
                taken, _ = server.accept()
                server.close()
                taken.close()
                self.assertEqual(client.wait(60), 1)
                self.assertIn(b"kms status: UNAVAILABLE", client.stderr.read())

    def test_an_answer_that_is_no_message_exits_1(self):
        self.plugin.answers[V2 + "Status"] = b"\xff\xff\xff"
        code, out, err = self.kms("status")
        self.assertEqual((code, out), (1, b""))
        self.assertEqual(err, "kekctl: kms status: INTERNAL: the answer is not a v2.StatusResponse\n")

    def test_the_largest_input_goes_and_one_byte_more_does_not(self):
        self.plugin.answers[V1 + "Encrypt"] = field(1, b"c")
        self.assertEqual(self.kms("encrypt", "--api", "v1", stdin=b"x" * 65536)[0], 0)
        code, _, err = self.kms("encrypt", "--api", "v1", stdin=b"x" * 65537)
        self.assertEqual((code, err),
                         (1, "kekctl: kms encrypt: standard input is larger than 65536 bytes\n"))

    def test_the_socket_comes_from_the_configuration(self):
        self.status()
        path = os.path.join(self.folder.name, "kekd.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(GOOD.format(socket=self.socket))
        os.chmod(path, 0o600)
        self.assertEqual(kekctl("--config", path, "kms", "status", "--timeout", "20s")[0], 0)
        self.assertEqual(kekctl("kms", "status", "--socket", "unix://" + self.socket)[0], 0)
        with open("/dev/full", "wb") as full:
            done = subprocess.run([KEKCTL, "kms", "status", "--socket", self.socket], stdout=full,
                                  stderr=subprocess.PIPE, timeout=60, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"cannot write to standard output", done.stderr)


    def test_closed_descriptors_are_nobody_elses(self):
        """What is printed must not go into the connection, which would have been descriptor 1."""
        self.plugin.answers[V2 + "Decrypt"] = field(1, b"plaintext")
        self.plugin.answers[V2 + "Encrypt"] = field(1, b"sealed") + field(2, "kek1-ab")
        self.status()
        for closed, command, said in (
                (">&-", "decrypt --key-id k", "cannot write to standard output: Bad file descriptor"),
                (">&-", "status --output json", "cannot write to standard output: Bad file descriptor"),
                ("<&- >&-", "status", "cannot write to standard output: Bad file descriptor"),
                ("<&-", "encrypt", "cannot read standard input: Bad file descriptor"),
                ("<&- >&- 2>&-", "status", "")):
            with self.subTest(closed + command):
                done = subprocess.run(
                    ["sh", "-c", f'exec "$0" kms {command} --socket "$1" --timeout 20s {closed}',
                     KEKCTL, self.socket],
                    input=b"x", capture_output=True, timeout=60, check=False)
                self.assertEqual((done.returncode, done.stdout), (1, b""))
                self.assertIn(said, done.stderr.decode())


class Usage(unittest.TestCase):
    def check(self, code, said, *args):
        got, out, err = kekctl(*args)
        self.assertEqual((got, out), (code, b""), args)
        self.assertIn(said, err)

    def test_what_cannot_be_written_is_said_and_exits_1(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "kekd.yaml")
            with open(path, "w", encoding="ascii") as file:
                file.write(GOOD.format(socket="/s"))
            os.chmod(path, 0o600)
            for arguments in (["version"], ["--version"], ["--help"], ["help"], ["help", "kms"], ["key", "list", "--help"],
                              ["completion", "bash"], ["completion", "providers", "--config", path], ["config", "example"],
                              ["config", "check", path], ["config", "check", path, "--output", "json"],
                              ["conformance", "--dry-run"], ["conformance", "--dry-run", "--output", "json"]):
                with self.subTest(arguments), open("/dev/full", "wb") as full:
                    done = subprocess.run([KEKCTL, *arguments], stdout=full, stderr=subprocess.PIPE, timeout=60, check=False)
                    self.assertEqual(done.returncode, 1)
                    self.assertRegex(done.stderr, rb"^kekctl: .*cannot write to standard output: No space left on device\n$")

    def test_wrong_usage_exits_2(self):
        self.check(2, "a command is missing")
        self.check(2, f"key list: missing.yaml cannot be opened by uid {os.geteuid()}: No such file or directory\n", "-c", "missing.yaml", "key", "list")
        self.check(2, "-c needs a value", "key", "list", "-c")
        if not os.path.exists("/etc/kekd/kekd.yaml"):
            self.check(2, "No such file or directory (--config names another, kekctl config example prints one)", "key", "list")
        self.check(2, 'unknown command "kms": there are kms status, kms encrypt, kms decrypt (see', "kms")
        self.check(2, 'unknown command "kms stats": did you mean "kms status"? (see kekctl --help)\n', "kms", "stats")
        self.check(2, 'unknown command "kms frob": there are kms status, kms encrypt', "kms", "frob")
        self.check(2, 'unknown command "status": there are node status, kms status (see', "status")
        self.check(2, 'unknown command "list": there is key list', "list")
        for word in ("encrypt", "decrypt"):  # not "reencrypt", which rewrites the cluster
            self.check(2, 'unknown command "%s": there is kms %s (see' % (word, word), word)
        self.check(2, 'unknown command "encrypt it": there is kms encrypt (see', "encrypt", "it")
        self.check(2, 'unknown command "config chek": did you mean "config check"?', "config", "chek")
        self.check(2, 'unknown command "keys list": did you mean "key list"?', "keys", "list")
        self.check(2, 'unknown command "k" (see', "k")
        self.check(2, 'unknown command "KEY LIST" (see', "KEY", "LIST")
        self.check(2, 'kms status: does not take "now"', "kms", "status", "now")
        self.check(2, 'probe: does not take "hsm-a"', "probe", "hsm-a", "hsm-b")
        self.check(2, 'report: does not take "verfy": did you mean "report verify"? (see', "report", "verfy", "a", "b")
        self.check(2, 'report: does not take "frob" (see', "report", "frob")
        self.check(2, "report: --out FOLDER is missing", "report")
        self.check(2, "report verify: the REPORT SIGNATURE is missing", "report", "verify")
        self.check(2, "report verify: the SIGNATURE is missing", "report", "verify", "a")
        self.check(2, 'report verify: does not take "c"', "report", "verify", "a", "b", "c")
        self.check(2, "report verify: --key FILE is missing", "report", "verify", "a", "b")
        self.check(2, "kekctl: unknown option --frobnicate (see kekctl --help)\n", "--frobnicate")
        self.check(2, "unknown option --kubeconfg: did you mean --kubeconfig? (see", "reencrypt", "--kubeconfg=x")
        self.check(2, "unknown option --kube: did you mean --kubeconfig or --kube-context? (see", "reencrypt", "--kube", "x")
        self.check(2, "unknown option -x", "config", "check", "-x")
        self.check(2, "--config needs a value", "config", "check", "--config")
        self.check(2, '--output: expected table or json, or of conformance junit, found "xml"', "--output", "xml", "config", "example")
        self.check(2, '--output: expected table or json, found "junit"', "--output", "junit", "config", "example")
        self.check(2, '--api: expected v1 or v2, found "v3"', "kms", "status", "--api", "v3")
        for wrong in ("5", "0s", "2h"):
            self.check(2, f'--timeout: expected a duration (a number and ms, s, m or h) from 1ms to 1h, found "{wrong}"',
                       "kms", "status", "--timeout", wrong)
        self.check(2, "kms status: takes no --key-id (see kekctl kms status --help)\n", "kms", "status", "--key-id", "x")
        for command, words in (("version", []), ("completion", ["bash"]), ("config example", [])):
            self.check(2, command + ": takes no --root", *command.split(), *words, "--root", "site")
        self.check(2, "config check: takes no --socket", "config", "check", "--socket", "/s")
        self.check(2, 'unknown command "' + "a" * 60, "a" * 5000)
        self.check(2, 'key list: does not take "f"', "key", "list", "f")
        self.check(2, '--config: expected a file\'s path, found ""', "--config", "", "key", "list")
        self.check(2, '--socket: expected a socket\'s path, found ""', "kms", "status", "--socket=")
        self.check(2, 'config check: does not take "g"', "config", "check", "f", "g")
        self.check(2, "config check: takes a file or --config, not both", "config", "check", "f", "--config", "f")

    def test_help_and_version(self):
        for words in (["--help"], ["-h"], ["help"], ["nonsense", "-h"]):
            code, out, err = kekctl(*words)
            self.assertEqual((code, err), (0, ""))
            self.assertIn(b"kms encrypt", out)
            self.assertIn(b"key list", out)
        for words in (["kms", "-h"], ["kms", "--help"], ["help", "kms"], ["kms", "nonsense", "--help"]):
            code, out, err = kekctl(*words)
            self.assertEqual((code, err), (0, ""))
            self.assertEqual(re.findall(r"^  ([a-z]+(?: [a-z]+)?) ", out.decode(), re.MULTILINE),
                             ["kms status", "kms encrypt", "kms decrypt"])
        for words in (["key", "rotate", "--help"], ["--help", "key", "rotate"]):
            code, out, err = kekctl(*words)
            self.assertEqual((code, err), (0, ""))
            self.assertIn(b"usage: kekctl key rotate", out)
            self.assertIn(b"  --until STEP ", out)
            self.assertIn(b"how long it waits in all before it stops", out)
            self.assertNotIn(b"--compromised", out)
        for words in (["--version"], ["version"]):
            code, out, _ = kekctl(*words)
            self.assertEqual(code, 0)
            self.assertRegex(out.decode(), r"\Akekctl [0-9]+\.[0-9]+\.[0-9]+\n\Z")

    def test_no_line_of_help_is_wider_than_a_terminal(self):
        commands = re.findall(r"^  ([a-z]+(?: [a-z]+)?) ", kekctl("--help")[1].decode(), re.MULTILINE)
        for command in [""] + commands:
            for line in kekctl(*command.split(), "--help")[1].decode().splitlines():
                self.assertLessEqual(len(line), 80, line)
        self.assertIn(b"usage: kekctl key promote [OPTION...] VERSION\n", kekctl("key", "promote", "--help")[1])

    def test_no_socket_is_said_with_its_reason(self):
        self.check(1, "kms status: cannot connect to /nonexistent/s: No such file or directory; does kekd run "
                      "(systemctl status kekd)? The path is that of --socket\n",
                   "kms", "status", "--socket", "/nonexistent/s")
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "kekd.yaml")
            with open(path, "w", encoding="utf-8") as file:
                file.write(GOOD.format(socket=os.path.join(folder, "s")))
            self.check(1, f"(systemctl status kekd)? The path is `listen` of {path}\n", "--config", path, "kms", "status")
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(os.path.join(folder, "s"))
                self.check(1, "/s: Connection refused; does kekd run", "--config", path, "kms", "status")
                server.listen(1)
                self.check(1, "kms status: DEADLINE_EXCEEDED: no answer in time; is kekd well (systemctl status kekd)?",
                           "--config", path, "kms", "status", "--timeout", "100ms")
        self.check(2, "/nonexistent/f cannot be opened by uid ", "kms", "status", "--config", "/nonexistent/f")


class Manual(unittest.TestCase):
    """What --help names stands in kekctl(1), and nothing else does."""

    PAGES = os.path.join(os.environ["abs_top_srcdir"], "docs")

    def test_the_page_names_the_same_commands_and_options(self):
        out = kekctl("--help")[1].decode()
        with open(os.path.join(self.PAGES, "kekctl.1"), encoding="utf-8") as file:
            page = file.read()
        commands = re.findall(r"^  ([a-z]+(?: [a-z]+)?) ", out, re.MULTILINE)
        self.assertGreater(len(commands), 5)
        said = re.findall(r"^\.It Ic ([a-z]+(?: [a-z]+)?)(.*?)(?=^\.It Ic |^\.Sh )", page, re.MULTILINE | re.DOTALL)
        self.assertEqual([command for command, _ in said if command not in ("help", "version")],
                         [command for command in commands if command not in ("help", "version")])
        for command, text in said:
            own = set(re.findall(r"^ .*?--([a-z-]+)", kekctl(*command.split(), "--help")[1].decode(), re.MULTILINE))
            self.assertEqual(own - set(re.findall(r"[ ,]-([a-z-]+)", text))
                             - {"config", "output", "root", "help", "version"}, set(), command)
        options = {option for command in commands
                   for option in re.findall(r"--([a-z-]+)", kekctl(*command.split(), "--help")[1].decode())}
        self.assertEqual(set(re.findall(r"Fl -([a-z-]+)", page)) | {"version"}, options)

    def test_the_page_of_evidence_names_each_member_as_the_reports_page_does(self):
        folder = os.path.join(os.environ["abs_top_srcdir"], "src", "kekctl", "report")

        def source(name):
            with open(os.path.join(folder, name + ".c"), encoding="utf-8") as file:
                return file.read()
        with open(os.path.join(self.PAGES, "evidence.md"), encoding="utf-8") as file:
            rows = dict(re.findall(r"^\| `([a-z]+)` \| (`.*) \|$", file.read(), re.MULTILINE))
        sections = re.findall(r'\.name = "([a-z]+)"', source("sections"))
        self.assertGreater(len(sections), 10)
        self.assertEqual(list(rows), sections)
        for section in sections:
            columns = dict.fromkeys(re.findall(r'\{"([a-z0-9_]+)",\s*"([^"]+)"\}', source(section)))
            self.assertGreater(len(columns), 2, section)
            self.assertEqual(rows[section], " · ".join("`%s` %s" % column for column in columns))

    def test_the_pages_name_the_same_exit_codes(self):
        for page, source, prefix in (("kekctl.1", "src/kekctl/kekctl.h", "CTL"), ("kekd.8", "src/kekd/main.c", "EXIT")):
            with open(os.path.join(self.PAGES, page), encoding="utf-8") as file:
                said = re.findall(r"^\.It ([0-9]+)$", file.read().split(".Sh EXIT STATUS")[1], re.MULTILINE)
            with open(os.path.join(os.environ["abs_top_srcdir"], source), encoding="utf-8") as file:
                codes = re.findall(prefix + r"_[A-Z]+ = ([0-9]+)", file.read())
            self.assertGreaterEqual(len(codes), 3)
            self.assertEqual(said, codes, page)
        self.assertEqual(re.findall(r"[0-9]", kekctl("--help")[1].decode().split("Exit codes:")[1]),
                         ["0", "1", "2", "3"])

    def test_the_page_of_kekd_names_the_same_options(self):
        done = subprocess.run([os.path.join(os.environ["abs_top_builddir"], "kekd"), "--help"],
                              capture_output=True, timeout=60, check=True)
        with open(os.path.join(self.PAGES, "kekd.8"), encoding="utf-8") as file:
            page = file.read()
        options = re.findall(r"^ +(?:-([a-z]), )? *--([a-z]+)", done.stdout.decode(), re.MULTILINE)
        self.assertGreater(len(options), 3)
        self.assertEqual(sorted(re.findall(r"^\.It Fl (?:([a-z]) , Fl )?-([a-z]+)", page, re.MULTILINE)),
                         sorted(options))

    @unittest.skipUnless(shutil.which("mandoc"), "mandoc is missing")
    def test_the_pages_are_clean_mdoc(self):
        for name in ("kekctl.1", "kekd.conf.5", "kekd.8", "kekd-pkcs11.8"):
            done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning",
                                   os.path.join(self.PAGES, name)],
                                  capture_output=True, timeout=60, check=False)
            self.assertEqual((done.returncode, done.stdout.decode()), (0, ""))


class Config(unittest.TestCase):
    def setUp(self):
        # pylint: disable=consider-using-with
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, "kekd.yaml")

    def tearDown(self):
        self.folder.cleanup()

    def check(self, text, *args, mode=0o600):
        with open(self.path, "wb") as file:
            file.write(text)
        os.chmod(self.path, mode)
        return kekctl("config", "check", "--config", self.path, *args)

    def test_the_example_is_good(self):
        code, example, err = kekctl("config", "example")
        self.assertEqual((code, err), (0, ""))
        code, out, err = self.check(example)
        self.assertEqual((code, err), (0, ""))
        self.assertIn(["ok", "yes"], [line.split() for line in out.decode().splitlines()])
        code, out, err = self.check(example, "--output", "json")
        self.assertEqual(json.loads(out), {"file": self.path, "ok": True, "providers": 1,
                                           "mode": "data keys are reused"})
        code, out, _ = kekctl("--output", "json", "config", "example")
        self.assertEqual(json.loads(out), {"example": example.decode()})

    def test_the_file_may_be_an_argument(self):
        with open(self.path, "wb") as file:
            file.write(GOOD.format(socket="/s").encode())
        code, out, err = kekctl("--output", "json", "config", "check", self.path)
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(json.loads(out)["file"], self.path)
        code, _, err = kekctl("config", "check", self.path + "x")
        self.assertEqual(code, 2)
        self.assertIn(f"{self.path}x cannot be opened by uid {os.geteuid()}: No such file", err)

    @unittest.skipUnless(subprocess.run(["stat", "-f", "-c", "%T", "/dev/shm"], stdout=subprocess.PIPE,
                                        check=False).stdout == b"tmpfs\n", "/dev/shm is no tmpfs")
    def test_a_state_dir_that_forgets_is_remarked(self):
        code, out, err = self.check(GOOD.format(socket="/s").encode() + b"state_dir: /dev/shm/kek-nowhere/k\n")
        self.assertEqual(code, 3)
        self.assertIn("state_dir: /dev/shm/kek-nowhere/k is in memory (a tmpfs)", err)
        self.assertIn(b"ok", out)

    def test_strict_mode_is_named(self):
        code, out, _ = self.check(GOOD.format(socket="/s").encode() + b"data_key: {max_uses: 1}\n")
        self.assertEqual(code, 0)
        self.assertIn(b"strict", out)

    def test_several_roots_are_named_in_their_order_with_their_mode(self):
        good = GOOD.format(socket="/s") + '''  - name: b
    type: pkcs11
    uri: "pkcs11:token=u?module-path=/m.so&pin-source=file:/pin"
mode: %s
roots:
  - {name: %s, providers: [%s]}
  - {name: %s, providers: [%s], seals: %s}
'''
        for order, mode, seals, says in ((("z", "b", "c", "a"), "any", "false", "any: each root opens alone"),
                                         (("c", "a", "z", "b"), "all", "true", "all: every root is needed to open")):
            text = (good % (mode, *order, seals)).encode()
            code, out, err = self.check(text)
            self.assertEqual((code, err), (0, ""))
            shown = "%s, %s%s" % (order[0], order[2], "" if seals == "true" else r" \(only opens\)")
            self.assertRegex(out.decode(), r"(?m)^roots of trust +%s$" % shown)
            self.assertRegex(out.decode(), r"(?m)^mode of the roots +%s$" % says)
            found = json.loads(self.check(text, "--output", "json")[1])
            self.assertEqual((found["roots"], found["roots_mode"]), ([order[0], order[2]], mode))
        found = json.loads(self.check(GOOD.format(socket="/s").encode(), "--output", "json")[1])
        self.assertNotIn("roots", found)

    def test_a_name_that_is_not_utf8_is_no_matter(self):
        self.path = os.fsencode(self.path) + b"\xff"
        code, out, err = self.check(GOOD.format(socket="/s").encode(), "--output", "json")
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(json.loads(out)["file"], os.fsdecode(self.path)[:-1] + "?")

    def test_what_is_wrong_is_said_and_exits_2(self):
        code, out, err = self.check(GOOD.format(socket="/s").encode() + b"frobnicate: 1\n")
        self.assertEqual((code, out), (2, b""))
        self.assertIn(f"kekctl: config check: {self.path}:7:1: frobnicate: expected one of", err)
        code, out, err = self.check(GOOD.format(socket="/s").encode(), mode=0o666)
        self.assertEqual((code, out), (2, b""))
        self.assertIn("has mode 0666: nobody but its owner may write it", err)


if __name__ == "__main__":
    unittest.main()
