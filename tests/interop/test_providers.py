"""Two HSMs that hold the same keys: one may be lost in any way, lag behind, or hold another key under
the right name, and no call notices."""

import contextlib
import json
import os
import signal
import time

import p11
import rig as rigs
import traffic
from grpc import RpcError, StatusCode

STRICT = {"data_key": {"max_uses": 1}}
QUICK = {"timeout": "500ms"}
DEK = bytes(range(32))


class Pair(rigs.Case):
    def pair(self, config=None, provider=None, **options):
        return self.rig(pair=True, config=dict({"metrics": rigs.own_address()}, **(config or {})),
                        provider=dict(QUICK, **(provider or {})), **options)

    @contextlib.contextmanager
    def unharmed(self, node, **options):
        """Whatever happens inside: no call fails, no answer is wrong, and a fresh kekd opens it all."""
        with traffic.Traffic(node.socket, **options) as load:
            yield load
            load.more(100)
        self.assertEqual([repr(failure) for failure in load.failures], [])
        self.assertEqual(load.wrong, [])
        self.assertGreater(len(load.sealed), 50)
        self.fresh_kekd_opens(node, load.sealed)

    def fresh_kekd_opens(self, node, sealed):
        node.close_clients()
        if node.kekd is not None:
            node.stop()
        node.spawn().good()
        with node.client(timeout=rigs.PATIENCE) as client:  # that it opens, however busy the machine is
            for item in sealed:
                self.assertEqual(item.open(client), item.plain)

    def up(self, node, name, wanted=True):
        sample = 'kekd_hsm_workers_ready{provider="%s"}' % name
        ready = 2 if wanted else 0
        rigs.wait_for(lambda: node.metrics()[sample] == ready,
                      "provider %s to be %s" % (name, "up" if wanted else "down"))

    def both_up(self, node):
        self.up(node, "hsm-a")
        self.up(node, "hsm-b")

    def kek_id(self, client):
        return client.encrypt(DEK).ciphertext[8:24]

    def proven(self, node, version):
        metrics = node.metrics()
        return tuple(metrics.get('kekd_kek_version_providers%s{version="%d"}' % (what, version))
                     for what in ("", "_proven"))


class OneLost(Pair):
    def lose(self, how, config=None):
        """how(node, token, load) for each of the two in turn."""
        node = self.pair(config=config).start()
        self.both_up(node)
        with self.unharmed(node) as load:
            for token in (node.token, node.twin):
                how(node, token, load)
                load.more(100)
                self.both_up(node)
        node.stop()

    def away(self, node, token, load):
        with token.away():
            load.more(200)

    def killed(self, node, token, load):
        for _ in range(3):
            token.kill(node.workers_of(token))
            load.more(50)

    def away_and_killed(self, node, token, load):
        with token.away():
            for pid in node.workers_of(token):
                with contextlib.suppress(ProcessLookupError):
                    rigs.kill(pid)
            load.more(200)

    def stopped(self, node, token, load):
        workers = node.workers_of(token)
        self.assertGreaterEqual(len(workers), 1)
        for pid in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        load.more(200)
        rigs.wait_for(lambda: not set(workers) & set(node.workers()), "the hung workers' end")

    def test_a_token_that_goes_and_returns_fails_no_call(self):
        self.lose(self.away, STRICT)

    def test_a_token_that_goes_and_returns_fails_no_call_in_the_default_mode(self):
        self.lose(self.away, {"data_key": {"max_uses": 50}})

    def test_a_token_that_goes_with_its_workers_fails_no_call(self):
        rigs.need_root("which worker belongs to which token")
        self.lose(self.away_and_killed, STRICT)

    def test_all_workers_of_one_killed_fail_no_call(self):
        rigs.need_root("which worker belongs to which token")
        self.lose(self.killed, STRICT)

    def test_all_workers_of_one_hung_fail_no_call(self):
        rigs.need_root("which worker belongs to which token")
        self.lose(self.stopped, STRICT)

    def start_without(self, index, spoil):
        """The provider cannot start any more. The node has a record, by which it knows the right key."""
        node = self.pair(config=STRICT).start()
        node.stop()
        mend = spoil(node.config["providers"][index], (node.token, node.twin)[index])
        node.write()
        node.spawn().good()
        name = ("hsm-a", "hsm-b")[index]
        with self.unharmed(node) as load:
            load.more(200)
            self.up(node, name, False)
            if mend is not None:
                mend()
                self.up(node, name)
        self.assertIn(name, node.log())
        node.stop()

    def test_a_module_that_is_missing_on_one_fails_no_call(self):
        def spoil(entry, _token):
            entry["uri"] = entry["uri"].replace(rigs.SOFTHSM, "/nowhere/libhsm.so")
        for index in (0, 1):
            self.start_without(index, spoil)

    def test_a_pin_that_one_refuses_fails_no_call(self):
        def spoil(_entry, token):
            with open(token.pin_file, "w", encoding="ascii") as file:
                file.write("not-the-pin")
        for index in (0, 1):
            self.start_without(index, spoil)

    def test_a_token_that_is_away_at_the_start_fails_no_call_and_is_used_when_it_comes(self):
        def spoil(_entry, token):
            token.unplug()
            return token.plug
        for index in (0, 1):
            self.start_without(index, spoil)


class Outage(Pair):
    def test_both_lost_then_one_back_is_service_again(self):
        node = self.pair(config=STRICT).start()
        self.both_up(node)
        with traffic.Traffic(node.socket) as load:
            node.token.unplug()
            node.twin.unplug()
            rigs.wait_for(lambda: load.failures, "a call to fail")
            self.up(node, "hsm-a", False)
            self.up(node, "hsm-b", False)
            node.twin.plug()
            self.up(node, "hsm-b")
            before = len(load.failures)
            done = load.done
            rigs.wait_for(lambda: load.done > done + 100, "service by the one that is back")
            settled = len(load.failures)
            done = load.done
            rigs.wait_for(lambda: load.done > done + 100, "more of it")
            self.assertEqual(len(load.failures), settled)
            self.assertLessEqual(settled - before, 3 * len(load.threads))
            node.token.plug()
            self.both_up(node)
        self.assertEqual(load.wrong, [])
        # What an outage may answer, and nothing that would make a Secret look lost.
        self.assertLessEqual({failure.code for failure in load.failures},
                             {"UNAVAILABLE", "DEADLINE_EXCEEDED"})
        self.fresh_kekd_opens(node, load.sealed)
        node.stop()

    def test_a_key_whose_one_holder_is_away_is_an_outage_and_no_loss(self):
        rigs.need_root("which worker belongs to which token")
        node = self.pair().start()
        self.both_up(node)
        with node.client() as client:
            kek_id, key_id = self.kek_id(client), client.status().key_id
            node.twin.tool("--delete-object", "--type", "secrkey", "--id", kek_id.hex())
            rigs.wait_for(lambda: self.proven(node, 1)[0] == 1, "it to be noticed")
            node.token.unplug()
            for pid in node.workers_of(node.token):
                with contextlib.suppress(ProcessLookupError):
                    rigs.kill(pid)
            node.wait_log(r"KEK version 1 is on no HSM that answers, and provider hsm-a does not answer")
            # Nobody can say that it is gone: what there is bridges the outage.
            status = client.status()
            self.assertEqual((status.healthz, status.key_id), ("ok", key_id))
            self.assertEqual(client.open(client.encrypt(DEK)), DEK)
            self.assertEqual(node.page("/readyz")[0], 503)
            self.assertNotIn("loss", node.log())
            node.token.plug()
            rigs.wait_for(lambda: node.page("/readyz")[0] == 200, "the end of the outage")
        node.stop()

    def test_a_key_that_one_of_two_has_lost_is_no_loss(self):
        for index in (0, 1):
            node = self.pair(config=STRICT).start()
            self.both_up(node)
            with node.client() as client:
                kek_id = self.kek_id(client)
                key_id = client.status().key_id
                with self.unharmed(node) as load:
                    (node.token, node.twin)[index].tool("--delete-object", "--type", "secrkey", "--id",
                                                        kek_id.hex())
                    rigs.wait_for(lambda: self.proven(node, 1)[0] == 1, "it to be noticed")
                    load.more(200)
                    status = client.status()
                    self.assertEqual((status.healthz, status.key_id), ("ok", key_id))
            node.stop()


class WrongOrLate(Pair):
    """A replica that is not one."""

    def replace(self, token, kek_id, number=1):
        """Another key under the same label and id."""
        with contextlib.suppress(rigs.subprocess.CalledProcessError):
            token.tool("--delete-object", "--type", "secrkey", "--id", kek_id.hex())
        p11.plant(token, "k8s-test.v%d" % number, kek_id)

    def refused_for(self, node, name, version=1):
        node.wait_log(r"provider %s holds a different key under the name of version %d" % (name, version))
        rigs.wait_for(lambda: self.proven(node, version) == (2, 1), "the metric to say so")

    def announced(self, node):
        """A kekd that has announced version 1 once; its kek id and what it sealed."""
        node.start()
        with node.client() as client:
            kek_id = self.kek_id(client)
            sealed = [traffic.Sealed(DEK, client.encrypt1(DEK)) for _ in range(5)]
        node.stop()
        return kek_id, sealed

    def test_a_replica_with_another_key_is_refused_and_the_other_serves(self):
        for index, name in enumerate(("hsm-a", "hsm-b")):
            node = self.pair(config=STRICT)
            kek_id, sealed = self.announced(node)
            self.replace((node.token, node.twin)[index], kek_id)
            node.start()
            with self.unharmed(node) as load:
                load.sealed.extend(sealed)
                with node.client() as client:
                    for item in sealed:
                        self.assertEqual(item.open(client), DEK)
                self.refused_for(node, name)
                load.more(200)
            node.stop()

    def test_a_key_exchanged_while_kekd_runs_seals_nothing(self):
        for index, name in enumerate(("hsm-a", "hsm-b")):
            node = self.pair(config=STRICT).start()
            self.both_up(node)
            with node.client() as client:
                kek_id = self.kek_id(client)
            with self.unharmed(node) as load:
                self.replace((node.token, node.twin)[index], kek_id)
                load.more(200)
                self.refused_for(node, name)
            node.stop()

    def test_damaged_is_still_said_of_what_is_damaged(self):
        node = self.pair(config=STRICT)
        kek_id, sealed = self.announced(node)
        self.replace(node.twin, kek_id)
        node.start()
        with node.client() as client:
            self.refused_for(node, "hsm-b")
            for at in (30, 50, len(sealed[0].ciphertext) - 1):
                broken = bytearray(sealed[0].ciphertext)
                broken[at] ^= 1
                self.refused(StatusCode.INVALID_ARGUMENT, client.decrypt1, bytes(broken))
        node.stop()

    def test_without_a_record_nobody_can_say_which_of_two_keys_is_right_and_nothing_is_called_damaged(self):
        for index in (0, 1):
            node = self.pair(config=STRICT)
            kek_id, sealed = self.announced(node)
            for name in os.listdir(node.state):
                os.unlink(os.path.join(node.state, name))
            self.replace((node.token, node.twin)[index], kek_id)
            node.spawn().serving()
            node.wait_log(r"workers hold different keys under the name of version 1")
            with node.client() as client:
                self.refused(StatusCode.UNAVAILABLE, client.status)
                for item in sealed:
                    try:
                        self.assertEqual(item.open(client), DEK)
                    except RpcError as error:
                        self.assertNotEqual(error.code(), StatusCode.INVALID_ARGUMENT, error.details())
            node.stop()

    def test_damaged_is_not_said_of_an_old_version_that_only_the_other_can_open(self):
        rigs.need_root("which worker belongs to which token")
        node = self.pair(config=STRICT)
        kek_id, sealed = self.announced(node)
        # A new node: version 1 may only unwrap by now, so that nothing can prove who has the right one.
        for name in os.listdir(node.state):
            os.unlink(os.path.join(node.state, name))
        p11.plant(node.token, "k8s-test.v2", os.urandom(16))
        node.twin.replicate(node.token)
        self.replace(node.token, kek_id)
        states = [{"n": 1, "state": "deactivated"}, {"n": 2, "state": "active"}]
        for entry in node.config["providers"]:
            entry["versions"] = states
        node.write()
        node.start()
        self.both_up(node)
        with node.client() as client:
            for item in sealed:
                self.assertEqual(item.open(client), DEK)
            broken = bytearray(sealed[0].ciphertext)
            broken[40] ^= 1  # in the wrapped data key: no HSM opens it
            self.refused(StatusCode.INVALID_ARGUMENT, client.decrypt1, bytes(broken))
            node.twin.unplug()
            for pid in node.workers_of(node.twin):
                rigs.kill(pid)
            self.up(node, "hsm-b", False)
            self.refused(StatusCode.UNAVAILABLE, client.decrypt1, sealed[0].ciphertext)
        node.twin.plug()
        node.stop()

    def test_a_dispute_outlasts_the_absence_of_one_of_the_two(self):
        rigs.need_root("which worker belongs to which token")
        node = self.pair(config=STRICT)
        kek_id, _ = self.announced(node)
        for name in os.listdir(node.state):
            os.unlink(os.path.join(node.state, name))
        self.replace(node.twin, kek_id)
        node.spawn().serving()
        node.wait_log(r"workers hold different keys under the name of version 1")
        self.both_up(node)
        node.twin.unplug()
        # A worker that started just then would show a token without keys, and nobody asks it for more.
        for pid in node.workers_of(node.twin):
            with contextlib.suppress(ProcessLookupError):
                rigs.kill(pid)
        self.up(node, "hsm-b", False)
        record = node.state + "/k8s-test.json"
        end = time.monotonic() + 3
        with node.client() as client:
            while time.monotonic() < end:
                self.refused(StatusCode.UNAVAILABLE, client.status)
                # What is not agreed on is not on record.
                self.assertFalse(os.path.exists(record))
                time.sleep(0.02)
        node.twin.plug()
        node.twin.tool("--delete-object", "--type", "secrkey", "--id", kek_id.hex())
        node.twin.replicate(node.token)
        node.good()  # now there is one key, and no dispute
        node.stop()

    def test_a_replica_that_lags_keeps_a_version_from_being_announced(self):
        node = self.pair(config=dict(STRICT, settle="0s")).start()
        self.both_up(node)
        with node.client() as client:
            first = client.status().key_id
            v2 = os.urandom(16)
            with self.unharmed(node) as load:
                p11.plant(node.token, "k8s-test.v2", v2)
                rigs.wait_for(lambda: self.proven(node, 2) == (1, 1), "the new version to be seen")
                end = time.monotonic() + 2.5
                while time.monotonic() < end:
                    self.assertEqual(client.status().key_id, first)
                    time.sleep(0.1)
                load.more(100)
                node.twin.replicate(node.token)
                second = rigs.wait_for(lambda: {client.status().key_id} - {first}, "its announcement")
                load.more(100)
                self.assertEqual(self.kek_id(client), v2)
                self.assertEqual({client.status().key_id}, second)
        node.stop()

    def lags_again(self, data_key):
        """hsm-a comes first, and comes back from a backup without v2."""
        node = self.pair(config=dict(data_key, settle="0s")).start()
        self.both_up(node)
        with node.client() as client:
            first = client.status().key_id
            v2 = os.urandom(16)
            with self.unharmed(node) as load:
                p11.plant(node.token, "k8s-test.v2", v2)
                node.twin.replicate(node.token)
                rigs.wait_for(lambda: client.status().key_id != first, "version 2 to be announced")
                load.more(100)
                node.token.tool("--delete-object", "--type", "secrkey", "--id", v2.hex())
                load.more(200)
                self.assertNotEqual(client.status().key_id, first)
        with node.client() as client:
            self.assertNotEqual(client.status().key_id, first)
        node.stop()

    def test_a_replica_that_lags_again_after_the_announcement_damages_nothing(self):
        self.lags_again(STRICT)

    def test_a_replica_that_lags_again_costs_no_call_in_the_default_mode_either(self):
        self.lags_again({"data_key": {"max_uses": 2}})

    def test_a_key_that_one_may_not_use_any_more_costs_no_encrypt(self):
        # In the default mode a new data key is unwrapped before it is used: here by hsm-a, which says no.
        for function in ("C_WrapKey", "C_UnwrapKey"):
            node = self.pair(config={"data_key": {"max_uses": 2}})
            control = node.folder + "/fault"
            entry = node.config["providers"][0]
            entry["uri"] = entry["uri"].replace(rigs.SOFTHSM, rigs.program("tests/faults/fault.so"))
            entry["env"]["KEK_FAULT_CONTROL"] = control
            node.write()
            node.start()
            self.both_up(node)
            with node.client() as client:
                sealed = [client.encrypt(DEK)]
                with open(control + ".new", "wb") as file:
                    file.write(("%s every rv 68" % function).encode().ljust(4096, b"\0") + bytes(4096))
                os.rename(control + ".new", control)  # CKR_KEY_FUNCTION_NOT_PERMITTED
                sealed += [client.encrypt(DEK) for _ in range(6)]
                self.assertEqual([client.open(item) for item in sealed], [DEK] * len(sealed))
            with open(control, "rb") as file:
                self.assertNotEqual(file.read()[4096 + 2048 + 8], 0, "the fault was not asked for")
            node.stop()

    def test_key_list_shows_what_each_provider_has(self):
        node = self.pair()
        p11.plant(node.token, "k8s-test.v2", os.urandom(16))
        done = node.kekctl("--output", "json", "key", "list")
        self.assertEqual(done.returncode, 3)
        self.assertRegex(done.stderr, rb"^kekctl: key list: version 2 is on hsm-a \('kek-test' serial [0-9a-f]{16}\) and not on "
                         rb"hsm-b \('kek-test' serial [0-9a-f]{16}\): bring its key there\n$")
        listed = json.loads(done.stdout)
        self.assertEqual(sorted((entry["version"], entry["provider"]) for entry in listed["versions"]),
                         [(1, "hsm-a"), (1, "hsm-b"), (2, "hsm-a")])
        serials = {entry["serial"] for entry in listed["providers"]}
        self.assertEqual(len(serials), 2)

    def test_one_token_as_two_providers_is_warned_of(self):
        node = self.rig()
        node.config["providers"].append(node.provider("hsm-again", node.token))
        node.write()
        node.start()
        node.wait_log("are one token .serial [0-9a-f]+.: together they are no safer than one")
        self.assertEqual(node.log().count("are one token"), 1)
        done = node.kekctl("key", "list")
        self.assertEqual(done.returncode, 3)
        self.assertIn(b"hsm-a and hsm-again are one token (serial ", done.stderr)
        pair = self.pair()
        pair.start()
        self.both_up(pair)
        self.assertNotIn("are one token", pair.log())

    def test_a_version_that_is_not_as_the_configuration_says_is_warned_of(self):
        node = self.rig()
        node.config["providers"][0]["versions"] = [{"n": 1, "state": "active"}, {"n": 2, "state": "active"}]
        node.write()
        node.start()
        node.wait_log("provider hsm-a: versions says that version 2 is active, and the token shows no such key")
        self.assertNotIn("says that version 1", node.log())


if __name__ == "__main__":
    rigs.main()
