#!/usr/bin/env bash
# check.sh [--all] [--keep]
#
# On Debian 12, in one command: installs what is missing, then builds kekd and runs everything that can
# be checked by machine, on a copy of the sources in a folder of its own:
#
#   gcc build and test suite · clang build · suite under the address and undefined-behaviour sanitizers ·
#   make distcheck · quickstart.sh · clang-format · man pages · shellcheck
#
# Tests of one room alone run with both builds.  Of those that run whole programs each runs once: with the
# compiler's where it is about other programs or about what kekctl says, else under the sanitizers.
# --all runs with both whatever can, which takes half as long again.
#
# No warning of either compiler is let through.  It ends with one line, "N passed, N failed, N skipped",
# which counts the results of every test in every configuration and every other phase that failed.
# Exits with 1 if anything failed.  --keep leaves the folder with all logs and says where.
set -euo pipefail

source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
jobs=$(nproc)
test_jobs=$((jobs * 3)) # a test waits more than it computes
sanitized_jobs=$((jobs * 2)) # and computes more under the sanitizers
work=
keep=false
failed_phases=0 # that have no failed test of their own to count
phase_pid=
has_go=false
# shellcheck source=.ci/debian.sh
. "$source_dir/.ci/debian.sh"
# shellcheck source=.ci/openbao.sh
. "$source_dir/.ci/openbao.sh"

GO_WANTED=24 # go 1.N, what the Kubernetes libraries ask for

# LeakSanitizer ends a program in the sandbox of an installed unit.  What runs beside API servers or follows a page takes
# minutes, and the programs do nothing there that shorter tests have not had them do.
never_sanitized='^tests/((bench|cloud|kube|monitoring|packages)/|interop/test_(apiserver|destroy_page|disaster|encryption|install|reencrypt_cluster|roots_openbao))'
# Of the others, where one build is enough.  What both expressions meet runs with the compiler's.
compiled_alone='^tests/(conformance/|interop/test_(audit_(join|mac)|changes|conformance|cost|destroy|doctor|etcd|inventory|report|rotate)|unit/test_(circles|completion|failure_modes|layers|pages|without_bridge))'
sanitized_alone='^tests/(chaos/|interop/test_(adopt|audit|badinput|canary|config|fault|lifecycle|log|nodes|oom|providers|recovery|roots|rotation|roundtrip|schedules|separation|states|status|swap|token|transit|verdict|views|wire|workers|wrong_token)|unit/test_(kekctl|pkcs11_returns|reencrypt))'

die() {
    printf 'check.sh: %s\n' "$1" >&2
    exit "${2:-1}"
}

clean_up() {
    local status=$?
    trap - EXIT
    if [ -n "$phase_pid" ]; then
        kill -TERM "$phase_pid" 2>/dev/null || true # timeout hands it on to the whole phase
        wait "$phase_pid" || true
    fi
    if [ -n "$work" ]; then
        if $keep; then
            printf 'Everything is in %s\n' "$work" >&2
        else
            chmod -R u+w "$work" 2>/dev/null || true # distcheck makes its sources read-only
            rm -rf "$work"
        fi
    fi
    exit "$status"
}

# -- results -----------------------------------------------------------------------------------------

# Test results of the kinds given (PASS|XFAIL) in the folders given, from automake's .trs files.
count_results() {
    local kinds=$1
    shift
    { find "$@" -name '*.trs' -exec grep -hE "^:test-result: ($kinds)( |\$)" {} + || true; } | wc -l
}

# phase NAME SECONDS FUNCTION: one line for it on the terminal, its output in a log.
phase() {
    local name=$1 limit=$2 function=$3 log=$work/$1.log began=$SECONDS status=0
    printf '%-12s ' "$name"
    # A bash of its own, so that one limit holds for all of it; in the background, so that Ctrl-C is
    # heard at once.
    timeout --kill-after=10 "$limit" bash -euo pipefail -c "$function" >"$log" 2>&1 </dev/null &
    phase_pid=$!
    wait "$phase_pid" || status=$?
    phase_pid=
    if [ "$status" -eq 0 ]; then
        printf 'ok      %4d s\n' $((SECONDS - began))
        return 0
    fi
    printf 'FAILED  %4d s\n' $((SECONDS - began))
    if [ "$status" -eq 124 ] || [ "$status" -eq 137 ]; then
        printf 'It did not end within %d s.\n' "$limit" >>"$log"
    fi
    if [ ! -d "$work/$name" ] || [ "$(count_results 'FAIL|XPASS|ERROR' "$work/$name")" -eq 0 ]; then
        failed_phases=$((failed_phases + 1))
    fi
    show_failure "$name" "$log"
}

show_failure() {
    local name=$1 log=$2 suite
    {
        printf -- '--- the end of %s\n' "$log"
        tail -n 60 "$log"
        # distcheck has its own, further down.
        find "$work/$name" -name test-suite.log 2>/dev/null | while read -r suite; do
            printf -- '--- the end of %s\n' "$suite"
            tail -n 200 "$suite"
        done || true # a phase without a folder of its own has none
        printf -- '---\n'
    } >&2
}

# -- phases, each in a bash of its own -----------------------------------------------------------------

phase_prepare() {
    cd "$work/source"
    autoreconf -fi
}

# Go compiles Kubernetes' code once for a machine, which takes minutes: not beside tests, whose calls have deadlines.
phase_go() {
    local module
    for module in kube kube/oldgrpc monitoring/schema; do
        cd "$work/source/tests/$module"
        GOTOOLCHAIN=local GOFLAGS=-mod=readonly go list -export -deps -test ./... >/dev/null ||
            echo "tests/$module: not compiled; its tests say what is missing"
    done
}

configure_in() {
    mkdir -p "$work/$1"
    cd "$work/$1"
    shift
    "$work/source/configure" -q "$@"
}

all_tests() {
    # shellcheck disable=SC2016 # make expands it
    printf 'include Makefile\nkek-list-tests:\n\t@echo $(TESTS)\n' | make -s -f - kek-list-tests | tr ' ' '\n'
}

# Every test but those that the regular expression matches, and those that the second matches in any case.
tests_without() {
    all_tests | without=$1 with=${2:-^$} awk '$0 !~ ENVIRON["without"] || $0 ~ ENVIRON["with"]' | tr '\n' ' '
}

phase_gcc() {
    configure_in gcc CC=gcc --enable-werror
    make -j"$jobs"
    make -j"$test_jobs" check TESTS="$(tests_without "$sanitized_alone" "$never_sanitized|$compiled_alone")"
}

phase_clang() {
    configure_in clang CC=clang --enable-werror
    make -k -j"$jobs"
    make -k -j"$jobs" check TESTS= # builds the tests, runs none
}

phase_sanitizers() {
    configure_in sanitizers CC=gcc CFLAGS='-O1 -g' --enable-werror --enable-sanitizers
    make -j"$jobs"
    make -j"$sanitized_jobs" check TESTS="$(tests_without "$never_sanitized|$compiled_alone")"
}

# What comes out of the tarball builds, installs and tests.  Every test has run by now: here run three of a whole kekd, and
# of the others it is enough that the tarball holds every file.
phase_distcheck() {
    configure_in distcheck CC=gcc
    make -j"$test_jobs" distcheck DISTCHECK_CONFIGURE_FLAGS=--enable-werror \
        TESTS='tests/interop/test_badinput.py tests/interop/test_recovery.py tests/interop/test_roundtrip.py'
    tar -tf kekd-*.tar.xz | sed 's,^[^/]*/,,' | sort >in-tarball
    (cd "$work/source" && find debian deploy docs include packages proto softhsm-conf src tests -type f \
        ! -path '*/__pycache__/*') | sort >in-source
    [ -z "$(comm -13 in-tarball in-source | tee /dev/stderr)" ]
}

# As in a fresh clone.
phase_quickstart() {
    cp -a "$work/source" "$work/quickstart"
    cd "$work/quickstart"
    rm -f configure
    mkdir "$work/quickstart.tmp"
    TMPDIR=$work/quickstart.tmp ./quickstart.sh --once
    [ -z "$(ls -A "$work/quickstart.tmp")" ] # it leaves nothing behind but build/
    [ ! -e quickstart-data ]
}

phase_format() {
    cd "$work/source"
    find include src tests -name '*.[ch]' -exec clang-format --dry-run --Werror {} +
}

phase_manuals() {
    local -a pages
    cd "$work/source"
    mapfile -t pages < <(find docs -name '*.[1-8]')
    if [ ${#pages[@]} -eq 0 ]; then
        echo 'no man page found'
        return 1
    fi
    mandoc -T lint -W warning "${pages[@]}"
}

# Every shell script by its first line, and what is sourced.
phase_scripts() {
    local -a scripts
    cd "$work/source"
    mapfile -t scripts < <(grep -rlEm1 '^#!.*[/ ](ba)?sh( |$)' . --include='*.sh' --include='*.in' --include='kekd.p*' --include=run)
    [ ${#scripts[@]} -ge 20 ]
    shellcheck --severity=warning --external-sources "${scripts[@]}" .ci/*.sh
}

# -- before the phases ---------------------------------------------------------------------------------

# What git knows or would know, else all but what a build leaves: never a built file.
copy_sources() {
    mkdir "$work/source"
    if git -C "$source_dir" rev-parse --is-inside-work-tree >/dev/null 2>&1; then
        (cd "$source_dir" && git ls-files -z --cached --others --exclude-standard |
            tar --null --no-recursion --ignore-failed-read -T - -cf -) 2>/dev/null |
            tar -xf - -C "$work/source"
    else
        tar -C "$source_dir" --exclude=./.git --exclude='./build*' --exclude=./quickstart-data \
            --exclude=./config.status --exclude='*.trs' -cf - . |
            tar -xf - -C "$work/source"
    fi
}

go_is_recent() {
    local minor
    minor=$("$1" env GOVERSION 2>/dev/null | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
    [ -n "$minor" ] && [ "$minor" -ge "$GO_WANTED" ]
}

# Puts a recent enough go into PATH if the machine has one, or in CI if apt knows one.
find_go() {
    local dir version
    for dir in $(command -v go | xargs -r dirname) /usr/local/go/bin /usr/lib/go-1.*/bin; do
        if [ -x "$dir/go" ] && go_is_recent "$dir/go"; then
            PATH=$dir:$PATH
            has_go=true
            return 0
        fi
    done
    if [ "${CI:-}" = true ] && command -v apt-cache >/dev/null; then
        for version in 1.26 1.25 1.24; do
            if apt-cache show "golang-$version-go" >/dev/null 2>&1 &&
                install_missing_packages "golang-$version-go"; then
                PATH=/usr/lib/go-$version/bin:$PATH
                has_go=true
                return 0
            fi
        done
    fi
    printf '\n*** NO GO 1.%d OR LATER HERE: the tests with the Kubernetes client code are SKIPPED. ***\n\n' \
        "$GO_WANTED"
}

# Node for the stand-ins of cloud services; in CI from Debian, where the machine has none.
find_node() {
    if command -v node >/dev/null && command -v npm >/dev/null; then
        return 0
    fi
    if [ "${CI:-}" = true ] && install_missing_packages nodejs npm; then
        return 0
    fi
    printf '\n*** NO NODE AND NPM HERE: the tests of the cloud workers are SKIPPED. ***\n\n'
}

for argument; do
    case $argument in
    --all) compiled_alone='^$' sanitized_alone='^$' ;;
    --keep) keep=true ;;
    -h | --help)
        sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
        exit 0
        ;;
    *) die "unknown argument '$argument' (try --help)" 2 ;;
    esac
done
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
install_missing_packages "${packages_build[@]}" "${packages_check[@]}" || die 'packages are missing'
find_go
find_node
work=$(mktemp -d "${TMPDIR:-/tmp}/kekd-check.XXXXXX")
chmod 755 "$work" # some tests run what is built here as another user
find_openbao "$work/openbao"
copy_sources
export KEK_CLOUD_PARTS=$work/cloud-parts # one for all builds
export work jobs test_jobs sanitized_jobs never_sanitized compiled_alone sanitized_alone
export -f configure_in all_tests tests_without phase_prepare phase_go phase_gcc phase_clang phase_sanitizers \
    phase_distcheck phase_quickstart phase_format phase_manuals phase_scripts

phase prepare 300 phase_prepare
[ "$failed_phases" -eq 0 ] || die 'autoreconf failed'
if $has_go; then
    phase go 1800 phase_go
fi
# Only what hangs is to be ended: a machine that is shared may take several times as long as usual.
phase gcc 3000 phase_gcc
phase clang 1200 phase_clang
phase sanitizers 3000 phase_sanitizers
phase distcheck 2400 phase_distcheck
phase quickstart 1200 phase_quickstart
phase format 60 phase_format
phase manuals 60 phase_manuals
phase scripts 120 phase_scripts

passed=$(count_results 'PASS|XFAIL' "$work")
failed=$(($(count_results 'FAIL|XPASS|ERROR' "$work") + failed_phases))
skipped=$(count_results 'SKIP' "$work")
if [ "$passed" -eq 0 ]; then
    die "not one test has passed ($failed failed)"
fi
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" -eq 0 ]
