"""kekctl key rotate on a cluster: three kekds on one token, or on two that are replicated.

It is killed after what it did to the HSM and to its files, interrupted, refused, met by another one: each time
the next run ends with one version more, that one active alone, nothing on record, and no call of a client failed.
Of the places where it is killed a few are tried; KEK_ROTATE_KILLS=all tries each.
"""

import contextlib
import fcntl
import itertools
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
import unittest

import certs
import cluster as clusters
import fault as faults
import pages
import rig as rigs
from grpc import RpcError
from traffic import Traffic

sys.path.insert(0, os.path.join(os.environ["abs_top_srcdir"], "tests", "unit"))
import kube_server  # pylint: disable=wrong-import-position

BACKUP = "--i-have-a-backup"
ALL = os.environ.get("KEK_ROTATE_KILLS") == "all"
LANES = 4 if ALL else 3  # kills side by side, each on a cluster of its own


class RotateCase(rigs.Case):
    def cluster(self, **options):
        return clusters.Cluster(self, **options)

    def good(self, done, code=0):
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done

    def ended(self, cluster, version):
        """One version more, that one active alone, on every token and node; nothing left on record."""
        for provider, versions in cluster.states().items():
            self.assertEqual(sorted(versions), list(range(1, version + 1)), provider)
            for number, states in versions.items():
                self.assertEqual(states, ["active" if number == version else "deactivated"],
                                 "version %d on %s" % (number, provider))
        self.assertEqual(cluster.announced(), [version] * len(cluster.nodes))
        for node in cluster.nodes:
            self.assertFalse([name for name in os.listdir(node.state) if "rotation" in name])


class Whole(RotateCase):
    def test_a_rotation_under_traffic_costs_no_call_and_tells_what_comes_next(self):
        cluster = self.cluster().start()

        def under_traffic(*arguments):
            with contextlib.ExitStack() as stack:
                traffics = [stack.enter_context(Traffic(node.socket, threads=1))
                            for node in cluster.nodes]
                done = cluster.rotate(*arguments)
                for traffic in traffics:
                    traffic.more(20)
            for traffic in traffics:
                self.assertFalse(traffic.failures or traffic.wrong)
            return done, [traffic.sealed[0] for traffic in traffics]

        done, old = under_traffic(BACKUP, "--until", "announced")
        self.good(done)
        self.assertIn("reached          announced", done.stdout)
        self.assertEqual(cluster.record()["step"], "announced")
        done = self.good(cluster.rotate("--timeout", "2s"), 3)
        self.assertRegex(done.stderr, r"the time is over at step retire: cp\d may still seal under version 1")
        self.assertEqual(cluster.states()["hsm-a"], {1: ["active"], 2: ["active"]})
        cluster.restart()  # what was told before is forgotten, and need not be waited for
        done, _ = under_traffic("--output", "json")
        self.good(done)
        self.ended(cluster, 2)
        last = json.loads(done.stdout.splitlines()[-1])
        self.assertEqual((last["state"], last["version"], last["surplus"]), ("ended", 2, ""))
        listed = json.loads(cluster.nodes[0].kekctl("--output", "json", "key", "list").stdout)["versions"]
        self.assertEqual([version["version"] for version in listed if version["alg"] == "none"], [])  # not the older one either
        status = json.loads(cluster.nodes[1].page("/status")[1])
        self.assertEqual(status["primary"]["key_id_hash"], last["key_id_hash"])
        after = time.strptime(last["reencrypt_after"], "%Y-%m-%dT%H:%M:%SZ")
        self.assertAlmostEqual(time.mktime(after) - time.timezone - time.time(), 240, delta=60)
        self.reencrypt_says(cluster, last["reencrypt_after"])
        for sealed in old:
            self.assertEqual(sealed.open(cluster.nodes[2].client()), sealed.plain)
        cluster.stop()

    def reencrypt_says(self, cluster, after):
        """Whoever asks later is told the same moment, and kekctl reencrypt waits for it."""
        again = self.good(cluster.rotate("--output", "json"))
        self.assertEqual(json.loads(again.stdout.splitlines()[-1])["reencrypt_after"], after)
        with tempfile.TemporaryDirectory() as folder:
            kube_server.certificates(folder)
            with contextlib.closing(kube_server.Server(folder)) as server:
                done = cluster.nodes[1].kekctl("reencrypt", "--kubeconfig", server.kubeconfig(), "--timeout", "1s")
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn(b"may write under the one before until " + after.encode(), done.stderr)

    def test_with_two_tokens_it_waits_for_the_replication_and_changes_both(self):
        cluster = self.cluster(nodes=2, pair=True).start()
        done = self.good(cluster.rotate(), 1)
        self.assertIn("name by --provider the one that makes version 2", done.stderr)
        self.assertEqual(cluster.states(), {"hsm-a": {1: ["active"]}, "hsm-b": {1: ["active"]}})
        run = cluster.begin("--provider", "hsm-a")
        line = ""
        while "hsm-b does not show version 2 yet: bring its key there" not in line:
            line = run.stdout.readline()
            self.assertTrue(line, "it ended before")
        cluster.twin.replicate(cluster.token)
        out, error = run.communicate(timeout=rigs.PATIENCE)
        self.assertEqual(run.returncode, 0, out + error)
        self.ended(cluster, 2)
        self.half_a_rotation_by_hand_is_finished(cluster)
        before = cluster.states()
        with cluster.twin.away():
            done = self.good(cluster.rotate("--provider", "hsm-a", "--again"), 1)
        self.assertIn("nothing was changed: every provider must answer first: hsm-b", done.stderr)
        self.assertEqual(cluster.states(), before)
        self.assertIsNone(cluster.record())
        cluster.stop()

    def half_a_rotation_by_hand_is_finished(self, cluster):
        """Where a version was made, and promoted on one of two tokens, none is made."""
        cluster.nodes[0].kekctl("key", "generate", "--provider", "hsm-b", check=True)
        rigs.Twin.replicate(cluster.token, cluster.twin)
        self.good(cluster.rotate(node=1))
        self.ended(cluster, 3)


class Refusals(RotateCase):
    """On one cluster, of which nothing may have changed after each."""

    def setUp(self):
        self.cluster_ = self.cluster(nodes=2).start()

    def tearDown(self):
        self.cluster_.stop()

    def refused(self, words, *arguments, code=1, **options):  # pylint: disable=arguments-differ
        before = self.cluster_.states()
        done = self.good(self.cluster_.rotate(*arguments, **options), code)
        self.assertIn(words, done.stderr)
        self.assertEqual(self.cluster_.states(), before)
        self.assertIsNone(self.cluster_.record())

    def other_config(self, **overrides):
        """The first node's configuration with something else in it."""
        node = self.cluster_.nodes[0]
        path = node.folder + "/other.yaml"
        with open(path, "w", encoding="ascii") as file:
            file.write("\n".join(rigs.yaml_lines(dict(node.config, **overrides))) + "\n")
        return path

    def test_each_refusal_names_what_is_wrong_and_where_and_changes_nothing(self):
        cluster, (one, two) = self.cluster_, self.cluster_.nodes
        self.what_would_be_done_is_told()
        self.refused("version 2 would be on the token of hsm-a alone", code=1)
        self.refused("--until: expected create, seen", "--until", "done", code=2)
        self.refused("there is no node \"cp9\"", "--without", "cp9", code=2)
        self.refused("this node, cp1, is not among the nodes", BACKUP, "--node", cluster.addresses[1])
        nowhere = rigs.own_address()
        status = dict(one.config["status"], nodes=cluster.addresses + [nowhere])
        self.refused("at step claim: " + nowhere, BACKUP, "--timeout", "1s", code=3,
                     config=self.other_config(status=status))
        cert, key = certs.Authority(one.folder + "/stranger").issue("/CN=cp1", name="cp1")
        self.refused("at step claim: " + cluster.addresses[0], BACKUP, "--timeout", "1s", code=3,
                     config=self.other_config(status=dict(one.config["status"], cert=cert, key=key)))
        self.refused("%s has a record of keyring k8s-test, and none of other: " % one.state, BACKUP,
                     config=self.other_config(keyring="other"))
        os.mkdir(one.folder + "/fresh", 0o700)
        self.refused("and this configuration other", BACKUP,
                     config=self.other_config(keyring="other", state_dir=one.folder + "/fresh"))
        self.refused("has another context than this configuration", BACKUP,
                     config=self.other_config(context="elsewhere"))
        with cluster.token.away():
            done = self.good(cluster.rotate(BACKUP), 1)
            self.assertIn("nothing was changed: every provider must answer first: hsm-a: no token", done.stderr)
        for node in (one, two):
            cluster.ready(node)
        self.wrong_pin(one)
        two.signal(signal.SIGSTOP)
        try:
            self.refused("does not answer", BACKUP, "--timeout", "1s", code=3)
            done = self.good(cluster.rotate("--dry-run", BACKUP, "--until", "seen"))
            self.assertRegex(done.stdout,
                             r"claim +next +%s does not answer.*\ncreate +later *\n"
                             r"seen +later +22 s, which the nodes that were not asked are given\n\Z"
                             % cluster.addresses[1])
        finally:
            two.signal(signal.SIGCONT)
        cluster.ready(two)

    def what_would_be_done_is_told(self):
        done = self.good(self.cluster_.rotate("--dry-run", BACKUP, "--output", "json"))
        told = json.loads(done.stdout)
        self.assertEqual([(step["step"], step["state"]) for step in told["steps"]],
                         [("create", "next"), ("seen", "later"), ("promote", "later"),
                          ("announced", "later"), ("retire", "later")])
        self.assertEqual(told["version"], 2)
        # With a refresh of 1 s, and no time to settle.
        self.assertEqual([step["wait_ms"] for step in told["steps"]], [0, 1000, 0, 1000, 100000])
        self.assertEqual([bool(step["text"]) for step in told["steps"]], [True, True, False, True, True])
        self.refused("it would be refused: version 2 would be on the token of hsm-a alone", "--dry-run")

    def wrong_pin(self, node):
        entry = dict(node.config["providers"][0])
        path = node.folder + "/wrong.pin"
        with open(path, "w", encoding="ascii") as file:
            file.write("not-the-pin\n")
        os.chmod(path, 0o600)
        entry["uri"] = re.sub(r"pin-source=[^&]*", "pin-source=file:" + path, entry["uri"])
        self.refused("nothing was changed: every provider must answer first: hsm-a", BACKUP,
                     config=self.other_config(providers=[entry]))
        node.kekctl("pin", "retry", check=True)

    def test_a_second_rotation_hears_of_the_first_which_is_interrupted_and_goes_on(self):
        cluster = self.cluster_
        self.good(cluster.rotate("--until", "seen"))
        full = ["sh", "-c", 'ulimit -f 0; exec "$0" "$@"']  # as a full disk, and a signal besides
        done = subprocess.run(full + cluster.command(BACKUP), stderr=subprocess.PIPE, text=True,
                              timeout=rigs.PATIENCE, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, "nothing was changed: writing .*k8s-test.rotation.new: File too large")
        first, with_stopped = None, cluster.nodes[1]
        with_stopped.signal(signal.SIGSTOP)  # so that the first one waits
        try:
            first = cluster.begin(BACKUP)
            self.assertIn("does not answer", first.stdout.readline())
            done = self.good(cluster.rotate(BACKUP), 1)
            self.assertRegex(done.stderr, r"a rotation runs on this node, cp1, already: step seen since "
                                          r"\d.*, version 2, pid %d" % first.pid)
            # Nobody else makes a version, or promotes one, meanwhile.
            for words in (("generate",), ("promote", "2", BACKUP)):
                refused = cluster.nodes[0].kekctl("key", *words)
                self.assertEqual(refused.returncode, 1, refused.stderr)
                self.assertIn(b"a rotation of keyring k8s-test runs on this node (kekctl key rotate, pid %d)" % first.pid,
                              refused.stderr)
        finally:
            first.send_signal(signal.SIGINT)
            with_stopped.signal(signal.SIGCONT)
        _, error = first.communicate(timeout=rigs.PATIENCE)
        self.assertEqual(first.returncode, 3, error)
        self.assertRegex(error, "interrupted at step (seen|promote)")
        self.assertIn("key rotate, with the same options, goes on from here", error)
        cluster.ready(with_stopped)
        done = self.good(cluster.rotate(BACKUP, node=1), 1)
        self.assertRegex(done.stderr, r"cp1 rotates already: step seen since \d.*, pid %d" % first.pid)
        self.assertIsNone(cluster.record(1))
        self.assertEqual(cluster.record()["version"], 2)
        self.good(cluster.rotate(BACKUP))
        self.ended(cluster, 2)

    def test_of_two_rotations_that_begin_at_once_one_goes_on(self):
        cluster = self.cluster_
        runs = [cluster.begin(BACKUP, node=number) for number in (0, 1)]
        ends = [run.communicate(timeout=rigs.PATIENCE) + (run.returncode,) for run in runs]
        codes = [code for _, _, code in ends]
        self.assertIn(0, codes, ends)
        for _, error, code in ends:
            if code != 0:
                self.assertEqual(code, 1, error)
                self.assertRegex(error, r"nothing was changed: cp\d rotates already: step \w+ since")
        self.ended(cluster, 2)

    def test_a_suspended_version_is_to_be_resumed_and_then_promoted(self):
        cluster, node = self.cluster_, self.cluster_.nodes[0]
        self.good(cluster.rotate("--until", "create"))
        node.kekctl("key", "suspend", "2", check=True)
        self.good(cluster.rotate(BACKUP, "--until", "create"))  # what may do nothing is no version to promote
        self.assertEqual(cluster.states()["hsm-a"],
                         {1: ["active"], 2: ["suspended"], 3: ["pre-active"]})
        node.kekctl("key", "suspend", "3", check=True)
        node.kekctl("key", "resume", "2", check=True)
        os.unlink(node.state + "/k8s-test.rotation")
        cluster.restart()  # kekctl has asked for Status to know what is announced
        self.good(cluster.rotate(BACKUP))
        self.assertEqual(cluster.announced(), [2, 2])

    def test_on_a_terminal_each_step_is_one_line_that_fits(self):
        cluster, columns = self.cluster_, 40
        master, slave = pty.openpty()
        self.addCleanup(os.close, master)
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 25, columns, 0, 0))
        run = subprocess.Popen(cluster.command(BACKUP, "--until", "seen"), stdout=slave,
                               stderr=subprocess.DEVNULL, start_new_session=True)
        os.close(slave)
        text = b""
        with contextlib.suppress(OSError):  # the terminal's other end is gone
            while select.select([master], [], [], rigs.PATIENCE)[0]:
                part = os.read(master, 65536)
                if not part:
                    break
                text += part
        self.assertEqual(run.wait(rigs.PATIENCE), 0)
        drawn = [line for line in re.split(r"[\r\n]+", text.decode()) if line.endswith("\x1b[K")]
        self.assertTrue(all(len(line) < columns + len("\x1b[K") for line in drawn), drawn)
        for step in ("claim", "create"):
            self.assertTrue([line for line in drawn if re.match(step + r" +done after \d+ s", line)], drawn)


SHIMS = {
    "kekctl": 'exec "$KEKCTL" --config "$CONFIG" "$@"',
    "runuser": 'test "$1 $2 $3" = "-u kekd --" && shift 3 && exec "$@"',
    # What it would have to do stands in the documentation; that it is asked for it stands here.
    "kubectl": 'echo "$*" >>"$ASKED"; case $1 in replace) cat ;; *) echo "{}" ;; esac',
}


class Documented(RotateCase):
    """The procedures of operations.md, block by block, with programs of these names that stand for the system's."""

    def setUp(self):
        self.cluster_ = self.cluster().start()
        node = self.cluster_.nodes[0]
        folder = node.folder + "/bin"
        os.mkdir(folder)
        for name, does in SHIMS.items():
            with open(os.path.join(folder, name), "w", encoding="ascii") as file:
                file.write("#!/bin/sh\n%s\n" % does)
            os.chmod(os.path.join(folder, name), 0o755)
        self.asked = node.folder + "/asked"
        self.env = dict(os.environ, PATH=folder + ":" + os.environ["PATH"], CONFIG=node.path,
                        KEKCTL=rigs.program("kekctl"), ASKED=self.asked)

    def tearDown(self):
        self.cluster_.stop()

    def run_block(self, block, code=0, **env):
        done = subprocess.run(["sh", "-euc", block], env=dict(self.env, **env), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=rigs.PATIENCE, check=False)
        return self.good(done, code)

    def blocks(self, heading, count):
        found = pages.steps("operations.md", heading)
        self.assertEqual(len(found), count, heading)
        return found

    def rewritten(self):
        with open(self.asked, encoding="ascii") as file:
            return file.read().splitlines()

    def test_the_documented_procedures_do_what_they_say(self):
        look, create, go_on, rewrite = self.blocks("## Rotating", 4)
        self.assertRegex(self.run_block(look).stdout, "create +next +hsm-a makes version 2")
        self.run_block(create)
        self.assertEqual(self.cluster_.states()["hsm-a"], {1: ["active"], 2: ["pre-active"]})
        self.run_block(go_on)
        self.ended(self.cluster_, 2)
        self.run_block(rewrite)
        self.assertCountEqual(self.rewritten(), ["get secrets --all-namespaces -o json", "replace -f -"])
        self.half_way()
        self.suspect()

    def half_way(self):
        ask, again = self.blocks("### When a rotation stops half way", 2)
        self.good(self.cluster_.rotate("--again", BACKUP, "--until", "promote"))
        self.assertRegex(self.run_block(ask).stdout, "(announced|retire) +next")
        self.run_block(again)
        self.ended(self.cluster_, 3)

    def suspect(self):
        rotate, rewrite, suspend, mark = self.blocks("### A key you suspect", 4)
        self.run_block(rotate)
        self.ended(self.cluster_, 4)
        self.run_block(rewrite)
        self.assertEqual(len(self.rewritten()), 4)
        self.run_block(suspend, OLD="3")
        self.assertEqual(self.cluster_.states()["hsm-a"][3], ["suspended"])
        self.run_block(mark, OLD="3")
        self.assertEqual(self.cluster_.states()["hsm-a"][3], ["compromised"])


class Lane:
    """A cluster that is rotated over and over, each time with one kill, while clients open something on it. They seal
    nothing, so that nobody has to wait for the end of what an Encrypt may do."""

    ROTATIONS = 25  # of one cluster: a token of many versions is slow to list

    def __init__(self, case):
        self.case, self.cluster, self.left = case, None, 0
        self.version, self.failures, self.threads = 0, [], []
        self.stop = threading.Event()

    def close(self):
        self.stop.set()
        for thread in self.threads:
            thread.join()
        if self.cluster is not None:
            self.fault.close()
            self.cluster.stop()
        self.cluster, self.threads = None, []

    def fresh(self):
        self.close()
        self.stop.clear()
        self.cluster, self.version = self.case.cluster().start(), 1
        node = self.cluster.nodes[0]
        sealed = node.client().encrypt1(b"x" * 32)
        self.cluster.restart()
        for each in self.cluster.nodes:
            self.threads.append(threading.Thread(target=self.open, args=(each.client(), sealed)))
            self.threads[-1].start()
        self.config, self.fault = node.folder + "/faulty.yaml", faults.Fault(node.folder + "/fault")
        entry = dict(node.config["providers"][0])
        entry["uri"] = re.sub(r"module-path=[^&]*", "module-path=" + faults.module(), entry["uri"])
        entry["env"] = dict(entry["env"], KEK_FAULT_CONTROL=self.fault.path)
        with open(self.config, "w", encoding="ascii") as file:
            file.write("\n".join(rigs.yaml_lines(dict(node.config, providers=[entry]))) + "\n")

    def open(self, client, sealed):
        while not self.stop.wait(0.05):
            try:
                if client.decrypt1(sealed) != b"x" * 32:
                    self.failures.append("another plaintext")
            except RpcError as error:
                self.failures.append(error.details())

    def next(self):
        if self.left == 0:
            self.fresh()
            self.left = self.ROTATIONS
        self.left -= 1
        self.version += 1

    def go_on(self):
        """Whoever finds a rotation that was killed runs it again; where it had not begun, for the first time."""
        self.case.good(self.cluster.rotate(BACKUP))
        if max(self.cluster.states()["hsm-a"]) < self.version:
            self.case.good(self.cluster.rotate(BACKUP, "--again"))
        self.case.ended(self.cluster, self.version)
        self.case.assertFalse(self.failures)


class Killed(RotateCase):
    def kill_each(self, sample, run):
        """run(lane, n) is a rotation that is killed at its n-th place; it returns the exit code."""
        numbers = itertools.count(1) if ALL else iter(sample)
        killed, over, lock = [], threading.Event(), threading.Lock()

        def work(lane):
            try:
                while not over.is_set():
                    with lock:
                        number = next(numbers, None)
                    if number is None:
                        break
                    lane.next()
                    code = run(lane, number)
                    if code == 0:  # it had no such place
                        self.ended(lane.cluster, lane.version)
                        over.set()
                    else:
                        self.assertEqual(code, -signal.SIGKILL, "at place %d" % number)
                        lane.go_on()
                        killed.append(number)
            finally:
                lane.close()

        rigs.side_by_side(work, [Lane(self) for _ in range(LANES)])
        print("%s: killed at %d places, the last one %d" % (self.id(), len(killed), max(killed)), flush=True)
        self.assertTrue(ALL or len(killed) == len(sample))

    def test_after_any_call_to_the_hsm(self):
        def run(lane, number):
            lane.fault.put("* %d orphan" % number)
            return lane.cluster.rotate(BACKUP, "--again", config=lane.config).returncode
        self.kill_each([150, 550, 950], run)

    @unittest.skipIf(rigs.sanitized(), "SKIP: a sanitizer's library must be the first: kills between writes "
                                       "were not tried")
    def test_between_any_two_writes(self):
        preload = {"LD_PRELOAD": rigs.program("tests/faults/killed.so")}

        def run(lane, number):
            return lane.cluster.rotate(BACKUP, "--again",
                                       env=dict(preload, KEK_KILLED="kekctl:%d" % number)).returncode
        self.kill_each([20, 60, 110], run)


if __name__ == "__main__":
    rigs.main()
