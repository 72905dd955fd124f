"""What every provider must do, tried on one token: what a user may try on his own is kekctl conformance, which the first check runs
here and judges case by case; what needs hands outside, an outage or a clock that is off, is tried here through the real worker.

Each check ends in one of four ways: "pass" (with what was found, where that is worth saying), "cannot" with the
token's own reason, "not applicable" with the reason why there is nothing to try, or a failure.  What a token cannot do is part of
the report, and the report is compared with the one that the test expects, line by line: a token that learns something, or forgets
it, is noticed.
"""

import copy
import json
import os
import re
import subprocess
import sys

from tokens import wait_for
from worker import FOLDER, LENGTHS, Failed, Worker

KEKD = os.path.join(FOLDER, "kekd")
KEKCTL = os.path.join(FOLDER, "kekctl")
FAULT = os.path.join(FOLDER, "tests", "faults", "fault.so")
UNKNOWN = bytes([0xEE]) * 16
AUDIT = bytes([0xA0]) * 16
V1, V2, V3 = (bytes(range(n, n + 16)) for n in (0x10, 0x40, 0x70))


class Cannot(Exception):
    """The token or its algorithm does not offer this; the reason, without anything that changes."""


class Suite:
    def __init__(self, token, matrix, cases):
        self.token = token
        self.matrix = matrix
        self.cases = cases
        self.key = os.urandom(32)
        self.ids = {}
        self.alg, self.blob = None, None

    # The order is that of a key's life; a later check uses what an earlier one made.
    CHECKS = ("conformance", "generate", "probe", "outage", "slow", "garbage", "credentials end", "clock off", "logout elsewhere",
              "other strategies", "remembered algorithm", "kekd serves", "disabled key", "crash between two changes", "destroy",
              "audit key", "wrong PIN")

    def run(self, checks):
        """{check: outcome}"""
        report = {}
        for name in checks:
            if name in self.token.not_applicable:
                report[name] = "not applicable: " + self.token.not_applicable[name]
                continue
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

    def check_conformance(self):
        """Each case of kekctl conformance ends as it is to, and nothing stays on the token."""
        spare = [word for name in self.token.spare_keys() for word in ("--existing-key", name)]
        before = self.token.objects()
        found = json.loads(self.kekctl("conformance", "--output", "json", *spare, codes=(0, 3)))
        assert self.token.objects() == before, "something stayed on the token"
        wrong = []
        for row in found["cases"]:
            said = "%s: %s" % (row["outcome"], row["says"])
            print("%-12s   %-22s %s" % (self.token.name, row["name"], said))
            if not re.match(self.cases.get(row["name"], "PASS"), said):
                wrong.append("%s: expected %s, found %s" % (row["name"], self.cases.get(row["name"], "PASS"), said))
        unknown = set(self.cases) - {row["name"] for row in found["cases"]}
        assert not wrong and not unknown, "%s %s" % ("; ".join(wrong), unknown or "")
        return "%d passed, %d failed, %d not supported, %d skipped" % tuple(
            found["summary"][word] for word in ("pass", "fail", "not_supported", "skipped"))

    def check_generate(self):
        reason = None
        with Worker(self.token, "officer") as officer:
            assert officer.token.get(14, 0) < 1 << 20, "an odd number of sessions"
            for number, kek_id in ((1, V1), (2, V2)):
                try:
                    self.ids[number] = officer.generate(number, kek_id)
                except Failed as failure:
                    assert failure.cause == "UNSUPPORTED", failure
                    reason = failure.text
            if reason is None:
                text = self.refused(("STATE",), officer.generate, 1, V3)
                assert "exists already" in text, text
        if reason is not None:
            for number, kek_id in ((1, V1), (2, V2)):
                self.ids[number] = self.token.make_key(number, kek_id)
        with Worker(self.token) as worker:
            assert [v.number for v in worker.list()] == [1, 2]
            self.alg, self.blob = worker.wrap(self.ids[1], self.key)
            assert len(self.blob) == LENGTHS.get(self.alg, len(self.blob)), "a blob of another length"
        if reason is not None:
            raise Cannot(reason)

    def configure(self):
        """The path of a configuration; YAML's flow style, which JSON is."""
        # A TPM in software, on a busy machine, takes longer than the second that an HSM has.
        provider = {"name": self.token.name, "type": self.token.type, "env": self.token.env, "timeout": "20s",
                    "start_timeout": "2m", **self.token.settings()}
        if self.token.versions:
            provider["versions"] = self.token.versions
        return self.token.write("kekd.yaml", json.dumps({
            "listen": "unix://" + self.token.path("kms.sock"), "keyring": "ring",
            "state_dir": self.token.path("state_dir"), "log": {"level": "error"}, "providers": [provider]}))

    def kekctl(self, *words, given=b"", codes=(0,)):
        """Its output."""
        done = subprocess.run([KEKCTL, "--config", self.configure(), *words], input=given, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=600)
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

    def check_disabled_key(self):
        with Worker(self.token, "officer") as officer:
            try:
                officer.set_state(self.ids[1], "suspended")
            except Failed as failure:
                assert failure.cause == "UNSUPPORTED", failure
                raise Cannot(failure.text) from None
            try:
                with Worker(self.token, known=self.ids.items()) as worker:
                    self.refused(("STATE",), worker.wrap, self.ids[1], self.key)
                    self.refused(("STATE",), worker.unwrap, self.ids[1], self.alg, self.blob)
                    assert worker.unwrap(self.ids[2], *worker.wrap(self.ids[2], self.key)) == self.key
            finally:
                officer.set_state(self.ids[1], "active")
        with Worker(self.token) as worker:
            assert worker.unwrap(self.ids[1], self.alg, self.blob) == self.key

    def works(self, worker):
        assert worker.unwrap(self.ids[1], self.alg, self.blob) == self.key
        assert worker.unwrap(self.ids[1], *worker.wrap(self.ids[1], self.key)) == self.key

    def passes(self, worker, trouble):
        """Trouble that says nothing about a key or a blob: told as that, and over once it is over."""
        said = set()
        with trouble:
            for action in (lambda: worker.wrap(self.ids[1], self.key), worker.list,
                           lambda: worker.unwrap(self.ids[1], self.alg, self.blob)):
                text = self.refused(("BUSY", "LINK"), action)
                assert not any(secret in text for secret in self.token.secrets()), "a secret is told"
                said.add(text)
        self.works(worker)
        return said

    def check_outage(self):
        with Worker(self.token) as worker:
            self.passes(worker, self.token.outage())
            with self.token.outage():
                self.refused(("BUSY", "LINK"), lambda: Worker(self.token).close())
            self.works(worker)

    def check_slow(self):
        """Longer than a call may take: it is the worker that gives up, before its asker does."""
        with Worker(self.token.through_faults()) as worker:
            for text in self.passes(worker, self.token.slow()):
                assert "in time" in text, text

    def check_garbage(self):
        with Worker(self.token.through_faults()) as worker:
            for kind in self.token.GARBAGE:
                try:
                    self.passes(worker, self.token.garbage(kind))
                except (AssertionError, Failed) as error:
                    raise AssertionError("%s: %s" % (kind, error)) from error

    def check_credentials_end(self):
        """One that ends is replaced in the middle of a call; where there is none, that is said, and of no key."""
        with Worker(self.token) as worker:
            self.token.end_credentials()
            self.works(worker)
            self.token.lose_credentials()
            for action in (lambda: worker.wrap(self.ids[1], self.key),
                           lambda: worker.unwrap(self.ids[1], self.alg, self.blob)):
                text = self.refused(("KEY_UNFIT", "LINK"), action)
                assert not any(secret in text for secret in self.token.secrets()), "a secret is told"
            self.refused(("PIN_UNUSABLE", "PIN_REFUSED"), lambda: Worker(self.token).close())
            self.token.restore_credentials()

            def back():
                try:
                    self.works(worker)
                except Failed:
                    return False
                return True
            wait_for(back, "a call after the credentials came back")

    def check_clock_off(self):
        """Who is in goes on; who comes is told which way the clock is off."""
        with Worker(self.token) as worker:
            for seconds, way in ((7200, "behind"), (-7200, "ahead")):
                with self.token.clock_off(seconds):
                    self.works(worker)
                    text = self.refused(("PIN_UNUSABLE",), lambda: Worker(self.token).close())
                    assert "clock" in text and way in text, text
            self.works(worker)

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

    def check_audit_key(self):
        """A key of its own for MACs of the audit log, which both roles make and only an officer makes the key for."""
        with Worker(self.token) as worker:
            before = self.refused(("KEY_MISSING", "UNSUPPORTED"), worker.mac, b"text")
            self.refused(("UNSUPPORTED",), worker.make_audit_key, AUDIT)
        audit, reason = AUDIT, None
        with Worker(self.token, "officer") as officer:
            try:
                officer.make_audit_key(audit)
            except Failed as failure:
                assert failure.cause == "UNSUPPORTED", failure
                audit, reason = self.token.make_audit_key(audit), failure.text
            if audit is None:
                raise Cannot(reason)
            assert "no key ring.audit" in before, before
        with Worker(self.token, "officer") as officer:
            if reason is None:
                text = self.refused(("STATE",), officer.make_audit_key, V3)
                assert "exists already" in text, text
            made = officer.mac(b"text")
            kek_id, mechanism, mac = made
            assert kek_id == audit and len(mac) == {"CKM_SHA256_HMAC": 32, "CKM_AES_CMAC": 16}[mechanism], made
            assert officer.mac(b"texT") != made
        with Worker(self.token) as worker:
            assert worker.mac(b"text") == made == worker.mac(b"text", audit), "another process makes another MAC"
            self.refused(("KEY_MISSING",), worker.mac, b"text", UNKNOWN)
            self.refused(("BAD_REQUEST",), worker.mac, b"x" * 257)
            assert audit not in [version.kek_id for version in worker.list()], "it is a version"
            self.refused(("KEY_MISSING",), worker.wrap, audit, self.key)
        return mechanism if reason is None else "%s, made by the token's own tool" % mechanism

    def check_wrong_PIN(self):  # pylint: disable=invalid-name
        wrong = self.token.write("wrong-pin", "7654321")
        uri = self.token.uri.replace(self.token.pin_file, wrong)
        text = self.refused(("PIN_REFUSED",), lambda: Worker(self.token, uri=uri).close())
        with Worker(self.token) as worker:
            assert worker.unwrap(self.ids[1], self.alg, self.blob) == self.key
        return text


def main(token, expected, matrix, cases, checks=Suite.CHECKS):
    """The exit code. `expected` has one outcome a check, `matrix` what kekctl probe prints, a string a row, `cases` how those of
    kekctl conformance begin that do not pass, by name, as expressions."""
    found = Suite(token, matrix, cases).run(checks)
    expected = {**{name: "not applicable: " + reason for name, reason in token.not_applicable.items()}, **expected}
    different = [name for name in checks if found[name] != expected.get(name)]
    for name in different:
        print("%s: %s:\n  expected %s\n  found    %s" % (token.name, name, expected.get(name), found[name]))
    return 1 if different else 0
