"""One verdict: Status, /readyz, the metrics, the log and the service manager say the same of the same trouble."""

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
        rigs.wait_for(lambda: node.metrics()['kekd_hsm_workers_ready{provider="hsm-a"}'] > 0, "a worker")
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


if __name__ == "__main__":
    rigs.main()
