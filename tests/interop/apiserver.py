"""A small Kubernetes cluster on loopback: etcd, kekd and API servers, each in a folder of its own.

    class Reencrypt(rigs.Case):
        def test(self):
            cluster = apiserver.Cluster(self).start()         # etcd, kekd, one API server
            cluster.create("secrets", "a", {"password": b"x"})
            cluster.etcd.values("/registry/secrets/")         # as it lies there
            config = cluster.kubeconfig()                     # path, of the user admin
            cluster.kekd.write(etcd=[cluster.etcd.entry()])   # for kekctl inventory
            cluster.deny("bob patch secrets")                 # 403 from now on
            cluster.refuse("secrets default/a 422")           # by admission
            cluster.servers[0].restart(); cluster.kekd.kill(); cluster.etcd.restart()

The API server is tests/kube/apiserver, built when it is asked for: Kubernetes' own generic server, registry,
storage and encryption configuration. It serves what RESOURCES names. A file that uses this calls need()
before its tests: without etcd, Go or the modules it skips loudly (KEKD_REQUIRE_KUBE=1: fails)."""

import base64
import contextlib
import fcntl
import http.client
import itertools
import json
import os
import re
import shutil
import ssl
import subprocess
import threading
import urllib.parse

import certs
import etcd_server
import rig as rigs

NAMES = itertools.count()

RESOURCES = {  # path of the group, kind, whether in a namespace
    "secrets": ("/api/v1", "Secret", True),
    "configmaps": ("/api/v1", "ConfigMap", True),
    "namespaces": ("/api/v1", "Namespace", False),
    "widgets.kekd.example": ("/apis/kekd.example/v1", "Widget", True),
    "storageversionmigrations.storagemigration.k8s.io":
        ("/apis/storagemigration.k8s.io/v1", "StorageVersionMigration", False),
}


# The program.

def go():
    """The go command, new enough for Kubernetes' modules; None: there is none."""
    for found in (os.environ.get("GO"), shutil.which("go"), "/usr/local/go/bin/go"):
        if found and os.access(found, os.X_OK):
            said = subprocess.run([found, "env", "GOVERSION"], stdout=subprocess.PIPE, text=True, check=False)
            version = re.match(r"go1\.(\d+)", said.stdout)
            if version and int(version[1]) >= 24:
                return found
    return None


def build(package="apiserver"):
    """Builds tests/kube/PACKAGE where it is not up to date, and returns its path. KEK_APISERVER names another."""
    command = go()
    if command is None:
        etcd_server.skip("Go >= 1.24 not found")
    folder = rigs.TOP_BUILD + "/tests/kube"
    os.makedirs(folder, exist_ok=True)
    path = "%s/kube-%s" % (folder, package)
    environment = dict(os.environ, GOTOOLCHAIN="local", GOFLAGS=os.environ.get("GOFLAGS", "") + " -mod=readonly")
    options = {"cwd": rigs.TOP_SRC + "/tests/kube", "env": environment, "check": False, "text": True,
               "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with open(folder + "/go.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests at once compile once; run.sh takes it too
        if subprocess.run([command, "list", "-deps", "./" + package], **options).returncode != 0:
            etcd_server.skip("the Go modules of tests/kube/%s cannot be had" % package)
        done = subprocess.run([command, "build", "-o", path, "./" + package], **options)
        if done.returncode != 0:
            raise AssertionError("go build ./%s: %s" % (package, done.stdout))
    return path


PROGRAM = []  # once need() was called


def need():
    etcd_server.need()
    if not PROGRAM:
        PROGRAM.append(os.environ.get("KEK_APISERVER") or build())


# Its clients.

class Connection:
    """One kept connection of a user to an API server."""

    def __init__(self, server, user="admin", token=None):
        self.server, self.token = server, token
        self.context = ssl.create_default_context(cafile=server.cluster.ca.cert)
        if token is None:
            self.context.load_cert_chain(*server.cluster.user(user))
        self.http = None

    def call(self, method, path, body=None, kind="application/json", accept="application/json"):
        """(HTTP status, what the JSON says or else the text)."""
        headers = {"Content-Type": kind, "Accept": accept}
        if self.token is not None:
            headers["Authorization"] = "Bearer " + self.token
        data = None if body is None else json.dumps(body).encode()
        for last in (False, True):
            if self.http is None:
                self.http = http.client.HTTPSConnection(self.server.address, timeout=rigs.PATIENCE,
                                                        context=self.context)
            try:
                self.http.request(method, path, data, headers)
                answer = self.http.getresponse()
                text = answer.read()
                break
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                self.close()  # the server has closed it since, or is gone
                if last:
                    raise
        with contextlib.suppress(ValueError):
            return answer.status, json.loads(text)
        return answer.status, text.decode(errors="replace")

    def close(self):
        if self.http is not None:
            self.http.close()
            self.http = None


class ApiServer(etcd_server.Server):
    """One of a cluster's, on an etcd and with an EncryptionConfiguration of its own if they are given."""

    def __init__(self, case, cluster, name, encryption, socket=None, options=()):
        super().__init__(case, name)
        self.cluster, self.encryption, self.given = cluster, encryption, list(options)
        self.socket = socket
        self.address = rigs.own_address()
        self.url = "https://" + self.address
        self.tls = cluster.ca.issue("/CN=" + name, "IP:" + self.address.split(":", maxsplit=1)[0], name=name)

    def command(self):
        host, port = self.address.split(":")
        cluster = self.cluster
        return [PROGRAM[0], *cluster.etcd.options(), "--bind-address=" + host, "--secure-port=" + port,
                "--tls-cert-file=" + self.tls[0], "--tls-private-key-file=" + self.tls[1],
                "--client-ca-file=" + cluster.ca.cert, "--token-auth-file=" + cluster.path("tokens.csv"),
                "--encryption-provider-config=" + self.encryption,
                "--encryption-provider-config-automatic-reload=%s" % ("true" if cluster.reload else "false"),
                "--feature-gates=KMSv1=true", "--deny=" + cluster.path("deny"),
                "--refuse=" + cluster.path("refuse"), *cluster.options, *self.given]

    def start(self, wait=True):
        self.spawn()
        if wait:
            self.ready()
        return self

    def readyz(self):
        """(HTTP status, text) of /readyz; status 0: it does not take connections."""
        with contextlib.closing(Connection(self)) as connection:
            try:
                return connection.call("GET", "/readyz?verbose")
            except OSError as error:
                return 0, str(error)

    def ready(self):
        def is_ready():
            self.running()
            return self.readyz()[0] == 200
        try:
            rigs.wait_for(is_ready, "the API server to be ready")
        except AssertionError:
            print(self.readyz()[1])
            self.tell()
            raise

    def call(self, method, path, body=None, user="admin", token=None, **options):
        with contextlib.closing(Connection(self, user, token)) as connection:
            return connection.call(method, path, body, **options)


# What it is told.

def kms(socket, name="kekd", version="v2", **more):
    """A provider of an EncryptionConfiguration."""
    return {"kms": dict({"apiVersion": version, "name": name, "endpoint": "unix://" + socket, "timeout": "3s"}, **more)}


def encryption(*rules):
    """An EncryptionConfiguration of rules ([resources], [providers]), as text."""
    return json.dumps({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration",
        "resources": [{"resources": resources, "providers": providers} for resources, providers in rules]}, indent=1)


class Cluster:
    """servers: API servers on the one etcd, the n-th with kekds[n] beside it where there are so many, else the
    first. kekds: rigs that are there already. resources: what goes through KMS. rules: of the
    EncryptionConfiguration, a function of kekd's socket. secure: etcd speaks TLS."""

    program = ApiServer

    # pylint: disable=too-many-arguments
    def __init__(self, case, servers=1, kekds=None, etcd=None, resources=("secrets",), version="v2", rules=None,
                 reload=True, secure=False, prefix="/registry", options=(), tokens=None):
        need()
        self.case, self.reload, self.options = case, reload, list(options)
        self.own = kekds is None
        self.kekds = kekds or [rigs.Rig(case)]
        self.kekd = self.kekds[0]
        self.folder = self.kekd.folder + "/cluster-%d" % next(NAMES)
        os.mkdir(self.folder)
        self.ca = certs.Authority(self.folder + "/tls", "Kubernetes CA")
        self.users, self.lock = {}, threading.Lock()
        self.tokens = {"token-of-admin": "admin"} if tokens is None else tokens
        self.write("tokens.csv", "".join("%s,%s,%s,system:masters\n" % (token, user, user)
                                         for token, user in self.tokens.items()))
        self.etcd = etcd or etcd_server.Etcd(case, certs.Authority(self.folder + "/etcd-tls", "etcd CA") if secure
                                             else None, prefix)
        self.rules = rules or (lambda socket: [(list(resources), [kms(socket, version=version), {"identity": {}}])])
        self.servers = [self.add("apiserver-%d" % at) for at in range(servers)]

    def add(self, name, *options):
        """One more API server; the caller starts it."""
        beside = self.kekds[min(int(name.rsplit("-", 1)[1]), len(self.kekds) - 1)]
        path = self.path(name + ".yaml")
        self.write(name + ".yaml", encryption(*self.rules(beside.socket)))
        return self.program(self.case, self, name, path, beside.socket, options)

    def path(self, name):
        return "%s/%s" % (self.folder, name)

    def write(self, name, text):
        """Replaces one of its files as a whole: who reads it sees the old one or the new one."""
        with open(self.path(name) + ".next", "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(self.path(name) + ".next", self.path(name))
        return self.path(name)

    def start(self):
        """Starts what does not run yet: etcd, kekds and API servers."""
        if self.etcd.process is None:
            self.etcd.start()
        for kekd in self.kekds:
            if kekd.kekd is None:
                kekd.start()
        for server in self.servers:
            if server.process is None:
                server.spawn()
        for server in self.servers:
            server.ready()
        return self

    def stop(self):
        """Ends all; what does not end well is told."""
        for server in self.servers:
            server.stop()
        self.etcd.stop()
        if self.own:
            self.kekd.close_clients()
            self.kekd.stop()

    def reencryption(self, rules, wait=True):
        """Another EncryptionConfiguration for all API servers: they are restarted."""
        self.rules = rules
        for server in self.servers:
            self.write(os.path.basename(server.encryption), encryption(*rules(server.socket)))
            server.stop()
            server.start(wait)

    # Who may do what.

    def user(self, name):
        """(certificate, key) of a user, who is in group system:masters."""
        with self.lock:
            if name not in self.users:
                self.users[name] = self.ca.issue("/O=system:masters/CN=" + name, usage="clientAuth",
                                                 name="user-" + name)
            return self.users[name]

    def deny(self, *lines):
        """Lines "user verb resource" are forbidden from now on, and nothing else; * is any."""
        self.write("deny", "\n".join(lines) + "\n")

    def refuse(self, *lines):
        """Lines "resource namespace/name code": admission refuses such writes so from now on, and nothing else."""
        self.write("refuse", "\n".join(lines) + "\n")

    def kubeconfig(self, user="admin", token=None, server=0, inline=False, **more):
        """The path of a new kubeconfig. inline: certificates in the file. more: of the user's entry."""
        def given(name, path):
            if not inline:
                return {name: path}
            with open(path, "rb") as file:
                return {name + "-data": base64.b64encode(file.read()).decode()}
        entry = dict(more)
        if token is not None:
            entry["token"] = token
        elif not more:
            cert, key = self.user(user)
            entry.update(**given("client-certificate", cert), **given("client-key", key))
        text = {
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": self.servers[server].url,
                                                      **given("certificate-authority", self.ca.cert)}}],
            "users": [{"name": user, "user": entry}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
        }
        path = self.write("kubeconfig-%d" % next(NAMES), "\n".join(rigs.yaml_lines(text)) + "\n")
        os.chmod(path, 0o600)
        return path

    # Objects.

    @staticmethod
    def at(resource, name=None, namespace="default", query=""):
        group, _, namespaced = RESOURCES[resource]
        path = group + ("/namespaces/" + namespace if namespaced and namespace else "")
        path += "/" + resource.split(".", maxsplit=1)[0]
        return path + ("/" + urllib.parse.quote(name) if name else "") + query

    @staticmethod
    def content(resource, name, data, namespace="default"):
        """data: of a Secret, bytes; of a ConfigMap, text; of others their spec."""
        group, kind, namespaced = RESOURCES[resource]
        made = {"apiVersion": group.split("/", 2)[2] if group.startswith("/apis/") else "v1", "kind": kind,
                "metadata": {"name": name, **({"namespace": namespace} if namespaced else {})}}
        if resource == "secrets":
            made["data"] = {key: base64.b64encode(value).decode() for key, value in data.items()}
        elif resource == "configmaps":
            made["data"] = data
        elif data:
            made["spec"] = data
        return made

    def create(self, resource, name, data, namespace="default", connection=None):
        self.good(connection or self.servers[0], "POST", self.at(resource, namespace=namespace),
                  self.content(resource, name, data, namespace))

    def get(self, resource, name, namespace="default", server=0):
        return self.good(self.servers[server], "GET", self.at(resource, name, namespace))

    def patch(self, resource, name, patch, namespace="default", server=0):
        return self.good(self.servers[server], "PATCH", self.at(resource, name, namespace), patch,
                         kind="application/merge-patch+json")

    def delete(self, resource, name, namespace="default", server=0):
        return self.good(self.servers[server], "DELETE", self.at(resource, name, namespace))

    @staticmethod
    def good(caller, method, path, body=None, **options):
        status, answer = caller.call(method, path, body, **options)
        if status not in (200, 201):
            raise AssertionError("%s %s: %d %s" % (method, path, status, answer))
        return answer

    def fill(self, count, resource="secrets", namespaces=("default",), threads=8, prefix="object"):
        """Creates that many, in these namespaces by turns."""
        numbers = iter(range(count))

        def work(server):
            with contextlib.closing(Connection(server)) as connection:
                while True:
                    with self.lock:
                        number = next(numbers, None)
                    if number is None:
                        return
                    name = "%s-%06d" % (prefix, number)
                    data = {"password": name.encode() if resource == "secrets" else name}
                    self.create(resource, name, data, namespaces[number % len(namespaces)], connection)
        self.user("admin")
        rigs.side_by_side(work, [self.servers[at % len(self.servers)] for at in range(threads)])
