"""What a library shows is not always what is there: processes that see nothing, or only what was there first;
keys of the same name, copies, and one key listed twice; a key that lost a use.  Service goes on by what is right."""

import contextlib
import json
import os
import re
import shutil
import time

import p11
import rig as rigs
import swap
from grpc import RpcError, StatusCode

SHOWN = 60.0  # s, until a new version must be seen though the library caches, with a `refresh` of 1 s
LOOKS = 3  # refreshes, in which a fault has its time
BLIND = "every blind 0"
DEK = bytes(range(32))


def told(node, pattern):
    """By a warning or an error that is not about one call."""
    return [line for line in node.log().splitlines()
            if re.search(" (warn|error): ", line) and "status=" not in line and re.search(pattern, line)]


class Views(swap.Case):
    def served(self, node, seconds=LOOKS * swap.LOOK, allowed=(), restart=True):
        """[what is wrong]: traffic goes on, Status is ok with one key_id, and a fresh kekd opens it all."""
        said, allowed = set(), set(allowed)
        with swap.Traffic(node.socket) as load, node.client(timeout=2) as client:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                try:
                    status = client.status()
                    said.add("%s with %s" % (status.healthz, status.key_id))
                except RpcError as error:
                    said.add("%s: %s" % (error.code().name, error.details()))
                time.sleep(0.02)
            before = load.done
            with contextlib.suppress(AssertionError):
                rigs.wait_for(lambda: load.done > before + 10, "more calls", swap.GAP)
            stuck = load.done <= before + 10
        found = ["Status said %s" % sorted(said)] if len(said) != 1 or "ok with" not in min(said) else []
        found += ["no service in the end"] if stuck else []
        if restart:
            return found + self.judge(node, load, allowed)
        failed = swap.counted(["%s: %s" % (failure.code, failure.details) for failure in load.failures])
        return found + load.wrong + ["failed: %s" % failed[:4]] * bool(load.codes() - allowed)


class Blind(Views):
    """A library that shows no key to a process once, and then for ever."""

    def blinded(self, what, mode):
        node = self.node(mode).start()
        old, young = node.workers()
        lines, killed = {
            "who starts within a blip": (["C_Initialize 1 blind 0"], [old]),
            "all that start": (["C_Initialize " + BLIND], [old]),
            "one that runs": (["C_FindObjects 1 blind 0 proc=0"], []),
            "both that run": (["C_FindObjects %s pid=%d" % (BLIND, pid) for pid in (old, young)], []),
            "one that runs, and all that start": (
                ["C_FindObjects 1 blind 0 proc=0", "C_Initialize " + BLIND], []),
        }[what]
        node.fault.put(*lines)
        for pid in killed:
            node.token.kill([pid])
        rigs.wait_for(node.fault.done, "the blindness")
        return self.served(node, 2 * LOOKS * swap.LOOK)

    def test_what_some_do_not_see_is_no_loss_while_others_open_it(self):
        self.all_good(self.blinded, [(what, mode) for mode in ("strict", "20 uses") for what in (
            "who starts within a blip", "all that start", "one that runs", "both that run",
            "one that runs, and all that start")])

    def started(self, line, mode):
        node = self.node(mode)
        node.fault.put(line)
        node.spawn().good()
        return self.served(node, allowed=swap.AWAY)

    def test_a_start_at_which_some_see_nothing(self):
        self.all_good(self.started, [(line, mode) for mode in ("strict", "20 uses") for line in (
            "C_Initialize every blind 0 proc=odd", "C_Initialize 1 blind 0", "C_FindObjects every blind 0 proc=even")])

    def unfit(self, line, processes):
        """By all that is tried with the key in one process's start. A refresh would be too late."""
        node = self.node("20 uses", config={"refresh": "5m"}, processes=processes)
        node.fault.put(line)
        node.spawn().serving()
        said, end = set(), time.monotonic() + rigs.PATIENCE
        with node.client(timeout=2) as client:
            while "OK" not in said and time.monotonic() < end:
                try:
                    said.add("OK" if client.status().healthz == "ok" else "healthz")
                except RpcError as error:
                    said.add(error.code().name)
        return self.served(node, 0.5) + ["Status said %s" % sorted(said)] * ("FAILED_PRECONDITION" in said or "OK" not in said)

    def test_a_start_that_finds_the_key_unfit_is_no_loss(self):
        self.all_good(self.unfit, [("C_WrapKey every rv 70 proc=1", 1), ("C_WrapKey every rv 70 proc=1", 2),
                                   ("C_WrapKey every wrongkey 1 proc=odd", 2)])

    def gone(self, mode):
        """The key is gone for all: that is still told, and ends when it is back."""
        node = self.node(mode).start()
        node.fault.put("C_FindObjects " + BLIND, "C_WrapKey every rv 60", "C_UnwrapKey every rv 60")
        with node.client(timeout=2) as client:
            def lost():
                try:
                    client.status()
                except RpcError as error:
                    return error.code() == StatusCode.FAILED_PRECONDITION
                return False
            rigs.wait_for(lost, "the loss to be told", 4 * swap.WORDS)
        self.mends(node)
        return self.served(node)

    def test_what_nobody_sees_or_uses_is_a_loss_until_it_is_back(self):
        self.all_good(self.gone, [("strict",), ("20 uses",)])


class Caching(Views):
    """A library whose processes know for ever what they found first."""

    def caching(self, refresh="1s", **options):
        node = self.node(config={"settle": "0s", "refresh": refresh, "data_key": {"max_uses": 20}}, **options)
        node.fault.put("C_Initialize every caching")
        return node

    def test_a_new_version_is_announced(self):
        node = self.caching().start()
        with node.client() as client, swap.Traffic(node.socket) as load:
            first, at = client.status().key_id, time.monotonic()
            p11.plant(node.token, "k8s-test.v2", os.urandom(16))
            rigs.wait_for(lambda: client.status().key_id != first, "version 2 to be announced", SHOWN)
            print("a caching library's new version was announced after %.1f s" % (time.monotonic() - at), flush=True)
            second, end = client.status().key_id, time.monotonic() + LOOKS * swap.LOOK
            while time.monotonic() < end:
                self.assertEqual(client.status().key_id, second)
                time.sleep(0.05)
        self.assertEqual(load.failures, [])
        self.assertEqual(self.judge(node, load), [])

    def test_the_first_key_is_seen_by_who_started_before_it(self):
        node = self.caching(record=False, generate=False)
        node.spawn().serving()
        with node.client() as client:
            rigs.wait_for(lambda: len(node.workers()) == 2 and node.fault.counts()["C_FindObjects"] > 2, "a look")
            self.refused(StatusCode.UNAVAILABLE, client.status)
            node.kekctl("key", "generate", check=True)
            at = time.monotonic()
            node.good()
            print("the first key was seen after %.1f s" % (time.monotonic() - at), flush=True)
            self.assertEqual(client.open(client.encrypt(DEK)), DEK)
        node.stop()

    def test_another_nodes_newer_version_opens(self):
        node = self.caching(refresh="1h").start()
        p11.plant(node.token, "k8s-test.v2", os.urandom(16))
        other = self.rig(token=node.token, generate=False, config={"settle": "0s"}).start()
        with other.client() as there, node.client() as here:
            sealed = there.encrypt(DEK)
            other.stop()
            self.assertNotEqual(sealed.key_id, here.status().key_id)
            codes, at = [], time.monotonic()
            while time.monotonic() < at + 12:
                try:
                    self.assertEqual(here.open(sealed), DEK)
                    break
                except RpcError as error:
                    codes.append(error.code().name)
                    time.sleep(0.2)
            else:
                self.fail("it did not open: %s" % swap.counted(codes))
            print("another node's version was opened after %.1f s" % (time.monotonic() - at), flush=True)
            self.assertNotIn("INVALID_ARGUMENT", codes)
        node.stop()


class Namesakes(Views):
    """Keys beside the primary that look like it."""

    def keygen(self, node):
        node.token.tool("--keygen", "--key-type", "AES:16", "--label", "k8s-test.v1", "--id", "01")

    def fit(self, node):
        p11.plant(node.token, "k8s-test.v1", os.urandom(16))

    def same_id(self, node):
        """Another key, under the primary's own label and CKA_ID, beside it."""
        p11.plant(node.token, "k8s-test.v1", node.before[0].ciphertext[8:24])

    def imported(self, node):
        """Under the primary's own CKA_ID, and no fit KEK."""
        p11.plant(node.token, "backup", node.before[0].ciphertext[8:24], value=os.urandom(32))

    def copy(self, node):
        """A restore that appended; a key elsewhere makes the processes that run look again."""
        store = os.path.join(node.token.folder, "tokens")
        store = os.path.join(store, os.listdir(store)[0])
        kek, = [name for name in os.listdir(store) if name.endswith(".object") and name != "token.object"]
        shutil.copy2(os.path.join(store, kek), os.path.join(store, "0" + kek))
        p11.plant(node.token, "other", os.urandom(16))

    def listed_twice(self, node):
        node.fault.put("C_FindObjects every repeat")

    # How many rows of version 1 the list has in the end; 0: as it was.
    KINDS = {"keygen": 2, "fit": 2, "same_id": 2, "imported": 0, "copy": 2, "listed_twice": 1}

    def beside(self, kind, mode):
        node = self.node(mode).start()
        with node.client() as client:
            key_id = client.status().key_id
        getattr(self, kind)(node)
        found = self.served(node, restart=False)
        rows = self.KINDS[kind]
        listed = json.loads(node.kekctl("key", "list", "--output", "json").stdout)["versions"]
        ones = [entry for entry in listed if entry["version"] == 1]
        if rows and len(ones) != rows:
            found.append("key list shows %s" % ones)
        if rows == 2 and not told(node, r"k8s-test\.v1|version 1\b"):
            found.append("the log does not say it")
        for run in range(2):  # over restarts; what is cached, and what is not
            node.close_clients()
            node.stop()
            node.spawn().good()
            with node.client() as client:
                if client.status().key_id != key_id:
                    found.append("another key_id after restart %d" % run)
            lost = swap.open_all(node, node.before * 2)
            found += ["after restart %d: %s" % (run, swap.counted(lost))] * bool(lost)
            found += self.served(node, 1.0, restart=run == 1)
        return found

    def test_a_key_beside_the_primary_harms_nothing(self):
        self.all_good(self.beside, [(kind, mode) for mode in ("strict", "20 uses") for kind in self.KINDS])


class Uses(Views):
    """The primary loses a use on the token, and gets it back."""

    def unwrapped(self, mode, caching):
        node = self.node(mode, sessions=4)
        if caching:
            node.fault.put("C_Initialize every caching")
        node.start()
        kek_id, found = node.before[0].ciphertext[8:24], []
        p11.set_attributes(node.token, kek_id, wrap=False)

        def encrypt(client):
            """(Its status, how long it took.) Default mode seals with what it has until that is known."""
            begun = time.monotonic()
            try:
                client.encrypt1(DEK)
                code = "OK"
            except RpcError as error:
                code = error.code().name
            return code, time.monotonic() - begun
        with node.client(timeout=10) as client, Decrypts(node) as decrypts:
            seen, end = [], time.monotonic() + (SHOWN if caching else 10 * swap.LOOK)
            while time.monotonic() < end and seen[-5:] != ["FAILED_PRECONDITION"] * 5:
                seen.append(encrypt(client)[0])
                time.sleep(0.1)
            if seen[-5:] != ["FAILED_PRECONDITION"] * 5:
                found.append("Encrypt was answered %s" % swap.counted(seen))
            calls = [client.begin("/v1beta1.KeyManagementService/Encrypt",
                                  rigs.kms.field(1, "v1beta1") + rigs.kms.field(2, DEK)) for _ in range(40)]
            begun = time.monotonic()
            codes = {call.code().name for call in calls}
            took = time.monotonic() - begun
            if codes != {"FAILED_PRECONDITION"} or took > 2:
                found.append("40 Encrypts at once: %s after %.1f s" % (codes, took))
            decrypts.more(50)
            found += decrypts.failed[:3]
            if decrypts.longest > 2:
                found.append("a Decrypt took %.1f s" % decrypts.longest)
            if not told(node, "wrap|seal"):
                found.append("the log does not say it")
            print("%s%s: a primary without WRAP: longest Decrypt %.0f ms" % (
                mode, ", caching" * caching, decrypts.longest * 1e3), flush=True)
            p11.set_attributes(node.token, kek_id, wrap=True)
            rigs.wait_for(lambda: encrypt(client)[0] == "OK", "Encrypt to work again", SHOWN)
        return found + self.served(node, 1.0)

    def test_a_primary_that_may_not_wrap_any_more(self):
        self.all_good(self.unwrapped, [("strict", False), ("20 uses", False), ("default", False), ("strict", True)])


class Decrypts:
    """Of what was sealed before, all the time: failures, and the longest."""

    def __init__(self, node):
        self.node, self.failed, self.longest, self.count = node, [], 0.0, 0
        self.over = rigs.threading.Event()
        self.threads = [rigs.threading.Thread(target=self.run, daemon=True) for _ in range(2)]

    def run(self):
        with rigs.kms.Client(self.node.socket, timeout=10) as client:
            while not self.over.wait(0.02):
                for item in self.node.before:
                    begun = time.monotonic()
                    try:
                        item.open(client)
                    except RpcError as error:
                        self.failed.append("Decrypt: %s: %s" % (error.code().name, error.details()))
                    self.longest = max(self.longest, time.monotonic() - begun)
                    self.count += 1

    def more(self, calls):
        until = self.count + calls
        rigs.wait_for(lambda: self.count >= until, "%d more Decrypts" % calls)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()


if __name__ == "__main__":
    rigs.main()
