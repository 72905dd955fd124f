"""An older version that opens no more, while what is in memory hides it: found, and told of, before a restart would tell."""

import contextlib
import json
import os
import re
import time

import fault as faults
import p11
import rig as rigs
import traffic
from softhsm import Twin

DEK = bytes(range(32))
QUICK = {"timeout": "500ms", "processes": 2}


class Older(rigs.Case):
    """Version 2 is the primary; version 1 unwraps only, and something was sealed under it."""

    def older(self, pair=False, faulty=(), interval="2s", **config):
        config = dict({"metrics": rigs.own_address(), "settle": "0s",
                       "health": {"canary_interval": interval}}, **config)
        node = self.rig(pair=pair, provider=QUICK, config=config)
        node.write(audit={"file": node.folder + "/audit.log"})
        self.faults = [faults.inject(node, which) for which in faulty]
        node.start()
        with node.client() as client:
            self.sealed = client.encrypt(DEK)
            self.first = self.sealed.ciphertext[8:24]
            self.second = os.urandom(16)
            p11.plant(node.token, "k8s-test.v2", self.second)
            if pair:
                node.twin.replicate(node.token)
            node.wait_log("new primary: version 2")
            for token in self.tokens(node):
                p11.set_attributes(token, self.first, wrap=False)
        wanted = [('kekd_kek_canary_ok{version="%d",provider="%s"}' % (version, entry["name"]))
                  for version in (1, 2) for entry in node.config["providers"]]
        rigs.wait_for(lambda: all(node.metrics().get(sample) == 1 for sample in wanted), "all to open both")
        self.good_again(node)
        return node

    @staticmethod
    def tokens(node):
        return [token for token in (node.token, node.twin) if token is not None]

    def good_again(self, node):
        rigs.wait_for(lambda: node.page("/readyz") == (200, "ok\n"), "/readyz to say ok")

    def told(self, node, reason, provider, what):
        """By the metrics, /readyz and the log; /readyz is 200 all the same. Returns the sample.  While workers are ended and
        replaced it may come and go."""
        sample = 'kekd_degraded{reason="%s",version="1",provider="%s"}' % (reason, provider)
        last = []

        def seen():
            try:
                self.tells(node, sample, (reason, 1, provider), what)
            except AssertionError as problem:
                last[:] = [problem]
                return False
            return True
        try:
            rigs.wait_for(seen, sample)
        except AssertionError as waited:
            raise last[0] from waited
        return sample

    def tells(self, node, sample, about, what):
        self.assertEqual(node.metrics().get(sample), 1)
        status, text = node.page("/readyz")
        self.assertEqual((status, text.split("\n")[0]), (200, "ok"))
        self.assertRegex(text, "(?m)^to be mended: .*" + what)
        remarks = json.loads(node.page("/status")[1])["remarks"]
        self.assertTrue([remark for remark in remarks
                         if (remark["reason"], remark["version"], remark["provider"] or "") == about
                         and re.search(what, remark["what"] + "; " + remark["todo"])], remarks)

    def over(self, node, sample):
        rigs.wait_for(lambda: sample not in node.metrics(), "the end of " + sample)

    def canary(self, node, provider):
        return node.metrics()['kekd_kek_canary_ok{version="1",provider="%s"}' % provider]

    def key_list(self, node, *words):
        """Exit 3, and each of these is said; none: exit 0, and nothing is."""
        done = node.kekctl("key", "list")
        said = done.stderr.decode()
        self.assertEqual(done.returncode, 3 if words else 0, said)
        for word in words:
            self.assertRegex(said, word)
        if not words:
            self.assertEqual(said, "")

    def audited(self, node, outcome, provider):
        def found():
            return [line for line in rigs.json_lines(node.folder + "/audit.log") if line["event"] == "canary"
                    and line["version"] == 1 and line["outcome"] == outcome and line["provider"] == provider]
        rigs.wait_for(found, "an audit line: canary %s on %s" % (outcome, provider))


class Shown(Older):
    """What the tokens' lists show."""

    def test_a_use_to_unwrap_that_one_of_two_lost_and_then_both(self):
        node = self.older(pair=True)
        p11.set_attributes(node.twin, self.first, unwrap=False)
        sample = self.told(node, "version_lacking", "hsm-b", "may unwrap on provider hsm-a and not on hsm-b")
        self.assertEqual((self.canary(node, "hsm-a"), self.canary(node, "hsm-b")), (1, 0))
        self.key_list(node, "version 1 may unwrap on hsm-a and not on hsm-b")
        p11.set_attributes(node.token, self.first, unwrap=False)
        sample = self.told(node, "suspended", "", "KEK version 1 is suspended.*restart no API server before")
        self.key_list(node, "version 1 .* is suspended: it unwraps on no provider, .*restart neither")
        self.assertNotIn("version_lost", node.page("/metrics")[1])
        for token in self.tokens(node):
            p11.set_attributes(token, self.first, unwrap=True)
        self.over(node, sample)
        self.good_again(node)
        self.key_list(node)
        node.stop()

    def test_a_key_that_is_deleted_everywhere_and_comes_back(self):
        node = self.older(pair=True)
        backup = Twin(node.token, node.folder + "/backup")
        for token in self.tokens(node):
            token.tool("--delete-object", "--type", "secrkey", "--id", self.first.hex())
        what = r"KEK version 1 opens on no HSM \(hsm-a: %s, hsm-b: %s\): what it sealed is read from memory"
        self.told(node, "version_lost", "", what % ("gone", "gone") + ".*restart neither kekd nor an API server")
        node.wait_log("warn: to be mended: KEK version 1 opens on no HSM")
        self.key_list(node, "version 1 .* is on no provider: .*restart neither")
        done = node.kekctl("node", "status")
        self.assertEqual(done.returncode, 3)
        self.assertRegex(done.stderr.decode(), "restart neither .*: KEK version 1 opens on no HSM")

        node.stop()  # a restart forgets nothing of it
        node.spawn().good()
        sample = self.told(node, "version_lost", "", what % ("absent", "absent"))
        for token in self.tokens(node):
            Twin.replicate(token, backup)
        self.over(node, sample)
        self.good_again(node)
        with node.client() as client:
            self.assertEqual(client.open(self.sealed), DEK)
        asked = json.loads(node.page("/status")[1])["versions"]
        self.assertEqual([version["asked_at"] is not None for version in asked], [True, False])
        self.assertEqual(node.kekctl("node", "status").returncode, 0)
        self.key_list(node)
        node.stop()

    def test_a_version_that_was_suspended_first_may_go(self):
        node = self.older()
        p11.set_attributes(node.token, self.first, unwrap=False)
        sample = self.told(node, "suspended", "", "KEK version 1 is suspended")
        node.token.tool("--delete-object", "--type", "secrkey", "--id", self.first.hex())
        self.over(node, sample)
        node.wait_log("KEK version 1 was destroyed")
        self.good_again(node)
        self.key_list(node)
        node.stop()
        node.spawn().good()
        self.good_again(node)
        page = json.loads(node.page("/status")[1])
        self.assertEqual([version["version"] for version in page["versions"]], [2])
        self.assertEqual([version["version"] for version in page["destroyed"]], [1])
        node.stop()


class Hidden(Older):
    """The lists look right, and the key does not open."""

    def spoil(self, *which, what="rv 5"):
        for fault in which:
            fault.put("C_UnwrapKey every %s id=%s" % (what, self.first.hex()))

    def test_one_of_two_then_both_then_none(self):
        node = self.older(pair=True, faulty=(0, 1))
        self.spoil(self.faults[1])
        one = self.told(node, "wrong_key", "hsm-b", "every worker of provider hsm-b uses a different key .*or "
                        "cannot use it: .*CKR_GENERAL_ERROR")
        self.assertEqual((self.canary(node, "hsm-a"), self.canary(node, "hsm-b")), (1, 0))
        self.key_list(node, "version 1 on hsm-b does not open what it wrapped: (?!hsm-b: ).*CKR_GENERAL_ERROR")
        self.spoil(self.faults[0])
        both = self.told(node, "version_lost", "", r"opens on no HSM \(hsm-a: foreign, hsm-b: foreign\)")
        with node.client() as client:
            self.assertEqual(client.open(client.encrypt(DEK)), DEK)
        for fault in self.faults:
            fault.put()
        self.over(node, both)
        self.over(node, one)
        self.good_again(node)
        self.key_list(node)
        node.stop()

    def test_another_key_than_the_one_that_wrapped(self):
        node = self.older(faulty=(0,))
        self.spoil(*self.faults, what="wrongkey 1")
        self.told(node, "version_lost", "", r"opens on no HSM \(hsm-a: foreign\)")
        self.key_list(node, "version 1 on hsm-a does not open what it wrapped")
        node.stop()

    def taken(self, what, why, threads, config):
        """Each worker that is asked for it is lost. Traffic under the primary goes on."""
        node = self.older(faulty=(0,), **config)
        with traffic.Traffic(node.socket, threads=threads) as load:
            self.spoil(*self.faults, what=what)
            sample = self.told(node, "canary_failed", "hsm-a",
                               "every worker of provider hsm-a fails to open KEK version 1: (?!hsm-a: ).*" + why)
            self.told(node, "version_lost", "", r"opens on no HSM \(hsm-a: does not open it\)")
            self.audited(node, "failed", "hsm-a")
            lost = self.faults[0].done()
            begun = time.monotonic()
            load.more(500)
            with contextlib.suppress(AssertionError):
                rigs.wait_for(lambda: time.monotonic() - begun > 4, "four seconds", 5)
            # Each `canary_interval`, however long the calls took.
            self.assertLessEqual(self.faults[0].done() - lost, 1 + (time.monotonic() - begun) / 2)
            self.faults[0].put()
            self.over(node, sample)
            self.audited(node, "ok", "hsm-a")
            load.more(100)
        self.assertEqual([repr(failure) for failure in load.failures], [])
        self.assertEqual(load.wrong, [])
        self.good_again(node)
        node.stop()

    def test_a_library_that_hangs_at_that_key_alone_costs_no_call(self):
        self.taken("hang", "no answer to unwrap within 500 ms", 4, {})

    def test_a_library_that_crashes_at_that_key_alone_costs_no_call_in_strict_mode(self):
        self.taken("segv", "(ended by signal 11|the worker that was asked for it ended)", 16, {"data_key": {"max_uses": 1}})

    def test_canaries_beside_64_streams_in_strict_mode(self):
        node = self.older(pair=True, interval="1s", data_key={"max_uses": 1})
        with traffic.Traffic(node.socket, threads=64, connections=4) as load:
            def ages():
                return [node.metrics()['kekd_kek_canary_age_seconds{version="1",provider="%s"}' % name]
                        for name in ("hsm-a", "hsm-b")]
            for _ in range(4):
                load.more(1000)
                self.assertLess(max(ages()), 6)
        self.assertEqual([repr(failure) for failure in load.failures], [])
        self.assertEqual(load.wrong, [])
        self.good_again(node)
        node.stop()

    def test_one_worker_of_two_is_named_and_replaced(self):
        node = self.older(faulty=(0,))
        self.faults[0].put("C_UnwrapKey every rv 32 id=%s pid=%d" % (self.first.hex(), node.workers()[0]))
        node.wait_log(r"KEK version 1 is not proven: .*CKR_DEVICE_REMOVED.* provider=hsm-a worker=\d+")
        rigs.wait_for(lambda: self.canary(node, "hsm-a") == 1 and len(node.workers()) == 2, "its successor")
        with node.client() as client:
            self.assertEqual(client.open(self.sealed), DEK)
        self.good_again(node)
        self.assertNotIn("to be mended", node.log())
        node.stop()


if __name__ == "__main__":
    rigs.main()
