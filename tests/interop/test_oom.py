"""Out of memory, at one allocation after the other, in the real programs (tests/oom/oom.c).

Whatever fails, the outcome is a clean error or an abort: never a wrong answer, a leak, or a word of a
sanitizer.  kekd, its worker and kekctl are run once for each allocation, until one is not reached any
more.  Of the project's own code each is tried always; of the libraries' one in KEK_OOM_STRIDE, 1009 if
it is not set; `make oom` sets it to 1.
"""

import os
import queue
import shutil
import signal
import subprocess

import rig as rigs
from grpc import RpcError, StatusCode

STRIDE = int(os.environ.get("KEK_OOM_STRIDE", "1009"))
SIDE_BY_SIDE = 4
FIRST_MISSES = 3  # in a row: further allocations are not reached either
CLEAN = {StatusCode.UNAVAILABLE, StatusCode.RESOURCE_EXHAUSTED, StatusCode.INTERNAL,
         StatusCode.DEADLINE_EXCEEDED, StatusCode.FAILED_PRECONDITION, StatusCode.CANCELLED}
DEK = bytes(range(32))
TRACES = ("Sanitizer", "runtime error:", "stack smashing", "double free", "corrupted")


class Oom(rigs.Case):
    def node(self, index=0, **options):
        node = self.rig(config={"data_key": {"max_uses": 4}, "log": {"level": "warn"},
                                "metrics": rigs.own_address()},
                        provider={"processes": 1, "sessions": 2, "timeout": "10s"}, **options)
        node.programs = "tests/oom/"
        node.mark = "%s/mark-%d" % (node.folder, index)
        return node

    def every(self, nodes, try_one, step):
        """Calls try_one(node, n) for every n until it is not reached any more; what it says is wrong."""
        left, found, misses = queue.Queue(), [], []
        for number in range(1, 100000, step):
            left.put(number)

        def run(node):
            while len(misses) < FIRST_MISSES and len(found) < 5:
                number = left.get_nowait()
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
                    misses.append(number)

        reached = []
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
        return {"KEK_OOM": "%s:%d%s" % (program, number, ":all" if everybody else ""),
                "KEK_OOM_MARK": node.mark}

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
                    retried.append(node.kekctl("pin", "retry", check=True))
                try:
                    client.status()
                    with rigs.urllib.request.urlopen("http://%s/metrics" % node.config["metrics"],
                                                     timeout=10) as page:
                        page.read()
                except (RpcError, OSError):
                    return False
                return not list(self.use(node, client))
            return rigs.wait_for(works, "kekd to work") != "ended"

    def kekd(self, node, number, program="kekd", everybody=False):
        with open(node.log_path, "w", encoding="ascii"):
            pass
        if number % 2:  # a first start; else one that has a state file
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

    def test_kekd_from_start_to_end(self):
        self.every([self.node(n) for n in range(SIDE_BY_SIDE)], self.kekd, 1)

    def test_kekd_and_its_libraries(self):
        self.every([self.node(n) for n in range(SIDE_BY_SIDE)],
                   lambda node, number: self.kekd(node, number, everybody=True), STRIDE)

    # Its worker

    def worker(self, node, number, everybody=False):
        return self.kekd(node, number, "kekd-pkcs11", everybody)

    def test_workers_from_start_to_end(self):
        # The first one fails; whatever becomes of it, kekd works, with the next one if need be.
        self.every([self.node(n) for n in range(SIDE_BY_SIDE)], self.worker, 1)

    def test_workers_and_their_libraries(self):
        self.every([self.node(n) for n in range(SIDE_BY_SIDE)],
                   lambda node, number: self.worker(node, number, everybody=True), STRIDE)

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
        if done.returncode == 0 and not arguments[0] == "key" and done.stdout != node.expected:
            return "exit 0 with another output: %r" % done.stdout[:200]
        if done.returncode != 0 and not error.strip() and done.returncode > 0:
            return "exit %d without a word" % done.returncode
        return None

    def test_kekctl(self):
        node = self.node().start()
        with node.client() as client:
            sealed = client.encrypt1(DEK)
        for arguments, given in ((("config", "check"), None), (("kms", "--api", "v1", "decrypt"), sealed),
                                 (("kms", "status"), None), (("key", "list"), None)):
            with self.subTest(" ".join(arguments)):
                done = node.kekctl(*arguments, input=given, check=True)
                node.expected = done.stdout
                self.every([node], lambda node, number, arguments=arguments, given=given:
                           self.kekctl(node, number, arguments, given), 1)
        node.stop()


if __name__ == "__main__":
    rigs.main()
