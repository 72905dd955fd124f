"""HTTP/2 byte by byte, for what no client library will send.

Requests are HPACK literals without indexing and without Huffman, so that the bytes on the wire are
the bytes in the test.  Answers are decoded with libnghttp2's inflater, which every machine that runs
kekd has.
"""

import ctypes
import socket
import struct
import time

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, \
    CONTINUATION = range(10)
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1
CANCEL = 8
# What grpc-go sends after an answer to measure the link.
BDP = bytes.fromhex("02041010090e0707")


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def settings(*pairs):
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in pairs))


def integer(value, bits):
    limit = (1 << bits) - 1
    if value < limit:
        return bytes([value])
    out, value = bytearray([limit]), value - limit
    while value >= 128:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


def literal(name, value):
    name, value = (item.encode() if isinstance(item, str) else item for item in (name, value))
    return b"\0" + integer(len(name), 7) + name + integer(len(value), 7) + value


def request_headers(path, authority="localhost", **overrides):
    """As grpc-go sends them; None as a value leaves one out."""
    fields = {":method": "POST", ":scheme": "http", ":path": path, ":authority": authority,
              "content-type": "application/grpc", "user-agent": "kekd-interop/1", "te": "trailers"}
    fields.update({name.replace("_", "-"): value for name, value in overrides.items()})
    return b"".join(literal(name, value) for name, value in fields.items() if value is not None)


def message(payload, compressed=0):
    return struct.pack(">BI", compressed, len(payload)) + payload


class Name(ctypes.Structure):
    _fields_ = [("name", ctypes.POINTER(ctypes.c_ubyte)), ("value", ctypes.POINTER(ctypes.c_ubyte)),
                ("namelen", ctypes.c_size_t), ("valuelen", ctypes.c_size_t), ("flags", ctypes.c_uint8)]


class Inflater:
    def __init__(self):
        self.library = ctypes.CDLL("libnghttp2.so.14")
        self.library.nghttp2_hd_inflate_hd2.restype = ctypes.c_ssize_t
        self.library.nghttp2_hd_inflate_hd2.argtypes = [
            ctypes.c_void_p, ctypes.POINTER(Name), ctypes.POINTER(ctypes.c_int), ctypes.c_char_p,
            ctypes.c_size_t, ctypes.c_int]
        self.library.nghttp2_hd_inflate_end_headers.argtypes = [ctypes.c_void_p]
        self.library.nghttp2_hd_inflate_del.argtypes = [ctypes.c_void_p]
        self.handle = ctypes.c_void_p()
        if self.library.nghttp2_hd_inflate_new(ctypes.byref(self.handle)) != 0:
            raise MemoryError

    def block(self, data):
        found = {}
        while True:
            pair, flags = Name(), ctypes.c_int(0)
            used = self.library.nghttp2_hd_inflate_hd2(self.handle, ctypes.byref(pair),
                                                       ctypes.byref(flags), data, len(data), 1)
            if used < 0:
                raise ValueError("not HPACK: %d" % used)
            data = data[used:]
            if flags.value & 2:
                found[ctypes.string_at(pair.name, pair.namelen).decode()] = \
                    ctypes.string_at(pair.value, pair.valuelen).decode()
            if flags.value & 1:
                self.library.nghttp2_hd_inflate_end_headers(self.handle)
                return found
            if not data and not flags.value & 2:
                return found

    def close(self):
        self.library.nghttp2_hd_inflate_del(self.handle)


class Answer:
    """What came back on one stream so far."""

    def __init__(self):
        self.headers, self.data = {}, b""
        self.ended = False
        self.reset = None  # the error code of RST_STREAM

    @property
    def status(self):
        """The gRPC status number, None before the trailers."""
        value = self.headers.get("grpc-status")
        return None if value is None else int(value)


class Peer:
    """One raw connection. Reading happens only inside read() and what is built on it."""

    def __init__(self, path, hello=True, window=None, acknowledge=True):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        self.socket.connect(path)
        self.acknowledge = acknowledge  # SETTINGS of the server
        self.buffer = b""
        self.answers = {}
        self.settings = None  # the server's, once seen
        self.acked = 0  # SETTINGS acknowledgements
        self.pongs = []
        self.goaway = None  # (last stream, code)
        self.closed = False
        self.inflater = Inflater()
        if hello:
            self.send(PREFACE + settings(*([(4, window)] if window is not None else [])))

    def close(self):
        self.socket.close()
        if self.inflater is not None:
            self.inflater.close()
            self.inflater = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data):
        self.socket.sendall(data)

    def answer(self, stream):
        return self.answers.setdefault(stream, Answer())

    def open(self, stream, path, payload=b"", **headers):
        """A whole call."""
        self.send(frame(HEADERS, END_HEADERS, stream, request_headers(path, **headers)) +
                  frame(DATA, END_STREAM, stream, message(payload)))

    def read(self, seconds=30.0):
        """Takes what has arrived; False if nothing did in this time or the peer has closed."""
        patience = self.socket.gettimeout()
        self.socket.settimeout(max(seconds, 0.001))
        try:
            got = self.socket.recv(1 << 16)
        except (TimeoutError, BlockingIOError):
            return False
        except ConnectionResetError:
            got = b""
        finally:
            self.socket.settimeout(patience)  # of what is sent
        if not got:
            self.closed = True
            return False
        self.buffer += got
        while len(self.buffer) >= 9:
            size = int.from_bytes(self.buffer[:3], "big")
            if len(self.buffer) < 9 + size:
                break
            kind, flags, stream = struct.unpack(">BBI", self.buffer[3:9])
            payload, self.buffer = self.buffer[9:9 + size], self.buffer[9 + size:]
            self.take(kind, flags, stream & 0x7FFFFFFF, payload)
        return True

    def take(self, kind, flags, stream, payload):
        if kind == SETTINGS:
            if flags & ACK:
                self.acked += 1
            else:
                self.settings = {key: value for key, value in struct.iter_unpack(">HI", payload)}
                if self.acknowledge:
                    self.send(frame(SETTINGS, ACK, 0))
        elif kind == PING:
            if flags & ACK:
                self.pongs.append(payload)
            else:
                self.send(frame(PING, ACK, 0, payload))
        elif kind == GOAWAY:
            self.goaway = struct.unpack(">II", payload[:8])
        elif kind == HEADERS:
            # The server has no reason to pad, prioritise or split its few headers.
            answer = self.answer(stream)
            answer.headers.update(self.inflater.block(payload))
            answer.ended |= bool(flags & END_STREAM)
        elif kind == DATA:
            answer = self.answer(stream)
            answer.data += payload
            answer.ended |= bool(flags & END_STREAM)
        elif kind == RST_STREAM:
            self.answer(stream).reset = struct.unpack(">I", payload)[0]

    def until(self, condition, what, seconds=30.0):
        end = time.monotonic() + seconds
        while not condition():
            if self.closed:
                raise AssertionError("the server closed the connection before %s" % what)
            if time.monotonic() > end:
                raise AssertionError("waited %g s in vain for %s" % (seconds, what))
            self.read(end - time.monotonic())

    def done(self, stream, seconds=30.0):
        """The finished answer of this stream."""
        answer = self.answer(stream)
        self.until(lambda: answer.ended or answer.reset is not None, "stream %d's end" % stream,
                   seconds)
        return answer

    def wait_closed(self, seconds=30.0):
        end = time.monotonic() + seconds
        while not self.closed:
            if time.monotonic() > end:
                raise AssertionError("the server did not close the connection in %g s" % seconds)
            self.read(end - time.monotonic())
