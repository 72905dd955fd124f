#!/bin/sh
# build.sh FOLDER: the programs of a real Kubernetes control plane, out of the Go module k8s.io/kubernetes.
#
# FOLDER then has kube-apiserver and kube-controller-manager of the version that kubernetes/go.mod names.  What is
# there already is kept.  It takes Go >= 1.26, 3 GB of disk for modules and cache, and six minutes on two idle cores.
set -eu

folder=${1:?a folder for the programs}
here=$(cd "$(dirname "$0")" && pwd)
module=$here/kubernetes
go=${GO:-$(command -v go || echo /usr/local/go/bin/go)}
version=$(sed -n 's|.*[[:space:]]k8s.io/kubernetes \(v[0-9.]*\).*|\1|p' "$module/go.mod")
mkdir -p "$folder"

if [ "$(cat "$folder/version" 2>/dev/null)" = "$version" ]; then
    exit 0
fi
minor=${version#v1.}
stamp=k8s.io/component-base/version
cd "$module"
GOFLAGS="${GOFLAGS:-} -mod=readonly" "$go" build \
    -ldflags "-s -w -X $stamp.gitVersion=$version -X $stamp.gitMajor=1 -X $stamp.gitMinor=${minor%%.*}" \
    -o "$folder/" k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kube-controller-manager
printf '%s\n' "$version" >"$folder/version"
