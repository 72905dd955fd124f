#!/usr/bin/env bash
# etcd 3.4.23 (Debian 12: etcd-server 3.4.23-4+b4): a limit bounds what a Range answers, not what it costs.
#
# The index is a B-tree, so one would guess that `limit: 1` costs as much as one key, and that reading N keys page by
# page, each page from behind the last key to the end of the prefix, costs N.  But each answer also has `count`, the
# keys of the whole range whatever the limit, and no field of the request turns that off: etcd visits every key from the
# page's first to the range's end (3.4.23 even gathers all their revisions, and drops those above the limit).  Every page
# pays for all keys behind it, and a paged read costs the square of N.  A reader that knows a key not far behind can
# give that as range_end; otherwise pages have to be large.
#
# Known as etcd issues 11057 and 16510.  3.4.24 and 3.5 no longer gather the revisions (pull requests 15137 and 11990),
# but count as before; pull request 21618 of 2026 spares the new RangeStream the count, and leaves Range as it was.
#
# Seen, of 200,000 keys (24 ms, 0.5 ms and 0.5 ms, each the best of 15):
#   limit 1, first page, to the end of the prefix: 1 key, count 200000
#   limit 1, first page, to a key near by: 1 key, count 500
#   limit 1, last page, to the end of the prefix: 1 key, count 500
#   the first is more than 5 times as slow as each of the others
#
# Needs apt-get, dpkg and python3 on amd64; installs into a temporary folder, and fails if what is seen differs.
set -euo pipefail

folder=$(mktemp -d)
etcd=
finish() {
    if [ -n "$etcd" ]; then
        kill "$etcd" 2>/dev/null || true
        wait "$etcd" 2>/dev/null || true
    fi
    rm -rf "$folder"
}
trap finish EXIT
chmod 755 "$folder" # apt's own user looks into it
cd "$folder"
apt-get -qq download etcd-server=3.4.23-4+b4 >/dev/null 2>&1
dpkg -x ./*.deb root

# The peers' port may be any; the one for clients must be known.
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
root/usr/bin/etcd --data-dir data --max-txn-ops 5000 --listen-client-urls "http://127.0.0.1:$port" \
    --advertise-client-urls "http://127.0.0.1:$port" --listen-peer-urls http://127.0.0.1:0 >log 2>&1 &
etcd=$!

cat >ask.py <<'PYTHON'
import base64
import http.client
import json
import sys
import time

KEYS, NEAR, TRIES = 200000, 500, 15
END = "/registry/secrets0"  # "0" comes after "/"


def connect():
    for _ in range(100):
        connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=60)
        try:
            connection.request("GET", "/health")
            if json.load(connection.getresponse())["health"] == "true":
                return connection
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(0.1)
    sys.exit("etcd does not come up")


etcd = connect()


def ask(call, **body):
    etcd.request("POST", "/v3/kv/" + call, json.dumps(body))
    answer = etcd.getresponse()
    text = answer.read()
    assert answer.status == 200, text
    return json.loads(text)


def key(number):
    return "/registry/secrets/%06d" % number


def binary(text):
    return base64.b64encode(text.encode()).decode()


def page(what, begin, end):
    times = []
    for _ in range(TRIES):
        begun = time.perf_counter()
        answer = ask("range", key=binary(begin), range_end=binary(end), limit=1)
        times.append(time.perf_counter() - begun)
    print("limit 1, %s: %d key, count %s" % (what, len(answer["kvs"]), answer["count"]))
    print("%s: %.1f ms" % (what, min(times) * 1000), file=sys.stderr)
    return min(times)


for first in range(0, KEYS, 5000):
    ask("txn", success=[{"request_put": {"key": binary(key(i)), "value": binary("x" * 100)}}
                        for i in range(first, first + 5000)])
far = page("first page, to the end of the prefix", key(0), END)
near = page("first page, to a key near by", key(0), key(NEAR))
last = page("last page, to the end of the prefix", key(KEYS - NEAR), END)
print("the first is %s times as slow as each of the others"
      % ("more than 5" if far > 5 * max(near, last) else "less than 5"))
PYTHON

python3 ask.py "$port" >seen
cat seen
diff - seen <<'WANTED'
limit 1, first page, to the end of the prefix: 1 key, count 200000
limit 1, first page, to a key near by: 1 key, count 500
limit 1, last page, to the end of the prefix: 1 key, count 500
the first is more than 5 times as slow as each of the others
WANTED
