"""kekctl audit verify on a large file, beside jq, which reads the same file and nothing more."""
import os
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "unit"))
from audit_chain import Chain  # noqa: E402


def installed():
    return shutil.which("jq") is not None


def make(path, lines):
    """As long as kekd's lines about calls are."""
    chain = Chain()
    with open(path, "wb") as file:
        for number in range(lines):
            file.write(chain.line(
                api="v2", method="Decrypt", uid="0ab1c2d3-0000-4000-8000-%012x" % number,
                key_id="kek1-00112233445566778899aabbccddeeff", kek_id="8f14e45fceea167a5a36dedd4bea2543", version=3,
                peer_uid=0, peer_pid=1180, status="OK", duration_us=812, hsm=False))


def seconds(command):
    """How long it takes. Raises CalledProcessError: it found something wrong."""
    begun = time.monotonic()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True, timeout=600)
    return time.monotonic() - begun
