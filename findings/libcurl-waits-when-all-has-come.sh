#!/usr/bin/env bash
# libcurl 7.88.1 (Debian 12: libcurl4 7.88.1-10+deb12u15, over libnghttp2 1.52.0): an HTTP/2 answer without TLS of more
# than 16 KiB may end 200 ms or more after all of it came.
#
# One would guess that a transfer moves on as long as libcurl has something in hand, and that curl_easy_perform() is
# safe from whatever a loop of one's own on the multi interface may do wrong.  libcurl gives as much as its buffer holds
# (CURLOPT_BUFFERSIZE, 16 KiB by default), may keep the rest of what it read in its HTTP/2 layer, and waits for the
# socket, where nothing more will come.  It goes on at the next timer: by chance that is often the one of 200 ms that is
# left of connecting (CURLOPT_HAPPY_EYEBALLS_TIMEOUT_MS; with 50 there, it waits 50 ms), else the end of its
# curl_multi_poll(), which is a second in curl_easy_perform() and else whatever the caller gave.
# The data is whole and there is no error: it looks like a slow server.  It is not seen over TLS, nor in the curl tool,
# whose buffer has 100 KiB, nor any more in libcurl 8.23.0.  A larger buffer helps; on the multi interface, so does
# calling curl_multi_perform() again as long as the last call brought data.
#
# Seen with curl_easy_perform() and nghttpd on loopback, the median of 5, each on a new connection (0.4, 200,
# 0.4 and 3 ms):
#   without TLS, 16384 bytes: at once
#   without TLS, 20000 bytes: 150 ms or more
#   without TLS, 20000 bytes, a buffer of 100 KiB: at once
#   with TLS, 20000 bytes: at once
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
pinned=(libcurl4=7.88.1-10+deb12u15 libnghttp2-14=1.52.0-1+deb12u3 nghttp2-server=1.52.0-1+deb12u3)
mapfile -t others < <(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks \
    --no-replaces --no-enhances libcurl4 nghttp2-server | grep '^[a-z]' |
    grep -vxE 'libc6|gcc-12-base|libcurl4|libnghttp2-14|nghttp2-server')
apt-get -qq download "${pinned[@]}" "${others[@]}" >/dev/null 2>&1
for package in ./*.deb; do
    dpkg -x "$package" root
done
libraries=$folder/root/usr/lib/x86_64-linux-gnu:$folder/root/lib/x86_64-linux-gnu

mkdir www
head -c 16384 /dev/zero >www/16384
head -c 20000 /dev/zero >www/20000
openssl req -x509 -newkey rsa:2048 -nodes -keyout key -out cert -subj /CN=localhost -days 2 2>/dev/null
read -r plain tls < <(python3 -c '
import socket
with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
    print(one.getsockname()[1], other.getsockname()[1])')
LD_LIBRARY_PATH=$libraries root/usr/sbin/nghttpd -a 127.0.0.1 -d www --no-tls "$plain" >/dev/null &
servers+=($!)
LD_LIBRARY_PATH=$libraries root/usr/sbin/nghttpd -a 127.0.0.1 -d www "$tls" key cert >/dev/null &
servers+=($!)

cat >ask.py <<'PYTHON'
import ctypes
import sys
import time

PLAIN, TLS = sys.argv[2:]
OPTIONS = {"URL": 10002, "HTTP_VERSION": 84, "WRITEFUNCTION": 20011, "SSL_VERIFYPEER": 64, "SSL_VERIFYHOST": 81,
           "BUFFERSIZE": 98}
HTTP2_TLS, HTTP2_PRIOR_KNOWLEDGE, COULD_NOT_CONNECT = 4, 5, 7
TAKE = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p)
curl = ctypes.CDLL(sys.argv[1])
curl.curl_version.restype = ctypes.c_char_p
curl.curl_easy_init.restype = ctypes.c_void_p
curl.curl_easy_cleanup.argtypes = [ctypes.c_void_p]
assert curl.curl_version().startswith(b"libcurl/7.88.1 "), curl.curl_version()
assert b"nghttp2/1.52.0" in curl.curl_version(), curl.curl_version()
taken = 0


@TAKE
def take(data, size, count, pointer):
    global taken
    taken += size * count
    return size * count


def fetch(port, size, options):
    """Seconds that curl_easy_perform takes, or None if nobody listens yet."""
    global taken
    taken = 0
    easy = ctypes.c_void_p(curl.curl_easy_init())
    settings = {"URL": b"%s://127.0.0.1:%s/%d" % (b"https" if port == TLS else b"http", port.encode(), size),
                "HTTP_VERSION": HTTP2_TLS if port == TLS else HTTP2_PRIOR_KNOWLEDGE,
                "WRITEFUNCTION": take, "SSL_VERIFYPEER": 0, "SSL_VERIFYHOST": 0, **options}
    for name, value in settings.items():
        value = ctypes.c_long(value) if isinstance(value, int) else value
        assert curl.curl_easy_setopt(easy, OPTIONS[name], value) == 0, name
    begun = time.perf_counter()
    code = curl.curl_easy_perform(easy)
    seconds = time.perf_counter() - begun
    curl.curl_easy_cleanup(easy)
    if code == COULD_NOT_CONNECT:
        return None
    assert code == 0 and taken == size, (code, taken)
    return seconds


def median(what, port, size, **options):
    for _ in range(100):
        if fetch(port, size, options) is not None:
            break
        time.sleep(0.1)
    seconds = sorted(fetch(port, size, options) for _ in range(5))[2]
    print("%s: %s" % (what, "150 ms or more" if seconds >= 0.15 else "at once"))
    print("%s: %.1f ms" % (what, seconds * 1000), file=sys.stderr)


median("without TLS, 16384 bytes", PLAIN, 16384)
median("without TLS, 20000 bytes", PLAIN, 20000)
median("without TLS, 20000 bytes, a buffer of 100 KiB", PLAIN, 20000, BUFFERSIZE=102400)
median("with TLS, 20000 bytes", TLS, 20000)
PYTHON

LD_LIBRARY_PATH=$libraries timeout 60 python3 ask.py "$folder/root/usr/lib/x86_64-linux-gnu/libcurl.so.4" \
    "$plain" "$tls" >seen
cat seen
diff - seen <<'WANTED'
without TLS, 16384 bytes: at once
without TLS, 20000 bytes: 150 ms or more
without TLS, 20000 bytes, a buffer of 100 KiB: at once
with TLS, 20000 bytes: at once
WANTED
