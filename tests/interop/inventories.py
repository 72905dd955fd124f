"""A node whose etcd is counted: what lies in it, and what kekctl inventory says of it."""

import contextlib
import json
import os

import etcd_server
import protowire
import rig as rigs
from grpc import RpcError

etcd_server.need()

V1, V2 = b"k8s:enc:kms:v1:kekd-v1:", b"k8s:enc:kms:v2:kekd:"
DEK = bytes(range(32))


def golden():
    """(key, value) of what Kubernetes' own code wrote below /registry, under every kind of provider."""
    with open(rigs.TOP_SRC + "/tests/kube/stored.golden", encoding="ascii") as file:
        rows = [line.split() for line in file if not line.startswith("#")]
    return [(row[7], bytes.fromhex(row[8])) for row in rows if row[6] == "/registry"]


class Inventory(rigs.Case):
    def setUp(self):
        self.etcd = etcd_server.Etcd(self).start()
        self.node = self.rig(config={"settle": "0ms", "etcd": [self.etcd.entry()]})

    def inventory(self, code, *options, node=None, json_=True):
        """What it says with this exit code: the object, and its standard error."""
        output = ["--output", "json"] if json_ else []
        done = (node or self.node).kekctl("inventory", *output, *options)
        said = done.stderr.decode()
        self.assertEqual(done.returncode, code, said + done.stdout.decode())
        if not json_:
            return done.stdout.decode(), said
        return json.loads(done.stdout) if done.stdout else None, said

    def seal(self):
        return self.node.client().encrypt1(DEK)

    def v1(self, name, sealed=None, ns="default"):
        """A Secret as v1 writes it, which opens."""
        sealed = sealed or self.seal()
        value = V1 + len(sealed).to_bytes(2, "big") + sealed + etcd_server.covered(DEK, b"k8s\0" + b"x" * 40)
        key = "/registry/secrets/%s/%s" % (ns, name)
        self.etcd.put(key, value)
        return key

    def v2(self, name, key_id=None):
        """A Secret whose envelope is whole and whose content is damaged."""
        sealed = self.node.client().encrypt(DEK)
        self.etcd.put("/registry/secrets/default/" + name,
                      V2 + protowire.pack((1, os.urandom(90)), (2, key_id or sealed.key_id),
                                          (3, sealed.ciphertext), (5, 1)))

    def records(self):
        with contextlib.suppress(FileNotFoundError), \
                open(self.node.state + "/k8s-test.inventories", encoding="utf-8") as file:
            return json.load(file)["inventories"]
        return []

    def under(self, found, resource="secrets"):
        (entry,) = [r for r in found["etcds"][0]["resources"] if r["resource"] == resource]
        return {(u["kind"], u["provider"], u["keks"][0]["version"] if u["keks"] else None): u["objects"]
                for u in entry["under"]}

    def named(self, found):
        return [(n["trouble"], n["resource"], n["namespace"], n["name"]) for n in found["etcds"][0]["named"]]

    def newer(self):
        """Takes the keyring to version 2."""
        client = self.node.client()
        before = client.status().key_id
        self.node.kekctl("key", "generate", check=True)
        self.node.kekctl("key", "promote", "2", "--i-have-a-backup", check=True)

        def announced():
            with contextlib.suppress(RpcError):  # in the moment of succession, on a busy machine
                return client.status().key_id != before
            return False
        rigs.wait_for(announced, "version 2")

    def check(self, code, *options, providers="[{identity: {}}, {kms: {apiVersion: v2, name: kekd, endpoint: %s}}]"):
        """kube config --check of the last file of disable, which needs no kekd: its rows, and what it said."""
        path = self.node.folder + "/present.yaml"
        with open(path, "w", encoding="ascii") as file:
            file.write("{apiVersion: apiserver.config.k8s.io/v1, kind: EncryptionConfiguration, resources: [\n"
                       "{resources: [secrets], providers: %s}]}\n" % providers
                       .replace("%s", "'unix://%s'" % self.node.socket))
        done = self.node.kekctl("kube", "config", "--phase", "disable", "--from", path, "--check", "--output", "json",
                                *options)
        said = done.stderr.decode()
        self.assertEqual(done.returncode, code, said)
        return {row["check"]: (row["result"], row["evidence"]) for row in json.loads(done.stdout)["checks"]}, said
