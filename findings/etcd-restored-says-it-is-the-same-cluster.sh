#!/usr/bin/env bash
# etcd 3.4.23 (Debian 12: etcd-server and etcd-client 3.4.23-4+b4): nothing in an answer tells a restored etcd from the one before it.
#
# Each answer's header has cluster_id, member_id, revision and raft_term, so one would guess that a client which remembers them can
# tell an etcd that was restored from a snapshot: a cluster that is made anew should have a new id, or the revision at
# least be lower.  But the ids are hashes of the member's name, its peer URL and the initial cluster token.  A restore
# with the same three, as the ones of kubeadm and of every manual page do it, gives the same ids, and the term begins
# anew at the same number.  The revision is the snapshot's, which is lower; a few writes later it is not, and then
# everything that a client remembered fits a history that is not the one it saw.  (etcdutl 3.5's --bump-revision and
# --mark-compacted are for whoever restores; who reads afterwards sees nothing of it.)
#
# Seen:
#   before: revision 8, key b is there
#   restored: revision 4, the same cluster_id, member_id and raft_term, key b is gone
#   five writes later: revision 9, the same cluster_id, member_id and raft_term, key b is gone
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
apt-get -qq download etcd-server=3.4.23-4+b4 etcd-client=3.4.23-4+b4 >/dev/null 2>&1
for package in ./*.deb; do
    dpkg -x "$package" root
done

ports=$(python3 -c 'import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(s.getsockname()[1] for s in sockets))')
client=http://127.0.0.1:${ports% *}
peer=http://127.0.0.1:${ports#* }
ctl() { ETCDCTL_API=3 root/usr/bin/etcdctl --endpoints "$client" "$@"; }

start() {
    root/usr/bin/etcd --name one --data-dir "$1" --listen-client-urls "$client" --advertise-client-urls "$client" \
        --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" --initial-cluster "one=$peer" >>log 2>&1 &
    etcd=$!
    for _ in $(seq 100); do
        ctl endpoint health >/dev/null 2>&1 && return
        sleep 0.1
    done
    echo 'etcd does not come up' >&2
    exit 1
}

# What a client can see: the header of an answer to a read that needs the leader.
look() {
    ctl -w json get b | python3 -c '
import json, sys
answer = json.load(sys.stdin)
header = answer["header"]
ids = {name: header[name] for name in ("cluster_id", "member_id", "raft_term")}
try:
    with open("ids", encoding="ascii") as file:
        same = ", the same cluster_id, member_id and raft_term" if json.load(file) == ids else ", other ids or another term"
except FileNotFoundError:
    same = ""
    with open("ids", "w", encoding="ascii") as file:
        json.dump(ids, file)
there = "there" if answer.get("kvs") else "gone"
print("%s: revision %d%s, key b is %s" % (sys.argv[1], header["revision"], same, there))' "$1"
}

{
    start data
    for i in 1 2 3; do
        ctl put a "$i" >/dev/null
    done
    ctl snapshot save snapshot >/dev/null 2>&1
    for i in 1 2 3 4; do
        ctl put b "$i" >/dev/null
    done
    look before
    kill "$etcd"
    wait "$etcd" || true
    ctl snapshot restore snapshot --data-dir restored --name one --initial-cluster "one=$peer" \
        --initial-advertise-peer-urls "$peer" >/dev/null 2>&1
    start restored
    look restored
    for i in 1 2 3 4 5; do
        ctl put c "$i" >/dev/null
    done
    look 'five writes later'
} >seen
cat seen
diff - seen <<'WANTED'
before: revision 8, key b is there
restored: revision 4, the same cluster_id, member_id and raft_term, key b is gone
five writes later: revision 9, the same cluster_id, member_id and raft_term, key b is gone
WANTED
