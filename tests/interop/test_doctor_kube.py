"""kekctl doctor on what the API server is told: for Secrets, at this socket, by a file that can be read."""

import json
import os

import doctoring
import rig as rigs
from doctoring import edit, write


class Kube(doctoring.Case):
    def test_resources_that_are_not_secrets(self):
        node = self.healthy()
        for wrong in ("secret", "configmaps"):
            edit(node.encryption, "[secrets]", "[%s]" % wrong)
            line = self.found(node, "encryption", "is for %s, not for secrets: Secrets are stored in clear" % wrong, "WARN")
            self.assertIn("kube config --phase add-reader --from %s --name kekd-secrets" % node.encryption, line.do)
            edit(node.encryption, "[%s]" % wrong, "[secrets]")
        for good in ("[configmaps, secrets]", "['*.']", "['*.*']"):
            edit(node.encryption, "[secrets]", good)
            self.well(node)
            edit(node.encryption, good, "[secrets]")

    def test_two_lists_of_which_the_second_is_for_secrets(self):
        node = self.healthy()
        with open(node.encryption, encoding="utf-8") as file:
            text = file.read()
        entry = text[text.index("  - resources"):]
        write(node.encryption, text + entry.replace("name: kekd", "name: other").replace("[secrets]", "[configmaps]"))
        self.well(node)
        write(node.encryption, text.replace("[secrets]", "[configmaps]") + entry)
        self.assertEqual([line for line in self.lines(node) if "not for secrets" in line.seen], [])

    def test_a_timeout_in_which_nothing_can_be_answered(self):
        node = self.healthy()
        edit(node.encryption, "timeout: 20s", "timeout: 1ms")
        line = self.found(node, "encryption", "waits 1 ms, .* no time to answer at all")
        edit(node.encryption, "timeout: 1ms", line.do.split(node.encryption + ": ")[1])
        self.well(node)

    def test_an_endpoint_that_leads_here_by_another_way(self):
        node = self.healthy()
        folder = os.path.dirname(node.socket)
        os.symlink(folder, node.folder + "/way")
        was = "unix://" + node.socket
        for way in ("unix:///" + node.socket, "unix://" + node.folder + "/way/kms.sock",
                    "unix://" + folder + "/../run/kms.sock"):
            edit(node.encryption, was, way)
            self.well(node)
            was = way
        edit(node.encryption, was, "unix://" + folder + "/other.sock")
        self.found(node, "encryption", "has endpoint .*other.sock")

    def test_another_folder_of_the_node_at_the_right_place(self):
        node = self.healthy()
        run = os.path.dirname(node.socket)
        edit(node.manifest, "name: kekd, hostPath: {path: %s}" % run, "name: kekd, hostPath: {path: /srv/other}")
        line = self.found(node, "API server", "its Pod has /srv/other/kms.sock of the node at " + node.socket)
        self.assertIn("a hostPath %s, mounted at %s" % (run, run), line.do)
        os.symlink(run, node.folder + "/way")
        edit(node.manifest, "/srv/other", node.folder + "/way")
        self.well(node)

    def test_a_file_that_is_no_command_line(self):
        node = self.healthy()
        write(node.manifest, "\x01garbage\x02 and more\n")
        line = self.found(node, "API server", "cannot be read as a Pod's manifest or the command line")
        self.assertIn("--api-server FILE", line.do)

    def test_who_has_no_file_yet_is_told_how_to_make_the_next(self):
        node = self.healthy()
        write(node.manifest, "kube-apiserver --etcd-servers=https://127.0.0.1:2379\n")
        done = node.kekctl("doctor", "--output", "json", "--unit", node.unit, "--api-server", node.manifest)
        line, = [line for line in json.loads(done.stdout)["lines"] if line["subject"] == "encryption"]
        self.assertEqual(line["verdict"], "UNSEEN")
        if os.path.exists("/etc/kubernetes/kekd/encryption.yaml"):
            self.assertTrue(line["do"].endswith("doctor --encryption-config /etc/kubernetes/kekd/encryption.yaml"))
        else:
            self.assertRegex(line["do"], r"^mkdir -p /etc/kubernetes/kekd && \(umask 077; kekctl --config \S+ kube config "
                             r"--phase add-reader >/etc/kubernetes/kekd/encryption.yaml\) # of a cluster that has Secrets")
        edit(node.encryption, "timeout: 20s}", "timeout: 20s}\n      - identity: {}")
        self.run_it(node, self.found(node, "encryption", "identity is still in the list", "WARN"))
        with open(node.encryption + ".remove-old", encoding="utf-8") as file:
            self.assertNotIn("identity: {}", file.read())

    def test_two_providers_on_one_token_are_warned_of(self):
        node = self.healthy(pair=True)
        first, second = node.config["providers"]
        second["uri"], second["env"] = first["uri"], first.get("env", {})
        node.write()
        lines = [line for line in self.lines(node) if "are one token" in line.seen]
        self.assertEqual([line.verdict for line in lines], ["WARN"], lines)


if __name__ == "__main__":
    rigs.main()
