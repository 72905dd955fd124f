"""Out of memory, at one allocation after the other, in the real programs (tests/oom/oom.c).

Whatever fails, the outcome is a clean error or an abort: never a wrong answer, a leak, or a word of a
sanitizer.  kekd, its worker and kekctl are run once for each allocation, until one is not reached any
more.  Of the project's own code each is tried always; of the libraries' one in KEK_OOM_STRIDE, 1009 if
it is not set, and the first ones; `make oom` sets it to 1.
"""

import itertools
import json
import os
import shutil
import signal
import ssl
import tempfile

import certs
import etcd_server
import fault as faults
import rig as rigs
from grpc import RpcError, StatusCode

STRIDE = int(os.environ.get("KEK_OOM_STRIDE", "1009"))
SIDE_BY_SIDE = 4
UNLIKE_STRIDE = 1 if STRIDE == 1 else 11  # of kekd's own allocations, where others try each
ROOTS_STRIDE = 1 if STRIDE == 1 else 23  # likewise, with two roots of trust
READING_STRIDE = 1 if STRIDE == 1 else 5  # of kekctl's own, while it reads an etcd: there are hundreds more
BEGINNING = 50  # libraries' allocations of which each is tried: there OpenSSL sets itself up
MISSES = 3  # beyond the last one that was reached: further allocations are not reached either
CLEAN = {StatusCode.UNAVAILABLE, StatusCode.RESOURCE_EXHAUSTED, StatusCode.INTERNAL,
         StatusCode.DEADLINE_EXCEEDED, StatusCode.FAILED_PRECONDITION, StatusCode.CANCELLED}
DEK = bytes(range(32))
TRACES = ("Sanitizer", "runtime error:", "stack smashing", "double free", "corrupted")


# What an API server may have: a list of which one resource goes to kekd.
PRESENT = """{apiVersion: apiserver.config.k8s.io/v1, kind: EncryptionConfiguration, resources: [
  {resources: [configmaps, secrets], providers: [
    {aescbc: {keys: [{name: a, secret: MDEyMzQ1Njc4OWFiY2RlZg==}]}}, {identity: {}}]}]}
"""


# The same, once a Secret is under kekd and a ConfigMap under aescbc; the last step away from another kms entry.
STORED = """{apiVersion: apiserver.config.k8s.io/v1, kind: EncryptionConfiguration, resources: [
  {resources: [configmaps], providers: [{aescbc: {keys: [{name: a, secret: MDEyMzQ1Njc4OWFiY2RlZg==}]}}]},
  {resources: [secrets], providers: [%s{kms: {name: kekd-v1, endpoint: 'unix:///s'}}]}]}
"""


class Oom(rigs.Case):
    def node(self, index=0, **options):
        address = rigs.own_address()
        node = self.rig(config={"data_key": {"max_uses": 4}, "log": {"level": "warn"},
                                "metrics": rigs.own_address(), "status": self.status(address)},
                        provider={"processes": 1, "sessions": 2, "timeout": "10s"}, **options)
        node.programs = "tests/oom/"
        node.mark = "%s/mark-%d" % (node.folder, index)
        return node

    def status(self, address):
        """The section of this name; one certificate does for all nodes."""
        if not hasattr(self, "certificate"):
            folder = tempfile.mkdtemp(prefix="kekd-test-")
            self.addCleanup(shutil.rmtree, folder)
            self.ca = certs.Authority(folder)
            self.certificate = self.ca.issue("/CN=node", "IP:" + address.split(":")[0])
            self.tls = ssl.create_default_context(cafile=self.ca.cert)
            self.tls.load_cert_chain(*self.certificate)
        cert, key = self.certificate
        return {"listen": address, "cert": cert, "key": key, "ca": self.ca.cert, "allow": ["node"],
                "nodes": [address]}

    def every(self, nodes, try_one, step, each_until=1):
        """Calls try_one(node, n) for every n until it is not reached any more; what it says is wrong."""
        numbers = itertools.chain(range(1, each_until), itertools.count(each_until, step))
        found, reached, missed = [], [], []

        def over():
            last = max(reached, default=0)
            return len(found) >= 5 or len([number for number in missed if number > last]) >= MISSES

        def run(node):
            while not over():
                number = next(numbers)
                try:
                    node.reached = False
                    problem = try_one(node, number)
                except Exception as error:  # pylint: disable=broad-except
                    problem = "%s: %s" % (type(error).__name__, error)
                    if node.kekd is not None:
                        node.kill()
                if problem and os.path.exists(node.mark):
                    with open(node.mark, encoding="utf-8", errors="replace") as where:
                        problem += "\n" + where.read()
                if problem:
                    found.append("allocation %d: %s" % (number, problem))
                elif node.reached:
                    reached.append(number)
                else:
                    missed.append(number)

        rigs.side_by_side(run, nodes)
        self.assertFalse(found, "\n" + "\n".join(found))
        self.assertTrue(reached)
        print("%s: %d allocations, one by one, up to the %dth" % (self.name(), len(reached), max(reached)),
              flush=True)

    @staticmethod
    def fail(node, program, number, everybody):
        """The environment that makes it fail."""
        if os.path.exists(node.mark):
            os.unlink(node.mark)
        environment = {"KEK_OOM": "%s:%d%s" % (program, number, ":all" if everybody else ""),
                       "KEK_OOM_MARK": node.mark}
        if everybody or program == "kekd-pkcs11":  # slow, and needed where libraries may leak (oom.c)
            environment["ASAN_OPTIONS"] = ":".join(
                [*filter(None, [os.environ.get("ASAN_OPTIONS")]), "fast_unwind_on_malloc=0"])
        return environment

    @staticmethod
    def traces(text):
        return [line for line in text.splitlines() if any(trace in line for trace in TRACES)]

    # kekd

    @staticmethod
    def use(node, client):
        """Both APIs, several data keys. Raises what must not be."""
        for _ in range(3):
            plain = os.urandom(32)
            try:
                if client.open(client.encrypt(plain)) != plain:
                    raise AssertionError("a wrong plaintext")
                if client.decrypt1(client.encrypt1(plain)) != plain:
                    raise AssertionError("a wrong plaintext")
            except RpcError as error:
                if error.code() not in CLEAN:
                    raise AssertionError("%s: %s" % (error.code(), error.details())) from error
                yield error

    def serve(self, node):
        """True once it serves well after all; False if it ended by itself, cleanly."""
        def connected():
            if node.kekd.poll() is not None:
                return "ended"
            return os.path.exists(node.socket)
        if rigs.wait_for(connected, "kekd's socket or end") == "ended":
            return False
        retried = []
        with rigs.kms.Client(node.socket, timeout=20, wait=False) as client:
            def works():
                if node.kekd.poll() is not None:
                    return "ended"
                if not retried and "is pin-refused" in node.log():
                    # SoftHSM calls it a wrong PIN when it has no memory to check one.
                    done = node.kekctl("pin", "retry", "--output", "json", check=True)
                    if json.loads(done.stdout)["forgotten"]:  # it may not be on record yet
                        retried.append(done)
                try:
                    client.status()
                    with rigs.urllib.request.urlopen("http://%s/metrics" % node.config["metrics"],
                                                     timeout=10) as page:
                        page.read()
                    with rigs.urllib.request.urlopen("https://%s/status" % node.config["status"]["listen"],
                                                     timeout=10, context=self.tls) as page:
                        json.load(page)
                except (RpcError, OSError):
                    return False
                return not list(self.use(node, client))
            return rigs.wait_for(works, "kekd to work") != "ended"

    def kekd(self, node, number, first, program="kekd", everybody=False):
        """One run; first: without a state file from before."""
        with open(node.log_path, "w", encoding="ascii"):
            pass
        if first:
            shutil.rmtree(node.state)
            os.mkdir(node.state, 0o700)
        node.env = self.fail(node, program, number, everybody)
        node.spawn()
        served = self.serve(node)
        if served:
            node.signal()
        process, node.kekd = node.kekd, None
        code = process.wait(rigs.PATIENCE)
        node.nobody_left(process.pid)
        node.reached = os.path.exists(node.mark)
        if os.path.lexists(node.socket):
            os.unlink(node.socket)
        wrong = self.traces(node.log())
        if wrong:
            return "\n".join([""] + node.log().splitlines()[-40:])
        if code not in (0, 1, 2, -signal.SIGABRT) or (served and code not in (0, -signal.SIGABRT)):
            return "kekd ended with %d" % code
        return None

    def each(self, step, each_until=1, **options):
        """Every allocation of a first start, and every one of a start with a state file."""
        for first in (True, False):
            with self.subTest(first_start=first):
                nodes = [self.node(n) for n in range(SIDE_BY_SIDE)]
                for node in [] if first else nodes:
                    node.start()
                    node.stop()
                self.every(nodes, lambda node, number, first=first: self.kekd(node, number, first, **options),
                           step, each_until)

    def test_kekd_from_start_to_end(self):
        self.each(1)

    def test_kekd_and_its_libraries(self):
        self.each(STRIDE, BEGINNING, everybody=True)

    def test_kekd_while_its_workers_are_wrong_blind_and_behind(self):
        # Its record says which key is right: the first worker has another, the second shows none, and those
        # that come after show for ever what they showed first.
        nodes = [self.node(n) for n in range(SIDE_BY_SIDE)]
        for node in nodes:
            node.start()
            node.stop()
            node.lines = ("* every wrongkey 1 proc=1", "C_Initialize 1 blind 0 proc=2",
                          "C_Initialize every caching proc=3+")
            node.fault = faults.inject(node)
            self.addCleanup(node.fault.close)

        def once(node, number):
            node.fault.put(*node.lines)
            return self.kekd(node, number, first=False)
        self.every(nodes, once, UNLIKE_STRIDE)

    def two_roots(self, index, mode):
        """The same with a second root of trust, on a token of its own."""
        node = self.node(index)
        node.other = rigs.Token(node.folder + "/other", "kek-other")
        first = node.config["providers"][0]
        node.config["providers"].append({**first, **node.provider("hsm-b", node.other), "timeout": first["timeout"]})
        node.write(mode=mode, roots=[{"name": "site", "providers": ["hsm-a"]},
                                     {"name": "spare", "providers": ["hsm-b"]}])
        node.kekctl("--root", "spare", "key", "generate", check=True)
        return node

    def test_kekd_with_two_roots(self):
        """At a first start; and at another, while the workers of one root are wrong and blind."""
        for mode in ("any", "all"):
            for first in (True, False):
                with self.subTest(mode=mode, first_start=first):
                    nodes = [self.two_roots(n, mode) for n in range(SIDE_BY_SIDE)]
                    for node in [] if first else nodes:
                        node.start()
                        node.stop()
                        node.fault = faults.inject(node)
                        self.addCleanup(node.fault.close)

                    def once(node, number, first=first):
                        if not first:
                            node.fault.put("* every wrongkey 1 proc=1", "C_Initialize 1 blind 0 proc=2")
                        return self.kekd(node, number, first)
                    self.every(nodes, once, ROOTS_STRIDE)

    def test_kekctl_with_two_roots(self):
        node = self.two_roots(0, "all").start()
        for arguments in (("config", "check"), ("kms", "status"), ("key", "list"), ("node", "status")):
            with self.subTest(" ".join(arguments)):
                expected = node.kekctl(*arguments, check=True).stdout
                node.right = lambda output, expected=expected: output == expected
                self.every([node], lambda node, number, arguments=arguments: self.kekctl(node, number, arguments, None),
                           ROOTS_STRIDE)
        node.stop()

    # Its worker

    def test_workers_from_start_to_end(self):
        # The first one fails; whatever becomes of it, kekd works, with the next one if need be.
        self.each(1, program="kekd-pkcs11")

    def test_workers_and_their_libraries(self):
        self.each(STRIDE, program="kekd-pkcs11", everybody=True)

    # kekctl

    def kekctl(self, node, number, arguments, given, everybody=False):
        environment = self.fail(node, "kekctl", number, everybody)
        done = node.kekctl(*arguments, input=given, env=dict(os.environ, **environment))
        node.reached = os.path.exists(node.mark)
        error = done.stderr.decode(errors="replace")
        if self.traces(error):
            return error
        if done.returncode not in (0, 1, 2, 3, -signal.SIGABRT):
            return "kekctl ended with %d: %s" % (done.returncode, error)
        if done.returncode == 0 and not node.right(done.stdout):
            return "exit 0 with another output: %r" % done.stdout[:200]
        if done.returncode != 0 and not error.strip() and done.returncode > 0:
            return "exit %d without a word" % done.returncode
        return None

    @staticmethod
    def placed(node, arguments, number):
        """A report goes to a folder of its own each time."""
        return (*arguments, "%s/report-%d" % (node.folder, number)) if arguments[-1] == "--out" else arguments

    def fill(self, node, sealed):
        """An etcd with an object of each kind that is opened, and the commands that read it."""
        if shutil.which("etcd") is None:
            print("SKIP: etcd not found: inventory was not tried", flush=True)
            return ()
        etcd = etcd_server.Etcd(self).start()
        node.write(etcd=[etcd.entry()])
        content = b"k8s\0" + bytes(40)
        etcd.put("/registry/secrets/default/a", b"k8s:enc:kms:v1:kekd-v1:" + len(sealed).to_bytes(2, "big") + sealed +
                 etcd_server.covered(DEK, content))
        etcd.put("/registry/configmaps/default/a", b"k8s:enc:aescbc:v1:a:" +
                 etcd_server.covered(b"0123456789abcdef", content))
        files = []
        for name, first in (("stored", ""), ("last", "{identity: {}}, {kms: {apiVersion: v2, name: kekd, endpoint: "
                                                "'unix://%s'}}, " % node.socket)):
            files.append("%s/%s.yaml" % (node.folder, name))
            with open(files[-1], "w", encoding="ascii") as file:
                file.write(STORED % first)
        return ("inventory", "--verify", "--output", "json", "--encryption-config", files[0]), \
            ("kube", "config", "--phase", "disable", "--check", "--from", files[1])

    @staticmethod
    def is_whole(output):
        """An inventory that found all there is, opened it, and put it on record."""
        found = json.loads(output)
        (etcd,) = found["etcds"]
        return (found["good"], found["state"], etcd["objects"], etcd["opened_by_file"],
                etcd["verify"]["objects"]["opens"], etcd["recorded"]) == (True, "ENCRYPTED", 2, 1, 1, True)

    @staticmethod
    def is_report(output):
        """One whose sections are all there, in files that are."""
        found = json.loads(output)
        with open(found["folder"] + "/report.json", encoding="utf-8") as file:
            report = json.load(file)
        (root,) = report["roots"]
        return (os.path.exists(found["folder"] + "/report.html"), len(found["sections"]), root["tokens"]["filled"],
                [row["outcome"] for row in root["proofs"]["witnesses"]]) == (True, 12, "yes", ["opened"])

    def every_command(self, step, everybody):
        node = self.node().start()
        client = node.client()
        sealed = client.encrypt1(DEK)
        reading = [(command, None) for command in self.fill(node, sealed)]
        present = node.folder + "/present.yaml"
        with open(present, "w", encoding="ascii") as file:
            file.write(PRESENT)
        phase = ("kube", "config", "--phase", "add-reader", "--resource", "secrets", "--from", present)
        for arguments, given in ((phase, None), (("config", "check"), None),
                                 (("kms", "--api", "v1", "decrypt"), sealed),
                                 (("kms", "--api", "v1", "encrypt"), DEK), (("kms", "status"), None),
                                 (("key", "list"), None), (("node", "status"), None),
                                 (("node", "status", "--node", "self"), None), (("pin", "retry"), None),
                                 (("report", "--output", "json", "--out"), None), *reading):
            with self.subTest(" ".join(arguments)):
                expected = node.kekctl(*self.placed(node, arguments, 0), input=given, check=True).stdout
                node.right = lambda output, expected=expected: output == expected
                if "inventory" in arguments:
                    self.assertTrue(self.is_whole(expected))
                    node.right = self.is_whole
                if "report" in arguments:
                    self.assertTrue(self.is_report(expected))
                    node.right = self.is_report
                if "encrypt" in arguments:
                    node.right = lambda output: client.decrypt1(output) == DEK
                reads = (arguments, given) in reading or "report" in arguments
                self.every([node], lambda node, number, arguments=arguments, given=given:
                           self.kekctl(node, number, self.placed(node, arguments, number), given, everybody),
                           max(step, READING_STRIDE) if reads else step,
                           BEGINNING if everybody and not reads else 1)
        node.stop()

    # kekctl doctor, which says on standard output what it met.

    @staticmethod
    def subjects(output):
        return [(line["subject"], line["verdict"]) for line in json.loads(output)["lines"]]

    def doctor(self, node, number, arguments, expected):
        done = node.kekctl(*arguments, env=dict(os.environ, **self.fail(node, "kekctl", number, False)))
        node.reached = os.path.exists(node.mark)
        error = done.stderr.decode(errors="replace")
        if self.traces(error):
            return error
        if done.returncode == -signal.SIGABRT or (error.strip() and done.returncode in (1, 2)):
            return None
        if done.returncode not in (0, 1, 3):
            return "kekctl ended with %d: %s" % (done.returncode, error)
        found, worst = self.subjects(done.stdout), json.loads(done.stdout)["verdict"]
        if worst != "FAIL" and [item for item in expected if item not in found and (item[0], "WARN") not in found]:
            return "a line is missing, without a word: %s" % done.stdout.decode()
        return None

    def test_kekctl_doctor(self):
        node = self.node().start()
        unit, present = rigs.program("deploy/kekd.service"), node.folder + "/present.yaml"
        with open(present, "w", encoding="ascii") as file:
            file.write(PRESENT)
        server = node.folder + "/apiserver"
        with open(server, "w", encoding="ascii") as file:
            file.write("kube-apiserver --encryption-provider-config=%s\n" % present)
        with open(unit, encoding="utf-8") as file:
            text = file.read()
        unit = node.folder + "/kekd.service"
        with open(unit, "w", encoding="utf-8") as file:
            file.write("\n".join(line for line in text.splitlines() if line[:5] not in ("User=", "Group")))
        arguments = ("doctor", "--output", "json", "--unit", unit, "--api-server", server)
        expected = self.subjects(node.kekctl(*arguments).stdout)
        self.assertIn(("token of hsm-a", "OK"), expected)
        self.every([node], lambda node, number: self.doctor(node, number, arguments, expected), 1)
        node.stop()

    def test_kekctl(self):
        self.every_command(1, everybody=False)

    def test_kekctl_and_its_libraries(self):
        self.every_command(STRIDE, everybody=True)


if __name__ == "__main__":
    rigs.main()
