"""Workers that die, hang or cannot come back: calls do not notice."""

import os
import signal
import threading
import time

import h2
import rig as rigs
from grpc import RpcError

DEK = bytes(range(32))
STRICT = {"data_key": {"max_uses": 1}}


class Load:
    """Strict-mode traffic, every call an HSM operation; failures are kept."""

    def __init__(self, node, threads=4):
        self.node, self.failures, self.done = node, [], 0
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self.run) for _ in range(threads)]

    def run(self):
        with rigs.kms.Client(self.node.socket, timeout=30) as client:
            while not self.stop.is_set():
                try:
                    if client.open(client.encrypt(DEK)) != DEK:
                        self.failures.append("wrong plaintext")
                    if client.decrypt1(client.encrypt1(DEK)) != DEK:
                        self.failures.append("wrong plaintext")
                    self.done += 4
                except RpcError as error:
                    self.failures.append("%s: %s" % (error.code(), error.details()))

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        self.more(20)
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def more(self, calls):
        """Waits until so many more calls have succeeded."""
        until = self.done + calls
        rigs.wait_for(lambda: self.done >= until or self.failures, "%d more calls" % calls)


class Workers(rigs.Case):
    def two(self, node):
        """Both workers are there and one of them is new."""
        return rigs.wait_for(lambda: len(node.workers()) == 2 and node.workers(), "two workers")

    def test_workers_killed_under_load_fail_no_call(self):
        node = self.rig(config=STRICT, provider={"processes": 2}).start()
        self.two(node)
        with Load(node) as load:
            for _ in range(8):
                node.token.kill(self.two(node)[:1])
                load.more(60)
                time.sleep(0.1)
        self.assertEqual(load.failures, [])
        node.stop()

    def test_the_only_worker_killed_under_load_fails_no_call(self):
        node = self.rig(config=STRICT, provider={"processes": 1}).start()
        with Load(node) as load:
            for _ in range(3):
                node.token.kill(rigs.wait_for(node.workers, "a worker"))
                load.more(60)
                time.sleep(0.2)
        self.assertEqual(load.failures, [])
        node.stop()

    def test_a_hung_worker_fails_no_call_and_is_replaced(self):
        node = self.rig(config=STRICT, provider={"processes": 2, "timeout": "500ms"}).start()
        with Load(node) as load:
            for _ in range(2):
                hung = self.two(node)[0]  # the older one
                os.kill(hung, signal.SIGSTOP)
                rigs.wait_for(lambda hung=hung: hung not in node.workers(), "the hung worker to be killed")
                self.two(node)
                load.more(60)
        self.assertEqual(load.failures, [])
        node.stop()

    def test_a_lasting_outage_is_seen_by_operators_and_not_by_the_api_server(self):
        node = self.rig(config={"metrics": rigs.own_address()}).start()
        rigs.wait_for(lambda: node.page("/readyz")[0] == 200, "/readyz to be good")
        client = node.client()
        key_id = client.status().key_id
        sealed = [client.encrypt(os.urandom(32)) for _ in range(5)]
        cipher = client.encrypt1(b"ping")
        with node.token.away():
            for worker in node.workers():
                rigs.kill(worker)
            end = time.monotonic() + 3
            while time.monotonic() < end:
                status = client.status()
                self.assertEqual((status.healthz, status.key_id), ("ok", key_id))
                client.open(client.encrypt(DEK))
                for item in sealed:
                    client.open(item)
                self.assertEqual(client.decrypt1(cipher), b"ping")
                time.sleep(0.1)
            rigs.wait_for(lambda: node.page("/readyz")[0] == 503, "/readyz to say so")
            self.assertEqual(node.page("/healthz")[0], 200)
            node.wait_log("outage")
        # And the node mends itself: a call that needs the HSM works again.
        with node.client() as fresh:
            other = self.rig(token=node.token, generate=False).start()
            with other.client() as stranger:
                foreign = stranger.encrypt(DEK)

            def opens():
                try:
                    return fresh.open(foreign) == DEK
                except RpcError:
                    return False
            rigs.wait_for(opens, "the HSM to be used again")
            rigs.wait_for(lambda: node.page("/readyz")[0] == 200, "/readyz to be good again")
            other.stop()
        node.stop()

    def test_an_outage_past_its_grace_makes_status_say_so_with_the_same_key_id(self):
        node = self.rig(config={"health": {"grace": "1s"}}).start()
        client = node.client()
        key_id = client.status().key_id
        with node.token.away():
            for worker in node.workers():
                rigs.kill(worker)
            text = rigs.wait_for(lambda: client.status().healthz != "ok" and client.status().healthz,
                                 "healthz to say that the HSM is away")
            self.assertLess(len(text), 200)
            self.assertNotIn("\n", text)
            self.assertNotIn(node.folder, text)
            self.assertEqual(client.status().key_id, key_id)
            # What can still be served is served.
            self.assertEqual(client.open(client.encrypt(DEK)), DEK)
        rigs.wait_for(lambda: client.status().healthz == "ok", "healthz to be ok again")
        self.assertEqual(client.status().key_id, key_id)
        node.stop()

    def test_strict_mode_has_no_grace(self):
        # It cannot serve Encrypt without the HSM, and must not say that it can.
        node = self.rig(config=STRICT).start()
        client = node.client()
        with node.token.away():
            for worker in node.workers():
                rigs.kill(worker)
            rigs.wait_for(lambda: client.status().healthz != "ok", "healthz to say that the HSM is away")
            with self.assertRaises(RpcError):
                client.encrypt(DEK, timeout=2)
        rigs.wait_for(lambda: client.status().healthz == "ok", "healthz to be ok again")
        self.assertEqual(client.open(client.encrypt(DEK)), DEK)
        node.stop()

    def test_a_calls_deadline_holds_while_the_hsm_hangs(self):
        node = self.rig(config=STRICT, provider={"processes": 1, "timeout": "60s",
                                               "start_timeout": "120s"}).start()
        client = node.client()
        worker, = node.workers()
        rigs.freeze(worker)
        self.refused(rigs.grpc.StatusCode.DEADLINE_EXCEEDED, client.encrypt, DEK, timeout=0.5)
        with h2.Peer(node.socket) as peer:  # which has no clock: it is kekd that ends the call
            peer.open(1, "/v2.KeyManagementService/Encrypt", client.encrypt_request(DEK), grpc_timeout="500m")
            self.assertEqual(peer.done(1).status, rigs.grpc.StatusCode.DEADLINE_EXCEEDED.value[0])
        # Status and cancelled calls do not wait for the HSM.
        calls = [client.begin("/v2.KeyManagementService/Encrypt", client.encrypt_request(DEK), timeout=30)
                 for _ in range(50)]
        client.status()  # they are on the wire: C-core resets even what it has not sent
        for call in calls:
            call.cancel()
        self.assertTrue(client.status().key_id)
        os.kill(worker, signal.SIGCONT)
        self.assertEqual(client.open(client.encrypt(DEK)), DEK)
        node.stop()

    def test_two_providers_stand_in_for_each_other(self):
        # The same KEK on two tokens, as an HA pair has it: a copy of the token's folder.
        node = self.rig(config=STRICT)
        twin = rigs.Twin(node.token, node.folder + "/twin")
        node.config["providers"].append(dict(node.provider("hsm-b", twin)))
        node.write()
        node.start()
        with Load(node, threads=2) as load:
            node.token.unplug()
            for worker in node.workers()[:2]:
                rigs.kill(worker)
            load.more(100)
            node.token.plug()
            load.more(100)
        self.assertEqual(load.failures, [])
        node.stop()


if __name__ == "__main__":
    rigs.main()
