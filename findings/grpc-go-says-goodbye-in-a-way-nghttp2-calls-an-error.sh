#!/usr/bin/env bash
# google.golang.org/grpc v1.79.3 (Go) as the client, libnghttp2 1.52.0 (Debian 12: libnghttp2-14 1.52.0-1+deb12u3) as the
# server: each orderly close by the client is a protocol error to the server.
#
# ClientConn.Close() sends GOAWAY with NO_ERROR and, as the last stream, the number of the client's own last call.  The
# field is for streams that the receiver began (RFC 9113 section 6.8), and a gRPC server begins none, so one would guess
# 0.  nghttp2 holds it against the client: it answers with a GOAWAY of PROTOCOL_ERROR.  A server on nghttp2 that counts
# or logs connections which it ended for breaking HTTP/2 finds every client among them that leaves as it should.
#
# Seen:
#   grpc-go, after one call: GOAWAY last stream 1, NO_ERROR
#   nghttp2, given what grpc-go sent: GOAWAY PROTOCOL_ERROR
#
# Needs go, apt-get, dpkg and python3 on amd64; installs into a temporary folder, and fails if what is seen differs.
set -euo pipefail

folder=$(mktemp -d)
trap 'chmod -R u+w "$folder"; rm -rf "$folder"' EXIT
chmod 755 "$folder" # apt's own user looks into it
cd "$folder"
apt-get -qq download libnghttp2-14=1.52.0-1+deb12u3 >/dev/null 2>&1
dpkg -x libnghttp2-14_*.deb root

mkdir client
cd client
export GOPATH=$folder/go GOFLAGS=-mod=mod
cat >main.go <<'GO'
// A grpc-go client against a server that is no more than a framer; prints the GOAWAY, keeps all that was sent.
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/emptypb"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func serve(listener net.Listener, sent *bytes.Buffer, done chan struct{}) {
	defer close(done)
	conn, err := listener.Accept()
	must(err)
	defer conn.Close()
	input := io.TeeReader(conn, sent)
	_, err = io.ReadFull(input, make([]byte, len(http2.ClientPreface)))
	must(err)
	framer := http2.NewFramer(conn, input)
	must(framer.WriteSettings())
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				must(framer.WriteSettingsAck())
			}
		case *http2.DataFrame:
			var block bytes.Buffer
			encoder := hpack.NewEncoder(&block)
			for _, field := range [][2]string{{":status", "200"}, {"content-type", "application/grpc"}, {"grpc-status", "5"}} {
				must(encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}))
			}
			must(framer.WriteHeaders(http2.HeadersFrameParam{StreamID: frame.StreamID,
				BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true}))
		case *http2.GoAwayFrame:
			fmt.Printf("grpc-go, after one call: GOAWAY last stream %d, %v\n", frame.LastStreamID, frame.ErrCode)
		}
	}
}

func main() {
	listener, err := net.Listen("unix", os.Args[1]+"/socket")
	must(err)
	var sent bytes.Buffer
	done := make(chan struct{})
	go serve(listener, &sent, done)
	client, err := grpc.NewClient("unix://"+os.Args[1]+"/socket", grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(err)
	_ = client.Invoke(context.Background(), "/a.Service/Call", &emptypb.Empty{}, &emptypb.Empty{})
	must(client.Close())
	<-done
	must(os.WriteFile(os.Args[1]+"/sent", sent.Bytes(), 0o600))
}
GO
cat >go.mod <<'MOD'
module client

go 1.24

require google.golang.org/grpc v1.79.3
MOD
go mod tidy >/dev/null 2>&1
go run . "$folder" >"$folder/seen"
cd ..

cat >serve.py <<'PYTHON'
import ctypes
import sys

ERRORS = {0: "NO_ERROR", 1: "PROTOCOL_ERROR"}
nghttp2 = ctypes.CDLL(sys.argv[1])
callbacks, session, out = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
nghttp2.nghttp2_session_mem_recv.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
nghttp2.nghttp2_session_mem_recv.restype = ctypes.c_ssize_t
nghttp2.nghttp2_session_mem_send.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
nghttp2.nghttp2_session_mem_send.restype = ctypes.c_ssize_t
assert nghttp2.nghttp2_session_callbacks_new(ctypes.byref(callbacks)) == 0
assert nghttp2.nghttp2_session_server_new(ctypes.byref(session), callbacks, None) == 0
assert nghttp2.nghttp2_submit_settings(session, 0, None, 0) == 0
with open(sys.argv[2], "rb") as file:
    sent = file.read()
assert nghttp2.nghttp2_session_mem_recv(session, sent, len(sent)) == len(sent)
answer = b""
while (length := nghttp2.nghttp2_session_mem_send(session, ctypes.byref(out))) > 0:
    answer += ctypes.string_at(out, length)
while answer:  # frame by frame: 3 bytes of length, the type, flags, 4 bytes of stream
    length = int.from_bytes(answer[:3], "big")
    if answer[3] == 7:
        print("nghttp2, given what grpc-go sent: GOAWAY " + ERRORS[int.from_bytes(answer[13:17], "big")])
    answer = answer[9 + length:]
PYTHON
python3 serve.py root/usr/lib/x86_64-linux-gnu/libnghttp2.so.14 sent >>seen

diff - seen <<'SEEN' && echo "as described"
grpc-go, after one call: GOAWAY last stream 1, NO_ERROR
nghttp2, given what grpc-go sent: GOAWAY PROTOCOL_ERROR
SEEN
