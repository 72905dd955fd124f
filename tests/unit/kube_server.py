"""An API server at the HTTP edge, for tests of kekctl: TLS on loopback, Secrets with metadata alone, lists in pages,
patches with a resourceVersion, and any answer that a test wants in their place."""

import base64
import http.server
import json
import os
import ssl
import subprocess
import threading
import time
import urllib.parse

SECRET = base64.b64encode(b"hunter2-of-a-secret").decode()
ONE = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


def openssl(*args):
    subprocess.run(["openssl", *args], check=True, stdin=subprocess.DEVNULL, capture_output=True)


def certificates(folder, name="127.0.0.1"):
    """A CA, the server's certificate and a client's, in the folder: ca, server, client (.pem and .key)."""
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-x509", *key, "-days", "30", "-subj", "/CN=kube CA", "-keyout", folder + "/ca.key",
            "-out", folder + "/ca.pem", "-addext", "basicConstraints=critical,CA:TRUE",
            "-addext", "keyUsage=critical,keyCertSign")
    kind = "IP:" if name[0].isdigit() else "DNS:"
    for who in ("server", "client"):
        base = folder + "/" + who
        with open(base + ".ext", "w", encoding="utf-8") as file:
            file.write("subjectAltName=" + kind + name + "\n")
        openssl("req", *key, "-subj", "/CN=" + who, "-keyout", base + ".key", "-out", base + ".csr")
        openssl("x509", "-req", "-in", base + ".csr", "-CA", folder + "/ca.pem", "-CAkey",
                folder + "/ca.key", "-CAcreateserial", "-days", "30", "-extfile", base + ".ext",
                "-out", base + ".pem")


def status(code, message, reason="", **more):
    return code, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message,
                  "reason": reason, "code": code, **more}


def gone(name):
    return status(404, 'secrets "%s" not found' % name, "NotFound", details={"name": name, "kind": "secrets"})


class Server:
    """`rule`: called with (method, path, query, body); None: as an API server would answer, else (code, JSON or
    bytes, headers...), or "drop" for a connection that ends."""

    def __init__(self, folder, secrets=0, page=None):
        self.folder, self.page = folder, page
        self.lock = threading.RLock()
        self.version = 1000
        self.objects = {}
        self.writes = {}  # by name: how often it was written
        self.requests = []
        self.tokens = {"a-token"}
        self.rule = lambda method, path, query, body: None
        self.migration = None  # what a StorageVersionMigration shows: called with how often it was asked for
        self.migrations = {}
        self.ready = (200, b"[+]etcd ok\n[+]kms-providers ok\nreadyz check passed\n")
        self.before_patch = lambda key: None
        for number in range(secrets):
            self.add("s%05d" % number)
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        self.http.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder + "/server.pem", folder + "/server.key")
        context.load_verify_locations(folder + "/ca.pem")
        context.verify_mode = ssl.CERT_OPTIONAL
        self.http.socket = context.wrap_socket(self.http.socket, server_side=True,
                                               do_handshake_on_connect=False)
        self.port = self.http.server_address[1]
        self.url = "https://127.0.0.1:%d" % self.port
        threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self.http.shutdown()
        self.http.server_close()

    # ---- the objects ----

    def add(self, name, space="default", stale=True):
        with self.lock:
            self.version += 1
            self.objects[(space, name)] = {"uid": "uid-" + name, "version": self.version,
                                           "stale": stale}

    def touch(self, name, space="default"):
        """Somebody writes it."""
        with self.lock:
            self.version += 1
            self.objects[(space, name)].update(version=self.version, stale=False)

    def stale(self):
        return sum(one["stale"] for one in self.objects.values())

    def describe(self, key):
        one = self.objects[key]
        return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {
            "name": key[1], "namespace": key[0], "uid": one["uid"],
            "resourceVersion": str(one["version"]),
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration":
                            json.dumps({"data": {"password": SECRET}})}}}

    def list(self, query):
        limit = int(query.get("limit", ["0"])[0])
        limit = min(limit, self.page or limit)
        start = query.get("continue", [""])[0]
        with self.lock:
            keys = sorted(self.objects)
            first = 0 if not start else int(start.partition("@")[0])
            version = start.partition("@")[2] or str(self.version)
            names = keys[first:first + limit]
            metadata = {"resourceVersion": version}
            if first + limit < len(keys):
                metadata["continue"] = "%d@%s" % (first + limit, version)
                metadata["remainingItemCount"] = len(keys) - first - limit
            return 200, {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                         "metadata": metadata, "items": [self.describe(key) for key in names]}

    def patch(self, key, body):
        self.before_patch(key)
        with self.lock:
            one = self.objects.get(key)
            if one is None:
                return gone(key[1])
            metadata = json.loads(body)["metadata"]
            if json.loads(body) != {"metadata": metadata} or \
                    set(metadata) - {"uid", "resourceVersion"}:
                return status(422, "the patch changes something", "Invalid")
            if metadata["resourceVersion"] != str(one["version"]):
                return status(409, "the object has been modified", "Conflict")
            if one["stale"]:
                self.version += 1
                one.update(version=self.version, stale=False)
                self.writes[key[1]] = self.writes.get(key[1], 0) + 1
            return 200, self.describe(key)

    # ---- requests ----

    def answer(self, method, path, query, body, accept):
        parts = path.strip("/").split("/")
        if path == "/readyz":
            return self.ready
        if path == "/api/v1":
            return 200, {"kind": "APIResourceList", "resources": [
                {"name": "secrets", "namespaced": True, "verbs": ["get", "list", "patch"]},
                {"name": "bindings", "namespaced": True, "verbs": ["create"]}]}
        if path == "/apis/storagemigration.k8s.io" and self.migration is not None:
            return 200, {"preferredVersion": {"version": "v1"}}
        if parts[:2] == ["apis", "storagemigration.k8s.io"] and len(parts) > 2:
            return self.migrate(method, parts, body)
        if path == "/api/v1/secrets" and method == "GET":
            return self.list(query) if accept == LIST else (406, {})
        if parts[:3] == ["api", "v1", "namespaces"] and parts[4:5] == ["secrets"]:
            key = (parts[3], urllib.parse.unquote(parts[5]))
            if accept != ONE:
                return 406, {}
            if method == "PATCH":
                return self.patch(key, body)
            with self.lock:
                return (200, self.describe(key)) if key in self.objects else gone(key[1])
        return status(404, "the server could not find the requested resource", "NotFound")

    def migrate(self, method, parts, body):
        if method == "POST":
            name, spec = json.loads(body)["metadata"]["name"], json.loads(body)["spec"]
            if name in self.migrations:
                return status(409, 'storageversionmigrations "%s" already exists' % name, "AlreadyExists")
            self.migrations[name] = 0
            return (201, {"metadata": {"name": name}, "spec": spec}) \
                if spec == {"resource": {"group": "", "resource": "secrets"}} else \
                status(422, "no such spec", "Invalid")
        if parts[-1] not in self.migrations:
            return status(404, "not found", "NotFound")
        if method == "DELETE":
            del self.migrations[parts[-1]]
            return 200, {}
        self.migrations[parts[-1]] += 1
        return 200, {"status": {"resourceVersion": "1234",
                                "conditions": self.migration(self.migrations[parts[-1]])}}

    def handler(self):
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def log_message(self, *args):
                pass

            def handle(self):
                try:
                    self.connection.do_handshake()
                    super().handle()
                except OSError:
                    pass

            def authenticated(self):
                token = self.headers.get("Authorization", "")
                return self.connection.getpeercert() or \
                    token.startswith("Bearer ") and token[7:] in server.tokens

            def serve(self):
                url = urllib.parse.urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                query = urllib.parse.parse_qs(url.query)
                with server.lock:
                    server.requests.append((self.command, self.path, body))
                answer = server.rule(self.command, url.path, query, body)
                if answer == "drop":
                    self.close_connection = True
                    self.connection.close()
                    return
                if answer is None and not self.authenticated():
                    answer = status(401, "Unauthorized", "Unauthorized")
                if answer is None:
                    answer = server.answer(self.command, url.path, query, body,
                                           self.headers.get("Accept"))
                self.reply(*answer)

            def reply(self, code, content, *headers):
                content = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(code)
                self.send_header("Content-Length", str(len(content)))
                for name, value in headers:
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_PATCH = do_POST = do_DELETE = serve

        return Handler

    def kubeconfig(self, user=None, cluster=None, name="kubeconfig"):
        path = os.path.join(self.folder, name)
        config = {
            "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            "clusters": [{"name": "k", "cluster": {
                "server": self.url, "certificate-authority": "ca.pem", **(cluster or {})}}],
            "users": [{"name": "u", "user": user or {"token": "a-token"}}]}
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w",
                  encoding="utf-8") as file:
            json.dump(config, file)
        return path


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("it did not come about in %s s" % seconds)
        time.sleep(0.02)
