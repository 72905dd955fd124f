"""An etcd that is none: it says of itself what a test wants, and holds what a test puts, over HTTP/2 without TLS.

    fake = Fake(case, cluster=0xcdf818194e3a8c32)
    fake.revision, fake.pairs      # read at each answer, so a test changes them; keys and values are bytes
    fake.endpoint                  # for `etcd:` in kekd.yaml
    fake.asked                     # how many ranges were read
"""

import socketserver
import struct
import threading

import h2
from protowire import pack, unpack

PRIORITY = 0x20
STATUS, RANGE = "/etcdserverpb.Maintenance/Status", "/etcdserverpb.KV/Range"


class Connection(socketserver.BaseRequestHandler):
    def exactly(self, size):
        got = b""
        while len(got) < size:
            piece = self.request.recv(size - len(got))
            if not piece:
                raise ConnectionResetError
            got += piece
        return got

    def handle(self):
        inflater, self.calls = h2.Inflater(), {}
        try:
            self.exactly(len(h2.PREFACE))
            self.request.sendall(h2.settings())
            while True:
                size, (kind, flags, stream) = int.from_bytes(self.exactly(3), "big"), struct.unpack(
                    ">BBI", self.exactly(6))
                self.take(inflater, kind, flags, stream, self.exactly(size))
        except OSError:
            pass
        finally:
            inflater.close()

    def take(self, inflater, kind, flags, stream, payload):
        if kind == h2.SETTINGS and not flags & h2.ACK:
            self.request.sendall(h2.frame(h2.SETTINGS, h2.ACK, 0))
        elif kind == h2.PING and not flags & h2.ACK:
            self.request.sendall(h2.frame(h2.PING, h2.ACK, 0, payload))
        elif kind == h2.HEADERS:
            self.calls[stream] = [inflater.block(payload[5:] if flags & PRIORITY else payload)[":path"], b""]
        elif kind == h2.DATA:
            self.calls[stream][1] += payload
        if kind in (h2.HEADERS, h2.DATA) and flags & h2.END_STREAM:
            path, body = self.calls.pop(stream)
            answer = self.server.fake.answer(path, dict(unpack(body[5:])))
            self.request.sendall(
                h2.frame(h2.HEADERS, h2.END_HEADERS, stream,
                         h2.literal(":status", "200") + h2.literal("content-type", "application/grpc")) +
                h2.frame(h2.DATA, 0, stream, h2.message(answer)) +
                h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, stream, h2.literal("grpc-status", "0")))


class Fake:
    def __init__(self, case, cluster=0xcdf818194e3a8c32, revision=1000):
        self.cluster, self.revision, self.asked = cluster, revision, 0
        self.pairs = {b"/registry/leases/kube-system/any": b"k8s\0"}
        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Connection)
        self.server.daemon_threads, self.server.fake = True, self
        self.endpoint = "http://127.0.0.1:%d" % self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        case.addCleanup(self.stop)

    def stop(self):
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    def answer(self, path, request):
        header = pack((1, self.cluster), (2, 1), (3, self.revision), (4, 2))
        if path == STATUS:
            return pack((1, header), (2, "3.4.0"), (4, 1))
        assert path == RANGE, path
        end = request.get(2, b"")
        found = [key for key in sorted(self.pairs) if key >= request[1] and (end == b"\0" or key < end)]
        if request.get(9):
            return pack((1, header), (4, len(found)))
        self.asked += 1
        taken = found[:request.get(3, 0) or len(found)]
        return pack((1, header), *((2, pack((1, key), (2, 1), (3, 1), (4, 1), (5, self.pairs[key]))) for key in taken),
                    (3, int(len(taken) < len(found))), (4, len(found)))
