"""A worker as its asker sees it: its program, kekd-pkcs11 or another, on a socket pair, spoken to in the messages of
proto/provider.proto, which are written here by hand so that the suite is a second reading of them."""

import os
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "interop"))
from protowire import pack, unpack  # noqa: E402

FOLDER = os.environ.get("abs_top_builddir") or os.getcwd()
PATIENCE = 60  # seconds for one reply; what is waited for ends the wait

CAUSES = ("INTERNAL", "DATA", "LINK", "STATE", "KEY_MISSING", "KEY_UNFIT", "PIN_REFUSED", "PIN_UNUSABLE",
          "BUSY", "UNSUPPORTED", "BAD_REQUEST")
ALGS = ("none", "AES-KW", "AES-KWP", "AES-GCM", "AES-CBC", "TRANSIT", "GCP-KMS")
# Cloud KMS says nothing of its own.
LENGTHS = {"AES-KW": 40, "AES-KWP": 40, "AES-GCM": 60, "AES-CBC": 48, "TRANSIT": 60}
STATES = {"pre-active": 0, "active": 1, "deactivated": 2, "suspended": 3, "compromised": 4}


class Failed(Exception):
    """What the worker answered instead: Failed{}."""

    heard = []  # the texts of all

    def __init__(self, fields):
        self.cause = CAUSES[fields.get(2, 0)]
        self.native = fields.get(3, 0)
        self.text = fields.get(5, b"").decode()
        self.heard.append(self.text)
        super().__init__("%s: %s" % (self.cause, self.text))


class Version:
    """A Version of Ready and Listed."""

    def __init__(self, message):
        fields = dict(unpack(message))
        self.number = fields.get(1, 0)
        self.kek_id = fields.get(2, b"")
        self.alg = ALGS[fields.get(3, 0)]
        self.can_wrap, self.can_unwrap, self.eligible, self.compromised = (
            bool(fields.get(n, 0)) for n in (4, 5, 6, 9))
        self.label, self.refusal = (fields.get(n, b"").decode() for n in (7, 8))


def versions_of(message):
    return [Version(value) for number, value in unpack(message) if number == 1]


class Worker:
    """One process. `token` says where the token is: type, uri and its like (settings()), env, versions.
    known: (number, kek id) that it is said to have shown earlier."""

    log = None  # a descriptor for what it logs; None: this process's

    def __init__(self, token, role="serve", sessions=1, uri=None, login=True, alg="none", strategy=None,
                 known=()):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket = ours
        self.socket.settimeout(PATIENCE)
        self.last = 0
        # Everything of ours closes on exec; the worker gets its end as descriptor 3.
        program = os.path.join(FOLDER, "kekd-" + token.type)
        actions = [(os.POSIX_SPAWN_DUP2, theirs.fileno(), 3)]
        if self.log is not None:
            actions.append((os.POSIX_SPAWN_DUP2, self.log, 2))
        self.pid = os.posix_spawn(program, [program, "--role", role], {**os.environ, **token.env}, file_actions=actions)
        theirs.close()
        try:
            self.token = dict(unpack(self.ask(2, self.hello(token, sessions, uri, alg, strategy, known))))
            self.versions = versions_of(self.ask(3, b"")) if login else []
        except BaseException:
            self.close()
            raise

    @staticmethod
    def hello(token, sessions, uri, alg, strategy, known):
        named = [(8, pack((1, v["n"]), (2, v.get("label", "")), (3, STATES[v["state"]]))) for v in token.versions]
        settings = token.settings()
        settings.update({key: value for key, value in (("uri", uri), ("strategy", strategy)) if value})
        return pack((1, 2), (2, token.name), (4, "ring"), (6, sessions), *named, (9, ALGS.index(alg)),
                    *((15, pack((1, number), (2, kek_id))) for number, kek_id in known),
                    *((10, pack((1, key), (2, value))) for key, value in settings.items()))

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        status = self.close()
        if kind is None and status != 0:
            raise AssertionError("a worker ended with status %r" % status)

    def close(self):
        """The end of the socket is the end of the worker; its wait status."""
        self.socket.close()
        return os.waitpid(self.pid, 0)[1] if self.pid else 0

    def send(self, op, body):
        self.last += 1
        self.socket.send(pack((1, self.last), (op, body)))
        return self.last

    def receive(self):
        """(id, message): Failed is raised by result()."""
        message = self.socket.recv(65536)
        if not message:
            raise AssertionError("the worker is gone")
        fields = unpack(message)
        return dict(fields).get(1, 0), next((n, v) for n, v in fields if n != 1)

    @staticmethod
    def result(reply):
        kind, message = reply
        if kind == 4:
            raise Failed(dict(unpack(message)))
        return message

    def ask(self, op, body):
        sent = self.send(op, body)
        got, reply = self.receive()
        assert got == sent, "a reply to request %d instead of %d" % (got, sent)
        return self.result(reply)

    def list(self):
        return versions_of(self.ask(4, b""))

    @staticmethod
    def wrap_body(kek_id, key):
        return pack((1, kek_id), (2, key))

    @staticmethod
    def unwrap_body(kek_id, alg, blob):
        return pack((1, kek_id), (2, ALGS.index(alg)), (3, blob))

    @staticmethod
    def wrapped(message):
        fields = dict(unpack(message))
        return ALGS[fields.get(1, 0)], fields[2]

    def wrap(self, kek_id, key):
        """(algorithm, blob)"""
        return self.wrapped(self.ask(5, self.wrap_body(kek_id, key)))

    def unwrap(self, kek_id, alg, blob):
        return dict(unpack(self.ask(6, self.unwrap_body(kek_id, alg, blob))))[1]

    def generate(self, number, kek_id, state="active"):
        """What it is called: as asked, unless the provider names its keys itself."""
        return dict(unpack(self.ask(7, pack((1, number), (2, kek_id), (3, STATES[state]))))).get(1, kek_id)

    def make_audit_key(self, kek_id):
        self.ask(7, pack((2, kek_id), (4, 1)))

    def mac(self, text, kek_id=b""):
        """Of the audit log's key: its CKA_ID, the mechanism's name and the MAC."""
        maced = dict(unpack(self.ask(15, pack((1, kek_id), (2, text)))))
        return maced[1], maced[2].decode(), maced[3]

    def set_state(self, kek_id, state):
        self.ask(8, pack((1, kek_id), (2, STATES[state])))

    def destroy(self, kek_id):
        self.ask(9, pack((1, kek_id)))

    def tried(self, kek_id, alg, blob=b""):
        tried = dict(unpack(self.ask(12, pack((1, kek_id), (2, ALGS.index(alg)), (3, blob)))))
        assert tried.get(1), "the key is not shown"
        return tried

    def flags(self, kek_id, alg):
        """Of the key itself: may it wrap, may it unwrap?"""
        tried = self.tried(kek_id, alg)
        return bool(tried.get(2)), bool(tried.get(3))

    def dies_at(self, kek_id, state):
        """The fault module is to end the worker in the midst of this."""
        self.send(8, pack((1, kek_id), (2, STATES[state])))
        try:
            assert not self.socket.recv(65536), "the worker answered"
        except ConnectionResetError:
            pass
        status = os.waitpid(self.pid, 0)[1]
        self.pid = 0
        assert os.WIFSIGNALED(status), "the worker ended with status %r" % status
