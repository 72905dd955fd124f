"""Several roots of trust: each with a KEK of its own on a token of its own. Either opens, or both are needed."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import time

from grpc import RpcError, StatusCode

import fault as faults
import p11
import rig as rigs
import swap
from roots import DEK, MODE_ALL, MODE_ANY, OUT, STRICT, Roots, by_token, entries

AES_CBC = 4


class Any(Roots):
    def test_each_root_opens_alone(self):
        node = self.two("any").start()
        with node.client() as client:
            sealed = client.encrypt(DEK)
            mode, found = entries(sealed.ciphertext)
            self.assertEqual((mode, len(found)), (MODE_ANY, 2))
            self.assertEqual(sealed.key_id, client.status().key_id)
        for token in (node.token, node.other):
            node.close_clients()
            node.stop()
            with token.away():
                node.spawn().serving()
                with node.client() as client:
                    rigs.wait_for(lambda c=client: self.opens(c, sealed), "it to open by one root")
        node.close_clients()
        node.stop()
        node.spawn().good()
        node.stop()

    def test_either_is_lost_under_load(self):
        node = self.two("any").start()
        with self.unharmed(node) as load:
            for token in (node.token, node.other):
                with token.away():
                    load.more(300)
                node.good()
                load.more(100)
        node.stop()

    def test_since_when_all_are_announced_together_is_no_word_of_a_record(self):
        """A record is of one root: what kekctl reencrypt waits by must not be older than the generation."""
        node = self.two("any").start()
        def announced():
            primary = json.loads(node.page("/status")[1])["primary"]
            for kek in primary["keks"]:  # each was long ago
                self.assertLess(kek["announced_at"], primary["announced_at"] or "9")
            return primary["announced_at"]
        with node.client() as client:
            whole = client.status().key_id
            node.close_clients()
            node.stop()
            node.spawn().good()
            self.assertIsNone(announced())
        with node.other.away():
            rigs.wait_for(lambda: self.status(node).key_id != whole, "another key_id")
            gone = announced()
            self.assertIsNotNone(gone)
        rigs.wait_for(lambda: self.status(node).key_id == whole, "the key_id of both")
        self.assertGreater(announced(), gone)
        node.stop()

    def test_strict_mode_goes_on_without_the_root_that_is_out(self):
        node = self.two("any", config=STRICT).start()
        whole = self.status(node).key_id
        with node.other.away():
            rigs.wait_for(lambda: self.status(node).key_id != whole, "another key_id")
            with node.client() as client:
                sealed = client.encrypt(DEK)
                self.assertEqual(len(entries(sealed.ciphertext)[1]), 1)
                self.assertEqual(sealed.key_id, client.status().key_id)
                self.assertEqual(client.status().healthz, "ok")
                self.assertEqual(client.decrypt(sealed.ciphertext, sealed.key_id), DEK)
            out = [name for name in node.metrics() if name.startswith("kekd_degraded{")]
            self.assertTrue(any('reason="root_out"' in name for name in out), out)
            self.assertIn("spare: what is sealed now does not open by this root", node.page("/readyz")[1])
        rigs.wait_for(lambda: self.status(node).key_id == whole, "the key_id of both")
        with node.client() as client:
            self.assertEqual(client.decrypt(sealed.ciphertext, sealed.key_id), DEK)
            self.assertEqual(len(entries(client.encrypt(DEK).ciphertext)[1]), 2)
        node.wait_log("without spare")
        node.wait_log("again with spare")
        self.told(node, "first", "site version 1, spare version 1", whole)
        self.told(node, "new", "site version 1", sealed.key_id)
        self.told(node, "new", "site version 1, spare version 1", whole)
        node.stop()
        told = node.log().count("first primary of the roots")
        node.spawn().good()  # of what is on record
        self.assertEqual(self.status(node).key_id, whole)
        node.stop()
        self.assertEqual(node.log().count("first primary of the roots"), told + 1)

    @staticmethod
    def told(node, when, keks, key_id):
        """The log has the key_id that API servers see, and its hash as their metrics show it."""
        digest = hashlib.sha256(key_id.encode()).hexdigest()
        node.wait_log("%s primary of the roots of trust: %s key_id=%s key_id_hash=sha256:%s\n" % (when, keks, key_id, digest))

    def test_a_root_that_settles_seals_where_no_other_is_left(self):
        node = self.two("any", config=dict(STRICT, settle="60s")).start()
        whole = self.status(node).key_id
        with node.token.away():
            rigs.wait_for(lambda: self.status(node).key_id != whole, "another key_id")
        without = "site: what is sealed now does not open by this root of trust: it is back"
        rigs.wait_for(lambda: without in node.page("/readyz")[1], "it to be back, and to be told")
        with node.other.away(), node.client() as client:
            rigs.wait_for(lambda: self.seals_alone(client), "it to seal by the root that is back")
        node.stop()

    @staticmethod
    def seals_alone(client):
        with contextlib.suppress(RpcError):
            return len(entries(client.encrypt(DEK).ciphertext)[1]) == 1
        return False

    def test_no_call_fails_when_the_kek_of_one_may_not_wrap_any_more(self):
        node = self.two("any").start()
        with node.client() as client:
            sealed = client.encrypt(DEK)
        with self.unharmed(node):
            p11.set_attributes(node.other, entries(sealed.ciphertext)[1][1][1], wrap=False)
            rigs.wait_for(lambda: self.status(node).key_id != sealed.key_id, "another key_id")
        node.stop()

    def test_a_root_that_only_opens_does_not_hide_that_nothing_is_sealed(self):
        node = self.two("any", config=dict(STRICT, health={"grace": "0s"}))
        site, spare = node.config["roots"]
        node.write(roots=[site, dict(spare, seals="false")])
        node.start()
        with node.token.away():
            rigs.wait_for(lambda: self.status(node).healthz.startswith("site: "), "it to be told")
            self.assertEqual(node.page("/readyz")[0], 503)
        node.stop()

    def test_nothing_is_sealed_where_two_roots_have_one_kek(self):
        node = self.two("any")
        node.write(providers=[dict(node.provider(name, node.token), timeout="500ms") for name in ("hsm-a", "hsm-b")])
        node.spawn().serving()
        with node.client() as client:
            same = ("the roots of trust site and spare have the same KEK, version 1 of site and 1 of spare: they are one "
                    "root")
            node.wait_log(same)
            self.assertIn(same, self.refused(StatusCode.UNAVAILABLE, client.encrypt, DEK))
            self.assertIn(same + "; make them one root", node.page("/readyz")[1])
        node.stop()

    def shared(self, mode, **more):
        """A node whose roots are on one token, `site` under version 1 and `spare` under version 2."""
        node = self.two(mode, **more)
        node.write(providers=[dict(node.provider(name, node.token), timeout="500ms") for name in ("hsm-a", "hsm-b")])
        node.kekctl("--root", "spare", "key", "generate", check=True)
        node.kekctl("--root", "spare", "key", "promote", "2", "--i-have-a-backup", check=True)
        site, spare = node.config["providers"]
        node.write(providers=[dict(site, versions=[{"n": 2, "state": "suspended"}]), spare])
        return node

    def test_a_kek_that_two_roots_know_is_used_by_the_one_that_seals_under_it(self):
        for mode, config in (("any", STRICT), ("all", STRICT), ("any", {})):
            with self.subTest(mode=mode, config=config):
                node = self.shared(mode, config=config)
                node.write(audit={"file": node.folder + "/audit"})
                node.start()
                with node.client() as client:
                    for _ in range(3):
                        sealed = client.encrypt(DEK)
                        self.assertEqual(len(entries(sealed.ciphertext)[1]), 2)
                        self.assertEqual(client.decrypt(sealed.ciphertext, sealed.key_id), DEK)
                    self.assertEqual((client.status().healthz, client.status().key_id), ("ok", sealed.key_id))
                node.close_clients()
                node.stop()
                with open(node.folder + "/audit", encoding="utf-8") as file:
                    lines = [json.loads(line) for line in file]
                named = [[(kek["root"], kek["version"], kek.get("provider")) for kek in line["keks"]] for line in lines
                         if line["event"] == "primary" or line.get("method") == "Encrypt"]
                self.assertIn([("site", 1, None), ("spare", 2, None)], named)
                if config == STRICT:
                    self.assertIn([("site", 1, "hsm-a"), ("spare", 2, "hsm-b")], named)

    def test_a_root_that_comes_to_the_others_kek_is_named_and_sealing_goes_on(self):
        node = self.shared("any", config=STRICT)
        node.start()
        key_id = self.status(node).key_id
        node.close_clients()
        node.stop()
        site, spare = node.config["providers"]
        del site["versions"]
        node.write(providers=[site, spare])
        node.spawn().serving()
        same = ("the roots of trust site and spare have the same KEK, version 2 of site and 2 of spare: they are one "
                "root")
        node.wait_log(same + ", and no other is announced than before")
        rigs.wait_for(lambda: "site: " + same in node.page("/readyz")[1], "/readyz to name them")
        self.assertEqual(node.page("/readyz")[0], 200)
        with node.client() as client:
            sealed = client.encrypt(DEK)
            self.assertEqual((sealed.key_id, client.status().healthz), (key_id, "ok"))
            self.assertEqual(client.decrypt(sealed.ciphertext, sealed.key_id), DEK)
        done = node.kekctl("node", "status")
        self.assertEqual(done.returncode, 3)
        self.assertIn("this node: to be mended: site: " + same, done.stderr.decode())
        done = node.kekctl("key", "list")
        self.assertEqual(done.returncode, 3)
        self.assertIn("kekd goes on with what it announced, and does not announce version 2 of site", done.stderr.decode())
        self.assertIn("announced together, in mode any: version 1 of site, version 2 of spare", done.stdout.decode())
        node.close_clients()
        node.stop()

    def test_each_root_turns_its_keys_over_by_itself(self):
        node = self.two("any").start()
        with node.client() as client:
            sealed = client.encrypt(DEK)
            node.kekctl("--root", "spare", "key", "generate", check=True)
            node.kekctl("--root", "spare", "key", "promote", "2", "--i-have-a-backup", check=True)
            rigs.wait_for(lambda: client.status().key_id != sealed.key_id, "the new version")
            later = client.encrypt(DEK)
            before, after = entries(sealed.ciphertext)[1], entries(later.ciphertext)[1]
            self.assertEqual(before[0][1], after[0][1])
            self.assertNotEqual(before[1][1], after[1][1])
            for one in (sealed, later):
                self.assertEqual(client.decrypt(one.ciphertext, one.key_id), DEK)
        node.stop()


class Damaged(Roots):
    """In mode any: what one root calls damaged another may open."""

    # A worker opens what it made itself (2), asks again (3) and opens that again (4), and then its witness (5).
    DAMAGED = ("C_UnwrapKey 1 rv 110", "C_UnwrapKey 3 rv 110")

    def node(self):
        node = self.two("any", config=dict(STRICT, refresh="60s", health={"probe_interval": "60s"}))
        node.write(audit={"file": node.folder + "/audit"})
        node.faults = [faults.inject(node, which) for which in (0, 1)]
        for fault in node.faults:
            self.addCleanup(fault.close)
        node.start()
        self.quiet(node)
        return node

    @staticmethod
    def quiet(node):
        """Waits until no HSM has been asked for a second: the next unwrap is a call's."""
        def still():
            before = [fault.counts() for fault in node.faults]
            time.sleep(1)
            return before == [fault.counts() for fault in node.faults]
        rigs.wait_for(still, "the HSMs to have nothing to do")

    def audited(self, node):
        with open(node.folder + "/audit", encoding="utf-8") as file:
            lines = [json.loads(line) for line in file if line.endswith("\n")]
        return [line for line in lines if "damaged_root" in line]

    def test_what_one_hsm_calls_damaged_opens_and_is_told(self):
        node = self.node()
        with node.client() as client:
            sealed = client.encrypt(DEK)
            node.faults[0].put(*self.DAMAGED)
            self.assertEqual(client.decrypt(sealed.ciphertext, sealed.key_id), DEK)
            self.assertEqual(node.faults[0].done(), 2)
            node.wait_log("v2.Decrypt opened by another root of trust: to site it is damaged: .*root=site")
            line, = rigs.wait_for(lambda: self.audited(node), "the line of the audit log")
            self.assertEqual((line["damaged_root"], line["status"], line["origin"], line["code"]),
                             ("site", "OK", "pkcs11", 0x110))
            self.assertEqual(client.decrypt(sealed.ciphertext, sealed.key_id), DEK)
            self.assertEqual(len(self.audited(node)), 1)
        node.stop()

    def test_it_is_damaged_when_every_root_says_so(self):
        node = self.node()
        with node.client() as client:
            sealed = client.encrypt(DEK)
            for fault in node.faults:
                fault.put(*self.DAMAGED)
            self.refused(StatusCode.INVALID_ARGUMENT, client.decrypt, sealed.ciphertext, sealed.key_id)
            self.assertEqual([fault.done() for fault in node.faults], [2, 2])
            self.assertEqual(client.decrypt(sealed.ciphertext, sealed.key_id), DEK)
        node.stop()

    def test_it_is_not_damaged_while_another_root_does_not_answer(self):
        node = self.node()
        with node.client(timeout=3.0) as client:
            sealed = client.encrypt(DEK)
            node.faults[0].put(*self.DAMAGED)
            node.faults[1].put("* every hang")
            with self.assertRaises(RpcError) as caught:
                client.decrypt(sealed.ciphertext, sealed.key_id)
            self.assertIn(caught.exception.code(), OUT)
            self.assertEqual(node.faults[0].done(), 2)
            node.faults[1].put()
            self.assertEqual(client.decrypt(sealed.ciphertext, sealed.key_id), DEK)
        node.stop()

    def test_what_one_root_is_waited_for_leaves_the_other_its_time(self):
        """A key that may not unwrap is looked at by fresh workers, which hang: after half of the time the other root is asked."""
        node = self.node()
        with node.client(timeout=3.0) as client:
            sealed = client.encrypt(DEK)
            node.faults[0].put("C_UnwrapKey every rv 68", "C_Initialize every hang")
            self.assertEqual(client.decrypt(sealed.ciphertext, sealed.key_id), DEK)
            self.assertGreater(node.faults[0].counts()["C_Initialize"], 0)
            node.faults[0].put()
        node.stop()

    def test_a_flipped_byte_in_the_wrap_of_one_root_is_damage_of_the_whole(self):
        """The tag covers what each root wrapped: nobody who can write to etcd changes it and has it opened."""
        node = self.node()
        with node.client() as client:
            sealed = client.encrypt(DEK)
            for _, _, wrapped in entries(sealed.ciphertext)[1]:
                at = sealed.ciphertext.index(wrapped) + len(wrapped) // 2
                flipped = sealed.ciphertext[:at] + bytes([sealed.ciphertext[at] ^ 1]) + sealed.ciphertext[at + 1:]
                self.refused(StatusCode.INVALID_ARGUMENT, client.decrypt, flipped, sealed.key_id)
            self.assertEqual(client.decrypt(sealed.ciphertext, sealed.key_id), DEK)
        node.stop()


    def test_another_wrap_of_a_roots_own_in_its_place_is_damage_of_the_whole(self):
        """A good wrap of another data key by that very root: no root opens that envelope, whichever is asked first."""
        node = self.two("any", config=STRICT).start()
        whole = self.status(node).key_id
        with node.client() as client:
            one, two = client.encrypt(DEK), client.encrypt(DEK)
        mixed = []
        for (_, _, mine), (_, _, other) in zip(entries(one.ciphertext)[1], entries(two.ciphertext)[1]):
            self.assertEqual((len(mine), mine == other), (len(other), False))
            mixed.append(one.ciphertext.replace(mine, other))
        def judged():
            with node.client() as client:
                for sealed in mixed:
                    self.refused(StatusCode.INVALID_ARGUMENT, client.decrypt, sealed, whole)
                self.assertEqual(client.decrypt(one.ciphertext, whole), DEK)
        judged()
        for token in (node.token, node.other):
            with token.away():
                rigs.wait_for(lambda: self.status(node).key_id != whole, "another key_id")
                judged()
            rigs.wait_for(lambda: self.status(node).key_id == whole, "the key_id of both")
        node.stop()


class Restarted(Roots):
    def test_what_was_announced_is_so_before_the_first_call(self):
        """An Encrypt that comes before any HSM is there waits for one."""
        for mode in ("any", "all"):
            node = self.two(mode).start()
            whole = self.status(node).key_id
            node.close_clients()
            node.stop()
            late = [faults.inject(node, which) for which in (0, 1)]
            for fault in late:
                fault.put("C_Initialize every delay 1000")
                self.addCleanup(fault.close)
            node.spawn().serving()
            with node.client() as client:
                sealed = client.encrypt(DEK)
                self.assertEqual(sealed.key_id, whole)
                self.assertEqual(client.decrypt(sealed.ciphertext, sealed.key_id), DEK)
            node.stop()


    def test_a_replica_that_is_behind_takes_nothing_from_a_restart(self):
        """The root's other HSM has its key: what was announced before is so again, whether the root was in it or not."""
        for mode, added in (("any", "later"), ("all", "later"), ("any", "first")):
            with self.subTest(mode=mode, added=added):
                node = self.two(mode)
                replica = dict(node.provider("hsm-c", rigs.Token(node.folder + "/replica", "kek-replica")), timeout="500ms")
                if added == "later":
                    node.start().stop()
                site, spare = node.config["providers"]
                node.write(providers=[site, replica, spare],
                           roots=[{"name": "site", "providers": ["hsm-a", "hsm-c"]}, {"name": "spare", "providers": ["hsm-b"]}])
                node.spawn().good()
                before = self.status(node).key_id
                with node.client() as client:
                    count = len(entries(client.encrypt(DEK).ciphertext)[1])
                self.assertEqual(count, 2 if added == "later" else 1)  # a first start needs all of a root's providers
                node.close_clients()
                node.stop()
                node.spawn().serving()
                with node.client() as client:
                    sealed = client.encrypt(DEK)
                    self.assertEqual((client.status().key_id, sealed.key_id), (before, before))
                    self.assertEqual(client.open(sealed), DEK)
                node.stop()

    def test_what_was_sealed_without_a_root_is_remembered_though_kekd_is_stopped_at_once(self):
        node = self.two("any", config=dict(STRICT, refresh="15s")).start()
        node.other.unplug()
        for pid in node.workers_of(node.other):
            os.kill(pid, signal.SIGKILL)

        def alone():
            with contextlib.suppress(RpcError), node.client() as client:
                return len(entries(client.encrypt(DEK).ciphertext)[1]) == 1
            return False
        rigs.wait_for(alone, "sealing by one root")
        node.close_clients()
        node.stop()
        node.other.plug()
        node.spawn().good()
        rigs.wait_for(lambda: "to be mended: spare: what was sealed from" in node.page("/readyz")[1], "the remark", 20)
        node.stop()


class Recovery(Roots):
    """docs/recovery.md, run as it stands, on one token after the other."""

    def test_any_opens_by_each_token_alone(self):
        node = self.two("any").start()
        with node.client() as client:
            sealed = client.encrypt(DEK)
        node.stop()
        for token in (node.token, node.other):
            opened, said = by_token(node, token, sealed.ciphertext)
            self.assertEqual(opened, DEK, said)

    def test_all_opens_by_both_alone(self):
        node = self.two("all").start()
        with node.client() as client:
            sealed = client.encrypt(DEK)
        node.stop()
        for order in ((node.token, node.other), (node.other, node.token)):
            shares = node.folder + "/shares-" + order[0].label
            os.mkdir(shares, 0o700)
            opened, said = by_token(node, order[0], sealed.ciphertext, SHARES=shares)
            self.assertIsNone(opened)
            self.assertIn("is left: run this for its root", said)
            # What it has for what it has not opens nothing.
            have = os.listdir(shares)[0]
            other = "share.0" if have == "share.1" else "share.1"
            shutil.copy(shares + "/" + have, shares + "/" + other)
            opened, said = by_token(node, order[0], sealed.ciphertext, SHARES=shares)
            self.assertIsNone(opened)
            self.assertIn("the tag does not match", said)
            os.unlink(shares + "/" + other)
            opened, said = by_token(node, order[1], sealed.ciphertext, SHARES=shares)
            self.assertEqual(opened, DEK, said)


class Moves(Roots):
    """From one HSM to another that does not replicate with it: by configuration and restarts alone."""

    def restart(self, node, roots, **more):
        node.close_clients()
        node.stop()
        node.write(roots=roots, **more)
        node.start()

    def sealed_and_opened(self, node, before):
        """A new one, and all of before."""
        with node.client() as client:
            new = client.encrypt(DEK)
            for one in before + [new]:
                self.assertEqual(client.decrypt(one.ciphertext, one.key_id), DEK)
        return new, len(entries(new.ciphertext)[1])

    def test_from_one_to_the_other(self):
        site, spare = ({"name": name, "providers": [provider]}
                       for name, provider in (("site", "hsm-a"), ("spare", "hsm-b")))
        node = self.two("any")
        both = node.config["providers"]
        node.write(roots=None, mode=None, providers=both[:1])
        node.start()
        alone, count = self.sealed_and_opened(node, [])
        self.assertEqual(count, 1)
        self.restart(node, [site, dict(spare, seals="false")], mode="any", providers=both)
        with node.client() as client:
            self.assertEqual(client.status().key_id, alone.key_id)  # nothing is announced anew
        second, count = self.sealed_and_opened(node, [alone])
        self.assertEqual(count, 1)
        self.restart(node, [site, spare])
        third, count = self.sealed_and_opened(node, [alone, second])
        self.assertEqual(count, 2)
        self.restart(node, [dict(site, seals="false"), spare])
        fourth, count = self.sealed_and_opened(node, [alone, second, third])
        self.assertEqual(count, 1)
        # What needs the old one was rewritten.
        self.restart(node, [spare], mode=None, providers=both[1:])
        with node.client() as client:
            self.assertEqual(client.status().key_id, fourth.key_id)
            self.assertEqual(client.decrypt(fourth.ciphertext, fourth.key_id), DEK)
            self.refused(StatusCode.INVALID_ARGUMENT, client.decrypt, alone.ciphertext, alone.key_id)
        node.stop()

    def test_to_both_needed(self):
        node = self.two("any").start()
        roots = node.config["roots"]
        old, _ = self.sealed_and_opened(node, [])
        self.restart(node, roots, mode="any", mode_accept="all")
        self.restart(node, roots, mode="all", mode_accept="any")
        new, _ = self.sealed_and_opened(node, [old])
        self.assertEqual(new.ciphertext[5], MODE_ALL)
        self.restart(node, roots, mode_accept=None)
        self.sealed_and_opened(node, [new])
        with node.client() as client:
            self.refused(StatusCode.FAILED_PRECONDITION, client.decrypt, old.ciphertext, old.key_id)
        node.stop()


class Operating(Roots):
    def test_a_root_that_is_out_is_listed_as_one_that_does_not_answer(self):
        node = self.two("any").start()
        with node.other.away():
            done = node.kekctl("key", "list", "--output", "json")
        site, spare = json.loads(done.stdout)["roots"]
        self.assertEqual((done.returncode, site["root"], len(site["versions"])), (1, "site", 1))
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

    def test_roots_that_come_go_and_come_again_never_take_the_primary_back(self):
        """A rollout that is rolled back, and tried again after a rotation: and the same the other way round."""
        node = self.rig(config={"settle": "8s"})
        roots = [{"name": "site", "providers": ["hsm-a"]}]
        def restart(with_roots):
            node.close_clients()
            node.stop()
            node.config.pop("roots", None)
            if with_roots:
                node.config["roots"] = roots
            node.write()
            node.spawn().serving()
            with node.client() as client:
                return client.status()
        def rotate(version):
            with node.client() as client:
                before = client.status().key_id
                node.kekctl("key", "generate", check=True)
                node.kekctl("key", "promote", str(version), "--i-have-a-backup", check=True)
                rigs.wait_for(lambda: client.status().key_id != before, "version %d" % version)
                return client.encrypt(DEK)
        node.start()
        with node.client() as client:
            first = client.status().key_id
        self.assertEqual(restart(True).key_id, first)
        rigs.wait_for(lambda: os.path.exists(node.state + "/k8s-test@site.json"), "the root's own record")
        self.assertEqual(restart(False).key_id, first)
        sealed = rotate(2)
        for with_roots in (True, False, True):
            shown = restart(with_roots)
            self.assertEqual((shown.key_id, shown.healthz), (sealed.key_id, "ok"), with_roots)
            with node.client() as client:
                self.assertEqual(client.encrypt(DEK).key_id, sealed.key_id)
            self.assertRegex(node.kekctl("node", "status", check=True).stdout, rb"(?m)^self \S+ +ok +2 ")
        third = rotate(3)
        self.assertEqual(restart(False).key_id, third.key_id)
        with node.client() as client:
            self.assertEqual(client.open(sealed), DEK)
        node.close_clients()
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


def by_aes_cbc(sealed, entry):
    """The envelope as if the data key, or share, of that entry were wrapped with AES-CBC: 48 bytes."""
    count, at, out = sealed[6], 7, sealed[:7]
    for number in range(count):
        size = int.from_bytes(sealed[at + 17:at + 19], "big")
        out += (bytes([AES_CBC]) + sealed[at + 1:at + 17] + b"\0\x30" + bytes(48) if number == entry
                else sealed[at:at + 19 + size])
        at += 19 + size
    return out + sealed[at:]


class All(Roots):
    def test_both_are_needed(self):
        node = self.two("all").start()
        with node.client() as client:
            sealed = client.encrypt(DEK)
            mode, found = entries(sealed.ciphertext)
            self.assertEqual((mode, len(found)), (MODE_ALL, 2))
            self.assertNotEqual(found[0][2], found[1][2])
            self.assertEqual(client.decrypt(sealed.ciphertext, sealed.key_id), DEK)
        for token in (node.token, node.other):
            node.close_clients()
            node.stop()
            with token.away():
                node.spawn().serving()
                with node.client() as client:
                    with self.assertRaises(RpcError) as caught:
                        client.decrypt(sealed.ciphertext, sealed.key_id)
                    self.assertIn(caught.exception.code(), OUT)
        node.close_clients()
        node.stop()
        node.spawn().good()
        with node.client() as client:
            self.assertEqual(client.decrypt(sealed.ciphertext, sealed.key_id), DEK)
        node.stop()

    def test_an_outage_of_one_is_bridged(self):
        node = self.two("all").start()
        with self.unharmed(node) as load, node.other.away():
            load.more(200)
        node.stop()

    def test_one_that_is_out_is_told_as_that(self):
        node = self.two("all").start()
        def out():
            return [name for name in node.metrics() if name.startswith('kekd_degraded{reason="root_out"')]
        self.assertEqual(out(), [])
        with node.other.away():
            name, = rigs.wait_for(out, "the metric")
            self.assertIn('root="spare"', name)
            code, said = node.page("/readyz")
            self.assertEqual(code, 503)
            self.assertIn("\nto be mended: spare: without this root of trust no data key is made, and none is opened\n", said)
        rigs.wait_for(lambda: not out(), "it to be back")
        self.assertEqual(node.page("/readyz"), (200, "ok\n"))  # nothing was sealed without it
        node.stop()

    def test_nothing_turns_all_into_any(self):
        node = self.two("any").start()
        with node.client() as client:
            sealed = client.encrypt(DEK)
        node.stop()
        node.write(mode="all", audit={"file": node.folder + "/audit"})
        node.spawn().good()
        with node.client() as client:
            said = self.refused(StatusCode.FAILED_PRECONDITION, client.decrypt, sealed.ciphertext, sealed.key_id)
            self.assertIn("it is of mode any, and this configuration has mode all: `mode_accept: any` would accept", said)
            node.wait_log("v2.Decrypt failed: " + re.escape(said))
            def audited():
                with open(node.folder + "/audit", encoding="utf-8") as file:
                    return [line for line in file if '"FAILED_PRECONDITION"' in line and said in line]
            rigs.wait_for(audited, "the line of the audit log")
            ours = client.encrypt(DEK)
            changed = bytearray(ours.ciphertext)
            changed[5] = MODE_ANY
            self.refused(StatusCode.FAILED_PRECONDITION, client.decrypt, bytes(changed), ours.key_id)
            self.assertEqual(client.decrypt(ours.ciphertext, ours.key_id), DEK)
            # What is changed beside mode, number and order is damage, as ever.
            changed = bytearray(ours.ciphertext)
            changed[-1] ^= 1
            said = self.refused(StatusCode.INVALID_ARGUMENT, client.decrypt, bytes(changed), ours.key_id)
            self.assertIn("damaged", said)
        node.stop()

    def test_the_order_of_the_roots_changed_is_no_damage(self):
        node = self.two("any").start()
        with node.client() as client:
            sealed = client.encrypt(DEK)
        node.stop()
        node.write(roots=node.config["roots"][::-1])
        faulty = [faults.inject(node, which) for which in (0, 1)]
        for fault in faulty:
            self.addCleanup(fault.close)
        node.spawn().serving()
        with node.client() as client:
            said = rigs.wait_for(lambda: self.in_order(client, sealed), "both roots to be known")
            self.assertIn("in the order of `roots`", said)
            # No HSM is asked, however often it comes.
            before = [fault.counts().get("C_UnwrapKey", 0) for fault in faulty]
            for _ in range(50):
                self.refused(StatusCode.FAILED_PRECONDITION, client.decrypt, sealed.ciphertext, sealed.key_id)
            after = [fault.counts().get("C_UnwrapKey", 0) for fault in faulty]
            self.assertLess(sum(after) - sum(before), 50)
        node.stop()

    @staticmethod
    def in_order(client, sealed):
        try:
            client.decrypt(sealed.ciphertext, sealed.key_id)
        except RpcError as error:
            return error.details() if error.code() == StatusCode.FAILED_PRECONDITION else None
        return None

    def test_nobody_else_chooses_the_algorithm_of_any_entry(self):
        """AES-CBC unwraps anything to something."""
        node = self.two("all").start()
        with node.client() as client:
            sealed = client.encrypt(DEK)
            for entry in (0, 1):
                before = len(re.findall("does not wrap with", node.log()))
                self.refused(StatusCode.INVALID_ARGUMENT, client.decrypt, by_aes_cbc(sealed.ciphertext, entry),
                             sealed.key_id)
                rigs.wait_for(lambda: len(re.findall("does not wrap with", node.log())) > before,
                              "the refusal of entry %d in the log" % entry)
            self.assertEqual(client.decrypt(sealed.ciphertext, sealed.key_id), DEK)
        node.stop()


class Doubts(Roots):
    """Both roots wrap by AES-CBC, which unwraps anything to something: only what opens tells a wrong key."""

    def node(self, mode):
        node = self.two(mode, config=dict(STRICT, refresh="60s", health={"probe_interval": "60s"}),
                        provider={"strategy": "encrypt", "processes": 1})
        node.faults = [faults.inject(node, which) for which in (0, 1)]
        for fault in node.faults:
            self.addCleanup(fault.close)
        for refused in swap.ALGORITHMS["CBC"][2]:
            for fault in node.faults:
                fault.put(*["C_EncryptInit %d rv 70" % (call + 1) for call in range(refused)])
            node.start()
            with node.client() as client:
                sealed = client.encrypt(DEK)
            node.close_clients()
            node.stop()
            if [alg for alg, _, _ in entries(sealed.ciphertext)[1]] == [AES_CBC, AES_CBC]:
                break
            for name in os.listdir(node.state):
                os.unlink(os.path.join(node.state, name))
        else:
            raise AssertionError("the tokens could not be made to use AES-CBC")
        for entry in node.config["providers"]:
            entry.update(processes=2)
        node.write()
        for fault in node.faults:
            fault.put()
        return node.start(), sealed

    def test_a_wrong_worker_of_either_root_is_found_out(self):
        rigs.need_root("which worker belongs to which token")
        for mode in ("all", "any"):
            node, sealed = self.node(mode)
            with node.client() as client:
                for fault, token in zip(node.faults, (node.token, node.other)):
                    node.settled()
                    fault.put("* every wrongkey 1 pid=%d" % node.workers_of(token)[0])
                    for _ in range(8):  # each goes to either worker
                        self.assertEqual(client.decrypt(sealed.ciphertext, sealed.key_id), DEK)
                    if mode == "all":
                        node.wait_log("%s: .*different key" % ("site" if token is node.token else "spare"))
                    fault.put()
                damaged = sealed.ciphertext[:-1] + bytes([sealed.ciphertext[-1] ^ 1])
                self.refused(StatusCode.INVALID_ARGUMENT, client.decrypt, damaged, sealed.key_id)
                self.assertEqual(client.decrypt(sealed.ciphertext, sealed.key_id), DEK)
            node.stop()


if __name__ == "__main__":
    rigs.main()
