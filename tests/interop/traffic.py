"""Traffic that tells: every call's end, every wrong answer, and what was sealed, to be opened again.

A Caller is one client with a connection of its own: v2 and v1, Encrypt and Decrypt in turn, each
Decrypt compared, of the newest ciphertext and of one that is older.  A Traffic is several of them in
threads; run as a program, this file is one Caller in a process of its own (see main()).
"""

import base64
import contextlib
import json
import os
import random
import signal
import sys
import threading
import time

import grpc

import kms

OLD = 64  # ciphertexts a Caller keeps to open again
PAUSE = 0.005  # s, after a failure: a client that spins tells nothing more


class Sealed:
    """What an Encrypt gave, and what it must open to. key_id None: v1."""

    def __init__(self, plain, ciphertext, key_id=None, annotations=None):
        self.plain, self.ciphertext = plain, ciphertext
        self.key_id, self.annotations = key_id, annotations

    def open(self, client):
        if self.key_id is None:
            return client.decrypt1(self.ciphertext)
        return client.decrypt(self.ciphertext, self.key_id, self.annotations)

    def request(self):
        """Path and message of its Decrypt."""
        if self.key_id is None:
            return ("/v1beta1.KeyManagementService/Decrypt",
                    kms.field(1, "v1beta1") + kms.field(2, self.ciphertext))
        return ("/v2.KeyManagementService/Decrypt",
                kms.Client.decrypt_request(self.ciphertext, self.key_id, self.annotations))

    def line(self):
        return json.dumps([base64.b64encode(item).decode() for item in (self.plain, self.ciphertext)] +
                          [self.key_id])

    @classmethod
    def parse(cls, line):
        plain, ciphertext, key_id = json.loads(line)
        return cls(base64.b64decode(plain), base64.b64decode(ciphertext), key_id)


class Failure:
    def __init__(self, begun, ended, method, code, details):
        self.begun, self.ended, self.method = begun, ended, method
        self.code, self.details = code, details

    def __repr__(self):
        return "%s after %.0f ms: %s: %s" % (self.method, (self.ended - self.begun) * 1e3, self.code,
                                            self.details)


class Caller:
    """on_good(method, begun, ended), on_sealed(Sealed), on_failure(Failure) and on_wrong(text) are the
    sinks. old: the list of what may be opened again, if others share it. options: of its channel."""

    def __init__(self, path, sink, timeout=10.0, seed=0, old=None, options=()):
        self.path, self.sink, self.timeout = path, sink, timeout
        self.options, self.random = options, random.Random(seed)
        self.old = [] if old is None else old

    def call(self, method, function, *arguments):
        """The answer, or None."""
        begun = time.monotonic()
        try:
            answer = function(*arguments)
        except grpc.RpcError as error:
            self.sink.on_failure(Failure(begun, time.monotonic(), method, error.code().name,
                                         error.details()))
            time.sleep(PAUSE)
            return None
        self.sink.on_good(method, begun, time.monotonic())
        return answer

    def keep(self, sealed):
        self.sink.on_sealed(sealed)
        if len(self.old) < OLD:
            self.old.append(sealed)
        else:
            self.old[self.random.randrange(OLD)] = sealed

    def open(self, client, sealed, what):
        version = "v2" if sealed.key_id is not None else "v1"
        plain = self.call(version + ".Decrypt", sealed.open, client)
        if plain is not None and plain != sealed.plain:
            self.sink.on_wrong("%s.Decrypt of %s gave another plaintext" % (version, what))

    def step(self, client):
        plain = os.urandom(32)
        answer = self.call("v2.Encrypt", client.encrypt, plain)
        if answer is not None:
            fresh = Sealed(plain, answer.ciphertext, answer.key_id, answer.annotations)
            self.keep(fresh)
            self.open(client, fresh, "what was just sealed")
        plain = os.urandom(32)
        answer = self.call("v1.Encrypt", client.encrypt1, plain)
        if answer is not None:
            fresh = Sealed(plain, answer)
            self.keep(fresh)
            self.open(client, fresh, "what was just sealed")
        if self.old:
            self.open(client, self.random.choice(self.old), "what was sealed earlier")

    def client(self):
        return kms.Client(self.path, timeout=self.timeout, options=self.options)

    def run(self, stop, client=None):
        """client: one that is shared, and stays open."""
        with contextlib.nullcontext(client) if client else self.client() as mine:
            while not stop.is_set():
                self.step(mine)


class Traffic:
    """Callers in threads; failures and wrong answers are kept, and all that was sealed. connections: that they share; each
    has one of its own otherwise, and kekd takes 32."""

    def __init__(self, path, threads=3, timeout=10.0, old=None, options=(), connections=None):
        self.failures, self.wrong, self.sealed, self.done = [], [], [], 0
        self.stop = threading.Event()
        callers = [Caller(path, self, timeout, seed, old, options) for seed in range(threads)]
        self.clients = [callers[i].client() for i in range(connections or 0)]
        self.threads = [threading.Thread(target=caller.run,
                                         args=(self.stop, self.clients[i % connections] if connections else None))
                        for i, caller in enumerate(callers)]

    def on_good(self, _method, _begun, _ended):
        self.done += 1

    def on_sealed(self, sealed):
        self.sealed.append(sealed)

    def on_failure(self, failure):
        self.failures.append(failure)

    def on_wrong(self, text):
        self.wrong.append(text)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        self.more(30)
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()
        for client in self.clients:
            client.close()

    def more(self, calls, seconds=60.0):
        """Waits until so many more calls have succeeded, or one has not."""
        until, end = self.done + calls, time.monotonic() + seconds
        while self.done < until and not self.failures and not self.wrong:
            if time.monotonic() > end:
                raise AssertionError("waited %g s in vain for %d more calls" % (seconds, calls))
            time.sleep(0.005)


class Files:
    """A process's sink: three files. Good calls as pairs of doubles, the rest as lines."""

    def __init__(self, stem):
        self.good = open(stem + ".good", "wb")  # pylint: disable=consider-using-with
        self.lines = open(stem + ".lines", "w", encoding="utf-8")  # pylint: disable=consider-using-with
        self.sealed = open(stem + ".sealed", "w", encoding="utf-8")  # pylint: disable=consider-using-with

    def on_good(self, _method, begun, ended):
        self.good.write(b"%.6f %.6f\n" % (begun, ended))

    def on_sealed(self, sealed):
        self.sealed.write(sealed.line() + "\n")

    def on_failure(self, failure):
        self.lines.write(json.dumps(dict(vars(failure))) + "\n")

    def on_wrong(self, text):
        self.lines.write(json.dumps({"wrong": text, "ended": time.monotonic()}) + "\n")

    def close(self):
        for file in (self.good, self.lines, self.sealed):
            file.close()


def main():
    """traffic.py SOCKET STEM SEED TIMEOUT: calls until SIGTERM, and says what happened in STEM.*"""
    path, stem, seed, timeout = sys.argv[1:5]
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    sink = Files(stem)
    try:
        Caller(path, sink, float(timeout), int(seed)).run(stop)
    finally:
        sink.close()


if __name__ == "__main__":
    main()
