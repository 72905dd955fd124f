"""Several roots of trust: each with a KEK of its own on a token of its own. Either opens, or both are needed."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal

from grpc import RpcError, StatusCode

import fault as faults
import p11
import rig as rigs
from roots import DEK, MODE_ALL, MODE_ANY, OUT, STRICT, Roots, by_token, entries


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
        rigs.wait_for(lambda: "to be mended: spare: what was sealed from" in node.page("/readyz")[1], "the remark")
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


if __name__ == "__main__":
    rigs.main()
