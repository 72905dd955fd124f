"""A node and kekctl's report of it: its page is taken apart and compared with its JSON, each time."""

import glob
import html.parser
import json
import os
import subprocess

import etcd_server
import rig as rigs

DEK = bytes(range(32))
VOID = {"meta", "br"}
GLOBAL = ["software", "configuration", "usage", "boundary", "algorithms"]
OF_ROOT = ["tokens", "versions", "history", "cryptoperiods", "objects", "proofs", "fitness"]


class Page(html.parser.HTMLParser):
    """A page taken apart: which elements, which attributes, and the text of each cell and point."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.links, self.texts, self.ids = [], set(), [], [""], []
        self.feed(text)
        self.close()
        assert not self.open, "not closed: %s" % self.open

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.links += [value for name, value in attrs if name in ("href", "src", "action", "data")]
        self.ids += [value for name, value in attrs if name == "id"]
        assert not [name for name, _ in attrs if name.startswith("on")], attrs
        if tag not in VOID:
            self.open.append(tag)
        self.texts.append("")

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, "</%s> in %s" % (tag, self.open)
        self.open.pop()
        self.texts.append("")

    def handle_data(self, data):
        self.texts[-1] += data


def shell(command, **names):
    return subprocess.run(command.format(**names), shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          check=True).stdout.decode()


class Report(rigs.Case):
    def node(self, **options):
        node = self.rig(**options)
        node.audit = node.folder + "/audit.jsonl"
        node.write(audit={"file": node.audit}, settle="0ms")
        return node

    def report(self, node, code, name="report", *options):
        """(JSON, page, what was said) of a report that ends with this exit code."""
        folder = "%s/%s" % (node.folder, name)
        done = node.kekctl("report", "--out", folder, *options)
        said = done.stderr.decode()
        self.assertEqual(done.returncode, code, said + done.stdout.decode())
        self.assertEqual([self.mode(path) for path in glob.glob(folder + "/*")],
                         [0o640] * len(os.listdir(folder)))
        with open(folder + "/report.json", encoding="utf-8") as file:
            found = json.load(file)
        with open(folder + "/report.html", encoding="utf-8") as file:
            text = file.read()
        page = Page(text)
        self.stands_alone(page, text)
        self.says_the_same(found, page, folder)
        return found, page, said

    def stands_alone(self, page, text):
        self.assertFalse(page.tags & {"script", "img", "link", "iframe", "object", "embed", "form", "base"}, page.tags)
        self.assertTrue(all(link.startswith("#") and link[1:] in page.ids for link in page.links), page.links)
        self.assertNotRegex(text, r"@import|url\(|https?://")
        self.assertEqual(len(page.ids), len(set(page.ids)))

    def says_the_same(self, found, page, folder):
        """The rows that an auditor reads are those of the JSON; and the page names that file."""
        with open(folder + "/report.json", "rb") as file:
            content = file.read()
        sha256 = subprocess.run(["sha256sum"], input=content, stdout=subprocess.PIPE, check=True).stdout.split()[0].decode()
        texts = set(page.texts)
        shown = [text for text in page.texts if text.strip()]
        beside = set(zip(shown, shown[1:]))
        self.assertIn(sha256, texts)
        wanted = [found["configuration"]["sha256"], found["made"]["at"], found["software"]["version"], *found["attention"]]
        for part in self.parts(found):
            wanted += part["why"]
        for root in found["roots"]:
            for row in root["tokens"]["tokens"]:
                wanted += [row["provider"], row["serial"], row["model"], row["firmware"], row["library"]]
            for row in root["versions"]["versions"]:
                wanted += [str(row["version"]), row["state"], row["kek_id"], row["key_id"]]
            for row in root["versions"]["keys"]:
                wanted += row["yes"] + row["no"] + row["not_told"]
            for row in root["cryptoperiods"]["rows"]:
                wanted += [row[name] for name in ("originator", "recipient", "originator_begin", "recipient_until")]
            for row in root["history"]["rows"]:
                wanted += [row["at"], row["what"], row["source"]]
            for row in root["proofs"]["trials"]:
                wanted += [row["mechanism"], row["says"]]
            for row in root["proofs"]["witnesses"]:
                wanted += [row["outcome"], row["says"]]
            for row in root["objects"]["inventories"]:
                wanted += [row["etcd"], row["cluster_id"], str(row["revision"]), row["ended"], row["age"]]
                wanted += [count["share"] for count in row["by_version"]]
            for row in root["fitness"]["runs"]:
                wanted += [row["ended"], row["age"], row["serial"], str(row["pass"]), str(row["fail"])]
            for row in root["fitness"]["cases"]:
                wanted += [row["case"], row["title"], row["outcome"], row["says"]]
        for row in found["usage"].get("uses", []):
            wanted += [row["kek_id"], row["method"], str(row["ok"]), row["first"], row["last"]]
        for row in found["usage"].get("acts", []):
            wanted += [row["command"], row["outcome"], row["said"]]
            self.assertIn((row["time"], row["event"]), beside)  # of a row's first two cells
        for row in found["usage"].get("chains", []) + found["usage"].get("problems", []):
            wanted += [str(value) for value in row.values() if value is not None and row.get("hash") != value]
        for row in found["algorithms"]["algorithms"]:
            wanted += [row["algorithm"], row["provider"], row["provider_version"]]
        for row in found["boundary"]["operations"]:
            wanted += [row["operation"], row["note"]]
        missing = [text for text in wanted if text and text not in texts]
        self.assertEqual(missing, [])

    @staticmethod
    def parts(found):
        return [found[name] for name in GLOBAL] + [root[name] for root in found["roots"] for name in OF_ROOT]

    @staticmethod
    def v1(node, etcd, name):
        sealed = node.client().encrypt1(DEK)
        value = (b"k8s:enc:kms:v1:kekd:" + len(sealed).to_bytes(2, "big") + sealed
                 + etcd_server.covered(DEK, b"k8s\0" + b"x" * 40))
        etcd.put("/registry/secrets/default/" + name, value)

    @staticmethod
    def log(node):
        return rigs.json_lines(node.audit)
