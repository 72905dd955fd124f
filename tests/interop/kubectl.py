"""kubectl and kekctl, as the pages' blocks call them, for a cluster of apiserver.py.

    env = kubectl.environment(cluster)      # for the processes that run a block
    env["NAME_OPTION"] = "--name kekd-b"    # what `kekctl kube config` gets besides"""

import os

import rig as rigs

PROGRAMS = {
    # The only node of this cluster, which has no `status` section: the pages' clusters have.
    "kekctl": """case "$*" in
*--check*) set -- "$@" --single-node ;;
esac
case "$1 $2" in
"kube config") set -- "$@" $NAME_OPTION ;;
esac
exec "$KEKCTL" --config "$CONFIG" "$@"
""",
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
    for name, text in PROGRAMS.items():
        with open(os.path.join(folder, name), "w", encoding="ascii") as file:
            file.write(text if text.startswith("#!") else "#!/bin/sh\n" + text)
        os.chmod(os.path.join(folder, name), 0o755)
    cert, key = cluster.user("admin")
    return dict(os.environ, PATH=folder + ":" + os.environ["PATH"], CONFIG=cluster.kekd.path,
                KEKCTL=rigs.program("kekctl"), SERVERS=" ".join(server.url for server in cluster.servers),
                KUBECONFIG=cluster.kubeconfig(), NAME_OPTION="", TEST_CA=cluster.ca.cert, TEST_CERT=cert, TEST_KEY=key)
