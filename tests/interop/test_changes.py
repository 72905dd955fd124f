#!/usr/bin/python3
"""kekctl key promote, retire, suspend and resume on real tokens: beside a kekd that serves, with a failure at
any call of the module, and ended at any of them."""

import contextlib
import json
import os
import shutil
import signal
import subprocess

import certs
import fault
import rig as rigs

SWEEP = int(os.environ.get("KEK_SWEEP", "37"))  # of all calls of a run, each so many-th is failed or ended at
DEK = bytes(range(32))


class Pair(rigs.Case):
    """Two tokens that hold versions 1, active, and 2, pre-active."""

    def node(self, **options):
        node = self.rig(pair=True, config={"settle": "1s"}, **options)
        node.kekctl("key", "generate", "--provider", "hsm-a", check=True)
        node.twin.replicate(node.token)
        return node

    @staticmethod
    def change(node, *args):
        """The exit code, what became of each provider's step, standard error."""
        done = node.kekctl("key", *args, "--output", "json")
        steps = json.loads(done.stdout)["steps"] if done.stdout else []
        return done.returncode, [step["outcome"] for step in steps], done.stderr.decode()

    @staticmethod
    def states(node):
        """{(version, provider): state}"""
        done = node.kekctl("key", "list", "--output", "json")
        return {(v["version"], v["provider"]): v["state"] for v in json.loads(done.stdout)["versions"]}


class Served(Pair):
    def announces(self, client, key_id, wanted=True):
        rigs.wait_for(lambda: (client.status().key_id == key_id) == wanted, "the announcement")

    def test_a_turn_of_the_key_while_kekd_serves(self):
        node = self.node().start()
        client = node.client()
        old = client.status().key_id
        sealed = client.encrypt(DEK)
        code, _, err = self.change(node, "retire", "1")
        self.assertEqual(code, 1)
        self.assertIn("version 1 is in use, this node announces it", err)
        self.assertEqual(self.change(node, "promote", "2"), (0, ["done", "done"], ""))
        self.announces(client, old, False)
        new = client.status().key_id
        for args, state in ((("retire", "1"), "deactivated"), (("suspend", "1"), "suspended"),
                            (("resume", "1"), "deactivated"), (("retire", "--compromised", "1"), "compromised")):
            self.assertEqual(self.change(node, *args), (0, ["done", "done"], ""))
            self.assertEqual(self.states(node), {(1, "hsm-a"): state, (1, "hsm-b"): state,
                                                 (2, "hsm-a"): "active", (2, "hsm-b"): "active"})
            self.assertEqual(self.change(node, *args)[0], 1 if args[0] == "resume" else 0)
        self.assertEqual(client.status().key_id, new)
        self.assertEqual(sealed.key_id, old)
        self.assertEqual(client.decrypt(sealed.ciphertext, old), DEK)

    def test_a_kekd_that_announces_what_no_record_says(self):
        node = self.node().start()
        with node.client() as client:
            client.status()
        # Another state_dir, as with another configuration than kekd's.
        os.mkdir(node.folder + "/other", 0o700)
        node.write(state_dir=node.folder + "/other")
        self.change(node, "promote", "2")
        code, _, err = self.change(node, "retire", "1")
        self.assertEqual(code, 1)
        self.assertIn("announces it or still seals under it", err)
        node.write(context="another", context_accept=["interop"])
        code, _, err = self.change(node, "retire", "1")
        self.assertEqual(code, 1)
        self.assertIn("is it the configuration that kekd runs with?", err)
        node.write(context="interop", context_accept=None, state_dir=node.state)


class Cluster(Pair):
    """A second node on the same tokens, and what it announces."""

    def cluster(self):
        first = self.node()
        second = rigs.Rig(self, token=first.token, generate=False)
        second.config["providers"] = first.config["providers"]
        ca = certs.Authority(first.folder + "/tls")
        addresses = [rigs.own_address(), rigs.own_address()]
        for name, node, address in zip(("cp1", "cp2"), (first, second), addresses):
            cert, key = ca.issue("/CN=kekd-status", "IP:" + address.split(":")[0], name=name)
            node.write(settle="0s", status={"listen": address, "cert": cert, "key": key, "ca": ca.cert, "name": name,
                                            "allow": ["kekd-status"], "nodes": addresses})
            node.start()
        return first, second

    @staticmethod
    def restart(node):
        node.close_clients()
        node.stop()
        node.start()

    def test_what_one_of_two_nodes_announces_or_seals_under_stays_in_use(self):
        first, second = self.cluster()
        behind = second.client()
        old = behind.status().key_id
        self.assertEqual(self.change(first, "promote", "2")[0], 0)
        for node in (first, second):
            other = node.client()
            rigs.wait_for(lambda: other.status().key_id != old, "the announcement")  # pylint: disable=W0640
        # A connection that asked for no Status since then goes on under the old one.
        self.assertEqual(behind.encrypt(DEK).key_id, old)
        self.restart(first)  # which ends the time in which it may
        for args in (("retire", "1"), ("retire", "--compromised", "1"), ("suspend", "1")):
            code, _, err = self.change(first, *args)
            self.assertEqual(code, 1)
            self.assertIn("version 1 is in use, cp2 announces it or still seals under it", err)
        self.restart(second)
        self.assertEqual(self.change(first, "retire", "1"), (0, ["done", "done"], ""))
        # Of a node that does not answer nothing is known.
        first.kekctl("key", "generate", "--provider", "hsm-a", check=True)
        first.twin.replicate(first.token)
        second.close_clients()
        second.stop()
        code, steps, err = self.change(first, "promote", "3")
        self.assertEqual((code, steps), (0, ["done", "done"]))
        self.assertIn("what each node announces is not known: ", err)
        code, _, err = self.change(first, "suspend", "1")
        self.assertEqual(code, 1)
        self.assertIn("nothing was changed: what each node announces is not known: ", err)
        self.assertEqual(self.change(first, "suspend", "1", "--node", "self")[0], 0)


COMMANDS = (("promote", "2"), ("retire", "1"), ("suspend", "1"), ("resume", "1"), ("retire", "--compromised", "1"))


class Faults(Pair):
    """Each command from the tokens as the one before it left them."""

    def setUp(self):
        super().setUp()
        self.pair = self.node()
        self.faults = [fault.inject(self.pair, which) for which in (0, 1)]
        for one in self.faults:
            self.addCleanup(one.close)
        self.before, self.counts, self.after = {}, {}, {}
        for args in COMMANDS:
            self.before[args] = self.keep(" ".join(args))
            for one in self.faults:
                one.put()
            self.assertEqual(self.change(self.pair, *args), (0, ["done", "done"], ""))
            self.counts[args] = [one.counts() for one in self.faults]
            self.after[args] = self.states(self.pair)

    def keep(self, name):
        folder = "%s/kept %s" % (self.pair.folder, name)
        for token in (self.pair.token, self.pair.twin):
            shutil.copytree(token.folder + "/tokens", "%s/%s" % (folder, os.path.basename(token.folder)))
        return folder

    def restore(self, folder):
        for token in (self.pair.token, self.pair.twin):
            shutil.rmtree(token.folder + "/tokens")
            shutil.copytree("%s/%s" % (folder, os.path.basename(token.folder)), token.folder + "/tokens")
        for one in self.faults:
            one.put()

    def serves(self, args):
        """Some version is active on both tokens, and both open with both but for what is suspended."""
        states = self.states(self.pair)
        self.assertEqual(len(states), 4)
        self.assertTrue(any({states[n, "hsm-a"], states[n, "hsm-b"]} == {"active"} for n in (1, 2)), states)
        if "suspend" not in args and "resume" not in args:
            self.assertNotIn("suspended", states.values())

    def finish(self, args):
        """Once more, and it is done; a resume may have been done before."""
        code, steps, err = self.change(self.pair, *args)
        if args[0] == "resume" and code == 1:
            self.assertIn("not suspended on any provider", err)
        else:
            self.assertEqual(code, 0, err)
            self.assertLessEqual(set(steps), {"done", "already"})
        self.assertEqual(self.states(self.pair), self.after[args])

    def test_a_failure_at_any_call_leaves_what_the_next_run_finishes(self):
        cases = [(args, which, "C_SetAttributeValue", n) for args in COMMANDS for which in (0, 1)
                 for n in range(1, self.counts[args][which]["C_SetAttributeValue"] + 1)]
        cases += [(COMMANDS[0], n % 2, "*", n) for n in range(1, sum(self.counts[COMMANDS[0]][1].values()), SWEEP)]
        for args, which, function, n in cases:
            with self.subTest(args=args, which=which, function=function, n=n):
                self.restore(self.before[args])
                self.faults[which].put("%s %d rv 30" % (function, n))  # CKR_DEVICE_ERROR
                code, steps, err = self.change(self.pair, *args)
                self.assertEqual(self.faults[which].done(), 1)
                self.faults[which].put()
                self.assertIn(code, (0, 1, 3), err)
                if code == 1:
                    self.assertIn("nothing was changed", err)
                elif code == 3:
                    self.assertLessEqual({"done"}, set(steps))
                    self.assertIn("hsm-%s" % "ab"[which], err)
                self.serves(args)
                self.finish(args)

    def end(self, args, which, function, n, whom):
        """Starts the command and ends it, and its workers too where `whom` says so, at that call."""
        self.faults[which].put("%s %d %s" % (function, n, "delay 200" if whom == "kekctl" else "hang"))
        with subprocess.Popen([rigs.program("kekctl"), "--config", self.pair.path, "key", *args],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True) as ctl:
            rigs.wait_for(lambda: self.faults[which].done() == 1 or ctl.poll() is not None, "the call")
            workers = [p.pid for p in rigs.processes() if p.session == ctl.pid and p.pid != ctl.pid]
            with contextlib.suppress(ProcessLookupError):
                os.kill(ctl.pid, signal.SIGKILL)
        self.assertEqual(ctl.returncode, -signal.SIGKILL)
        if whom != "kekctl":
            for token in (self.pair.token, self.pair.twin):
                token.kill(workers)
            self.faults[which].put()

    def test_ended_at_any_call_it_is_finished_by_the_next_run(self):
        cases = [(args, which, "C_SetAttributeValue", n, whom) for args in COMMANDS for which in (0, 1)
                 for n in range(1, self.counts[args][which]["C_SetAttributeValue"] + 1)
                 for whom in ("kekctl", "all")]
        cases += [(COMMANDS[n % len(COMMANDS)], n % 2, "*", n, "all")
                  for n in range(1, sum(self.counts[COMMANDS[0]][1].values()) - 40, SWEEP)]
        for args, which, function, n, whom in cases:
            with self.subTest(args=args, which=which, function=function, n=n, whom=whom):
                self.restore(self.before[args])
                self.end(args, which, function, n, whom)
                if whom == "all":
                    self.serves(args)
                self.finish(args)


class Tokens(Pair):
    def test_a_call_that_does_not_come_back(self):
        """The second call of a change, before SoftHSM sees it: what was done is found out by a fresh worker."""
        node = self.node(provider={"timeout": "500ms", "start_timeout": "3s"})
        deed = fault.inject(node, 1)
        self.addCleanup(deed.close)
        for what in ("hang", "abort", "disconnect 30"):
            with self.subTest(what):
                self.change(node, "retire", "2")
                deed.put("C_SetAttributeValue 2 %s" % what)
                code, steps, err = self.change(node, "promote", "2")
                self.assertEqual((code, steps), (3, ["done", "behind"]), err)
                self.assertIn("hsm-b is behind, as a look at its keys shows: ", err)
                self.assertEqual(self.states(node)[2, "hsm-b"], "pre-active")
                self.assertEqual(self.change(node, "promote", "2"), (0, ["already", "done"], ""))

    def test_a_token_that_changes_no_key_is_left_to_the_configuration(self):
        node = self.node()
        slow = fault.inject(node, 1)
        self.addCleanup(slow.close)
        self.assertEqual(self.change(node, "promote", "2")[0], 0)
        slow.put("C_SetAttributeValue every rv 10")  # CKR_ATTRIBUTE_READ_ONLY
        code, steps, err = self.change(node, "retire", "1")
        self.assertEqual((code, steps), (3, ["done", "by-config"]))
        self.assertIn("hsm-b cannot change this key. In every node's kekd.yaml, under providers: hsm-b: versions:, let "
                      "the entry read\n      - {n: 1, state: deactivated}\n", err)
        node.config["providers"][1]["versions"] = [{"n": 1, "state": "deactivated"}]
        node.write()
        self.assertEqual(self.change(node, "retire", "1"), (0, ["already", "already"], ""))
        states = self.states(node)
        self.assertEqual(states[1, "hsm-b"], "deactivated")
        self.assertEqual(states[2, "hsm-b"], "active")  # which versions does not name

    def test_a_token_that_is_away_keeps_the_other_from_a_change(self):
        for away, provider in (("token", "hsm-a"), ("twin", "hsm-b")):
            node = self.node(provider={"timeout": "500ms", "start_timeout": "1s"})
            before = self.states(node)
            with getattr(node, away).away():
                code, _, err = self.change(node, "promote", "2", "--i-have-a-backup")
            self.assertEqual(code, 1)
            self.assertIn(provider, err)
            self.assertIn("nothing was changed: every provider must answer first", err)
            self.assertEqual(self.states(node), before)

    def test_one_token_under_two_names_needs_a_backup(self):
        node = self.node()
        node.config["providers"][1] = dict(node.config["providers"][0], name="hsm-b")
        node.write()
        code, _, err = self.change(node, "promote", "2")
        self.assertEqual(code, 1)
        self.assertIn("version 2 is on one token alone", err)
        self.assertEqual(self.change(node, "promote", "2", "--i-have-a-backup")[0], 0)


if __name__ == "__main__":
    rigs.main()
