"""docs/roots.md, *A second root for a running cluster* and *From one HSM to another that does not replicate with it*,
step by step, on nodes under load: no call fails, no answer is wrong, and in the end the old HSM opens nothing and is gone."""

import contextlib

import traffic
from roots import entries

TIMEOUT = 30.0  # s, of a call: a node is restarted meanwhile, on a machine that may be busy
# As grpc-go, which API servers have: a call that its connection's end met before it was sent is sent on the next one.
OPTIONS = (("grpc.enable_retries", 1),)


class Move:
    """A cluster whose nodes have one provider, and `new`, the provider of the other HSM."""

    def __init__(self, case, nodes, new):
        self.case, self.nodes = case, nodes
        self.old, self.new = nodes[0].config["providers"][0], new
        self.site = {"name": "site", "providers": [self.old["name"]]}
        self.spare = {"name": "spare", "providers": [new["name"]]}
        self.objects = []  # what etcd would hold: every node reads and writes it

    def restart(self, roots, **more):
        """This configuration on every node, one after the other; what each announces then."""
        announced = []
        for node in self.nodes:
            node.stop()
            node.write(roots=roots, **more)
            node.start()
            for load in self.loads:
                load.more(20)
            with node.client() as client:
                announced.append(client.status().key_id)
        self.case.assertEqual(len(set(announced)), 1)
        return announced[0]

    @staticmethod
    def keks(ciphertext):
        return [kek_id for _, kek_id, _ in entries(ciphertext)[1]]

    def rewrite(self, count):
        """Reads and writes everything, as an API server does, until nothing has other KEKs than what is new."""
        with self.nodes[0].client() as client:
            wanted = self.keks(client.encrypt(bytes(32)).ciphertext)
            self.case.assertEqual(len(wanted), count)
            for place, item in enumerate(self.objects):
                while self.keks(item.ciphertext) != wanted:
                    plain = item.open(client)
                    self.case.assertEqual(plain, item.plain)
                    answer = client.encrypt(plain)
                    self.objects[place] = traffic.Sealed(plain, answer.ciphertext, answer.key_id, answer.annotations)
                    item = self.objects[place]
        self.case.assertEqual([item for item in self.objects if self.keks(item.ciphertext) != wanted], [])

    def go(self, make_key):
        """make_key(node): on a node whose configuration has both roots."""
        with contextlib.ExitStack() as stack:
            self.loads = [stack.enter_context(traffic.Traffic(node.socket, 2, TIMEOUT, self.objects, OPTIONS))
                          for node in self.nodes]
            self.steps(make_key)
            for load in self.loads:
                load.more(50)
        for load in self.loads:
            self.case.assertEqual(([repr(failure) for failure in load.failures], load.wrong), ([], []))
        with self.nodes[-1].client() as client:
            for item in self.objects:
                self.case.assertEqual(item.open(client), item.plain)

    def steps(self, make_key):
        first = self.nodes[0]
        with first.client() as client:
            alone = client.status().key_id
        both = [self.old, self.new]
        quiet = [self.site, dict(self.spare, seals="false")]
        first.write(providers=both, mode="any", roots=quiet)
        first.kekctl("config", "check", check=True)
        make_key(first)
        self.case.assertEqual(self.restart(quiet, providers=both, mode="any"), alone)
        listed = first.kekctl("key", "list", check=True).stdout.decode()
        self.case.assertRegex(listed, r"(?s)\Aroot of trust site:\n.*\nroot of trust spare:\n.* active ")
        together = self.restart([self.site, self.spare])
        self.case.assertNotEqual(together, alone)
        self.rewrite(2)
        after = self.restart([dict(self.site, seals="false"), self.spare])
        self.rewrite(1)
        self.case.assertEqual(self.restart([self.spare], providers=[self.new], mode=None), after)
