#!/usr/bin/python3
"""kekctl's key commands against workers that do as they are told: a program of the name kekd-pkcs11
beside a copy of kekctl, which speaks proto/provider.proto by hand and keeps its keys in a file."""

import base64
import fcntl
import hashlib
import json
import os
import pty
import re
import shutil
import stat
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unittest

KEKCTL = os.path.join(os.environ["abs_top_builddir"], "kekctl")
INTEROP = os.path.join(os.environ["abs_top_srcdir"], "tests", "interop")

WORKER = r'''#!/usr/bin/python3 -BS
import json, os, socket, sys, time
sys.path.insert(0, "@interop@")
import protowire
from protowire import pack

def unpack(message):
    return dict(protowire.unpack(message))

def load():
    with open(path) as file:
        return json.load(file)

def versions(data):
    return b"".join(pack((1, pack(
        (1, v["number"]), (2, bytes.fromhex(v["id"])), (3, v.get("alg", 1)), (4, "W" in v["may"]), (5, "U" in v["may"]),
        (6, "refusal" not in v), (7, v.get("label", "k.v%d" % v["number"])),
        (8, v.get("refusal", "")), (9, v.get("compromised", False))))) for v in data["versions"])

def failed(step, cause, native, text):
    return pack((4, pack((1, step), (2, cause), (3, native), (5, text))))

def keeping(data):
    keeps = data.get("keeps", [1, 0, ""])
    return pack((2, pack((1, keeps[0]), (2, keeps[1]), (3, keeps[2])))) if keeps else b""

def save(data):
    with open(path + ".new", "w") as file:
        json.dump(data, file)
    os.rename(path + ".new", path)

def set_state(data, kek_id, state):
    """0 pre-active, 1 active, 2 deactivated, 3 suspended, 4 compromised"""
    data.setdefault("set", []).append([kek_id, state])
    mode = data.get("set_state", "good")
    if mode not in ("fail", "unsupported", "die before", "lie"):
        for version in data["versions"]:
            if version["id"] == kek_id:
                version["may"] = ["U", "WU", "U", "", "U"][state]
                version["compromised"] = state == 4
    save(data)
    if mode.startswith("die"):
        os._exit(1)
    if mode == "fail":
        return failed(0, 3, 0x68, "C_SetAttributeValue: CKR_KEY_FUNCTION_NOT_PERMITTED (0x68)")
    if mode == "unsupported":
        return failed(0, 9, 0x10, "the token does not change this key: C_SetAttributeValue: CKR_ATTRIBUTE_READ_ONLY (0x10)")
    return pack((8, b""))

def destroy(data, kek_id):
    data.setdefault("destroyed", []).append(kek_id)
    mode = data.get("destroy", "good")
    if mode not in ("fail", "die before", "lie"):
        data["versions"] = [v for v in data["versions"] if v["id"] != kek_id]
    save(data)
    if mode.startswith("die"):
        os._exit(1)
    if mode == "fail":
        return failed(0, 9, 0x1b, "C_DestroyObject: CKR_ACTION_PROHIBITED (0x1b)")
    return pack((8, b""))

def answer(request):
    data = load()
    if 3 in request:
        if data.get("login") == "refuse":
            return failed(6, 6, 0xa0, "C_Login: CKR_PIN_INCORRECT (0xa0)")
        if data.get("login") == "hang":
            return None
        if data.get("login") in ("die", "pin file"):
            if data["login"] == "die":
                os._exit(1)
            return failed(5, 7, 0, "PIN file /pin has mode 0644")
        return pack((3, versions(data) + pack((2, 1), *((3, other) for other in data.get("others", [])))))
    if 4 in request:
        if data.get("list") == "die" or (data.get("list") == "die once made" and (
                "made" in data or "set" in data or "destroyed" in data)):
            os._exit(1)
        return pack((5, versions(data)))
    if 7 in request:
        asked = unpack(request[7])
        mode = data.get("generate", "good")
        if mode == "wait":
            os.mkdir(path + ".asked")
            while not os.path.exists(path + ".go"):
                time.sleep(0.01)
        data["made"] = {"role": sys.argv[2], "number": asked[1], "id": asked[2].hex(),
                        "state": asked.get(3, 0)}
        if mode not in ("fail", "die before"):
            may = "U" if data["made"]["state"] == 0 or mode == "other state" else "WU"
            made = {"number": asked[1], "id": asked[2].hex(), "may": may}
            if mode == "unfit":
                made["refusal"] = "it is extractable"
            data["versions"].append(made)
        if mode == "lie":
            data["versions"].pop()
        with open(path, "w") as file:
            json.dump(data, file)
        if mode.startswith("die"):
            os._exit(1)
        if mode == "fail":
            return failed(0, 9, 0x54, "C_GenerateKey: CKR_FUNCTION_NOT_SUPPORTED (0x54)")
        return pack((8, b""))
    if 8 in request:
        asked = unpack(request[8])
        return set_state(data, asked[1].hex(), asked.get(2, 0))
    if 9 in request:
        return destroy(data, unpack(request[9])[1].hex())
    if 10 in request:
        if data.get("probe") == "die":
            os._exit(1)
        if data.get("probe") == "fail":
            return failed(0, 2, 5, "C_OpenSession: CKR_GENERAL_ERROR (0x5)")
        if sys.argv[2] != "officer":
            return failed(0, 9, 0, "not for this role")
        return pack((9, b"".join(pack((1, pack(
            (1, t[0]), (2, t[1]), (3, 0x2109), (4, t[2]), (5, 1), (6, t[3]), (7, t[4]), (8, t[5]),
            (9, "session key"), (10, t[6])))) for t in data.get("trials", [])) + keeping(data)))
    return failed(0, 10, 0, "not for this worker")

link = socket.socket(fileno=3)
while True:
    try:
        message = link.recv(65536)
    except ConnectionResetError:  # it left without reading the last answer
        message = b""
    if not message:
        os._exit(0)
    request = unpack(message)
    if 2 in request:
        name = unpack(request[2])[2].decode()
        path = os.path.join(os.path.dirname(sys.argv[0]), name + ".json")
        serial = load().get("serial", "serial-" + name)
        reply = pack((2, pack((1, 2), (2, serial), (3, "t"), (5, "model"), (8, 1), (9, 1), (10, 4))))
    else:
        reply = answer(request)
        if reply is None:
            continue
    try:
        link.send(pack((1, request[1])) + reply)
    except OSError:
        os._exit(0)
'''

PROVIDER = """  - name: {name}
    type: pkcs11
    uri: "pkcs11:token=t?module-path=/m.so&pin-source=file:/pin"
    timeout: 10s
    start_timeout: {start_timeout}
"""


class Keys(unittest.TestCase):
    def setUp(self):
        # pylint: disable=consider-using-with
        self.folder = tempfile.TemporaryDirectory()
        self.start_timeout = "20s"
        self.env = None  # as here
        self.kekctl = shutil.copy(KEKCTL, self.path("kekctl"))
        with open(self.path("kekd-pkcs11"), "w", encoding="utf-8") as file:
            file.write(WORKER.replace("@interop@", INTEROP))
        os.chmod(self.path("kekd-pkcs11"), stat.S_IRWXU)
        os.mkdir(self.path("state"), 0o700)
        self.configure("a")

    def tearDown(self):
        self.folder.cleanup()

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def configure(self, *names, extra=""):
        with open(self.path("f.yaml"), "w", encoding="utf-8") as file:
            file.write(f"listen: unix:///s\nkeyring: k\nstate_dir: {self.path('state')}\nproviders:\n")
            file.write("".join(PROVIDER.format(name=name, start_timeout=self.start_timeout) for name in names) + extra)
        os.chmod(self.path("f.yaml"), 0o600)

    def token(self, name, *versions, **modes):
        with open(self.path(name + ".json"), "w", encoding="utf-8") as file:
            json.dump({"versions": list(versions), **modes}, file)

    def made(self, name="a"):
        with open(self.path(name + ".json"), encoding="utf-8") as file:
            return json.load(file).get("made")

    def run_it(self, *args):
        done = subprocess.run([self.kekctl, "--config", self.path("f.yaml"), "key", *args], env=self.env,
                              capture_output=True, timeout=120, check=False, stdin=subprocess.DEVNULL)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def on_terminal(self, columns, *args):
        """What it prints on a terminal so wide, line by line."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        out = b""
        with subprocess.Popen([self.kekctl, "--config", self.path("f.yaml"), "key", *args], env=self.env,
                              stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.DEVNULL):
            os.close(theirs)
            try:
                while chunk := os.read(ours, 4096):
                    out += chunk
            except OSError:  # the terminal's last writer is gone
                pass
        os.close(ours)
        return out.decode().splitlines()

    @staticmethod
    def key_id(number, context=b""):
        """As docs/envelope-format.md has it."""
        text = b"kekd/key_id/1" + len(context).to_bytes(2, "big") + context + b"\x01" + number.to_bytes(16, "big")
        return "kek1-" + hashlib.sha256(text).hexdigest()[:32]

    def record(self, number):
        """The state file of a kekd that announced this version last."""
        kek_id = number.to_bytes(16, "big")
        witness = b"KEK\x01\x01\x01\x01\x01" + kek_id + (40).to_bytes(2, "big") + bytes(40 + 16 + 16 + 32)
        with open(self.path("state/k.json"), "w", encoding="utf-8") as file:
            json.dump({"format": 1, "keyring": "k", "context": "",
                       "primary": {"number": number, "kek_id": kek_id.hex()},
                       "versions": [{"number": number, "kek_id": kek_id.hex(), "gcm_wraps": 0,
                                     "witness": base64.b64encode(witness).decode()}]}, file)

    @staticmethod
    def version(number, may, **more):
        return {"number": number, "id": f"{number:032x}", "may": may, **more}


class List(Keys):
    def test_an_empty_keyring_is_said_to_be_empty(self):
        self.token("a")
        code, out, err = self.run_it("list")
        self.assertEqual((code, out), (0, ""))
        self.assertEqual(err, "kekctl: key list: the keyring k has no version yet: "
                              "key generate makes the first\n")

    def test_closed_descriptors_do_no_harm(self):
        self.token("a", self.version(1, "WU"))
        for closed, expected in (("<&-", 0), ("2>&-", 0), ("<&- 2>&-", 0), (">&-", 1), ("<&- >&- 2>&-", 1)):
            with self.subTest(closed):
                done = subprocess.run(["sh", "-c", f'exec "$0" --config "$1" key list {closed}',
                                       self.kekctl, self.path("f.yaml")],
                                      stdout=subprocess.PIPE, timeout=120, check=False)
                self.assertEqual(done.returncode, expected)
                self.assertEqual(b"k.v1" in done.stdout, expected == 0)

    def test_versions_are_listed_by_number_with_their_states(self):
        self.configure("a", "b")
        self.token("a", self.version(10, "U"), self.version(2, "WU"), self.version(1, "U"))
        self.token("b", self.version(2, "WU"), self.version(1, ""))
        code, out, _ = self.run_it("list")
        self.assertEqual(code, 3)
        rows = [line.split() for line in out.splitlines()]
        self.assertEqual(rows[0], ["VERSION", "STATE", "KEK-ID", "KEY-ID", "ALG", "PROVIDER", "LABEL"])
        self.assertEqual([(r[0], r[1], r[5], r[6]) for r in rows[1:]], [
            ("1", "deactivated", "a", "k.v1"), ("1", "suspended", "b", "k.v1"),
            ("2", "active", "a", "k.v2"), ("2", "active", "b", "k.v2"),
            ("10", "pre-active", "a", "k.v10")])
        self.assertEqual(rows[1][2:5], [f"{1:032x}", self.key_id(1), "AES-KW"])

    def test_on_a_terminal_the_table_is_no_wider(self):
        self.token("a", self.version(1, "U", refusal="it is extractable, and whoever reads it has all that it sealed",
                                     alg=0), self.version(2, "WU"))
        _, out, _ = self.run_it("list")
        self.assertGreater(len(out.splitlines()[1]), 160)
        self.assertRegex(out.splitlines()[1], r" not known +a ")
        for columns in (160, 100, 80):
            lines = self.on_terminal(columns, "list")
            self.assertLessEqual(max(map(len, lines)), columns)
            self.assertEqual(" ".join(lines).count("extractable"), 1, lines)
        self.assertIn(f"{2:032x}", " ".join(self.on_terminal(160, "list")))
        self.assertNotIn(f"{2:032x}", " ".join(self.on_terminal(80, "list")))

    def test_an_environment_that_differs_from_the_shells_is_told_of(self):
        self.configure("a", extra="    env: {KEK_TEST_CONF: /etc/there, KEK_TEST_SAME: x}\n")
        self.token("a", login="pin file")
        self.env = dict(os.environ, KEK_TEST_CONF="/home/here", KEK_TEST_SAME="x")
        code, _, err = self.run_it("list")
        self.assertEqual(code, 1)
        self.assertIn(f"a: `env` in {self.path('f.yaml')} sets KEK_TEST_CONF=/etc/there, and this shell has "
                      "KEK_TEST_CONF=/home/here: the former counts\n", err)
        self.assertNotIn("SAME", err)

    def test_the_largest_settings_reach_the_worker(self):
        name, keyring, filler = "n" * 32, "k" * 63, "&x=" + "y" * 500
        uri = "pkcs11:token=t?module-path=/m.so&pin-source=file:/pin" + filler * 7
        versions = "".join("      - {n: %d, label: %s, state: active}\n" % (4294967295 - i, f"{i:02d}" + "l" * 125)
                           for i in range(64))
        self.token(name, self.version(1, "WU"))
        def config(more):
            with open(self.path("f.yaml"), "w", encoding="utf-8") as file:
                file.write(f"listen: unix:///s\nkeyring: {keyring}\nstate_dir: {self.path('state')}\nproviders:\n"
                           f"  - name: {name}\n    type: pkcs11\n    init_args: {'a' * 1024}\n"
                           f"    uri: \"{uri + 'y' * (4096 - len(uri) + more)}\"\n    versions:\n{versions}")
        config(0)
        code, _, err = self.run_it("list")
        self.assertEqual((code, len(err.splitlines())), (3, 64))
        self.assertIn(f"{name}: versions says that version 4294967295 is active, and the token shows no such key", err)
        config(1)
        code, _, err = self.run_it("list")
        self.assertEqual(code, 2)
        self.assertIn(".uri: expected a PKCS#11 URI of at most 4096 bytes", err)

    def test_json_has_providers_and_versions(self):
        self.token("a", self.version(1, "WU"))
        code, out, err = self.run_it("list", "--output", "json")
        self.assertEqual((code, err), (0, ""))
        found = json.loads(out)
        self.assertEqual(found["keyring"], "k")
        self.assertEqual(found["providers"], [{"name": "a", "answered": True, "serial": "serial-a",
                                               "model": "model", "firmware": "", "error": ""}])
        self.assertEqual(found["versions"], [{
            "version": 1, "state": "active", "kek_id": f"{1:032x}", "key_id": self.key_id(1), "alg": "AES-KW",
            "provider": "a", "label": "k.v1", "eligible": True, "can_wrap": True, "can_unwrap": True, "refusal": ""}])

    def test_a_refused_key_exits_3_and_says_why(self):
        self.token("a", self.version(1, "WU"), self.version(9, "WU", refusal="it is extractable"))
        code, out, _ = self.run_it("list")
        self.assertEqual(code, 3)
        self.assertIn("REFUSAL", out)
        self.assertIn("it is extractable", out)

    def check(self, *said):
        """Exit 3, and these sentences alone."""
        code, out, err = self.run_it("list")
        self.assertEqual(err, "".join(f"kekctl: key list: {sentence}\n" for sentence in said))
        self.assertEqual(code, 3 if said else 0)
        return out

    def test_two_tokens_that_differ_exit_3_with_a_sentence_each(self):
        self.configure("a", "b")
        one, other = self.version(1, "WU"), self.version(1, "WU", id=f"{7:032x}")
        for a, b, *said in (
                ([one], [one]),
                ([one], [other], f"version 1 is two different keys, kek id {1:032x} on a and {7:032x} on b: "
                                 f"{7:032x} is surplus, and kekd seals nothing under it; "
                                 "destroy neither, since each may have sealed something, and bring to each provider "
                                 "the one that it lacks"),
                ([one], [], "version 1 is on a ('t' serial serial-a) and not on b ('t' serial serial-b): bring its key there"),
                ([], [one], "version 1 is on b ('t' serial serial-b) and not on a ('t' serial serial-a): bring its key there"),
                ([one, self.version(2, "U")], [one], "version 2 is on a ('t' serial serial-a) and not on b ('t' serial serial-b): bring its key there"),
                ([one], [self.version(1, "U")], "version 1 may wrap on a and not on b: finish its change there"),
                ([self.version(1, "")], [one], "version 1 may wrap on b and not on a: finish its change there",
                 "version 1 may unwrap on b and not on a: finish its change there")):
            self.token("a", *a)
            self.token("b", *b)
            self.check(*said)
        # Of one that does not answer nothing is known, but that.
        self.token("a", one)
        self.token("b", login="refuse")
        code, _, err = self.run_it("list")
        self.assertEqual((code, len(err.splitlines())), (3, 1))

    def test_a_keyring_that_seals_nothing_exits_3(self):
        self.token("a", self.version(1, "U"))
        self.check("no version is active, so nothing can be sealed: let the newest one wrap")
        # A refused key is none.
        self.token("a", self.version(1, "U"), self.version(2, "WU", refusal="planted"))
        self.assertEqual(self.run_it("list")[0], 3)
        self.assertIn("no version is active", self.run_it("list")[2])

    def test_what_was_announced_and_is_gone_exits_3(self):
        self.record(2)
        lost = (f"version 2 (kek id {2:032x}), which this node announced last, is on no provider%s: what it sealed "
                "cannot be opened; restore the key, and generate no other")
        failing = ("version 2 on %s does not open what it wrapped: not for this worker; mend it there, and restart "
                   "neither kekd nor an API server before, since their memory may hide it")
        self.token("a", self.version(1, "WU"), self.version(2, "WU"))
        self.check(failing % "a")
        self.token("a", self.version(1, "WU"))
        self.check(lost % "")
        self.token("a", self.version(2, "WU", id=f"{7:032x}"))
        self.check(lost % "")
        self.token("a")
        self.check(lost % "")
        self.token("a", self.version(2, ""), self.version(3, "WU"))
        self.check(f"version 2 (kek id {2:032x}), which this node announced last, may unwrap on no provider: what it "
                   "sealed cannot be opened; give the key its use back")
        self.configure("a", "b")
        self.token("a", self.version(1, "WU"))
        self.token("b", self.version(1, "WU"), self.version(2, "WU"))
        self.check("version 2 is on b ('t' serial serial-b) and not on a ('t' serial serial-a): bring its key there", failing % "b")
        self.token("b", login="refuse")
        self.assertIn(lost % " that answers", self.run_it("list")[2])
        with open(self.path("state/k.json"), "w", encoding="utf-8") as file:
            file.write("{")
        self.assertIn("which version this node announced last is not known: ", self.run_it("list")[2])

    def test_a_misspelt_keyring_is_told_from_an_empty_one(self):
        self.token("a", others=["kk", "quite-another"])
        self.check("a has keys of keyring kk and none of k: is the configuration's keyring misspelt?")
        # What begins as it does, and kekctl made to try the token by.
        self.token("a", others=["quite-another", "kekd-probe-6b0c5d743f771ebb", "kekd-conformance-6b0c5d743f771ebb"])
        self.assertEqual(self.run_it("list")[0], 0)

    def test_what_the_configuration_says_of_a_version_and_the_token_does_not(self):
        self.configure("a", extra="    versions: [{n: 1, state: active}, {n: 2, state: active}, {n: 3, state: deactivated}]\n")
        self.token("a", self.version(1, "WU"), self.version(2, "U"))
        self.check("a: versions says that version 2 is active, and the token does not let it wrap",
                   "a: versions says that version 3 is deactivated, and the token shows no such key that may be used")

    def test_one_token_twice_is_no_redundancy(self):
        self.configure("a", "b")
        self.token("a", self.version(1, "WU"), serial="0815")
        self.token("b", self.version(1, "WU"), serial="0815")
        self.check("a and b are one token (serial 0815): together they are no safer than one")
        # Some libraries number all their tokens so.
        self.token("a", self.version(1, "WU"), serial="0000000000000000")
        self.token("b", self.version(1, "WU"), serial="0000000000000000")
        self.check()

    def test_a_cka_id_that_is_too_short_is_shown_as_it_is(self):
        self.token("a", self.version(1, "WU"), self.version(2, "WU", id="abcd", refusal="CKA_ID has 2 bytes, not 16"),
                   self.version(3, "WU", id="", refusal="CKA_ID has 0 bytes, not 16"))
        code, out, _ = self.run_it("list", "--output", "json")
        self.assertEqual(code, 3)
        self.assertEqual([(v["kek_id"], v["key_id"]) for v in json.loads(out)["versions"]],
                         [(f"{1:032x}", self.key_id(1)), ("abcd", ""), ("", "")])
        self.token("a", self.version(2, "WU", id="abcd"))
        code, _, err = self.run_it("list")
        self.assertEqual(code, 1)
        self.assertIn("malformed", err)

    def test_a_provider_that_does_not_answer_exits_3_and_none_exits_1(self):
        self.configure("a", "b")
        self.token("a", self.version(1, "WU"))
        self.token("b", login="refuse")
        code, out, err = self.run_it("list", "--output", "json")
        self.assertEqual(code, 3)
        self.assertIn("key list: b: ", err)
        self.assertRegex(err, r"refused \(0xa0\)")
        providers = json.loads(out)["providers"]
        self.assertEqual([p["answered"] for p in providers], [True, False])
        self.assertRegex(providers[1]["error"], r"refused \(0xa0\)")
        self.configure("b")
        code, out, err = self.run_it("list")
        self.assertEqual((code, out), (1, ""))
        self.assertIn("b: ", err)


    def test_who_waits_at_a_terminal_is_told_for_whom(self):
        self.configure("a", "b")
        self.token("a", login="hang")
        self.token("b", self.version(1, "WU"))
        ours, theirs = pty.openpty()
        with subprocess.Popen([self.kekctl, "--config", self.path("f.yaml"), "key", "list"], stderr=theirs,
                              stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL) as client:
            os.close(theirs)
            self.assertRegex(os.read(ours, 4096).decode(),
                             r"kekctl: key list: a has not answered yet: waiting for [0-9]+ s more")
            client.terminate()
        os.close(ours)

    def test_what_waiting_does_not_mend_is_not_waited_for(self):
        self.start_timeout = "10m"
        self.configure("a")
        for mode, said in (("pin file", "mode 0644"), ("die", "a: ")):
            self.token("a", login=mode)
            code, out, err = self.run_it("list")
            self.assertEqual((code, out), (1, ""))
            self.assertIn(said, err)


class Generate(Keys):
    def check_made(self, out, number, state, provider="a"):
        rows = dict(line.split() for line in out.splitlines())
        self.assertRegex(rows.pop("kek_id"), re.compile(r"[0-9a-f]{32}\Z"))
        self.assertEqual(rows, {"version": str(number), "state": state, "provider": provider})

    def test_the_first_version_is_active(self):
        self.token("a")
        code, out, err = self.run_it("generate")
        self.assertEqual((code, err), (0, ""))
        self.check_made(out, 1, "active")
        made = self.made()
        self.assertEqual((made["role"], made["number"], made["state"]), ("officer", 1, 1))
        self.assertIn(made["id"], out)

    def test_a_later_version_is_pre_active_and_above_all_others(self):
        self.token("a", self.version(7, "WU", refusal="planted"), self.version(2, "WU"))
        code, out, err = self.run_it("generate", "--output", "json")
        self.assertEqual((code, err), (0, ""))
        self.assertEqual({**json.loads(out), "kek_id": ""},
                         {"version": 8, "state": "pre-active", "provider": "a", "kek_id": ""})
        self.assertEqual(self.made()["state"], 0)

    def test_every_key_has_an_id_of_its_own(self):
        self.token("a")
        self.run_it("generate")
        first = self.made()["id"]
        self.run_it("generate")
        self.assertNotEqual(first, self.made()["id"])
        self.assertEqual(self.made()["number"], 2)

    def test_two_at_once(self):
        """Each would find the same number free."""
        self.token("a", self.version(1, "WU"))
        with open(self.path("state/k.changing"), "w", encoding="utf-8") as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX)
            code, _, err = self.run_it("generate")
        self.assertEqual(code, 1)
        self.assertIn("no key was made: another kekctl changes keys of keyring k (pid %d)" % os.getpid(), err)
        self.assertIsNone(self.made())

    def test_two_at_once_though_the_first_ones_lock_was_removed(self):
        self.token("a", generate="wait")
        with subprocess.Popen([self.kekctl, "--config", self.path("f.yaml"), "key", "generate"], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as first:
            while not os.path.exists(self.path("a.json.asked")):
                self.assertIsNone(first.poll())
                time.sleep(0.01)
            os.unlink(self.path("state/k.changing"))
            for _ in range(2):  # and by the file that the second one made
                code, _, err = self.run_it("generate")
                self.assertEqual(code, 1)
                self.assertIn("another kekctl changes keys of keyring k (pid unknown: its lock file was removed)", err)
            with open(self.path("a.json.go"), "w", encoding="ascii"):
                pass
            self.assertEqual(first.wait(), 0)
        self.assertEqual(self.made()["number"], 1)

    def test_nothing_is_made_beside_a_primary_that_is_lost(self):
        for versions in ([], [self.version(1, "WU")], [self.version(2, "WU", id=f"{7:032x}")], [self.version(2, "")]):
            self.record(2)
            self.token("a", *versions)
            code, out, err = self.run_it("generate")
            self.assertEqual((code, out), (1, ""))
            self.assertIn("no key was made: no provider opens what version 2 (kek id " + f"{2:032x}) sealed", err)
            self.assertIn(f"move {self.path('state')}/k.json away first", err)
            self.assertIsNone(self.made())
        os.remove(self.path("state/k.json"))
        self.assertEqual(self.run_it("generate")[0], 0)
        self.record(2)
        self.token("a", self.version(2, "WU"))
        self.assertEqual(self.run_it("generate")[0], 0)

    def test_several_providers_need_a_choice(self):
        self.configure("a", "b")
        self.token("a", self.version(1, "WU"))
        self.token("b", self.version(1, "WU"), self.version(4, "U"))
        code, out, err = self.run_it("generate")
        self.assertEqual((code, out), (2, ""))
        self.assertIn("each would make a key of its own", err)
        code, out, err = self.run_it("generate", "--provider", "c")
        self.assertEqual((code, out), (2, ""))
        self.assertIn('no provider "c"', err)
        code, out, err = self.run_it("generate", "--provider", "a")
        self.assertEqual(code, 0)
        self.check_made(out, 5, "pre-active")
        self.assertIn("replication", err)
        self.assertIsNone(self.made("b"))

    def test_nothing_is_made_while_a_provider_does_not_answer(self):
        self.configure("a", "b")
        self.token("a")
        self.token("b", login="refuse")
        code, out, err = self.run_it("generate", "--provider", "a")
        self.assertEqual((code, out), (1, ""))
        self.assertIn("no key was made: without every provider's answer", err)
        self.assertIsNone(self.made())

    def test_keys_that_the_configuration_names_are_not_generated(self):
        self.configure("a", extra="    versions: [{n: 1, label: own, state: active}]\n")
        self.token("a")
        code, out, err = self.run_it("generate")
        self.assertEqual((code, out), (2, ""))
        self.assertIn("stand in the configuration (versions)", err)
        self.assertIsNone(self.made())

    def test_the_numbers_end(self):
        self.token("a", self.version(4294967295, "WU"))
        code, _, err = self.run_it("generate")
        self.assertEqual(code, 1)
        self.assertIn("the numbers have come to their end", err)

    def test_a_refusal_of_the_token_is_said(self):
        self.token("a", generate="fail")
        code, out, err = self.run_it("generate")
        self.assertEqual((code, out), (1, ""))
        self.assertIn("no version was made: ", err)
        self.assertIn("CKR_FUNCTION_NOT_SUPPORTED", err)

    def test_a_worker_that_dies_is_resolved_by_looking(self):
        self.token("a", generate="die before")
        code, out, err = self.run_it("generate")
        self.assertEqual((code, out), (1, ""))
        self.assertIn("no version was made: ", err)
        self.token("a", generate="die after")
        code, out, err = self.run_it("generate")
        self.assertEqual(code, 0, err)
        self.check_made(out, 1, "active")
        self.assertIn("the key is there, though its making was not confirmed", err)

    def test_a_key_that_cannot_be_looked_for_is_named(self):
        self.token("a", list="die once made")
        code, out, err = self.run_it("generate")
        self.assertEqual((code, out), (1, ""))
        self.assertIn(f"the key may be on a, look for its kek id {self.made()['id']}: ", err)

    def test_a_key_that_is_not_as_it_must_be_exits_3_or_1(self):
        self.token("a", generate="unfit")
        code, _, err = self.run_it("generate")
        self.assertEqual(code, 3)
        self.assertIn("the key is there and kekd refuses it: it is extractable", err)
        self.token("a", generate="other state")
        code, _, err = self.run_it("generate")
        self.assertEqual(code, 3)
        self.assertIn("the key is there, but it is not active", err)
        self.token("a", generate="lie")
        code, _, err = self.run_it("generate")
        self.assertEqual(code, 1)
        self.assertIn("no version was made: the token does not show it", err)


class Probe(Keys):
    # strategy, mechanism, alg, verdict, code, text, chosen
    TRIALS = [[1, "KW", 1, 0, 0, "", True], [1, "PAD", 2, 1, 0, "", False], [1, "GCM", 3, 2, 0, "", False],
              [2, "CBC", 4, 1, 0, "", False], [2, "KWP", 2, 3, 0x70, "C_EncryptInit: X (0x70)", False]]
    SAYS = ["works", "accepts tampered data", "gives back a wrong key", "works, accepts tampered data",
            "refused: C_EncryptInit: X (0x70)"]
    RESULTS = ["works", "tampered", "wrong", "unauthenticated", "refused"]

    def token(self, name, **data):
        super().token(name, **{"generate": "fail", **data})

    def probe(self, *args):
        done = subprocess.run([self.kekctl, "--config", self.path("f.yaml"), "probe", *args],
                              capture_output=True, timeout=120, check=False, stdin=subprocess.DEVNULL)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def test_every_outcome_has_its_words(self):
        self.token("a", trials=self.TRIALS)
        code, out, err = self.probe()
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(out.split("\n", 1)[0].split(),
                         ["PROVIDER", "STRATEGY", "MECHANISM", "ADVERTISED", "RESULT", "USED"])
        ways, states = out.split("\n\n")
        self.assertEqual(len(ways.splitlines()), 1 + len(self.SAYS) + 1)
        for line, says in zip(ways.splitlines()[1:], self.SAYS):
            self.assertRegex(line, " %s +(yes|no)$" % re.escape(says))
        self.assertRegex(ways.splitlines()[-1], "^a +keeps the KEK in +yes *$")
        self.assertEqual(states.split("\n", 1)[0].split(),
                         ["PROVIDER", "CHANGE", "TAKEN", "ENFORCED", "RUNNING", "FRESH"])
        self.assertEqual(len(states.splitlines()), 1 + 6 + 1)
        for line in states.splitlines()[1:]:
            self.assertIn("not tried: no key could be made: C_GenerateKey: CKR_FUNCTION_NOT_SUPPORTED (0x54)", line)
        code, out, err = self.probe("--output", "json")
        self.assertEqual((code, err), (0, ""))
        found = json.loads(out)
        self.assertEqual([t["result"] for t in found["trials"]], self.RESULTS)
        self.assertEqual([t["says"] for t in found["trials"]], self.SAYS)
        self.assertEqual(found["trials"][4], {
            "provider": "a", "strategy": "encrypt", "mechanism": "KWP", "type": "0x2109", "alg": "AES-KWP",
            "advertised": True, "result": "refused", "says": "refused: C_EncryptInit: X (0x70)", "code": 0x70,
            "tried_with": "session key", "used": False})
        self.assertEqual(found["providers"], [{
            "name": "a", "answered": True, "keeps_kek": "yes", "keeps_kek_says": "yes", "keeps_kek_code": 0, "serial": "serial-a", "model": "model", "firmware": "",
            "library": "", "error": ""}])

    def test_a_token_that_hands_the_kek_out_exits_3(self):
        self.token("a", trials=self.TRIALS, keeps=[2, 0, "C_WrapKey by X"])
        code, out, err = self.probe()
        self.assertEqual(code, 3)
        self.assertRegex(out.split("\n\n")[0].splitlines()[-1], "^a +keeps the KEK in +NO: C_WrapKey by X *$")
        self.assertIn("a: the token hands out a key that it shows as not extractable (C_WrapKey by X)", err)
        code, out, _ = self.probe("--output", "json")
        found = json.loads(out)
        self.assertEqual((code, len(found["trials"])), (3, len(self.TRIALS)))
        self.assertEqual([found["providers"][0][key] for key in ("keeps_kek", "keeps_kek_says", "keeps_kek_code")],
                         ["no", "NO: C_WrapKey by X", 0])

    def test_what_could_not_be_tried_is_no_failed_check(self):
        self.token("a", trials=self.TRIALS, keeps=[0, 0x54, "C_GenerateKey: X (0x54)"])
        code, out, err = self.probe()
        self.assertEqual((code, err), (0, ""))
        self.assertRegex(out.split("\n\n")[0].splitlines()[-1], "^a +keeps the KEK in +not tried: C_GenerateKey: X .0x54. *$")
        found = json.loads(self.probe("--output", "json")[1])
        self.assertEqual([found["providers"][0][key] for key in ("keeps_kek", "keeps_kek_code")], ["untried", 0x54])

    def test_a_token_that_can_nothing_exits_3(self):
        self.token("a", trials=self.TRIALS[4:])
        code, out, err = self.probe()
        self.assertEqual(code, 3)
        self.assertIn("refused: ", out)
        self.assertIn("a: nothing works", err)

    def test_one_provider_is_probed_if_named(self):
        self.configure("a", "b")
        self.token("a", trials=self.TRIALS)
        self.token("b", probe="fail")
        code, out, err = self.probe("--provider", "a", "--output", "json")
        self.assertEqual((code, err), (0, ""))
        self.assertEqual([p["name"] for p in json.loads(out)["providers"]], ["a"])
        code, out, err = self.probe()
        self.assertEqual(code, 3)
        self.assertIn("CKR_GENERAL_ERROR", err)
        code, out, err = self.probe("--provider", "c")
        self.assertEqual((code, out), (2, ""))
        self.assertIn('no provider "c"', err)

    def test_a_worker_that_dies_or_babbles_exits_1(self):
        self.token("a", probe="die")
        code, out, err = self.probe()
        self.assertEqual((code, out), (1, ""))
        self.assertIn("a", err)
        for bad in ([3, "KW", 1, 0, 0, "", True], [1, "KW", 200, 0, 0, "", True], [1, "KW", 1, 4, 0, "", True]):
            self.token("a", trials=[bad])
            code, out, err = self.probe()
            self.assertEqual((code, out), (1, ""))
            self.assertIn("malformed", err)
        self.token("a", trials=self.TRIALS[:1] * 33)
        self.assertEqual(self.probe()[0], 1)
        for keeps in (None, [3, 0, ""]):
            self.token("a", trials=self.TRIALS, keeps=keeps)
            self.assertEqual(self.probe()[0], 1)


if __name__ == "__main__":
    sys.exit(unittest.main())
