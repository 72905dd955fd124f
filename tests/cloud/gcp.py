"""A stand-in for Google Cloud KMS (gcp_server.js), and a kekd whose KEK is there."""

import json
import os
import subprocess
import sys
import tempfile
import urllib.request

HERE = os.path.dirname(os.path.realpath(__file__))
for room in ("interop", "conformance"):
    sys.path.insert(0, os.path.join(os.path.dirname(HERE), room))

import certs  # noqa: E402
import parts  # noqa: E402
import rig as rigs  # noqa: E402
import scan  # noqa: E402
from worker import Failed, Worker  # noqa: E402

KEY = "projects/kekd-test/locations/europe-west3/keyRings/ring/cryptoKeys/kek"
EMAIL = "kekd@kekd-test.iam.gserviceaccount.com"
LEAST = ["cloudkms.cryptoKeyVersions.%s" % name for name in ("useToEncrypt", "useToDecrypt", "list")]


class Server:
    """By HTTP, or by HTTPS under a CA of its own."""

    def __init__(self, test=None, tls=False):
        folder = parts.node()
        self.folder = tempfile.mkdtemp(prefix="kekd-gcp-")
        command = ["node", os.path.join(HERE, "gcp_server.js")]
        self.ca = None
        if tls:
            authority = certs.Authority(self.folder + "/ca")
            cert, key = authority.issue("/CN=kms", san="IP:127.0.0.1")
            command += ["--cert", cert, "--key", key]
            self.ca = authority.cert
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=dict(os.environ, NODE_PATH=os.path.join(folder, "node_modules"), NODE_NO_WARNINGS="1"))
        said = json.loads(self.process.stdout.readline())
        self.url = "http%s://127.0.0.1:%d" % ("s" if tls else "", said["port"])
        self.control = "http://127.0.0.1:%d/" % said["control"]
        if test is not None:
            test.addCleanup(self.close)
        self.secrets = []

    def close(self):
        self.process.stdin.close()
        self.process.wait(rigs.PATIENCE)
        self.process.stdout.close()
        rigs.shutil.rmtree(self.folder, ignore_errors=True)

    def do(self, what, **arguments):
        body = json.dumps(dict(arguments, do=what)).encode()
        with urllib.request.urlopen(self.control, data=body, timeout=rigs.PATIENCE) as answer:
            said = json.load(answer)
        assert "error" not in said, said
        return said.get("result")

    def make_key(self, **about):
        self.do("key", name=KEY, **about)

    def set(self, number, **fields):
        self.do("set", version="%s/cryptoKeyVersions/%d" % (KEY, number), set=fields)

    def seen(self, call=None):
        return [one for one in self.do("seen") if call in (None, one["call"])]

    # Credentials, in Google's own format.

    def write(self, name, content):
        path = os.path.join(self.folder, name)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
            file.write(content if isinstance(content, str) else json.dumps(content))
        return path

    def new_account_key(self, name="account", key_id="key-1"):
        """A service account's key file; the account has that key from now on, and no other."""
        pem = os.path.join(self.folder, name + ".pem")
        certs.openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", pem)
        certs.openssl("pkey", "-in", pem, "-pubout", "-out", pem + ".pub")
        with open(pem, encoding="ascii") as file:
            private = file.read()
        with open(pem + ".pub", encoding="ascii") as file:
            self.do("account", email=EMAIL, id=key_id, key=file.read())
        self.secrets.append("".join(private.splitlines()[1:3]))
        return self.write(name + ".json", {
            "type": "service_account", "project_id": "kekd-test", "private_key_id": key_id,
            "private_key": private, "client_email": EMAIL, "client_id": "1",
            "token_uri": self.url + "/token", "universe_domain": "googleapis.com"})

    def federate(self, impersonate=False, kind="text"):
        """A workload identity's configuration."""
        audience = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x"
        token = "subject-token-of-the-issuer"
        self.do("subject", audience=audience, token=token, principal="principal://workload")
        self.secrets.append(token)
        source = {"file": self.write("subject", token + "\n")}
        if kind == "json":
            source = {"file": self.write("subject", {"id_token": token}),
                      "format": {"type": "json", "subject_token_field_name": "id_token"}}
        about = {"type": "external_account", "audience": audience,
                 "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
                 "token_url": self.url + "/v1/token", "credential_source": source}
        if impersonate:
            about["service_account_impersonation_url"] = (
                "%s/v1/projects/-/serviceAccounts/%s:generateAccessToken" % (self.url, EMAIL))
        return self.write("federated.json", about)


class Nothing:
    """No PKCS#11 token."""
    uri = conf = ""


class Case(rigs.Case):
    """Tests with a server and a key of one version there. Whatever a worker or a kekd said or put on record in a test is
    looked over at its end: no credential, no access token, no data key and no plaintext is in it."""

    def setUp(self):
        self.server = Server(self)
        self.server.make_key()
        self.listen()

    def listen(self):
        self.heard = {}
        Worker.log = os.open(self.server.folder + "/workers.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        Failed.heard.clear()
        self.addCleanup(self.look_over)

    def look_over(self):
        os.close(Worker.log)
        Worker.log = None
        self.heard["workers"] = scan.read(self.server.folder + "/workers.log")
        self.heard["failures"] = "\n".join(Failed.heard)
        self.heard["this look"] = "was made"
        scan.insist(self.heard, self.server.secrets + self.server.do("secrets") + [bytes(range(32))])

    def hear(self, node):
        """What that kekd logged, put on record and shows."""
        folder = os.path.basename(node.folder)
        for name, path in (("log", node.log_path), ("audit", node.config["audit"]["file"])):
            if os.path.exists(path):
                self.heard["%s %s" % (folder, name)] = scan.read(path)
        if node.kekd is not None and node.kekd.poll() is None:
            for page in ("/metrics", "/readyz"):
                self.heard[folder + page] = node.page(page)[1]

    def provider(self, credentials=None, **more):
        return dict({"name": "gcp", "type": "gcpkms", "key": KEY, "endpoint": self.server.url,
                     "credentials": "file:" + (credentials or self.server.new_account_key()),
                     "timeout": "2s", "processes": 1, "sessions": 2}, **more)

    def node(self, credentials=None, config=None, **more):
        node = self.rig(token=Nothing(), generate=False, config=dict({
            "settle": "0s", "metrics": rigs.own_address(), "providers": [self.provider(credentials, **more)],
            "audit": {"file": "%s/audit-%d.jsonl" % (self.server.folder, len(os.listdir(self.server.folder)))},
        }, **(config or {})))
        self.addCleanup(self.hear, node)
        return node


class AsWorker:
    """A provider's configuration, as conformance's Worker takes it."""
    type, name, versions, env = "gcpkms", "gcp", (), {}

    def __init__(self, provider, versions=(), env=None):
        self.provider = provider
        self.versions = versions
        self.env = env or {}

    def settings(self):
        known = ("key", "endpoint", "credentials", "protection", "attestation", "manufacturer_root", "owner_root", "ca",
                 "proxy")
        return {name: self.provider[name] for name in known if name in self.provider}


main = rigs.main
