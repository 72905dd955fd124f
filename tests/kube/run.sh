#!/bin/sh
# Kubernetes' own code as kekd's client; README.md in tests/ says what it covers.
#
# Needs Go >= 1.24, etcd, and the modules that go.sum names: from Go's module cache, or fetched as this
# machine's Go is set up to.  Without one of these it skips (exit 77) and says so; with
# KEKD_REQUIRE_KUBE=1 in the environment that is a failure.
set -eu

skip() {
    printf 'SKIP: %s: Kubernetes client tests did not run\n' "$1"
    if [ "${KEKD_REQUIRE_KUBE:-0}" = 1 ]; then
        exit 1
    fi
    exit 77
}

: "${abs_top_builddir:=$(pwd)}"
: "${abs_top_srcdir:=$(cd "$(dirname "$0")/../.." && pwd)}"
export abs_top_builddir abs_top_srcdir

go=${GO:-$(command -v go || true)}
[ -n "$go" ] || skip 'Go >= 1.24 not found'
version=$("$go" env GOVERSION)
version=${version#go}
major=${version%%.*}
minor=${version#*.}
minor=${minor%%[!0-9]*}
if [ "$major" -lt 1 ] || { [ "$major" -eq 1 ] && [ "$minor" -lt 24 ]; }; then
    skip "Go >= 1.24 not found (only $version)"
fi
command -v etcd >/dev/null || skip 'etcd not found'

# The module files are as they are: nothing may be written into the sources.
GOFLAGS="${GOFLAGS:-} -mod=readonly"
GOTOOLCHAIN=local
export GOFLAGS GOTOOLCHAIN

lock=$abs_top_builddir/tests/kube/go.lock
mkdir -p "${lock%/*}"
failed=0
for module in . oldgrpc; do
    cd "$abs_top_srcdir/tests/kube/$module"
    # Only what the tests import; -test resolves it all without building.
    if ! "$go" list -deps -test ./... >/dev/null 2>&1; then
        "$go" list -deps -test ./... 2>&1 >/dev/null | tail -n 5
        skip "the Go modules of tests/kube/$module cannot be had"
    fi
    # Other tests that build here do so before or after, not the same at once.
    flock "$lock" "$go" list -export -deps -test ./... >/dev/null
    "$go" test -count=1 -timeout 540s ${KEKD_KUBE_FLAGS:-} ./... || failed=1
done
exit $failed
