#!/usr/bin/python3
"""OpenBao's Transit engine: a service and no PKCS#11 module, so of the suite what does not ask for one; then what only
such a service does."""

import contextlib
import copy
import http.client
import json
import os
import re
import ssl
import subprocess
import sys
import time

from conformance import KEKCTL, KEKD, main
from services import CASES, NO_MACS, SERVICES
from tokens import Token, wait_for
from worker import Failed, Worker

import pages  # tests/interop, whose folder worker.py knows
from openbao import OFFICER, OpenBao, Refused
from transit_server import Server, closed, raw, status, truncated

EXPECTED = {name: "pass" for name in (
    "generate", "disabled key", "outage", "slow", "garbage", "credentials end", "kekd serves")}
SLOW = 20  # seconds, more than any call of the suite
EXPECTED["conformance"] = "pass: 19 passed, 0 failed, 0 not supported, 12 skipped"
EXPECTED["audit key"] = NO_MACS
EXPECTED["destroy"] = "cannot: version 2 is the newest of the key, which is never trimmed"


class Between(Server):
    """Before a real server: passes everything on, but for what a fault does instead."""

    def __init__(self, bao):
        self.bao = bao
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(bao.cert, bao.key)
        super().__init__(context)

    def serve(self, handler, body):
        # One connection to the real one for each that comes in, and one thread.
        there = getattr(handler, "there", None)
        if there is None:
            there = handler.there = http.client.HTTPSConnection("127.0.0.1", self.bao.port, timeout=30,
                                                                context=self.bao.context)
        headers = {name: handler.headers[name] for name in ("X-Vault-Token",) if name in handler.headers}
        try:
            there.request(handler.command, handler.path, json.dumps(body) if body else None, headers)
            answer = there.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            there.close()
            handler.close_connection = True
            return None


def late(*_):
    time.sleep(SLOW)


class Transit(Token):
    type = "transit"
    not_applicable = {**SERVICES, "clock off": "nothing that it is shown has a time of this machine in it"}
    GARBAGE = {
        "no JSON": raw(b"<html>"), "half of it": truncated, "nothing": raw(b""), "a list": raw(b"[]"),
        "a key twice": raw(b'{"data":{},"data":{}}'), "too much": raw(b"x" * 300000), "no end": closed,
        "a redirect": status(307, headers=[("Location", "http://127.0.0.1:1/")]),
    }

    def __init__(self):
        super().__init__("openbao", None)
        self.bao = OpenBao()
        self.between = Between(self.bao)
        self.direct = True
        self.extra, self.tokens = {}, []
        self.key = "ring"
        self.use_token(self.bao.token(self.bao.policy("officer", self.key, OFFICER), self.bao.policy("spare", "spare", OFFICER)))

    def use_token(self, token):
        self.tokens.append(token)
        self.extra = {"token_file": self.bao.secret("token", token)}

    def settings(self):
        return {"address": (self.bao if self.direct else self.between).address, "ca": self.bao.authority.cert, "key": self.key, **self.extra}

    # What the suite wants to happen.

    def spare_keys(self):
        self.bao.make_key("spare")
        self.bao.ask("POST", "transit/keys/spare/rotate")
        return ["spare"]

    def through_faults(self):
        other = copy.copy(self)
        other.direct = False
        return other

    def secrets(self):
        return self.tokens

    @contextlib.contextmanager
    def faulty(self, fault):
        self.between.faults = {"transit/": fault}
        try:
            yield
        finally:
            self.between.faults = {}

    def slow(self):
        return self.faulty(late)

    def garbage(self, kind):
        return self.faulty(self.GARBAGE[kind])

    @contextlib.contextmanager
    def outage(self):
        self.bao.end()
        try:
            yield
        finally:
            self.bao.start()
            self.bao.unseal()

    def revoke(self):
        self.bao.ask("POST", "auth/token/revoke", {"token": self.tokens[-1]})

    def end_credentials(self):
        ended = self.tokens[-1]
        self.use_token(self.bao.token("officer"))
        self.bao.ask("POST", "auth/token/revoke", {"token": ended})

    def lose_credentials(self):
        self.revoke()

    def restore_credentials(self):
        self.use_token(self.bao.token("officer"))

    def end(self):
        super().end()
        if hasattr(self, "bao"):
            self.bao.stop()


def children(pid):
    with open("/proc/%d/task/%d/children" % (pid, pid), encoding="ascii") as file:
        return [int(child) for child in file.read().split()]


class Checks:
    """Each by itself; what a test makes has a key of its own."""

    def __init__(self, token):
        self.token, self.bao = token, token.bao

    def fresh(self, **options):
        """A key of this name, and a token for it as kekd should have it."""
        self.token.key = "k%d" % time.monotonic_ns()
        self.bao.make_key(self.token.key, **options)
        self.token.use_token(self.bao.token(self.bao.policy(self.token.key, self.token.key)))
        self.token.versions = []
        return self.token.key

    def officer(self):
        self.token.extra["admin_token_file"] = self.bao.secret(
            "admin", self.bao.token(self.bao.policy("o" + self.token.key, self.token.key, OFFICER)))
        return Worker(self.token, "officer")

    @staticmethod
    def refused(cause, text, action, *arguments):
        try:
            action(*arguments)
        except Failed as failure:
            assert failure.cause == cause and text in failure.text, failure
            return failure
        raise AssertionError("not refused")

    def shows(self, worker):
        return [(v.number, v.can_wrap, v.can_unwrap, v.eligible) for v in worker.list()]

    def check_a_closed_version_is_not_gone_and_a_trimmed_one_is(self):
        key = self.fresh()
        self.bao.ask("POST", "transit/keys/%s/rotate" % key)
        with Worker(self.token) as worker:
            first, second = worker.list()
            data_key = os.urandom(32)
            sealed = worker.wrap(first.kek_id, data_key)
            self.bao.configure(key, min_decryption_version=2)
            self.refused("STATE", "closed by min_decryption_version 2", worker.unwrap, first.kek_id, *sealed)
            assert self.shows(worker) == [(1, False, False, True), (2, True, True, True)], self.shows(worker)
            with Worker(self.token) as fresh:
                closed, _ = fresh.list()
                assert closed.kek_id == b"" and not closed.eligible and "not gone" in closed.refusal, closed.refusal
            self.bao.configure(key, min_decryption_version=1)
            assert worker.unwrap(first.kek_id, *sealed) == data_key
            self.bao.configure(key, min_decryption_version=2, min_encryption_version=2)
            self.bao.ask("POST", "transit/keys/%s/trim" % key, {"min_available_version": 2})
            self.refused("KEY_MISSING", "no version with this kek id", worker.unwrap, first.kek_id, *sealed)
            assert self.shows(worker) == [(2, True, True, True)]
            assert worker.unwrap(second.kek_id, *worker.wrap(second.kek_id, data_key)) == data_key

    def check_a_key_made_anew_has_other_ids(self):
        key = self.fresh()
        self.bao.configure(key, deletion_allowed=True)
        with Worker(self.token) as worker:
            old, = worker.list()
            sealed = worker.wrap(old.kek_id, os.urandom(32))
            self.bao.ask("DELETE", "transit/keys/" + key)
            time.sleep(1.1)  # the server tells whole seconds
            self.bao.make_key(key)
            self.refused("KEY_MISSING", "no version with this kek id", worker.unwrap, old.kek_id, *sealed)
            new, = worker.list()
            assert new.number == 1 and new.kek_id != old.kek_id

    def check_soft_deleted_is_a_state(self):
        key = self.fresh()
        self.bao.configure(key, deletion_allowed=True)
        with Worker(self.token) as worker:
            version, = worker.list()
            sealed = worker.wrap(version.kek_id, bytes(32))
            try:
                self.bao.ask("DELETE", "transit/keys/%s/soft-delete" % key)
            except Refused as refused:
                assert refused.status == 404, refused
                print("openbao      this server knows no soft deletion (HashiCorp Vault)")
                return
            self.refused("STATE", "soft-deleted", worker.unwrap, version.kek_id, *sealed)
            self.refused("STATE", "soft-deleted", worker.wrap, version.kek_id, bytes(32))
            assert self.shows(worker) == [(1, False, False, True)]
            self.bao.ask("POST", "transit/keys/%s/soft-delete-restore" % key)
            assert worker.list()[0].can_wrap and worker.unwrap(version.kek_id, *sealed) == bytes(32)

    def check_keys_that_do_not_do(self):
        for options, text in (({"type": "aes128-gcm96"}, "type is aes128-gcm96"),
                              ({"type": "rsa-2048"}, "type is rsa-2048"),
                              ({"derived": True}, "derived is true"),
                              ({"exportable": True}, "exportable is true"),
                              ({"allow_plaintext_backup": True}, "allow_plaintext_backup is true")):
            self.fresh(**options)
            with Worker(self.token) as worker:
                shown = worker.list()
                assert all(not v.eligible and text in v.refusal for v in shown), [v.refusal for v in shown]
                if not text.startswith("type is rsa"):
                    self.refused("KEY_UNFIT", text, worker.wrap, shown[0].kek_id, bytes(32))
            if "exportable" in text or "backup" in text:
                self.token.extra["allow_exportable"] = "true"
                with Worker(self.token) as worker:
                    assert worker.list()[0].eligible

    def check_other_types_that_do(self):
        for kind, length in (("chacha20-poly1305", 60), ("xchacha20-poly1305", 72)):
            try:
                self.fresh(type=kind)
            except Refused:
                continue  # not every release has it
            with Worker(self.token) as worker:
                version, = worker.list()
                alg, blob = worker.wrap(version.kek_id, bytes(32))
                assert len(blob) == length and worker.unwrap(version.kek_id, alg, blob) == bytes(32)

    def check_the_ways_in(self):
        key = self.fresh()
        role, secret = self.bao.approle(key)
        cert, cert_key = self.bao.certificate(key)
        ways = ({"auth": "approle", "role": role, "secret_id_file": self.bao.secret("secret-id", secret)},
                {"auth": "jwt", "role": key, "jwt_file": self.bao.jwt(key)},
                {"auth": "cert", "role": key, "cert": cert, "cert_key": cert_key})
        for way in ways:
            self.token.extra = way
            with Worker(self.token) as worker:
                version, = worker.list()
                assert worker.unwrap(version.kek_id, *worker.wrap(version.kek_id, bytes(32))) == bytes(32)
        self.token.extra = {**ways[0], "secret_id_file": self.bao.secret("wrong", "00000000-0000-0000-0000-000000000000")}
        failure = self.refused("PIN_REFUSED", "the server refuses the login", lambda: Worker(self.token).close())
        assert failure.native == 400, failure.native
        self.token.extra = {**ways[1], "jwt_file": self.bao.secret("no-jwt", "e30.e30.e30")}
        self.refused("PIN_UNUSABLE", "the server refuses the login", lambda: Worker(self.token).close())
        self.token.use_token("s.wrong0123456789")
        failure = self.refused("PIN_UNUSABLE", "does not take this token", lambda: Worker(self.token).close())
        assert "wrong0123456789" not in failure.text

    def check_a_token_is_renewed(self):
        key = self.fresh()
        token = self.bao.token(key, ttl="3s", period="3s")
        self.token.use_token(token)
        with Worker(self.token) as worker:
            version, = worker.list()
            time.sleep(5)
            sealed = worker.wrap(version.kek_id, bytes(32))  # it has lived past its first end
            assert worker.unwrap(version.kek_id, *sealed) == bytes(32)

    def check_policies(self):
        key = self.fresh()
        self.token.use_token(self.bao.token(self.bao.policy("r" + key, key, """
path "transit/keys/{key}" {{ capabilities = ["read"] }}
path "transit/decrypt/{key}" {{ capabilities = ["update"] }}
""")))
        with Worker(self.token) as worker:
            version, = worker.list()
            assert not version.eligible and "policy does not allow" in version.refusal, version.refusal
        self.token.key += "-missing"
        self.token.use_token(self.bao.token(self.bao.policy(self.token.key, self.token.key)))
        with Worker(self.token) as worker:
            assert worker.list() == []
            self.refused("KEY_MISSING", "no version with this kek id", worker.wrap, bytes(16), bytes(32))
        assert "encrypt" not in str(self.bao.ask("LIST", "transit/keys")), "a wrap made the key"

    def check_an_officer(self):
        key = self.fresh()
        with self.officer() as officer:
            first, = officer.list()
            self.refused("STATE", "the next one is 2", officer.generate, 1, bytes(16))
            self.refused("UNSUPPORTED", "from the beginning", officer.generate, 2, bytes(16), "pre-active")
            self.refused("UNSUPPORTED", "versions:", officer.set_state, first.kek_id, "deactivated")
            made = officer.generate(2, bytes(16))
            assert [v.kek_id for v in officer.list()] == [first.kek_id, made]
            officer.generate(3, bytes(16))
            self.refused("UNSUPPORTED", "retire version 1 first", officer.set_state, made, "deactivated")
            self.refused("UNSUPPORTED", "no mark", officer.set_state, first.kek_id, "compromised")
            for state, shown in (("deactivated", (False, True)), ("active", (True, True)),
                                 ("deactivated", (False, True)), ("suspended", (False, False)),
                                 ("deactivated", (False, True)), ("suspended", (False, False))):
                officer.set_state(first.kek_id, state)
                version = officer.list()[0]
                assert (version.can_wrap, version.can_unwrap) == shown, state
            self.refused("STATE", "suspend it first", officer.destroy, made)
            officer.destroy(first.kek_id)
            assert [v.number for v in officer.list()] == [2, 3]
            assert self.bao.read_key(key)["min_available_version"] == 2
        with Worker(self.token) as worker:
            assert [v.number for v in worker.list()] == [2, 3]

    def kekctl(self, *words, code=(0,)):
        done = subprocess.run([KEKCTL, "--config", self.token.path("kekd.yaml"), *words], check=False,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
        assert done.returncode in code, "%s: exit %d: %s" % (words, done.returncode, done.stderr.decode())
        return done.stdout.decode(), done.stderr.decode()

    def recover(self, sealed):
        """By docs/openbao.md and what it takes of docs/recovery.md, with curl and openssl alone."""
        with open(self.token.path("envelope"), "wb") as file:
            file.write(sealed)
        with open(self.token.extra["token_file"], encoding="ascii") as file:
            token = file.read().strip()
        env = {**os.environ, "SCRATCH": self.token.folder, "ENVELOPE": self.token.path("envelope"), "CONTEXT": "",
               "PLAINTEXT": self.token.path("plain"), "BAO_ADDR": self.bao.address, "BAO_TOKEN": token,
               "BAO_CACERT": self.bao.authority.cert, "BAO_KEY": self.token.key}
        done = subprocess.run(["sh"], input=pages.recovery("openbao.md"), text=True,
                              env=env, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
        assert done.returncode == 0, done.stdout
        with open(self.token.path("plain"), "rb") as file:
            assert file.read() == bytes(range(32))

    @staticmethod
    def on_the_network(pid):
        """The TCP and UDP sockets that a process has open."""
        known = set()
        for name in ("tcp", "tcp6", "udp", "udp6"):
            with contextlib.suppress(FileNotFoundError), open("/proc/%d/net/%s" % (pid, name), encoding="ascii") as file:
                known.update("socket:[%s]" % line.split()[9] for line in file.readlines()[1:])
        folder = "/proc/%d/fd" % pid
        return [link for link in (os.readlink(os.path.join(folder, fd)) for fd in os.listdir(folder)) if link in known]

    def states(self, code=(0,)):
        """[(number, kek id, state)] as an operator sees them."""
        text, _ = self.kekctl("key", "list", "--output", "json", code=code)
        return [(v["version"], v["kek_id"], v["state"]) for v in json.loads(text)["versions"]]

    def check_an_operator_rotates_and_a_closed_version_keeps_its_name(self):
        self.fresh()
        self.officer().close()
        self.token.write("kekd.yaml", json.dumps({
            "listen": "unix://" + self.token.path("kms2.sock"), "keyring": "ring", "refresh": "1s", "settle": "0ms",
            "state_dir": self.token.path("state2"), "log": {"level": "error"},
            "providers": [{"name": "bao", "type": "transit", **self.token.settings()}]}))
        text, _ = self.kekctl("probe")
        assert re.search("aes256-gcm96 +yes +works +yes", text) and "CHANGE" not in text, text
        # pylint: disable=consider-using-with
        kekd = subprocess.Popen([KEKD, "--config", self.token.path("kekd.yaml")], stdin=subprocess.DEVNULL)
        try:
            wait_for(lambda: os.path.exists(self.token.path("kms2.sock")), "kekd's socket")
            if os.geteuid() == 0:  # a process that is not dumpable shows its descriptors to root alone
                wait_for(lambda: "ok" in self.kekctl("kms", "status", code=(0, 1, 3))[0], "a good Status")
                assert not self.on_the_network(kekd.pid), "kekd itself is on the network"
                assert any(self.on_the_network(pid) for pid in children(kekd.pid)), "this test would see no socket"
            self.kekctl("key", "generate")
            (_, first, _), (_, second, state) = self.states()
            assert state == "active"
            key_id = json.loads(self.kekctl("key", "list", "--output", "json")[0])["versions"][1]["key_id"]
            wait_for(lambda: key_id in self.kekctl("kms", "status")[0], "version 2 to be announced")
            self.recover(subprocess.run([KEKCTL, "--config", self.token.path("kekd.yaml"), "kms", "encrypt"], check=True,
                                        input=bytes(range(32)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout)
        finally:
            kekd.terminate()
            assert kekd.wait(60) == 0
        self.kekctl("key", "retire", "1")
        self.kekctl("key", "suspend", "1")
        assert self.states((3,)) == [(1, first, "suspended"), (2, second, "active")]  # and a remark on it
        self.kekctl("key", "resume", "1")
        assert self.states() == [(1, first, "deactivated"), (2, second, "active")], self.states()
        _, said = self.kekctl("key", "retire", "1", "--compromised", code=(3,))
        assert "n: 1" in said and "compromised" in said, said

    def check_kekd_shows_a_secret_id_that_is_refused_once(self):
        key = self.fresh()
        role, secret = self.bao.approle(key)
        self.token.extra = {"auth": "approle", "role": role, "secret_id_file": self.bao.secret("secret-id", "0-0-0")}
        self.token.write("kekd.yaml", json.dumps({
            "listen": "unix://" + self.token.path("kms2.sock"), "keyring": "ring", "refresh": "1s",
            "state_dir": self.token.path("state3"), "providers": [
                {"name": "bao", "type": "transit", "processes": 2, **self.token.settings()}]}))
        with open(self.token.path("kekd.log"), "wb") as log:
            # pylint: disable=consider-using-with
            kekd = subprocess.Popen([KEKD, "--config", self.token.path("kekd.yaml")], stdin=subprocess.DEVNULL,
                                    stderr=log)

        def said():
            with open(self.token.path("kekd.log"), encoding="utf-8") as file:
                return file.read()
        try:
            wait_for(lambda: "not tried again: change that file" in said(), "the refusal")
            assert "the PIN in " + self.token.extra["secret_id_file"] in said(), said()
            time.sleep(3)
            assert said().count("the server refuses the login") <= 1, said()
            self.bao.secret("secret-id", secret)
            wait_for(lambda: "ok" in self.kekctl("kms", "status", code=(0, 1, 3))[0], "a good Status")
            assert secret not in said()
        finally:
            kekd.terminate()
            assert kekd.wait(60) == 0

    def check_versions_of_the_configuration(self):
        self.fresh()
        self.token.versions = [{"n": 1, "state": "deactivated"}]
        with Worker(self.token) as worker:
            version, = worker.list()
            assert (version.can_wrap, version.can_unwrap, version.eligible) == (False, True, True)
            self.refused("STATE", "versions: does not let", worker.wrap, version.kek_id, bytes(32))

    def check_sealed(self):
        self.fresh()
        with Worker(self.token) as worker:
            version, = worker.list()
            sealed = worker.wrap(version.kek_id, bytes(32))
            self.bao.ask("PUT", "sys/seal")
            failure = self.refused("LINK", "sealed", worker.unwrap, version.kek_id, *sealed)
            assert failure.native == 503
            self.refused("LINK", "sealed", lambda: Worker(self.token).close())
            self.bao.unseal()
            assert worker.unwrap(version.kek_id, *sealed) == bytes(32)

    def run(self):
        failed = 0
        for name in [name for name in dir(self) if name.startswith("check_")]:
            began = time.monotonic()
            try:
                getattr(self, name)()
                said = "pass"
            except (AssertionError, Failed, Refused, OSError, ValueError, KeyError) as error:
                said, failed = "FAIL: %s: %s" % (type(error).__name__, error), failed + 1
            print("%-12s %s: %s (%.1f s)" % ("openbao", name[6:].replace("_", " "), said, time.monotonic() - began), flush=True)
        return failed


if __name__ == "__main__":
    TOKEN = Transit()
    CODE = main(TOKEN, EXPECTED, [], {**CASES, "list": "PASS: TRANSIT", "mechanism": "PASS: aes256-gcm96"})
    sys.exit(1 if Checks(TOKEN).run() or CODE else 0)
