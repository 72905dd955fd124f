#!/usr/bin/python3
"""What kekctl shows, says and does of several roots of trust, beside a kekd and without one."""

import json
import os
import signal

import fault as faults
import p11
import rig as rigs
from roots import DEK, STRICT, Roots, entries


class Case(Roots):
    def listed(self, node, code, *options):
        """(JSON, what was said) of key list, which ends with this exit code."""
        done = node.kekctl("--output", "json", "key", "list", *options)
        self.assertEqual(done.returncode, code, done.stderr.decode() + done.stdout.decode())
        return json.loads(done.stdout), done.stderr.decode()

    @staticmethod
    def doctor(node, *options):
        """{subject: [(verdict, seen, do)]}"""
        lines = {}
        for line in json.loads(node.kekctl("doctor", "--output", "json", *options).stdout)["lines"]:
            lines.setdefault(line["subject"], []).append((line["verdict"], line["seen"], line["do"]))
        return lines


class Twins(Case):
    def test_two_roots_with_one_kek_are_named(self):
        node = self.two("any")
        shown, said = self.listed(node, 0)
        self.assertEqual(said, "")
        self.assertEqual([line[0] for line in self.doctor(node)["roots"]], ["OK"])
        node.write(providers=[node.provider(name, node.token) for name in ("hsm-a", "hsm-b")])
        shown, said = self.listed(node, 3)
        kek_id = shown["roots"][0]["versions"][0]["kek_id"]
        same = ("the roots of trust site and spare have the same KEK, version 1 of site and 1 of spare (kek id %s): "
                "they are one root, and kekd does not announce them together; make them one root with the providers of both, or" % kek_id)
        self.assertIn(same, said)
        self.assertIn("kekctl key generate --root spare", said)
        (verdict, seen, todo), (one, token, _) = self.doctor(node)["roots"]
        self.assertEqual((verdict, one), ("FAIL", "WARN"))
        self.assertIn("site and spare are on one token (serial ", token)
        self.assertIn(same, seen)
        self.assertIn("one root with the providers of both", todo)
        # One that only opens is announced with no other.
        site, spare = node.config["roots"]
        node.write(roots=[site, dict(spare, seals="false")])
        _, said = self.listed(node, 0)
        self.assertIn("remark: the roots of trust site and spare share a KEK, version 1 of site", said)
        self.assertEqual([line[0] for line in self.doctor(node)["roots"]], ["OK", "WARN"])

    def test_sessions_are_those_of_all_roots_on_a_token(self):
        node = self.two("any")
        fault = faults.inject(node)
        self.addCleanup(fault.close)
        alone = self.doctor(node)["sessions of hsm-a"][0][1]
        node.write(providers=[dict(node.config["providers"][0], name=name) for name in ("hsm-a", "hsm-b")])
        fault.put("C_GetTokenInfo every sessions 30")
        lines = self.doctor(node)
        self.assertRegex(alone, "up to 25 by 1 node")
        self.assertEqual({lines["sessions of " + name][0][1] for name in ("hsm-a", "hsm-b")},
                         {"the token allows 30, and 1 node of 2 processes with 4 sessions and one kekctl may open 50"})

    def test_a_copy_of_the_others_kek_undoes_mode_all(self):
        node = self.two("all", other=None)
        # The token of `site` is that of `spare`, too, which seals under a version of its own.
        node.write(providers=[node.provider(name, node.token) for name in ("hsm-a", "hsm-b")],
                   roots=[{"name": "site", "providers": ["hsm-a"]},
                          {"name": "spare", "providers": ["hsm-b"]}])
        node.kekctl("--root", "spare", "key", "generate", check=True)
        node.kekctl("--root", "spare", "key", "promote", "2", "--i-have-a-backup", check=True)
        _, said = self.listed(node, 3)
        self.assertIn("site and spare have the same KEK, version 2 of site and 2 of spare", said)
        node.config["providers"][0]["versions"] = [{"n": 2, "state": "suspended"}]
        node.write()
        _, said = self.listed(node, 3)
        self.assertIn("site and spare share a KEK", said)
        self.assertIn("mode all keeps nobody out", said)
        self.assertEqual([line[0] for line in self.doctor(node)["roots"]], ["WARN", "WARN"])


class Out(Case):
    """A root that is out is one thing, whoever is asked: kekctl node status, kekctl doctor, /readyz."""

    # What else doctor looks at is this machine's; and a token that goes away in the middle of a login leaves a try of it.
    OF_KEKD = ("root site", "root spare", "roots", "nodes", "token of hsm-a", "token of hsm-b", "keyring of site",
               "keyring of spare")

    def judged(self, node):
        """{subject: worst verdict} of what is kekd's own, and every text of it."""
        order, lines = ["OK", "UNSEEN", "WARN", "FAIL"], self.doctor(node)
        worst = {subject: max((line[0] for line in lines[subject]), key=order.index)
                 for subject in self.OF_KEKD if subject in lines}
        return worst, {subject: " ".join(line[1] for line in lines[subject]) for subject in worst}

    def node_status(self, node):
        """(exit code, health, what was said)"""
        done = node.kekctl("--output", "json", "node", "status")
        return done.returncode, json.loads(done.stdout)["nodes"][0]["health"], done.stderr.decode()

    def well(self, node):
        rigs.wait_for(lambda: self.node_status(node)[:2] == (0, "good"), "the node to be well")
        worst, _ = self.judged(node)
        self.assertEqual(set(worst.values()), {"OK"}, worst)

    def test_in_mode_any_the_node_is_degraded(self):
        node = self.two("any").start()
        self.well(node)
        for token, root, provider in ((node.other, "spare", "hsm-b"), (node.token, "site", "hsm-a")):
            with token.away():
                rigs.wait_for(lambda: self.node_status(node)[1] == "degraded", "the root to be missed")
                rigs.wait_for(lambda r=root: r + ": " in node.page("/readyz")[1], "/readyz to say so")
                code, _, said = self.node_status(node)
                self.assertEqual(code, 3)
                self.assertRegex(said, "this node: degraded: %s: " % root)
                worst, seen = self.judged(node)
                self.assertEqual({worst[name] for name in ("root " + root, "token of " + provider, "nodes")}, {"WARN"})
                self.assertNotIn("FAIL", worst.values())
                self.assertIn("the root of trust %s is out: sealing goes on by another" % root, seen["root " + root])
                self.assertIn("degraded: %s: " % root, seen["nodes"])
            self.well(node)
        node.stop()

    def test_in_mode_any_with_none_left_nothing_is_sealed(self):
        node = self.two("any")
        with node.other.away(), node.token.away():
            worst, seen = self.judged(node)
            for root in ("site", "spare"):
                self.assertEqual(worst["root " + root], "FAIL")
                self.assertIn("the root of trust %s is out: no other is left" % root, seen["root " + root])
        with node.other.away():  # as with one that runs
            worst, _ = self.judged(node)
            self.assertNotIn("FAIL", worst.values())
            self.assertEqual((worst["root site"], worst["root spare"]), ("OK", "WARN"))

    def test_in_mode_all_it_is_a_failure(self):
        node = self.two("all").start()
        self.well(node)
        with node.other.away():
            rigs.wait_for(lambda: self.node_status(node)[1] == "outage", "the outage")
            code, _, said = self.node_status(node)
            self.assertEqual(code, 3)
            self.assertRegex(said, "this node: outage: spare: ")
            self.assertNotIn("degraded", said)  # which is of a node that seals
            worst, seen = self.judged(node)
            self.assertEqual({worst[name] for name in ("root spare", "token of hsm-b", "nodes")}, {"FAIL"})
            self.assertIn("the root of trust spare is out: in mode all every root is needed", seen["root spare"])
        self.well(node)
        node.stop()


class Backup(Case):
    """A backup is of one root's tokens, and so is the word about it."""

    def verdicts(self, node, *options):
        lines = self.doctor(node, *options)
        return {subject: lines[subject][0][0] for subject in lines if subject.startswith("backup")}

    def test_the_word_is_of_one_root_and_its_versions(self):
        node = self.two("any")
        self.assertEqual(self.verdicts(node), {"backup of site": "WARN", "backup of spare": "WARN"})
        done = node.kekctl("doctor", "--i-have-a-backup")
        self.assertEqual((done.returncode, done.stdout), (2, b""))
        self.assertIn(b"say which one, by --root NAME", done.stderr)
        self.assertEqual([name for name in os.listdir(node.state) if "backup" in name], [])
        self.assertEqual(self.verdicts(node, "--root", "spare", "--i-have-a-backup"), {"backup of spare": "OK"})
        self.assertEqual(self.verdicts(node), {"backup of site": "WARN", "backup of spare": "OK"})
        node.kekctl("--root", "site", "key", "generate", check=True)
        node.kekctl("--root", "site", "key", "promote", "2", "--i-have-a-backup", check=True)
        self.assertEqual(self.verdicts(node), {"backup of site": "OK", "backup of spare": "OK"})
        node.kekctl("--root", "spare", "key", "generate", check=True)
        p11.set_attributes(node.other, self.kek_id(node, "spare", 2), wrap=True)
        (verdict, seen, todo), = self.doctor(node)["backup of spare"]
        self.assertEqual(verdict, "WARN")
        self.assertIn("has version 1, and version 2 may seal now", seen)
        self.assertIn(" doctor --root spare --i-have-a-backup", todo)

    def kek_id(self, node, root, version):
        shown = json.loads(node.kekctl("--output", "json", "--root", root, "key", "list").stdout)
        return bytes.fromhex(next(v["kek_id"] for v in shown["versions"] if v["version"] == version))

    def test_what_was_said_before_is_the_first_roots(self):
        node = self.two("any")
        with open(node.state + "/k8s-test.backup", "w", encoding="utf-8") as file:
            json.dump({"said_ms": 1700000000000, "version": 1}, file)
        lines = self.doctor(node)
        self.assertRegex(lines["backup of site"][0][1], r"the last one was spoken of \d+ days ago")
        self.assertIn("nobody has said", lines["backup of spare"][0][1])
        node.write(roots=list(reversed(node.config["roots"])), providers=list(reversed(node.config["providers"])))
        self.assertIn("nobody has said", self.doctor(node)["backup of site"][0][1])


class Joint(Case):
    """The key_id that API servers see is of all roots together: key list shows that one, too."""

    def joint(self, node, code=0):
        return self.listed(node, code)[0]["announced"]

    def test_the_key_id_of_all_roots_is_listed(self):
        for mode in ("any", "all"):
            node = self.two(mode)
            self.assertIsNone(self.joint(node))
            self.assertIn("nothing is announced of the roots of trust together yet",
                          node.kekctl("key", "list", check=True).stdout.decode())
            node.start()
            key_id = self.status(node).key_id
            page = json.loads(node.kekctl("--output", "json", "node", "status", check=True).stdout)["nodes"][0]
            shown = self.listed(node, 0)[0]
            joint = shown["announced"]
            self.assertEqual((joint["by"], joint["mode"], joint["key_id"], joint["key_id_hash"], joint["without"]),
                             ("kekd", mode, key_id, page["key_id_hash"], []))
            self.assertEqual([(kek["root"], kek["version"], kek["kek_id"]) for kek in joint["keks"]],
                             [(root["root"], 1, root["versions"][0]["kek_id"]) for root in shown["roots"]])
            table = node.kekctl("key", "list", check=True).stdout.decode()
            self.assertIn("announced together, in mode %s: version 1 of site, version 1 of spare: key_id %s, hash %s (as "
                          "the kekd that runs here says)" % (mode, key_id, page["key_id_hash"]), table)
            # One that runs and does not answer is no word for its silence.
            os.kill(node.kekd.pid, signal.SIGSTOP)
            shown, said = self.listed(node, 3)
            os.kill(node.kekd.pid, signal.SIGCONT)
            self.assertEqual(shown["announced"], dict(joint, by="record"))
            self.assertIn("what is announced together is told by the records alone", said)
            # Without `metrics` the KMS socket says it, and the records say of which KEKs it is.
            node.close_clients()
            node.stop()
            metrics = node.config["metrics"]
            node.write(metrics=None)
            node.start()
            self.assertEqual(self.joint(node), joint)
            node.close_clients()
            node.stop()
            node.write(metrics=metrics)
            self.assertEqual(self.joint(node), dict(joint, by="record"))

    def test_a_record_that_cannot_be_read_is_not_one_that_is_not_there(self):
        node = self.two("all").start()
        node.close_clients()
        node.stop()
        record, = [name for name in os.listdir(node.state) if name.endswith(".json") and "spare" in name]
        with open("%s/%s" % (node.state, record), "w", encoding="ascii") as file:
            file.write("{")
        done = node.kekctl("key", "list")
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertIn("what was announced last is not known", done.stderr.decode())
        self.assertIn("what is announced of the roots of trust together is not known", done.stdout.decode())

    def test_without_a_root_that_is_out_it_is_another(self):
        node = self.two("any", config=STRICT).start()
        whole = self.joint(node)
        with node.other.away():
            rigs.wait_for(lambda: self.status(node).key_id != whole["key_id"], "another key_id")
            joint = self.joint(node, 3)
            self.assertEqual((joint["key_id"], joint["keks"], joint["without"]),
                             (self.status(node).key_id, whole["keks"][:1], ["spare"]))
        node.stop()


class Operating(Roots):
    def test_a_root_that_is_out_is_listed_as_one_that_does_not_answer(self):
        node = self.two("any").start()
        with node.other.away():
            done = node.kekctl("key", "list", "--output", "json")
        site, spare = json.loads(done.stdout)["roots"]
        self.assertEqual((done.returncode, site["root"], len(site["versions"])), (3, "site", 1))
        self.assertEqual((spare["root"], spare["versions"], [one["answered"] for one in spare["providers"]]),
                         ("spare", [], [False]))
        node.stop()

    def test_a_rotation_of_one_root(self):
        node = self.two("any").start()
        with node.client() as client:
            sealed = client.encrypt(DEK)
            node.kekctl("--root", "spare", "key", "rotate", "--single-node", "--i-have-a-backup",
                        "--until", "announced", check=True)
            rigs.wait_for(lambda: client.status().key_id != sealed.key_id, "the new version")
            shown = node.kekctl("node", "status", check=True).stdout.decode()  # no root lacks another's
            self.assertRegex(shown, r"site: 1 active 1/1, spare: 1 active 1/1, spare: 2 active 1/1")
            later = client.encrypt(DEK)
            self.assertEqual(entries(sealed.ciphertext)[1][0][1], entries(later.ciphertext)[1][0][1])
            self.assertEqual(client.decrypt(sealed.ciphertext, sealed.key_id), DEK)
        node.stop()

    def test_kekctl_takes_the_only_root_by_its_own_record(self):
        """What a move leaves: `roots` with the last root, beside the record of the one before."""
        node = self.two("any").start()
        node.stop()
        spare = [{"name": "spare", "providers": ["hsm-b"]}]
        node.write(roots=spare, mode=None, providers=node.config["providers"][1:])
        node.start()
        key_id = self.status(node).key_id
        os.rename(node.state + "/k8s-test@site.json", node.state + "/k8s-test.json")
        for more in ([], ["--root", "spare"]):
            shown = json.loads(node.kekctl("--output", "json", *more, "key", "list", check=True).stdout)
            self.assertEqual((shown["root"], [v["key_id"] for v in shown["versions"]]), ("spare", [key_id]), more)
        node.stop()

    def test_kekctl_says_which_root_and_changes_no_other(self):
        node = self.two("any")
        done = node.kekctl("key", "generate")
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"--root NAME is missing: ", done.stderr)
        self.assertIn(b" has the roots of trust site, spare", done.stderr)
        done = node.kekctl("--root", "sites", "key", "generate")
        self.assertEqual(done.returncode, 2)
        self.assertIn(b'there is no root of trust "sites"', done.stderr)
        for command in (["inventory"], ["kube", "config", "--phase", "add-reader", "--check"]):
            done = node.kekctl("--root", "site", *command)
            self.assertEqual(done.returncode, 2, command)
            self.assertIn(b"is under all roots of trust", done.stderr)
        listed = json.loads(node.kekctl("--output", "json", "key", "list", check=True).stdout)
        self.assertEqual([(root["root"], [v["version"] for v in root["versions"]]) for root in listed["roots"]],
                         [("site", [1]), ("spare", [1])])
        table = node.kekctl("key", "list", check=True).stdout.decode()
        self.assertRegex(table, r"(?s)\Aroot of trust site:\n.*hsm-a.*\nroot of trust spare:\n.*hsm-b")


if __name__ == "__main__":
    rigs.main()
