"""kekd's audit log and an API server's log, joined by the uid that Kubernetes' own code gives each KMS request: which
object was written or read under which call, and so under which key.

An API server says it at -v=6 in its log (k8s.io/apiserver, kmsv2/envelope.go), and never in its audit log."""

import re

import apiserver
import rig as rigs

apiserver.need()

SAID = re.compile(r'"(encrypting content using DEK|decrypting content using envelope service)" uid="([0-9a-f-]+)" '
                  r'key="/registry/secrets/default/([^"]*)"')
WRITE, READ = "encrypting content using DEK", "decrypting content using envelope service"


class Join(rigs.Case):
    @staticmethod
    def calls(kekd):
        """uid: line, of every call in kekd's audit log."""
        lines = rigs.json_lines(kekd.folder + "/audit.jsonl")
        return {line["uid"]: line for line in lines if line["event"] == "call" and line["uid"]}

    @staticmethod
    def said(server, what):
        """[(name of the Secret, uid)] of what the API server logged."""
        with open(server.log, encoding="utf-8", errors="replace") as file:
            return [(name, uid) for said, uid, name in SAID.findall(file.read()) if said == what]

    def test_each_secret_that_is_written_or_read_leads_to_a_call_and_its_key(self):
        kekd = rigs.Rig(self)
        kekd.write(audit={"file": kekd.folder + "/audit.jsonl"})
        kekd.start()
        cluster = apiserver.Cluster(self, kekds=[kekd], options=("-v=6",)).start()
        server, = cluster.servers
        names = ["secret-%d" % n for n in range(5)]
        for name in names:
            cluster.create("secrets", name, {"password": b"x"})
        written = dict(self.said(server, WRITE))
        self.assertEqual(sorted(set(written) & set(names)), names)
        server.restart()  # nothing is in its memory any more
        server.ready()
        for name in names:
            cluster.get("secrets", name)
        rigs.wait_for(lambda: self.said(server, READ), "a Decrypt in the API server's log")
        read = [uid for _, uid in self.said(server, READ)]
        uids = set(written.values()) | set(read)
        rigs.wait_for(lambda: uids <= set(self.calls(kekd)), "kekd's lines about these calls")
        calls = self.calls(kekd)
        key_id = {line["key_id"] for line in calls.values()}
        self.assertEqual(len(key_id), 1)
        for uid in set(written.values()):
            self.assertEqual((calls[uid]["method"], calls[uid]["status"]), ("Encrypt", "OK"))
        for uid in read:
            self.assertEqual((calls[uid]["method"], calls[uid]["status"], calls[uid]["version"]), ("Decrypt", "OK", 1))
        # And back: every call that Kubernetes made of its own is one that its log names.
        with open(server.log, encoding="utf-8", errors="replace") as file:
            log = file.read()
        for uid, line in calls.items():
            if line["method"] != "Status":
                self.assertIn(uid, log)
        done = kekd.kekctl("audit", "verify", kekd.folder + "/audit.jsonl")
        self.assertEqual(done.returncode, 0, done.stderr)
        cluster.stop()


if __name__ == "__main__":
    rigs.main()
