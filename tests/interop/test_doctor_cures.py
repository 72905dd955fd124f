"""What kekctl doctor says to do cures what is wrong, and makes nothing worse where only one thing is wrong."""

import json
import re

import doctoring
import rig as rigs
from doctoring import edit, write


class Cures(doctoring.Case):
    def test_a_v1_entry_keeps_its_reader(self):
        node = self.healthy()
        edit(node.encryption, "apiVersion: v2", "apiVersion: v1")
        line = self.found(node, "encryption", "is of KMS v1", "WARN")
        self.assertIn("kube config --phase add-reader --from %s --name kekd-v2" % node.encryption, line.do)
        self.run_it(node, line)
        with open(node.encryption + ".add-reader", encoding="utf-8") as file:
            text = re.sub("(?m)^#.*\n", "", file.read())
        self.assertRegex(text, r"(?s)apiVersion: v1\n\s+name: kekd\n.*apiVersion: v2\n\s+name: kekd-v2\n")
        write(node.encryption, text)
        line = self.found(node, "encryption", "is of KMS v1", "WARN")
        self.assertIn("kube config --phase make-writer --from %s --name kekd-v2" % node.encryption, line.do)
        self.run_it(node, line)
        with open(node.encryption + ".make-writer", encoding="utf-8") as file:
            self.assertRegex(file.read(), r"(?s)name: kekd-v2\n.*name: kekd\n")

    def test_an_entry_for_others_than_secrets_keeps_them(self):
        node = self.healthy()
        edit(node.encryption, "[secrets]", "[configmaps]")
        line = self.found(node, "encryption", "is for configmaps, not for secrets", "WARN")
        self.assertNotIn("resources:", line.do)
        self.run_it(node, line)
        with open(node.encryption + ".add-reader", encoding="utf-8") as file:
            text = re.sub("(?m)^#.*\n", "", file.read())
        self.assertRegex(text, r"(?s)- configmaps\n.*name: kekd\n.*- secrets\n.*identity.*name: kekd-secrets\n")

    def test_a_path_in_the_manifest_that_is_mistyped_gets_no_new_file(self):
        node = self.healthy()
        missing = node.folder + "/encyption.yaml"
        edit(node.manifest, node.encryption, missing)
        done = node.kekctl("doctor", "--output", "json", "--unit", node.unit, "--api-server", node.manifest)
        line, = [line for line in json.loads(done.stdout)["lines"] if line["subject"] == "encryption"]
        self.assertEqual(line["verdict"], "FAIL")
        self.assertTrue(line["do"].startswith("in %s: --encryption-provider-config: the path of the file that is there; or restore "
                                              "%s" % (node.manifest, missing)), line["do"])
        self.assertNotIn("kube config", line["do"])

    def test_the_endpoint_waits_for_the_socket(self):
        node = self.healthy()
        edit(node.unit, "[Unit]\n", "[Unit]\nRequires=kekd.socket\n")
        write(node.folder + "/kekd.socket", "[Socket]\nListenStream=%s\n" % node.socket)
        node.write(listen="unix://" + node.socket + "2")
        line, = self.lines(node)
        self.assertEqual((line.subject, line.do.split("listen: ")[1]), ("socket", "unix://" + node.socket))
        waiting = [line for line in self.doctor(node) if line.subject in ("encryption", "API server")]
        self.assertEqual({(line.verdict, line.do) for line in waiting}, {("UNSEEN", "the line of socket first")}, waiting)
        node.write(listen="unix://" + node.socket)
        self.well(node)

    def test_another_name_is_asked_about_by_a_command(self):
        node = self.healthy()
        edit(node.encryption, "name: kekd", "name: kekx")
        line = self.found(node, "encryption", "called kekx, not kekd", "WARN")
        self.assertEqual(line.do, "kekctl --config %s doctor --name kekx # if that is kekd's entry" % node.path)
        self.run_it(node, line)
        self.well(node, "--name", "kekx")


if __name__ == "__main__":
    rigs.main()
