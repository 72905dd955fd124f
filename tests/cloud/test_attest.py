"""kekctl key attest, and kekd's own look at attestations: a statement that holds, everything that may be wrong with one,
and a real one."""

import base64
import gzip
import json
import os
import re
import shutil
import subprocess
import time

import gcp
import gcp_hsm
import parts
import rig as rigs
from grpc import StatusCode

DEK = bytes(range(32))
CHECKS = ["statement", "manufacturer", "owner", "signature", "version", "key", "generated", "kept"]
VERSION = gcp.KEY + "/cryptoKeyVersions/1"


class Case(gcp.Case):
    def setUp(self):
        self.server = gcp.Server(self)
        self.hsm = gcp_hsm.Hsm(os.path.join(self.server.folder, "hsm"))
        self.server.do("hsm", **self.hsm.given())
        self.server.make_key()
        self.listen()

    def roots(self, **more):
        return dict({"manufacturer_root": self.hsm.maker_root, "owner_root": self.hsm.owner_root}, **more)

    def attest(self, node, code, version="1", *more):
        """What --output json has of the one statement, and what was said."""
        done = node.kekctl("--output", "json", "key", "attest", *more, version)
        self.assertEqual(done.returncode, code, done.stderr.decode() + done.stdout.decode())
        said = done.stderr.decode()
        found = json.loads(done.stdout)["statements"] if done.stdout else [None]
        self.assertEqual(len(found), 1, found)
        return found[0], said

    def outcomes(self, statement):
        self.assertEqual([check["check"] for check in statement["checks"]], CHECKS)
        return {check["check"]: (check["outcome"], check["what"]) for check in statement["checks"]}

    def wrong(self, node, check, text, outcome="failed", rest=(), **about):
        """The statement so made fails by that check alone, and by those that hang on it."""
        self.server.do("attest", version=VERSION, about=about)
        outcomes = self.outcomes(self.attest(node, 3)[0])
        self.assertEqual(outcomes[check][0], outcome, outcomes)
        self.assertIn(text, outcomes[check][1])
        bad = {name for name, (how, _) in outcomes.items() if how != "passed"}
        self.assertEqual(bad, {check, *rest}, outcomes)


class Good(Case):
    def test_a_statement_that_holds_is_shown_and_kept_as_it_was_received(self):
        node = self.node(**self.roots())
        statement, said = self.attest(node, 0)
        self.assertTrue(statement["holds"])
        self.assertEqual(set(how for how, _ in self.outcomes(statement).values()), {"passed"})
        self.assertEqual((statement["version"], statement["format"]), (1, "CAVIUM_V2_COMPRESSED"))
        folder = statement["folder"]
        self.assertIn(folder, said)
        self.assertTrue(folder.endswith("/attestations/k8s-test.v1-gcp"), folder)
        with open(folder + "/statement.dat", "rb") as file:
            plain = gzip.decompress(file.read())
        self.assertIn(statement["facts"]["id"].encode(), plain)
        self.assertIn(bytes.fromhex(statement["facts"]["ekcv"]), plain)
        for name, certificates in self.hsm.chains.items():
            with open("%s/%s.pem" % (folder, name), encoding="ascii") as file:
                self.assertEqual(file.read(), "".join(certificates))
        with open(folder + "/report.json", encoding="utf-8") as file:
            self.assertEqual(json.load(file), statement)
        self.assertEqual(os.stat(folder).st_mode & 0o777, 0o700)
        table = node.kekctl("key", "attest", "1", check=True).stdout.decode()
        self.assertRegex(table, r"PROVIDER +CHECK +OUTCOME +FOUND")
        self.assertRegex(table, r'gcp +manufacturer +passed +"HSM:.*PARTN:1.*" leads to "maker root"')
        elsewhere = os.path.join(node.folder, "evidence")
        self.assertEqual(self.attest(node, 0, "1", "--into", elsewhere)[0]["folder"], elsewhere + "/k8s-test.v1-gcp")

    def test_a_version_that_kekctl_makes_is_attested_too_and_one_that_is_not_there_is_told(self):
        node = self.node(**self.roots())
        node.kekctl("key", "generate", check=True)
        self.assertEqual(self.attest(node, 0, "2")[0]["version"], 2)
        self.assertIn("only 1", self.attest(node, 1, "3")[1])
        self.assertEqual(node.kekctl("key", "attest", "x").returncode, 2)
        self.assertEqual(node.kekctl("key", "attest").returncode, 2)

    def test_many_certificates_take_several_answers(self):
        more = [self.hsm.text(self.hsm.maker_root), self.hsm.text(self.hsm.owner_root)] * 2
        chains = dict(self.hsm.chains, caviumCerts=self.hsm.chains["caviumCerts"] + more)
        self.server.do("attest", version=VERSION, about={"chains": chains})
        node = self.node(**self.roots())
        statement = self.attest(node, 0)[0]
        self.assertEqual(statement["certificates"], 8)
        with open(statement["folder"] + "/caviumCerts.pem", encoding="ascii") as file:
            self.assertEqual(file.read(), "".join(chains["caviumCerts"]))

    def test_somebody_else_verifies_it_as_the_page_says(self):
        folder = self.attest(self.node(**self.roots()), 0)[0]["folder"]
        with open(os.path.join(rigs.TOP_SRC, "docs", "cloud-hsm.md"), encoding="utf-8") as file:
            script = re.findall(r"^```sh attest\n(.*?)^```$", file.read(), re.MULTILINE | re.DOTALL)
        self.assertEqual(len(script), 1)

        def verify():
            return subprocess.run(["sh"], input=script[0], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  check=False, cwd=folder, timeout=rigs.PATIENCE, env=dict(
                                      os.environ, OWNER_ROOT=self.hsm.owner_root, VERSION=VERSION))
        done = verify()
        self.assertEqual(done.returncode, 0, done.stdout)
        with open(folder + "/statement.dat", "rb") as file:
            plain = bytearray(gzip.decompress(file.read()))
        plain[300] ^= 1
        with open(folder + "/statement.dat", "wb") as file:
            file.write(gzip.compress(bytes(plain)))
        self.assertNotEqual(verify().returncode, 0)


class Bad(Case):
    def test_what_is_wrong_with_a_statement_is_named(self):
        node = self.node(**self.roots())
        none = ("signature", "version", "key", "generated", "kept")
        self.wrong(node, "signature", "did not sign", flip=True)
        self.wrong(node, "version", "another key", name=VERSION[:-1] + "2")
        self.wrong(node, "version", "another key", drop=[0x102])
        for types, check, text in (
                ({0x162: "01"}, "kept", "is extractable"), ({0x164: "00"}, "kept", "once was"),
                ({0x103: "00"}, "kept", "once was"), ({0x165: "00"}, "kept", "once was"),
                ({0x163: "00"}, "generated", "not generated in the HSM"), ({0x0: "03"}, "key", "no AES key"),
                ({0x100: "15"}, "key", "no AES key"), ({0x161: "00000010"}, "key", "no AES key"),
                ({0x162: "0000000000"}, "kept", "is extractable")):
            self.wrong(node, check, text, set=types)
        for about, text in (
                ({"format": "CAVIUM_V1_COMPRESSED"}, "its format is CAVIUM_V1_COMPRESSED"),
                ({"format": "ATTESTATION_FORMAT_UNSPECIFIED"}, "its format is"),
                ({"gzip": False}, "not compressed by gzip"), ({"cut": 20}, "cut short"), ({"tail": "00"}, "follows"),
                ({"zeros": 2000000}, "decompressed it has more than 32768 bytes"),
                ({"second": 400}, "key pair"), ({"twice": True}, "an attribute twice"), ({"more": "00"}, "follows"),
                ({"more": "00000102ffffffff"}, "follows"), ({"total": 7}, "its header"), ({"code": 5}, "its header"),
                ({"version": 2}, "second header"), ({"random": 300}, "not compressed by gzip")):
            self.wrong(node, "statement", text, rest=none, **about)
        self.wrong(node, "statement", "more than 4096 bytes", rest=("manufacturer", "owner") + none, random=4097)
        self.server.set(1, attestation=None, protectionLevel="SOFTWARE")
        outcomes = self.outcomes(self.attest(node, 3)[0])
        self.assertEqual(outcomes["statement"], ("failed", "Cloud KMS has none of this version: its protectionLevel is "
                                                 "SOFTWARE"))

    def test_what_is_wrong_with_a_chain_is_named(self):
        node = self.node(**self.roots())
        hsm, chains = self.hsm, self.hsm.chains
        made = lambda *arguments, **more: hsm.text(hsm.issue(*arguments, **more))
        card, partition = chains["caviumCerts"]
        hsm.key("other")
        hsm.key("weak", 1024)
        over = made("over-partition", "partition", gcp_hsm.PARTITION, "card", days=-1)
        over_card = made("over-card", "card", gcp_hsm.CARD, "maker", days=-1)
        denies = made("denies", "card", gcp_hsm.CARD, "maker", gcp_hsm.LEAF)
        sha1 = made("sha1", "partition", gcp_hsm.PARTITION, "card", digest="sha1")
        foreign = made("foreign", "other", "/CN=other root", extensions=gcp_hsm.CA)
        for name, certificates, check, text, outcome, rest in (
                ("caviumCerts", [card, over], "manufacturer", "expired on 20", "failed", ("owner",)),
                ("caviumCerts", [over_card, partition], "manufacturer", "expired on 20", "failed", ("owner",)),
                ("caviumCerts", [denies, partition], "manufacturer", "invalid CA", "failed", ("owner",)),
                ("caviumCerts", [card, sha1], "manufacturer", "too weak", "failed", ("owner",)),
                ("caviumCerts", [partition], "manufacturer", "which no root of manufacturer_root issued", "failed", ("owner",)),
                ("caviumCerts", [card], "manufacturer", "no certificate of a partition", "failed", ("owner",)),
                ("caviumCerts", [foreign], "manufacturer", "no certificate in it but roots", "failed", ("owner",)),
                ("caviumCerts", [], "manufacturer", "no certificate came", "failed", ("owner",)),
                ("caviumCerts", ["-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"], "manufacturer",
                 "cannot be read", "failed", ("owner",)),
                ("googleCardCerts", [made("o1", "other", gcp_hsm.CARD, "owner", gcp_hsm.LEAF)], "owner",
                 "not that of the manufacturer's card", "failed", ()),
                ("googlePartitionCerts", [made("o2", "other", gcp_hsm.PARTITION, "owner", gcp_hsm.LEAF)], "owner",
                 "not that of the manufacturer's partition", "failed", ()),
                ("googlePartitionCerts", [partition], "owner", "which no root of owner_root issued", "failed", ()),
                ("googlePartitionCerts", [made("o3", "partition", gcp_hsm.PARTITION, "owner", gcp_hsm.LEAF, days=-1)],
                 "owner", "expired on 20", "failed", ()),
                ("googleCardCerts", [], "owner", "googleCardCerts: no certificate came", "failed", ())):
            with self.subTest(name=name, text=text):
                self.wrong(node, check, text, outcome, rest, chains=dict(chains, **{name: certificates}))
        self.wrong(node, "statement", "more certificates", rest=CHECKS[1:], chains=dict(chains, caviumCerts=[card] * 13))
        self.wrong(node, "statement", "4095 bytes", rest=CHECKS[1:], chains=dict(chains, caviumCerts=["x" * 5000]))

    def test_a_wrong_root_and_one_that_is_not_there_are_named(self):
        hsm = self.hsm
        hsm.key("other")
        other = hsm.issue("other-root", "other", "/CN=maker root", extensions=gcp_hsm.CA)
        both = os.path.join(hsm.folder, "both.pem")
        with open(both, "w", encoding="ascii") as file:
            file.write("old and new\n" + hsm.text(other) + hsm.text(hsm.maker_root))
        writable = shutil.copy(hsm.owner_root, hsm.folder + "/writable.pem")
        os.chmod(writable, 0o666)
        for settings, code, check, outcome, text in (
                ({"manufacturer_root": both}, 0, "manufacturer", "passed", "maker root"),
                ({"manufacturer_root": other}, 3, "manufacturer", "failed", "certificate signature failure"),
                ({"owner_root": other}, 3, "owner", "failed", "which no root of owner_root issued"),
                ({"owner_root": hsm.folder + "/none.pem"}, 3, "owner", "untried", "none.pem"),
                ({"owner_root": writable}, 3, "owner", "untried", "writable.pem"),
                ({"manufacturer_root": hsm.path("maker.key")}, 3, "manufacturer", "untried", "no certificate in PEM"),
                ({"owner_root": None}, 3, "owner", "untried", "owner_root is not set")):
            with self.subTest(settings=settings):
                given = {name: value for name, value in self.roots(**settings).items() if value}
                outcomes = self.outcomes(self.attest(self.node(**given), code)[0])
                self.assertEqual(outcomes[check][0], outcome, outcomes)
                self.assertIn(text, outcomes[check][1])

    def test_a_statement_that_cannot_be_had_is_no_verdict(self):
        node = self.node(**self.roots())
        self.server.do("allow", principal=gcp.EMAIL, permissions=gcp.LEAST)
        self.assertIn("cloudkms.cryptoKeyVersions.get", self.attest(node, 1)[1])
        self.server.do("allow", principal=gcp.EMAIL, permissions=None)
        for fault, text in (({"set": {"name": VERSION + "1"}}, "of another version"),
                            ({"refuse": "UNAVAILABLE"}, "503"), ({"text": "{"}, "TRANSIENT"),
                            ({"pad": 300000}, "more than")):
            self.server.do("faults", faults=[dict(fault, call="getCryptoKeyVersion")])
            self.assertIn(text, self.attest(node, 1)[1])
        self.server.do("faults", faults=[])
        self.assertEqual(os.listdir(node.folder).count("attestations"), 0)

    def test_one_provider_that_does_not_answer_is_no_verdict_of_all(self):
        here = self.provider(**self.roots())
        away = dict(here, name="away", endpoint="http://127.0.0.1:1", timeout="500ms", start_timeout="1s")
        node = self.node(config={"providers": [here, away]})
        statement, said = self.attest(node, 1)
        self.assertTrue(statement["holds"])
        self.assertIn("away: ", said)
        self.attest(node, 0, "1", "--provider", here["name"])


class Kekd(Case):
    """What kekd itself does about a version that is not attested."""

    def spoil(self, version=1, **about):
        self.server.do("attest", version="%s/cryptoKeyVersions/%d" % (gcp.KEY, version), about=about)

    def test_one_that_is_wanted_is_told_of_and_stops_nothing(self):
        self.spoil(flip=True)
        node = self.node(config={"data_key": {"max_uses": 1}}, **self.roots()).start()
        client = node.client()
        self.assertEqual(client.open(client.encrypt(DEK)), DEK)
        rigs.wait_for(lambda: "KEK version 1 of provider gcp has no attestation that holds" in node.page("/readyz")[1],
                      "the remark")
        self.assertEqual(node.page("/readyz")[0], 200)
        self.assertEqual(node.metrics()['kekd_degraded{reason="unattested",version="1",provider="gcp"}'], 1)
        self.assertEqual(client.status().healthz, "ok")

    def test_one_that_is_required_is_not_sealed_under_without(self):
        node = self.node(attestation="require", config={"data_key": {"max_uses": 1}}, **self.roots()).start()
        client = node.client()
        old = client.encrypt(DEK)
        self.server.do("version", key=gcp.KEY, set={"state": "DISABLED"})
        self.spoil(2, set={0x162: "01"})
        self.server.set(2, state="ENABLED")
        node.wait_log("KEK version 2 has no attestation that holds, and `attestation` requires one")
        self.assertEqual(client.encrypt(DEK).key_id, old.key_id)
        self.server.do("version", key=gcp.KEY)  # its HSM states what it is
        new = rigs.wait_for(lambda: (lambda one: one if one.key_id != old.key_id else None)(client.encrypt(DEK)),
                            "an Encrypt under the attested version")
        self.assertEqual((client.open(old), client.open(new)), (DEK, DEK))
        listed = json.loads(node.kekctl("--output", "json", "key", "list", check=True).stdout)["versions"]
        self.assertEqual({one["version"]: one["key_id"] for one in listed}[3], new.key_id)

    def test_a_node_that_runs_goes_on_when_its_statement_cannot_be_had_any_more(self):
        node = self.node(attestation="require", config={"data_key": {"max_uses": 1}}, **self.roots()).start()
        sealed = node.client().encrypt(DEK)
        node.close_clients()
        node.stop()
        for fault in ({"refuse": "PERMISSION_DENIED"}, {"hang": True}):
            self.server.do("faults", faults=[dict(fault, call="getCryptoKeyVersion")])
            node.start()
            client = node.client()
            self.assertEqual(client.open(sealed), DEK)
            self.assertEqual(client.encrypt(DEK).key_id, sealed.key_id)
            rigs.wait_for(lambda: "has no attestation that holds, or it could not be fetched" in node.page("/readyz")[1],
                          "the remark")
            node.close_clients()
            node.stop()

    def test_a_new_node_that_requires_one_seals_nothing_without(self):
        self.spoil(flip=True)
        node = self.node(attestation="require", **self.roots())
        node.spawn().serving()
        node.wait_log("KEK version 1 has no attestation that holds, and `attestation` requires one")
        self.refused(StatusCode.UNAVAILABLE, node.client().encrypt, DEK)
        self.server.do("attest", version=VERSION, about={})


class Real(Case):
    """Statements of real Cloud HSMs, which the Go module go.step.sm/crypto has among its tests, held to the roots that it
    has of Marvell and Google. Their keys are not ours, and so are not of our version."""
    MODULE = "go.step.sm/crypto@v0.92.0"

    def module(self):
        if shutil.which("go") is None:
            parts.skip("go is not found")

        def make(folder):
            done = subprocess.run(["go", "mod", "download", "-json", self.MODULE], cwd=folder, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, timeout=parts.PATIENCE)
            if done.returncode != 0:
                return done.stderr.decode(errors="replace")[-300:] or done.stdout.decode(errors="replace")[-300:]
            shutil.copytree(json.loads(done.stdout)["Dir"] + "/kms/cloudkms", folder + "/cloudkms")
            return None
        return os.path.join(parts.made("statements", os.path.realpath(__file__), make=make), "cloudkms")

    def test_real_statements_hold_but_for_whose_they_are(self):
        folder = self.module()
        roots = {}
        with open(folder + "/attestation.go", encoding="utf-8") as file:
            source = file.read()
        for setting, name in (("manufacturer_root", "caviumRoot"), ("owner_root", "googleHawksbillRoot")):
            roots[setting] = self.server.write(setting, re.search(name + r" = `(.*?)`", source, re.DOTALL).group(1) + "\n")
        node = self.node(**roots)
        for kind, more in (("aes", {"version"}), ("rsa", {"statement", "signature", "version", "key", "generated", "kept"})):
            with open("%s/testdata/%s.certs" % (folder, kind), encoding="ascii") as file:
                certificates = re.findall(r"-----BEGIN.*?-----END CERTIFICATE-----\n", file.read(), re.DOTALL)
            with open("%s/testdata/%s.dat" % (folder, kind), "rb") as file:
                content = file.read()
            self.server.set(1, attestation={
                "format": "CAVIUM_V2_COMPRESSED", "content": base64.b64encode(content).decode(),
                "certChains": {"caviumCerts": certificates[:3], "googleCardCerts": certificates[4:5],
                               "googlePartitionCerts": certificates[5:6]}})
            outcomes = self.outcomes(self.attest(node, 3)[0])
            if time.time() < 1850000000:  # 2028-08-16: the certificates of these HSMs end
                self.assertEqual({name for name, (how, _) in outcomes.items() if how != "passed"}, more, outcomes)
            else:
                self.assertIn("expired on 20", outcomes["manufacturer"][1])


if __name__ == "__main__":
    gcp.main()
