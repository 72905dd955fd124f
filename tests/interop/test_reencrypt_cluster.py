#!/usr/bin/env python3
"""kekctl reencrypt over Kubernetes' own API server code: what is stored under an older key is written once, what is not
stays as it is, and nothing of the objects changes."""

import json
import re
import signal
import subprocess
import time

import apiserver
import rig as rigs

apiserver.need()

SECRETS = "/registry/secrets/"
BOTH = ["--resource", "secrets", "--resource", "widgets.kekd.example"]


class Reencrypt(rigs.Case):
    def cluster(self, version="v2", etcd=True):
        kekd = self.rig(config={"settle": "0s", "refresh": "1s"})
        cluster = apiserver.Cluster(self, kekds=[kekd], version=version, resources=("secrets", "widgets.kekd.example"))
        if etcd:
            cluster.etcd.start()
            kekd.write(etcd=[cluster.etcd.entry()])
        return cluster.start()

    @staticmethod
    def rotate(cluster):
        """The next version is the primary, and the API server knows; kekctl takes the announcement for an old one."""
        kekd = cluster.kekd
        before = kekd.good().key_id
        for number in range(2, 9):
            if kekd.kekctl("key", "generate").returncode == 0:
                kekd.kekctl("key", "promote", str(number), "--i-have-a-backup", check=True)
                break
        rigs.wait_for(lambda: kekd.good().key_id != before, "kekd to announce the next version")
        for server in cluster.servers:
            server.restart()
        rigs.wait_for(lambda: cluster.servers[0].readyz()[0] == 200, "the API server to be ready")
        return kekd.good().key_id

    @staticmethod
    def run_it(cluster, *args, **options):
        """The nodes' announcement is by the record of this one, which is made old here: nobody waits."""
        kekd = cluster.kekd
        kekd.announced_before(3600)
        done = kekd.kekctl("reencrypt", "--kubeconfig", cluster.kubeconfig(**options), "--output", "json", *args)
        return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr.decode()

    def counts(self, report):
        return [{key: value for key, value in one.items() if value and key not in ("resource", "objects")}
                for one in report["resources"]]

    def key_ids(self, cluster, prefix="/registry/"):
        found = {}
        for key, value in cluster.etcd.values(prefix).items():
            key_id = re.search(rb"kek1-[0-9a-f]{32}", value.value)
            if key_id:
                found[key] = (key_id[0].decode(), value.version)
        return found

    def check(self, etcd):
        cluster = self.cluster(etcd=etcd)
        cluster.fill(40, namespaces=("default", "other"))
        cluster.good(cluster.servers[0], "POST", cluster.at("secrets"),
                     dict(cluster.content("secrets", "fixed", {"k": b"v"}), immutable=True))
        cluster.create("widgets.kekd.example", "w", {"size": 3})
        key_id = self.rotate(cluster)
        cluster.create("secrets", "newer", {"k": b"v"})
        before = {name: cluster.get("secrets", name) for name in ("object-000000", "fixed", "newer")}
        code, report, err = self.run_it(cluster, *BOTH)
        self.assertEqual(code, 0, err)
        fresh = {} if etcd else {"fresh": 1}
        self.assertEqual(self.counts(report), [{"rewritten": 41, **fresh}, {"rewritten": 1}], err)
        lies = self.key_ids(cluster)
        self.assertEqual(len(lies), 43)
        self.assertEqual({one for one, _ in lies.values()}, {key_id})
        self.assertEqual({key.rsplit("/", 1)[1] for key, (_, version) in lies.items() if version != 2}, {"newer"})
        if etcd:
            self.assertEqual((report["inventory"]["objects"], report["inventory"]["left"]), (43, 0))
        # Not a byte of the objects is another, but for the resourceVersion of what was rewritten.
        for name, old in before.items():
            now = cluster.get("secrets", name)
            self.assertEqual(name == "newer", now["metadata"]["resourceVersion"] == old["metadata"]["resourceVersion"])
            now["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
            self.assertEqual(now, old)
        code, report, err = self.run_it(cluster, *BOTH)
        self.assertEqual((code, sum(one["rewritten"] for one in report["resources"])), (0, 0), err)
        cluster.stop()

    def test_by_the_api_servers_lists(self):
        self.check(etcd=False)

    def test_by_what_is_in_etcd(self):
        self.check(etcd=True)

    def test_what_the_api_server_refuses(self):
        cluster = self.cluster()
        cluster.fill(10)
        self.rotate(cluster)
        cluster.refuse("secrets default/object-000003 422")
        code, report, err = self.run_it(cluster)
        self.assertEqual((code, self.counts(report)), (3, [{"rewritten": 9, "refused": 1}]), err)
        self.assertEqual(report["inventory"]["left"], 1)
        self.assertIn("secrets default/object-000003: not rewritten", err)
        cluster.refuse()
        cluster.deny("bob patch secrets")
        code, report, err = self.run_it(cluster, user="bob")
        self.assertEqual((code, self.counts(report)), (3, [{"refused": 1}]), err)
        self.assertIn('verbs: ["patch"]', err)
        # Interrupted or refused, the next one finds what is left.
        code, report, err = self.run_it(cluster)
        self.assertEqual((code, self.counts(report)), (0, [{"rewritten": 1}]), err)
        cluster.stop()

    def test_interrupted_each_object_is_written_once(self):
        cluster = self.cluster()
        cluster.fill(300)
        key_id = self.rotate(cluster)
        kekd, config = cluster.kekd, cluster.kubeconfig()
        kekd.announced_before(3600)
        ends = []
        for number in range(10):
            with subprocess.Popen([rigs.program("kekctl"), "--config", kekd.path, "reencrypt", "--kubeconfig", config,
                                   "--rate", "200"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
                process.stderr.readline()
                time.sleep(0.1 + 0.02 * number)
                process.send_signal(signal.SIGINT)
                process.stderr.read()
            ends.append(process.returncode)
        self.assertGreater(ends.count(3), 3, ends)
        self.assertEqual(set(ends) - {0, 3, -signal.SIGINT}, set())  # the last: before there is anything to go on from
        code, report, err = self.run_it(cluster)
        self.assertEqual((code, report["inventory"]["left"]), (0, 0), err)
        self.assertEqual(set(self.key_ids(cluster).values()), {(key_id, 2)})
        cluster.stop()

    def test_what_somebody_put_into_etcd(self):
        """Damaged, or of a name that is none: told, and in nobody's way."""
        cluster = self.cluster()
        cluster.fill(3)
        self.rotate(cluster)
        value = cluster.etcd.values(SECRETS)[SECRETS + "default/object-000000"].value
        odd = {"default/cut": value[:40], "default/\x1b[31m": value[:40], "default/" + "x" * 300: value,
               "default/..": value}
        for key, wrong in odd.items():
            cluster.etcd.put(SECRETS + key, wrong)
        code, report, err = self.run_it(cluster)
        self.assertEqual(code, 3, err)
        self.assertEqual(self.counts(report), [{"rewritten": 3, "refused": 3}], err)
        self.assertEqual((report["inventory"]["left"], report["inventory"]["damaged"]), (4, 3))
        self.assertIn("2 refused by etcd, the first of them secrets default/?[31m: it is damaged there", err)
        self.assertIn("no object of Kubernetes can have this name", err)
        self.assertNotIn("\x1b", err)
        for key in odd:
            cluster.etcd.delete(SECRETS + key)
        cluster.stop()

    def test_from_plaintext(self):
        cluster = self.cluster()
        cluster.reencryption(lambda socket: [(["secrets"], [{"identity": {}}, apiserver.kms(socket)])])
        cluster.fill(5)
        code, report, err = self.run_it(cluster)
        self.assertEqual((code, self.counts(report)), (3, [{"unmoved": 5}]), err)
        self.assertIn("its EncryptionConfiguration does not name them", err)
        cluster.reencryption(lambda socket: [(["secrets"], [apiserver.kms(socket), {"identity": {}}])])
        code, report, err = self.run_it(cluster)
        self.assertEqual((code, self.counts(report)), (0, [{"rewritten": 5}]), err)
        cluster.stop()

    def plain(self, cluster):
        return sum(not value.value.startswith(b"k8s:enc:") for value in cluster.etcd.values(SECRETS).values())

    def test_away_from_kekd_and_never_by_mistake(self):
        cluster = self.cluster()
        cluster.fill(20)
        self.rotate(cluster)
        cluster.create("secrets", "newer", {"k": b"v"})
        writes = lambda socket: [(["secrets"], [{"identity": {}}, apiserver.kms(socket)])]
        file = cluster.write("disable-2.yaml", apiserver.encryption(*writes(cluster.kekd.socket)))
        # The API server does not have that file yet: nothing is written, and it is told.
        code, report, err = self.run_it(cluster, "--decrypt", "--from", file)
        self.assertEqual((code, report["inventory"]["state"]), (3, "DECRYPTION_PENDING"), err)
        self.assertEqual((report["inventory"]["left"], self.plain(cluster)), (21, 0), err)
        # It has it, and nobody said --decrypt: one object tells, and no other is written in clear.
        cluster.reencryption(writes)
        code, report, err = self.run_it(cluster, "--single-node")
        self.assertEqual((code, report["state"], self.counts(report)), (3, "stopped", [{"rewritten": 1}]), err)
        self.assertIn("the first that was written, is in etcd in clear", err)
        self.assertEqual(self.plain(cluster), 1)
        code, report, err = self.run_it(cluster, "--via", "storage-version-migration")
        self.assertEqual((code, report), (1, None), err)
        self.assertIn("the first that was written, is in etcd in clear", err)
        self.assertEqual(self.plain(cluster), 2)
        code, report, err = self.run_it(cluster, "--decrypt", "--from", file)
        self.assertEqual((code, self.counts(report)), (0, [{"rewritten": 19}]), err)
        self.assertEqual((report["inventory"]["state"], report["inventory"]["left"]), ("DECRYPTED", 0))
        self.assertEqual(self.plain(cluster), 21)
        cluster.stop()

    def test_an_etcd_that_is_not_the_api_servers(self):
        cluster = self.cluster()
        cluster.fill(3)
        self.rotate(cluster)
        cluster.kekd.write(etcd=[dict(cluster.etcd.entry(), prefix="/another")])
        code, report, err = self.run_it(cluster)
        self.assertEqual((code, report), (1, None), err)
        self.assertIn("the API server has secrets, and no etcd of this context", err)
        cluster.stop()

    def test_kms_v1_does_not_move_and_a_second_entry_moves_it(self):
        cluster = self.cluster(version="v1")
        cluster.fill(5)
        self.rotate(cluster)
        code, report, err = self.run_it(cluster)
        self.assertEqual((code, self.counts(report)), (3, [{"unmoved": 5}]), err)
        self.assertEqual(report["inventory"]["kms_v1"], 5)
        self.assertIn("under KMS v1 it does not see that the key has changed: put a kms entry of another name", err)
        cluster.reencryption(lambda socket: [(["secrets"], [apiserver.kms(socket), apiserver.kms(
            socket, version="v1", name="kekd-1"), apiserver.kms(socket, version="v1"), {"identity": {}}][1:])])
        code, report, err = self.run_it(cluster)
        self.assertEqual((code, self.counts(report)), (0, [{"rewritten": 5}]), err)
        cluster.stop()


if __name__ == "__main__":
    rigs.main()
