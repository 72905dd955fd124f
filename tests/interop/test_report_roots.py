#!/usr/bin/python3
"""kekctl report of several roots of trust: a section for each, what each lacks, and which are needed and announced."""

import contextlib

import etcd_server
import rig as rigs
import roots
from grpc import RpcError
from reporting import Report


class Roots(Report, roots.Roots):
    def key_id(self, node):
        with contextlib.suppress(RpcError), node.client() as client:
            return client.status().key_id
        return None

    def test_each_root_has_its_sections(self):
        node = self.node(generate=False)
        other = rigs.Token(node.folder + "/other", "kek-other")
        node.write(providers=[node.provider("hsm-a", node.token), node.provider("hsm-b", other)], mode="all",
                   roots=[{"name": "site", "providers": ["hsm-a"]}, {"name": "spare", "providers": ["hsm-b"]}])
        for root in ("site", "spare"):
            node.kekctl("--root", root, "key", "generate", check=True)
        found, page, _ = self.report(node, 0)
        self.assertEqual([root["root"] for root in found["roots"]], ["site", "spare"])
        self.assertLessEqual({"tokens-site", "tokens-spare", "proofs-spare", "usage"}, set(page.ids))
        serials = [root["tokens"]["tokens"][0]["serial"] for root in found["roots"]]
        self.assertEqual(len(set(serials)), 2)
        for root in found["roots"]:  # the log is of both; each has its own key's lines
            (row,) = [row for row in root["history"]["rows"] if row["what"].startswith("generate")]
            self.assertEqual(row["kek_id"], root["versions"]["versions"][0]["kek_id"])
            self.assertEqual(root["objects"]["why"], ["no inventory on record: the configuration names no etcd"])
        self.assertEqual(found["configuration"]["mode"], "all: every root is needed to open")
        self.assertEqual([(root["root"], root["seals"], root["needed"], root["announced"], root["announced_version"])
                          for root in found["configuration"]["roots"]],
                         [("site", True, True, False, None), ("spare", True, True, False, None)])
        found, _, _ = self.report(node, 0, "one", "--root", "spare")
        self.assertEqual([root["root"] for root in found["roots"]], ["spare"])
        with other.away():
            found, _, _ = self.report(node, 3, "away")
        self.assertEqual([root["tokens"]["filled"] for root in found["roots"]], ["yes", "no"])

    def test_shares_are_told_for_each_root_and_who_lacks_one(self):
        etcd_server.need()
        etcd = etcd_server.Etcd(self).start()
        node = self.two("any", config=dict(roots.STRICT, etcd=[etcd.entry()]))
        node.audit = node.folder + "/audit.jsonl"
        node.write(audit={"file": node.audit, "mac_interval": "1s"})
        node.kekctl("--root", "spare", "audit", "generate", check=True)  # in a token that site does not have
        node.start()
        for name in ("a", "b", "c"):
            self.v1(node, etcd, name)
        whole = self.key_id(node)
        with node.other.away():
            rigs.wait_for(lambda: self.key_id(node) not in (None, whole), "another key_id")
            self.v1(node, etcd, "alone")
        rigs.wait_for(lambda: self.key_id(node) == whole, "the key_id of both")
        rigs.wait_for(lambda: [line for line in self.log(node) if line["event"] == "mac" and line["outcome"] == "ok"], "a MAC")
        node.kekctl("inventory")
        found, _, said = self.report(node, 3)
        site, spare = [root["objects"]["inventories"][0] for root in found["roots"]]
        self.assertEqual([(row["sealed_by_kekd"], row["under_protected"]) for row in (site, spare)], [(4, 0), (3, 1)])
        ids = [root["versions"]["versions"][0]["kek_id"] for root in found["roots"]]
        for row, own, other in ((site, *ids), (spare, *reversed(ids))):
            counts = {count["kek_id"]: (count["version"], count["share"]) for count in row["by_version"]}
            self.assertEqual(counts, {own: (1, "100.0 %"), other: ("none of this root of trust", "")})
        self.assertEqual(found["attention"], ["etcd main: 1 object under-protected, without root of trust spare"])
        self.assertIn("attention: etcd main: 1 object under-protected", said)
        self.assertEqual([root["objects"]["filled"] for root in found["roots"]], ["yes", "partly"])
        uses = {(row.get("root"), row["method"]): row["ok"] for row in found["usage"]["uses"]}
        self.assertEqual((uses[("site", "Encrypt")], uses[("spare", "Encrypt")]), (4, 3))
        self.assertEqual({row.get("root") for row in found["usage"]["acts"] if row["event"] == "audit-key"}, {"spare"})
        # The log is of both, whichever is asked for: its MACs are, too.
        for options in ((), ("--root", "site")):
            found, _, _ = self.report(node, 3 if not options else 0, "again" + "".join(options), *options)
            self.assertEqual((found["usage"]["chain"], found["usage"]["chains"][0]["maced_by"]), ("intact", "hsm-b"))
        node.stop()

    def test_an_inventory_of_before_a_root_says_nothing_of_it(self):
        etcd_server.need()
        etcd = etcd_server.Etcd(self).start()
        node = self.rig(config=dict(roots.STRICT, etcd=[etcd.entry()])).start()
        self.v1(node, etcd, "a")
        node.close_clients()
        node.stop()
        node.kekctl("inventory", check=True)
        other = rigs.Token(node.folder + "/other", "kek-other")
        node.write(providers=[*node.config["providers"], node.provider("hsm-b", other)], mode="any",
                   roots=[{"name": "site", "providers": ["hsm-a"]}, {"name": "spare", "providers": ["hsm-b"]}])
        node.kekctl("--root", "spare", "key", "generate", check=True)
        site, spare = self.report(node, 3)[0]["roots"]
        rows = [root["objects"]["inventories"][0] for root in (site, spare)]
        self.assertEqual([(row["sealed_by_kekd"], row["under_protected"]) for row in rows], [(1, 0), (0, "not known")])
        self.assertEqual(spare["objects"]["why"], ["main: how many objects lack this root of trust is not known: it did not seal "
                                                   "yet when they were counted (kekctl inventory counts anew)"])
        with node.token.away():
            site, _ = self.report(node, 3, "away")[0]["roots"]
        row = site["objects"]["inventories"][0]
        self.assertEqual((row["sealed_by_kekd"], row["under_protected"], row["by_version"][0]["version"]), ("not known",) * 3)
        self.assertIn("a provider did not answer", site["objects"]["why"][0])

    def test_the_mode_and_which_roots_are_needed_and_announced_are_told(self):
        node = self.two("all", config={"settle": "0s"})
        third = rigs.Token(node.folder + "/third", "kek-third")
        node.config["providers"].append(node.provider("hsm-c", third))
        site, spare = node.config["roots"]
        node.write(roots=[site, spare, {"name": "third", "providers": ["hsm-c"], "needed": "false"}])
        node.kekctl("--root", "third", "key", "generate", check=True)
        node.start()
        for name, options in (("all", []), ("one", ["--root", "site"])):
            found, page, _ = self.report(node, 3, name, *options)
            config = found["configuration"]
            self.assertEqual((config["mode"], config["mode_accept"], config["announced"], config["announced_by"]),
                             ("all: every root is needed to open", "nothing", self.status(node).key_id,
                              "the kekd that runs here"))
            self.assertEqual([(root["root"], root["needed"], root["announced"], root["announced_version"])
                              for root in config["roots"]],
                             [("site", True, True, 1), ("spare", True, True, 1), ("third", False, True, 1)])
            self.assertTrue(any("third is not needed (needed: false)" in text for text in found["attention"]))
            self.assertLess({"Needed in mode all", "Announced", config["mode"], config["announced"]}, set(page.texts))
        node.close_clients()
        node.stop()
        # In mode any none is needed, and one that is out is not announced.
        node.write(mode="any", providers=node.config["providers"][:2], roots=[site, spare], **roots.STRICT)
        node.start()
        whole = self.status(node).key_id
        with node.other.away():
            rigs.wait_for(lambda: self.status(node).key_id != whole, "another key_id")
            config = self.report(node, 3, "any")[0]["configuration"]
            self.assertEqual(config["mode"], "any: each root opens alone")
            self.assertEqual([(root["root"], root["needed"], root["announced"], root["announced_version"])
                              for root in config["roots"]],
                             [("site", False, True, 1), ("spare", False, False, None)])
        node.stop()


if __name__ == "__main__":
    rigs.main()
