"""A small server that answers as the Transit engine does, and, when it is told to, as it never should.

Its encryption is none: a keystream and a tag of SHA-256, enough to refuse what was changed.
"""

import base64
import hashlib
import hmac
import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "s.fake-token-0123456789abcdef"


def answer(data):
    return 200, json.dumps({"data": data}).encode()


def errors(status, *texts):
    return status, json.dumps({"errors": list(texts)}).encode()


class Server:
    """`faults`: {a piece of the path: a function of (handler, body) that gives (status, body) or has sent it itself}."""

    def __init__(self, context=None):
        self.faults, self.asked = {}, []
        self.key = "ring"
        self.tokens = {TOKEN: 0}  # and the seconds that each has left; 0: for ever
        self.secret = os.urandom(32)
        self.created = {1: 1700000000, 2: 1700000100}
        self.numbers = {"min_decryption_version": 1, "min_encryption_version": 0, "min_available_version": 0}
        self.more = {}
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30
            disable_nagle_algorithm = True

            def log_message(self, *_):  # pylint: disable=arguments-differ
                pass

            def serve(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                server.asked.append((self.command, self.path, self.headers.get("X-Vault-Token")))
                for piece, fault in list(server.faults.items()):
                    if piece in self.path:
                        made = fault(self, body)
                        break
                else:
                    made = server.serve(self, json.loads(body) if body else {})
                if made is not None:
                    self.send(*made)

            def send(self, status, body, headers=()):
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PUT = serve  # noqa: N815

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):  # pylint: disable=arguments-differ
                pass

        self.http = Quiet(("127.0.0.1", 0), Handler)
        self.tls = context is not None
        if self.tls:
            self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    @property
    def address(self):
        return "%s://127.0.0.1:%d" % ("https" if self.tls else "http", self.http.server_port)

    def stop(self):
        self.http.shutdown()
        self.http.server_close()

    # -- what a good server does

    def serve(self, handler, body):
        path = handler.path.split("?")[0][len("/v1/"):]
        if path == "sys/health":
            return 200, json.dumps({"sealed": False, "version": "9.9", "cluster_id": "fake"}).encode()
        token = handler.headers.get("X-Vault-Token")
        if token not in self.tokens:
            return errors(403, "permission denied")
        if path == "auth/token/lookup-self":
            return answer({"ttl": self.tokens[token], "renewable": self.tokens[token] > 0})
        if path == "auth/token/renew-self":
            return 200, json.dumps({"auth": {"client_token": token, "lease_duration": self.tokens[token]}}).encode()
        if path == "transit/keys/" + self.key:
            shown = {str(n): when for n, when in self.created.items() if n >= self.numbers["min_decryption_version"]}
            return answer({"type": "aes256-gcm96", "keys": shown, "latest_version": max(self.created), **self.numbers,
                           **self.more})
        if path == "transit/encrypt/" + self.key:
            return self.encrypt(body)
        if path == "transit/decrypt/" + self.key:
            return self.decrypt(body)
        return errors(404)

    def stream(self, nonce, number):
        return hashlib.sha256(self.secret + nonce + bytes([number])).digest()

    def tag(self, sealed, body, number):
        return hmac.new(self.secret, sealed + body["associated_data"].encode() + bytes([number]), "sha256").digest()[:16]

    def encrypt(self, body, number=None):
        number = number or body["key_version"]
        nonce = os.urandom(12)
        plain = base64.b64decode(body["plaintext"])
        sealed = nonce + bytes(a ^ b for a, b in zip(plain, self.stream(nonce, number)))
        blob = base64.b64encode(sealed + self.tag(sealed, body, number)).decode()
        return answer({"ciphertext": "vault:v%d:%s" % (number, blob), "key_version": number})

    def decrypt(self, body):
        _, version, text = body["ciphertext"].split(":")
        number, blob = int(version[1:]), base64.b64decode(text)
        if number < self.numbers["min_decryption_version"]:
            return errors(400, "ciphertext or signature version is disallowed by policy (too old)")
        if blob[-16:] != self.tag(blob[:-16], body, number):
            return errors(400, "cipher: message authentication failed")
        plain = bytes(a ^ b for a, b in zip(blob[12:-16], self.stream(blob[:12], number)))
        return answer({"plaintext": base64.b64encode(plain).decode()})


# -- faults


def status(code, *texts, headers=()):
    def fault(handler, _):
        handler.send(*errors(code, *texts), headers)
    return fault


def raw(body, code=200):
    return lambda _, __: (code, body)


def slow(seconds):
    def fault(handler, _):
        time.sleep(seconds)
        return errors(500, "too late for %s" % handler.path)
    return fault


def truncated(handler, _):
    """Less than it says, then the end."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"data":{"ciphertext":"vault')
    handler.close_connection = True


def closed(handler, _):
    handler.close_connection = True


def echo_body(code):
    """As a proxy that knows nothing of tokens."""
    return lambda _, body: errors(code, body.decode())


def echo(code):
    """Says back all that it was told."""
    def fault(handler, body):
        return errors(code, "cannot: %s with %s" % (body.decode(), handler.headers.get("X-Vault-Token")))
    return fault
