"""A real etcd on loopback in a folder of its own, and what lies in it, by etcd's own JSON gateway.

    etcd = Etcd(case).start()                   # tls=certs.Authority(...): certificates, the clients' too
    etcd.values("/registry/secrets/")           # {key: Value(value, create, mod, version)}
    etcd.put(key, value); etcd.delete(key); etcd.compact(etcd.revision())
    etcd.entry()                                # of `etcd:` in kekd.yaml
    etcd.options()                              # of an API server

It skips, or fails where KEKD_REQUIRE_KUBE=1, without etcd."""

import base64
import collections
import contextlib
import ctypes
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

import rig as rigs

Value = collections.namedtuple("Value", "value create mod version")

PAGE = 2000  # keys a read


def skip(what):
    """Leaves the test: it needs what is not here."""
    print("SKIP: %s: %s did not run" % (what, os.path.basename(sys.argv[0])), flush=True)
    sys.exit(1 if os.environ.get("KEKD_REQUIRE_KUBE") == "1" else rigs.SKIP)


def need():
    """Whoever imports a test that needs etcd calls this first."""
    if shutil.which("etcd") is None:
        skip("etcd not found")


def coded(text):
    return base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()


def after(prefix):
    """The first key behind all that begin so, coded; where there is none, etcd's word for the end."""
    key = bytearray(prefix.encode())
    while key:
        if key[-1] < 0xff:
            key[-1] += 1
            return coded(bytes(key))
        key.pop()
    return coded(b"\0")


def covered(dek, plain):
    """What an API server up to 1.24 wrote behind a v1 key: IV, AES-CBC with PKCS#7."""
    iv = os.urandom(16)
    sealed = subprocess.run(["openssl", "enc", "-aes-%d-cbc" % (8 * len(dek)), "-K", dek.hex(), "-iv", iv.hex()],
                            input=plain, stdout=subprocess.PIPE, check=True).stdout
    return iv + sealed


def covered_by_gcm(dek, key, plain):
    """What an API server writes behind a v1 key since: nonce, AES-GCM bound to the key in etcd, tag."""
    crypto = ctypes.CDLL("libcrypto.so.3")
    for name in ("EVP_CIPHER_CTX_new", "EVP_aes_256_gcm"):
        getattr(crypto, name).restype = ctypes.c_void_p
    cipher, context = (ctypes.c_void_p(make()) for make in (crypto.EVP_aes_256_gcm, crypto.EVP_CIPHER_CTX_new))
    nonce, aad, size = os.urandom(12), key.encode(), ctypes.c_int()
    out, tag = ctypes.create_string_buffer(len(plain)), ctypes.create_string_buffer(16)
    done = (crypto.EVP_EncryptInit_ex(context, cipher, None, dek, nonce),
            crypto.EVP_EncryptUpdate(context, None, ctypes.byref(size), aad, len(aad)),
            crypto.EVP_EncryptUpdate(context, out, ctypes.byref(size), plain, len(plain)),
            crypto.EVP_EncryptFinal_ex(context, tag, ctypes.byref(size)),
            crypto.EVP_CIPHER_CTX_ctrl(context, 0x10, len(tag), tag))  # EVP_CTRL_AEAD_GET_TAG
    crypto.EVP_CIPHER_CTX_free(context)
    assert done == (1,) * len(done), done
    return nonce + out.raw + tag.raw


class Refused(Exception):
    """etcd answered with an error: its HTTP status, and its text."""

    def __init__(self, status, text):
        super().__init__("etcd answered %d: %s" % (status, text.strip()))
        self.status, self.text = status, text


class Server:
    """A program that serves, in a folder of its own, until its test ends. The heir has command()."""

    def __init__(self, case, name):
        self.name, self.process = name, None
        self.folder = tempfile.mkdtemp(prefix="kekd-%s-" % name)
        self.log = "%s/%s.log" % (self.folder, name)
        rigs.LIVE.add(self)
        if case is not None:
            case.addCleanup(self.cleanup, case)

    def spawn(self):
        assert self.process is None and self in rigs.LIVE
        with open(self.log, "ab") as log:
            # pylint: disable=consider-using-with
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            start_new_session=True, cwd=self.folder)
        return self

    def running(self):
        if self.process.poll() is not None:
            self.tell()
            raise AssertionError("%s ended with %d" % (self.name, self.process.returncode))

    def stop(self, number=signal.SIGTERM):
        """Ends it, and waits until it has ended."""
        process, self.process = self.process, None
        process.send_signal(number)
        try:
            process.wait(rigs.PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError("%s did not end" % self.name) from None

    def kill(self):
        self.stop(signal.SIGKILL)

    def restart(self):
        self.stop()
        return self.start()

    def end(self):
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def remove(self):
        rigs.LIVE.discard(self)
        shutil.rmtree(self.folder, ignore_errors=True)

    def tell(self):
        with contextlib.suppress(OSError), open(self.log, errors="replace", encoding="utf-8") as file:
            print("----- %s" % self.log)
            print("\n".join(file.read().splitlines()[-60:]), flush=True)

    def cleanup(self, case):
        self.end()
        if case.failing():
            self.tell()
        self.remove()


class Etcd(Server):
    """tls: certs.Authority; etcd and its clients then need certificates of it. prefix: of the API server."""

    def __init__(self, case=None, tls=None, prefix="/registry", name="etcd"):
        super().__init__(case, name)
        self.tls, self.prefix = tls, prefix
        self.address, self.peers = rigs.own_address(), rigs.own_address()
        self.endpoint = "%s://%s" % ("https" if tls else "http", self.address)
        self.context = None
        if tls:
            self.own = tls.issue("/CN=" + name, "IP:" + self.address.split(":", maxsplit=1)[0], name=name)
            self.client = tls.issue("/CN=apiserver", usage="clientAuth", name=name + "-client")
            self.context = ssl.create_default_context(cafile=tls.cert)
            self.context.load_cert_chain(*self.client)

    def command(self):
        peers = "http://" + self.peers
        arguments = ["etcd", "--data-dir", self.folder + "/data", "--listen-client-urls", self.endpoint,
                     "--advertise-client-urls", self.endpoint, "--listen-peer-urls", peers,
                     "--initial-advertise-peer-urls", peers, "--initial-cluster", "default=" + peers,
                     "--logger", "zap", "--log-level", "warn", "--quota-backend-bytes", str(8 << 30)]
        if self.tls:
            arguments += ["--cert-file", self.own[0], "--key-file", self.own[1],
                          "--trusted-ca-file", self.tls.cert, "--client-cert-auth"]
        return arguments

    def start(self):
        self.spawn()

        def answers():
            self.running()
            with contextlib.suppress(OSError, Refused):
                return self.status()
            return None
        rigs.wait_for(answers, "etcd")
        return self

    def options(self):
        given = ["--etcd-servers=" + self.endpoint, "--etcd-prefix=" + self.prefix]
        if self.tls:
            given += ["--etcd-cafile=" + self.tls.cert, "--etcd-certfile=" + self.client[0],
                      "--etcd-keyfile=" + self.client[1]]
        return given

    def entry(self, name="main", **more):
        made = {"name": name, "endpoints": [self.endpoint], "prefix": self.prefix}
        if self.tls:
            made.update(ca=self.tls.cert, cert=self.client[0], key=self.client[1])
        return dict(made, **more)

    def call(self, path, token=None, **body):
        """POST /v3/PATH: what it answers."""
        request = urllib.request.Request(self.endpoint + "/v3/" + path, json.dumps(body).encode(),
                                         {"Authorization": token} if token else {})
        try:
            with urllib.request.urlopen(request, timeout=rigs.PATIENCE, context=self.context) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise Refused(error.code, error.read().decode()) from None

    def status(self):
        return self.call("maintenance/status")

    def revision(self):
        return int(self.status()["header"]["revision"])

    def each(self, prefix=None, keys_only=False):
        """(key, Value) of what lies under a prefix, all at one revision, a page at a time."""
        prefix = self.prefix + "/" if prefix is None else prefix
        key, revision = coded(prefix), 0
        while True:
            page = self.call("kv/range", key=key, range_end=after(prefix), limit=PAGE, revision=revision,
                             keys_only=keys_only)
            revision = revision or int(page["header"]["revision"])
            for pair in page.get("kvs", []):
                last = base64.b64decode(pair["key"])
                yield last.decode(), Value(base64.b64decode(pair.get("value", "")), int(pair["create_revision"]),
                                           int(pair["mod_revision"]), int(pair["version"]))
            if not page.get("more"):
                return
            key = coded(last + b"\0")

    def values(self, prefix=None):
        return dict(self.each(prefix))

    def put(self, key, value):
        self.call("kv/put", key=coded(key), value=coded(value))

    def delete(self, key):
        self.call("kv/deleterange", key=coded(key))

    def compact(self, revision):
        self.call("kv/compaction", revision=revision, physical=True)
