#!/usr/bin/env python3
"""kek/etcd.h (by etcd_read) against real etcds: every way in, and what it says when one is wrong."""

import base64
import concurrent.futures
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request
import zlib

import certs
import proc
import protowire

try:
    import grpc
except ImportError:
    grpc = None

READ = os.path.join(os.environ["abs_top_builddir"], "tests/interop/etcd_read")
HOST = "127.0.0.1"


def ports(count):
    """Free ones. Another process may take one first: who starts an etcd tries again."""
    held = [socket.socket() for _ in range(count)]
    for one in held:
        one.bind((HOST, 0))
    found = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return found


class Etcd:
    """A cluster of `size` members in a folder of its own."""

    def __init__(self, folder, size=1, tls=None):
        self.folder, self.size, self.tls = folder, size, tls
        self.members = [None] * size
        for attempt in range(3):
            self.ports = ports(2 * size)
            try:
                self.start()
                return
            except TimeoutError:
                self.stop()
                if attempt == 2:
                    raise

    def start(self):
        for i in range(self.size):
            shutil.rmtree("%s/m%d" % (self.folder, i), ignore_errors=True)
            self.start_member(i)
        end = time.monotonic() + 20
        while any(not self.answers(i) for i in range(self.size)):
            if time.monotonic() > end or any(m.poll() is not None for m in self.members):
                raise TimeoutError("etcd does not start")
            time.sleep(0.05)

    def start_member(self, i):
        scheme = "https" if self.tls else "http"
        peers = ["http://%s:%d" % (HOST, port) for port in self.ports[self.size:]]
        client = "%s://%s:%d" % (scheme, HOST, self.ports[i])
        with open("%s/log%d" % (self.folder, i), "ab") as log:
            self.members[i] = subprocess.Popen(
                ["etcd", "--name", "m%d" % i, "--data-dir", "%s/m%d" % (self.folder, i),
                 "--listen-client-urls", client, "--advertise-client-urls", client,
                 "--listen-peer-urls", peers[i], "--initial-advertise-peer-urls", peers[i],
                 "--initial-cluster", ",".join("m%d=%s" % one for one in enumerate(peers)),
                 "--initial-cluster-token", self.folder, "--heartbeat-interval", "50",
                 "--election-timeout", "500", "--logger", "zap", "--log-level", "error",
                 *(self.tls or [])], stdout=log, stderr=log)

    def url(self, i=0):
        return "%s://%s:%d" % ("https" if self.tls else "http", HOST, self.ports[i])

    def urls(self):
        return [self.url(i) for i in range(self.size)]

    def answers(self, i):
        if self.tls:
            with socket.socket() as one:
                return one.connect_ex((HOST, self.ports[i])) == 0
        try:
            with urllib.request.urlopen(self.url(i) + "/health", timeout=1) as page:
                return json.load(page)["health"] == "true"
        except OSError:
            return False

    def call(self, path, message, i=0, token=None):
        request = urllib.request.Request(self.url(i) + path, json.dumps(message).encode(),
                                         {"Authorization": token} if token else {})
        with urllib.request.urlopen(request, timeout=10) as page:
            return json.load(page)

    def put(self, key, value, token=None):
        return int(self.call("/v3/kv/put", {"key": b64(key), "value": b64(value)},
                             token=token)["header"]["revision"])

    def fill(self, pairs):
        """In transactions of a hundred."""
        pairs = list(pairs)
        for at in range(0, len(pairs), 100):
            self.call("/v3/kv/txn", {"success": [
                {"request_put": {"key": b64(key), "value": b64(value)}}
                for key, value in pairs[at:at + 100]]})

    def stop(self):
        for member in self.members:
            if member is not None:
                member.kill()
                member.wait()


def b64(data):
    return base64.b64encode(data if isinstance(data, bytes) else data.encode()).decode()


class Read:
    """What etcd_read printed."""

    def __init__(self, text, code):
        lines = text.splitlines()
        self.code = code
        self.members = [line.split(" ", 2)[1:] for line in lines if line.startswith("member ")]
        self.pairs = [tuple(line.split()[1:]) for line in lines if line.startswith("pair ")]
        _, self.rc, taken, total, revision, compacted, peak, self.why = lines[-1].split(" ", 7)
        self.taken, self.total, self.revision = int(taken), int(total), int(revision)
        self.compacted_at, self.peak_kib = int(compacted), int(peak)


def command(prefix, *endpoints, **options):
    words = [word for name, value in options.items()
             for word in ("--" + name.replace("_", "-"), str(value))]
    return [READ, *words, prefix, *endpoints]


def read(prefix, *endpoints, **options):
    done = subprocess.run(command(prefix, *endpoints, **options), stdout=subprocess.PIPE, text=True,
                          timeout=60, check=False)
    return Read(done.stdout, done.returncode)


def line_of(key, value, revision):
    return (key, str(revision), str(len(value)), "%08x" % zlib.crc32(value))


class Case(unittest.TestCase):
    def folder(self):
        folder = tempfile.mkdtemp(prefix="kek-etcd-test-")
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        return folder

    def etcd(self, *args, **options):
        etcd = Etcd(self.folder(), *args, **options)
        self.addCleanup(etcd.stop)
        return etcd

    def good(self, got, count):
        self.assertEqual((got.rc, got.taken, got.total, got.code), ("ok", count, count, 0), got.why)

    def refused(self, got, rc, *words):
        self.assertEqual((got.rc, got.code), (rc, 1), got.why)
        for word in words:
            self.assertIn(word, got.why)


class Plain(Case):
    def test_every_key_comes_once_as_it_was_at_the_revision(self):
        etcd = self.etcd()
        values = {"/registry/secrets/ns-%02d/s-%04d" % (i % 40, i): b"k8s:enc:%d" % i + b"x" * (i % 900)
                  for i in range(8000)}
        values["/registry/large"] = bytes(range(256)) * 4096
        values["/registry/empty"] = b""
        etcd.fill(values.items())
        etcd.put("/registrz", "not of it")
        pinned = read("/registry/", etcd.url())
        self.good(pinned, len(values))
        self.assertEqual([(k, n, c) for k, _, n, c in pinned.pairs],
                         [(k, str(len(v)), "%08x" % zlib.crc32(v)) for k, v in sorted(values.items())])
        revision = etcd.put("/registry/empty", "not any more")
        again = read("/registry/", etcd.url(), revision=pinned.revision)
        self.assertEqual(again.pairs, pinned.pairs)
        self.assertIn(line_of("/registry/empty", b"not any more", revision),
                      read("/registry/e", etcd.url()).pairs)
        self.good(read("", etcd.url(), quiet=1), len(values) + 1)
        self.good(read("/nothing", etcd.url()), 0)
        keys = read("/registry/", etcd.url(), keys_only=1)
        self.good(keys, len(values))
        self.assertEqual({pair[2] for pair in keys.pairs}, {"0"})
        counted = read("/registry/", etcd.url(), count=1)
        self.assertEqual((counted.rc, counted.taken, counted.total), ("ok", 0, len(values)))
        self.assertLess(pinned.peak_kib, 32 * 1024)

    def test_a_compaction_is_told_with_its_revision(self):
        etcd = self.etcd()
        for i in range(60):
            last = etcd.put("/registry/%d" % (i % 3), "%d" % i)
        etcd.call("/v3/kv/compaction", {"revision": last - 10, "physical": True})
        got = read("/registry/", etcd.url(), revision=5)
        self.refused(got, "precondition", "revision 5 is gone", "compaction at %d" % (last - 10),
                     "begin anew")
        self.assertEqual(got.compacted_at, last - 10)
        self.good(read("/registry/", etcd.url(), revision=last - 10), 3)
        self.refused(read("/registry/", etcd.url(), revision=last + 9, timeout=300), "unavailable",
                     "future revision")

    def test_one_endpoint_is_of_another_cluster(self):
        etcd, other = self.etcd(), self.etcd()
        etcd.put("/registry/a", "1")
        self.refused(read("/registry/", etcd.url(), other.url()), "invalid", other.url(), etcd.url(),
                     "must be of one cluster")
        gone = "http://%s:%d" % (HOST, ports(1)[0])
        got = read("/registry/", gone, etcd.url())
        self.good(got, 1)
        self.assertIn("Connection refused: does etcd run there", got.members[0][1])
        self.refused(read("/registry/", gone, gone), "unavailable", "none of 2 endpoints")

    def test_what_is_no_etcd_or_no_endpoint(self):
        with socket.create_server((HOST, 0)) as silent:
            url = "http://%s:%d" % silent.getsockname()
            self.refused(read("/registry/", url, timeout=300), "deadline", "no answer in time")
        for endpoint in ("127.0.0.1:2379", "ftp://a:1", "http://", "http://a:1/b", "http://me:word@a:1"):
            got = read("/registry/", endpoint)
            self.refused(got, "invalid", "expected https://HOST:PORT")
            self.assertNotIn("word", got.why)
        self.refused(read("/registry/"), "invalid", "no endpoint")


class Endless:
    """Pages without an end, of new keys each."""

    def __init__(self):
        self.pages = 0

    def __iter__(self):
        self.pages += 1
        return iter([("/registry/%09d" % self.pages, 1, "v")])


class Fake(grpc.GenericRpcHandler if grpc else object):
    """One that answers as an etcd does, with what a test wants: the revision of each answer, how many keys there are,
    and the pairs."""

    def __init__(self, case, revision=7, count=1, pairs=()):
        self.revision, self.count, self.pairs = revision, count, pairs
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(2), [self])
        self.url = "http://%s:%d" % (HOST, self.server.add_insecure_port(HOST + ":0"))
        self.server.start()
        case.addCleanup(self.server.stop, None)

    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(lambda request, _: self.answer(details.method, request))

    def answer(self, method, request):
        header = (1, protowire.pack((1, 5), (2, 1), (3, self.revision)))
        if method.endswith("/Status"):
            return protowire.pack(header, (4, 1))
        pairs = () if 9 in dict(protowire.unpack(request)) else self.pairs
        return protowire.pack(header, *[(2, protowire.pack((1, key), (3, revision), (5, value)))
                                        for key, revision, value in pairs], (3, isinstance(pairs, Endless)),
                              (4, self.count))


@unittest.skipIf(grpc is None, "SKIP: python3-grpcio is missing: an etcd that breaks its word was not tried")
class Broken(Case):
    """One that does not keep its word is no etcd, whatever it is: what it said is never called all there is."""

    def test_a_revision_is_one_revision(self):
        good = ("/registry/a", 7, "v")
        self.good(read("/registry/", Fake(self, pairs=[good]).url), 1)
        self.refused(read("/registry/", Fake(self, pairs=[("/registry/a", 8, "v")]).url), "damaged",
                     "key /registry/a came as of revision 8, where revision 7 was asked for")
        self.refused(read("/registry/", Fake(self, revision=0, pairs=[good]).url), "damaged", "says no revision")

    def test_pages_without_an_end_have_one(self):
        endless = Endless()
        self.refused(read("/registry/", Fake(self, count=9, pairs=endless).url), "damaged", "more keys came than the 9")
        self.assertEqual(endless.pages, 10)

    def test_pairs_are_as_many_as_were_counted_and_in_order(self):
        for pairs, words in (([], "0 keys came of the 1"),
                             ([("/registry/a", 1, "v"), ("/registry/b", 1, "v")],
                              "more keys came than the 1 that revision 7 has"),
                             ([("/registry/b", 1, "v"), ("/registry/a", 1, "v")], "not asked for, or again"),
                             ([("/registry/a", 1, "v")] * 2, "not asked for, or again"),
                             ([("/elsewhere", 1, "v")], "not asked for, or again"), ([("", 1, "v")], "without key")):
            self.refused(read("/registry/", Fake(self, pairs=pairs).url), "damaged", words)


class Users(Case):
    def test_users_may_read_what_is_theirs(self):
        etcd = self.etcd()
        etcd.fill([("/registry/%03d" % i, "v") for i in range(300)])
        for name in ("root", "kekd"):
            etcd.call("/v3/auth/user/add", {"name": name, "password": "s3cret-" + name})
        etcd.call("/v3/auth/role/add", {"name": "reader"})
        etcd.call("/v3/auth/role/grant", {"name": "reader", "perm": {
            "permType": "READ", "key": b64("/registry/"), "range_end": b64("/registry0")}})
        etcd.call("/v3/auth/user/grant", {"user": "root", "role": "root"})
        etcd.call("/v3/auth/user/grant", {"user": "kekd", "role": "reader"})
        etcd.call("/v3/auth/enable", {})
        password = self.folder() + "/password"
        with open(password, "w", encoding="utf-8") as file:
            file.write("s3cret-kekd\n")
        os.chmod(password, 0o600)
        user = {"user": "kekd", "password_file": password}
        self.good(read("/registry/", etcd.url(), **user), 300)
        self.refused(read("/", etcd.url(), **user), "denied", 'user kekd may not read the keys from "/" '
                     'to "0"', "permission denied")
        self.refused(read("/registry/", etcd.url()), "denied", "lets users in alone")
        with open(password, "w", encoding="utf-8") as file:
            file.write("s3cret-wrong\n")
        got = read("/registry/", etcd.url(), **user)
        self.refused(got, "denied", "user kekd with the password of " + password)
        self.assertNotIn("s3cret", got.why)
        os.chmod(password, 0o644)
        self.refused(read("/registry/", etcd.url(), **user), "denied", "has mode 0644: nobody but its owner and its group")
        os.unlink(password)
        self.refused(read("/registry/", etcd.url(), **user), "not-found", password)
        self.refused(read("/registry/", etcd.url(), user="kekd"), "invalid", "go together")

    def test_a_member_that_forgot_the_token_gives_another(self):
        """As one does that was started anew: simple tokens are in its memory."""
        etcd = self.etcd()
        etcd.fill([("/registry/%04d" % i, "v" * 400) for i in range(3000)])
        etcd.call("/v3/auth/user/add", {"name": "root", "password": "w"})
        etcd.call("/v3/auth/user/grant", {"user": "root", "role": "root"})
        etcd.call("/v3/auth/enable", {})
        password = self.folder() + "/password"
        with open(password, "w", encoding="utf-8") as file:
            file.write("w")
        os.chmod(password, 0o600)
        with subprocess.Popen(command("/registry/", etcd.url(), user="root", password_file=password,
                                      pause_us=1000), stdout=subprocess.PIPE, text=True) as reader:
            self.addCleanup(reader.kill)
            head = "".join(reader.stdout.readline() for _ in range(20))
            etcd.members[0].kill()
            etcd.members[0].wait()
            etcd.start_member(0)
            text = head + reader.communicate(timeout=60)[0]
        got = Read(text, reader.returncode)
        self.good(got, 3000)
        self.assertEqual(len({pair[0] for pair in got.pairs}), 3000)


class Tls(Case):
    def test_certificates_on_both_sides(self):
        folder = self.folder()
        ca, foreign = certs.Authority(folder + "/ca"), certs.Authority(folder + "/foreign")
        server = ca.issue("/CN=etcd", "IP:127.0.0.1", name="server")
        elsewhere = ca.issue("/CN=etcd", "DNS:elsewhere", name="elsewhere")
        client, stranger = ca.issue("/CN=kekd", name="client"), foreign.issue("/CN=kekd", name="client")
        asks = ["--client-cert-auth", "--trusted-ca-file", ca.cert]
        etcd = self.etcd(tls=["--cert-file", server[0], "--key-file", server[1], *asks])
        good = {"ca": ca.cert, "cert": client[0], "key": client[1], "timeout": 5000}
        self.good(read("/registry/", etcd.url(), **good), 0)
        self.refused(read("/", etcd.url(), **{**good, "ca": foreign.cert}), "denied", "must lead to ca")
        # By an alert, or, where the end of the connection overtakes it, by that.
        for options, denied, ended in (
                ({**good, "cert": stranger[0], "key": stranger[1]}, "cert must be one that it lets in",
                 "may not let cert in"),
                ({"ca": ca.cert, "timeout": 5000}, "cert, which is not set, may be wanted",
                 "may not let a client without cert in")):
            got = read("/", etcd.url(), **options)
            self.assertIn(got.rc, ("denied", "unavailable"))
            self.refused(got, got.rc, denied if got.rc == "denied" else ended)
        self.refused(read("/", etcd.url(), cert=client[0], key=client[1], timeout=5000), "denied",
                     "one of the system's CAs")
        self.refused(read("/", etcd.url(), **{**good, "cert": folder + "/nowhere"}), "invalid",
                     "look at the files")
        self.refused(read("/", etcd.url(), cert=client[0]), "invalid", "cert and key go together")
        self.refused(read("/", "http" + etcd.url()[5:], timeout=2000), "unavailable", "then it is https://")
        plain = self.etcd()
        self.refused(read("/", "https" + plain.url()[4:], **good), "unavailable", "is this port one of TLS?")
        wrong = self.etcd(tls=["--cert-file", elsewhere[0], "--key-file", elsewhere[1], *asks])
        self.refused(read("/", wrong.url(), **good), "denied", "have this host's name")


class Cluster(Case):
    def test_members_that_end_and_hang_are_left_for_the_next(self):
        etcd = self.etcd(size=3)
        etcd.fill([("/registry/%05d" % i, "v" * 300) for i in range(6000)])
        with subprocess.Popen(command("/registry/", *etcd.urls(), pause_us=300, timeout=6000),
                              stdout=subprocess.PIPE, text=True) as reader:
            self.addCleanup(reader.kill)
            head = "".join(reader.stdout.readline() for _ in range(50))
            etcd.put("/registry/99999", "written since")
            etcd.members[0].kill()
            head += "".join(reader.stdout.readline() for _ in range(2500))
            # And the next one hangs: two of three are gone, there is no leader, and the last one goes on alone.
            etcd.members[1].send_signal(signal.SIGSTOP)
            text = head + reader.communicate(timeout=60)[0]
        got = Read(text, reader.returncode)
        self.good(got, 6000)
        self.assertEqual(len({pair[0] for pair in got.pairs}), 6000)
        # To begin takes a leader.
        self.refused(read("/registry/", etcd.url(2), timeout=1500), "unavailable", "nothing moved on for",
                     "no leader")
        etcd.members[1].send_signal(signal.SIGCONT)
        self.good(read("/registry/", *etcd.urls(), timeout=20000, quiet=1), 6001)


def left_in(folder):
    return [name for name in os.listdir(folder) if name.startswith("kek-etcd-")]


@unittest.skipUnless(shutil.which("etcdctl") or shutil.which("etcdutl"), "no etcdctl")
class Snapshot(Case):
    def setUp(self):
        self.etcd_of = self.etcd()
        self.etcd_of.fill([("/registry/%03d" % i, "v%d" % i) for i in range(500)])
        self.tmp = self.folder()
        self.file = self.tmp + "/snapshot.db"
        subprocess.run(["etcdctl", "--endpoints", self.etcd_of.url(), "snapshot", "save", self.file],
                       check=True, capture_output=True, env={**os.environ, "ETCDCTL_API": "3"})

    def processes(self):
        """Those that work in a folder of this test."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                cwd = os.readlink("/proc/%s/cwd" % pid)
            except OSError:
                continue
            if cwd.startswith(self.tmp + "/kek-etcd-"):
                found.append(int(pid))
        return found

    def test_it_is_read_and_nothing_stays(self):
        with open(self.file, "rb") as file:
            before = file.read()
        os.chmod(self.file, 0o400)
        live = read("/registry/", self.etcd_of.url())
        env = {**os.environ, "ETCD_NAME": "other", "ETCDCTL_API": "2"}
        done = subprocess.run(command("/registry/", snapshot=self.file, tmp=self.tmp), env=env,
                              stdout=subprocess.PIPE, text=True, timeout=60, check=False)
        got = Read(done.stdout, done.returncode)
        self.good(got, 500)
        self.assertEqual((got.pairs, got.revision), (live.pairs, live.revision))
        with open(self.file, "rb") as file:
            self.assertEqual(file.read(), before)
        self.assertEqual((left_in(self.tmp), self.processes()), ([], []))

    def test_what_is_no_snapshot(self):
        with open(self.file, "rb") as file:
            good = file.read()
        changed = bytearray(good)
        changed[len(good) // 2] ^= 1
        for content, words in ((good[:-1000], "is not whole"), (good[:-32], "has no checksum at its end"),
                               (good[:8192] + good[-32:], "cannot be restored: is it whole?"),
                               (bytes(changed), "cannot be restored: is it whole?"),
                               (b"k8s:" * 5000, "is no snapshot of an etcd"), (b"", "is no snapshot")):
            path = self.tmp + "/other"
            with open(path, "wb") as file:
                file.write(content)
            self.refused(read("/", snapshot=path, tmp=self.tmp), "invalid", words)
        self.refused(read("/", snapshot=self.tmp + "/nowhere", tmp=self.tmp), "not-found", "/nowhere")
        self.refused(read("/", snapshot=self.tmp, tmp=self.tmp), "invalid", "this is no file")
        self.refused(read("/", snapshot=self.file, tmp=self.tmp + "/nowhere"), "not-found", "nowhere")
        done = subprocess.run(command("/", snapshot=self.file, tmp=self.tmp), stdout=subprocess.PIPE,
                              env={"PATH": "/nowhere"}, text=True, timeout=60, check=False)
        self.refused(Read(done.stdout, done.returncode), "not-found", "install etcd-server and etcd-client")
        self.assertEqual((left_in(self.tmp), self.processes()), ([], []))

    def test_nothing_stays_whatever_ends_it(self):
        for number in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM):
            with subprocess.Popen(command("/registry/", snapshot=self.file, tmp=self.tmp,
                                          pause_us=1000000), stdout=subprocess.PIPE, text=True) as reader:
                self.assertTrue(reader.stdout.readline().startswith("member "))
                self.assertEqual(len(self.processes()), 2)  # the etcd and its guard
                reader.send_signal(number)
                reader.communicate(timeout=20)
            proc.wait_for(lambda: (left_in(self.tmp), self.processes()) == ([], []), "the end of all after signal %d" % number)


if __name__ == "__main__":
    if shutil.which("etcd") is None:
        print("SKIP: etcd is not installed")
        sys.exit(77)
    unittest.main(verbosity=2)
