"""An audit log without a file, of a whole kekd: sent to a syslog daemon that comes, goes and does not look, and to a real journald;
and verified out of what they have."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading

import rig as rigs

sys.path.insert(0, os.path.join(os.environ["abs_top_srcdir"], "tests", "unit"))
import audit_chain  # noqa: E402
import full_log  # noqa: E402

DEK = bytes(range(32))
JOURNALD = "/lib/systemd/systemd-journald"

# A journald of its own, that sees another /run and keeps what it gets there.
ALONE = """
mkdir -p "$0/systemd" "$0/log/journal"
mount --bind "$0" /run
exec %s
""" % JOURNALD


class Syslog:
    """A daemon's socket, and what came there."""

    def __init__(self, path):
        self.path, self.lines = path, []

    def __enter__(self):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        return self

    def run(self):
        while True:
            message = self.socket.recv(65536)
            if not message:
                return
            header, line = message.split(b" kekd - audit - ", 1)
            assert header.startswith(b"<110>1 20"), header
            self.lines.append(line + b"\n")

    def __exit__(self, *_):
        os.unlink(self.path)
        self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join(rigs.PATIENCE)
        self.socket.close()

    def events(self, event=None):
        told = [json.loads(line) for line in list(self.lines)]
        return [line for line in told if event in (None, line["event"], line.get("method"))]


class Sink(rigs.Case):
    def node(self, **audit):
        node = self.rig(config={"metrics": rigs.own_address()})
        node.write(audit=audit, settle="1s")
        return node

    @staticmethod
    def call(node, count=1):
        with node.client() as client:
            for _ in range(count):
                client.encrypt(DEK)

    def verify(self, node, data):
        done = node.kekctl("--output", "json", "audit", "verify", "-", input=data)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return json.loads(done.stdout)

    def test_a_syslog_daemon_that_comes_late_is_away_for_a_while_and_a_kekd_that_is_killed(self):
        node = self.node(syslog="/nowhere")
        path = node.folder + "/log"
        node.write(audit={"syslog": path})
        refused = node.kekctl("pin", "retry")
        self.assertEqual(refused.returncode, 1)
        self.assertIn(b"nothing was done, since it could not be put on record: connecting to " + path.encode(),
                      refused.stderr)
        node.start()
        self.call(node)
        node.wait_log("audit: sending audit lines to .*/log: No such file.*trying again every second")
        self.assertEqual((node.metric("kekd_audit_lines_total"), node.metric("kekd_audit_dropped_total")), (0, 0))
        log = Syslog(path)
        with log:
            rigs.wait_for(lambda: log.events("Encrypt"), "the line of a call")
            node.wait_log("audit: writing to .*/log works again")
            node.kekctl("pin", "retry", check=True)
            self.assertEqual([line["event"] for line in log.events()][0], "start")
            self.call(node, 20)
            rigs.wait_for(lambda: len(log.events("Encrypt")) == 21, "lines of all calls")
            node.kill()
            node.start()

            def all_of_a_start():
                events = [line["event"] for line in log.events()]
                begun = events[len(events) - events[::-1].index("start"):]
                return events.count("start") == 2 and {"primary", "health"} <= set(begun) and begun.count("login") == 2
            rigs.wait_for(all_of_a_start, "the next start's lines")  # one on its way would be lost with this daemon
            told = len(log.lines)
            errors = node.metric("kekd_audit_errors_total")
        # What finds no room in 1 MiB is lost, counted and told.
        while not node.metric("kekd_audit_dropped_total"):
            self.call(node, 200)
        self.call(node, 50)
        self.assertGreater(node.metric("kekd_audit_errors_total"), errors)
        self.assertEqual(len(log.lines), told)
        with log:
            rigs.wait_for(lambda: len(log.events("dropped")) == 2, "the line about those that are lost")
            node.stop()
            rigs.wait_for(lambda: log.events("stop"), "the last line")
        killed, dropped = log.events("dropped")
        self.assertEqual((killed["seq"], killed["lines"], killed["at_most"]), (0, 0, 256))
        starts = [at for at, line in enumerate(log.events()) if line["event"] == "start"]
        seqs = [line["seq"] for line in log.events()[starts[1]:]]
        self.assertEqual(seqs[-1] - len(seqs), dropped["lines"])
        audit_chain.check(log.lines)
        told = self.verify(node, b"".join(log.lines))
        self.assertEqual((told["lines"], len(told["chains"]), told["record"]), (len(log.lines), 1, True))
        cut = node.kekctl("audit", "verify", "-", input=b"".join(log.lines[:-1]))
        self.assertEqual(cut.returncode, 3)
        self.assertIn(b"the end is missing", cut.stderr)

    def test_lines_that_somebody_sends_behind_the_last_one_are_told(self):
        node = self.node(syslog="/nowhere")
        path = node.folder + "/log"
        node.write(audit={"syslog": path})
        log = Syslog(path)
        with log:
            node.start()
            self.call(node, 3)
            rigs.wait_for(lambda: len(log.events("Encrypt")) == 3, "lines of all calls")
            while_it_runs = self.verify(node, b"".join(log.lines))
            self.assertEqual(len(while_it_runs["chains"]), 1)
            node.stop()
            rigs.wait_for(lambda: log.events("stop"), "the last line")
        last = log.events()[-1]
        forged = audit_chain.Chain(last["chain"], last["n"], last["hash"]).lines(2)
        self.verify(node, b"".join(log.lines))
        done = node.kekctl("--output", "json", "audit", "verify", "-", input=b"".join(log.lines + forged))
        told = json.loads(done.stdout)
        self.assertEqual((done.returncode, [problem["kind"] for problem in told["problems"]]), (3, ["record"]), told)

    def test_a_receiver_that_is_full_lets_nothing_be_changed_and_every_lost_line_is_counted(self):
        node = self.node(syslog="/nowhere")
        path = node.folder + "/log"
        node.write(audit={"syslog": path})
        log = full_log.FullLog(path, node.state + "/k8s-test.audit")
        self.addCleanup(log.close)

        def record():
            with open(node.state + "/k8s-test.audit", encoding="ascii") as file:
                return json.load(file)
        node.kekctl("key", "generate", check=True)
        log.lines()
        shown = node.kekctl("key", "list", "--output", "json", check=True).stdout
        log.fill(0)
        for command in (("key", "generate"), ("key", "promote", "2", "--i-have-a-backup"), ("audit", "generate"), ("pin", "retry"), ("probe",)):
            with self.subTest(command):
                done = node.kekctl(*command)
                self.assertEqual(done.returncode, 3 if command == ("probe",) else 1, done.stderr)
                self.assertIn(b"nothing was done, since ", done.stderr)
        lost = log.lost()
        self.assertGreaterEqual(lost, 3)  # a login each that some of them did
        # A kekd beside it waits, has its own count, and tells at once what kekctl lost.
        node.start()
        self.call(node)
        node.wait_log("audit: sending audit lines to .*trying again every second")
        self.assertEqual((record()["lost"], record()["kekd"]), (lost, {"lost": 0, "waiting": 256}))
        node.stop()
        ended = record()["kekd"]
        self.assertGreaterEqual(ended["lost"], 3)  # start, a call, stop
        self.assertEqual(ended["waiting"], 0)
        log.fill(0)
        node.start()
        self.call(node, 300)
        rigs.wait_for(lambda: record()["kekd"]["waiting"] >= 600, "room for twice as many")
        self.assertEqual(record()["kekd"]["lost"], ended["lost"])
        os.unlink(node.state + "/k8s-test.lock")  # as by a restore of state_dir: it runs all the same
        running = node.kekctl("audit", "verify", "-", input=b"")
        self.assertIn(b"were lost since", running.stderr)
        self.assertNotIn(b"does not run here", running.stderr)
        node.kill()
        killed = record()["kekd"]
        self.assertEqual(log.lines(), [])
        ended = node.kekctl("audit", "verify", "-", input=b"")
        self.assertIn(b"kekd does not run here and did not end in good order: up to %d lines may be missing" % killed["waiting"],
                      ended.stderr)
        data = [b""]
        node.start()
        rigs.wait_for(lambda: data.__setitem__(0, data[0] + log.bytes()) or b'"primary"' in data[0], "lines")
        node.stop()
        data[0] += log.bytes()
        lines = audit_chain.check(data[0].splitlines(True))
        self.assertEqual([(line["event"], line["seq"]) for line in lines[:2]], [("dropped", 0), ("start", 1)])
        self.assertEqual(lines[0]["lines"], lost + killed["lost"])
        self.assertEqual(lines[0]["at_most"], lost + killed["lost"] + killed["waiting"])
        self.assertGreaterEqual(killed["waiting"], 302)
        self.assertNotIn("kekd", record())
        told = self.verify(node, data[0])
        self.assertEqual((told["dropped"], told["dropped_at_most"], told["waiting"]),
                         (lines[0]["lines"], lines[0]["at_most"], 0))
        log.lines()
        self.assertEqual(node.kekctl("key", "list", "--output", "json", check=True).stdout, shown)

    def journald(self, run):
        """Its socket, in a folder that is its /run."""
        for program in (JOURNALD, shutil.which("journalctl"), shutil.which("unshare")):
            if program is None or not os.path.exists(program):
                self.skipTest("SKIP: no journald here: that it takes an audit log was not tested")
        rigs.need_root("journald")
        process = subprocess.Popen(["unshare", "--mount", "sh", "-euc", ALONE, run], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def end():
            process.send_signal(signal.SIGTERM)
            process.wait()
        self.addCleanup(end)
        path = run + "/systemd/journal/socket"
        rigs.wait_for(lambda: process.poll() is None and os.path.exists(path), "journald's socket")
        return path

    def test_journald_has_a_log_that_can_be_verified_with_its_macs(self):
        node = self.node(journal="/nowhere", mac_interval="1s")
        run = node.folder + "/run"
        node.write(audit={"journal": self.journald(run)})
        node.kekctl("audit", "generate", check=True)
        node.start()
        self.call(node, 100)

        def exported():
            done = subprocess.run(["journalctl", "--directory", run + "/log/journal", "--output", "cat",
                                   "--identifier", "kekd-audit"], stdout=subprocess.PIPE, check=True)
            return done.stdout
        rigs.wait_for(lambda: b'"event":"mac"' in exported(), "a line with a MAC")
        node.stop()
        rigs.wait_for(lambda: b'"event":"stop"' in exported(), "the last line")
        lines = exported().splitlines(True)
        told = audit_chain.check(lines)
        events = [line["event"] for line in told]
        self.assertEqual((events[0], events[-1]), ("audit-key", "stop"))
        self.assertEqual([line.get("method") for line in told].count("Encrypt"), 100)
        self.assertIn("audit-key", events)
        told = self.verify(node, b"".join(lines))
        self.assertGreater(told["chains"][0]["maced"], 0)
        short = subprocess.run(["journalctl", "--directory", run + "/log/journal", "--identifier", "kekd-audit"],
                               stdout=subprocess.PIPE, check=True).stdout
        self.assertGreaterEqual(short.count(b"\n"), len(lines))  # verify's own logins are there, too
        self.assertEqual(self.verify(node, short)["headers"], short.count(b"\n"))


if __name__ == "__main__":
    rigs.main()
