"""What stands behind a Cloud HSM's statement: the manufacturer's root, the owner's, and both their certificates for the
keys of one card and of its partition, as real ones are.  Made by the openssl command."""

import os

from certs import openssl

CA = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n"
LEAF = "basicConstraints=CA:FALSE\nkeyUsage=critical,digitalSignature,keyEncipherment\n"
CARD, PARTITION = "/CN=HSM:0.0T0000-ICM000000, for tests", "/CN=HSM:0.0T0000-ICM000000:PARTN:1, for tests"


class Hsm:
    def __init__(self, folder):
        os.makedirs(folder, exist_ok=True)
        self.folder = folder
        for name in ("maker", "owner", "card", "partition"):
            self.key(name)
        self.maker_root = self.issue("maker-root", "maker", "/CN=maker root", extensions=CA)
        self.owner_root = self.issue("owner-root", "owner", "/CN=owner root", extensions=CA)
        # The manufacturer's are of X.509's first version, without extensions.
        self.chains = {
            "caviumCerts": [self.text(self.issue("maker-card", "card", CARD, "maker")),
                            self.text(self.issue("maker-partition", "partition", PARTITION, "card"))],
            "googleCardCerts": [self.text(self.issue("owner-card", "card", CARD, "owner", LEAF))],
            "googlePartitionCerts": [self.text(self.issue("owner-partition", "partition", PARTITION, "owner", LEAF))]}

    def path(self, name):
        return os.path.join(self.folder, name)

    @staticmethod
    def text(path):
        with open(path, encoding="ascii") as file:
            return file.read()

    def key(self, name, bits=2048):
        openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:%d" % bits, "-out", self.path(name + ".key"))
        return self.text(self.path(name + ".key"))

    def issue(self, name, key, subject, by=None, extensions="", days=30, digest="sha256"):
        """The path of a certificate for that key. by: whose key signs; None: its own. Its subject is that of the root or
        card of this name."""
        base = self.path(name)
        openssl("req", "-new", "-key", self.path(key + ".key"), "-subj", subject, "-out", base + ".csr")
        with open(base + ".ext", "w", encoding="ascii") as file:
            file.write(extensions)
        issuer = {"maker": "maker-root", "owner": "owner-root", "card": "maker-card"}.get(by, by)
        signer = ["-signkey", self.path(key + ".key")] if by is None else [
            "-CA", self.path(issuer + ".pem"), "-CAkey", self.path(by + ".key"), "-set_serial", "7"]
        openssl("x509", "-req", "-in", base + ".csr", *signer, "-days", str(days), "-" + digest,
                *(["-extfile", base + ".ext"] if extensions else []), "-out", base + ".pem")
        return base + ".pem"

    def given(self):
        """As gcp_server.js takes it."""
        return {"key": self.text(self.path("partition.key")), "certChains": self.chains}
