#!/usr/bin/python3
"""kekctl audit verify, on files that are made by the page that describes them."""

import bz2
import gzip
import hashlib
import json
import lzma
import os
import random
import shutil
import subprocess
import sys
import tempfile
import unittest

from audit_chain import Chain

KEKCTL = os.path.join(os.environ["abs_top_builddir"], "kekctl")
CONFIG = """listen: unix://{0}/s
keyring: k
state_dir: {0}
providers:
  - name: a
    type: pkcs11
    uri: "pkcs11:token=t?module-path=/m.so&pin-source=file:/pin"
    timeout: 500ms
    start_timeout: 1s
"""


class Verify(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.chain = Chain()

    def path(self, name):
        return os.path.join(self.folder, name)

    def put(self, name, lines):
        with open(self.path(name), "wb") as file:
            file.write(b"".join(lines))
        return self.path(name)

    def record(self, chain=None):
        """The options that have the record looked at."""
        self.put("k.audit", [(chain or self.chain).record()])
        self.put("kekd.yaml", [CONFIG.format(self.folder).encode()])
        return ["--config", self.path("kekd.yaml")]

    @staticmethod
    def run_it(*args, stdin=b""):
        done = subprocess.run([KEKCTL, "audit", "verify", *args], input=stdin, capture_output=True, timeout=60,
                              check=False)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def good(self, *args, stdin=b""):
        code, out, err = self.run_it("--output", "json", *args, stdin=stdin)
        self.assertEqual(code, 0, out + err)
        return json.loads(out)

    def problems(self, *args):
        """(kind, file, line) of each."""
        code, out, err = self.run_it("--output", "json", *args)
        self.assertEqual(code, 3, out + err)
        told = json.loads(out)
        self.assertFalse(told["good"])
        return [(p["kind"], os.path.basename(p["file"] or ""), p["line"]) for p in told["problems"]]


class Whole(Verify):
    def test_files_of_a_chain_are_good_in_whatever_order_they_are_named(self):
        names = [self.put("audit.%d" % i, self.chain.lines(5)) for i in range(3, 0, -1)]
        names.append(self.put("audit", self.chain.lines(5)))
        for _ in range(5):
            random.shuffle(names)
            told = self.good(*self.record(), *names)
            chain, = told["chains"]
            self.assertEqual((chain["first"], chain["last"], chain["lines"], told["lines"]), (1, 20, 20, 20))
            self.assertEqual(chain["from"], self.path("audit.3") + ":1")
            self.assertEqual(chain["to"], self.path("audit") + ":5")
            self.assertEqual(chain["hash"], self.chain.last)

    def test_older_files_that_are_gone_and_what_comes_by_standard_input(self):
        old, new = self.chain.lines(5), self.chain.lines(5)
        code, out, err = self.run_it(self.put("audit", new))
        self.assertEqual(code, 0)
        self.assertIn("begins here with line 6: nothing is known of the lines before it", err)
        self.assertIn("only the chain was checked", err)
        self.assertRegex(out, r"CHAIN +FIRST +LAST +LINES +MACED +FROM +TO\n0123456789abcdef +6 +10 +5 +0 ")
        told = self.good(*self.record(), self.path("audit"), "-", stdin=b"".join(old))
        self.assertEqual(told["chains"][0]["lines"], 10)

    def test_lines_of_before_there_was_a_chain(self):
        plain = b'{"time":"2026-01-01T00:00:00.000Z","seq":1,"node":"cp-1","event":"stop"}\n'
        file = self.put("audit", [plain] * 3 + self.chain.lines(2))
        self.assertEqual(self.good(*self.record(), file)["before"], 3)
        self.assertIn("3 lines without a chain stand before", self.run_it(file)[2])
        self.assertEqual(self.good(self.put("audit.1", [plain] * 2), file)["before"], 5)
        # But not between lines that have one.
        self.put("audit", self.chain.lines(2) + [plain] * 3 + self.chain.lines(1))
        code, out, _ = self.run_it("--output", "json", file)
        self.assertEqual((code, [(p["kind"], p["line"], p["to"]) for p in json.loads(out)["problems"]]),
                         (3, [("unchained", 3, 5)]))

    def test_a_piece_that_a_line_tells_of(self):
        piece = b'{"time":"2026-11-29T10:00:00.005Z","se'
        for before in (0, 2):
            chain = Chain()
            lines = chain.lines(before)
            torn = chain.line("torn", bytes=len(piece), sha256=hashlib.sha256(piece).hexdigest())
            file = self.put("audit", lines + [piece + b"\n", torn] + chain.lines(2))
            self.assertEqual(self.good(*self.record(chain), file)["torn"], 1)
            self.put("audit", lines + [piece[:-1] + b"x\n", torn])
            self.assertTrue(self.problems(file))
            self.put("audit", lines + [torn])
            self.assertEqual(self.problems(file), [("unchained", "audit", before + 1)])

    def test_nodes_that_share_a_file(self):
        other = Chain("fedcba9876543210")
        lines = [line for pair in zip(self.chain.lines(10), other.lines(10)) for line in pair]
        file = self.put("audit", lines)
        self.assertEqual([c["lines"] for c in self.good(file)["chains"]], [10, 10])
        self.assertEqual(self.problems(*self.record(), file), [("unknown", "audit", 2)])
        self.put("other.audit", [other.record()])  # a keyring of the same state_dir
        self.assertEqual([c["lines"] for c in self.good(*self.record(), file)["chains"]], [10, 10])
        self.put("audit", lines[:5] + lines[6:])
        self.assertEqual(self.problems(file), [("missing", "audit", 7)])

    def test_lines_out_of_the_file_of_a_syslog_daemon(self):
        """As rsyslog and syslog-ng put a line into a file, and journalctl shows one."""
        for header in (b"2026-11-29T10:00:00.123Z cp-1 kekd ", b"Nov 29 10:00:00 cp-1 kekd-audit[42]: ",
                       b"<110>1 2026-11-29T10:00:00.123Z cp-1 kekd - audit - "):
            chain = Chain()
            lines = [header + line for line in chain.lines(6)]
            new, old = self.put("new", lines[3:]), self.put("old", lines[:3])
            told = self.good(*self.record(chain), new, old)
            self.assertEqual((told["headers"], told["lines"], told["chains"][0]["from"]), (6, 6, old + ":1"))
            self.assertEqual(self.good("-", stdin=b"".join(lines))["headers"], 6)
            self.assertIn("something stands before 6 lines, as a syslog daemon puts it there: it was not checked",
                          self.run_it(new, old)[2])
            self.put("new", [lines[3].replace(b"OK", b"KO")] + lines[4:])
            self.assertEqual(self.problems(old, new), [("changed", "new", 1)])
            self.put("new", lines[4:])
            self.assertEqual(self.problems(old, new), [("missing", "new", 1)])

    def test_what_is_no_header_spoils_the_line_that_it_stands_before(self):
        lines = self.chain.lines(3)
        self.assertEqual(self.good(self.put("audit", lines))["headers"], 0)
        for before in (b'{"time":', b"x" * 513, b'a "quoted" word ', b"a\x01b "):
            self.put("audit", [lines[0], before + lines[1], lines[2]])
            self.assertEqual(self.problems(self.path("audit")), [("changed", "audit", 2)], before)
        self.good(self.put("audit", [lines[0], b"x" * 512 + lines[1], lines[2]]))

    def test_the_help_says_that_no_configuration_is_read_by_default(self):
        code, out, _ = self.run_it("--help")
        self.assertEqual(code, 0)
        words = " ".join(out.split())
        self.assertIn("--config FILE the configuration that says where the record and the tokens are; without it only the "
                      "chain is checked", words)
        self.assertNotIn("kekd.yaml", words)

    def test_what_cannot_be_read_is_said_and_fails(self):
        missing = self.path("missing")
        for args, code, said in (((), 2, "the FILE... is missing"),
                                 ((missing,), 1, "reading " + missing),
                                 ((self.folder,), 1, "is no regular file"),
                                 (("--config", missing, missing), 2, missing)):
            with self.subTest(args):
                got, out, err = self.run_it(*args)
                self.assertEqual((got, out), (code, ""))
                self.assertIn(said, err)
        options = self.record()
        file = self.put("audit", self.chain.lines(2))
        os.remove(self.path("k.audit"))
        self.assertEqual(self.problems(*options, file), [("record", "", 0)])

    def test_nothing_is_no_good_log(self):
        plain = b'{"time":"2026-01-01T00:00:00.000Z","seq":1,"node":"cp-1","event":"stop"}\n'
        empty, old = self.put("audit", []), self.put("audit.1", [plain] * 2)
        for args, stdin, said in ((("-",), b"", "standard input, found none among 0 lines"),
                                  (("-",), b"\n\n", "standard input, found none among 2 lines"),
                                  ((empty,), b"", empty + ", found none among 0 lines"),
                                  ((old,), b"", old + ", found none among 2 lines"),
                                  ((empty, old), b"", "2 files, the first one " + empty + ", found none among 2 lines"),
                                  (("-", empty), plain, "2 files, the first one standard input, found none among 1 line")):
            with self.subTest(args=args, stdin=stdin):
                code, out, err = self.run_it(*args, stdin=stdin)
                self.assertEqual(code, 3, out + err)
                self.assertIn("nothing was checked: expected lines with a chain in " + said, err)
        self.assertEqual(self.problems(empty), [("nothing", "", 0)])
        self.assertEqual(self.problems(*self.record(), empty), [("record", "", 0)])  # which says it already
        # One that is empty beside others is of a log that was just rotated.
        self.good(empty, self.put("audit.2", self.chain.lines(3)))

    def test_a_damaged_record_does_not_keep_the_files_from_being_checked(self):
        lines = self.chain.lines(4)
        options = self.record()
        self.put("k.audit", [b"no record"])
        file = self.put("audit", lines[:1] + lines[2:])
        self.assertEqual(self.problems(*options, file), [("record", "", 0), ("missing", "audit", 2)])
        self.assertIn("is damaged", self.run_it(*options, file)[2])

    def test_what_is_compressed_is_told_as_that_and_not_as_tampered(self):
        data = b"".join(self.chain.lines(20))
        plain = self.put("audit", self.chain.lines(2))
        for name, packed in (("gzip", gzip.compress(data)), ("xz", lzma.compress(data)), ("bzip2", bz2.compress(data)),
                             ("zstd", b"\x28\xb5\x2f\xfd" + data)):
            for args, told, stdin in (((self.put("audit.1", [packed]), plain), "audit.1", b""),
                                      (("-", plain), "standard input", packed)):
                with self.subTest(name, args=args):
                    code, out, err = self.run_it(*args, stdin=stdin)
                    self.assertEqual((code, out), (1, ""))
                    self.assertIn("%s is compressed (%s)" % (told, name), err)


class Wrong(Verify):
    def test_what_is_missing_or_doubled_and_where(self):
        a, b, c = (self.put(name, self.chain.lines(5)) for name in ("a", "b", "c"))
        options = self.record()
        self.assertEqual(self.problems(a, c), [("missing", "c", 1)])
        self.assertEqual(self.problems(*options, a, b), [("record", "b", 5)])
        copy = self.path("copy")
        shutil.copy(b, copy)
        told = self.problems(a, b, copy, c)
        self.assertEqual([kind for kind, _, _ in told], ["again"])
        self.assertIn(told[0][1], ("b", "copy"))
        code, _, err = self.run_it(a, c)
        self.assertEqual(code, 3)
        self.assertIn(c + ":1: expected line 6 of chain 0123456789abcdef, found line 11: 5 lines before it are missing; "
                      "the last one is " + a + ":5", err)

    def test_lines_cut_out_moved_and_put_in(self):
        lines = self.chain.lines(8)
        options = self.record()
        for order, expected in (
                ((0, 1, 3, 4, 5, 6, 7), [("missing", "audit", 3)]),
                ((0, 1, 3, 2, 4, 5, 6, 7), [("missing", "audit", 3), ("again", "audit", 4)]),
                ((0, 1, 1, 2, 3, 4, 5, 6, 7), [("again", "audit", 3)]),
                ((0, 1, 2, 3), [("record", "audit", 4)]),
                ((), [("record", "", 0)])):
            with self.subTest(order):
                file = self.put("audit", [lines[i] for i in order])
                self.assertEqual(self.problems(*options, file), expected)

    def test_lines_that_come_later_are_not_called_missing(self):
        lines = self.chain.lines(8)
        for order, said in (((0, 1, 3, 2, 4, 5, 6, 7), "found line 4: 1 line before it comes later; the last one is "),
                            ((0, 4, 5, 1, 2, 3, 6, 7), "found line 5: 3 lines before it come later; the last one is "),
                            ((0, 4, 5, 1, 3, 6, 7), "found line 5: 1 line before it is missing, 2 lines before it come later; "),
                            ((0, 2, 1, 1, 3), "found line 3: 1 line before it comes later; "),
                            ((0, 3, 2, 2, 4), "found line 4: 1 line before it is missing, 1 line before it comes later; "),
                            ((0, 2, 0, 3), "found line 3: 1 line before it is missing; ")):
            with self.subTest(order):
                code, _, err = self.run_it(self.put("audit", [lines[i] for i in order]))
                self.assertEqual(code, 3)
                self.assertIn(said, err)

    def test_a_line_that_was_made_anew_with_all_after_it(self):
        """Who knows the format is found out by the record alone, or by a line that he left."""
        lines = self.chain.lines(8)
        options = self.record()
        forger = Chain(n=3, last=json.loads(lines[2])["hash"])
        forged = [forger.line(uid="nobody") for _ in range(5)]
        file = self.put("audit", lines[:3] + forged)
        self.good(file)
        self.assertEqual(self.problems(*options, file), [("record", "audit", 8)])
        self.put("audit", lines[:3] + forged[:2] + lines[5:])
        self.assertEqual(self.problems(file), [("relinked", "audit", 6)])
        # All of it is said, however long the file's name is.
        far = os.path.join(self.folder, "d" * 150, "a" * 100)
        os.mkdir(os.path.dirname(far))
        shutil.copy(file, far)
        self.assertIn("found " + json.loads(lines[5])["prev"], self.run_it(far)[2])

    def test_what_kekd_found_itself(self):
        lines = self.chain.lines(2) + [self.chain.line("broken", error="the file was cut")]
        file = self.put("audit", lines)
        self.assertEqual(self.problems(file), [("told", "audit", 3)])
        self.assertIn("the file was cut", self.run_it(file)[2])

    def test_what_a_line_says_is_shown_without_what_a_terminal_obeys(self):
        lines = [self.chain.line("broken", error="\x1b]0;x\x07\n" + "\u00e9" * 200)]
        _, _, err = self.run_it(self.put("audit", lines))
        self.assertIn("tells of what was found here: ?]0;x??\u00e9\u00e9", err)
        _, out, _ = self.run_it("--output", "json", self.path("audit"))
        self.assertIn("tells of what was found here", json.loads(out)["problems"][0]["text"])

    def test_a_flood_of_problems_is_counted(self):
        lines = self.chain.lines(601)
        file = self.put("audit", lines[::2])
        told = json.loads(self.run_it("--output", "json", file)[1])
        self.assertEqual((len(told["problems"]), told["more"]), (100, 200))
        self.assertIn("and 200 problems more", self.run_it(file)[2])

    def test_lines_that_are_too_long(self):
        lines = self.chain.lines(3)
        file = self.put("audit", lines[:1] + [b"x" * 5000000 + b"\n"] + lines[1:])
        self.assertEqual(self.problems(file), [("changed", "audit", 2)])
        # Wherever it lies, and though its hash holds.
        for before in (0, 400, 440, 480):
            self.chain = Chain()
            lines = self.chain.lines(before) + [self.chain.line(uid="x" * 20000)] + self.chain.lines(2)
            self.assertEqual(self.problems(self.put("audit", lines)), [("changed", "audit", before + 1)])

    def test_more_chains_than_it_follows(self):
        file = self.put("audit", [Chain("%016x" % i).line() for i in range(17)])
        self.assertEqual(self.problems(file), [("chains", "audit", 17)])


class Past(Verify):
    """Lines that are not on record."""

    def test_a_chain_that_is_not_on_record_is_told_where_it_begins(self):
        lines, forged = self.chain.lines(6), Chain("feedfacefeedface").lines(2)
        for at in (0, 3, 6):
            file = self.put("audit", lines[:at] + forged + lines[at:])
            self.assertEqual(self.problems(*self.record(), file), [("unknown", "audit", at + 1)])
            self.good(file)

    def next(self, chain):
        self.put("k.audit-next", [chain.record()])

    def test_lines_past_the_record_are_told(self):
        lines = self.chain.lines(5)
        options = self.record()
        file = self.put("audit", lines + self.chain.lines(2))
        self.assertEqual(self.problems(*options, file), [("record", "audit", 7)])
        said = self.run_it(*options, file)[2]
        self.assertIn("expected lines up to 5, as is on record, found 7", said)
        self.assertIn("or by an older kekd that was killed", said)
        self.good(file)
        # Those that are being written are known by their last one.
        self.next(self.chain)
        self.good(*options, file)
        self.next(Chain(self.chain.name, 7, "ab" * 32))
        self.assertEqual(self.problems(*options, file), [("record", "audit", 7)])
        self.next(Chain("fedcba9876543210", 7, self.chain.last))
        self.assertEqual(self.problems(*options, file), [("record", "audit", 7)])

    def test_lines_of_another_keyrings_chain_are_held_against_its_record(self):
        """Who can write this file alone knows that chain's id, and nothing of what its hashes are of."""
        own, other = self.chain.lines(3), Chain("fedcba9876543210")
        options, lines = self.record(), other.lines(3)
        self.put("other.audit", [other.record()])
        file = self.put("audit", own + lines)
        self.good(*options, file)
        past = other.lines(2)
        self.put("audit", own + lines + past)
        self.assertEqual(self.problems(*options, file), [("record", "audit", 8)])
        self.assertIn("chain fedcba9876543210: expected lines up to 3, as is on record, found 5",
                      self.run_it(*options, file)[2])
        self.put("other.audit-next", [other.record()])  # being written
        self.good(*options, file)
        self.put("other.audit-next", [Chain(other.name, 5, "ab" * 32).record()])
        self.assertEqual(self.problems(*options, file), [("record", "audit", 8)])
        self.put("audit", own + Chain(other.name, 6).lines(3))
        self.assertEqual(self.problems(*options, file), [("record", "audit", 6)])
        forged = [Chain(other.name).line(uid="forged")]
        liar = Chain(other.name, 1, json.loads(forged[0])["hash"])
        self.put("audit", own + forged + liar.lines(2))
        self.assertEqual(self.problems(*options, file), [("record", "audit", 6)])
        self.put("audit", own + forged)
        self.assertEqual(self.problems(*options, file), [("record", "audit", 4)])
        self.assertIn("expected lines up to 3, as is on record, found 1", self.run_it(*options, file)[2])
        # With the file that goes on with it all of it is known.
        self.put("audit", own + lines[:1])
        self.good(*options, file, self.put("its", lines[1:]))

    def test_lines_that_another_keyring_writes_and_puts_on_record_meanwhile_are_good(self):
        own, options = self.chain.lines(1), self.record()
        for code in (0, 3):
            other = Chain("fedcba9876543210")
            lines = other.lines(1)
            self.put("other.audit", [other.record()])
            with subprocess.Popen([KEKCTL, "audit", "verify", *options, "-"], stdin=subprocess.PIPE,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
                process.stdin.write(b"".join(own + lines + other.lines(1000)))  # more than a pipe holds
                if code == 3:  # the last line is not the one that it wrote
                    other.last = "ab" * 32
                self.put("other.audit", [other.record()])
                _, err = process.communicate(timeout=60)
            self.assertEqual(process.returncode, code, err)
        self.assertIn(b"line 1001 of chain fedcba9876543210: expected the hash that is on record", err)

    def test_lines_that_are_written_and_put_on_record_meanwhile_are_good(self):
        first, more = self.chain.lines(1), self.chain.lines(1000)
        options = self.record(Chain(self.chain.name, 1, json.loads(first[0])["hash"]))
        with subprocess.Popen([KEKCTL, "audit", "verify", *options, "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE) as process:
            process.stdin.write(b"".join(first + more))  # more than a pipe holds: the record was read
            self.record()
            _, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0, err)


class Macs(Verify):
    """The module of the configuration is not there: that a MAC was to be asked for shows in a problem."""

    @staticmethod
    def mac(chain, covers, **fields):
        return chain.line("mac", outcome="ok", covers=covers, provider="a", mac_key="00" * 16,
                          mechanism="CKM_SHA256_HMAC", mac="ab" * 32, **fields)

    def test_each_chain_of_a_file_has_its_last_mac_checked(self):
        other = Chain("fedcba9876543210")
        lines = self.chain.lines(3) + other.lines(3)
        for chain in (self.chain, other):
            lines += [self.mac(chain, 3)] + chain.lines(2) + [self.mac(chain, 6)] + chain.lines(2)
        file = self.put("audit", lines)
        self.assertEqual(self.problems(*self.record(), file), [("mac", "audit", 10), ("mac", "audit", 16)])

    def test_a_mac_after_a_gap_is_asked_for_where_its_line_is_here_and_told_where_not(self):
        lines = self.chain.lines(5) + [self.mac(self.chain, 4)] + self.chain.lines(3)
        options = self.record()
        # The file begins after the line; then the line is missing; and then one between it and its MAC's.
        for kept, expected, said in ((lines[5:], [], "no MAC of chain"),
                                     (lines[:3] + lines[5:], [("missing", "audit", 4), ("mac", "audit", 4)],
                                      "the MAC of line 4 of chain 0123456789abcdef: it was not checked: that line is not here")):
            with self.subTest(len(kept)):
                file = self.put("audit", kept)
                self.assertIn(said, self.run_it(*options, file)[2])
                if expected:
                    self.assertEqual(self.problems(*options, file), expected)
        # The line after a missing one has its hash.
        for covers in (5, 6):
            self.chain = Chain()
            lines = self.chain.lines(6) + [self.mac(self.chain, covers)]
            file = self.put("audit", lines[:5] + lines[6:])
            self.assertEqual(self.problems(*self.record(), file), [("missing", "audit", 6), ("mac", "audit", 6)])
            self.assertIn("it was not checked: a: ", self.run_it(*options, file)[2])

    def test_macs_that_stopped_coming_are_told_unless_a_line_says_why(self):
        def begin():
            """What is no MAC at all is told at once, and asked of nobody."""
            self.chain = Chain()
            return self.chain.lines(5) + [self.chain.line("mac", outcome="ok", covers=5, mac="")]

        def calls(first, last, step=30):
            return [self.chain.line(second=second, uid="u") for second in range(first, last, step)]

        def told(lines):
            found = self.problems(*self.record(), self.put("audit", lines))
            self.assertEqual(found.pop(0), ("mac", "audit", 6))
            return found

        self.assertEqual(told(begin() + calls(30, 450)), [])
        # Three intervals of a minute, and five minutes more.
        self.assertEqual(told(begin() + calls(30, 2000)), [("unmaced", "audit", 22)])
        self.assertEqual(told(begin() + [self.chain.line("mac", outcome="failed", error="away")] + calls(30, 2000)), [])
        self.assertEqual(told(begin() + calls(30, 450) + [self.chain.line("start", second=450)] + calls(480, 900)), [])
        # A machine that slept, and a kekd with nothing to write.
        self.assertEqual(told(begin() + calls(30, 60) + calls(9000, 9300)), [])


class Bytes(Verify):
    """Any one changed byte is found, and so is the line that it is in."""

    def changed(self, file, data, at, byte):
        """Where the problems are; 0: beside the first or the last line, in whose place another may be named."""
        with open(file, "wb") as out:
            out.write(data[:at] + bytes([byte]) + data[at + 1:])
        line = data.count(b"\n", 0, at) + 1
        return line, [told[2] for told in self.problems(file)]

    def test_every_byte_of_a_small_file_without_a_record(self):
        data = b"".join(self.chain.lines(3))
        file = self.path("audit")
        chooses = random.Random(7)
        for at in range(len(data)):
            byte = chooses.choice([b for b in range(256) if b != data[at]])
            line, told = self.changed(file, data, at, byte)
            self.assertTrue(any(abs(line - found) <= 1 for found in told), (at, byte, told))

    def test_random_bytes_of_larger_files(self):
        seed = int.from_bytes(os.urandom(4), "big")
        chooses = random.Random(seed)
        data = b"".join(self.chain.lines(3000))
        file = self.path("audit")
        for _ in range(60):
            at = chooses.randrange(len(data))
            byte = chooses.choice([b for b in range(256) if b != data[at]])
            line, told = self.changed(file, data, at, byte)
            self.assertTrue(any(abs(line - found) <= 1 for found in told), (seed, at, byte, told))

    def test_every_cut_with_a_record(self):
        data = b"".join(self.chain.lines(3))
        options = self.record()
        for end in range(len(data)):
            file = self.put("audit", [data[:end]])
            self.assertTrue(self.problems(*options, file), end)

    def test_memory_does_not_grow_with_the_file(self):
        with open(KEKCTL, "rb") as file:
            if b"__asan_init" in file.read():
                self.skipTest("SKIP: a sanitizer keeps what is freed")
        sizes = []
        for count in (1000, 50000):
            file = self.put("audit", Chain().lines(count))
            code = ("import resource,subprocess,sys;"
                    "subprocess.run(sys.argv[1:],stdout=subprocess.DEVNULL,stderr=subprocess.DEVNULL,check=True);"
                    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)")
            out = subprocess.run([sys.executable, "-c", code, KEKCTL, "audit", "verify", file], capture_output=True,
                                 check=True, timeout=60).stdout
            sizes.append(int(out))
        self.assertLess(sizes[1], sizes[0] + 2048)  # KiB; the larger file has 20 MB


if __name__ == "__main__":
    unittest.main(verbosity=2)
