#!/usr/bin/python3
"""kekctl report on SoftHSM: two versions, an inventory of an etcd and an audit log; what it says, what it cannot say and
why, and its files."""

import contextlib
import glob
import json
import os
import shutil
import subprocess

import etcd_server
import fault as faults
import p11
import rig as rigs
import transit_server
from grpc import RpcError
from reporting import GLOBAL, OF_ROOT, Report, shell

HOSTILE = '<script>alert("1")</script>&\''


class Whole(Report):
    def test_two_versions_an_inventory_and_an_audit_log(self):
        etcd_server.need()
        etcd = etcd_server.Etcd(self).start()
        node = self.node(generate=False, config={"etcd": [etcd.entry()], "context": HOSTILE})
        node.kekctl("key", "generate", check=True)
        node.start()
        for name in ("a", "b", "c"):
            self.v1(node, etcd, name)
        self.newer(node)
        self.v1(node, etcd, "d")
        node.kekctl("key", "retire", "1", check=True)
        self.listed(node, lambda versions: versions[0]["state"] == "deactivated")
        self.listed_audit(node, "deactivated")
        node.kekctl("inventory")
        found, page, said = self.report(node, 0)
        self.assertEqual(said, "")
        self.assertEqual(found["attention"], [])
        (root,) = found["roots"]
        one, two = root["versions"]["versions"]
        self.assertEqual((one["state"], two["state"]), ("deactivated", "active"))
        for row in root["versions"]["keys"]:
            self.assertLessEqual({"CKA_SENSITIVE", "CKA_LOCAL", "CKA_NEVER_EXTRACTABLE"}, set(row["yes"]))
            self.assertIn("CKA_EXTRACTABLE", row["no"])
        # Dates: kekctl made, promoted and retired them here, so they are known to the second.
        periods = {row["version"]: row for row in root["cryptoperiods"]["rows"]}
        self.assertEqual([(row["originator"], row["recipient"]) for row in periods.values()], [("within", "within")] * 2)
        acts = {(act["event"], act["version"]): act for act in found["usage"]["acts"]}
        day = acts[("generate", 1)]["time"][:16]
        self.assertEqual(acts[("promote", 2)]["said"], "i-have-a-backup")
        self.assertTrue(periods[1]["originator_begin"].startswith(day))
        self.assertEqual(periods[1]["originator_end"], acts[("retire", 1)]["time"][:19] + "Z")
        self.assertEqual(periods[2]["originator_end"], "not ended")
        self.assertEqual(periods[2]["originator_until"][:4], str(int(periods[2]["generated"][:4]) + 2))
        # Who: this process's uid, by key.
        uses = {(row["kek_id"], row["method"]): row for row in found["usage"]["uses"]}
        self.assertEqual(uses[(one["kek_id"], "Encrypt")]["ok"], 3)
        self.assertEqual(uses[(two["kek_id"], "Encrypt")]["ok"], 1)
        self.assertEqual({row["peer_uid"] for row in uses.values()}, {os.geteuid()})
        self.assertEqual(found["usage"]["chain"], "intact")
        self.assertIn("audit log: done by kekctl", {row["source"] for row in root["history"]["rows"]})
        # What share.
        (inventory,) = root["objects"]["inventories"]
        self.assertEqual({row["version"]: (row["objects"], row["share"]) for row in inventory["by_version"]},
                         {1: (3, "75.0 %"), 2: (1, "25.0 %")})
        self.assertEqual(inventory["revision"], etcd.revision())
        # What was proven.
        self.assertEqual([row["outcome"] for row in root["proofs"]["witnesses"]], ["opened"] * 2)
        self.assertEqual([row["keeps_kek"] for row in root["proofs"]["tokens"]], ["yes"])
        self.assertEqual([row["mechanism"] for row in root["proofs"]["trials"] if row["used"]], ["CKM_AES_KEY_WRAP"])
        # What is outside.
        outside = [row["operation"] for row in found["boundary"]["operations"] if not row["inside"]]
        self.assertIn("A data key is generated", outside)
        self.assertTrue(any("Data keys are used outside" in row["note"] for row in found["boundary"]["operations"]))
        self.assertEqual({row["provider"] for row in found["algorithms"]["algorithms"]}, {"default"})
        self.assertEqual({row["fips"] for row in found["algorithms"]["algorithms"]}, {False})
        digest = shell("sha256sum {path}", path=node.path).split()[0]
        self.assertEqual(found["configuration"]["sha256"], digest)
        self.assertEqual(found["configuration"]["context"], HOSTILE)
        self.assertIn(HOSTILE, page.texts)  # as text; that it is no element, stands_alone() saw
        node.close_clients()
        node.stop()

    def newer(self, node):
        client = node.client()
        before = client.status().key_id
        node.kekctl("key", "generate", check=True)
        node.kekctl("key", "promote", "2", "--i-have-a-backup", check=True)

        def announced():
            with contextlib.suppress(RpcError):
                return client.status().key_id != before
            return False
        rigs.wait_for(announced, "version 2")

    def listed(self, node, good):
        rigs.wait_for(lambda: good(json.loads(node.kekctl("key", "list", "--output", "json").stdout)["versions"]),
                      "the list to be so")

    @staticmethod
    def listed_audit(node, state):
        rigs.wait_for(lambda: any(line.get("state") == state for line in rigs.json_lines(node.audit)), "a line about " + state)

    def test_what_is_not_known_is_said(self):
        """No kekd has ever run here, no etcd is configured, and nobody kept an audit log."""
        node = self.rig()
        found, _, said = self.report(node, 0)
        self.assertEqual(said, "")
        (root,) = found["roots"]
        self.assertEqual((found["usage"]["filled"], root["objects"]["filled"]), ("no", "no"))
        self.assertIn("names no audit log", found["usage"]["why"][0])
        self.assertEqual(root["objects"]["why"], ["no inventory on record: the configuration names no etcd"])
        self.assertEqual(root["fitness"], {"runs": [], "cases": [], "filled": "no",
                                           "why": ["hsm-a: kekctl conformance never ran on this node"]})
        (period,) = root["cryptoperiods"]["rows"]
        self.assertEqual((period["originator"], period["originator_begin"], period["originator_until"], period["generated"]),
                         ("not known",) * 4)
        (witness,) = root["proofs"]["witnesses"]
        self.assertIn("not tried: this node has no witness", witness["outcome"])
        self.assertTrue(all(part["why"] for part in self.parts(found) if part["filled"] != "yes"))

    def test_each_record_that_is_damaged_is_told(self):
        node = self.rig().start()
        node.stop()
        for name, section in (("destroy", "history"), ("inventories", "objects"), ("json", "history"), ("conformance-hsm-a", "fitness")):
            path = "%s/k8s-test.%s" % (node.state, name)
            before = None
            if os.path.exists(path):
                with open(path, "rb") as file:
                    before = file.read()
            with open(path, "wb") as file:
                file.write(b"{")
            found, _, said = self.report(node, 3, "report-" + name)
            with self.subTest(name):
                self.assertTrue([why for why in found["roots"][0][section]["why"] if path in why], found["roots"][0][section])
                self.assertIn("attention: ", said)
                self.assertIn(path, said)
            os.unlink(path)
            if before is not None:
                with open(path, "wb") as file:
                    file.write(before)

    def test_a_hostile_label_is_text(self):
        node = self.rig(generate=False)
        kek_id = os.urandom(16)
        p11.plant(node.token, HOSTILE, kek_id, value=os.urandom(32))
        entry = dict(node.config["providers"][0], versions=[{"n": 1, "label": HOSTILE, "state": "active"}])
        node.write(providers=[entry])
        found, page, _ = self.report(node, 0)
        (key,) = found["roots"][0]["versions"]["keys"]
        self.assertEqual((key["label"], key["cka_id"]), (HOSTILE, kek_id.hex()))
        self.assertIn("CKA_LOCAL", key["no"])  # it was imported
        self.assertIn(HOSTILE, page.texts)


class Several(Report):
    def test_one_provider_is_down(self):
        node = self.rig(pair=True)
        with node.twin.away():
            found, _, said = self.report(node, 3)
        (root,) = found["roots"]
        self.assertEqual({row["provider"]: row["answered"] for row in root["tokens"]["tokens"]},
                         {"hsm-a": True, "hsm-b": False})
        self.assertRegex(said, "attention: provider hsm-b did not answer: (?!hsm-b: )")
        self.assertEqual([root[name]["filled"] for name in ("tokens", "versions", "proofs")], ["partly"] * 3)
        self.assertIn("hsm-b did not answer: nothing was proven there", root["proofs"]["why"])
        self.assertEqual([row["pin_count_low"] for row in root["tokens"]["tokens"]], [False, "not known"])
        self.assertIn("a version that is on a provider alone that did not answer has no row", root["cryptoperiods"]["why"])
        self.assertIn("what the audit log has of a version that is on a provider alone that did not answer is not in these rows",
                      root["history"]["why"])
        # It may seal on the one that is away, so nothing is said to be over.
        with node.token.away(), node.twin.away():
            found, _, _ = self.report(node, 3, "none")
        (root,) = found["roots"]
        self.assertEqual([root[name]["filled"] for name in ("tokens", "versions", "proofs")], ["no"] * 3)
        found, _, _ = self.report(node, 0, "both")
        self.assertEqual(len(found["roots"][0]["versions"]["keys"]), 2)

    def test_a_key_on_one_provider_alone_wants_attention_and_so_does_one_that_is_gone(self):
        node = self.rig(pair=True).start()
        config = self.report(node, 0, "beside")[0]["configuration"]
        self.assertEqual(config["announced_by"], "the kekd that runs here")
        self.assertEqual(config["roots"][0]["announced_version"], 1)
        node.stop()
        found = self.report(node, 0)[0]
        self.assertEqual((found["configuration"]["announced"], found["configuration"]["announced_by"]),
                         (config["announced"], "the record of this node"))
        (root,) = found["roots"]
        kek_id = root["versions"]["versions"][0]["kek_id"]
        node.twin.tool("--delete-object", "--type", "secrkey", "--id", kek_id)
        found, _, _ = self.report(node, 3, "one")
        self.assertEqual(found["attention"], ["version 1 (kek id %s) is not on hsm-b, which has no key of that number" % kek_id])
        node.kekctl("--output", "json", "key", "generate", "--provider", "hsm-b")
        node.token.tool("--delete-object", "--type", "secrkey", "--id", kek_id)
        found, _, _ = self.report(node, 3, "gone")
        self.assertIn("version 1 (kek id %s), which this node announced last, is on no provider that answers" % kek_id,
                      found["attention"])

    def test_a_version_that_only_one_provider_calls_pre_active_may_have_begun(self):
        node = self.rig(generate=False)
        other = rigs.Token(node.folder + "/other", "kek-other")
        kek_id, value = os.urandom(16), os.urandom(32)
        entries = [node.provider("hsm-a", node.token), node.provider("hsm-b", other)]
        for token, entry, state in ((node.token, entries[0], "pre-active"), (other, entries[1], "suspended")):
            p11.plant(token, "one", kek_id, value=value)
            entry["versions"] = [{"n": 1, "label": "one", "state": state}]
        node.write(providers=entries)
        found, _, _ = self.report(node, 0)
        (root,) = found["roots"]
        self.assertEqual([row["state"] for row in root["versions"]["versions"]], ["pre-active", "suspended"])
        (period,) = root["cryptoperiods"]["rows"]
        self.assertEqual((period["originator"], period["originator_begin"]), ("not known", "not known"))

    def test_of_a_key_that_is_refused_by_its_id_nothing_is_known(self):
        node = self.rig()
        p11.plant(node.token, "k8s-test.v2", b"short", value=os.urandom(32))
        found, _, said = self.report(node, 3)
        self.assertIn("a key of the keyring on hsm-a is not used", said)
        (row,) = [row for row in found["roots"][0]["cryptoperiods"]["rows"] if row["kek_id"] == b"short".hex()]
        self.assertEqual((row["originator"], row["recipient_end"], row["generated"]), ("not known",) * 3)

    def test_a_program_that_is_needed_and_not_there_is_told(self):
        node = self.rig()
        path = node.folder + "/kekctl"  # alone in its folder
        shutil.copy(os.path.join(os.environ["abs_top_builddir"], "kekctl"), path)
        done = subprocess.run([path, "--config", node.path, "report", "--out", node.folder + "/report"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        self.assertEqual(done.returncode, 3, done.stderr.decode())
        with open(node.folder + "/report/report.json", encoding="utf-8") as file:
            software = json.load(file)["software"]
        found = {row["program"] for row in software["programs"]}
        needed = {"kekctl", "kekd", "kekd-pkcs11"}
        self.assertEqual({sentence.split(":")[0] for sentence in software["why"]}, needed - found)
        self.assertNotIn("kekd", found)
        self.assertEqual(software["filled"], "partly")

    def test_a_service_tells_what_it_can(self):
        server = transit_server.Server()
        self.addCleanup(server.stop)
        node = self.rig(generate=False)
        path = node.folder + "/token"
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as file:
            file.write(transit_server.TOKEN)
        node.write(providers=[{"name": "bao", "type": "transit", "address": server.address, "key": "ring",
                               "token_file": path}])
        found, _, _ = self.report(node, 0)
        (root,) = found["roots"]
        (token,) = root["tokens"]["tokens"]
        self.assertEqual((token["type"], token["model"], token["told_by"]), ("transit", "transit", "the service, by its API"))
        self.assertEqual(root["versions"]["keys"], [])
        self.assertIn("bao is a service (transit): its versions have no attributes to show", root["versions"]["why"])
        self.assertEqual([kek["type"] for kek in found["boundary"]["keks"]], ["transit"])
        self.assertEqual(found["boundary"]["operations"][1]["where"], ["in OpenBao or Vault"])


class Trouble(Report):
    """A token that is not as it should be, by the fault module; kekd was there before, and left a witness."""

    def setUp(self):
        self.at = self.rig(config={"settle": "0ms"}).start()
        self.at.stop()
        self.fault = faults.inject(self.at)
        self.addCleanup(self.fault.close)

    def with_fault(self, code, line):
        self.fault.put(line)
        found, _, said = self.report(self.at, code)
        self.assertGreater(self.fault.done(), 0)
        return found["roots"][0], said

    def test_what_a_token_does_not_tell_is_neither_yes_nor_no(self):
        root, _ = self.with_fault(0, "C_GetAttributeValue every mute 164")
        (key,) = root["versions"]["keys"]
        self.assertEqual(key["not_told"], ["CKA_NEVER_EXTRACTABLE"])
        self.assertNotIn("CKA_NEVER_EXTRACTABLE", key["yes"] + key["no"])

    def test_a_token_that_gives_a_key_out_is_told(self):
        root, said = self.with_fault(3, "C_CopyObject every forge")
        self.assertEqual([row["keeps_kek"] for row in root["proofs"]["tokens"]], ["no"])
        self.assertIn("attention: hsm-a hands out a key that is to stay inside", said)

    def test_the_last_trial_of_fitness_is_shown_with_its_date_and_what_did_not_pass(self):
        self.fault.put("C_CopyObject every forge")
        tried = self.at.kekctl("conformance", "--output", "json", timeout=300)
        self.assertEqual(tried.returncode, 3, tried.stderr.decode())
        run = json.loads(tried.stdout)
        self.fault.put()
        found, _, said = self.report(self.at, 3)
        (root,) = found["roots"]
        (row,) = root["fitness"]["runs"]
        self.assertEqual((row["provider"], row["ended"], row["serial"], row["pass"], row["fail"], row["not_supported"]),
                         ("hsm-a", run["ended"], run["token"]["serial"], run["summary"]["pass"], 1, 0))
        self.assertRegex(row["age"], "[0-9]")
        self.assertEqual([(case["provider"], case["case"], case["outcome"]) for case in root["fitness"]["cases"]],
                         [("hsm-a", "keeps-key", "FAIL")])
        self.assertEqual((root["fitness"]["filled"], root["fitness"]["why"]), ("yes", []))
        self.assertIn("attention: hsm-a: of the cases of kekctl conformance, 1 failed at its last run", said)
        with self.at.token.away():
            root, = self.report(self.at, 3, "away")[0]["roots"]
        self.assertEqual(root["fitness"]["why"],
                         ["hsm-a did not answer: whether the token that was tried is there is not known"])
        # That was another token; and that is no such file.
        path = "%s/%s.conformance-hsm-a" % (self.at.state, self.at.config["keyring"])
        with open(path, encoding="utf-8") as file:
            text = file.read()
        for content, code, why in ((text.replace(row["serial"], "0815"), 3, "another token was tried, with serial 0815"),
                                   ("{}", 3, "is not what kekctl conformance writes")):
            with open(path, "w", encoding="utf-8") as file:
                file.write(content)
            shutil.rmtree(self.at.folder + "/report")
            root, = self.report(self.at, code)[0]["roots"]
            (said,) = root["fitness"]["why"]
            self.assertIn(why, said)

    def test_a_version_that_does_not_open_its_witness_is_told(self):
        root, said = self.with_fault(3, "* every wrongkey 1")
        self.assertEqual([row["outcome"] for row in root["proofs"]["witnesses"]], ["failed"])
        self.assertIn("version 1 on hsm-a does not open what it wrapped", said)


class Files(Report):
    @staticmethod
    def contents(node):
        found = {}
        for path in glob.glob(node.folder + "/report/*"):
            with open(path, "rb") as file:
                found[path] = file.read()
        return found

    def test_nothing_is_written_over(self):
        node = self.rig()
        self.assertIn(b"--out FOLDER is missing", node.kekctl("report").stderr)
        self.report(node, 0)
        before = self.contents(node)
        self.assertEqual(len(before), 2)
        done = node.kekctl("report", "--out", node.folder + "/report")
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"report.json is there already, and a report is never written over", done.stderr)
        self.assertEqual(self.contents(node), before)
        os.mkdir(node.folder + "/half")
        os.symlink("/nonexistent", node.folder + "/half/report.html")
        for where, word in ((node.path, b"is no folder"), (node.folder + "/half", b"is there already"),
                            (node.folder + "/no/such", b"No such file or directory")):
            done = node.kekctl("report", "--out", where)
            self.assertEqual(done.returncode, 1)
            self.assertIn(word, done.stderr)
        self.assertEqual(os.listdir(node.folder + "/half"), ["report.html"])

    def test_the_summary_is_json_where_that_is_asked_for(self):
        node = self.rig()
        done = node.kekctl("--output", "json", "report", "--out", node.folder + "/report", check=True)
        summary = json.loads(done.stdout)
        self.assertEqual(summary["sha256"], shell("sha256sum {path}", path=node.folder + "/report/report.json").split()[0])
        self.assertEqual(len(summary["sections"]), len(GLOBAL) + len(OF_ROOT))
        self.assertIsNone(summary["signature"])


if __name__ == "__main__":
    rigs.main()
