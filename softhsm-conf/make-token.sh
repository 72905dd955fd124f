#!/bin/sh
# make-token.sh DIR [LABEL]: a throw-away SoftHSM token in DIR, for tests and the quick start.
#
# Makes DIR/softhsm2.conf, DIR/tokens/ and DIR/pin (mode 0600, a random PIN) and prints exactly two
# lines: the environment that SoftHSM needs, and the token's RFC 7512 URI.  Never for a key that
# matters: the token is a folder of files, and softhsm2-util takes PINs only as arguments.
set -eu
umask 077

die() {
    printf 'make-token.sh: %s\n' "$1" >&2
    exit "${2:-1}"
}

usage='usage: make-token.sh DIR [LABEL]'
case ${1:-} in
-h | --help)
    printf '%s\n' "$usage"
    exit 0
    ;;
-*) die "$usage" 2 ;;
esac
{ [ $# -eq 1 ] || [ $# -eq 2 ]; } || die "$usage" 2
dir=$1
label=${2:-kek-test}
case $label in
'' | *[!A-Za-z0-9._-]*) die "LABEL may hold letters, digits, dot, dash and underscore: '$label'" 2 ;;
esac
[ ${#label} -le 32 ] || die "LABEL is longer than the 32 bytes a token has for it: '$label'" 2

module=/usr/lib/softhsm/libsofthsm2.so
[ -e "$module" ] || die "$module is missing: install softhsm2"
command -v softhsm2-util >/dev/null || die 'softhsm2-util is missing: install softhsm2'
template=$(dirname "$0")/softhsm2.conf.in
[ -r "$template" ] || die "cannot read $template"

mkdir -p "$dir"
dir=$(cd "$dir" && pwd -P)
case $dir in
*[!A-Za-z0-9._/+,=@~-]*) die "DIR has characters that a configuration file or URI would quote: '$dir'" 2 ;;
esac
[ ! -e "$dir/tokens" ] || die "$dir/tokens exists already"
mkdir "$dir/tokens"
sed "s|@DIR@|$dir|" "$template" >"$dir/softhsm2.conf"

random() {
    od -An -v -N8 -tx1 /dev/urandom | tr -d ' \n'
}
pin=$(random)
printf '%s' "$pin" >"$dir/pin"

SOFTHSM2_CONF=$dir/softhsm2.conf
export SOFTHSM2_CONF
softhsm2-util --init-token --free --label "$label" --so-pin "$(random)" --pin "$pin" \
    >"$dir/init.log" 2>&1 || {
    cat "$dir/init.log" >&2
    die 'softhsm2-util could not make the token'
}
rm -f "$dir/init.log"

printf 'SOFTHSM2_CONF=%s/softhsm2.conf\n' "$dir"
printf 'URI=pkcs11:token=%s?module-path=%s&pin-source=file:%s/pin\n' "$label" "$module" "$dir"
