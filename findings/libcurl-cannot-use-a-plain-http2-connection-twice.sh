#!/usr/bin/env bash
# curl and libcurl 7.88.1 (Debian 12: 7.88.1-10+deb12u15, over libnghttp2 1.52.0): HTTP/2 without TLS works for one
# request of a connection; each later one fails.
#
# That a connection is used again is what HTTP/2 is for, and is what libcurl does unless told otherwise, so one would
# guess that what works once works twice, or at least that the second request is sent anew on a connection of its own,
# as is done where a kept connection has died.  With CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE (--http2-prior-knowledge), as
# gRPC without TLS needs it, libcurl 7.88.1 puts a second HTTP/2 layer on top of the one that the connection has, and
# the request ends with CURLE_HTTP2 (16, "Error in the HTTP2 framing layer").  The message blames the server, the
# connection stays, and every further request over it fails too, so trying again with the same handle or the tool's
# --retry does not help; CURLOPT_FRESH_CONNECT does.
#
# Known as curl issue 10634, mended in 8.0.0; Debian 12 still has it at its update 15.
#
# Seen, of nghttpd on loopback, three times the same URL:
#   without TLS: status 200, exit code 0, connections 1
#   without TLS: status 000, exit code 16, connections 0
#   without TLS: status 000, exit code 16, connections 0
#   with TLS: status 200, exit code 0, connections 1
#   with TLS: status 200, exit code 0, connections 0
#   with TLS: status 200, exit code 0, connections 0
#
# Needs apt-get, apt-cache, dpkg, openssl and python3 on amd64; installs into a temporary folder, and fails if what is
# seen differs.
set -euo pipefail

folder=$(mktemp -d)
servers=()
finish() {
    for server in "${servers[@]}"; do
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    done
    rm -rf "$folder"
}
trap finish EXIT
chmod 755 "$folder" # apt's own user looks into it
cd "$folder"
pinned=(curl=7.88.1-10+deb12u15 libcurl4=7.88.1-10+deb12u15 libnghttp2-14=1.52.0-1+deb12u3
    nghttp2-server=1.52.0-1+deb12u3)
mapfile -t others < <(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks \
    --no-replaces --no-enhances curl nghttp2-server | grep '^[a-z]' |
    grep -vxE 'libc6|gcc-12-base|curl|libcurl4|libnghttp2-14|nghttp2-server')
apt-get -qq download "${pinned[@]}" "${others[@]}" >/dev/null 2>&1
for package in ./*.deb; do
    dpkg -x "$package" root
done
libraries=$folder/root/usr/lib/x86_64-linux-gnu:$folder/root/lib/x86_64-linux-gnu

mkdir www
echo hello >www/hello
openssl req -x509 -newkey rsa:2048 -nodes -keyout key -out cert -subj /CN=localhost -days 2 2>/dev/null
read -r plain tls < <(python3 -c '
import socket
with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
    print(one.getsockname()[1], other.getsockname()[1])')
LD_LIBRARY_PATH=$libraries root/usr/sbin/nghttpd -a 127.0.0.1 -d www --no-tls "$plain" >/dev/null &
servers+=($!)
LD_LIBRARY_PATH=$libraries root/usr/sbin/nghttpd -a 127.0.0.1 -d www "$tls" key cert >/dev/null &
servers+=($!)


export LD_LIBRARY_PATH=$libraries
curl() {
    root/usr/bin/curl --silent --insecure --noproxy '*' "$@"
}
case $(curl --version) in
    "curl 7.88.1 "*" libcurl/7.88.1 "*" nghttp2/1.52.0 "*) ;;
    *) echo "not the curl that is meant" >&2 && exit 1 ;;
esac
for url in "http://127.0.0.1:$plain/hello" "https://127.0.0.1:$tls/hello"; do
    for _ in $(seq 100); do
        curl --http2-prior-knowledge --output /dev/null "$url" && break
        sleep 0.1
    done
done
write='status %{http_code}, exit code %{exitcode}, connections %{num_connects}\n'
fetch() { # what URL
    curl --http2-prior-knowledge --write-out "$1: $write" --output one --output two --output three "$2" "$2" "$2" || true
}
fetch "without TLS" "http://127.0.0.1:$plain/hello" >seen
fetch "with TLS" "https://127.0.0.1:$tls/hello" >>seen
cat seen
diff - seen <<'WANTED'
without TLS: status 200, exit code 0, connections 1
without TLS: status 000, exit code 16, connections 0
without TLS: status 000, exit code 16, connections 0
with TLS: status 200, exit code 0, connections 1
with TLS: status 200, exit code 0, connections 0
with TLS: status 200, exit code 0, connections 0
WANTED
