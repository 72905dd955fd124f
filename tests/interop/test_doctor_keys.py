"""kekctl doctor finds what is wrong with tokens, keys and what the API server is told, one of several as well as all; and
changes nothing beside a kekd that works."""

import base64
import glob
import grp
import json
import os
import re
import shutil
import subprocess
import time

import certs
import doctoring
import fault as faults
import p11
import rig as rigs
import traffic
from doctoring import edit, write
from softhsm import SOFTHSM
from transit_server import TOKEN, Server


class Tokens(doctoring.Case):
    def module(self, node, path, which=0):
        entry = node.config["providers"][which]
        entry["uri"] = re.sub(r"module-path=[^&]*", "module-path=" + path, entry["uri"])
        node.write()

    def only(self, node, provider):
        """Nothing is said against the other one but that the keyring is not whole."""
        lines = self.lines(node)
        self.assertEqual({line.subject for line in lines if " of " in line.subject}, {"token of " + provider})
        self.assertEqual({line.verdict for line in lines}, {"WARN"}, lines)
        out, = [line for line in lines if line.subject == "provider " + provider]
        self.assertIn("it is out, and kekd serves by hsm-a alone: without redundancy", out.seen)

    def test_a_module_that_cannot_be_loaded_on_one_provider_of_two(self):
        node = self.healthy(pair=True)
        with open(SOFTHSM, "rb") as file:
            head = bytearray(file.read(4096))
        head[18:20] = (243).to_bytes(2, "little")  # RISC-V
        foreign = node.folder + "/foreign.so"
        with open(foreign, "wb") as file:
            file.write(head)
        cases = [("/nowhere/module.so", "cannot be opened|No such file"), (foreign, "is for RISC-V"),
                 (node.folder, "is not a file")]
        cases += [(path, "no C_GetFunctionList") for path in glob.glob("/lib/*-linux-gnu/libc.so.6")[:1]]
        cases += self.lacking(node)
        for path, seen in cases:
            self.module(node, path, which=1)
            line = self.found(node, "token of hsm-b", seen, "WARN")  # hsm-a serves
            self.assertIn("in %s, provider hsm-b: module-path=" % node.path, line.do)
            self.only(node, "hsm-b")
        self.module(node, "/nowhere/module.so", which=0)
        self.found(node, "token of hsm-a", "cannot be opened|No such file")  # nobody is left
        self.found(node, "token of hsm-b", "undefined|no C_GetFunctionList|is not a file")
        for which in (0, 1):
            self.module(node, SOFTHSM, which=which)
        self.well(node)

    @staticmethod
    def lacking(node):
        """A library of which a symbol is nowhere, where there is a compiler."""
        source, path = node.folder + "/lacking.c", node.folder + "/lacking.so"
        write(source, "int of_the_vendor(void); int C_GetFunctionList(void **l) { return *l = 0, of_the_vendor(); }\n")
        if shutil.which("cc") is None:
            return []
        subprocess.run(["cc", "-shared", "-fPIC", "-Wl,-z,now", "-o", path, source], check=True)
        return [(path, "undefined symbol: of_the_vendor")]

    def test_a_token_that_is_not_the_one_of_the_uri(self):
        node = self.healthy()
        entry = node.config["providers"][0]
        was = entry["uri"]
        entry["uri"] = was.replace("token=kek-test", "token=another")
        node.write()
        line = self.found(node, "token of hsm-a", "no token matches the URI")
        said = "in %s, provider hsm-a: token= in uri: of one that is there; or " % node.path
        self.assertEqual(line.do, said + "restore another from its backup (docs/operations.md, Backup)")
        record = node.state + "/k8s-test.backup"
        os.rename(record, record + ".away")  # nobody has spoken of a version
        line = self.found(node, "token of hsm-a", "no token matches the URI")
        self.assertEqual(line.do, said + "have another made by the vendor's means")
        entry["env"]["SOFTHSM2_CONF"] = empty = node.folder + "/its softhsm2.conf"
        entry["env"]["SECOND"] = "2"
        os.mkdir(node.folder + "/none", 0o755)
        shutil.chown(node.folder + "/none", doctoring.USER)
        write(empty, "directories.tokendir = %s/none\nobjectstore.backend = file\n" % node.folder)
        node.write()
        line = self.found(node, "token of hsm-a", "the module shows none")
        self.assertTrue(line.do.startswith("runuser -u nobody -- env 'SOFTHSM2_CONF=%s' SECOND=2 softhsm2-util --init-token --free "
                                           "--label another " % empty), line.do)
        self.assertIn(' --so-pin "${SO_PIN:?}" --pin "${PIN:?}" #', line.do)
        self.run_it(node, line, SO_PIN="12345678", PIN=node.token.pin)
        self.found(node, "keyring", "has no version yet")  # in the token that was made
        entry["env"] = {"SOFTHSM2_CONF": node.token.conf}
        entry["uri"] = was
        node.write()
        os.rename(record + ".away", record)
        self.well(node)

    def test_a_token_with_one_try_left_is_logged_in_at_as_a_worker_is(self):
        node = self.healthy()
        fault = faults.inject(node)
        self.addCleanup(fault.close)
        fault.put("C_GetTokenInfo every flags 20000")  # CKF_USER_PIN_FINAL_TRY
        subprocess.run(["chown", "nobody", fault.path], check=True)
        line = self.found(node, "token of hsm-a", "has one try left")
        self.assertTrue(line.do.startswith("env SOFTHSM2_CONF=%s KEK_FAULT_CONTROL=%s pkcs11-tool --module %s --token-label kek-test --login "
                                           % (node.token.conf, fault.path, faults.module())), line.do)

    def test_a_library_whose_files_are_anothers(self):
        """It says no more than that it failed; its group helps where the file is that group's, else the file's mode."""
        node = self.healthy()
        shut = node.folder + "/shut"
        os.mkdir(shut, 0o700)
        shutil.copy(node.token.conf, shut)
        node.config["providers"][0]["env"]["SOFTHSM2_CONF"] = shut + "/" + os.path.basename(node.token.conf)
        node.write()
        line = self.found(node, "token of hsm-a", "C_Initialize")
        self.assertEqual(line.do, "chgrp nogroup %s && chmod g+x %s # %s has mode 0700, of uid 0 and gid 0" % ((shut,) * 3))
        self.run_it(node, line)
        conf = shut + "/" + os.path.basename(node.token.conf)
        os.chmod(conf, 0o600)
        line = self.found(node, "token of hsm-a", "C_Initialize")
        self.assertEqual(line.do, "chgrp nogroup %s && chmod g+r %s # %s has mode 0600, of uid 0 and gid 0" % ((conf,) * 3))
        try:
            softhsm = grp.getgrnam("softhsm").gr_gid
        except KeyError:
            self.skipTest("SKIP: there is no group softhsm: what doctor says of it was not tested")
        os.chown(conf, 0, softhsm)
        os.chmod(conf, 0o640)
        line = self.found(node, "token of hsm-a", "C_Initialize")
        self.assertTrue(line.do.startswith("usermod --append --groups softhsm nobody #"), line.do)

    def test_workers_of_another_user_are_asked_by_root_alone(self):
        node = self.healthy()
        node.config["providers"][0]["user"] = "kekd-nowhere"
        node.write()
        unseen = [line.subject for line in self.doctor(node) if line.verdict == "UNSEEN"]
        self.assertLess({"tokens", "files of hsm-a"}, set(unseen))

    def test_sessions_that_do_not_suffice_for_all_nodes(self):
        node = self.healthy()
        fault = faults.inject(node)
        self.addCleanup(fault.close)
        subprocess.run(["chown", "nobody", fault.path], check=True)
        fault.put("C_GetTokenInfo every sessions 30")
        subprocess.run(["chown", "nobody", fault.path], check=True)
        self.well(node)
        line = self.found(node, "sessions of hsm-a", "the token allows 30, and 3 nodes", "FAIL",
                          *[word for name in ("a", "b", "c") for word in ("--node", "ssh:nowhere-" + name)])
        # What it says suffices, down to where nothing would.
        for allowed in (20, 8):
            fault.put("C_GetTokenInfo every sessions %d" % allowed)
            subprocess.run(["chown", "nobody", fault.path], check=True)
            line = self.found(node, "sessions of hsm-a", "the token allows %d, and 1 node" % allowed)
            node.config["providers"][0].update({key: int(value) for key, value in re.findall(r"(processes|sessions): (\d+)", line.do)})
            node.write()
            self.well(node)
        fault.put("C_GetTokenInfo every sessions 7")
        subprocess.run(["chown", "nobody", fault.path], check=True)
        line = self.found(node, "sessions of hsm-a", "the token allows 7, and 1 node")
        self.assertTrue(line.do.startswith("have the token allow 8 sessions, with processes: 1 and sessions: 1 "), line.do)
        node.config["providers"][0].update(processes=2, sessions=4)
        node.write()
        fault.put("C_GetTokenInfo every sessions 30")
        subprocess.run(["chown", "nobody", fault.path], check=True)
        line = self.found(node, "sessions of hsm-a", "the token allows 30, and 3 nodes", "FAIL",
                          *[word for name in ("a", "b", "c") for word in ("--node", "ssh:nowhere-" + name)])
        node.config["providers"][0]["sessions"] = int(re.search(r"sessions: (\d+), on each node", line.do)[1])
        node.write()
        self.assertNotIn("sessions of hsm-a", [line.subject for line in self.lines(
            node, *[word for name in ("a", "b", "c") for word in ("--node", "ssh:nowhere-" + name)])])

    def test_no_key_yet(self):
        node = self.healthy(generate=False, backup=False)
        line = self.found(node, "keyring", "has no version yet")
        self.assertTrue(line.do.startswith("runuser -u nobody -- kekctl "), line.do)
        self.assertEqual([line for line in self.doctor(node) if line.verdict == "OK" and
                          line.subject in ("keyring", "versions in use")], [])
        self.run_it(node, line)
        line = self.found(node, "backup", "nobody has said", "WARN")
        self.run_it(node, line)
        self.well(node)

    def test_a_keyring_that_is_misspelt(self):
        node = self.healthy()
        node.write(keyring="k8s-tset")
        line = self.found(node, "keyring", "has a record of keyring k8s-test, and none of k8s-tset")
        self.assertTrue(line.do.startswith("in %s: keyring: k8s-test # or, where k8s-tset is to begin here: " % node.path), line.do)
        node.kekctl("key", "list", user=doctoring.USER)  # whose login is on record: the tokens are asked then
        line = self.found(node, "keyring", "is the configuration's keyring misspelt?")
        self.assertEqual(line.do, "in %s: keyring: k8s-test" % node.path)
        node.write(keyring=line.do.split("keyring: ")[1])
        self.well(node)

    def test_a_keyring_that_begins_beside_anothers_record(self):
        node = self.healthy()
        for keyring, has_key in (("of-a-second-cluster", False), ("k8s-third", True)):
            node.write(keyring=keyring)
            if has_key:
                p11.plant(node.token, keyring + ".v1", os.urandom(16))
                subprocess.run(["chown", "-R", doctoring.USER, node.token.folder], check=True)
            line = self.found(node, "keyring", "has a record of keyring [a-z0-9-]+, and none of %s" % keyring)
            self.assertIn("where %s is to begin here: start kekd if its token has a key of it; if none has: " % keyring, line.do)
            line.do = line.do.split("if none has: ")[1]
            self.assertTrue(line.do.startswith("runuser -u nobody -- kekctl ") and line.do.endswith(" key generate --new-keyring"), line.do)
            if has_key:
                node.start()
                node.stop()
            else:
                self.run_it(node, line)
            self.run_it(node, self.found(node, "backup", "nobody has said", "WARN"))
            self.well(node)

    def test_a_keyring_beside_the_record_of_another(self):
        node = self.healthy(backup=False).start()
        node.stop()
        node.write(keyring="prod")
        self.found(node, "keyring", "has a record of keyring k8s-test, and none of prod")
        self.assertEqual(node.kekctl("key", "list").returncode, 3)  # its login begins a record of the audit log's chain
        line = self.found(node, "keyring", "has no version yet: state_dir has a record of keyring k8s-test, and none of prod")
        self.assertTrue(line.do.startswith("in %s: keyring: k8s-test # or, where prod is to begin here: " % node.path), line.do)
        line.do = line.do.split("is to begin here: ")[1]
        self.run_it(node, line)
        self.run_it(node, self.found(node, "backup", "nobody has said", "WARN"))
        self.well(node)

    def test_one_root_of_two_has_no_key(self):
        node = self.healthy(pair=True, backup=False)
        providers = [entry["name"] for entry in node.config["providers"]]
        node.write(roots=[{"name": name, "providers": [provider]}
                          for name, provider in zip(("site", "spare"), providers)], mode="all", keyring="another-one")
        for name in ("site", "spare"):
            line = self.found(node, "keyring of " + name, "has no version yet")
            self.assertIn(" --root %s key generate" % name, line.do)
            self.run_it(node, line)
            self.assertEqual([line for line in self.lines(node) if line.subject == "keyring of " + name], [])
        for name in ("site", "spare"):
            self.run_it(node, self.found(node, "backup of " + name, "nobody has said", "WARN"))
        self.well(node)

    def test_one_replica_lacks_the_newest_version(self):
        node = self.healthy(pair=True)
        p11.plant(node.token, "k8s-test.v2", os.urandom(16))
        subprocess.run(["chown", "-R", "nobody", node.token.folder], check=True)
        line = self.found(node, "keyring", r"version 2 is on hsm-a \('kek-test' serial \w+\) and not on hsm-b \('kek-test' serial \w+\): "
                          "bring its key there", "WARN")
        self.assertTrue(line.do.startswith("by the vendor's replication, or by a backup that is restored there "), line.do)
        self.assertIn("key list", line.do)
        node.start()
        self.assertEqual({line.verdict for line in self.lines(node)}, {"WARN"}, "kekd serves")
        node.stop()
        node.twin.replicate(node.token)
        subprocess.run(["chown", "-R", "nobody", node.twin.folder], check=True)
        self.run_it(node, self.found(node, "backup", "has version 1, and version 2 may seal now", "WARN"))
        self.well(node)

    def test_of_a_token_without_keys_it_is_told_which_has_them(self):
        node = self.healthy(pair=True)
        node.twin.tool("--delete-object", "--type", "secrkey", "--label", "k8s-test.v1")
        subprocess.run(["chown", "-R", "nobody", node.twin.folder], check=True)
        tokens = {line.subject: line.seen for line in self.doctor(node) if line.subject.startswith("token of ")}
        serials = {subject: re.search(r"\(serial (\w+)\)", seen)[1] for subject, seen in tokens.items()}
        self.assertEqual(len(set(serials.values())), 2)
        self.assertTrue(tokens["token of hsm-a"].endswith("shows 1 version"), tokens)
        has = "hsm-a ('kek-test' serial %s)" % serials["token of hsm-a"]
        self.assertTrue(tokens["token of hsm-b"].endswith("shows 0 versions, and %s shows 1 version" % has), tokens)
        line = self.found(node, "keyring", "version 1 is on %s and not on hsm-b" % re.escape(has), "WARN")
        self.assertIn("and not on hsm-b ('kek-test' serial %s): " % serials["token of hsm-b"], line.seen)
        node.twin.replicate(node.token)
        subprocess.run(["chown", "-R", "nobody", node.twin.folder], check=True)
        self.well(node)

    def test_a_version_that_only_a_token_that_is_out_has(self):
        node = self.healthy(pair=True).start()
        node.stop()
        node.twin.tool("--delete-object", "--type", "secrkey", "--label", "k8s-test.v1")
        subprocess.run(["chown", "-R", "nobody", node.twin.folder], check=True)
        with node.token.away():
            lines = {line.subject: line for line in self.lines(node)}
            self.assertIn("which this node announced last, is on no provider that answers", lines["keyring"].seen)
            self.assertEqual(lines["keyring"].do, "the line of token of hsm-a first: that one may have it")
            self.assertEqual(lines["token of hsm-a"].verdict, "FAIL")
        self.found(node, "keyring", "version 1 is on hsm-a .* and not on hsm-b", "WARN")

    def test_who_promotes_with_a_backup_has_spoken_of_it(self):
        node = self.healthy(backup=False)
        kekctl = ["runuser", "-u", doctoring.USER, "--", rigs.program("kekctl"), "--config", node.path, "key"]
        subprocess.run(kekctl + ["generate"], check=True, stdout=subprocess.DEVNULL)
        self.found(node, "backup", "nobody has said", "WARN")
        subprocess.run(kekctl + ["promote", "2", "--i-have-a-backup"], check=True, stdout=subprocess.DEVNULL)
        self.assertIn("version 2 is in one, as was said 0 days ago",
                      [line.seen for line in self.doctor(node) if line.subject == "backup"])
        self.well(node)

    def test_a_key_that_can_be_taken_out(self):
        node = self.healthy()
        p11.plant(node.token, "k8s-test.v2", os.urandom(16), extractable=True)
        subprocess.run(["chown", "-R", "nobody", node.token.folder], check=True)
        line = self.found(node, "keys of hsm-a", r"version 2 \(k8s-test.v2\) is not used: .*CKA_EXTRACTABLE")
        self.assertIn("key adopt k8s-test.v2", line.do)
        node.token.tool("--delete-object", "--type", "secrkey", "--label", "k8s-test.v2")
        subprocess.run(["chown", "-R", "nobody", node.token.folder], check=True)
        self.well(node)

    def test_a_version_in_use_that_is_gone(self):
        node = self.healthy().start()
        with node.client() as client:
            sealed = client.encrypt(bytes(32))
        node.stop()
        kept = node.folder + "/kept"
        shutil.copytree(node.token.folder + "/tokens", kept)
        node.token.tool("--delete-object", "--type", "secrkey", "--label", "k8s-test.v1")
        line = self.found(node, "keyring", "which this node announced last, is on no provider")
        self.assertIn("restore the key, and generate no other", line.seen)
        self.assertNotIn("generate", line.do)
        self.assertTrue(line.do.startswith("restore the key of version 1 from its backup (docs/operations.md, Backup)"), line.do)
        shutil.rmtree(node.token.folder + "/tokens")
        shutil.copytree(kept, node.token.folder + "/tokens")
        subprocess.run(["chown", "-R", "nobody", node.token.folder], check=True)
        self.well(node)
        node.start()
        with node.client() as client:
            self.assertEqual(client.open(sealed), bytes(32))
        node.stop()

    def test_a_service_says_in_its_workers_words_what_is_wrong(self):
        if not os.path.exists(rigs.program("kekd-transit")):
            self.skipTest("SKIP: kekd-transit is not built: its words were not heard")
        node = self.healthy()
        server = Server()
        self.addCleanup(server.stop)
        token = node.folder + "/token"
        write(token, TOKEN)
        os.chmod(token, 0o600)
        node.config["providers"].append({"name": "bao", "type": "transit", "address": server.address, "key": "ring",
                                         "token_file": token})
        node.write(roots=[{"name": "site", "providers": ["hsm-a"]}, {"name": "cloud", "providers": ["bao"]}], mode="any")
        self.run_it(node, self.found(node, "files of bao", "cannot use .*/token: Permission denied", "WARN"))
        os.chmod(token, 0o644)
        self.run_it(node, self.found(node, "files of bao", "token_file: %s has mode 0644" % token, "WARN"))
        self.assertEqual(os.stat(token).st_mode & 0o777, 0o600)
        os.truncate(token, 0)
        line = self.found(node, "files of bao", "token_file: %s is empty" % token, "WARN")
        line.do = "BAO_TOKEN=%s; %s" % (TOKEN, line.do)
        self.run_it(node, line)
        lines = self.doctor(node)
        self.assertEqual([line.verdict for line in lines if line.subject == "token of bao"], ["OK"], lines)
        server.stop()
        line = self.found(node, "token of bao", server.address.split("/")[-1], "WARN")
        self.assertNotIn(TOKEN, line.seen)
        self.assertIn("provider bao", line.do)
        self.assertEqual([(line.verdict) for line in self.doctor(node) if line.subject == "token of hsm-a"], ["OK"])

    def test_every_file_with_a_secret_is_for_its_reader_alone(self):
        if not os.path.exists(rigs.program("kekd-transit")):
            self.skipTest("SKIP: kekd-transit is not built: its files were not looked at")
        node = self.healthy()
        paths = {}
        for name in ("id", "jwt", "key", "cert", "account", "admin", "officer", "password", "etcd-key"):
            paths[name] = node.folder + "/secret-" + name
            write(paths[name], "secret\n")
            os.chown(paths[name], os.stat(node.state).st_uid, 0)
            os.chmod(paths[name], 0o644)
        transit = {"type": "transit", "address": "https://127.0.0.1:1", "key": "ring", "role": "r"}
        node.config["providers"] += [
            dict(transit, name="bao-a", auth="approle", secret_id_file=paths["id"], cert=paths["cert"], cert_key=paths["key"],
                 admin_token_file=paths["admin"]),
            dict(transit, name="bao-b", auth="jwt", jwt_file=paths["jwt"]),
            {"name": "cloud", "type": "gcpkms", "key": "projects/p/locations/l/keyRings/r/cryptoKeys/k",
             "credentials": "file:" + paths["account"], "admin_credentials": "file:" + paths["officer"]}]
        node.write(roots=[{"name": "site", "providers": ["hsm-a"]}, {"name": "a", "providers": ["bao-a"]},
                          {"name": "b", "providers": ["bao-b"]}, {"name": "c", "providers": ["cloud"]}], mode="any",
                   etcd=[{"name": "main", "endpoints": ["https://127.0.0.1:1"], "cert": paths["cert"], "key": paths["etcd-key"],
                          "user": "u", "password_file": paths["password"]}])
        for subject, key, name in (("files of bao-a", "secret_id_file", "id"), ("files of bao-a", "cert_key", "key"),
                                   ("files of bao-a", "admin_token_file", "admin"), ("files of bao-b", "jwt_file", "jwt"),
                                   ("files of cloud", "credentials", "account"), ("files of cloud", "admin_credentials", "officer"),
                                   ("etcd main", "key", "etcd-key"), ("etcd main", "password_file", "password")):
            line = self.found(node, subject, "^%s: %s has mode 0644, so others may use it" % (key, paths[name]), "WARN")
            self.run_it(node, line)
            self.assertEqual(os.stat(paths[name]).st_mode & 0o027, 0)
            self.assertEqual([line for line in self.lines(node) if line.subject == subject and paths[name] in line.seen], [])
        self.assertEqual(os.stat(paths["cert"]).st_mode & 0o777, 0o644)
        os.chown(paths["admin"], 0, 0)  # kekctl's, and not kekd's to read
        self.assertEqual([line for line in self.lines(node) if paths["admin"] in line.seen], [])

    def test_googles_worker_says_which_credentials_it_lacks(self):
        if not os.path.exists(rigs.program("kekd-gcpkms")):
            self.skipTest("SKIP: kekd-gcpkms is not built: its words were not heard")
        node = self.healthy()
        node.config["providers"].append({"name": "cloud", "type": "gcpkms", "credentials": "file:/nowhere/sa.json",
                                         "key": "projects/p/locations/l/keyRings/r/cryptoKeys/k"})
        node.write(roots=[{"name": "site", "providers": ["hsm-a"]}, {"name": "far", "providers": ["cloud"]}], mode="any")
        self.found(node, "files of cloud", "credentials: /nowhere/sa.json is not there", "WARN")
        line = self.found(node, "token of cloud", "credentials: /nowhere/sa.json cannot be opened by uid", "WARN")
        self.assertIn("provider cloud", line.do)
        lines = self.doctor(node)
        self.assertEqual([line.verdict for line in lines if line.subject == "keyring of site"], ["OK"])
        self.assertEqual([line.verdict for line in lines if line.subject == "keyring of far"], ["UNSEEN"])


class Kubernetes(doctoring.Case):
    def test_an_encryption_configuration_on_its_way(self):
        """Each phase is the command that the line before says."""
        node = self.healthy()
        write(node.encryption, "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n"
              "resources: [{resources: [secrets], providers: [identity: {}]}]\n")
        node.config["providers"][0]["timeout"] = "1s"
        node.write()
        for seen, verdict, phase in (("has no entry for kekd", "WARN", "add-reader"),
                                     ("written by another provider", "WARN", "make-writer"),
                                     ("identity is still in the list", "WARN", "remove-old")):
            line = self.found(node, "encryption", seen, verdict)
            self.assertIn(" --phase %s --from %s" % (phase, node.encryption), line.do)
            self.run_it(node, line)
            self.assertEqual(os.stat(node.encryption + "." + phase).st_mode & 0o777, 0o600)
            os.replace(node.encryption + "." + phase, node.encryption)
        self.well(node)

    def test_an_entry_that_does_not_lead_here(self):
        node = self.healthy()
        edit(node.encryption, node.socket, "/run/other.sock")
        line = self.found(node, "encryption", "has endpoint unix:///run/other.sock, and kekd listens at")
        edit(node.encryption, "unix:///run/other.sock", line.do.split("endpoint: ")[1])
        self.well(node)
        edit(node.encryption, "apiVersion: v2, ", "apiVersion: v1, ")
        line = self.found(node, "encryption", "is of KMS v1", "WARN")
        self.assertIn("--from %s --name kekd-v2 " % node.encryption, line.do)
        edit(node.encryption, "apiVersion: v1, ", "apiVersion: v2, ")
        edit(node.encryption, "timeout: 20s", "timeout: 2s")
        line = self.found(node, "encryption", "waits 2000 ms, and one call of an HSM may take 5000 ms", "WARN")
        edit(node.encryption, "timeout: 2s", line.do.split(node.encryption + ": ")[1])
        self.well(node)
        os.chmod(node.encryption, 0o644)
        self.well(node)  # nothing in it is secret
        edit(node.encryption, "  - resources: [secrets]", "  - resources: [configmaps]\n    providers: [{aescbc: {keys: [{name: k, secret: %s}]}}]\n"
             "  - resources: [secrets]" % base64.b64encode(bytes(32)).decode())
        self.run_it(node, self.found(node, "encryption", "has keys in it, and mode 0644", "WARN"))
        self.well(node)
        edit(node.encryption, "name: kekd", "name: old")
        line = self.found(node, "encryption", "is called old, not kekd", "WARN")
        self.well(node, *re.search(r"(--name \S+) #", line.do)[1].split())
        edit(node.encryption, "name: old", "nmae: old")
        line = self.found(node, "encryption", r"encryption.yaml:\d+:\d+: .*nmae")
        self.assertEqual(line.do, "correct %s, before an API server reads it" % node.encryption)

    def test_secrets_in_two_lists_are_written_by_the_first(self):
        """The API server takes all lists that name a resource for one."""
        node = self.healthy()
        edit(node.encryption, "resources:\n", "resources:\n  - {resources: [secrets], providers: [identity: {}]}\n")
        line = self.found(node, "encryption", "secrets is read by kekd and written by another provider", "WARN")
        self.assertIn(" --phase make-writer ", line.do)
        edit(node.encryption, "  - {resources: [secrets], providers: [identity: {}]}\n", "")
        self.well(node)
        with open(node.encryption, "a", encoding="utf-8") as file:
            file.write("  - {resources: [secrets], providers: [identity: {}]}\n")
        self.found(node, "encryption", "identity is still in the list", "WARN")
        os.unlink(node.encryption)
        edit(node.manifest, "    - --encryption-provider-config=%s\n" % node.encryption, "")  # no API server is told of it yet
        line = self.found(node, "encryption", "cannot be opened by uid 0: No such file")
        self.run_it(node, line)
        self.found(node, "encryption", "written by another provider", "WARN")  # the first phase

    def test_an_api_server_in_a_user_namespace_or_told_of_a_relative_path(self):
        node = self.healthy()
        edit(node.manifest, "spec:\n", "spec:\n  hostUsers: false\n")
        line = self.found(node, "peer", "hostUsers: false.* uid 0 is another one to kekd")
        edit(node.manifest, "hostUsers: false", line.do.split(node.manifest + ": ")[1])
        self.well(node)
        edit(node.manifest, "config=" + node.encryption, "config=encryption.yaml")
        line, = self.lines(node)
        self.assertEqual((line.verdict, line.subject), ("WARN", "API server"))
        edit(node.manifest, "--encryption-provider-config=encryption.yaml", line.do.split(node.manifest + ": ")[1])
        self.well(node)

    def test_an_api_server_that_is_not_told(self):
        node = self.healthy()
        flag = "    - --encryption-provider-config=%s\n" % node.encryption
        edit(node.manifest, flag, "")
        line = self.found(node, "API server", "told of no EncryptionConfiguration", "WARN")
        edit(node.manifest, "    - kube-apiserver\n", "    - kube-apiserver\n    - %s\n" % line.do.split(": ")[1])
        self.well(node)
        edit(node.manifest, node.encryption, "/etc/other.yaml")
        line = self.found(node, "API server", "another EncryptionConfiguration than .*: /etc/other.yaml", "WARN")
        edit(node.manifest, "--encryption-provider-config=/etc/other.yaml", line.do.split(": ")[1])
        self.well(node)
        mount = "    - {name: kekd, mountPath: %s}\n" % os.path.dirname(node.socket)
        edit(node.manifest, mount + "    - {name: kubernetes, mountPath: %s}\n" % node.folder, mount)
        self.found(node, "API server", "its Pod does not see " + node.encryption)
        edit(node.manifest, mount, "    - {name: kubernetes, mountPath: %s}\n" % node.encryption)
        line = self.found(node, "API server", "its Pod does not see " + node.socket)
        self.assertIn("a hostPath %s, mounted at" % os.path.dirname(node.socket), line.do)
        write(node.manifest, "kube-apiserver --encryption-provider-config %s \\\n --v=2\n" % node.encryption)
        self.well(node)
        write(node.manifest, "kind: Deployment\n")
        self.found(node, "API server", "no Pod's manifest and no command line")

    def test_an_api_server_that_runs_here_is_read_in_proc(self):
        node = self.healthy()
        server = node.folder + "/kube-apiserver"
        write(server, "#!/bin/sh\nsleep 100\n")
        os.chmod(server, 0o755)
        # Its processes are this one's alone; a script is called in /proc as its file is.
        script = '"$1" --encryption-provider-config="$2" & while ! grep -q kube /proc/$!/comm; do :; done; shift 2; ' \
                 'exec setpriv --clear-groups "$@"'
        done = subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", script, "sh", server,
                               node.encryption, rigs.program("kekctl"), "--config", node.path, "doctor", "--unit",
                               node.unit, "--output", "json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        if b"unshare" in done.stderr:
            self.skipTest("SKIP: no process namespace here: %s" % done.stderr.decode())
        lines = {line["subject"]: line for line in json.loads(done.stdout)["lines"]}
        self.assertRegex(lines["API server"]["seen"], r"^/proc/\d+/cmdline: " + node.encryption)
        self.assertEqual((lines["encryption"]["verdict"], lines["peer"]["seen"]), ("OK", "uid 0 may call"))


class Beside(doctoring.Case):
    def test_beside_a_kekd_that_works_nothing_changes(self):
        node = self.healthy(pair=True, spy=True)
        node.start()

        def things():
            """Files by name, and objects by token."""
            files = {os.path.join(where, name) for where, _, names in os.walk(node.folder) for name in names
                     if not name.endswith(".lock")}
            return files, [len(glob.glob(token.folder + "/tokens/*/*.object")) for token in (node.token, node.twin)]
        with traffic.Traffic(node.socket) as load:
            load.more(50)
            before, workers = things(), set(node.workers())
            for _ in range(5):
                self.well(node)
                load.more(50)
            self.assertEqual(things(), before)
            self.assertEqual(set(node.workers()), workers, "kekd lost a worker")
        self.assertEqual([repr(failure) for failure in load.failures], [])
        self.assertEqual(load.wrong, [])
        for sample in ("kekd_grpc_rejected_total", "kekd_grpc_protocol_errors_total", "kekd_grpc_connections_refused_total"):
            found = {name: value for name, value in node.metrics().items() if name.startswith(sample)}
            self.assertTrue(found, sample)
            self.assertEqual(set(found.values()), {0}, found)
        said = {line.subject: line for line in self.doctor(node) if line.verdict == "OK"}
        self.assertIn("announcing kek1-", said["nodes"].seen)
        self.assertIn("process %d" % node.kekd.pid, said["locked memory"].seen)
        self.assertEqual(glob.glob(node.state + "/pin-refused-*"), [])
        node.stop()

    def test_a_pin_that_is_refused_beside_kekd_costs_no_try_more(self):
        node = self.healthy(spy=True)
        write(node.token.pin_file, "wrong-" + node.token.pin)
        node.spawn()
        node.wait_log("was refused")
        time.sleep(0.5)
        logins = node.spy.count("C_Login")
        for _ in range(3):
            self.found(node, "PIN of hsm-a", "the token refused it")
        self.assertEqual(node.spy.count("C_Login"), logins)
        write(node.token.pin_file, node.token.pin)
        node.good()
        node.stop()

    def named(self, name, **options):
        """A node that serves its status, and its address; what lies in its folder for that is root's."""
        node = self.healthy(config={"settle": "0s"}, **options)
        address = rigs.own_address()
        cert, key = self.ca(node).issue("/CN=kekd-status", "DNS:%s,IP:%s" % (name, address.split(":")[0]), name=name)
        for path in (cert, key, self.authority.cert):
            os.chmod(path, 0o600)
        node.write(status={"listen": address, "cert": cert, "key": key, "ca": self.authority.cert,
                           "allow": ["kekd-status"], "name": name})
        return node, address

    def ca(self, node):
        if not hasattr(self, "authority"):
            self.authority = certs.Authority(node.folder + "/tls")
            os.chmod(node.folder + "/tls", 0o755)
        return self.authority

    def test_the_certificate_of_status(self):
        node, address = self.named("cp1")
        for line in [line for line in self.lines(node) if line.subject == "status"]:
            self.run_it(node, line)
        self.well(node)
        files = node.config["status"]

        def issue(days, **options):
            self.authority.issue("/CN=kekd-status", "DNS:cp1,IP:" + address.split(":")[0], days=days, name="cp1", **options)
            for name, mode in (("cert", 0o644), ("key", 0o640)):
                os.chown(files[name], 0, os.stat(node.state).st_gid)
                os.chmod(files[name], mode)
        issue(10)
        line = self.found(node, "status", "%s ends to be valid in (9|10) days" % files["cert"], "WARN")
        self.assertTrue(line.do.startswith("systemctl reload kekd.service # with a new one in its place"), line.do)
        issue(-1)
        self.found(node, "status", "certificate has expired: kekd serves, and the other nodes do not hear it", "WARN")
        issue(100, usage="clientAuth")
        self.found(node, "status", "it must lead there, and be for TLS servers")
        issue(100)
        self.well(node)
        os.chmod(files["key"], 0o644)
        self.run_it(node, self.found(node, "status", "status.key: %s has mode 0644, so others may use it" % files["key"]))
        self.well(node)

    def test_one_node_of_two_announces_another_key_or_is_away(self):
        (first, one), (second, two) = self.named("cp1"), self.named("cp2")
        for node in (first, second):
            node.write(status={"nodes": [one, two]})
            lines = [line for line in self.lines(node) if line.subject == "status"]
            for line in lines:
                self.assertIn("Permission denied", line.seen)
                self.run_it(node, line)
        line = self.found(first, "nodes", "%s: not reached" % two, "WARN")
        self.assertIn("node status", line.do)
        for node in (first, second):
            node.start()
        line = self.found(first, "nodes", "not all nodes announce one key: version 1 .* on %s" % two)
        self.assertEqual({line.subject for line in self.lines(first)}, {"nodes"})
        second.stop()
        self.found(first, "nodes", "%s: not reached" % two)
        first.stop()


if __name__ == "__main__":
    rigs.main()
