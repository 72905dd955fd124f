#!/usr/bin/env python3
"""A reader of docs/first-hour.md, who does what it says and what kekctl doctor says, and nothing else.

Runs in a clean root (interop/clean_root.py) as root; test_deb.py puts into /steps what it needs. The HSM's vendor is SoftHSM, the
API server tests/kube/apiserver in the place of a kube-apiserver, with a manifest as kubeadm writes it, and a kubelet that runs
that alone."""

import base64
import json
import os
import re
import ssl
import subprocess
import sys
import time
import urllib.request

STEPS = "/steps"
PIN, SO_PIN = "1234", "5678"
MANIFEST = "/etc/kubernetes/manifests/kube-apiserver.yaml"
ENCRYPTION = "/etc/kubernetes/kekd/encryption.yaml"
PATIENCE = 60

# kubeadm's, as far as its lines matter here.
POD = """apiVersion: v1
kind: Pod
metadata:
  name: kube-apiserver
  namespace: kube-system
spec:
  containers:
  - command:
    - kube-apiserver
    - --etcd-servers=http://127.0.0.1:2379
    - --bind-address=127.0.0.1
    - --secure-port=6443
    - --tls-cert-file=/steps/pki/server.pem
    - --tls-private-key-file=/steps/pki/server.key
    - --client-ca-file=/steps/pki/ca.pem
    - --token-auth-file=/steps/tokens.csv
    name: kube-apiserver
    volumeMounts:
    - mountPath: /etc/ssl/certs
      name: ca-certs
      readOnly: true
  hostNetwork: true
  volumes:
  - hostPath:
      path: /etc/ssl/certs
      type: DirectoryOrCreate
    name: ca-certs
"""

UNITS = {
    "etcd": "/usr/bin/etcd --data-dir=/steps/etcd --listen-client-urls=http://127.0.0.1:2379 "
            "--advertise-client-urls=http://127.0.0.1:2379 --listen-peer-urls=http://127.0.0.1:2380",
    "kube-apiserver": "/usr/bin/python3 -B /steps/first_hour.py kubelet",
}


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def kubelet():
    """Becomes the container of the manifest."""
    command = re.findall(r"^    - (kube-apiserver|--.*)$", read(MANIFEST), re.MULTILINE)
    os.execv(STEPS + "/bin/kube-apiserver", command)


def kubectl(*words):
    """As much of it as the page asks for."""
    context = ssl.create_default_context(cafile=STEPS + "/pki/ca.pem")
    path = "https://127.0.0.1:6443/api/v1/namespaces/default/secrets"

    def call(url, body=None):
        request = urllib.request.Request(url, body, {"Authorization": "Bearer token-of-admin", "Accept": "application/json",
                                                     "Content-Type": "application/json"})
        with urllib.request.urlopen(request, context=context, timeout=PATIENCE) as answer:
            return json.load(answer)
    if words[:3] == ("create", "secret", "generic") and words[4].startswith("--from-literal="):
        key, value = words[4][len("--from-literal="):].split("=", 1)
        call(path, json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": words[3]},
                               "data": {key: base64.b64encode(value.encode()).decode()}}).encode())
    elif words[:2] == ("get", "secret") and words[3:] == ("-o", "jsonpath={.data.password}"):
        print(call(path + "/" + words[2])["data"]["password"], end="")
    else:
        sys.exit("kubectl %s: not here" % " ".join(words))


class Reader:
    def __init__(self, page):
        _, self.steps = page.split("\n## The steps\n")
        self.blocks = [re.sub(r"^ {3}", "", block, flags=re.MULTILINE)
                       for block in re.findall(r"^ {3}```sh\n(.*?)^ {3}```$", self.steps, re.MULTILINE | re.DOTALL)]
        pins = re.search(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[1]
        self.env = dict(os.environ, PATH="/steps/bin:" + os.environ["PATH"], HOME="/root")
        said = self.shell(pins + 'printf "%s %s" "$PIN" "$SO_PIN"', given="%s\n%s\n" % (PIN, SO_PIN))
        assert said == "%s %s" % (PIN, SO_PIN), said
        self.env.update(PIN=PIN, SO_PIN=SO_PIN)

    def shell(self, script, good=(0,), given="", folder="/steps/debs"):
        print("+ " + script.strip().replace("\n", "\n+ "), flush=True)
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], env=self.env, input=given, text=True, cwd=folder,
                              stdout=subprocess.PIPE, check=False)
        print(done.stdout, flush=True)
        assert done.returncode in good, "exit %d" % done.returncode
        return done.stdout

    def typed(self, before, script, says):
        """It fails, says so, and leaves the shell open in which somebody typed it."""
        done = subprocess.run(["bash", "-c", before + script + 'echo "ended with $?"'], env=self.env, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, check=False)
        assert done.stdout.endswith("ended with 1\n") and says in done.stderr, (done.stdout, done.stderr)

    def block(self, word):
        """The next one of the page, which has this word in it."""
        found = self.blocks.pop(0)
        assert word in found, (word, found)
        return found

    # What doctor says.

    def look(self):
        """What it finds, twice alike: while another process logs in, SoftHSM shows no token for a moment."""
        end, last = time.monotonic() + PATIENCE, None
        while True:
            done = subprocess.run(["kekctl", "doctor", "--output", "json"], env=self.env, stdout=subprocess.PIPE, check=False)
            found = [line for line in json.loads(done.stdout)["lines"]
                     # A machine whose clock nobody keeps right is not this test's to mend.
                     if not (line["subject"] == "clock" and "nobody keeps it right" in line["seen"])]
            bad = [(line["subject"], line["seen"]) for line in found if line["verdict"] != "OK"]
            if bad == last:
                return found
            assert time.monotonic() < end, bad
            last = bad

    def all_of(self, verdict, *subjects):
        """Does what each line of this verdict says (about these subjects), the first one first. Returns the subjects."""
        done = []
        for _ in range(20):
            lines = [line for line in self.look()
                     if line["verdict"] == verdict and (not subjects or line["subject"] in subjects)]
            if not lines:
                return done
            line = lines[0]
            print("%(verdict)s %(subject)s: %(seen)s" % line, flush=True)
            self.do(line)
            done.append(line["subject"])
            assert not [other for other in self.look() if other["verdict"] != "OK" and
                        (other["subject"], other["seen"]) == (line["subject"], line["seen"])], line
        raise AssertionError("there is no end of it: %s" % done)

    def do(self, line):
        setting = re.match(r"in (/\S+): (.*)$", line["do"])
        if setting is None:
            # doctor still says what else there is.
            self.shell(line["do"], good=(0, 1, 3) if line["do"].startswith("kekctl doctor") else (0,))
        else:
            self.set(*setting.groups())

    @staticmethod
    def set(path, what):
        """In an API server's manifest: an option, or a folder of the node."""
        assert path == MANIFEST, path
        text, folder = read(path), re.fullmatch(r"a hostPath (\S+), mounted at (?:the same path|\1)", what)
        if folder is None:
            assert re.fullmatch(r"--[a-z-]+=\S+", what), what
            text = text.replace("    name: kube-apiserver\n", "    - %s\n    name: kube-apiserver\n" % what, 1)
        else:
            name = "v%d" % text.count("mountPath")
            text = text.replace("  hostNetwork:", "    - mountPath: %s\n      name: %s\n  hostNetwork:" % (folder[1], name), 1)
            text += "  - hostPath:\n      path: %s\n    name: %s\n" % (folder[1], name)
        write(path, text)

    # The steps of the page.

    def first_node(self):
        self.shell(self.block("dpkg --install"))
        self.shell(self.block("kekctl doctor"), good=(1,))
        table = re.findall(r"^   \| (.*?) \|", self.steps.split("| FAIL |")[1], re.MULTILINE)
        done = self.all_of("FAIL")
        assert done == table, (done, table)
        done = self.all_of("WARN")
        assert done == ["unit", "backup"], done
        unseen = [line["subject"] for line in self.look() if line["verdict"] != "OK"]
        assert unseen == ["API server", "encryption"], unseen

    def api_server(self):
        line, = [line for line in self.look() if line["subject"] == "encryption"]
        self.do(line)
        assert oct(os.stat(ENCRYPTION).st_mode & 0o777) == "0o600"
        write(MANIFEST, POD)
        done = self.all_of("WARN", "API server") + self.all_of("FAIL")
        assert done == ["API server"] * 3, done
        for name, command in UNITS.items():
            write("/etc/systemd/system/%s.service" % name,
                  "[Service]\nExecStart=%s\nStandardOutput=append:/steps/%s.log\nStandardError=append:/steps/%s.log\n"
                  % (command, name, name))
        self.shell("systemctl daemon-reload\nsystemctl start etcd.service kube-apiserver.service")
        self.ready()

    def ready(self):
        self.shell("for i in $(seq 300); do if curl -sfk -H 'Authorization: Bearer token-of-admin' "
                   "https://127.0.0.1:6443/readyz; then exit 0; fi; sleep 0.2; done; tail -n 20 /steps/*.log; exit 1")

    def secret(self):
        self.shell(self.block("kubectl create secret"))
        look = self.block("etcdctl get")
        assert "k8s:enc:kms:v2:kekd:" in self.shell(look)
        for stands_for_etcdctl in ("echo refused >&2; return 1", ":", "echo k8s:enc:kms:v2:kekd:correct-horse", "echo correct-horse"):
            self.typed("etcdctl() { %s; }\n" % stands_for_etcdctl, look, "NOT SEEN to be sealed by kekd")
        self.shell(self.block("systemctl restart kekd.service"))
        self.shell("systemctl restart kube-apiserver.service")
        self.ready()
        get = self.block("kubectl get secret")
        assert self.shell(get) == "correct-horse"
        assert not self.blocks, self.blocks
        line, = [line for line in self.look() if line["verdict"] != "OK"]
        assert "identity is still in the list" in line["seen"], line
        self.do(line)
        self.shell("install -m 0600 %s.remove-old %s\nsystemctl restart kube-apiserver.service" % (ENCRYPTION, ENCRYPTION))
        self.ready()
        assert self.shell(get) == "correct-horse"
        bad = [line for line in self.look() if line["verdict"] != "OK"]
        assert not bad, bad


def main():
    os.environ.update(DEBIAN_FRONTEND="noninteractive", ETCDCTL_API="3")
    for path in ("/usr/sbin/policy-rc.d", "/var/lib/man-db/auto-update"):
        if os.path.exists(path):
            os.unlink(path)
    write(STEPS + "/bin/kubectl", "#!/bin/sh\nexec /usr/bin/python3 -B /steps/first_hour.py kubectl \"$@\"\n")
    os.chmod(STEPS + "/bin/kubectl", 0o755)
    write(STEPS + "/tokens.csv", "token-of-admin,admin,admin,system:masters\n")
    reader = Reader(read(STEPS + "/first-hour.md"))
    reader.first_node()
    reader.api_server()
    reader.secret()


if __name__ == "__main__":
    if sys.argv[1:2] == ["kubelet"]:
        kubelet()
    elif sys.argv[1:2] == ["kubectl"]:
        kubectl(*sys.argv[2:])
    else:
        main()
