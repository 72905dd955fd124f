"""A failure of each call of a start: the start after it works, and a refused PIN is tried once in all."""

import os
import signal
import time

import rig as rigs
from grpc import RpcError

from failing import AWAY, DEK, NODES, PIN, SERVING, STARTING, FaultCase, doings, name_of, node_client

ENCRYPTING = SERVING["encrypt"]  # at a start by that strategy


class Starting(FaultCase):
    @staticmethod
    def logins(node):
        return node.fault.counts()["C_Login"]

    def once(self, node, function, what):
        node.fault.put("%s 1 %s" % (function, what))
        node.start()
        rigs.wait_for(node.fault.done, "the fault to happen")
        self.recovers(node)
        node.stop()

    def test_a_start_survives_a_failure_of_any_call(self):
        nodes = [self.node(processes=1) for _ in range(NODES)]
        what = [what for what in doings() if name_of(what) not in PIN]
        picked = [item for item in what if name_of(item) in (
            "DEVICE_REMOVED", "GENERAL_ERROR", "SESSION_HANDLE_INVALID", "segv", "hang")]
        self.work_through([(function, item) for item in picked for function in STARTING], nodes,
                          self.once)
        nodes += [self.node(processes=1, strategy="encrypt")]
        self.work_through([(function, item) for item in picked for function in ENCRYPTING], nodes[-1:],
                          self.once)
        for node in nodes:
            self.end(node)

    def test_a_first_try_that_fails_is_no_outage(self):
        node = self.node(processes=1)
        node.start()
        node.close_clients()
        node.stop()
        node.fault.put("C_GetTokenInfo 1 rv 5")
        begun = time.monotonic()
        node.spawn().serving()
        said = set()
        with node_client(node) as client:
            def seals():
                healthz = client.status().healthz
                if time.monotonic() - begun < 1:  # later it may be one, on a busy machine
                    said.add(healthz)
                try:
                    return node.fault.done() and client.encrypt(DEK, timeout=0.2)
                except RpcError:
                    return False
            rigs.wait_for(seals, "kekd to seal")
        self.assertLessEqual(said, {"ok"})
        self.end(node)

    def always(self, node, function, what):
        node.fault.put("%s every %s" % (function, what))
        node.spawn().serving()
        rigs.wait_for(node.fault.done, "the fault to happen")
        with node_client(node, timeout=2) as client:
            try:
                client.encrypt(DEK)
                good = True
            except RpcError as error:
                good = False
                if error.code() not in AWAY:
                    return "Encrypt: %s" % error
        if good and function not in ("C_GetMechanismList", "C_DestroyObject"):
            return "it works all the same"
        self.recovers(node)
        node.stop()
        return None

    def test_kekd_serves_and_mends_itself_when_no_start_works(self):
        nodes = [self.node(processes=1) for _ in range(NODES)]
        self.work_through([(function, what) for what in ("rv 32", "abort") for function in STARTING
                           if function != "C_DestroyObject" or what == "rv 32"],
                          nodes, self.always)
        for node in nodes:
            self.end(node)

    def test_a_token_with_too_few_sessions_is_warned_of_once(self):
        node = self.node()
        node.config["log"] = {"level": "info"}
        node.write()
        node.fault.put("C_GetTokenInfo every sessions 8")
        node.start()
        node.wait_log(r"provider hsm-a: the token allows 8 sessions, and kekd opens up to 9, \(processes")
        before = node.workers()
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        rigs.wait_for(lambda: len(set(node.workers()) - set(before)) == 2, "two new workers")
        node.good()
        self.assertEqual(node.log().count("the token allows"), 1)
        node.stop()
        # What it does not say, or what suffices, is no warning.
        for allowed in ("", "C_GetTokenInfo every sessions 9"):
            node.fault.put(*filter(None, [allowed]))
            node.start()
            node.stop()
        self.assertEqual(node.log().count("the token allows"), 1)
        self.end(node)

    def pin(self, node, what):
        node.fault.put("C_Login every " + what)
        node.spawn().serving()
        rigs.wait_for(lambda: os.listdir(node.state) and any(
            "pin-refused" in name for name in os.listdir(node.state)), "the refusal on record")
        with node_client(node, timeout=2) as client:
            for _ in range(3):
                try:
                    client.encrypt(DEK)
                    return "an Encrypt without a login"
                except RpcError as error:
                    if error.code() not in AWAY:
                        return "Encrypt: %s" % error
        node.kekctl("key", "list")
        node.stop()
        node.spawn().serving()
        time.sleep(0.5)
        if self.logins(node) != 1:
            return "%d logins" % self.logins(node)
        node.fault.put()
        with open(node.token.pin_file, "w", encoding="ascii") as file:
            file.write(node.token.pin + "\n")
        node.stop()
        node.start()
        if self.logins(node) < 1:
            return "no login with a changed PIN file"
        self.recovers(node)
        node.stop()
        return None

    def test_a_refused_pin_is_tried_once_in_all(self):
        nodes = [self.node(processes=2) for _ in PIN]
        self.work_through([("rv %x" % code,) for code in PIN.values()], nodes, self.pin)
        for node in nodes:
            self.end(node)


if __name__ == "__main__":
    rigs.main()
