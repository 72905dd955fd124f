"""kekctl doctor does not say OK where kekd does not start or serve: addresses, the socket, limits, the audit file."""

import os
import pwd
import resource
import socket

import doctoring
import rig as rigs
from doctoring import edit, write


class Starts(doctoring.Case):
    def test_from_nothing(self):
        """No folder, no configuration, no unit: what comes first can be done as it stands."""
        node = self.healthy()
        node.path = node.folder + "/new/etc/kekd.yaml"
        node.unit = node.folder + "/no.service"
        lines = {line.subject: line for line in self.doctor(node)}
        self.assertEqual(lines["configuration"].verdict, "FAIL")
        self.assertTrue(lines["configuration"].do.startswith("install -d -m 0755 %s/new/etc && " % node.folder))
        self.run_it(node, lines["configuration"])
        self.assertTrue(os.path.getsize(node.path))
        self.assertEqual(lines["user"].verdict, "UNSEEN")
        self.assertIn("as root", lines["user"].seen)
        try:
            pwd.getpwnam("kekd")
        except KeyError:
            self.assertTrue(lines["user"].do.startswith("systemd-sysusers kekd.conf"))

    def test_an_audit_file_that_is_a_symbolic_link(self):
        node = self.healthy()
        audit, other = node.config["audit"]["file"], node.folder + "/audit/other.log"
        os.rename(audit, other)
        os.symlink(other, audit)
        line = self.found(node, "audit", "symbolic link, which kekd does not follow")
        node.write(audit={"file": line.do.split("audit.file: ")[1]})
        self.found(node, "audit", "not written to .*/other.log, as a line there tells now", "WARN")  # doctor's login
        self.well(node)

    def test_addresses_that_are_taken_or_another_machines(self):
        node = self.healthy()
        was = node.config["metrics"]
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            host, port = rigs.own_address().split(":")
            other.bind((host, int(port)))
            other.listen(1)
            node.write(metrics="%s:%s" % (host, port))
            line = self.found(node, "metrics", "cannot listen on .* port %s .*in use" % port)
            self.assertIn("ss -ltnp sport = :%s" % port, line.do)
        node.write(metrics="192.0.2.1:9478")
        line = self.found(node, "metrics", "cannot listen on 192.0.2.1 port 9478 .*assign requested address")
        self.assertIn("an address of this machine", line.do)
        node.write(metrics=was)
        self.well(node)

    def test_an_address_that_the_kekd_judged_here_holds_is_well(self):
        node = self.healthy().start()
        self.assertEqual([line for line in self.lines(node) if line.subject in ("metrics", "socket")], [])

    def test_another_kekd_listens_on_the_socket(self):
        node = self.healthy()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(node.socket)
            self.assertEqual([line for line in self.lines(node) if line.subject == "socket"], [])  # a stale one
            other.listen(1)
            self.found(node, "socket", "another process listens on .*kms.sock")
            other.setblocking(False)
            self.assertRaises(BlockingIOError, other.accept)  # nobody called
        self.well(node)

    def test_the_socket_of_a_kekd_that_runs_is_gone_or_shut(self):
        node = self.healthy().start()
        os.chmod(node.socket, 0)
        line = self.found(node, "socket", "has mode 0000", "WARN")
        self.run_it(node, line)
        self.assertEqual([line for line in self.lines(node) if line.subject == "socket"], [])
        os.rename(node.socket, node.socket + ".away")
        line = self.found(node, "socket", "kekd runs .* is not there")
        self.assertEqual(line.do, "in %s: listen: as the API server's endpoint; where it is, systemctl restart kekd.service" % node.path)
        os.rename(node.socket + ".away", node.socket)

    def test_so_few_descriptors_that_no_worker_starts(self):
        node = self.healthy()
        edit(node.unit, "LimitNOFILE=4096\n", "LimitNOFILE=20\n")
        line = self.found(node, "descriptors", "^20 ")
        self.assertTrue(line.do.endswith("LimitNOFILE=4096"))

    def test_a_setting_is_changed_in_the_drop_in_that_it_stands_in(self):
        node = self.healthy()
        os.mkdir(node.unit + ".d")
        dropin = node.unit + ".d/own.conf"
        write(dropin, "[Service]\nLimitNOFILE=100\nRestart=no\nUMask=0022\n")
        few = self.found(node, "descriptors", r"^100 \(%s\)" % dropin, "WARN")
        stays = self.found(node, "unit", "^%s has Restart=no" % dropin, "WARN")
        rights = self.found(node, "unit", "gives kekd 1 more right", "WARN")
        for line in (few, stays, rights):
            self.set_in(line, dropin, "Service")
        self.well(node)

    def test_what_runs_has_more_than_the_unit_gives(self):
        node = self.healthy().start()
        edit(node.unit, "LimitNOFILE=4096\n", "LimitNOFILE=100\n")
        (process,) = [line for line in self.doctor(node) if line.subject == "descriptors" and "(process" in line.seen]
        few = resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 136
        self.assertEqual(process.verdict, "WARN" if few else "OK")
        self.found(node, "descriptors", "^100 .* at the next start", "WARN")


if __name__ == "__main__":
    rigs.main()
