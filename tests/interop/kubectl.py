"""kubectl, kekctl and what else the pages' blocks call, for a cluster of apiserver.py, and the desk at which they are run.

    desk = kubectl.Desk(case, cluster)
    desk.run(block, FILE="a.yaml")          # in a folder of its own; it must end with 0
    desk.run(block, code=3)
    desk.until(block)                       # as one who looks again until it ends so: SoftHSM shows no token while
                                            # another node logs in
    desk.sit_at(cluster.kekds[1])           # at another node"""

import os
import re
import shutil
import subprocess

import rig as rigs

PROGRAMS = {
    # A cluster of one node has no `status` section; the pages' clusters have. kekd-b.yaml is where a second kekd has its own.
    "kekctl": """case "$1 $2" in
"--config /etc/kekd/kekd-b.yaml") shift 2; set -- --config "$CONFIG_B" "$@" ;;
"--config "*) ;;
*) set -- --config "$CONFIG" "$@" ;;
esac
case "$ALONE $*" in
"yes "*--check*) set -- "$@" --single-node ;;
esac
exec "$KEKCTL" "$@"
""",
    "runuser": 'test "$1 $2 $3" = "-u kekd --" && shift 3 && exec "$@"\n',
    # The desk does it, once the block has ended.
    "systemctl": 'echo "$*" >>"$ASKED"\n',
    # There is no user kekd.
    "install": """kept=
for word; do
    case $word in -o | -g | kekd) ;; *) kept="$kept $word" ;; esac
done
exec /usr/bin/install $kept
""",
    "etcdutl": 'ETCDCTL_API=3 exec etcdctl "$@"\n',  # before etcd 3.5
    # As much of it as the page asks for.
    "kubectl": """#!/usr/bin/env python3
import json, os, ssl, sys, urllib.request
words, server = sys.argv[1:], os.environ["SERVERS"].split()[0]
if words[0].startswith("--server="):
    server = words.pop(0)[len("--server="):]
context = ssl.create_default_context(cafile=os.environ["TEST_CA"])
context.load_cert_chain(os.environ["TEST_CERT"], os.environ["TEST_KEY"])
def call(method, path, body=None):
    request = urllib.request.Request(server + path, method=method, data=body,
                                     headers={"Content-Type": "application/json", "Accept": "application/json"})
    with urllib.request.urlopen(request, context=context, timeout=60) as answer:
        return answer.read().decode()
if words[:2] == ["get", "--raw"]:
    print(call("GET", words[2]))
elif words == ["get", "secrets", "--all-namespaces", "-o", "json"]:
    print(call("GET", "/api/v1/secrets"))
elif words[:2] == ["delete", "--raw"] and words[3:] == ["-f", "-"]:
    print(call("DELETE", words[2], sys.stdin.buffer.read()))
elif words == ["replace", "-f", "-"]:
    for item in json.load(sys.stdin)["items"]:
        item.update(apiVersion="v1", kind="Secret")
        call("PUT", "/api/v1/namespaces/%(namespace)s/secrets/%(name)s" % item["metadata"], json.dumps(item).encode())
else:
    sys.exit("kubectl: %s" % words)
""",
}


def environment(cluster):
    folder = cluster.path("bin")
    os.mkdir(folder)
    for name, does in PROGRAMS.items():
        if name == "etcdutl" and shutil.which(name):
            continue
        with open(os.path.join(folder, name), "w", encoding="ascii") as file:
            file.write(does if does.startswith("#!") else "#!/bin/sh\n" + does)
        os.chmod(os.path.join(folder, name), 0o755)
    cert, key = cluster.user("admin")
    return dict(os.environ, PATH=folder + ":" + os.environ["PATH"], KEKCTL=rigs.program("kekctl"),
                ASKED=cluster.path("asked"), SERVERS=" ".join(server.url for server in cluster.servers),
                KUBECONFIG=cluster.kubeconfig(), TEST_CA=cluster.ca.cert, TEST_CERT=cert, TEST_KEY=key,
                ETCDCTL_API="3", ETCDCTL_ENDPOINTS=cluster.etcd.endpoint)


class Desk:
    """Blocks of a page, one after the other, at one node at a time."""

    def __init__(self, case, cluster):
        self.case, self.env = case, environment(cluster)
        self.folder = cluster.path("work")
        os.mkdir(self.folder)
        self.sit_at(cluster.kekd)

    def sit_at(self, kekd):
        self.kekd = kekd
        self.env.update(CONFIG=kekd.path, KEKD=kekd.path, ALONE="no" if "status" in kekd.config else "yes",
                        RECORD="%s/%s.json" % (kekd.config["state_dir"], kekd.config["keyring"]))

    def ask(self, block, **env):
        done = subprocess.run(["sh", "-euc", block], cwd=self.folder, env=dict(self.env, **env), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=rigs.PATIENCE, check=False)
        self.systemd()
        return done

    def run(self, block, code=0, **env):
        done = self.ask(block, **env)
        self.case.assertEqual(done.returncode, code, block + done.stdout + done.stderr)
        return done

    def until(self, block, code=0, says="", **env):
        found = []

        def ends():
            found[:] = [self.ask(block, **env)]
            return found[0].returncode == code and says in found[0].stdout + found[0].stderr
        try:
            rigs.wait_for(ends, "%r to end with %d" % (block, code))
        except AssertionError:
            print(found[0].stdout, found[0].stderr, flush=True)
            raise
        return found[0]

    def systemd(self):
        """What systemctl was asked for, of this node's kekd."""
        if not os.path.exists(self.env["ASKED"]):
            return
        with open(self.env["ASKED"], encoding="ascii") as file:
            asked = file.read().splitlines()
        os.remove(self.env["ASKED"])
        for words in asked:
            verb = re.fullmatch(r"(enable --now|start|stop|restart) (?:kekd\.socket )?kekd\.service", words)[1]
            if verb in ("stop", "restart"):
                self.kekd.stop()
            if verb in ("start", "restart", "enable --now"):
                self.kekd.spawn().serving()
