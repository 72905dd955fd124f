"""Several roots of trust under one kekd: its configuration, its load, and what an envelope says of them."""

import contextlib
import os
import subprocess

from grpc import RpcError, StatusCode

import pages
import rig as rigs
import traffic

DEK = bytes(range(32))
OUT = (StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED)  # nobody has said yet that it stays so
STRICT = {"data_key": {"max_uses": 1}}
MODE_ANY, MODE_ALL = 1, 2


def entries(sealed):
    """(mode, [(alg, kek id, wrapped)]) of an envelope."""
    mode, count, at, found = sealed[5], sealed[6], 7, []
    for _ in range(count):
        size = int.from_bytes(sealed[at + 17:at + 19], "big")
        found.append((sealed[at], sealed[at + 1:at + 17], sealed[at + 19:at + 19 + size]))
        at += 19 + size
    return mode, found


def rebuilt(sealed, mode, chosen):
    """The envelope with another mode, and these of its entries, by their places, instead of all."""
    at, parts = 7, []
    for _, _, wrapped in entries(sealed)[1]:
        parts.append(sealed[at:at + 19 + len(wrapped)])
        at += 19 + len(wrapped)
    return sealed[:5] + bytes([mode, len(chosen)]) + b"".join(parts[place] for place in chosen) + sealed[at:]


def by_page(node, script, sealed, **more):
    """(what the script of a page opens or None, what it says): sealed is an envelope, or a value from etcd."""
    envelope, plain = node.folder + "/envelope", node.folder + "/plaintext"
    with open(envelope, "wb") as file:
        file.write(sealed)
    done = subprocess.run(["sh"], input=script, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                          timeout=rigs.PATIENCE, env=dict(os.environ, CONTEXT="interop", ENVELOPE=envelope,
                                                          PLAINTEXT=plain, SCRATCH=node.folder, **more))
    if not os.path.exists(plain):
        return None, done.stdout
    with open(plain, "rb") as file:
        opened = file.read()
    os.unlink(plain)
    assert done.returncode == 0, done.stdout
    return opened, done.stdout


def by_token(node, token, sealed, **more):
    """The same by docs/recovery.md alone, on one token."""
    return by_page(node, pages.recovery(), sealed, SOFTHSM2_CONF=token.conf, KEK_PIN=token.pin, MODULE=rigs.SOFTHSM,
                   TOKEN=token.label, **more)


class Roots(rigs.Case):
    def two(self, mode, config=None, other=None, provider=None, **more):
        """A kekd with the roots `site` (hsm-a) and `spare`, whose keys were made apart. other: the provider of `spare`,
        which has its key; else hsm-b, another token. provider: more about hsm-a and hsm-b."""
        node = self.rig(generate=False, config=dict({"metrics": rigs.own_address(), "settle": "0s"},
                                                    **(config or {})))
        made = ["site"]
        if other is None:
            node.other = rigs.Token(node.folder + "/other", "kek-other")
            other = dict(node.provider("hsm-b", node.other), timeout="500ms", **(provider or {}))
            made.append("spare")
        node.config["providers"] = [dict(node.provider("hsm-a", node.token), timeout="500ms", **(provider or {})), other]
        node.write(roots=[{"name": "site", "providers": ["hsm-a"]},
                          {"name": "spare", "providers": [other["name"]]}], mode=mode, **more)
        for root in made:
            node.kekctl("--root", root, "key", "generate", check=True)
        return node

    @staticmethod
    def opens(client, sealed):
        with contextlib.suppress(RpcError):
            return client.decrypt(sealed.ciphertext, sealed.key_id) == DEK
        return False

    def status(self, node):
        with node.client() as client:
            return client.status()

    @contextlib.contextmanager
    def unharmed(self, node, **options):
        with traffic.Traffic(node.socket, **options) as load:
            yield load
            load.more(100)
        self.assertEqual([repr(failure) for failure in load.failures], [])
        self.assertEqual(load.wrong, [])
