"""Certificates for the status listeners, made as operations.md says: by the openssl command."""

import os
import subprocess


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, stdin=subprocess.DEVNULL,
                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


class Authority:
    """A CA of its own in a folder, and what it signs."""

    def __init__(self, folder, name="kekd status CA"):
        os.makedirs(folder, exist_ok=True)
        self.folder = folder
        self.cert = folder + "/ca.pem"
        self.key = folder + "/ca.key"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-days", "30", "-subj", "/CN=" + name, "-keyout", self.key, "-out", self.cert,
                "-addext", "basicConstraints=critical,CA:TRUE",
                "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    def issue(self, subject, san="", days=365, usage="serverAuth,clientAuth", name="leaf"):
        """(certificate, key): paths. subject: such as "/CN=cp1". days: -1 is over."""
        base = "%s/%s" % (self.folder, name)
        extensions = "extendedKeyUsage=%s\n" % usage + ("subjectAltName=%s\n" % san if san else "")
        with open(base + ".ext", "w", encoding="utf-8") as file:
            file.write(extensions)
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-utf8",
                "-subj", subject, "-keyout", base + ".key", "-out", base + ".csr")
        openssl("x509", "-req", "-in", base + ".csr", "-CA", self.cert, "-CAkey", self.key,
                "-CAcreateserial", "-days", str(days), "-extfile", base + ".ext",
                "-out", base + ".pem")
        return base + ".pem", base + ".key"
