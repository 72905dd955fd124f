"""What every provider must do, tried on one token through the real worker.

Each check ends in one of three ways: "pass" (with what was found, where that is worth saying), "cannot" with the
token's own reason, or a failure.  What a token cannot do is part of the report, and the report is compared
with the one that the test expects, line by line: a token that learns something, or forgets it, is noticed.
"""

import copy
import json
import os
import subprocess
import sys

from tokens import wait_for
from worker import LENGTHS, PROGRAM, Failed, Worker

KEKD = os.path.join(os.path.dirname(PROGRAM), "kekd")
KEKCTL = os.path.join(os.path.dirname(PROGRAM), "kekctl")
FAULT = os.path.join(os.path.dirname(PROGRAM), "tests", "faults", "fault.so")
SESSIONS = 8
ROUNDS = 25  # requests a session

UNKNOWN = bytes([0xEE]) * 16
V1, V2, V3 = (bytes(range(n, n + 16)) for n in (0x10, 0x40, 0x70))


class Cannot(Exception):
    """The token or its algorithm does not offer this; the reason, without anything that changes."""


class Suite:
    def __init__(self, token, matrix):
        self.token = token
        self.matrix = matrix
        self.key = os.urandom(32)
        self.ids = {}
        self.alg, self.blob = None, None

    # The order is that of a key's life; a later check uses what an earlier one made.
    CHECKS = ("generate", "probe", "list", "round trip", "tampered", "truncated", "another key's", "missing key",
              "concurrent", "two processes", "logout elsewhere", "killed and restarted", "other strategies",
              "remembered algorithm", "kekd serves", "states", "crash between two changes", "destroy", "wrong PIN")

    def run(self, checks):
        """{check: outcome}"""
        report = {}
        for name in checks:
            method = getattr(self, "check_" + name.replace(" ", "_").replace("'", ""))
            try:
                found = method()
                report[name] = "pass" if found is None else "pass: " + found
            except Cannot as reason:
                report[name] = "cannot: %s" % reason
            except (AssertionError, Failed, OSError, subprocess.SubprocessError) as error:
                report[name] = "FAIL: %s: %s" % (type(error).__name__, error)
            print("%-12s %-20s %s" % (self.token.name, name, report[name]), flush=True)
        return report

    def refused(self, cause, action, *arguments):
        """The text that came with the refusal, which must be of that cause."""
        try:
            action(*arguments)
        except Failed as failure:
            assert failure.cause in cause, "%s, expected %s" % (failure, " or ".join(cause))
            return failure.text
        raise AssertionError("not refused")

    def check_generate(self):
        reason = None
        with Worker(self.token, "officer") as officer:
            assert officer.token.get(14, 0) < 1 << 20, "an odd number of sessions"
            for number, kek_id in ((1, V1), (2, V2)):
                try:
                    officer.generate(number, kek_id)
                    self.ids[number] = kek_id
                except Failed as failure:
                    assert failure.cause == "UNSUPPORTED", failure
                    reason = failure.text
            if reason is None:
                text = self.refused(("STATE",), officer.generate, 1, V3)
                assert "exists already" in text, text
        if reason is not None:
            for number, kek_id in ((1, V1), (2, V2)):
                self.ids[number] = self.token.make_key(number, kek_id)
            raise Cannot(reason)

    def configure(self):
        """The path of a configuration; YAML's flow style, which JSON is."""
        provider = {"name": self.token.name, "type": "pkcs11", "uri": self.token.uri,
                    "strategy": self.token.strategy, "env": self.token.env}
        if self.token.init_args:
            provider["init_args"] = self.token.init_args
        if self.token.versions:
            provider["versions"] = self.token.versions
        return self.token.write("kekd.yaml", json.dumps({
            "listen": "unix://" + self.token.path("kms.sock"), "keyring": "ring",
            "state_dir": self.token.path("state_dir"), "log": {"level": "error"}, "providers": [provider]}))

    def kekctl(self, *words, given=b"", codes=(0,)):
        """Its output."""
        done = subprocess.run([KEKCTL, "--config", self.configure(), *words], input=given, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)
        assert done.returncode in codes, "exit %d: %s" % (done.returncode, done.stderr.decode())
        return done.stdout

    def check_probe(self):
        """What the token can do, as an operator is told; the table is this test's log."""
        before = self.token.objects()
        # A token that hands the KEK out is a failed check.
        codes = (3,) if any(row.startswith("keeps the KEK in: NO") for row in self.matrix) else (0,)
        print(self.kekctl("probe", codes=codes).decode())
        found = json.loads(self.kekctl("probe", "--output", "json", codes=codes))
        assert self.token.objects() == before, "something stayed on the token"
        rows = ["%s %s%s: %s%s" % (row["strategy"], row["mechanism"], "" if row["advertised"] else " (not advertised)",
                                   row["says"], ", used" if row["used"] else "") for row in found["trials"]]
        rows += ["keeps the KEK in: " + provider["keeps_kek_says"] for provider in found["providers"]]
        for row in found["states"]:
            rows.append("%s to %s: taken %s" % (row["from"], row["to"], row["taken"]) +
                        (": " + row["says"] if row["taken"] != "yes" else ", enforced %s%s%s, running %s, fresh %s" % (
                            row["enforced"], ": " if row["enforced_says"] else "", row["enforced_says"],
                            row["running"], row["fresh"])))
        rows += ["a copy: %s: %s" % (copy["made"], copy["says"] or "loses %s, %s" % (
            copy["lost"] or "nothing", "may wrap again" if copy["reopened"] else "may not wrap again"))
                 for copy in found["copies"]]
        for row in rows:
            assert row in self.matrix, "unexpected: " + row
        assert rows == self.matrix, "missing: %s" % [row for row in self.matrix if row not in rows]

    def check_list(self):
        with Worker(self.token) as worker:
            shown = worker.list()
            assert [v.number for v in shown] == [1, 2], [v.number for v in shown]
            assert [v.kek_id for v in shown] == [self.ids[1], self.ids[2]]
            for version in shown:
                assert version.eligible and version.can_wrap and version.can_unwrap, version.refusal
            assert shown[0].alg == shown[1].alg != "none"
            return shown[0].alg

    def check_round_trip(self):
        with Worker(self.token) as worker:
            self.alg, self.blob = worker.wrap(self.ids[1], self.key)
            assert len(self.blob) == LENGTHS[self.alg]
            assert self.key not in self.blob
            for _ in range(3):
                key = os.urandom(32)
                alg, blob = worker.wrap(self.ids[1], key)
                assert alg == self.alg and worker.unwrap(self.ids[1], alg, blob) == key
            assert worker.unwrap(self.ids[1], self.alg, self.blob) == self.key

    def unauthenticated(self, worker, kek_id, blobs):
        """How many of these, none of which is good, are taken; the key of none may come out."""
        taken = 0
        for blob in blobs:
            try:
                assert worker.unwrap(kek_id, self.alg, blob) != self.key, "the key came out of a bad blob"
                taken += 1
            except Failed as failure:
                assert failure.cause == "DATA", failure
        return taken

    def only_cbc_may(self, taken, what):
        if taken:
            assert self.alg == "AES-CBC", "%s takes %s" % (self.alg, what)
            raise Cannot("AES-CBC takes %s, and another key comes out" % what)

    def check_tampered(self):
        blobs = [self.blob[:i] + bytes([self.blob[i] ^ 1 << i % 8]) + self.blob[i + 1:]
                 for i in range(len(self.blob))]
        with Worker(self.token) as worker:
            taken = self.unauthenticated(worker, self.ids[1], blobs)
            assert worker.unwrap(self.ids[1], self.alg, self.blob) == self.key
        self.only_cbc_may(taken, "a damaged blob")

    def check_truncated(self):
        with Worker(self.token) as worker:
            for length in (*range(len(self.blob)), len(self.blob) + 1, 512):
                blob = (self.blob + bytes(512))[:length]
                self.refused(("DATA",), worker.unwrap, self.ids[1], self.alg, blob)
            assert worker.unwrap(self.ids[1], self.alg, self.blob) == self.key

    def check_another_keys(self):
        with Worker(self.token) as worker:
            _, other = worker.wrap(self.ids[2], self.key)
            taken = self.unauthenticated(worker, self.ids[1], [other])
            assert worker.unwrap(self.ids[2], self.alg, other) == self.key
        self.only_cbc_may(taken, "another key's blob")

    def check_missing_key(self):
        with Worker(self.token) as worker:
            self.refused(("KEY_MISSING",), worker.wrap, UNKNOWN, self.key)
            self.refused(("KEY_MISSING",), worker.unwrap, UNKNOWN, self.alg, self.blob)
            assert worker.unwrap(self.ids[1], self.alg, self.blob) == self.key

    def check_concurrent(self):
        """As many requests under way as there are sessions, wraps and unwraps mixed."""
        with Worker(self.token, sessions=SESSIONS) as worker:
            unwrap = worker.unwrap_body(self.ids[1], self.alg, self.blob)
            waiting, blobs = {}, []
            for i in range(SESSIONS * ROUNDS + SESSIONS):
                if len(waiting) == SESSIONS or i >= SESSIONS * ROUNDS:
                    got, reply = worker.receive()
                    kind = waiting.pop(got)
                    message = worker.result(reply)
                    if kind == "unwrap":
                        assert message[-32:] == self.key, "a wrong key came back"
                    else:
                        blobs.append(worker.wrapped(message))
                if i < SESSIONS * ROUNDS:
                    kind = "unwrap" if i % 2 else "wrap"
                    sent = (worker.send(6, unwrap) if i % 2 else
                            worker.send(5, worker.wrap_body(self.ids[1], self.key)))
                    waiting[sent] = kind
            assert not waiting and len(blobs) == SESSIONS * ROUNDS // 2
            for alg, blob in blobs[::10]:
                assert worker.unwrap(self.ids[1], alg, blob) == self.key

    def check_two_processes(self):
        with Worker(self.token) as one, Worker(self.token) as other:
            for first, second in ((one, other), (other, one)):
                alg, blob = first.wrap(self.ids[1], self.key)
                assert second.unwrap(self.ids[1], alg, blob) == self.key

    def check_logout_elsewhere(self):
        """Another program logs in to the same token and out again: no business of ours."""
        with Worker(self.token) as worker:
            worker.wrap(self.ids[1], self.key)
            done = subprocess.run([sys.executable, "-B", os.path.join(os.path.dirname(__file__), "elsewhere.py"),
                                   self.token.module, self.token.pin_file, self.token.init_args],
                                  env={**os.environ, **self.token.env}, check=False, timeout=60,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            assert done.returncode == 0, done.stdout
            alg, blob = worker.wrap(self.ids[1], self.key)
            assert worker.unwrap(self.ids[1], alg, blob) == self.key

    def check_killed_and_restarted(self):
        worker = Worker(self.token, sessions=2)
        worker.send(5, worker.wrap_body(self.ids[1], self.key))
        worker.kill()
        with Worker(self.token) as again:
            assert again.unwrap(self.ids[1], self.alg, self.blob) == self.key

    def check_other_strategies(self):
        """What the configuration can force on the same keys: one strategy is theirs, the other is refused."""
        found = []
        for strategy in ("wrap-key", "encrypt"):
            with Worker(self.token, strategy=strategy) as worker:
                try:
                    alg, blob = worker.wrap(self.ids[1], self.key)
                    assert worker.unwrap(self.ids[1], alg, blob) == self.key
                    found.append("%s %s" % (strategy, alg))
                except Failed as failure:
                    assert failure.cause in ("KEY_UNFIT", "STATE"), failure
        assert len(found) == 1, found
        return found[0]

    def check_remembered_algorithm(self):
        """What an earlier start proved is tried first, and what the token cannot do is not clung to."""
        with Worker(self.token, alg=self.alg) as worker:
            assert worker.versions[0].alg == self.alg
        with Worker(self.token, alg="AES-GCM") as worker:
            return "AES-GCM gives " + worker.versions[0].alg

    def check_kekd_serves(self):
        """The whole of it: what one kekd sealed the next one opens, and nobody opens what was damaged."""
        sealed = None
        for _ in range(2):
            # pylint: disable=consider-using-with
            kekd = subprocess.Popen([KEKD, "--config", self.configure()], stdin=subprocess.DEVNULL)
            try:
                wait_for(lambda: os.path.exists(self.token.path("kms.sock")), "kekd's socket")
                wait_for(lambda: b"ok" in self.kekctl("kms", "status", codes=(0, 1, 3)), "a good Status")
                sealed = sealed or self.kekctl("kms", "encrypt", given=self.key)
                assert self.kekctl("kms", "decrypt", given=sealed) == self.key
                for i in (5, len(sealed) // 3, len(sealed) // 2, len(sealed) - 1):
                    damaged = sealed[:i] + bytes([sealed[i] ^ 1]) + sealed[i + 1:]
                    assert self.kekctl("kms", "decrypt", given=damaged, codes=(1,)) == b""
                assert self.kekctl("kms", "decrypt", given=sealed) == self.key
            finally:
                kekd.terminate()
                code = kekd.wait(60)
            assert code == 0, "kekd ended with %d" % code

    # In the order of one key's life; a key that is compromised is never active again.
    LIFE = ("deactivated", "active", "suspended", "deactivated", "active", "suspended", "active", "compromised",
            "suspended", "deactivated")

    def shows(self, worker, state, compromised):
        """Does a worker show the key, once, as this state has it?"""
        version, = [v for v in worker.list() if v.kek_id == self.ids[2]]
        assert version.eligible, version.refusal
        return (version.can_wrap, version.can_unwrap, version.compromised, version.label) == (
            state == "active" and not compromised, state != "suspended", compromised,
            "ring.v2" + (".compromised" if compromised else ""))

    def check_states(self):
        """Each change by a process of its own: what the token then says to it, to one that runs, to a fresh one."""
        said, compromised, seen = set(), False, True
        with Worker(self.token, "officer") as before:
            alg, blob = before.wrap(self.ids[2], self.key)
            for state in self.LIFE:
                with Worker(self.token, "officer") as officer:
                    officer.set_state(self.ids[2], state)
                    compromised = compromised or state == "compromised"
                    assert self.shows(officer, state, compromised), state
                    # This one knows the key as it was, so it is the token that refuses, or nobody.
                    tried = [worker.try_key(self.ids[2], alg, blob) for worker in (before, officer)]
                seen = self.shows(before, state, compromised) and seen
                with Worker(self.token, "officer") as after:
                    assert self.shows(after, state, compromised), state
                    tried.append(after.try_key(self.ids[2], alg, blob))
                    self.acts_as(after, state, alg, blob)
                    if compromised:
                        self.refused(("STATE",), after.set_state, self.ids[2], "active")
                for wrap, unwrap in tried:
                    if state != "active":
                        said.add(wrap)
                    if state == "suspended":
                        said.add(unwrap)
                    assert (wrap is None or state != "active") and (unwrap is None or state == "suspended"), tried
        late = "" if seen else "; a process that was there before does not see them"
        if said == {None}:
            raise Cannot("the token shows the new flags and wraps and unwraps all the same" + late)
        assert None not in said, said
        return "enforced: " + ", ".join(sorted(said)) + late

    def acts_as(self, worker, state, alg, blob):
        """The worker keeps to the state, whatever the token does."""
        if state == "active":
            assert worker.unwrap(self.ids[2], *worker.wrap(self.ids[2], self.key)) == self.key
        else:
            self.refused(("STATE",), worker.wrap, self.ids[2], self.key)
        if state == "suspended":
            self.refused(("STATE",), worker.unwrap, self.ids[2], alg, blob)
        else:
            assert worker.unwrap(self.ids[2], alg, blob) == self.key

    # From where (None: as the move before left it), to where, and the call that the worker does not live to make.
    MOVES = (("active", "deactivated", 1), ("active", "deactivated", 2), ("deactivated", "active", 1),
             ("deactivated", "active", 2), ("active", "suspended", 1), ("active", "suspended", 2),
             ("suspended", "active", 1), ("suspended", "active", 2), ("suspended", "deactivated", 2),
             ("active", "compromised", 1), (None, "compromised", 2), (None, "compromised", 2))

    def check_crash_between_two_changes(self):
        """A worker that ends before any call of a change leaves a key that unwraps what it wraps and has its name."""
        control = self.token.path("fault")
        faulty = copy.copy(self.token)
        faulty.uri = self.token.uri.replace(self.token.module, FAULT)
        faulty.env = {**self.token.env, "KEK_FAULT_MODULE": self.token.module, "KEK_FAULT_CONTROL": control}
        with Worker(self.token, "officer") as officer:
            try:
                officer.generate(3, V3)
                kek_id = V3
            except Failed:
                kek_id = self.token.make_key(3, V3)
        with Worker(self.token, "officer") as officer:
            alg, blob = officer.wrap(kek_id, self.key)
        for place, (start, end, call) in enumerate(self.MOVES):
            if start is not None:
                with Worker(self.token, "officer") as officer:
                    officer.set_state(kek_id, start)
            with open(control + ".new", "wb") as file:
                file.write(("C_SetAttributeValue %d abort\n" % call).encode().ljust(8192, b"\0"))
            os.rename(control + ".new", control)
            Worker(faulty, "officer").dies_at(kek_id, end)
            os.unlink(control)
            with Worker(self.token, "officer") as after:
                version, = [v for v in after.list() if v.kek_id == kek_id]
                assert version.eligible, version.refusal
                marked = end == "compromised" and self.MOVES[place - 1][1] == "compromised"
                assert version.label == "ring.v3" + (".compromised" if marked else ""), version.label
                wraps, unwraps = after.flags(kek_id, alg)
                assert unwraps or not wraps, "it wraps what it may not unwrap"
                assert version.compromised == marked and not (marked and version.can_wrap)
                if end != "compromised" or place + 1 == len(self.MOVES):
                    after.set_state(kek_id, end)
                    assert after.flags(kek_id, alg) == (end == "active", end != "suspended")
        with Worker(self.token, "officer") as officer:
            assert officer.unwrap(kek_id, alg, blob) == self.key
            self.refused(("STATE",), officer.wrap, kek_id, self.key)
            officer.destroy(kek_id)

    def check_destroy(self):
        with Worker(self.token, "officer") as officer:
            try:
                officer.destroy(self.ids[2])
            except Failed as failure:
                assert failure.cause == "UNSUPPORTED", failure
                raise Cannot(failure.text) from None
            self.refused(("KEY_MISSING",), officer.destroy, self.ids[2])
        with Worker(self.token) as worker:
            self.refused(("KEY_MISSING",), worker.wrap, self.ids[2], self.key)
            assert worker.unwrap(self.ids[1], self.alg, self.blob) == self.key

    def check_wrong_PIN(self):  # pylint: disable=invalid-name
        wrong = self.token.write("wrong-pin", "7654321")
        uri = self.token.uri.replace(self.token.pin_file, wrong)
        text = self.refused(("PIN_REFUSED",), lambda: Worker(self.token, uri=uri).close())
        with Worker(self.token) as worker:
            assert worker.unwrap(self.ids[1], self.alg, self.blob) == self.key
        return text


def main(token, expected, matrix, checks=Suite.CHECKS):
    """The exit code. `expected` has one outcome a check, `matrix` what kekctl probe prints, a string a row."""
    found = Suite(token, matrix).run(checks)
    different = [name for name in checks if found[name] != expected.get(name)]
    for name in different:
        print("%s: %s:\n  expected %s\n  found    %s" % (token.name, name, expected.get(name), found[name]))
    return 1 if different else 0
