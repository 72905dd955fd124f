"""The wire, byte by byte: what gRPC clients rely on, and what no good client would send."""

import os
import socket
import threading
import time

import h2
import rig as rigs
from grpc import Compression, StatusCode

STATUS = "/v2.KeyManagementService/Status"
ENCRYPT = "/v2.KeyManagementService/Encrypt"
ENCRYPT1 = "/v1beta1.KeyManagementService/Encrypt"
DECRYPT1 = "/v1beta1.KeyManagementService/Decrypt"
DEK = bytes(range(32))
SEAL = rigs.kms.Client.encrypt_request(DEK, "wire")


class Wire(rigs.SharedCase):
    settings = {"config": {"log": {"level": "info"}, "metrics": rigs.own_address()}}

    def peer(self, **options):
        peer = h2.Peer(self.node.socket, **options)
        self.addCleanup(peer.close)
        return peer

    def serves(self):
        """Others are served, by a connection that was there before and by a new one."""
        with self.node.client() as client:
            self.assertEqual(client.open(client.encrypt(DEK)), DEK)

    def tearDown(self):
        self.assertIsNone(self.node.kekd.poll(), "kekd ended")
        self.serves()

    # What clients rely on.

    def test_settings_come_at_accept_before_the_client_says_anything(self):
        # grpc-go waits for them before it sends its first call; C-core gives up without them.
        peer = self.peer(hello=False)
        peer.until(lambda: peer.settings is not None, "SETTINGS")
        self.assertEqual(peer.settings.get(3), 256, "MAX_CONCURRENT_STREAMS")

    def test_settings_and_pings_are_acknowledged(self):
        peer = self.peer()
        peer.until(lambda: peer.acked == 1, "the acknowledgement of SETTINGS")
        for _ in range(300):
            # After every answer at a low rate, as grpc-go measures: never too many.
            peer.send(h2.frame(h2.WINDOW_UPDATE, 0, 0, (20).to_bytes(4, "big")) +
                      h2.frame(h2.PING, 0, 0, h2.BDP))
            peer.read(0)
        peer.until(lambda: len(peer.pongs) == 300, "300 PING acknowledgements")
        self.assertEqual(set(peer.pongs), {h2.BDP})
        self.assertIsNone(peer.goaway)

    def test_every_form_of_authority_is_served(self):
        peer = self.peer()
        for stream, authority in enumerate((
                "localhost", "/var/run/kms.sock", "%2Fvar%2Frun%2Fkms.sock", "@kms.sock",
                self.node.socket, self.node.socket.replace("/", "%2F"), None)):
            peer.open(2 * stream + 1, STATUS, authority=authority)
            self.assertEqual(peer.done(2 * stream + 1).status, 0, authority)

    def test_an_answer_has_all_that_clients_look_at(self):
        peer = self.peer()
        peer.open(1, STATUS)
        answer = peer.done(1)
        self.assertEqual(answer.headers[":status"], "200")
        self.assertTrue(answer.headers["content-type"].startswith("application/grpc"))
        self.assertEqual((answer.status, answer.reset, answer.ended), (0, None, True))
        self.assertEqual(answer.data[0], 0)
        self.assertEqual(int.from_bytes(answer.data[1:5], "big"), len(answer.data) - 5)
        self.assertEqual(rigs.kms.Status(answer.data[5:]).healthz, "ok")
        # An error is told in a form that grpc-go reads, too, and with a message.
        peer.open(3, "/v2.KeyManagementService/Nonsense")
        answer = peer.done(3)
        self.assertEqual((answer.headers[":status"], answer.status), ("200", 12))
        self.assertTrue(answer.headers["grpc-message"])

    def test_a_message_may_come_in_any_number_of_pieces(self):
        whole = h2.message(SEAL)
        peer = self.peer()
        peer.send(h2.frame(h2.HEADERS, h2.END_HEADERS, 1, h2.request_headers(ENCRYPT)))
        for at in range(len(whole)):
            peer.send(h2.frame(h2.DATA, 0, 1, whole[at:at + 1]))
        peer.send(h2.frame(h2.DATA, h2.END_STREAM, 1))
        self.assertEqual(peer.done(1).status, 0)
        # And a header block, in as many CONTINUATIONs as it likes.
        block = h2.request_headers(STATUS)
        frames = [block[at:at + 30] for at in range(0, len(block), 30)]
        peer.send(h2.frame(h2.HEADERS, 0, 3, frames[0]))
        for part in frames[1:-1]:
            peer.send(h2.frame(h2.CONTINUATION, 0, 3, part))
        peer.send(h2.frame(h2.CONTINUATION, h2.END_HEADERS, 3, frames[-1]) +
                  h2.frame(h2.DATA, h2.END_STREAM, 3, h2.message(b"")))
        self.assertEqual(peer.done(3).status, 0)

    def test_all_bytes_may_come_one_by_one(self):
        raw = (h2.PREFACE + h2.settings() +
               h2.frame(h2.HEADERS, h2.END_HEADERS, 1, h2.request_headers(STATUS)) +
               h2.frame(h2.DATA, h2.END_STREAM, 1, h2.message(b"")))
        peer = self.peer(hello=False)
        for at in range(len(raw)):
            peer.send(raw[at:at + 1])
        self.assertEqual(peer.done(1).status, 0)

    def test_a_stream_window_of_one_byte_is_honoured(self):
        peer = self.peer(window=1)
        peer.open(1, STATUS)
        answer = peer.answer(1)
        while not answer.ended:
            have = len(answer.data)
            peer.until(lambda: len(answer.data) > have or answer.ended, "one more byte")
            self.assertLessEqual(len(answer.data), have + 1)
            if not answer.ended:
                peer.send(h2.frame(h2.WINDOW_UPDATE, 0, 1, (1).to_bytes(4, "big")))
        self.assertEqual(answer.status, 0)
        self.assertEqual(rigs.kms.Status(answer.data[5:]).healthz, "ok")

    def test_as_many_streams_as_advertised_are_served_at_once(self):
        peer = self.peer()
        peer.send(b"".join(h2.frame(h2.HEADERS, h2.END_HEADERS, 2 * n + 1, h2.request_headers(ENCRYPT))
                           for n in range(256)))
        peer.send(b"".join(h2.frame(h2.DATA, h2.END_STREAM, 2 * n + 1, h2.message(SEAL))
                           for n in range(256)))
        for n in range(256):
            self.assertEqual(peer.done(2 * n + 1).status, 0, n)

    def test_a_window_of_large_calls_on_one_connection_is_served(self):
        # v1 has no limit below a message's 64 KiB: none is refused for what the others hold.
        plain = os.urandom(32 * 1024)
        with self.node.client() as client:
            calls = [client.begin(ENCRYPT1, rigs.kms.field(1, "v1beta1") + rigs.kms.field(2, plain))
                     for _ in range(256)]
            sealed = [rigs.kms.one(rigs.kms.fields(call.result()), 1) for call in calls]
            calls = [client.begin(DECRYPT1, rigs.kms.field(1, "v1beta1") + rigs.kms.field(2, cipher))
                     for cipher in sealed]
            for call in calls:
                self.assertEqual(rigs.kms.one(rigs.kms.fields(call.result()), 1), plain)

    # What the call itself may get wrong.

    def test_one_stream_more_than_advertised_is_refused_and_only_that_one(self):
        # A client that has not seen SETTINGS yet may well open more: REFUSED_STREAM, which it retries.
        peer = self.peer(acknowledge=False)
        peer.send(b"".join(h2.frame(h2.HEADERS, h2.END_HEADERS, 2 * n + 1, h2.request_headers(STATUS))
                           for n in range(257)))
        self.assertEqual(peer.done(513).reset, 7)
        peer.send(b"".join(h2.frame(h2.DATA, h2.END_STREAM, 2 * n + 1, h2.message(b""))
                           for n in range(256)))
        for n in range(256):
            self.assertEqual(peer.done(2 * n + 1).status, 0, n)

    def test_a_client_that_ignores_the_advertised_limit_is_not_served_past_it(self):
        peer = self.peer()
        peer.until(lambda: peer.settings is not None, "SETTINGS")
        peer.send(b"".join(h2.frame(h2.HEADERS, h2.END_HEADERS, 2 * n + 1, h2.request_headers(STATUS))
                           for n in range(257)))
        answer = peer.answer(513)
        with self.swallow():
            while answer.reset is None and peer.goaway is None and not peer.closed:
                self.assertTrue(peer.read(30) or peer.closed, "no refusal")
        self.assertIsNone(answer.status)

    def test_wrong_messages_get_a_grpc_status(self):
        internal_or_invalid = (3, 13)
        cases = {
            "no message": (b"", internal_or_invalid),
            "half a prefix": (b"\0\0\0", internal_or_invalid),
            "less than its prefix says": (b"\0\0\0\0\x40abc", internal_or_invalid),
            "two messages": (h2.message(SEAL) * 2, internal_or_invalid + (12,)),
            "bytes after it": (h2.message(SEAL) + b"x", internal_or_invalid + (12,)),
            "compressed, without saying how": (h2.message(SEAL, compressed=1), internal_or_invalid + (12,)),
            "a flag nobody knows": (h2.message(SEAL, compressed=2), internal_or_invalid + (12,)),
            "a prefix of 4 GiB": (b"\0\xff\xff\xff\xff" + bytes(64), (8,)),
            "a prefix of 64 KiB + 1": (b"\0\x00\x01\x00\x01" + bytes(64), (8,)),
        }
        for what, (data, statuses) in cases.items():
            with self.subTest(what):
                peer = self.peer()
                peer.send(h2.frame(h2.HEADERS, h2.END_HEADERS, 1, h2.request_headers(ENCRYPT)) +
                          h2.frame(h2.DATA, h2.END_STREAM, 1, data))
                self.assertIn(peer.done(1).status, statuses)
                peer.open(3, STATUS)
                self.assertEqual(peer.done(3).status, 0, "the connection is as good as before")

    def test_calls_rejected_without_end_do_not_fill_the_log(self):
        peer = self.peer()
        for first in range(1, 2000, 400):
            streams = range(first, first + 400, 2)
            for stream in streams:
                peer.open(stream, "/v2.KeyManagementService/Nonsense")
            for stream in streams:
                self.assertEqual(peer.done(stream).status, 12)
        self.node.wait_log("more of the same in 1[0-9] s: call rejected: unknown method")
        self.assertLess(self.node.log().count("path=/v2.KeyManagementService/Nonsense"), 10)

    def test_a_compressed_message_is_unimplemented(self):
        with self.node.client() as client:
            self.refused(StatusCode.UNIMPLEMENTED, client.call, ENCRYPT,
                         client.encrypt_request(b"a" * 800), compression=Compression.Gzip)

    def test_wrong_headers_end_the_call_and_nothing_else(self):
        peer = self.peer()
        peer.open(1, STATUS)
        self.assertEqual(peer.done(1).status, 0)
        stream = 3
        for headers in ({"content_type": "text/plain"}, {"content_type": None}, {":method": "GET"},
                        {":path": None}, {":path": ""}, {":method": None}, {"grpc_timeout": "soon"},
                        {"grpc_timeout": ""}, {"grpc_timeout": "123456789S"}, {"grpc_timeout": "-1S"}):
            with self.subTest(headers):
                block = h2.request_headers(**dict({"path": STATUS}, **{
                    key: value for key, value in headers.items()}))
                peer.send(h2.frame(h2.HEADERS, h2.END_HEADERS, stream, block) +
                          h2.frame(h2.DATA, h2.END_STREAM, stream, h2.message(b"")))
                answer = peer.done(stream)
                self.assertTrue(answer.reset is not None or answer.status not in (None, 0) or
                                answer.headers.get(":status", "200") != "200")
                stream += 2
        peer.open(stream, STATUS)
        self.assertEqual(peer.done(stream).status, 0)

    def test_a_header_list_past_the_limit_is_refused(self):
        for size, pieces in ((17000, 1), (4000, 5), (100, 4000)):
            peer = self.peer()
            block = h2.request_headers(STATUS) + b"".join(
                h2.literal("x-filler-%d" % n, "v" * size) for n in range(pieces))
            first, rest = block[:16000], block[16000:]
            try:
                peer.send(h2.frame(h2.HEADERS, 0 if rest else h2.END_HEADERS, 1, first))
                while rest:
                    part, rest = rest[:16000], rest[16000:]
                    peer.send(h2.frame(h2.CONTINUATION, 0 if rest else h2.END_HEADERS, 1, part))
                peer.send(h2.frame(h2.DATA, h2.END_STREAM, 1, h2.message(b"")))
            except (BrokenPipeError, ConnectionResetError):
                peer.closed = True
            answer = peer.answer(1)
            while not (peer.closed or peer.goaway or answer.ended or answer.reset is not None):
                self.assertTrue(peer.read(30) or peer.closed, "no answer")
            self.assertNotEqual(answer.status, 0)

    # Deadlines and cancellation.

    def test_a_half_open_stream_ends_at_its_deadline(self):
        peer = self.peer()
        for stream, data in ((1, None), (3, b""), (5, b"\0\0"), (7, h2.message(SEAL)[:20])):
            peer.send(h2.frame(h2.HEADERS, h2.END_HEADERS, stream,
                               h2.request_headers(ENCRYPT, grpc_timeout="300m")))
            if data is not None:
                peer.send(h2.frame(h2.DATA, 0, stream, data))
        peer.open(9, STATUS)
        self.assertEqual(peer.done(9).status, 0, "others on the same connection are served meanwhile")
        for stream in (1, 3, 5, 7):
            answer = peer.done(stream)
            self.assertTrue(answer.status == 4 or answer.reset is not None, answer.status)
        self.nothing_kept("kekd_grpc_calls_open")

    def nothing_kept(self, gauge):
        rigs.wait_for(lambda: self.node.metric(gauge) == 0, "%s to be 0" % gauge)

    def test_every_unit_of_grpc_timeout_is_read(self):
        peer = self.peer()
        for number, timeout in enumerate(("1H", "1M", "99999999S", "20000m", "20000000u", "99999999n")):
            peer.open(2 * number + 1, STATUS, grpc_timeout=timeout)
            self.assertIn(peer.done(2 * number + 1).status, (0,) if timeout != "99999999n" else (0, 4))

    def test_a_thousand_rapid_resets_harm_nobody(self):
        before = self.node.client()
        before.status()
        peer = self.peer()
        try:
            for n in range(1000):
                peer.send(h2.frame(h2.HEADERS, h2.END_HEADERS, 2 * n + 1, h2.request_headers(ENCRYPT)) +
                          h2.frame(h2.DATA, h2.END_STREAM, 2 * n + 1, h2.message(SEAL)) +
                          h2.frame(h2.RST_STREAM, 0, 2 * n + 1, (h2.CANCEL).to_bytes(4, "big")))
            peer.open(2001, STATUS)
            while not (peer.answer(2001).ended or peer.goaway or peer.closed):
                self.assertTrue(peer.read(30) or peer.closed, "neither an answer nor GOAWAY nor a close")
        except (BrokenPipeError, ConnectionResetError):
            pass  # being thrown out is an answer, too
        self.assertEqual(before.open(before.encrypt(DEK)), DEK)
        before.close()
        self.nothing_kept("kekd_grpc_calls_open")
        self.assertGreater(self.node.metric("kekd_grpc_resets_total"), 0)

    def test_a_client_that_cancels_calls_stays_welcome(self):
        # Byte by byte: C-core 1.51 may reset a stream whose HEADERS it has not sent yet, and that ends
        # the connection (RFC 9113 section 6.4).
        peer = self.peer()
        for n in range(200):
            peer.send(h2.frame(h2.HEADERS, h2.END_HEADERS, 2 * n + 1, h2.request_headers(ENCRYPT)) +
                      h2.frame(h2.DATA, h2.END_STREAM, 2 * n + 1, h2.message(SEAL)) +
                      h2.frame(h2.RST_STREAM, 0, 2 * n + 1, (h2.CANCEL).to_bytes(4, "big")))
        peer.open(401, STATUS)
        self.assertEqual(peer.done(401).status, 0)
        self.assertIsNone(peer.goaway)

    # What is not gRPC at all.

    def test_garbage_is_thrown_out(self):
        good = h2.PREFACE + h2.settings()
        for what, junk in {
                "zeros": bytes(1000), "random": os.urandom(5000),
                "HTTP/1": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
                "HTTP/1 upgrade": b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\n"
                                  b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
                "TLS": bytes.fromhex("16030102000100") + os.urandom(600),
                "a preface with a slip": h2.PREFACE.replace(b"SM", b"MS") + h2.settings(),
                "no SETTINGS": h2.PREFACE + h2.frame(h2.PING, 0, 0, bytes(8)),
                "a frame too large": good + b"\xff\xff\xff" + bytes(6) + bytes(20000),
                "DATA on stream 0": good + h2.frame(h2.DATA, 0, 0, b"x"),
                "DATA on an idle stream": good + h2.frame(h2.DATA, 0, 5, b"x"),
                "an even stream": good + h2.frame(h2.HEADERS, h2.END_HEADERS, 2, h2.request_headers(STATUS)),
                "SETTINGS of odd size": good + h2.frame(h2.SETTINGS, 0, 0, b"12345"),
                "a window past 2^31": good + h2.frame(h2.WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff") * 2,
                "CONTINUATION alone": good + h2.frame(h2.CONTINUATION, h2.END_HEADERS, 1, b""),
                "not HPACK": good + h2.frame(h2.HEADERS, h2.END_HEADERS, 1, b"\xff" * 50),
        }.items():
            with self.subTest(what):
                peer = self.peer(hello=False)
                try:
                    peer.send(junk)
                except (BrokenPipeError, ConnectionResetError):
                    continue
                with self.swallow():
                    while not (peer.closed or peer.goaway):
                        self.assertTrue(peer.read(30) or peer.closed, "neither GOAWAY nor a close")
                    self.assertTrue(peer.closed or peer.goaway[1] != 0)
                    peer.wait_closed()
        self.node.wait_log(r"connection cut: \S.* peer_uid=%d peer_pid=%d" % (os.getuid(), os.getpid()))

    def test_a_client_that_says_goodbye_is_not_cut(self):
        told = self.node.log().count("connection cut")
        for last in (0, 1):  # grpc-go names its own last stream, which nghttp2 takes for an error
            peer = self.peer()
            peer.open(1, STATUS)
            self.assertEqual(peer.done(1).status, 0)
            peer.send(h2.frame(h2.GOAWAY, 0, 0, last.to_bytes(4, "big") + bytes(4)))
            peer.wait_closed()
        self.assertEqual(self.node.log().count("connection cut"), told)

    def test_connections_cut_without_end_do_not_fill_the_log(self):
        for _ in range(300):
            with socket.socket(socket.AF_UNIX) as peer:
                peer.connect(self.node.socket)
                peer.sendall(b"GET / HTTP/1.1\r\n\r\n")
                with self.swallow():
                    while peer.recv(4096):
                        pass
        self.node.wait_log(r"[0-9]+ more of the same in 1[0-9] s: connection cut: ")
        self.assertLess(self.node.log().count("connection cut: Received bad client magic"), 20)

    @staticmethod
    def swallow():
        """A broken pipe while answering the server is a close."""
        return rigs.contextlib.suppress(BrokenPipeError, ConnectionResetError)

    def test_endless_continuations_are_cut_off(self):
        peer = self.peer()
        with self.swallow():
            peer.send(h2.frame(h2.HEADERS, 0, 1, h2.request_headers(STATUS)))
            for _ in range(5000):
                peer.send(h2.frame(h2.CONTINUATION, 0, 1, h2.literal("x", "y" * 100)))
            peer.wait_closed()

    # Peers that hold on to what they have.

    def test_a_client_that_never_reads_harms_nobody(self):
        peer = h2.Peer(self.node.socket, window=(1 << 31) - 1)
        self.addCleanup(peer.close)
        stop = threading.Event()
        peer.socket.settimeout(0.2)

        def flood():
            stream = 1
            call = rigs.kms.field(1, "v1beta1") + rigs.kms.field(2, os.urandom(16000))
            peer.socket.settimeout(2)
            with self.swallow(), rigs.contextlib.suppress(socket.timeout):
                peer.send(h2.frame(h2.WINDOW_UPDATE, 0, 0, (0x7FFF0000).to_bytes(4, "big")))
                while not stop.is_set() and stream < 20000:
                    peer.send(h2.frame(h2.HEADERS, h2.END_HEADERS, stream, h2.request_headers(ENCRYPT1)))
                    data = h2.message(call)
                    peer.send(h2.frame(h2.DATA, 0, stream, data[:16384]) +
                              h2.frame(h2.DATA, h2.END_STREAM, stream, data[16384:]) +
                              h2.frame(h2.PING, 0, 0, bytes(8)) * 20 + h2.settings((1, 4096)))
                    stream += 2
        before = self.resident()
        thread = threading.Thread(target=flood)
        thread.start()
        end = time.monotonic() + 2
        while time.monotonic() < end:
            self.serves()
        stop.set()
        thread.join()
        if not rigs.sanitized():
            self.assertLess(self.resident() - before, 32 << 20, "kekd's memory grew with its debt")

    def resident(self):
        with open("/proc/%d/status" % self.node.kekd.pid, encoding="ascii") as file:
            for line in file:
                if line.startswith("RssAnon:"):
                    return int(line.split()[1]) << 10
        raise AssertionError("no RssAnon")

    def test_connections_past_the_limit_are_closed_and_the_others_stay(self):
        self.nothing_kept("kekd_grpc_connections")  # of other tests: a client's end may be a moment away
        held = []
        try:
            for n in range(32):
                peer = h2.Peer(self.node.socket)
                held.append(peer)
                peer.until(lambda: peer.settings is not None, "SETTINGS on connection %d" % n)
            one_more = self.peer(hello=False)
            one_more.wait_closed()
            for peer in held:
                peer.open(1, STATUS)
                self.assertEqual(peer.done(1).status, 0)
        finally:
            for peer in held:
                peer.close()
        # tearDown sees that there is room again.

    def test_an_idle_and_silent_peer_keeps_nobody_out(self):
        silent = self.peer(hello=False)
        self.serves()
        silent.send(h2.PREFACE[:10])
        self.serves()
        silent.send(h2.PREFACE[10:] + h2.settings())
        silent.open(1, STATUS)
        self.assertEqual(silent.done(1).status, 0)


if __name__ == "__main__":
    rigs.main()
