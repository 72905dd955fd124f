"""What traffic costs the HSM, counted twice: by kekd's own metrics, and by OpenSC's pkcs11-spy, which
sits between the worker and the token and knows nothing of kekd."""

import json
import os
import signal
import time

import rig as rigs
from grpc import RpcError, StatusCode

QUIET = {"health": {"probe_interval": "1h"}, "refresh": "1h", "log": {"level": "info"}}
QUIET_FOR = 1.0  # s, in which a start that is not over yet would have asked the token for something
WRAPS, UNWRAPS = "kekd_datakey_wraps_total", "kekd_datakey_unwraps_total"


def many(client, path, requests, at_once=64):
    """Answers of all requests, with so many calls under way."""
    answers, running = [], []
    for request in requests:
        if len(running) == at_once:
            answers.append(running.pop(0).result())
        running.append(client.begin(path, request, timeout=60))
    return answers + [call.result() for call in running]


class Cost(rigs.Case):
    def start(self, data_key, **provider):
        # A successor of a worker that grew (under a sanitizer all do) would prove its keys at the token.
        node = self.rig(spy=True,
                        provider={"processes": 1, "sessions": 2, "recycle_memory": "64GiB",
                                  "timeout": "60s", "start_timeout": "120s", **provider},
                        config=dict(QUIET, data_key=data_key, metrics=rigs.own_address()))
        node.start()
        # The start's own proofs are over once nothing moves any more.
        self.settle(node)
        return node

    def settle(self, node):
        last, since = (), time.monotonic()

        def quiet():
            nonlocal last, since
            now = (node.spy.size(), node.metric("kekd_hsm_calls_running"), node.metric("kekd_hsm_queue_length"),
                   node.metric("kekd_datakey_flights"))
            if now != last or any(now[1:]):
                last, since = now, time.monotonic()
            return time.monotonic() - since > QUIET_FOR
        rigs.wait_for(quiet, "the token to become quiet")

    def counted(self, node):
        return (node.spy.count("C_WrapKey"), node.spy.count("C_UnwrapKey"),
                node.metric(WRAPS), node.metric(UNWRAPS))

    def cost(self, node, before):
        return [now - then for now, then in zip(self.counted(node), before)]

    def test_wraps_by_aes_gcm_are_counted(self):
        node = self.rig(provider={"strategy": "encrypt"}, config=dict(QUIET, data_key={"max_uses": 1}))
        path = node.state + "/k8s-test.json"

        def recorded():
            with open(path, encoding="utf-8") as file:
                return json.load(file)["versions"][0]["gcm_wraps"]
        for least in (1, 2):
            node.start()
            with node.client() as client:
                self.assertEqual(client.open(client.encrypt(bytes(32))), bytes(32))
            rigs.wait_for(lambda: recorded() >= least, "the wrap to be on record")  # pylint: disable=cell-var-from-loop
            node.stop()
        with open(path, encoding="utf-8") as file:
            text = file.read().replace('"gcm_wraps": %d' % recorded(), '"gcm_wraps": %d' % (1 << 28))
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        node.start()
        with node.client() as client:
            client.encrypt(bytes(32))
        node.wait_log(r"version 1 has wrapped more than 2\^28 data keys")

    def test_default_ten_thousand_encrypts_cost_a_handful_of_wraps(self):
        node = self.start({})
        client = node.client()
        before = self.counted(node)
        answers = many(client, "/v2.KeyManagementService/Encrypt",
                       (client.encrypt_request(os.urandom(32)) for _ in range(10000)))
        self.assertEqual(len(answers), 10000)
        wraps, unwraps, own_wraps, own_unwraps = self.cost(node, before)
        self.assertLessEqual(wraps, 3)
        self.assertLessEqual(unwraps, 2 * wraps)  # the data key's verification, the handle's
        self.assertLessEqual(own_wraps, 3)
        self.assertLessEqual(own_unwraps, 3)
        node.stop()

    def test_default_cold_start_with_ten_thousand_v1_ciphers_costs_a_handful_of_unwraps(self):
        node = self.start({})
        client = node.client()
        v1 = "/v1beta1.KeyManagementService/"
        plain = os.urandom(32)
        sealed = many(client, v1 + "Encrypt",
                      (rigs.kms.field(1, "v1beta1") + rigs.kms.field(2, plain) for _ in range(10000)))
        ciphers = [rigs.kms.one(rigs.kms.fields(answer), 1) for answer in sealed]
        node.close_clients()
        node.stop()
        node.start()
        self.settle(node)
        client = node.client()
        before = self.counted(node)
        opened = many(client, v1 + "Decrypt",
                      (rigs.kms.field(1, "v1beta1") + rigs.kms.field(2, cipher) for cipher in ciphers))
        self.assertTrue(all(rigs.kms.one(rigs.kms.fields(answer), 1) == plain for answer in opened))
        wraps, unwraps, own_wraps, own_unwraps = self.cost(node, before)
        self.assertLessEqual(unwraps, 10)
        self.assertLessEqual(own_unwraps, 10)
        self.assertGreaterEqual(own_unwraps, 1)
        self.assertLessEqual(wraps, 3)
        self.assertLessEqual(own_wraps, 3)
        node.stop()

    def test_what_is_damaged_is_asked_of_the_token_once_however_often_it_is_asked_for(self):
        node = self.start({"max_uses": 100})
        client = node.client()
        sealed = client.encrypt(bytes(32))
        node.close_clients()
        node.stop()
        node.start()  # its data key is no longer cached
        self.settle(node)
        client = node.client()
        for at in (40, len(sealed.ciphertext) - 1):  # in the wrapped data key, in the tag
            bent = bytearray(sealed.ciphertext)
            bent[at] ^= 1
            before = self.counted(node)
            for _ in range(20):
                with self.assertRaises(RpcError) as refused:
                    client.decrypt(bytes(bent), sealed.key_id, sealed.annotations)
                self.assertEqual(refused.exception.code(), StatusCode.INVALID_ARGUMENT)
            # An unwrap; where the token calls the wrap bad by a general error, that is tried twice, with a known
            # answer after each, and the worker is checked.
            self.assertLessEqual(self.cost(node, before)[1], 5)
            self.assertEqual(self.cost(node, before)[3], 1)
        self.assertIn("the ciphertext is damaged: hsm-a: C_UnwrapKey", node.log())
        self.assertEqual(client.open(sealed), bytes(32))
        node.stop()

    def test_an_idle_token_is_probed_each_interval_though_its_keys_are_listed_more_often(self):
        node = self.rig(spy=True, provider={"processes": 1, "sessions": 2, "recycle_memory": "64GiB"},
                        config={"health": {"probe_interval": "2s"}, "refresh": "1s"})
        node.start()
        before = node.spy.count("C_WrapKey"), node.spy.count("C_UnwrapKey")
        rigs.wait_for(lambda: node.spy.count("C_WrapKey") >= before[0] + 4 and
                      node.spy.count("C_UnwrapKey") >= before[1] + 4, "probes")
        node.stop()

    def test_strict_each_call_is_exactly_one_operation(self):
        node = self.start({"max_uses": 1})
        client = node.client()
        count = 500
        before = self.counted(node)
        sealed = [rigs.kms.Encrypted(answer) for answer in
                  many(client, "/v2.KeyManagementService/Encrypt",
                       (client.encrypt_request(b"%032d" % number) for number in range(count)))]
        wraps, unwraps, own_wraps, own_unwraps = self.cost(node, before)
        self.assertEqual((wraps, own_wraps, own_unwraps), (count, count, 0))
        self.assertGreaterEqual(unwraps, 1)
        self.assertLessEqual(unwraps, count)
        before = self.counted(node)
        opened = many(client, "/v2.KeyManagementService/Decrypt",
                      (client.decrypt_request(item.ciphertext, item.key_id, item.annotations)
                       for item in sealed))
        self.assertEqual([rigs.kms.one(rigs.kms.fields(answer), 1) for answer in opened],
                         [b"%032d" % number for number in range(count)])
        self.assertEqual(self.cost(node, before), [0, count, 0, count])
        # The same one again is again one: nothing was kept.
        before = self.counted(node)
        for _ in range(5):
            client.open(sealed[0])
        self.assertEqual(self.cost(node, before), [0, 5, 0, 5])
        node.stop()

    def test_strict_one_opening_of_its_witness_proves_the_many_wraps_of_a_busy_worker(self):
        node = self.start({"max_uses": 1})
        client = node.client()
        count = 200
        before = self.counted(node)
        worker, = node.workers()
        rigs.freeze(worker)  # until it has so much to do, however slow this client is
        calls = [client.begin("/v2.KeyManagementService/Encrypt", client.encrypt_request(b"x" * 32), timeout=60)
                 for _ in range(count)]
        client.status()
        os.kill(worker, signal.SIGCONT)
        for call in calls:
            call.result()
        wraps, unwraps = self.cost(node, before)[:2]
        self.assertEqual(wraps, count)
        self.assertGreaterEqual(unwraps, 1)
        self.assertLessEqual(unwraps, count / 4)
        node.stop()

    def test_strict_encrypt_that_comes_alone_is_one_message_to_its_worker(self):
        node = self.start({"max_uses": 1})
        client = node.client()
        client.encrypt(b"x" * 32)
        before, asked = self.counted(node), node.metric("kekd_hsm_operations_total")
        for _ in range(20):
            client.encrypt(b"x" * 32)
        # The worker opens its witness in the same go: one wrap and one unwrap for the token.
        self.assertEqual(self.cost(node, before), [20, 20, 20, 0])
        self.assertEqual(node.metric("kekd_hsm_operations_total") - asked, 20)
        node.stop()

    def test_strict_calls_that_are_given_up_never_reach_the_token(self):
        node = self.start({"max_uses": 1})
        client = node.client()
        before = self.counted(node)
        worker, = node.workers()
        rigs.freeze(worker)
        calls = [client.begin("/v2.KeyManagementService/Encrypt", client.encrypt_request(b"x" * 32), timeout=60)
                 for _ in range(200)]
        client.status()
        for call in calls[:100]:
            call.cancel()
        client.status()
        os.kill(worker, signal.SIGCONT)
        for call in calls[100:]:
            call.result()
        # Two sessions: two calls at most were at the worker already.
        wraps = self.cost(node, before)[0]
        self.assertGreaterEqual(wraps, 100)
        self.assertLessEqual(wraps, 102)
        node.stop()


if __name__ == "__main__":
    rigs.main()
