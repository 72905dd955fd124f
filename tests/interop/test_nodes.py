"""kekctl node status: two nodes on one token, by TLS and by ssh, and what goes wrong with one of them."""

import contextlib
import json
import os
import re
import socket
import ssl
import subprocess
import textwrap
import threading
import time

import certs
import rig as rigs

# What `ssh -o BatchMode=yes HOST -- COMMAND` becomes: HOST is the number of a node of the test.
SSH = """#!/bin/sh
echo "$@" >>{log}
[ "$1 $2" = "-o BatchMode=yes" ] && [ "$4 $5" = "-- kekctl" ] || exit 2
case $3 in
hangs) sleep 300 & wait ;;
refuses) echo "Permission denied (publickey)." >&2; exit 255 ;;
babbles) head -c 3000000 /dev/zero; exit 0 ;;
lies) echo '{{"nodes": [{{"page": {{"node": "x"}}}}]}}'; exit 0 ;;
odd) echo hello; exit 0 ;;
esac
cat >/dev/null  # standard input is at its end
shift 5
exec {kekctl} --config {folder}/$CONFIG "$@"
"""


class Nodes(rigs.SharedCase):
    """Two kekds on one token; the second has a configuration and a state of its own."""

    @classmethod
    def setUpClass(cls):
        holder = rigs.Holder(cls)
        cls.addClassCleanup(lambda: holder.node is None or holder.node.cleanup(holder))
        holder.node = cls.node = rigs.Rig()
        second = rigs.Holder(cls)
        cls.addClassCleanup(lambda: second.node is None or second.node.cleanup(second))
        second.node = cls.second = rigs.Rig(token=cls.node.token, generate=False)
        cls.ca = certs.Authority(cls.node.folder + "/tls")
        cls.addresses = []
        for name, node in (("cp1", cls.node), ("cp2", cls.second)):
            address = rigs.own_address()
            cert, key = cls.ca.issue("/CN=kekd-status", "DNS:%s,IP:%s" % (name, address.split(":")[0]),
                                     name=name)
            node.write(metrics=rigs.own_address(), settle="0s", status={
                "listen": address, "cert": cert, "key": key, "ca": cls.ca.cert,
                "allow": ["kekd-status"], "name": name})
            cls.addresses.append(address)
        for node in (cls.node, cls.second):
            node.write(status={"nodes": cls.addresses})
            node.start()
            second.started = holder.started = True

    @classmethod
    def tearDownClass(cls):
        cls.second.close_clients()
        cls.second.stop()
        super().tearDownClass()

    def status(self, *arguments, rig=None, code=0, env=None):
        """(JSON, what was said)."""
        done = (rig or self.node).kekctl("node", "status", "--output", "json", *arguments,
                                         **({"env": env} if env else {}))
        said = done.stderr.decode()
        self.assertEqual(done.returncode, code, said)
        return json.loads(done.stdout), said

    def changed(self, **status):
        """This node's kekctl with another `status`, without kekd hearing of it."""
        other = self.node.path + ".other"
        path, config = self.node.path, self.node.config

        @contextlib.contextmanager
        def swapped():
            self.node.config = dict(config, status={k: v for k, v in dict(
                config["status"], **status).items() if v is not None})
            self.node.path = other
            self.node.write()
            try:
                yield
            finally:
                self.node.path, self.node.config = path, config
        return swapped()

    @contextlib.contextmanager
    def silent(self):
        """A listener that takes connections and says nothing."""
        host, port = rigs.own_address().rsplit(":", 1)
        with socket.create_server((host, int(port))) as server:
            yield "%s:%s" % (host, port)
            server.settimeout(0.1)

    def test_all_nodes_are_asked_and_agree(self):
        answer, said = self.status()
        key_id = self.node.client().status().key_id
        self.assertEqual(said, "")
        self.assertEqual([n["node"] for n in answer["nodes"]], self.addresses)
        self.assertEqual([n["calls_itself"] for n in answer["nodes"]], ["cp1", "cp2"])
        for node in answer["nodes"]:
            self.assertEqual((node["reachable"], node["health"], node["announces"], node["key_id"],
                              node["versions"], node["rotation"], node["partial"]),
                             (True, "good", 1, key_id, "1 active 1/1", "", False))
            self.assertLess(abs(node["clock_ahead_ms"]), 60000)
            self.assertEqual(node["page"]["primary"]["key_id"], key_id)
        done = self.node.kekctl("node", "status", check=True)
        self.assertRegex(done.stdout.decode(), r"NODE +CALLS-ITSELF +HEALTH +VERSION +KEY-ID-HASH")
        self.assertRegex(done.stdout.decode(), r"%s +cp2 +good +1 +sha256:" % self.addresses[1])

    def test_one_that_hangs_and_one_that_is_not_there_cost_the_others_nothing(self):
        with self.silent() as silent:
            gone = rigs.own_address()
            began = time.monotonic()
            answer, said = self.status("--node", silent, "--node", gone, "--node", self.addresses[1],
                                       "--timeout", "2s", code=3)
            self.assertLess(time.monotonic() - began, 15)
        self.assertEqual([n["reachable"] for n in answer["nodes"]], [False, False, True])
        self.assertEqual({frozenset(n) for n in answer["nodes"]}, {frozenset(answer["nodes"][0])})
        self.assertRegex(said, "%s: not reached: https://%s/status: no answer in time" % (silent, silent))
        self.assertRegex(said, "%s: not reached: .*does kekd run there" % gone)
        _, said = self.status("--node", gone, code=1)

    def test_a_node_is_known_by_its_certificate(self):
        other = certs.Authority(self.node.folder + "/other")
        cert, key = other.issue("/CN=kekd-status", name="foreign")
        stranger = self.ca.issue("/CN=stranger", name="stranger")
        name = "localhost:%s" % self.addresses[0].rsplit(":", 1)[1]
        with socket.create_server(("127.0.0.1", 0)) as free:
            name = "localhost:%d" % free.getsockname()[1]
            forward = threading.Thread(target=self.forward, args=(free, self.addresses[0]), daemon=True)
            forward.start()
            _, said = self.status("--node", name, code=1)
            self.assertRegex(said, "(subject name|host name).*localhost.*have this host's name")
        forward.join(10)
        with self.changed(ca=other.cert):
            _, said = self.status(code=1)
            self.assertRegex(said, "%s: not reached: .*certificate.*must lead to status.ca" % self.addresses[0])
        with self.changed(cert=cert, key=key):
            _, said = self.status(code=1)
            self.assertRegex(said, "alert unknown ca.*status.cert must be one that it lets in")
        with self.changed(cert=stranger[0], key=stranger[1]):
            _, said = self.status(code=1)
            self.assertRegex(said, "HTTP status 403 .*stranger.* is not in status.allow")
        with self.changed(cert="/nowhere.pem"):
            _, said = self.status(code=1)
            self.assertRegex(said, "/nowhere.pem.*look at the files")

    @staticmethod
    def forward(server, address):
        """One connection's bytes, both ways."""
        host, port = address.rsplit(":", 1)
        one = server.accept()[0]
        with one, socket.create_connection((host, int(port))) as other:
            def pump(source, target):
                with contextlib.suppress(OSError):
                    while True:
                        part = source.recv(65536)
                        target.sendall(part)
                        if not part:
                            break
                with contextlib.suppress(OSError):
                    target.shutdown(socket.SHUT_WR)
            thread = threading.Thread(target=pump, args=(other, one), daemon=True)
            thread.start()
            pump(one, other)
            thread.join(10)

    def test_what_differs_is_said_in_a_sentence_each(self):
        """The second node is replaced by pages as they might be."""
        key_id = self.node.client().status().key_id
        page = json.loads(self.node.page("/status")[1])

        def say(change, code=3):
            other = json.loads(json.dumps(page))
            change(other)
            with self.fake_node(other) as name:
                answer, said = self.status("--node", self.addresses[0], "--node", name, code=code)
            return answer, said.replace(name, "FAKE").replace(self.addresses[0], "cp1")

        def other_key(p):
            p["primary"].update(version=2, kek_id="02" * 16, key_id="kek1-" + "2" * 32)
            p["versions"].append({"version": 2, "kek_id": "02" * 16, "key_id": "kek1-" + "2" * 32,
                                  "state": "active", "providers": {"hsm-a": "active"}, "proven": []})
            p["versions"].append(dict(p["versions"][-1], kek_id="01" * 16, key_id="kek1-" + "3" * 32))
            p["rotation"] = {"node": "cp2", "step": "promote", "version": 2, "kek_id": "02" * 16,
                             "since": "2026-01-01T00:00:00Z", "pid": 5}
        answer, said = say(other_key)
        self.assertIn("not all nodes announce one key: version 1 (%s) on cp1" % key_id, said)
        self.assertIn("not all nodes announce one key: version 2 (kek1-%s) on FAKE" % ("2" * 32), said)
        self.assertIn("version 2 (kek1-%s), which FAKE shows, is not shown by cp1" % ("2" * 32), said)
        self.assertIn("remark: cp1 and FAKE are one node, cp1", said)
        self.assertEqual(answer["nodes"][1]["versions"], "1 active 1/1, 2 active 0/1, 2 surplus 0/1")
        self.assertEqual(answer["nodes"][1]["rotation"], "promote of 2 by cp2")
        for change, words in (
                (lambda p: p.update(keyring="other"), "FAKE has the keyring other, .* has k8s-test"),
                (lambda p: p.update(context_sha256="00" * 32), "FAKE has another context than .*kekd.yaml here"),
                (lambda p: p.update(health="outage", what="no HSM answers", todo="look"),
                 "FAKE: outage: no HSM answers; look"),
                (lambda p: p.update(primary=None), "FAKE announces no key"),
                (lambda p: (p["providers"].append(dict(p["providers"][0], name="hsm-b")),
                            p["versions"][0]["providers"].update({"hsm-b": "suspended"})),
                 "FAKE: version 1 is active on hsm-a, suspended on hsm-b: finish its change"),
                (lambda p: p.update(versions=[]), "version 1 .*, which cp1 shows, is not shown by FAKE"),
                (lambda p: p["versions"][0].update(state="gone"), "is not shown by FAKE"),
                (lambda p: p.pop("versions"), "FAKE: what came is no status of kekd: \"versions\" is missing"),
                (lambda p: p.update(providers=[{}]), "no status of kekd: \"name\" is missing or wrong"),
                (lambda p: p.update(versions=p["versions"] * 65), "\"versions\" is missing or wrong"),
                (lambda p: p.update(node=7), "\"node\" is missing or wrong")):
            self.assertRegex(say(change)[1], words)
        for seconds, words in ((-120, "remark: the clock of FAKE is 1[12][0-9] s behind ours"),
                               (120, "remark: the clock of FAKE is 1[12][0-9] s ahead of ours")):
            then = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(time.time() + seconds))
            self.assertRegex(say(lambda p, t=then: p.update(now=t, node="cp3"), code=0)[1], words)
            # To doctor it is a WARN, once.
            changed = dict(page, now=then, node="cp3")
            with self.fake_node(changed) as fake:
                lines = json.loads(self.node.kekctl("doctor", "--output", "json", "--node", fake).stdout)["lines"]
            said = [line for line in lines if "the clock of " in line["seen"]]
            self.assertEqual([(line["subject"], line["verdict"], line["do"]) for line in said],
                             [("clock", "WARN", "timedatectl set-ntp true")])

    @contextlib.contextmanager
    def fake_node(self, page):
        """Serves this page once, under a certificate of our CA."""
        host, port = rigs.own_address().rsplit(":", 1)
        cert, key = self.ca.issue("/CN=fake", "IP:" + host, name="fake")

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        body = json.dumps(page).encode()

        def serve():
            with server.accept()[0] as plain, context.wrap_socket(plain, server_side=True) as tls:
                tls.recv(4096)
                tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                with contextlib.suppress(OSError):
                    tls.unwrap()
        with socket.create_server((host, int(port))) as server:
            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            yield "%s:%s" % (host, port)
            thread.join(10)

    def ssh(self):
        """A PATH on which ssh is SSH."""
        folder = self.node.folder + "/bin"
        os.makedirs(folder, exist_ok=True)
        with open(folder + "/ssh", "w", encoding="ascii") as file:
            file.write(SSH.format(log=folder + "/log", kekctl=rigs.program("kekctl"),
                                  folder=self.second.folder))
        os.chmod(folder + "/ssh", 0o755)
        return dict(os.environ, PATH=folder + ":" + os.environ["PATH"], CONFIG="kekd.yaml")

    def test_a_node_is_asked_by_ssh(self):
        env = self.ssh()
        began = time.monotonic()
        answer, said = self.status("--node", "self", "--node", "ssh:root@cp2", "--timeout", "60s", env=env)
        self.assertLess(time.monotonic() - began, 30, "the last answer did not end the waiting")
        self.assertEqual(said, "")
        self.assertEqual([n["calls_itself"] for n in answer["nodes"]], ["cp1", "cp2"])
        with open(self.node.folder + "/bin/log", encoding="ascii") as file:
            self.assertEqual(file.read(), "-o BatchMode=yes root@cp2 -- kekctl node status --node self "
                                          "--output json\n")
        began = time.monotonic()
        answer, said = self.status(*[word for host in ("hangs", "refuses", "babbles", "lies", "odd", "cp2")
                                     for word in ("--node", "ssh:" + host)], "--timeout", "3s",
                                   env=env, code=3)
        self.assertLess(time.monotonic() - began, 15)
        self.assertEqual([n["reachable"] for n in answer["nodes"]], [False] * 5 + [True])
        for words in ("ssh:hangs: no answer in time",
                      r"ssh:refuses: exit 255: Permission denied \(publickey\).: does `ssh",
                      "ssh:babbles: the answer has more than 1048576 bytes",
                      "ssh:lies: what came is no status of kekd: \"version\"",
                      "ssh:odd: the answer is no JSON"):
            self.assertRegex(said, "not reached: " + words)
        sleepers = [p for p in rigs.processes() if p.state != "Z" and self.sleeps(p.pid)]
        self.assertEqual(sleepers, [])
        _, said = self.status("--node", "ssh:cp2", env=dict(env, PATH="/nowhere"), code=1)
        self.assertIn("ssh cannot be started: No such file", said)

    def sleeps(self, pid):
        with contextlib.suppress(OSError), open("/proc/%d/environ" % pid, "rb") as env, \
                open("/proc/%d/cmdline" % pid, "rb") as line:
            return (self.node.folder + "/bin").encode() in env.read() and b"sleep" in line.read()
        return False

    def test_a_wrong_name_is_refused(self):
        for name in ("cp1", "cp1:0", "ssh:", "ssh:-oProxyCommand=x", "https://cp1:1", "ssh:a b", "-x:1"):
            done = self.node.kekctl("node", "status", "--node=" + name)
            self.assertEqual((done.returncode, done.stdout), (2, b""), name)
            self.assertIn("--node: expected HOST:PORT, ssh:HOST or self, found \"%s\"" % name,
                          done.stderr.decode())
        with self.changed(listen=None, cert=None, key=None, ca=None, allow=None, nodes=None, name=None):
            self.node.config.pop("status")
            self.node.write()
            done = self.node.kekctl("node", "status", "--node", self.addresses[0])
            self.assertEqual(done.returncode, 2)
            self.assertIn("has no section status", done.stderr.decode())

    def test_this_node_alone_by_its_page_or_by_its_socket(self):
        key_id = self.node.client().status().key_id
        with self.changed(nodes=None):
            answer, said = self.status()
            self.assertEqual([(n["node"], n["key_id"], n["partial"]) for n in answer["nodes"]],
                             [("self", key_id, False)])
            self.assertRegex(said, "remark: .* names no other nodes")
            metrics = self.node.config.pop("metrics")
            self.node.config["log"] = {"level": "info"}
            self.node.write()
            answer, said = self.status()
            self.assertEqual([(n["node"], n["calls_itself"], n["health"], n["announces"], n["key_id"],
                               n["versions"], n["partial"]) for n in answer["nodes"]],
                             [("self", "cp1", "ok", 1, key_id, "", True)])
            self.assertRegex(said, "remark: of this node only the KMS socket and the record were asked")
            self.node.config["listen"] = "unix://" + self.node.folder + "/nobody.sock"
            self.node.write()
            answer, said = self.status(code=1)
            self.assertRegex(said, "this node: not reached: .*nobody.sock")
            self.node.config.update(metrics=metrics, listen="unix://" + self.node.socket)
            self.node.config["state_dir"] = self.node.folder + "/empty"
            self.node.config.pop("metrics")
            self.node.write()
            answer, said = self.status()
            self.assertEqual([(n["announces"], n["key_id"]) for n in answer["nodes"]], [(None, key_id)])
            self.node.config["metrics"] = metrics

    def test_kekd_does_not_link_the_client(self):
        needed = subprocess.run(["readelf", "-d", rigs.program("kekd")], check=True,
                                stdout=subprocess.PIPE, text=True).stdout
        self.assertIn("libssl.so", needed)
        self.assertNotIn("libcurl", needed)
        needed = subprocess.run(["readelf", "-d", rigs.program("kekd-pkcs11")], check=True,
                                stdout=subprocess.PIPE, text=True).stdout
        self.assertIsNone(re.search("libcurl|libssl", needed))


class Documented(rigs.Case):
    """operations.md, "Nodes that know of each other", as it stands there, but for folder, group and addresses."""

    def blocks(self):
        with open(os.path.join(rigs.TOP_SRC, "docs", "operations.md"), encoding="utf-8") as file:
            section = file.read().split("\n## Nodes that know of each other\n")[1].split("\n## ")[0]
        return [textwrap.dedent(block) for block in
                re.findall(r"^ *```(?:sh|yaml)\n(.*?)^ *```", section, re.DOTALL | re.MULTILINE)]

    def test_the_blocks_of_the_page_make_nodes_that_know_of_each_other(self):
        ca, issue, install, yaml, ask = self.blocks()
        first = self.rig()
        nodes = [first, self.rig(token=first.token, generate=False)]
        addresses = [rigs.own_address() for _ in nodes]
        desk = first.folder + "/desk"
        os.mkdir(desk)

        def run(block):
            subprocess.run(["sh", "-eu"], input=block, text=True, cwd=desk, check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        run(ca)
        for i, node in enumerate(nodes):
            def own(block, node=node, i=i):
                return (block.replace("cp1", "cp%d" % (i + 1)).replace("/etc/kekd", node.folder)
                        .replace(" -g kekd", "").replace("listen: 10.0.0.11:9479", "listen: " + addresses[i])
                        .replace("address=10.0.0.11", "address=" + addresses[i].split(":")[0]))
            run(own(issue))
            run(own(install))
            text = own(yaml).replace("10.0.0.11:9479", addresses[0]).replace("10.0.0.12:9479", addresses[1])
            self.assertIn(', "10.0.0.13:9479"', text)
            with open(node.path, "a", encoding="ascii") as file:
                file.write(text.replace(', "10.0.0.13:9479"', ""))
            node.start()
        _, *arguments = ask.split()
        done = first.kekctl(*arguments)
        self.assertEqual((done.returncode, done.stderr.decode()), (0, ""))
        for address in addresses:
            self.assertRegex(done.stdout.decode(), "(?m)^%s .* good +1 +sha256:" % address)
        for node in nodes:
            node.close_clients()
            node.stop()


if __name__ == "__main__":
    rigs.main()
