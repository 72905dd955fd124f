"""docs/roots.md, *A further root in mode all* and *One root less in mode all*, on two nodes, restarted one after the other: at
each step each node opens what either seals, and all that is stored."""

import rig as rigs
from grpc import StatusCode
from roots import DEK, MODE_ALL, Roots, entries, rebuilt


class Steps(Roots):
    def cluster(self):
        """Two nodes with `site` and `spare`, and the provider of a third root, `third`, which neither has yet."""
        one = self.two("all")
        third = rigs.Token(one.folder + "/third", "kek-third")
        self.third = one.provider("hsm-c", third)
        self.two_of = one.config["providers"]
        self.site, self.spare = one.config["roots"]
        other = self.rig(token=one.token, generate=False, config=dict(one.config, metrics=rigs.own_address()))
        other.config["listen"] = "unix://" + other.socket
        other.config["state_dir"] = other.state
        other.write()
        self.nodes, self.stored = [one.start(), other.start()], []
        self.all_open(2)

    def all_open(self, *counts):
        """Each node seals one, with one of these numbers of shares; both open all."""
        for node in self.nodes:
            with node.client() as client:
                self.stored.append(client.encrypt(DEK))
            self.assertEqual(entries(self.stored[-1].ciphertext)[0], MODE_ALL)
            self.assertIn(len(entries(self.stored[-1].ciphertext)[1]), counts)
        for node in self.nodes:
            with node.client() as client:
                for sealed in self.stored:
                    self.assertEqual(client.decrypt(sealed.ciphertext, sealed.key_id), DEK)

    def step(self, roots, *counts, **more):
        for node in self.nodes:
            node.close_clients()
            node.stop()
            node.write(roots=roots, **more)
            node.start()
            self.all_open(*counts)

    def rewrite(self):
        with self.nodes[0].client() as client:
            self.stored = [client.encrypt(client.decrypt(sealed.ciphertext, sealed.key_id))
                           for sealed in self.stored]

    def test_a_further_root_comes_and_another_goes(self):
        self.cluster()
        first, third = self.nodes[0], {"name": "third", "providers": ["hsm-c"]}
        old, three = self.stored[0], [*self.two_of, self.third]
        quiet = [self.site, self.spare, dict(third, seals="false")]
        first.write(providers=three, roots=quiet)
        first.kekctl("--root", "third", "key", "generate", check=True)
        self.step(quiet, 2, providers=three)
        comes = [self.site, self.spare, dict(third, needed="false")]
        self.step(comes, 2, 3)
        self.remarked(first, "third")
        whole = self.stored[-1]
        with first.client() as client:  # none but the root that comes may be lacking
            for chosen in ([0, 2], [1, 2], [0], [2]):
                less = rebuilt(whole.ciphertext, MODE_ALL, chosen)
                self.refused(StatusCode.FAILED_PRECONDITION, client.decrypt, less, whole.key_id)
        self.rewrite()
        self.step([self.site, self.spare, third], 3)
        self.assertEqual(first.page("/readyz"), (200, "ok\n"))
        with first.client() as client:
            self.refused(StatusCode.FAILED_PRECONDITION, client.decrypt, old.ciphertext, old.key_id)
        # `spare` goes.
        self.step([self.site, dict(self.spare, needed="false"), third], 3)
        self.step([self.site, dict(self.spare, needed="false", seals="false"), third], 2, 3)
        self.rewrite()
        self.step([self.site, third], 2, providers=[self.two_of[0], self.third])
        with first.client() as client:
            self.refused(StatusCode.FAILED_PRECONDITION, client.decrypt, whole.ciphertext, whole.key_id)
        for node in self.nodes:
            node.stop()

    def remarked(self, node, root):
        said = node.kekctl("config", "check", check=True).stderr.decode()
        self.assertIn("what has no share of %s opens, too" % root, said)
        said = node.kekctl("doctor").stdout.decode()
        self.assertRegex(said, r"WARN.*what has no share of %s opens, too" % root)
        self.assertIn("take needed: false out (docs/roots.md)", said)
        code, said = node.page("/readyz")
        self.assertEqual(code, 200)
        self.assertIn("\nto be mended: %s: what has no share of this root of trust opens, too, as long as it has "
                      "`needed: false`; once the change is done and everything rewritten, take it out" % root, said)
        name, = [name for name in node.metrics() if 'reason="root_not_needed"' in name]
        self.assertIn('root="%s"' % root, name)


if __name__ == "__main__":
    rigs.main()
