"""Who may see what: the module, the PIN, the plaintext, the key; and who may call."""

import glob
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile

import rig as rigs
from grpc import StatusCode

DEK = b"the-plaintext-nobody-may-log-32b"
CALLER = """
import os, sys
sys.path.insert(0, sys.argv[1])
import kms, grpc  # as root: the caller's uid may not be able to read the sources
os.setgroups([])
os.setgid(int(sys.argv[3]))
os.setuid(int(sys.argv[3]))
client = kms.Client(sys.argv[2], timeout=20)
for call in (client.status, lambda: client.encrypt(b"x" * 32), lambda: client.encrypt1(b"ping"),
             client.version1, lambda: client.call("/nonsense/method", b"")):
    try:
        call()
        print("OK")
    except grpc.RpcError as error:
        print(error.code().name, error.details())
"""


class Separation(rigs.Case):
    def test_the_front_never_maps_a_module_and_a_worker_does(self):
        rigs.need_root("/proc/PID/maps of a process that is not dumpable")
        node = self.rig().start()
        with node.client() as client:
            client.open(client.encrypt(DEK))
        with open("/proc/%d/maps" % node.kekd.pid, encoding="utf-8") as file:
            front = file.read()
        self.assertTrue(front)
        self.assertIsNone(re.search(r"(?i)softhsm|pkcs11|p11-kit|libp11", front))
        for worker in node.workers():
            with open("/proc/%d/maps" % worker, encoding="utf-8") as file:
                self.assertIn("libsofthsm2", file.read(), "this test would see a module")
        node.stop()

    def test_root_makes_no_key_that_kekd_would_not_see(self):
        """SoftHSM's files are their maker's alone."""
        rigs.need_root("a kekd of another user than kekctl's")
        node = self.rig(user="nobody")
        os.chown(node.path, 0, 0)
        before = node.kekctl("key", "list", check=True).stdout
        for words in (("key", "generate"), ("audit", "generate"), ("key", "rotate", "--single-node", "--timeout", "5s")):
            done = node.kekctl(*words)
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertIn("which runs as nobody by the owner of state_dir %s, would not see it: runuser -u nobody -- kekctl --config %s %s, "
                          % (node.state, node.path, " ".join(words[:2])), done.stderr.decode())
        self.assertEqual(node.kekctl("key", "list", check=True).stdout, before)
        node.write(providers=[dict(node.config["providers"][0], user="nobody")])  # then its workers are not root's
        os.chown(node.path, 0, 0)
        node.kekctl("key", "generate", check=True)
        self.assertIn(b"k8s-test.v2", node.kekctl("key", "list", check=True).stdout)

    def test_a_user_without_a_name_is_become_by_its_number(self):
        rigs.need_root("a kekd of another user than kekctl's")
        uid, gid = 54321, 54322
        self.assertNotIn(uid, [entry.pw_uid for entry in pwd.getpwall()])
        node = self.rig()
        subprocess.run(["chown", "-R", "%d:%d" % (uid, gid), node.folder], check=True)
        os.chown(node.path, 0, 0)
        done = node.kekctl("key", "generate")
        self.assertEqual(done.returncode, 1, done.stderr)
        said = ("which runs as uid %d by the owner of state_dir %s, would not see it: setpriv --reuid=%d --regid=%d --clear-groups -- kekctl "
                "--config %s key generate, " % (uid, node.state, uid, gid, node.path))
        self.assertIn(said, done.stderr.decode())
        command = said.split("not see it: ")[1].rstrip(", ").split()
        command[command.index("kekctl")] = rigs.program("kekctl")
        if subprocess.run(command[:6] + ["version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode != 0:
            self.skipTest("SKIP: uid %d cannot run the build in %s: what is offered was not tried" % (uid, rigs.TOP_BUILD))
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        made = [entry for entry in glob.glob(node.token.folder + "/tokens/*/*.object") if os.stat(entry).st_uid != uid]
        self.assertEqual(made, [])
        self.assertIn(b"k8s-test.v2", node.kekctl("key", "list", check=True).stdout)

    def test_only_programs_that_ask_others_link_an_http_client(self):
        linked = {}
        for name in ("kekd", "kekd-pkcs11", "kekctl", "kekd-transit"):
            if os.path.exists(rigs.program(name)):  # --disable-bridge builds no kekd-transit
                linked[name] = subprocess.run(["ldd", rigs.program(name)], check=True, text=True,
                                              stdout=subprocess.PIPE).stdout
        for name in ("kekd", "kekd-pkcs11"):
            self.assertIsNone(re.search(r"libcurl|libldap|libssh", linked.pop(name)), name)
        for name, text in linked.items():
            self.assertIn("libcurl", text, "this test would see an HTTP client in %s" % name)

    def test_front_and_workers_are_not_dumpable(self):
        # What lies in /proc/PID of a process that is not dumpable is root's, whoever runs it.
        options = {"user": "nobody"} if os.geteuid() == 0 else {}
        if options and not self.nobody_can_run():
            self.skipTest("SKIP: nobody cannot run the build in %s: dumpability was not tested" % rigs.TOP_BUILD)
        node = self.rig(**options).start()
        for pid in [node.kekd.pid] + node.workers():
            self.assertEqual(os.stat("/proc/%d/environ" % pid).st_uid, 0, "process %d" % pid)
            if not rigs.sanitized():
                with open("/proc/%d/limits" % pid, encoding="ascii") as file:
                    self.assertRegex(file.read(), r"Max core file size +0 +0 ")
        node.stop()

    @staticmethod
    def nobody_can_run():
        try:
            return subprocess.run([rigs.program("kekctl"), "config", "example"], user="nobody",
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                  check=False).returncode == 0
        except PermissionError:
            return False

    def test_workers_inherit_no_descriptor_of_the_front(self):
        node = self.rig().start()
        client = node.client()
        client.encrypt(DEK)
        for worker in node.workers():
            folder = "/proc/%d/fd" % worker
            if not os.access(folder, os.R_OK):
                self.skipTest("SKIP: not root: a worker's descriptors were not looked at")
            sockets = [name for name in os.listdir(folder)
                       if os.readlink("%s/%s" % (folder, name)).startswith("socket:")]
            self.assertEqual(sockets, ["3"])
        node.stop()

    def test_a_providers_user_runs_its_workers(self):
        rigs.need_root("a provider's user")
        if not self.nobody_can_run():
            self.skipTest("SKIP: nobody cannot run the build in %s: a provider's user was not tested" % rigs.TOP_BUILD)
        folder = tempfile.mkdtemp(prefix="kekd-test-")
        self.addCleanup(shutil.rmtree, folder)
        os.chmod(folder, 0o755)
        token = rigs.Token(folder + "/hsm")
        nobody = pwd.getpwnam("nobody").pw_uid
        for where, folders, files in os.walk(token.folder):
            for name in ["."] + folders + files:
                os.chown(os.path.join(where, name), nobody, -1)
        node = self.rig(token=token, provider={"user": "nobody"}).start()
        with node.client() as client:
            self.assertEqual(client.open(client.encrypt(DEK)), DEK)
        workers = node.workers()
        self.assertTrue(workers)
        for worker in workers:
            self.assertEqual(self.uids(worker), {nobody})
            with open("/proc/%d/status" % worker, encoding="ascii") as file:
                self.assertRegex(file.read(), r"CapEff:\s+0000000000000000\n")
        self.assertEqual(self.uids(node.kekd.pid), {0})
        rigs.kill(workers[0])
        (fresh,) = rigs.wait_for(lambda: set(node.workers()) - set(workers), "the worker to be replaced")
        # What kekd has forked is kekd until it is another program: it must be nobody's before it is a worker.
        rigs.wait_for(lambda: self.program(fresh) == "kekd-pkcs11", "the new worker's program")
        self.assertEqual(self.uids(fresh), {nobody})
        node.stop()

    @staticmethod
    def program(pid):
        with open("/proc/%d/comm" % pid, encoding="ascii") as file:
            return file.read().rstrip("\n")

    @staticmethod
    def uids(pid):
        """Real, effective, saved and file-system uid."""
        with open("/proc/%d/status" % pid, encoding="ascii") as file:
            line = next(line for line in file if line.startswith("Uid:"))
        return set(map(int, line.split()[1:]))

    def test_nothing_secret_is_logged_or_kept(self):
        node = self.rig()  # the log is at level debug
        node.start()
        client = node.client()
        sealed = client.encrypt(DEK)
        client.open(sealed)
        cipher = client.encrypt1(DEK)
        client.decrypt1(cipher)
        bad = bytearray(sealed.ciphertext)
        bad[-1] ^= 1
        self.refused(StatusCode.INVALID_ARGUMENT, client.decrypt, bytes(bad), sealed.key_id)
        killed = node.workers()
        for worker in killed:
            rigs.kill(worker)
        client.open(client.encrypt(DEK))
        rigs.wait_for(lambda: not set(killed) & set(node.workers()), "their end")
        node.settled()
        with open("/proc/%d/cmdline" % node.kekd.pid, "rb") as file:
            lines = file.read()
        for worker in node.workers():
            for name in ("cmdline", "environ"):
                if os.access("/proc/%d/%s" % (worker, name), os.R_OK):
                    with open("/proc/%d/%s" % (worker, name), "rb") as file:
                        lines += file.read()
        node.stop()
        secrets = [form for secret in (DEK, node.token.pin.encode())
                   for form in (secret, secret.hex().encode(), secret.hex().upper().encode())]
        self.search(lines, secrets, "the command lines")
        for where in (node.log_path, node.state):
            names = [os.path.join(where, name) for name in os.listdir(where)] if os.path.isdir(where) else [where]
            for name in names:
                with open(name, "rb") as file:
                    self.search(file.read(), secrets, name)
        self.assertEqual(self.mode(node.state) & 0o077, 0)
        for name in os.listdir(node.state):
            self.assertEqual(self.mode(node.state + "/" + name) & 0o077, 0, name)

    def search(self, where, secrets, name):
        for secret in secrets:
            self.assertNotIn(secret, where, name)

    def test_the_key_on_the_token_is_sensitive_never_extractable_wrap_only(self):
        node = self.rig()
        listing = node.token.tool("--list-objects", "--type", "secrkey")
        self.assertEqual(listing.count("Secret Key Object"), 1, listing)
        self.assertIn("Secret Key Object; AES length 32", listing)
        self.assertRegex(listing, r"label: +k8s-test\.v1\n")
        self.assertRegex(listing, r"Usage: +wrap, unwrap\n")
        access = set(re.search(r"Access: +(.*)", listing).group(1).split(", "))
        self.assertEqual(access, {"sensitive", "always sensitive", "never extractable", "local"})
        # Traffic leaves nothing on the token.
        node.start()
        with node.client() as client:
            for _ in range(20):
                client.open(client.encrypt(DEK))
        node.stop()
        self.assertEqual(node.token.tool("--list-objects", "--type", "secrkey"), listing)

    def test_traffic_in_strict_mode_leaves_nothing_on_the_token(self):
        node = self.rig(config={"data_key": {"max_uses": 1}})
        listing = node.token.tool("--list-objects")
        node.start()
        with node.client() as client:
            for _ in range(50):
                client.open(client.encrypt(DEK))
            for worker in node.workers():
                rigs.kill(worker)
        node.kill()
        self.assertEqual(node.token.tool("--list-objects"), listing)

    # Who may call.

    def caller(self, node, user):
        os.chmod(node.socket, 0o666)
        return subprocess.run(
            [sys.executable, "-B", "-c", CALLER, os.path.dirname(os.path.abspath(rigs.__file__)),
             node.socket, str(user)], stdout=subprocess.PIPE, text=True,
            check=True, timeout=rigs.PATIENCE, cwd="/").stdout.splitlines()

    def test_a_peer_that_is_not_allowed_is_told_so_on_every_call(self):
        rigs.need_root("a peer of another uid")
        node = self.rig().start()
        before = node.client()
        for line in self.caller(node, 65533):
            self.assertTrue(line.startswith("PERMISSION_DENIED "), line)
            self.assertIn("65533", line)
        self.assertEqual(before.open(before.encrypt(DEK)), DEK)
        node.stop()

    def test_allow_uids_names_who_may(self):
        rigs.need_root("a peer of another uid")
        node = self.rig(config={"allow_uids": [65533]})
        # root itself is not on this list.
        node.spawn().serving()
        rigs.wait_for(lambda: self.caller(node, 65533)[:4] == ["OK"] * 4, "the allowed peer's calls")
        with node.client() as client:
            self.refused(StatusCode.PERMISSION_DENIED, client.status)
        self.assertTrue(self.caller(node, 65532)[0].startswith("PERMISSION_DENIED"))
        node.stop()


if __name__ == "__main__":
    rigs.main()
