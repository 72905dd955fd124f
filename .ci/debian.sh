# The Debian 12 packages that kekd needs, and how to get them.  Sourced by quickstart.sh and check.sh.
# shellcheck shell=bash disable=SC2034

# To build and run it, with SoftHSM as the HSM.
packages_build=(
    build-essential autoconf automake autoconf-archive pkg-config
    protobuf-c-compiler libprotobuf-c-dev libnghttp2-dev libuv1-dev libssl-dev
    libp11-kit-dev libyaml-dev libjansson-dev libsmartcols-dev libcurl4-openssl-dev zlib1g-dev uthash-dev
    softhsm2
)
# For the test suite on top of that.
packages_check=(
    check clang clang-format curl mandoc openssl opensc procps systemd xz-utils zsh
    ca-certificates debhelper dpkg-dev fakeroot lintian prometheus rpm shellcheck
    python3 python3-grpcio python3-pip python3-venv etcd-server etcd-client nghttp2-client
    libnss3 libnss3-tools opencryptoki
    swtpm tpm2-abrmd libtss2-tcti-tabrmd0 libtpm2-pkcs11-1 libtpm2-pkcs11-tools dbus-daemon dbus-bin
)

# Prints those of its arguments that are not installed, one a line.
missing_packages() {
    local package
    for package in "$@"; do
        if [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" != installed ]; then
            printf '%s\n' "$package"
        fi
    done
}

# Installs what is missing of its arguments. Says on standard error what it does or why it cannot.
install_missing_packages() {
    if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
        printf 'This is not a Debian system. Going on, in the hope that the likes of these are here:\n  %s\n' \
            "$*" >&2
        return 0
    fi
    local -a missing as_root=()
    mapfile -t missing < <(missing_packages "$@")
    if [ ${#missing[@]} -eq 0 ]; then
        return 0
    fi
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null; then
            printf 'These packages are missing, and this is neither root nor is there sudo. As root, run:\n  apt-get install %s\n' \
                "${missing[*]}" >&2
            return 1
        fi
        as_root=(sudo)
    fi
    printf 'Installing %s\n' "${missing[*]}" >&2
    local -a quiet=(-o Dpkg::Use-Pty=0 -qq)
    if ! { "${as_root[@]}" apt-get "${quiet[@]}" update &&
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
            apt-get "${quiet[@]}" install -y --no-install-recommends "${missing[@]}"; } >&2; then
        printf 'apt-get could not install: %s\n' "${missing[*]}" >&2
        return 1
    fi
}
