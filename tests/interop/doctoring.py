"""A node on which kekctl doctor finds nothing to mend: what systemd and Kubernetes have on one is in its folder."""

import json
import os
import re
import subprocess

import rig as rigs

USER, GROUP = "nobody", "nogroup"

ENCRYPTION = """\
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
  - resources: [secrets]
    providers:
      - kms: {apiVersion: v2, name: kekd, endpoint: "unix://%s", timeout: 20s}
"""

MANIFEST = """\
apiVersion: v1
kind: Pod
spec:
  containers:
  - name: kube-apiserver
    command:
    - kube-apiserver
    - --encryption-provider-config=%s
    volumeMounts:
    - {name: kekd, mountPath: %s}
    - {name: kubernetes, mountPath: %s}
  volumes:
  - {name: kekd, hostPath: {path: %s}}
  - {name: kubernetes, hostPath: {path: %s}}
"""


def write(path, text):
    """Root's, as systemd's and Kubernetes' files are."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def edit(path, old, new):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    assert old in text, "%s is not in %s" % (old, path)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text.replace(old, new, 1))


class Line:
    def __init__(self, line):
        self.subject, self.verdict, self.seen, self.do = (line[key] for key in ("subject", "verdict", "seen", "do"))

    def __repr__(self):
        return "%s %s: %s => %s" % (self.verdict, self.subject, self.seen, self.do)


class Case(rigs.Case):
    def setUp(self):
        rigs.need_root("doctor, which becomes the user that kekd runs as,")
        done = subprocess.run(["setpriv", "--reuid=" + USER, "--clear-groups", rigs.program("kekctl"), "version"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        if done.returncode != 0:
            self.skipTest("SKIP: %s cannot run the build in %s: doctor was not tested" % (USER, rigs.TOP_BUILD))

    def healthy(self, backup=True, **options):
        """A rig of user nobody, with its unit, an EncryptionConfiguration and an API server's manifest."""
        config = dict({"metrics": rigs.own_address()}, **options.pop("config", {}))
        node = self.rig(user=USER, config=config, **options)
        run = node.folder + "/run"
        os.mkdir(run, 0o755)
        node.socket = run + "/kms.sock"
        node.write(listen="unix://" + node.socket, audit={"file": node.folder + "/audit/audit.log"})
        os.mkdir(node.folder + "/audit", 0o750)
        node.give_to(USER)
        os.chown(node.path, 0, 0)
        node.unit = node.folder + "/kekd.service"
        with open(rigs.program("deploy/kekd.service"), encoding="utf-8") as file:
            unit = file.read()
        unit = re.sub(r"(?m)^Requires=kekd.socket$", "", unit)
        unit = re.sub(r"(?m)^User=.*", "User=" + USER, re.sub(r"(?m)^Group=.*", "Group=" + GROUP, unit))
        unit = re.sub(r"--config \S+", "--config " + node.path, unit)
        unit = re.sub(r"(?m)^ExecStart=\S+", "ExecStart=" + rigs.program("kekd"), unit)
        unit = unit.replace("#ReadWritePaths=/var/lib/softhsm/tokens", "ReadWritePaths=" + node.folder)
        write(node.unit, unit)
        node.encryption, node.manifest = node.folder + "/encryption.yaml", node.folder + "/apiserver.yaml"
        write(node.encryption, ENCRYPTION % node.socket)
        write(node.manifest, MANIFEST % (node.encryption, run, node.folder, run, node.folder))
        os.chmod(node.encryption, 0o600)
        os.chmod(node.manifest, 0o600)
        if backup:
            self.lines(node, "--i-have-a-backup")
        return node

    def doctor(self, node, *options):
        """(exit code, lines)"""
        done = node.kekctl("doctor", "--output", "json", "--unit", node.unit, "--encryption-config", node.encryption,
                           "--api-server", node.manifest, *options)
        self.assertEqual(done.stderr, b"")
        found = json.loads(done.stdout)
        lines = [Line(line) for line in found["lines"]]
        worst = max(lines, key=lambda line: ["UNSEEN", "OK", "WARN", "FAIL"].index(line.verdict)).verdict
        self.assertEqual(found["verdict"], worst)
        self.assertEqual(done.returncode, {"OK": 0, "WARN": 3, "FAIL": 1}[worst])
        self.assertEqual([line for line in lines if line.verdict in ("FAIL", "UNSEEN") and not line.do], [])
        return lines

    def lines(self, node, *options):
        """Those that are not well. A machine whose clock nobody keeps right is not this test's to mend."""
        return [line for line in self.doctor(node, *options)
                if line.verdict in ("WARN", "FAIL") and
                not (line.subject == "clock" and "nobody keeps it right" in line.seen)]

    def found(self, node, subject, seen, verdict="FAIL", *options):
        """The one line of this subject that is not well and says so."""
        lines = self.lines(node, *options)
        matching = [line for line in lines if line.subject == subject and re.search(seen, line.seen)]
        self.assertEqual([line.verdict for line in matching], [verdict], lines)
        return matching[0]

    def well(self, node, *options):
        self.assertEqual(self.lines(node, *options), [])

    def run_it(self, node, line, **variables):
        """Exactly the command that the line says, in a shell that has these variables."""
        where = os.path.dirname(rigs.program("kekctl"))
        done = subprocess.run(["sh", "-c", line.do], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              env=dict(os.environ, PATH="%s:%s" % (where, os.environ["PATH"]), **variables),
                              check=False, cwd=node.folder)
        # doctor still says what else there is, as of an API server that another test runs at the same time.
        good = (0, 1, 3) if " doctor " in line.do else (0,)
        self.assertIn(done.returncode, good, "%s\n%s" % (line.do, done.stdout))
        return done.stdout

    def set_in(self, line, path, section):
        """The settings that a line names, "in ... FILE: KEY=VALUE, ...", in place of others of the key."""
        self.assertIn(path, line.do)
        settings = line.do.split(path + ": ", 1)[1]
        for setting in settings.split(", "):
            with open(path, encoding="utf-8") as file:
                text = re.sub(r"(?m)^%s=.*\n" % setting.split("=", 1)[0], "", file.read())
            write(path, text.replace("[%s]\n" % section, "[%s]\n%s\n" % (section, setting), 1))
