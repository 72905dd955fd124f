"""What the log says, and to whom."""

import hashlib
import json
import os
import re
import shutil
import subprocess

import rig as rigs
from grpc import RpcError

DEK = bytes(range(32))


def lines(node):
    """Of kekd's last run."""
    return node.log().rpartition("--- run ")[2].splitlines()[1:]


class Log(rigs.Case):
    def fails(self, client, sealed, uid):
        with self.assertRaises(RpcError):
            client.decrypt(sealed.ciphertext[:-1] + b"!", sealed.key_id, uid=uid)

    def test_the_journal_gets_the_priority_of_each_line(self):
        node = self.rig()
        node.log_to_journal()
        node.start()
        with node.token.away():
            for pid in node.workers():
                rigs.kill(pid)
            node.wait_log("is down: ")
        node.stop()
        words = {"error": "<3>", "warn": "<4>", "info": "<6>", "debug": "<7>"}
        seen = set()
        for line in lines(node):
            found = re.match(r"(<\d>)\S+ \S+ (\w+): ", line)
            self.assertTrue(found, line)
            self.assertEqual(found[1], words[found[2]], line)
            seen.add(found[2])
        self.assertLessEqual({"error", "info"}, seen)
        self.assertTrue(any(line.startswith("<3>") and "is down: " in line for line in lines(node)))

    def test_a_configuration_that_is_wrong_is_an_error_in_the_journal(self):
        node = self.rig(config={"colour": "blue"}, generate=False)
        node.log_to_journal()
        node.spawn()
        self.assertEqual(node.kekd.wait(rigs.PATIENCE), 2)
        self.assertTrue(lines(node)[0].startswith("<3>kekd: "), lines(node))

    def test_kekctl_in_a_unit_of_its_own_says_errors_to_the_journal(self):
        node = self.rig(generate=False)
        for arguments in (["nonsense"], ["kms", "status"], ["key", "list", "--config", "/nowhere.yaml"]):
            with open(node.log_path, "wb+") as journal:
                node.log_to_journal()
                subprocess.run([rigs.program("kekctl"), "--config", node.path, *arguments], check=False,
                               stdout=subprocess.DEVNULL, stderr=journal, env=dict(os.environ, **node.env))
                journal.seek(0)
                self.assertTrue(journal.read().startswith(b"<3>kekctl: "), arguments)

    def test_a_file_is_no_journal_though_the_variable_is_inherited(self):
        node = self.rig()
        node.env["JOURNAL_STREAM"] = "1:1"
        node.start().stop()
        self.assertEqual([line for line in lines(node) if line.startswith("<")], [])

    def test_json_has_each_field_of_a_failed_call_as_a_member(self):
        node = self.rig(config={"log": {"format": "json"}}).start()
        with node.client() as client:
            sealed = client.encrypt(DEK)
            self.fails(client, sealed, "uid-4711")
        node.stop()
        said = [json.loads(line) for line in lines(node) if line.startswith("{")]
        failed = [line for line in said if line.get("uid") == "uid-4711"]
        self.assertEqual(len(failed), 1)
        self.assertEqual(failed[0]["level"], "warn")
        self.assertEqual(failed[0]["status"], "INVALID_ARGUMENT")
        self.assertNotIn("uid-4711", failed[0]["msg"])
        primary = [line for line in said if "first primary" in line["msg"]]
        self.assertEqual([line["key_id"] for line in primary], [sealed.key_id])
        ready = [line for line in said if line.get("workers") == 2]
        self.assertEqual(ready[0]["provider"], "hsm-a")

    def test_the_first_line_says_what_runs_and_as_what(self):
        node = self.rig(config={"log": {"format": "json"}, "data_key": {"max_uses": 1}}).start()
        node.stop()
        version = subprocess.run([rigs.program("kekd"), "--version"], stdout=subprocess.PIPE, check=True, text=True)
        with open(node.path, "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
        first = json.loads(lines(node)[0])
        expected = {"msg": "starting", "version": version.stdout.split()[1], "config": node.path,
                    "config_sha256": digest, "keyring": "k8s-test", "context": "interop", "mode": "strict",
                    "euid": os.geteuid()}
        self.assertEqual({key: first.get(key) for key in expected}, expected)
        node.write(data_key={"max_uses": 100}, context="")
        with open(node.path, "a", encoding="ascii") as file:
            file.write("# changed\n")
        shutil.rmtree(node.state)
        os.mkdir(node.state, 0o700)
        node.start().stop()
        again = json.loads(lines(node)[0])
        self.assertEqual((again["mode"], again.get("context")), ("default", None))
        self.assertNotEqual(again["config_sha256"], digest)

    def test_the_workers_lines_are_like_kekds(self):
        rigs.need_root("what a worker without locked memory says")
        for shape, pattern in (("json", r'<4>{"time":".*","program":"([a-z0-9-]+)","level":"warn","msg":".*memory.*"}'),
                               ("text", r"<4>\S+ ([a-z0-9-]+) warn: .*memory")):
            with self.subTest(shape):
                node = self.rig(user="nobody", config={"log": {"format": shape, "level": "info"}})
                node.log_to_journal()
                node.spawn(shell='ulimit -l 0; exec "$0" "$@"').good()
                node.settled()
                node.stop()
                warned = [re.fullmatch(pattern + ".*", line) for line in lines(node)]
                self.assertEqual({found[1] for found in warned if found}, {"kekd", "kekd-pkcs11"}, node.log())
                if shape == "json":
                    for line in lines(node):
                        json.loads(line[3:])

    def test_a_long_reason_is_whole_wherever_it_is_told(self):
        node = self.rig(config={"metrics": rigs.own_address(), "data_key": {"max_uses": 1}}).start()
        node.stop()
        module = "/nowhere/%s/libhsm.so" % ("a-vendor-who-likes-long-names/" * 3)
        entry = node.config["providers"][0]
        entry["uri"] = re.sub("module-path=[^?&]*", "module-path=" + module, entry["uri"])
        node.write()
        with node.service_manager() as manager:
            node.spawn().serving()
            node.wait_log("provider hsm-a is down: ")
            with node.client() as client:
                def trouble():
                    text = client.status().healthz
                    return text if text != "ok" else None  # a restart is given a second
                told = {"Status": rigs.wait_for(trouble, "a Status")}
            told["readyz"] = node.page("/readyz")[1].rstrip("\n")
            told["notify"] = rigs.wait_for(lambda: [word for word in manager.heard() if module in word], "a status")[-1]
            node.stop()
        for where, text in told.items():
            with self.subTest(where):
                self.assertIn(module, text)
                self.assertRegex(text, "(?m)No such file or directory; mend the HSM or the way to it; restart no API server$")
                self.assertEqual(text.count("hsm-a"), 1)
        self.assertLess(len(told["Status"]), 1024)
        down = [line for line in lines(node) if " error: provider hsm-a is down: " in line][0]
        self.assertIn("No such file or directory", down)
        self.assertNotIn("hsm-a: ", down)

    def test_a_flood_of_failures_is_a_line_and_a_count_of_each_kind(self):
        node = self.rig().start()
        with node.client() as client:
            sealed = client.encrypt(DEK)
            for i in range(300):
                self.fails(client, sealed, "uid-%d" % i)
            with self.assertRaises(RpcError):
                client.decrypt(b"junk", sealed.key_id, uid="uid-other")
            node.wait_log("299 more of the same in 1[0-9] s: v2.Decrypt failed: ")
            self.fails(client, sealed, "uid-again")
            self.fails(client, sealed, "uid-last")
        node.stop()  # says what is not said yet
        failed = [line for line in lines(node) if " v2.Decrypt failed: " in line]
        self.assertEqual(len(failed), 5, failed)
        for line, word in zip(failed, ("uid=uid-0", "uid=uid-other", " 299 more ", "uid=uid-again", " 1 more ")):
            self.assertIn(word, line)


if __name__ == "__main__":
    rigs.main()
