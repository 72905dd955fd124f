"""Encrypt calls by h2load, a load generator that nobody here wrote (Debian's nghttp2-client).

It sends the same request again and again, one at a time or through many streams of one connection, and
looks at HTTP alone.  That each answer is a whole EncryptResponse is told by the bytes of DATA that it
counts: an error has none.
"""
import re
import shutil
import struct
import subprocess

PATH = "/v2.KeyManagementService/Encrypt"
UID = b"0f5ab7a6-6c1e-4a2b-9f8f-2a30b2a7f001"  # as long as the API server's
SEALED_MIN = 100  # bytes of DATA in a good answer, at least


def installed():
    return shutil.which("h2load") is not None


def encrypt_request():
    """An EncryptRequest of a 32-byte plaintext (proto/kms_v2.proto), behind gRPC's prefix of 5 bytes."""
    message = b"\x0a\x20" + bytes(range(32)) + b"\x12" + bytes([len(UID)]) + UID
    return struct.pack(">BI", 0, len(message)) + message


def calls_per_second(socket, request, calls, streams):
    """Of `calls` Encrypts on one connection; `request` is a file. Raises ValueError: not all were answered."""
    out = subprocess.run(
        ["h2load", f"--requests={calls}", "--clients=1", "--threads=1",
         f"--max-concurrent-streams={streams}", f"--data={request}",
         "--header=content-type: application/grpc", "--header=te: trailers",
         f"--base-uri=unix:{socket}", f"http://localhost{PATH}"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600, check=True).stdout
    rate = re.search(r"^finished in [^,]+, ([\d.]+) req/s", out, re.MULTILINE)
    good = re.search(r"^status codes: (\d+) 2xx", out, re.MULTILINE)
    data = re.search(r"\((\d+)\) data$", out, re.MULTILINE)
    if not (rate and good and data) or int(good[1]) != calls or \
            int(data[1]) < calls * SEALED_MIN:
        raise ValueError(f"h2load had not {calls} Encrypts answered:\n{out}")
    return float(rate[1])
