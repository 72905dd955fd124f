"""A token that is not as it should be: kekd stays up, says so, never tries a PIN twice, never has an
empty key_id, and recovers without a restart."""

import ctypes
import json
import os
import re
import shutil
import time

import fault as faults
import p11
import rig as rigs
from grpc import RpcError, StatusCode

DEK = bytes(range(32))
ONE = {"processes": 1, "sessions": 1}


class Planter:
    """Puts keys of the keyring's own names on the token: v1, v2, ..."""

    def __init__(self, token):
        self.token, self.number = token, 0

    def __call__(self, **options):
        self.number += 1
        p11.plant(self.token, "k8s-test.v%d" % self.number, os.urandom(16), **options)


class TokenTrouble(rigs.Case):
    def unavailable(self, node):
        """Nothing was ever announced: every call that needs a KEK says UNAVAILABLE, now and later."""
        self.assertIsNone(node.kekd.poll())
        with node.client(timeout=15) as client:
            said = self.refused(StatusCode.UNAVAILABLE, client.status)
            self.assertTrue(said)
            self.refused(StatusCode.UNAVAILABLE, client.encrypt, DEK)
            self.refused(StatusCode.UNAVAILABLE, client.encrypt1, DEK)
            self.assertEqual(client.version1().version, "v1beta1")
        return said

    def never_good(self, node, seconds=2.0):
        """Status stays refused all this time."""
        end = time.monotonic() + seconds
        with node.client() as client:
            while time.monotonic() < end:
                self.refused(StatusCode.UNAVAILABLE, client.status)
                time.sleep(0.1)

    def works(self, node):
        status = node.good()
        self.assertTrue(status.key_id)
        with node.client() as client:
            self.assertEqual(client.open(client.encrypt(DEK)), DEK)

    # The PIN.

    @staticmethod
    def pin_is_refused(node):
        """Waits until this run of kekd knows it."""
        node.serving()
        rigs.wait_for(lambda: "is pin-refused" in node.log().rpartition("--- run ")[2], "the refusal")

    def test_a_pin_retry_is_one_more_try_by_a_kekd_that_runs_on(self):
        node = self.rig(spy=True, provider={"processes": 2, "sessions": 2})
        with open(node.token.pin_file, "w", encoding="ascii") as file:
            file.write("not-the-pin")
        before = os.stat(node.token.pin_file)
        node.spawn().serving()
        rigs.wait_for(lambda: node.spy.count("C_Login") >= 1, "the first try")
        node.wait_log("kekctl pin retry")
        listed = node.kekctl("key", "list")
        self.assertEqual(listed.returncode, 1)
        self.assertIn(b"kekctl pin retry", listed.stderr)
        self.assertEqual(node.spy.count("C_Login"), 1)
        done = node.kekctl("pin", "retry", "--provider", "hsm-a", "--output", "json")
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertEqual(json.loads(done.stdout), {"forgotten": 1})
        rigs.wait_for(lambda: node.spy.count("C_Login") >= 2, "the second try")
        after = os.stat(node.token.pin_file)
        self.assertEqual((before.st_mtime_ns, before.st_ino), (after.st_mtime_ns, after.st_ino))
        with open(node.token.pin_file, encoding="ascii") as file:
            self.assertEqual(file.read(), "not-the-pin")
        # The token's PIN is what changes here: the file was right all along.
        node.token.tool("--change-pin", "--new-pin", "not-the-pin")
        self.never_good(node)
        self.assertEqual(node.spy.count("C_Login"), 2)
        rigs.wait_for(lambda: json.loads(node.kekctl("pin", "retry", "--output", "json").stdout)["forgotten"],
                      "the record of the second refusal")
        self.works(node)
        none = node.kekctl("pin", "retry")
        self.assertEqual(none.returncode, 0)
        self.assertIn(b"no refused PIN is on record", none.stderr)
        self.assertEqual(node.kekctl("pin", "retry", "--provider", "nobody").returncode, 2)

    def test_a_wrong_pin_is_tried_once_and_never_again_until_the_file_changes(self):
        node = self.rig(spy=True, provider={"processes": 2, "sessions": 2})
        good = node.token.pin
        with open(node.token.pin_file, "w", encoding="ascii") as file:
            file.write("not-the-pin")
        node.spawn()
        self.assertNotEqual(node.kekctl("key", "list").returncode, 0)  # whoever comes first
        self.pin_is_refused(node)
        said = self.unavailable(node)
        self.assertIn("PIN", said)
        self.assertNotIn("not-the-pin", said)
        self.never_good(node)
        self.assertEqual(node.spy.count("C_Login"), 1)
        # It is remembered: no restart tries it, however kekd ended, nor does kekctl beside it.
        for end in (node.stop, node.kill, node.stop, node.kill, node.stop):
            end()
            node.spawn()
            self.assertNotEqual(node.kekctl("key", "list").returncode, 0)
            self.pin_is_refused(node)
            self.never_good(node, 0.5)
            self.assertNotEqual(node.kekctl("key", "list").returncode, 0)
            self.assertEqual(node.spy.count("C_Login"), 1)
        with open(node.token.pin_file, "w", encoding="ascii") as file:
            file.write(good)
        self.works(node)
        self.assertNotIn("not-the-pin", node.log())
        self.assertNotIn(good, node.log())
        node.stop()

    def test_a_refused_credential_is_not_tried_again_by_a_restart(self):
        """The service manager makes it anew each time, with another inode and mtime."""
        node = self.rig(spy=True, provider=ONE)
        (entry,) = node.config["providers"]
        entry["uri"] = re.sub(r"pin-source=.*", "pin-source=credential:hsm-a.pin", entry["uri"])
        node.write()
        folder = node.folder + "/credentials"
        node.env["CREDENTIALS_DIRECTORY"] = folder

        def provide(pin):
            shutil.rmtree(folder, ignore_errors=True)
            os.mkdir(folder, 0o700)
            with open(folder + "/another", "w", encoding="ascii"):
                pass  # takes the inode number that has become free
            with open(folder + "/hsm-a.pin", "w", encoding="ascii") as file:
                file.write(pin)
            os.chmod(folder + "/hsm-a.pin", 0o400)
        good = node.token.pin
        wrong = "x" * len(good)
        for _ in range(3):
            provide(wrong)
            node.spawn().serving()
            node.wait_log(r"(?i)refused")
            self.never_good(node)
            self.assertEqual(node.spy.count("C_Login"), 1)
            node.stop()
        provide(good)
        node.spawn().serving()
        self.never_good(node)
        self.assertEqual(node.spy.count("C_Login"), 1)
        self.assertEqual(json.loads(node.kekctl("pin", "retry", "--output", "json").stdout), {"forgotten": 1})
        self.works(node)
        node.stop()

    # Logins without a clear answer: each may have been a try of the PIN.

    def faulty(self, what, **provider):
        node = self.rig(provider=dict(ONE, **provider))
        node.fault = faults.inject(node)
        self.addCleanup(node.fault.close)
        node.fault.put("C_Login every " + what)
        return node

    @staticmethod
    def logins(node):
        return node.fault.counts().get("C_Login", 0)

    def blocked(self, node):
        """Three logins, and no more by anybody; the operator's word or a changed file frees it."""
        self.pin_is_refused(node)
        self.assertIn("may have been tried 3 times", node.log())
        self.never_good(node)
        for _ in range(2):
            node.stop()
            node.spawn()
            self.assertNotEqual(node.kekctl("key", "list").returncode, 0)
            self.pin_is_refused(node)
            self.never_good(node, 0.5)
        self.assertEqual(self.logins(node), 3)
        node.fault.put()
        self.never_good(node)
        self.assertEqual(self.logins(node), 0)
        done = node.kekctl("pin", "retry", "--output", "json", check=True)
        self.assertEqual(json.loads(done.stdout), {"forgotten": 1})
        self.works(node)
        node.stop()
        self.assertIn(self.logins(node), (1, 2))  # its workers'
        self.assertEqual([name for name in os.listdir(node.state) if name.startswith("pin-refused")], [])

    def test_logins_without_a_clear_answer_are_three_in_all(self):
        nodes = [self.faulty("rv 5", processes=2), self.faulty("rv 80000123"), self.faulty("abort"),
                 self.faulty("hang", start_timeout="2s", timeout="1s")]

        def run(node):
            node.spawn().serving()
            node.wait_log(r"C_Login that may have been a try of the PIN( \(0x[0-9a-f]*\))?, 2 of 3")
            self.blocked(node)
        rigs.side_by_side(run, nodes)

    def test_a_kekd_that_is_killed_in_its_logins_makes_three_in_all(self):
        node = self.faulty("delay 1500")
        for tries in (1, 2, 3):
            node.spawn()
            rigs.wait_for(lambda tries=tries: self.logins(node) >= tries, "the next login")
            node.kill()
        node.spawn()
        self.blocked(node)

    def pin_file(self, spoil, mend):
        node = self.rig(spy=True, provider=ONE)
        spoil(node.token.pin_file)
        node.spawn().serving()
        node.wait_log(re.escape(node.token.pin_file))
        self.unavailable(node)
        self.never_good(node, 1.0)
        self.assertEqual(node.spy.count("C_Login"), 0)
        mend(node.token.pin_file)
        self.works(node)
        self.assertEqual(node.spy.count("C_Login"), 1)
        node.stop()

    def test_a_missing_pin_file_is_named_and_waited_for(self):
        self.pin_file(lambda path: os.rename(path, path + ".away"),
                      lambda path: os.rename(path + ".away", path))

    def test_a_pin_file_that_others_can_read_is_refused(self):
        self.pin_file(lambda path: os.chmod(path, 0o644), lambda path: os.chmod(path, 0o600))

    def test_an_empty_pin_file_is_refused_and_never_tried(self):
        def spoil(path):
            os.rename(path, path + ".away")
            with open(path, "w", encoding="ascii") as file:
                file.write("\n")
            os.chmod(path, 0o600)
        self.pin_file(spoil, lambda path: os.rename(path + ".away", path))

    def test_one_newline_after_the_pin_is_not_part_of_it(self):
        node = self.rig(provider=ONE)
        with open(node.token.pin_file, "a", encoding="ascii") as file:
            file.write("\n")
        node.start()
        node.stop()

    # Module, token, key.

    def uri(self, old, new, pattern):
        node = self.rig(provider=ONE)
        entry = node.config["providers"][0]
        good = entry["uri"]
        entry["uri"] = good.replace(old, new)
        self.assertNotEqual(entry["uri"], good)
        node.write()
        node.spawn().serving()
        node.wait_log(pattern)
        self.unavailable(node)
        self.never_good(node, 0.5)
        node.stop()

    def test_a_missing_module_is_named(self):
        self.uri(rigs.SOFTHSM, "/nowhere/libhsm.so", r"/nowhere/libhsm\.so")

    def test_a_library_that_is_no_module_is_named(self):
        ctypes.CDLL("libnghttp2.so.14")
        with open("/proc/self/maps", encoding="ascii") as file:
            library = next(line.split()[-1] for line in file if "libnghttp2" in line)
        self.uri(rigs.SOFTHSM, library, re.escape(library))

    def test_a_missing_token_is_named(self):
        self.uri("token=kek-test", "token=nobody", r"no token matches")

    def test_a_token_that_comes_later_is_found_without_a_restart(self):
        node = self.rig()
        node.token.unplug()
        node.spawn().serving()
        self.unavailable(node)
        self.never_good(node, 1.0)
        node.token.plug()
        self.works(node)
        node.stop()

    def test_a_key_that_is_made_later_is_found_without_a_restart(self):
        node = self.rig(generate=False)
        node.spawn().serving()
        self.unavailable(node)
        self.never_good(node, 1.0)
        node.kekctl("key", "generate", check=True)
        self.works(node)
        node.stop()

    def test_keys_with_the_right_name_and_wrong_attributes_are_never_used(self):
        node = self.rig(generate=False)
        plant = Planter(node.token)
        plant(extractable=True)
        plant(sensitive=False)
        plant(encrypt=True, decrypt=True)
        plant(sign=True, verify=True)
        plant(derive=True)
        plant(size=16)
        plant(value=os.urandom(32))  # imported: neither LOCAL nor ALWAYS_SENSITIVE
        node.token.tool("--keygen", "--key-type", "AES:32", "--label", "k8s-test.v8", "--id",
                        os.urandom(16).hex(), "--private", "--usage-wrap")
        node.spawn().serving()
        node.wait_log(r"k8s-test\.v8")
        self.unavailable(node)
        self.never_good(node, 1.5)
        for number in range(1, 9):
            self.assertIn("k8s-test.v%d" % number, node.log())
        node.stop()

    def test_a_key_that_is_right_is_used_whoever_made_it(self):
        # The same maker as above with nothing wrong: what was refused there was the attribute.
        node = self.rig(generate=False)
        Planter(node.token)()
        node.spawn()
        self.works(node)
        node.stop()

    def test_a_planted_newer_version_moves_nobody(self):
        node = self.rig(config={"settle": "0s"}).start()
        plant = Planter(node.token)
        plant.number = 98
        with node.client() as client:
            key_id = client.status().key_id
            sealed = client.encrypt(DEK)
            plant(value=bytes(32))
            node.wait_log(r"k8s-test\.v99")
            end = time.monotonic() + 2.5
            while time.monotonic() < end:
                self.assertEqual(client.status().key_id, key_id)
                self.assertEqual(client.encrypt(DEK).key_id, key_id)
                time.sleep(0.1)
            self.assertEqual(client.open(sealed), DEK)
        node.stop()

    def test_copies_and_namesakes_beside_a_running_kekd_stop_nothing(self):
        node = self.rig(config={"settle": "0s"}).start()
        with node.client() as client:
            sealed = client.encrypt(DEK)
            key_id, kek_id = client.status().key_id, sealed.ciphertext[8:24]
            node.token.tool("--keygen", "--key-type", "AES:16", "--label", "k8s-test.v1", "--id", "01")
            p11.plant(node.token, "k8s-test.v1", kek_id, extractable=True)
            p11.plant(node.token, "k8s-test.v3", kek_id)
            node.wait_log(r"CKA_ID has 1 byte, not 16")
            node.wait_log(r"CKA_EXTRACTABLE is true")
            listed = node.kekctl("key", "list")
            self.assertEqual(listed.returncode, 3)
            self.assertIn("it has the same CKA_ID as k8s-test.v1, which is used", listed.stdout.decode())
            for _ in range(2):
                end = time.monotonic() + 2.5
                while time.monotonic() < end:
                    self.assertEqual(client.status().key_id, key_id)
                    self.assertEqual(client.status().healthz, "ok")
                    fresh = client.encrypt(DEK)
                    self.assertEqual(fresh.key_id, key_id)
                    self.assertEqual(client.open(fresh), DEK)
                    self.assertEqual(client.open(sealed), DEK)
                    time.sleep(0.1)
                node.stop()
                node.start()
        node.stop()

    def test_a_primary_that_is_gone_fails_status_and_encrypt(self):
        # Loss is not an outage: writes under a dead KEK must stop (a healthz text would not do it).
        node = self.rig(provider=ONE).start()
        with node.client() as client:
            kek_id = client.encrypt(DEK).ciphertext[8:24]
            node.token.tool("--delete-object", "--type", "secrkey", "--id", kek_id.hex())

            def lost():
                try:
                    client.status()
                except RpcError as error:
                    self.assertEqual(error.code(), StatusCode.FAILED_PRECONDITION)
                    return True
                return False
            rigs.wait_for(lost, "the loss to be noticed")
            self.refused(StatusCode.FAILED_PRECONDITION, client.encrypt, DEK)
        node.stop()


if __name__ == "__main__":
    rigs.main()
