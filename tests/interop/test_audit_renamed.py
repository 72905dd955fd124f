"""The audit file renamed as logrotate does it, at any moment, while a kekd and several kekctls have it open: one chain over
all files, no line lost, twice or out of order, and nothing told that was not."""

import glob
import json
import os
import random
import signal
import subprocess
import threading
import time

import rig as rigs

DEK = bytes(range(32))


class Renamed(rigs.Case):
    def node(self):
        node = self.rig()
        node.audit = node.folder + "/audit.jsonl"
        node.write(audit={"file": node.audit}, settle="1s")
        node.renamed = 0
        return node

    @staticmethod
    def rename(node):
        node.renamed += 1
        os.rename(node.audit, "%s.%d" % (node.audit, node.renamed))

    @staticmethod
    def used(node, calls=10):
        with node.client() as client:
            for _ in range(calls):
                client.encrypt(DEK)

    def hung_up(self, node):
        node.signal(signal.SIGHUP)
        rigs.wait_for(lambda: os.path.exists(node.audit), "the new file")

    def good(self, node):
        """All files are one chain; returns its lines."""
        files = glob.glob(node.audit + "*")
        done = node.kekctl("audit", "verify", "--output", "json", *files)
        told = json.loads(done.stdout)
        self.assertEqual((done.returncode, told["problems"], len(told["chains"])), (0, [], 1), told)
        lines = []
        for name in files:
            lines += rigs.json_lines(name)
        return lines

    @staticmethod
    def count(path):
        with open(path, "rb") as file:
            return len(file.readlines())

    @staticmethod
    def begun(node, *command):
        return subprocess.Popen([rigs.program("kekctl"), "--config", node.path, *command], stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    @staticmethod
    def has_open(process, path):
        folder = "/proc/%d/fd/" % process.pid
        try:
            return any(os.readlink(folder + name) == path for name in os.listdir(folder))
        except OSError:
            return False

    def stopped(self, node, *command):
        """A kekctl that was stopped with the file open."""
        process = self.begun(node, *command)
        self.addCleanup(process.kill)
        end = time.monotonic() + rigs.PATIENCE
        while not self.has_open(process, node.audit):
            self.assertIsNone(process.poll(), "%s was never seen with the file open" % (command,))
            self.assertLess(time.monotonic(), end)
        process.send_signal(signal.SIGSTOP)
        return process

    def ended(self, process, code=0):
        process.send_signal(signal.SIGCONT)
        _, said = process.communicate(timeout=rigs.PATIENCE)
        self.assertEqual(process.returncode, code, said)
        self.assertNotIn(b"audit log", said)

    def test_a_kekctl_that_holds_the_file_over_a_rotation_goes_on_where_the_chain_is(self):
        node = self.node().start()
        self.used(node)
        for command in (("key", "generate"), ("probe",)):
            process = self.stopped(node, *command)
            self.rename(node)
            self.hung_up(node)
            self.used(node)
            self.ended(process)
            self.used(node)
            self.good(node)
        process = self.stopped(node, "key", "generate")
        self.rename(node)
        node.stop()  # it writes its last lines into the renamed one
        self.assertFalse(os.path.exists(node.audit))
        self.ended(process)
        self.assertFalse(os.path.exists(node.audit))
        node.start()
        self.used(node)
        lines = self.good(node)
        self.assertEqual([line["event"] for line in lines].count("generate"), 4)
        node.stop()

    def test_a_kekctl_that_starts_between_the_rename_and_kekds_signal(self):
        node = self.node().start()
        self.used(node)
        self.rename(node)
        self.used(node)
        node.kekctl("key", "list", check=True)
        self.used(node)
        rigs.wait_for(lambda: self.count(node.audit) > 10, "kekd's lines in the new file, without any signal")
        self.hung_up(node)
        self.used(node)
        self.good(node)
        node.stop()

    def test_rotations_at_every_moment_beside_kekctls_and_a_kekd_that_is_restarted(self):
        node = self.node().start()
        ending, runs, failed = threading.Event(), [], []

        def lists():
            while not ending.is_set():
                done = node.kekctl("key", "list")
                runs.append(1)
                if done.returncode != 0 or b"audit log" in done.stderr:
                    failed.append(done.stderr)
        threads = [threading.Thread(target=lists) for _ in range(3)]
        for thread in threads:
            thread.start()
        calls, chance = 0, random.Random(1)
        try:
            for turn in range(24):
                self.rename(node)
                time.sleep(chance.uniform(0, 0.1))
                self.used(node, 3)
                calls += 3
                if turn % 8 == 7:
                    node.close_clients()
                    node.signal()
                    self.assertEqual(node.kekd.wait(rigs.PATIENCE), 0)
                    node.kekd = None
                    time.sleep(chance.uniform(0, 0.2))
                    node.start()
                else:
                    self.hung_up(node)
                time.sleep(chance.uniform(0, 0.1))
                rigs.wait_for(lambda: os.path.exists(node.audit), "a file to rename")
        finally:
            ending.set()
            for thread in threads:
                thread.join()
        node.close_clients()
        node.stop()
        self.assertEqual(failed, [])
        lines = self.good(node)
        encrypts = [line for line in lines if line["event"] == "call" and line["method"] == "Encrypt"]
        self.assertGreaterEqual(len(encrypts), calls)
        told = {line["peer_pid"] for line in lines if line.get("command") == "key list"}
        self.assertEqual(len(told), len(runs))


if __name__ == "__main__":
    rigs.main()
