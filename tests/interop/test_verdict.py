"""One verdict: Status, /readyz, the metrics, the log and the service manager say the same of the same trouble."""

import contextlib
import os
import re
import socket
import threading

import p11
import rig as rigs
from grpc import StatusCode

DEK = bytes(range(32))


class Verdict(rigs.Case):
    def node(self, **options):
        options["config"] = dict({"metrics": rigs.own_address(), "settle": "0s"},
                                 **options.get("config", {}))
        node = self.rig(**options)
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        manager.bind(node.folder + "/notify")
        node.env["NOTIFY_SOCKET"] = node.folder + "/notify"
        self.status = ""
        listener = threading.Thread(target=self.listen, args=(manager,))
        listener.start()
        self.addCleanup(manager.close)
        self.addCleanup(listener.join)
        self.addCleanup(lambda: manager.shutdown(socket.SHUT_RD))
        return node

    def listen(self, manager):
        """Keeps the last STATUS= that the service manager got."""
        for message in iter(lambda: manager.recv(4096).decode(), ""):
            for status in re.findall(r"^STATUS=(.*)$", message, re.MULTILINE):
                self.status = status

    def manager_hears(self, pattern):
        rigs.wait_for(lambda: re.search(pattern, self.status), "the service manager to hear " + pattern)

    def health(self, node):
        metrics = node.metrics()
        return [state for state in ("starting", "good", "outage", "shut", "loss")
                if metrics['kekd_health{state="%s"}' % state] == 1]

    def tokens(self, node):
        return [token for token in (node.token, node.twin) if token is not None]

    def good_again(self, node):
        rigs.wait_for(lambda: node.page("/readyz") == (200, "ok\n"), "/readyz to say ok")
        self.assertEqual((self.health(node), node.metric("kekd_ready")), (["good"], 1))
        self.manager_hears(r"^KEK version \d+, ok$")


class Shut(Verdict):
    def shut(self, **options):
        """Every token's primary loses CKA_WRAP, and no newer version is active."""
        node = self.node(**options).start()
        self.good_again(node)
        with node.client() as client:
            sealed = client.encrypt(DEK)
            for token in self.tokens(node):
                p11.set_attributes(token, sealed.ciphertext[8:24], wrap=False)
            rigs.wait_for(lambda: node.page("/readyz")[0] == 503, "/readyz to say so")
            text = node.page("/readyz")[1]
            self.assertIn("KEK version 1 may wrap on no HSM", text)
            self.assertIn("make a newer version active", text)
            text = text.rstrip("\n")
            self.assertEqual((self.health(node), node.metric("kekd_ready")), (["shut"], 0))
            self.assertEqual(node.metric("kekd_kms_status_ok"), 0)
            self.assertEqual(client.status().healthz, text)
            self.manager_hears("^KEK version 1, %s$" % re.escape(text))
            node.wait_log("nothing new can be sealed: " + re.escape(text))
            self.refused(StatusCode.FAILED_PRECONDITION, client.encrypt, DEK)
            self.assertEqual(client.open(sealed), DEK)
            for token in self.tokens(node):
                p11.set_attributes(token, sealed.ciphertext[8:24], wrap=True)
            node.wait_log("the primary KEK wraps again")
            self.good_again(node)
            self.assertEqual(client.status().healthz, "ok")
        node.stop()

    def test_a_primary_that_may_wrap_nowhere_is_told_the_same_by_all(self):
        self.shut()

    def test_a_primary_that_may_wrap_on_neither_of_two_is_told_the_same_by_all(self):
        self.shut(pair=True)

    def test_a_primary_that_may_wrap_nowhere_is_told_the_same_by_all_in_strict_mode(self):
        self.shut(config={"data_key": {"max_uses": 1}})


class Gone(Verdict):
    def test_a_deleted_key_is_a_loss_and_never_was_an_outage(self):
        node = self.node().start()
        self.good_again(node)
        with node.client() as client:
            kek_id = client.encrypt(DEK).ciphertext[8:24]
            node.token.tool("--delete-object", "--type", "secrkey", "--id", kek_id.hex())
            node.wait_log("loss: KEK version 1 is missing")
            self.assertNotIn("outage", node.log())
            self.assertEqual(self.health(node), ["loss"])
            self.refused(StatusCode.FAILED_PRECONDITION, client.status)
            self.manager_hears("KEK version 1 is missing")
        node.stop()

        # After a restart nobody has opened it: no Status says ok from the first worker on.
        node.spawn().serving()

        def has_worker():  # its pages come after its socket
            with contextlib.suppress(OSError):
                return node.metrics()['kekd_hsm_workers_ready{provider="hsm-a"}'] > 0
            return False
        rigs.wait_for(has_worker, "a worker")
        with node.client() as client:
            for _ in range(20):
                status, text = node.page("/readyz")
                self.assertEqual(status, 503)
                self.assertRegex(text, "opens KEK version 1|KEK version 1 is missing")
                try:
                    self.assertIn("opens KEK version 1", client.status().healthz)
                except rigs.grpc.RpcError as error:
                    self.assertEqual(error.code(), StatusCode.FAILED_PRECONDITION)
        node.stop()

    def test_a_restart_says_ok_while_its_workers_start(self):
        node = self.node().start()
        self.good_again(node)
        node.stop()
        for _ in range(3):
            node.spawn().serving()
            with node.client() as client:
                for _ in range(20):
                    self.assertEqual(client.status().healthz, "ok")
            self.good_again(node)
            node.stop()


class Silent(Verdict):
    """Nothing is announced: the log says why."""

    def silent(self, node, what, todo=""):
        """Status, /readyz, log and the service manager say `what`; all but Status, which fails, what to do too."""
        node.spawn().serving()
        node.wait_log("error: no key is announced and proven: " + what + todo)
        self.assertRegex(node.page("/readyz")[1], what + todo)
        self.assertEqual((self.health(node), node.metric("kekd_ready")), (["starting"], 0))
        self.manager_hears(what + todo)
        with node.client() as client:
            self.refused(StatusCode.UNAVAILABLE, client.status)
            self.assertRegex(node.log(), "v2.Status failed: " + what)
        lines = len(re.findall("no key is announced and proven", node.log()))
        self.assertLess(lines, 5)
        node.stop()

    def test_a_keyring_that_is_misspelt(self):
        node = self.node()
        node.config["keyring"] = "k8s-tset"
        node.write()
        self.silent(node, "no HSM that answers has a key of keyring k8s-tset", "; compare keyring")

    def test_a_keyring_beside_the_record_of_another(self):
        """What made good the missing key would hide that the name is wrong: it is not offered."""
        node = self.node().start()
        node.stop()
        node.config["keyring"] = "k8s-prodd"
        node.write()
        self.silent(node, "no HSM that answers has a key of keyring k8s-prodd",
                    "; compare keyring: with k8s-test, of which state_dir has a record")
        self.assertRegex(node.log(), "warn: %s has a record of keyring k8s-test, and none of k8s-prodd: compare `keyring` "
                         "with k8s-test" % node.state)
        self.assertNotIn("key generate", node.log())
        done = node.kekctl("key", "generate")
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"has a record of keyring k8s-test, and none of k8s-prodd", done.stderr)
        node.kekctl("key", "generate", "--new-keyring", check=True)  # it was meant
        node.start()
        self.good_again(node)

    def test_a_version_that_is_not_active(self):
        node = self.node()
        node.config["providers"][0]["versions"] = [{"n": 1, "state": "deactivated"}]
        node.write()
        self.silent(node, "no KEK version of keyring k8s-test is active")

    def test_two_tokens_that_each_made_a_v1(self):
        node = self.node(pair=True, generate=False)
        for token in self.tokens(node):
            p11.plant(token, "k8s-test.v1", os.urandom(16))
        self.silent(node, "hsm-[ab] and hsm-[ab] each have a v1 of their own")

    def test_a_replica_that_lacks_the_only_version(self):
        node = self.node(pair=True, generate=False)
        p11.plant(node.token, "k8s-test.v1", os.urandom(16))
        self.silent(node, "KEK version 1 is active on provider hsm-a and not on hsm-b")


class Degraded(Verdict):
    """Status says ok, and is right; /readyz, metrics, log and the service manager say what is to be mended."""

    def degraded(self, node, reason, version, provider, what):
        sample = 'kekd_degraded{reason="%s",version="%s",provider="%s"}' % (reason, version, provider)
        rigs.wait_for(lambda: node.metrics().get(sample) == 1, sample)
        status, text = node.page("/readyz")
        self.assertEqual((status, text.split("\n")[0]), (200, "ok"))
        self.assertRegex(text, r"\nto be mended: .*" + what)
        self.assertEqual((self.health(node), node.metric("kekd_ready")), (["good"], 1))
        self.manager_hears(r"^KEK version \d, ok, to be mended: ")
        return sample

    def mended(self, node, sample):
        rigs.wait_for(lambda: sample not in node.metrics(), "the end of " + sample)
        self.good_again(node)

    def pair(self):
        node = self.node(pair=True).start()
        rigs.wait_for(lambda: node.metrics()['kekd_hsm_workers_ready{provider="hsm-b"}'] == 2, "both")
        self.good_again(node)
        return node

    def test_one_of_two_is_down(self):
        rigs.need_root("which worker belongs to which token")
        node = self.pair()
        node.twin.unplug()
        for pid in node.workers_of(node.twin):
            rigs.kill(pid)
        sample = self.degraded(node, "provider_down", "", "hsm-b", "one provider does not answer: hsm-b: ")
        with node.client() as client:
            self.assertEqual(client.status().healthz, "ok")
        self.assertNotIn("outage", node.log())
        node.twin.plug()
        self.mended(node, sample)
        node.stop()

    def test_a_version_that_waits_for_a_replica(self):
        node = self.pair()
        with node.client() as client:
            first = client.status().key_id
            p11.plant(node.token, "k8s-test.v2", os.urandom(16))
            what = "KEK version 2 is active on provider hsm-a and not on hsm-b"
            sample = self.degraded(node, "version_waits", 2, "hsm-b", what)
            node.wait_log("warn: a version is active and not announced: " + what)
            status = client.status()
            self.assertEqual((status.healthz, status.key_id), ("ok", first))
            node.twin.replicate(node.token)
            self.mended(node, sample)
            node.wait_log("no longer so: .*KEK version 2")
            self.assertNotEqual(client.status().key_id, first)
        node.stop()

    def test_a_version_that_one_lacks(self):
        node = self.pair()
        with node.client() as client:
            kek_id = client.encrypt(DEK).ciphertext[8:24]
            node.twin.tool("--delete-object", "--type", "secrkey", "--id", kek_id.hex())
            what = "KEK version 1 is on provider hsm-a and not on hsm-b"
            sample = self.degraded(node, "version_lacking", 1, "hsm-b", what)
            node.wait_log("warn: to be mended: " + what)
            self.assertEqual(client.status().healthz, "ok")
            node.twin.replicate(node.token)
            self.mended(node, sample)
        node.stop()

    def test_a_primary_that_one_may_not_wrap_under_or_not_unwrap(self):
        for use, in_words in (("wrap", "may wrap"), ("unwrap", "may unwrap")):
            node = self.pair()
            with node.client() as client:
                kek_id = client.encrypt(DEK).ciphertext[8:24]
                p11.set_attributes(node.twin, kek_id, **{use: False})
                sample = self.degraded(node, "version_lacking", 1, "hsm-b",
                                       "KEK version 1 %s on provider hsm-a and not on hsm-b" % in_words)
                self.assertEqual(client.status().healthz, "ok")
                p11.set_attributes(node.twin, kek_id, **{use: True})
                self.mended(node, sample)
            node.stop()

    def test_a_twin_with_a_v1_of_its_own(self):
        node = self.pair()
        with node.client() as client:
            kek_id = client.encrypt(DEK).ciphertext[8:24]
            node.twin.tool("--delete-object", "--type", "secrkey", "--id", kek_id.hex())
            p11.plant(node.twin, "k8s-test.v1", os.urandom(16))
            what = "hsm-[ab] and hsm-[ab] each have a v1 of their own"
            self.degraded(node, "two_keys", 1, "", what)
            node.wait_log("warn: to be mended: " + what)
            self.assertEqual(client.status().healthz, "ok")
        node.stop()

    def test_a_replica_with_another_key(self):
        node = self.pair()
        with node.client() as client:
            kek_id = client.encrypt(DEK).ciphertext[8:24]
            node.twin.tool("--delete-object", "--type", "secrkey", "--id", kek_id.hex())
            p11.plant(node.twin, "k8s-test.v1", kek_id)
            node.wait_log("provider hsm-b holds a different key under the name of version 1")
            what = "every worker of provider hsm-b uses a different key under the name of KEK version 1"
            self.degraded(node, "wrong_key", 1, "hsm-b", what)
            self.assertEqual(client.status().healthz, "ok")
        node.stop()


if __name__ == "__main__":
    rigs.main()
