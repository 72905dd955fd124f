"""kekctl key destroy on two real tokens beside a kekd that serves: the whole way, what a Decrypt in the quarantine
does, and killed after what it did to the HSM and to its files.

KEK_DESTROY_KILLS=all kills at each place, not at a few.
"""

import datetime
import json
import os
import re
import shutil
import signal
import subprocess
import time
import unittest

import etcd_fake
import etcd_server
import fault as faults
import p11
import protowire
import rig as rigs
from grpc import StatusCode

ALL = os.environ.get("KEK_DESTROY_KILLS") == "all"
DEK = bytes(range(32))
WORDS = ("--single-node", "--backups-checked", "--api-servers-restarted")
PAST = 400_000  # ms: more than max_age, refresh and five minutes


def boot_id():
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


class DestroyCase(rigs.Case):
    """Versions up to `last`, which alone is active; the others have been out of use for a while."""

    def node(self, last):
        node = self.rig(generate=False, config={
            "settle": "0s", "metrics": rigs.own_address(), "data_key": {"max_age": "1s"}, "destroy_after": "2s",
            "quarantine": "2s"})
        self.etcd = etcd_fake.Fake(self)
        node.write(etcd=[{"name": "main", "endpoints": [self.etcd.endpoint]}])
        node.write(audit={"file": node.folder + "/audit"})
        self.ids = {number: os.urandom(16) for number in range(1, last + 1)}
        for number, kek_id in self.ids.items():
            p11.plant(node.token, "k8s-test.v%d" % number, kek_id, wrap=number == 1)
        node.twin = rigs.Twin(node.token, node.folder + "/twin")
        node.config["providers"].append(node.provider("hsm-b", node.twin))
        node.write()
        self.revision = 0
        return node

    def announce(self, node, last):
        """The last version takes over; five minutes are taken from its record, which a test cannot wait for."""
        rigs.wait_for(lambda: node.metric("kekd_kek_primary_version") == 1, "version 1")
        node.kekctl("key", "promote", str(last), check=True)
        rigs.wait_for(lambda: node.metric("kekd_kek_primary_version") == last, "version %d" % last)
        path = node.state + "/k8s-test.json"

        def aged():
            with open(path, encoding="utf-8") as file:
                record = json.load(file)
            return record, [item for item in record["history"] if item["superseded"]]
        rigs.wait_for(lambda: len(aged()[1]) == last - 1, "its record")
        node.close_clients()
        node.stop()
        record, items = aged()
        for item in items:
            item["superseded"]["since_ms"] -= PAST
            item["superseded"]["ms"] += PAST
        with open(path, "w", encoding="utf-8") as file:
            json.dump(record, file)
        node.start()
        node.kekctl("key", "retire", "1", check=True)
        rigs.wait_for(lambda: all(v["inactive"] and v["inactive"]["ms"] > 2000
                                  for v in self.page(node)["versions"] if v["version"] < last), "two seconds of disuse")

    @staticmethod
    def page(node):
        return json.loads(node.page("/status")[1])

    def shown(self, node, number):
        return next(v for v in self.page(node)["versions"] if v["version"] == number)

    def inventory(self, node, count=1):
        """As kekctl inventory leaves it behind."""
        path = node.state + "/k8s-test.inventories"
        inventories = []
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                inventories = json.load(file)["inventories"]
        for _ in range(count):
            self.revision += 1
            up = int(time.clock_gettime(time.CLOCK_BOOTTIME) * 1000)
            now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
            inventories.append({"etcd": "main", "cluster_id": "cdf818194e3a8c32", "prefix": "/registry",
                                "context": "interop", "revision": self.revision, "begun": now, "ended": now,
                                "boot": {"id": boot_id(), "begun_ms": up, "ended_ms": up},
                                "objects": 3, "unreadable": 0, "disagreeing": 0, "verified": False, "by_kek": {}})
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"format": 1, "keyring": "k8s-test", "inventories": inventories[-60:]}, file)

    def destroy(self, node, number, *words, config=None, env=None):
        """(exit code, the object of --output json or None, standard error)"""
        done = subprocess.run(
            [rigs.program("kekctl"), "--config", config or node.path, "key", "destroy", str(number),
             *(words or WORDS), "--output", "json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            timeout=rigs.PATIENCE, check=False, env=dict(os.environ, **(env or {})))
        return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr

    @staticmethod
    def step(node):
        with open(node.state + "/k8s-test.destroy", encoding="utf-8") as file:
            return json.load(file)["now"]["step"]

    def states(self, node):
        """{(version, provider): state}"""
        done = node.kekctl("key", "list", "--output", "json")
        return {(v["version"], v["provider"]): v["state"] for v in json.loads(done.stdout)["versions"]}

    def open_conditions(self, found):
        return [row["condition"] for row in found["conditions"] if not row["met"]]

    def quarantine(self, node, number):
        code, found, err = self.destroy(node, number)
        self.assertEqual(code, 0, "%s %s" % (found and self.open_conditions(found), err))
        self.assertEqual(self.step(node), "quarantined")

    def seen_suspended(self, node, number, ms=3200):  # on record it began a second later at most
        def is_so():
            suspended = self.shown(node, number)["suspended"]
            return suspended is not None and suspended["ms"] >= ms
        rigs.wait_for(is_so, "kekd to see it suspended")


class Served(DestroyCase):
    def test_a_version_goes_while_kekd_serves_and_is_no_loss(self):
        node = self.node(2).start()
        client = node.client()
        rigs.wait_for(lambda: node.metric("kekd_kek_primary_version") == 1, "version 1")
        sealed = client.encrypt(DEK)
        self.announce(node, 2)
        client = node.client()
        young = client.encrypt(DEK)
        self.inventory(node, 2)
        before = self.states(node)
        code, found, err = self.destroy(node, 1, "--dry-run", *WORDS)
        self.assertEqual((code, self.open_conditions(found)), (0, []), err)
        self.assertEqual(self.states(node), before)

        # A Decrypt in the quarantine is proof of use.
        self.quarantine(node, 1)
        self.seen_suspended(node, 1, 0)
        self.assertEqual(node.page("/readyz"), (200, "ok\n"))
        self.assertNotIn('kekd_degraded{reason="suspended"', node.page("/metrics")[1])
        text = self.refused(StatusCode.FAILED_PRECONDITION, client.open, sealed)
        self.assertIn("is suspended until it is resumed", text)
        self.assertEqual(node.metrics()['kekd_kek_version_asked_for_total{version="1"}'], 1)
        node.wait_log("a Decrypt asked for KEK version 1, which is suspended: it is in use, and must not be destroyed")
        self.assertEqual(self.shown(node, 1)["asked_for"]["count"], 1)
        rigs.wait_for(lambda: 'kekd_degraded{reason="suspended",version="1"' in node.page("/metrics")[1], "the remark")
        self.seen_suspended(node, 1)
        self.inventory(node)
        before = self.states(node)
        code, found, err = self.destroy(node, 1)
        self.assertEqual((code, self.open_conditions(found)), (3, ["asked-for"]), err)
        self.assertEqual(self.states(node), before)
        # It is remembered over a restart.
        node.close_clients()
        node.stop()
        node.start()
        rigs.wait_for(lambda: self.shown(node, 1)["suspended"], "version 1")
        self.assertEqual(self.shown(node, 1)["asked_for"]["count"], 1)
        node.kekctl("key", "resume", "1", check=True)
        client = node.client()
        rigs.wait_for(lambda: self.shown(node, 1)["suspended"] is None, "the resumption")
        self.assertEqual(client.open(sealed), DEK)
        self.assertIsNone(self.shown(node, 1)["asked_for"])

        # Nothing asks any more.
        self.quarantine(node, 1)
        self.assertEqual(self.page(node)["destruction"]["step"], "quarantined")
        self.seen_suspended(node, 1)
        code, found, _ = self.destroy(node, 1)
        self.assertEqual((code, self.open_conditions(found)), (3, ["inventory main"]))
        time.sleep(1)
        self.inventory(node)
        code, found, err = self.destroy(node, 1)
        self.assertEqual((code, [s["outcome"] for s in found["steps"]]), (0, ["done", "done"]), err)
        self.gone(node, sealed, young)
        node.close_clients()
        node.stop()
        node.start()
        self.gone(node, sealed, young)
        self.assertNotIn("loss", node.log())

    def gone(self, node, sealed, young):
        """As everybody says it."""
        rigs.wait_for(lambda: self.page(node)["destroyed"], "kekd to see it")
        page = self.page(node)
        self.assertEqual([d["version"] for d in page["destroyed"]], [1])
        self.assertEqual([v["version"] for v in page["versions"]], [2])
        self.assertEqual((page["health"], page["destruction"]["step"]), ("good", "destroyed"))
        self.assertRegex(page["destruction"]["who"], r"uid \d+")
        self.assertEqual(node.page("/readyz"), (200, "ok\n"))
        done = node.kekctl("key", "list", "--output", "json")
        self.assertEqual(done.returncode, 0, done.stderr)
        found = json.loads(done.stdout)
        self.assertEqual({(v["version"], v["provider"]): v["state"] for v in found["versions"]},
                         {(1, ""): "destroyed", (2, "hsm-a"): "active", (2, "hsm-b"): "active"})
        self.assertRegex(found["destroyed"][0]["who"], r"uid \d+")
        with open(node.state + "/k8s-test.json", encoding="utf-8") as file:
            record = json.load(file)
        self.assertEqual([v["number"] for v in record["versions"]], [2])  # its witness is no more
        client = node.client()
        self.assertEqual(client.open(young), DEK)
        text = self.refused(StatusCode.INVALID_ARGUMENT, client.open, sealed)
        self.assertIn("version 1, was destroyed", text)


@unittest.skipUnless(shutil.which("etcd"), "SKIP: etcd not found: no inventory of a real one was taken for proof")
class Stored(DestroyCase):
    """With inventories of a real etcd."""

    def test_one_object_under_it_keeps_it_until_it_is_gone(self):
        etcd = etcd_server.Etcd(self).start()
        node = self.node(2)
        node.write(etcd=[etcd.entry()])
        node.start()
        sealed = node.client().encrypt(DEK)
        old = b"k8s:enc:kms:v2:kekd:" + protowire.pack(
            (1, os.urandom(90)), (2, sealed.key_id), (3, sealed.ciphertext), (5, 1))
        etcd.put("/registry/secrets/default/old", old)
        self.announce(node, 2)
        for _ in range(2):
            node.kekctl("inventory")
            etcd.put("/registry/leases/kube-system/any", b"k8s\0" + os.urandom(8))
        before = self.states(node)
        code, found, err = self.destroy(node, 1)
        self.assertEqual((code, self.open_conditions(found)), (3, ["inventory main"]), err)
        evidence = next(row["evidence"] for row in found["conditions"] if not row["met"])
        self.assertIn("it found objects that this version sealed", evidence)
        self.assertEqual(self.states(node), before)
        etcd.delete("/registry/secrets/default/old")
        node.kekctl("inventory")
        code, found, _ = self.destroy(node, 1)
        self.assertEqual((code, self.open_conditions(found)), (3, ["inventory main"]))
        etcd.put("/registry/leases/kube-system/any", b"k8s\0" + os.urandom(8))
        node.kekctl("inventory")
        code, found, err = self.destroy(node, 1, "--dry-run", *WORDS)
        self.assertEqual((code, self.open_conditions(found)), (0, []), err)
        # Back with a snapshot that is restored: cluster and revision say nothing of it once something was written.
        etcd.put("/registry/secrets/default/old", old)
        code, found, err = self.destroy(node, 1)
        self.assertEqual((code, self.open_conditions(found)), (3, ["inventory main"]), err)
        self.assertIn("1 that the version sealed", next(r["evidence"] for r in found["conditions"] if not r["met"]))
        self.assertEqual(self.states(node), before)


class Killed(DestroyCase):
    """Each version's quarantine and each one's destruction is killed once, and the next runs end well."""

    def goes_well(self, node, number, others):
        """From wherever it was left."""
        for _ in range(4):
            code, found, err = self.destroy(node, number)
            if code == 0 and found["next"] in ("destroy", "finish", "nothing"):
                break
            if code == 3:
                self.assertLessEqual(set(self.open_conditions(found)), {"quarantine", "inventory main"}, err)
            self.seen_suspended(node, number)
            time.sleep(1)
            self.inventory(node)
        else:
            self.fail("version %d: %s %s" % (number, found, err))
        states = self.states(node)
        self.assertEqual({key: state for key, state in states.items() if key[0] == number},
                         {(number, ""): "destroyed"})
        self.untouched(states, number, others)

    def untouched(self, states, number, others):
        self.assertEqual({key: state for key, state in states.items() if key[0] != number and key[1]}, others)

    def each(self, sample, run, last):
        """run(node, number, place): of a destruction that is killed at its n-th place; returns the exit code."""
        node = self.node(last).start()
        self.announce(node, last)
        fault = [faults.inject(node, which) for which in (0, 1)]  # for kekctl alone
        config = node.folder + "/faulty.yaml"
        os.rename(node.path, config)
        for entry in node.config["providers"]:
            entry["env"].pop("KEK_FAULT_CONTROL")
            entry["uri"] = re.sub(r"module-path=[^&]*", "module-path=" + rigs.SOFTHSM, entry["uri"])
        node.write()
        for one in fault:
            self.addCleanup(one.close)
        killed = []
        self.inventory(node, 2)
        for number, place in zip(range(1, last), sample):
            others = {key: state for key, state in self.states(node).items() if key[0] != number and key[1]}
            if number % 2 == 0:  # the destruction's run, else that of the quarantine
                self.quarantine(node, number)
                self.seen_suspended(node, number)
                time.sleep(1)
                self.inventory(node)
            code = run(node, number, config, fault, place)
            for one in fault:
                one.put()
            if code == -signal.SIGKILL:
                killed.append(place)
            else:
                self.assertIn(code, (0, 3))  # it had no such place
            self.untouched(self.states(node), number, others)
            self.goes_well(node, number, others)
            self.assertEqual(node.page("/readyz"), (200, "ok\n"))
        print("%s: killed at places %s" % (self.id(), killed), flush=True)
        self.assertGreater(len(killed), 0)
        self.assertTrue(ALL or len(killed) == len(sample))
        node.close_clients()
        node.stop()

    def test_after_any_call_to_the_hsm(self):
        def run(node, number, config, fault, place):
            fault[place % 2].put("* %d orphan" % place)
            return self.destroy(node, number, config=config)[0]
        sample = range(5, 305, 5) if ALL else [61, 120, 221, 250]
        self.each(sample, run, 62 if ALL else 5)

    @unittest.skipIf(rigs.sanitized(), "SKIP: a sanitizer's library must be the first: kills between writes "
                                       "were not tried")
    def test_between_any_two_writes(self):
        preload = {"LD_PRELOAD": rigs.program("tests/faults/killed.so")}

        def run(node, number, _config, _fault, place):
            return self.destroy(node, number, env=dict(preload, KEK_KILLED="kekctl:%d" % place))[0]
        if not ALL:
            self.each([9, 9, 14, 14], run, 5)
        # A token has room for so many versions; a quarantine has some 50 places, a destruction some 75.
        for first in (1, 31, 61) if ALL else ():
            self.each([n for place in range(first, first + 30) for n in (place, place)], run, 62)


if __name__ == "__main__":
    rigs.main()
