"""A cluster: several kekds that share a token or have replicas, an API server on each, and rotations under all of it.

Every node has a socket, a configuration, a state_dir and a log of its own.  An ApiServer does what kube-apiserver
does by KMS v2: it asks Status again and again, has a new seed encrypted when the key_id changes, and decrypts what any
API server of the cluster has stored.  What must always be true is judged as it happens.
"""

import contextlib
import hashlib
import os
import random
import threading
import time

import grpc

import kms
import p11
import rig as rigs

KEYRING, CONTEXT = "k8s-test", "interop"
SEEN, SETTLE = 1, "200ms"  # s, `refresh` of a quick node, the least that there is


def key_id_of(kek_id):
    """As docs/envelope-format.md has it."""
    text = b"kekd/key_id/1" + len(CONTEXT).to_bytes(2, "big") + CONTEXT.encode() + b"\1" + kek_id
    return "kek1-" + hashlib.sha256(text).hexdigest()[:32]


class Stored:
    """An object in etcd: what an Encrypt gave, and what it must open to."""

    def __init__(self, plain, answer):
        self.plain, self.ciphertext = plain, answer.ciphertext
        self.key_id, self.annotations = answer.key_id, answer.annotations

    def open(self, client):
        return client.decrypt(self.ciphertext, self.key_id, self.annotations)


class ApiServer(threading.Thread):
    """On one node.  wrong: what it saw that must never be."""

    def __init__(self, cluster, node, seed):
        super().__init__(daemon=True)
        self.cluster, self.node, self.random = cluster, node, random.Random(seed)
        self.wrong, self.history, self.mismatches, self.done, self.read = [], [], 0, 0, 0
        self.halt, self.away, self.idle = threading.Event(), threading.Event(), threading.Event()
        self.seed_of = None

    def call(self, what, function, *arguments):
        """The answer, or None.  Only its own node's restart may fail a call, by the end of the connection."""
        begun = time.monotonic()
        try:
            answer = function(*arguments)
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.UNAVAILABLE or not self.node.restarted(begun, time.monotonic()):
                self.wrong.append("%s: %s: %s" % (what, error.code().name, error.details()))
            return None
        self.done += 1
        return answer

    def number(self, key_id):
        return self.cluster.numbers.get(key_id, 0)

    def announced(self, status):
        if status.healthz != "ok":
            self.wrong.append("healthz: %s" % status.healthz)
        if not self.history or self.history[-1] != status.key_id:
            if self.history and self.number(status.key_id) <= self.number(self.history[-1]):
                self.wrong.append("the key_id went back from version %d to %d" % (
                    self.number(self.history[-1]), self.number(status.key_id)))
            self.history.append(status.key_id)

    def encrypt(self, client, status):
        plain = os.urandom(32)
        answer = self.call("Encrypt", client.encrypt, plain)
        if answer is None:
            return None
        if answer.key_id != status.key_id:
            self.mismatches += 1  # an API server asks Status once more
            if self.number(answer.key_id) < self.number(status.key_id):
                self.wrong.append("Encrypt gave version %d after Status gave %d" % (
                    self.number(answer.key_id), self.number(status.key_id)))
        stored = Stored(plain, answer)
        self.cluster.stored.append(stored)
        return stored

    def open(self, client, stored, what):
        plain = self.call("Decrypt of what was sealed %s, under version %d" % (what, self.number(stored.key_id)),
                          stored.open, client)
        if plain is not None and plain != stored.plain:
            self.wrong.append("Decrypt gave another plaintext")

    def step(self, client):
        status = self.call("Status", client.status)
        if status is None:
            return
        self.announced(status)
        if status.key_id != self.seed_of:
            stored = self.encrypt(client, status)
            if stored is not None and stored.key_id == status.key_id:
                self.seed_of = status.key_id
        self.encrypt(client, status)
        for _ in range(min(6, len(self.cluster.stored) - self.read)):  # as a watch brings them
            self.open(client, self.cluster.stored[self.read], "just now")
            self.read += 1
        for stored in self.random.sample(self.cluster.stored, min(2, len(self.cluster.stored))):
            self.open(client, stored, "before")
        time.sleep(self.cluster.pause)

    def run(self):
        with kms.Client(self.node.socket, timeout=20) as client:
            while not self.halt.is_set():
                if self.away.is_set():
                    self.idle.set()
                    time.sleep(0.01)
                else:
                    self.idle.clear()
                    self.step(client)

    def goes(self):
        self.away.set()
        self.idle.wait(30)

    def comes(self):
        self.away.clear()


class Node(rigs.Rig):
    """One of a cluster."""

    def __init__(self, test, **options):
        super().__init__(test, generate=False, **options)
        self.windows = []  # of its restarts

    def restarted(self, begun, ended):
        return any(begun < until and ended > since for since, until in self.windows)

    def again(self, kill=False, **config):
        """Restarts it, with another configuration if one is given."""
        window = [time.monotonic(), float("inf")]
        self.windows.append(window)
        if kill:
            self.settled()  # SoftHSM tears its token where a login is killed
            self.kill()
        else:
            self.stop()
        if config:
            self.write(**config)
        self.spawn().good()
        window[1] = time.monotonic() + 0.5


class Cluster:
    """replicas: tokens that hold the same keys. fixed: tokens that cannot change attributes; `versions:` says what
    each key is for. slow: `refresh` of the last node, in seconds."""

    def __init__(self, test, nodes=3, replicas=1, fixed=False, slow=SEEN, pause=0.005, environment=None, **config):
        self.test, self.fixed, self.pause = test, fixed, pause
        self.keks, self.states, self.numbers, self.stored = {}, {}, {}, []
        self.tokens, self.nodes = [], []
        for i in range(nodes):
            node = Node(test, token=self.tokens[0] if self.tokens else None, name="kekd-%d" % i, config=dict({
                "settle": SETTLE, "refresh": "%ds" % (slow if i == nodes - 1 else SEEN), "log": {"level": "info"},
                "metrics": rigs.own_address()}, **config), provider={"sessions": 2})
            node.env.update((environment or {}).get(i, {}))
            self.nodes.append(node)
            if not self.tokens:
                self.tokens.append(node.token)
                self.make(1, wrap=True)
                self.tokens += [rigs.Twin(node.token, "%s/twin-%d" % (node.folder, twin))
                                for twin in range(1, replicas)]
            node.config["providers"] = [dict(node.config["providers"][0], **node.provider("hsm-%d" % at, token))
                                        for at, token in enumerate(self.tokens)]
            self.configure(node)
        self.apis = [ApiServer(self, node, seed) for seed, node in enumerate(self.nodes)]

    # The keys.

    def make(self, number, wrap=False):
        """A key on the first token, and its copies on the replicas."""
        kek_id = os.urandom(16)
        self.keks[number], self.states[number] = kek_id, "active" if wrap else "pre-active"
        self.numbers[key_id_of(kek_id)] = number
        p11.plant(self.tokens[0], "%s.v%d" % (KEYRING, number), kek_id, wrap=wrap or self.fixed)
        for twin in self.tokens[1:]:
            twin.replicate(self.tokens[0])

    def change(self, number, state, **attributes):
        """On one token after the other, as `kekctl key promote` does; or in the nodes' configurations, one
        node after the other."""
        self.states[number] = state
        if self.fixed:
            for node in self.nodes:
                self.configure(node)
                node.again()
            return
        for token in self.tokens:
            p11.set_attributes(token, self.keks[number], **attributes)

    def promote(self, number):
        self.change(number, "active", wrap=True)

    def retire(self, number):
        self.change(number, "deactivated", wrap=False)

    def configure(self, node):
        for entry in node.config["providers"]:
            if self.fixed:
                entry["versions"] = [{"n": number, "label": "%s.v%d" % (KEYRING, number), "state": state}
                                     for number, state in sorted(self.states.items())]
        node.write()

    # What the nodes show.

    def running(self):
        return [node for node in self.nodes if node.kekd is not None]

    def all_see(self, number):
        """Every node that runs shows the version on each of its providers."""
        sample = 'kekd_kek_version_providers{version="%d"}' % number
        for node in self.running():
            rigs.wait_for(lambda node=node: node.metrics().get(sample) == len(self.tokens),
                          "node %d to see version %d" % (self.nodes.index(node), number))

    def all_announce(self, number, nodes=None):
        for node in self.running() if nodes is None else nodes:
            rigs.wait_for(lambda node=node: node.metrics().get("kekd_kek_primary_version") == number,
                          "node %d to announce version %d" % (self.nodes.index(node), number))

    # Life.

    def __enter__(self):
        rigs.side_by_side(lambda node: node.spawn().good(), self.nodes)
        for node in self.nodes:
            node.settled()
        for api in self.apis:
            api.start()
        return self

    def __exit__(self, kind, *_):
        for api in self.apis:
            api.halt.set()
        for api in self.apis:
            api.join()
        if kind is None:
            self.judge()
            for node in self.nodes:
                node.close_clients()
            rigs.side_by_side(lambda node: node.stop(), self.running())

    def judge(self):
        wrong = ["node %d: %s" % (at, text) for at, api in enumerate(self.apis) for text in api.wrong]
        self.test.assertEqual(wrong[:20], [], "%d in all" % len(wrong))
        for api in self.apis:
            self.test.assertGreater(api.done, 50)
        rigs.side_by_side(self.opens_all, self.nodes)

    def opens_all(self, node):
        """Each object is readable by each node."""
        with contextlib.closing(kms.Client(node.socket, timeout=30)) as client:
            for stored in self.stored:
                self.test.assertEqual(stored.open(client), stored.plain)
