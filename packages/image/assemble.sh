#!/bin/sh
# assemble.sh STAGED ROOT [MODULE...]: the root of an image in the folder ROOT, with no shell in it: the programs that
# `make install DESTDIR=STAGED` has put there, each PKCS#11 MODULE of this system at its own path, the libraries that all
# of these name, and what they look for while they run.
set -eu

staged=$1 root=$2
shift 2
UID_OF_KEKD=65532 # kekd's user in the image; the folders on the node are its, too

# put FILE: this system's file at the same path, itself where the path is a link. A library is looked for by the path that
# ldd says, so its folder's links do not matter.
put()
{
    mkdir -p "$root${1%/*}"
    cp -L "$1" "$root$1"
}

# libraries_of FILE: the paths of what it names, and of what those name; of the loader, too.
libraries_of()
{
    ldd "$1" | sed -n 's/.* => \(\/[^ ]*\) .*/\1/p; s/^[[:space:]]*\(\/[^ ]*\) .*/\1/p'
}

mkdir -p "$root"
# All programs but the script that restarts a unit.
find "$staged" -type f -perm -100 ! -name restart-if-well | while read -r program; do
    mkdir -p "$(dirname "$root${program#"$staged"}")"
    cp "$program" "$root${program#"$staged"}"
    libraries_of "$program"
done >"$root.libraries"
for module in "$@"; do
    put "$module"
    libraries_of "$module" >>"$root.libraries"
done
# OpenSSL loads these by itself, where a module or a configuration asks for an algorithm of theirs.
for module in "$(openssl version -m | sed 's/^MODULESDIR: "\(.*\)"$/\1/')"/*.so; do
    put "$module"
    libraries_of "$module" >>"$root.libraries"
done
sort -u "$root.libraries" | while read -r library; do
    put "$library"
done
rm "$root.libraries"

# Users and addresses by files and DNS: the C library has both in itself. Whom the workers over HTTPS trust.
mkdir -p "$root/etc/kekd" "$root/etc/ssl/certs" "$root/dev" "$root/proc" "$root/run/kekd" "$root/sys" \
    "$root/tmp" "$root/var/lib/kekd" "$root/var/log/kekd"
printf 'root:x:0:0::/:/nologin\nkekd:x:%d:%d::/var/lib/kekd:/nologin\n' $UID_OF_KEKD $UID_OF_KEKD >"$root/etc/passwd"
printf 'root:x:0:\nkekd:x:%d:\n' $UID_OF_KEKD >"$root/etc/group"
printf 'passwd: files\ngroup: files\nhosts: files dns\n' >"$root/etc/nsswitch.conf"
cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
chmod -R u=rwX,go=rX "$root"
chmod 1777 "$root/tmp"
