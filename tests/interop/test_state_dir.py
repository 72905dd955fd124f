#!/usr/bin/python3
"""A state_dir that is moved away, removed, replaced or mounted over under a kekd that runs: it tells, serves on, and writes nothing
into another folder than the one that it locked."""

import json
import os
import shutil
import subprocess
import unittest

import rig as rigs
from roots import DEK, Roots

ROW = 'kekd_degraded{reason="state_dir_replaced",version="",provider=""}'
MOUNTS = ["unshare", "--mount", "--propagation", "private"]


class StateDir(Roots):
    def one(self):
        node = self.rig(config={"metrics": rigs.own_address(), "settle": "0s"})
        self.away = node.state + ".away"
        return node.start()

    def told(self, node, seen):
        """In metrics, /readyz, /status, kekctl and, once, in the log."""
        rigs.wait_for(lambda: node.metrics().get(ROW) == 1, ROW)
        code, text = node.page("/readyz")
        self.assertEqual((code, text.split("\n")[0]), (200, "ok"))
        line, = [line for line in text.split("\n") if line.startswith("to be mended: state_dir " + node.state)]
        self.assertIn(seen, line)
        remark, = [remark for remark in json.loads(node.page("/status")[1])["remarks"] if remark["reason"] == "state_dir_replaced"]
        self.assertEqual("to be mended: %s; %s" % (remark["what"], remark["todo"]), line)
        rigs.wait_for(lambda: self.warnings(node), "the warning")
        self.assertIn(seen, self.warnings(node)[-1])

    @staticmethod
    def warnings(node):
        return [line for line in node.log().splitlines() if " warn: state_dir " + node.state in line]

    def over(self, node):
        rigs.wait_for(lambda: ROW not in node.metrics(), "the end of " + ROW)
        rigs.wait_for(lambda: "state_dir: %s is the folder again that this kekd locked" % node.state in node.log(), "the log's line")

    def serves(self, node):
        with node.client() as client:
            self.assertEqual(client.open(client.encrypt(DEK)), DEK)
            return client.status().key_id

    @staticmethod
    def announced(node):
        return json.loads(node.page("/status")[1])["primary"]["version"]

    @staticmethod
    def recorded(folder, name="k8s-test"):
        with open("%s/%s.json" % (folder, name), encoding="ascii") as file:
            return json.load(file)["primary"]["number"]

    def test_one_that_is_moved_away_and_replaced_is_told_and_waited_for(self):
        node = self.one()
        before = self.serves(node)
        os.rename(node.state, self.away)
        os.mkdir(node.state, 0o700)
        self.told(node, "is another folder than the one that this kekd locked, which is now %s" % self.away)
        status = node.kekctl("node", "status", "--node", "self")
        self.assertEqual(status.returncode, 3)
        self.assertIn("to be mended, and restart kekd not before: state_dir " + node.state, status.stderr.decode())
        # A rotation waits for it.
        node.kekctl("key", "generate", check=True)
        node.kekctl("key", "promote", "2", "--i-have-a-backup", check=True)
        waits = 'kekd_degraded{reason="version_waits",version="2",provider=""}'
        rigs.wait_for(lambda: waits in node.metrics(), waits)
        self.assertIn("KEK version 2 waits until state_dir %s is the folder again" % node.state, node.page("/readyz")[1])
        self.assertEqual((self.serves(node), self.announced(node)), (before, 1))
        self.assertEqual(self.recorded(self.away), 1)
        self.assertFalse([name for name in os.listdir(node.state) if name.endswith(".json")])
        self.assertEqual(len(self.warnings(node)), 1, node.log())
        shutil.rmtree(node.state)
        os.rename(self.away, node.state)
        self.over(node)
        rigs.wait_for(lambda: self.announced(node) == 2, "version 2")
        self.assertEqual(self.recorded(node.state), 2)
        node.stop()

    def test_one_that_is_away_is_told_by_why(self):
        node = self.one()
        os.rename(node.state, self.away)
        self.told(node, "does not name the folder that this kekd locked, which is now %s: No such file or directory" % self.away)
        self.serves(node)
        os.rename(self.away, node.state)
        self.over(node)
        node.stop()

    def test_one_that_was_removed_is_in_memory_alone_until_there_is_another(self):
        node = self.two("any").start()
        before = self.status(node).key_id
        os.rename(node.state, node.state + ".away")
        shutil.rmtree(node.state + ".away")
        self.told(node, "was removed: what this node announced is in kekd's memory alone; make it again")
        self.serves(node)
        os.mkdir(node.state, 0o700)
        rigs.wait_for(lambda: ROW not in node.metrics(), "the end of " + ROW)
        for root in ("site", "spare"):
            rigs.wait_for(lambda name="k8s-test@" + root: os.path.exists("%s/%s.json" % (node.state, name)), "the record of " + root)
            self.assertEqual(self.recorded(node.state, "k8s-test@" + root), 1)
            self.assertIn("%s: state_dir %s was removed: the folder that is there now is locked" % (root, node.state), node.log())
        # It is locked as the one before: also for kekds whose roots are called otherwise.
        names = [[("site", "spare")[i], ("one", "two")[i]] for i in range(2)]
        for site, spare in zip(*names):
            other = self.rig(generate=False, token=node.token, name="other")
            other.config.update({key: node.config[key] for key in ("providers", "state_dir", "mode")})
            other.write(roots=[{"name": site, "providers": ["hsm-a"]}, {"name": spare, "providers": ["hsm-b"]}])
            other.spawn()
            self.assertEqual(other.kekd.wait(rigs.PATIENCE), 1)
            self.assertRegex(other.log(), r"another kekd uses this state_dir for keyring k8s-test \(pid %d\)" % node.kekd.pid)
            other.kekd = None
        node.close_clients()
        node.stop()
        node.spawn().good()
        self.assertEqual(self.status(node).key_id, before)
        node.stop()

    @unittest.skipUnless(os.geteuid() == 0 and subprocess.run([*MOUNTS, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], check=False,
                                                                   stderr=subprocess.DEVNULL).returncode == 0, "it may not mount")
    def test_a_mount_that_comes_over_it_and_goes(self):
        node = self.one()
        node.stop()
        node.spawn(shell='exec unshare --mount --propagation private "$0" "$@"').good()
        mount = ["nsenter", "--mount", "--target", str(node.kekd.pid)]
        subprocess.run([*mount, "mount", "-t", "tmpfs", "tmpfs", node.state], check=True)
        self.told(node, ": a file system was mounted there, or is there no more")
        self.serves(node)
        subprocess.run([*mount, "umount", node.state], check=True)
        self.over(node)
        node.stop()

    def test_of_several_roots_it_is_told_once(self):
        node = self.two("any").start()
        os.rename(node.state, node.state + ".away")
        self.told(node, "does not name the folder")
        rigs.wait_for(lambda: node.metrics()["kekd_ready"] == 1, "kekd to be ready")
        self.assertEqual([name for name in node.metrics() if "state_dir_replaced" in name], [ROW])
        self.assertEqual(len(self.warnings(node)), 1, node.log())
        os.rename(node.state + ".away", node.state)
        self.over(node)
        node.stop()

    def test_one_roots_state_file_alone_is_written_anew(self):
        node = self.two("any").start()
        path = node.state + "/k8s-test@spare.json"
        rigs.wait_for(lambda: os.path.exists(path), "the record")
        other = os.stat(node.state + "/k8s-test@site.json")
        os.unlink(path)
        rigs.wait_for(lambda: "the state file %s was removed: it is written anew" % path in node.log(), "the log's line")
        rigs.wait_for(lambda: os.path.exists(path), "the record")
        self.assertEqual(self.recorded(node.state, "k8s-test@spare"), 1)
        self.assertEqual(os.stat(node.state + "/k8s-test@site.json").st_ino, other.st_ino)
        self.assertNotIn(ROW, node.metrics())
        node.stop()

    def test_one_roots_state_file_that_is_gone_before_a_start_is_told_by_doctor(self):
        node = self.two("any")
        node.write(audit={"file": node.folder + "/audit.jsonl"})
        node.start()
        node.stop()
        def told():
            lines = json.loads(node.kekctl("doctor", "--output", "json").stdout)["lines"]
            return [line["seen"] for line in lines if (line["subject"], line["verdict"]) == ("state_dir", "FAIL")]
        self.assertEqual(told(), [])
        path = node.state + "/k8s-test@spare.json"
        os.rename(path, path + "-kept")
        line, = told()
        self.assertIn("%s has no record of the key that was announced of root of trust spare, and the audit log" % node.state, line)
        os.rename(path + "-kept", path)
        # One that is new to the configuration has none yet.
        node.write(roots=[{"name": "site", "providers": ["hsm-a"]}, {"name": "other", "providers": ["hsm-b"]}])
        self.assertEqual(told(), [])


if __name__ == "__main__":
    rigs.main()
