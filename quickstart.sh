#!/usr/bin/env bash
# quickstart.sh [--once | --data DIR]
#
# On Debian 12, in one command: installs what is missing, builds kekd in build/, makes a SoftHSM token
# with a KEK on it, runs kekd, proves a KMS v2 round trip through its socket, prints the
# EncryptionConfiguration to paste, and leaves kekd serving until Ctrl-C.
#
#   --once      prove it on a folder of its own, stop, leave nothing behind but build/, and exit 0
#   --data DIR  the private folder for token, configuration, state and socket
#               (default: quickstart-data beside this script; it is used again the next time)
set -euo pipefail

source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
build_dir=$source_dir/build
data_dir=
once=false
scratch_dir=
kekd_pid=
# shellcheck source=.ci/debian.sh
. "$source_dir/.ci/debian.sh"

say() { printf '\n== %s\n' "$1"; }

die() {
    printf '\nquickstart.sh: %s\n' "$1" >&2
    exit "${2:-1}"
}

# Runs a command with its output in a log; on failure shows the log's end and gives up.
logged() {
    local log=$1 what=$2
    shift 2
    if ! "$@" >"$log" 2>&1; then
        tail -n 30 "$log" >&2
        die "$what failed; all of its output is in $log"
    fi
}

# Runs kekctl; what it says on standard error is shown only if it fails.
kekctl() {
    if ! "$build_dir/kekctl" "$@" 2>"$data_dir/kekctl.err"; then
        cat "$data_dir/kekctl.err" >&2
        return 1
    fi
}

stop_kekd() {
    [ -n "$kekd_pid" ] || return 0
    local pid=$kekd_pid
    kekd_pid=
    kill -TERM "$pid" 2>/dev/null || true
    wait "$pid" || true
}

clean_up() {
    local status=$?
    trap - EXIT
    stop_kekd
    if [ -n "$scratch_dir" ]; then
        rm -rf "$scratch_dir"
    fi
    exit "$status"
}

parse_arguments() {
    while [ $# -gt 0 ]; do
        case $1 in
        --once) once=true ;;
        --data)
            [ $# -ge 2 ] || die '--data needs a folder' 2
            data_dir=$(mkdir -p "$2" && cd "$2" && pwd -P) || die "cannot use the folder $2"
            shift
            ;;
        -h | --help)
            sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
            exit 0
            ;;
        *) die "unknown argument '$1' (try --help)" 2 ;;
        esac
        shift
    done
    if $once && [ -n "$data_dir" ]; then
        die '--once has a folder of its own: it takes no --data' 2
    fi
    data_dir=${data_dir:-$source_dir/quickstart-data}
    if $once; then
        scratch_dir=$(mktemp -d "${TMPDIR:-/tmp}/kekd-quickstart.XXXXXX")
        data_dir=$scratch_dir
    fi
    case $source_dir$data_dir in
    *[!A-Za-z0-9._/+,=@~-]*)
        die "the folders ($source_dir, $data_dir) may hold letters, digits and . _ / + , = @ ~ - only" ;;
    esac
}

build() {
    say 'Building kekd'
    mkdir -p "$build_dir"
    if [ ! -x "$source_dir/configure" ] || [ "$source_dir/configure.ac" -nt "$source_dir/configure" ]; then
        (cd "$source_dir" && logged "$build_dir/autoreconf.log" autoreconf autoreconf -fi)
    fi
    cd "$build_dir"
    if [ ! -f Makefile ]; then
        logged "$build_dir/configure.log" configure "$source_dir/configure"
    fi
    logged "$build_dir/make.log" make make -j"$(nproc)"
    cd "$source_dir"
}

make_token() {
    if [ -r "$data_dir/token.uri" ]; then
        say "Using the SoftHSM token of $data_dir"
        return 0
    fi
    say 'Making a SoftHSM token'
    rm -rf "$data_dir/token" # one that was left half made
    "$source_dir/softhsm-conf/make-token.sh" "$data_dir/token" kek-quickstart >"$data_dir/token.lines"
    sed -n 's/^URI=//p' "$data_dir/token.lines" >"$data_dir/token.uri"
    rm "$data_dir/token.lines"
}

write_config() {
    socket=$data_dir/kms.sock
    config=$data_dir/kekd.yaml
    audit=$data_dir/audit.jsonl
    # sockaddr_un has 108 bytes for the path.
    local remedy='--data DIR'
    ! $once || remedy='TMPDIR=DIR'
    [ ${#socket} -lt 108 ] || die "the socket's path is too long; choose a shorter folder: $remedy"
    if "$build_dir/kekctl" kms status --socket "$socket" >/dev/null 2>&1; then
        die "a kekd is serving on $socket already"
    fi
    mkdir -p "$data_dir/state"
    cat >"$config" <<CONFIG
# Written by quickstart.sh each time; kekctl config example shows every setting.
listen: unix://$socket
keyring: quickstart
context: quickstart
state_dir: $data_dir/state
providers:
  - name: softhsm
    type: pkcs11
    uri: "$(cat "$data_dir/token.uri")"
    env: {SOFTHSM2_CONF: "$data_dir/token/softhsm2.conf"}
audit:
  file: $audit
CONFIG
    kekctl config check --config "$config" >/dev/null || die "kekctl refuses $config"
}

make_key() {
    local keys
    keys=$(kekctl --config "$config" --output json key list) ||
        die 'kekctl cannot list the keys on the token'
    if ! printf '%s' "$keys" | grep -q 'quickstart\.v1'; then
        say 'Generating the KEK on the token'
        kekctl --config "$config" key generate >/dev/null || die 'kekctl cannot generate a key'
    fi
    kekctl --config "$config" key list
}

start_kekd() {
    say 'Starting kekd'
    local log=$data_dir/kekd.log tries
    "$build_dir/kekd" --config "$config" 2>"$log" &
    kekd_pid=$!
    for ((tries = 0; tries < 300; tries++)); do
        if ! kill -0 "$kekd_pid" 2>/dev/null; then
            kekd_pid=
            tail -n 20 "$log" >&2
            die 'kekd did not start'
        fi
        if kekctl kms status --socket "$socket" 2>/dev/null; then
            return 0
        fi
        sleep 0.1
    done
    cat "$data_dir/kekctl.err" "$log" >&2
    die 'kekd gave no good Status in 30 s'
}

prove() {
    say 'A KMS v2 round trip through the socket'
    local plain=$data_dir/plain sealed=$data_dir/sealed back=$data_dir/back
    printf 'a secret of %s' "$(date -u +%FT%TZ)" >"$plain"
    kekctl kms encrypt --socket "$socket" <"$plain" >"$sealed" || die 'Encrypt failed'
    kekctl kms decrypt --socket "$socket" <"$sealed" >"$back" || die 'Decrypt failed'
    cmp "$plain" "$back" || die 'what came back is not what went in'
    if grep -qF "$(cat "$plain")" "$sealed"; then
        die 'the ciphertext holds the plaintext'
    fi
    printf '%s bytes in, %s bytes sealed, the same %s bytes back\n' \
        "$(wc -c <"$plain")" "$(wc -c <"$sealed")" "$(wc -c <"$back")"
    rm -f "$plain" "$sealed" "$back" "$data_dir/kekctl.err"
}

show_audit() {
    say 'Who used which key is in the audit log; its chain as kekctl audit verify reads it'
    if ! kekctl audit verify "$audit"; then
        ! $once || die 'the audit log is not as it was written'
        say 'Of an earlier run, and no harm here: to begin anew, remove the folder of --data'
    fi
    rm -f "$data_dir/kekctl.err"
}

show_config() {
    say 'For kube-apiserver: --encryption-provider-config=FILE, with this in FILE (a cluster that has Secrets: docs/encryption.md)'
    cat <<CONFIG

apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
  - resources: [secrets]
    providers:
      - kms:
          apiVersion: v2
          name: kekd
          endpoint: unix://$socket
          timeout: 3s
      - identity: {}
CONFIG
}

trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
parse_arguments "$@"
install_missing_packages "${packages_build[@]}" || die 'packages are missing'
build
umask 077
mkdir -p "$data_dir"
chmod 0700 "$data_dir"
make_token
write_config
make_key
start_kekd
prove
show_audit
show_config
if $once; then
    stop_kekd
    say 'It works.'
    exit 0
fi
say "kekd is serving on $socket; Ctrl-C stops it. Its log: $data_dir/kekd.log
   From another terminal: $build_dir/kekctl --config $config key list
   Each call, login and change: $audit"
status=0
wait "$kekd_pid" || status=$?
kekd_pid=
tail -n 5 "$data_dir/kekd.log" >&2
die "kekd left with $status"
