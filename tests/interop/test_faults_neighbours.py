"""What others have beside kekd's key costs kekd nothing: their keys, many or sick, and their tokens."""

import os
import re
import signal
import subprocess
import time

import fault as faults
import p11
import rig as rigs

from failing import Calls, FaultCase, node_client


class Neighbours(FaultCase):
    """A token that is shared with others."""

    def test_many_keys_on_a_slow_token_end_no_worker(self):
        # A list of them all would take longer than kekd waits for one, ten times `timeout`; a call takes a fifth of what
        # it may.  And no start takes so many refreshes that a fresh worker looks and takes another's place.
        node = self.rig(generate=False, config={"data_key": {"max_uses": 1}, "refresh": "2s"},
                        provider={"processes": 2, "sessions": 2, "timeout": "250ms",
                                  "start_timeout": "30s"})
        p11.plant(node.token, "tenant.v1", os.urandom(16))
        node.token.multiply_key(299)
        node.kekctl("key", "generate", check=True)
        node.fault = faults.inject(node)
        self.addCleanup(node.fault.close)
        node.fault.put("* every delay 10")
        node.start()
        rigs.wait_for(lambda: len(node.workers()) == 2, "two workers")
        with node_client(node) as client:
            calls = Calls(client)
            rigs.wait_for(lambda: calls.round() or calls.sealed, "something sealed")
            first, calls = node.workers()[:2], Calls(client)
            end = time.monotonic() + 6  # some looks
            while time.monotonic() < end:
                calls.round()
            self.assertEqual((calls.statuses, calls.wrong), ([], []))
            self.assertEqual(node.workers()[:2], first)  # a fresh one may look beside them, and ends again
        node.fault.put()
        node.stop()

    def test_a_foreign_key_that_cannot_be_read_is_named_once_by_each_worker(self):
        node = self.node(processes=2, recycle_memory="64GiB")
        node.config["log"] = {"level": "info"}
        p11.plant(node.token, "sick tenant", os.urandom(16))
        node.write()
        node.fault.put("C_GetAttributeValue every sick 30")
        node.log_to_journal()
        node.start()
        with node_client(node) as client:
            calls = Calls(client)
            end = time.monotonic() + 4
            while time.monotonic() < end:
                calls.round()
            self.assertEqual((calls.statuses, calls.wrong), ([], []))
        named = re.findall(r"\n<4>.*a key on the token cannot be read and is passed over.*", node.log())
        self.assertEqual(len(named), 2, named)
        self.assertIn("C_GetAttributeValue: CKR_DEVICE_ERROR (0x30)", named[0])
        self.end(node)

    @staticmethod
    def slot_of(node, label):
        shown = subprocess.run(["softhsm2-util", "--show-slots"], check=True, stdout=subprocess.PIPE, text=True,
                               env={**os.environ, "SOFTHSM2_CONF": node.token.conf}).stdout
        return re.search(r"^Slot (\d+)$(?:(?!^Slot).)*?Label: +%s *$" % label, shown, re.M | re.S).group(1)

    def test_a_neighbours_slot_that_hangs_keeps_no_worker_from_starting(self):
        node = self.node()
        node.config["metrics"] = rigs.own_address()
        node.write()
        subprocess.run(["softhsm2-util", "--init-token", "--free", "--label", "neighbour", "--so-pin", "12345678",
                        "--pin", "1234"], check=True, stdout=subprocess.DEVNULL,
                       env={**os.environ, "SOFTHSM2_CONF": node.token.conf})
        node.start()
        dead = self.slot_of(node, "neighbour")
        hangs = ["%s@%s every hang" % (function, dead) for function in ("C_GetSlotInfo", "C_GetTokenInfo")]
        with node_client(node) as client:
            calls = Calls(client)
            for _ in range(2):
                rigs.wait_for(lambda: node.metric("kekd_hsm_workers_ready") == 2, "both workers")
                node.fault.put(*hangs)
                before = node.workers()
                for pid in before:
                    os.kill(pid, signal.SIGKILL)
                calls.round()
                rigs.wait_for(lambda old=before: len(set(node.workers()) - set(old)) == 2, "two new workers")
            self.assertEqual((calls.statuses, calls.wrong), ([], []))
        node.stop()
        # A kekd that starts meanwhile, and kekctl, know of no place: the configuration has to say it.
        entry = node.config["providers"][0]
        entry["uri"] = entry["uri"].replace("?", ";slot-id=%s?" % self.slot_of(node, "kek-test"), 1)
        node.write()
        node.start()
        node.kekctl("key", "list", check=True)
        self.assertEqual(node.fault.done(), 0)
        node.stop()
        self.end(node)


if __name__ == "__main__":
    rigs.main()
