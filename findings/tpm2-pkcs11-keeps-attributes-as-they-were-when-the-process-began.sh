#!/usr/bin/env bash
# tpm2-pkcs11 1.9.0 (Debian 12: libtpm2-pkcs11-1 1.9.0-0.1+deb12u1, over swtpm 0.7.1): a changed attribute is never seen by a
# process that runs already.
#
# The store is one SQLite file that all processes share, and C_SetAttributeValue has written it when it returns CKR_OK, so
# one would guess that every process sees the change at its next C_GetAttributeValue, or at the latest in a new
# session with a new search; SoftHSM, openCryptoki and NSS do so.  tpm2-pkcs11 reads the store once, at C_Initialize.
# A process that took CKA_ENCRYPT or CKA_WRAP away from a key, or gave it another CKA_LABEL, has changed nothing for those
# that run: they have to call C_Finalize and C_Initialize, or be started anew.  Shown with CKA_LABEL of a public key,
# which needs no login, so that two processes can do without a resource manager before the TPM.
#
# Seen:
#   C_SetAttributeValue of CKA_LABEL in another process: CKR_OK, it reads 'new'
#   a process that ran before: 'old'
#   the same, in a new session: 'old'
#   the same, after C_Finalize and C_Initialize: 'new'
#
# Needs apt-get, dpkg and python3 on amd64; installs into a temporary folder, and fails if what is seen differs.
set -euo pipefail

folder=$(mktemp -d)
tpm=
finish() {
    if [ -n "$tpm" ]; then
        kill "$tpm" 2>/dev/null || true
        wait "$tpm" 2>/dev/null || true
    fi
    rm -rf "$folder"
}
trap finish EXIT
chmod 755 "$folder" # apt's own user looks into it
cd "$folder"
apt-get -qq download libtpm2-pkcs11-1=1.9.0-0.1+deb12u1 libtss2-esys-3.0.2-0=3.2.1-3 libtss2-mu0=3.2.1-3 \
    libtss2-tctildr0=3.2.1-3 libtss2-rc0=3.2.1-3 libtss2-sys1=3.2.1-3 libtss2-tcti-swtpm0=3.2.1-3 \
    swtpm=0.7.1-1.3 swtpm-libs=0.7.1-1.3 libtpms0=0.9.2-3.1+deb12u1 libseccomp2=2.5.4-1+deb12u1 \
    libsqlite3-0=3.40.1-2+deb12u2 libyaml-0-2=0.2.5-1 >/dev/null 2>&1
for package in ./*.deb; do
    dpkg -x "$package" root
done
libraries=$folder/root/usr/lib/x86_64-linux-gnu
export LD_LIBRARY_PATH=$libraries:$folder/root/lib/x86_64-linux-gnu:$libraries/swtpm
mkdir state store

# swtpm's control channel is at the port after its own.
port=$(python3 -c '
import socket
while True:
    with socket.socket() as one, socket.socket() as next_one:
        one.bind(("127.0.0.1", 0))
        try:
            next_one.bind(("127.0.0.1", one.getsockname()[1] + 1))
        except OSError:
            continue
        print(one.getsockname()[1])
        break')
root/usr/bin/swtpm socket --tpm2 --tpmstate dir=state --server "type=tcp,bindaddr=127.0.0.1,port=$port" \
    --ctrl "type=tcp,bindaddr=127.0.0.1,port=$((port + 1))" --flags not-need-init,startup-clear --pid file=pid &
tpm=$!
for _ in $(seq 100); do
    [ -s pid ] && break
    sleep 0.1
done
export TPM2_PKCS11_STORE=$folder/store TSS2_LOG=all+NONE TPM2_PKCS11_TCTI=swtpm:host=127.0.0.1,port=$port

cat >ask.py <<'PYTHON'
import ctypes
import os
import subprocess
import sys

U = ctypes.c_ulong
module = ctypes.CDLL(sys.argv[1])


class Attribute(ctypes.Structure):
    _fields_ = [("type", U), ("value", ctypes.c_void_p), ("length", U)]


class Mechanism(ctypes.Structure):
    _fields_ = [("type", U), ("parameter", ctypes.c_void_p), ("length", U)]


def template(*attributes):
    return (Attribute * len(attributes))(*(
        Attribute(kind, ctypes.cast(ctypes.pointer(value), ctypes.c_void_p), ctypes.sizeof(value))
        for kind, value in attributes)), U(len(attributes))


def text(value):
    return (ctypes.c_char * len(value))(*value)


# The table of PKCS#11 2.40: a version, padded to the size of a pointer, then the functions in their order.
PLACES = {"C_Initialize": 1, "C_Finalize": 2, "C_GetSlotList": 5, "C_InitToken": 10, "C_InitPIN": 11, "C_OpenSession": 13,
          "C_CloseSession": 14, "C_Login": 19, "C_Logout": 20, "C_GetAttributeValue": 25, "C_SetAttributeValue": 26,
          "C_FindObjectsInit": 27, "C_FindObjects": 28, "C_FindObjectsFinal": 29, "C_GenerateKeyPair": 60}
CKU_SO, CKU_USER, CKF_RW_SERIAL = U(0), U(1), U(6)
CKA_CLASS, CKA_TOKEN, CKA_LABEL, CKA_EC_PARAMS, CKO_PUBLIC_KEY = 0, 1, 3, 0x180, U(2)
YES = ctypes.c_ubyte(1)
PRIME256V1 = bytes.fromhex("06082a8648ce3d030107")
table = ctypes.POINTER(ctypes.c_void_p)()
assert module.C_GetFunctionList(ctypes.byref(table)) == 0


def call(function, *arguments):
    code = ctypes.CFUNCTYPE(U)(table[PLACES[function]])(*arguments)
    assert code == 0, (function, hex(code))


def session():
    slots, count, handle = (U * 8)(), U(8), U()
    call("C_GetSlotList", ctypes.c_ubyte(0), slots, ctypes.byref(count))
    call("C_OpenSession", U(slots[0]), CKF_RW_SERIAL, None, None, ctypes.byref(handle))
    return handle


def find(handle):
    key, count = U(), U()
    call("C_FindObjectsInit", handle, *template((CKA_CLASS, CKO_PUBLIC_KEY)))
    call("C_FindObjects", handle, ctypes.byref(key), U(1), ctypes.byref(count))
    call("C_FindObjectsFinal", handle)
    assert count.value == 1
    return key


def label(handle):
    value = (ctypes.c_char * 64)()
    attributes, count = template((CKA_LABEL, value))
    call("C_GetAttributeValue", handle, find(handle), attributes, count)
    return repr(value.raw[:attributes[0].length].decode())


def make():
    slots, count, one, other = (U * 8)(), U(8), U(), U()
    call("C_GetSlotList", ctypes.c_ubyte(0), slots, ctypes.byref(count))
    call("C_InitToken", U(slots[0]), b"sopin", U(5), b"token".ljust(32))
    handle = session()
    call("C_Login", handle, CKU_SO, b"sopin", U(5))
    call("C_InitPIN", handle, b"userpin", U(7))
    call("C_Logout", handle)
    call("C_Login", handle, CKU_USER, b"userpin", U(7))
    call("C_GenerateKeyPair", handle, ctypes.byref(Mechanism(0x1040, None, 0)),  # CKM_EC_KEY_PAIR_GEN
         *template((CKA_TOKEN, YES), (CKA_EC_PARAMS, text(PRIME256V1)), (CKA_LABEL, text(b"old"))),
         *template((CKA_TOKEN, YES), (CKA_LABEL, text(b"old"))), ctypes.byref(one), ctypes.byref(other))


def change():
    handle = session()
    call("C_Login", handle, CKU_USER, b"userpin", U(7))
    call("C_SetAttributeValue", handle, find(handle), *template((CKA_LABEL, text(b"new"))))
    print("C_SetAttributeValue of CKA_LABEL in another process: CKR_OK, it reads", label(handle), flush=True)


def watch():
    handle = session()
    assert label(handle) == "'old'"
    subprocess.run([sys.executable, *sys.argv[:2], "change"], check=True)
    print("a process that ran before:", label(handle))
    call("C_CloseSession", handle)
    print("the same, in a new session:", label(session()))
    call("C_Finalize", None)
    call("C_Initialize", None)
    print("the same, after C_Finalize and C_Initialize:", label(session()))


call("C_Initialize", None)
{"make": make, "change": change, "watch": watch}[sys.argv[2]]()
call("C_Finalize", None)  # which takes out of the TPM what was loaded
sys.stdout.flush()
os._exit(0)
PYTHON

module=$libraries/pkcs11/libtpm2_pkcs11.so
timeout 60 python3 ask.py "$module" make 2>/dev/null
timeout 60 python3 ask.py "$module" watch >seen
cat seen
diff - seen <<'WANTED'
C_SetAttributeValue of CKA_LABEL in another process: CKR_OK, it reads 'new'
a process that ran before: 'old'
the same, in a new session: 'old'
the same, after C_Finalize and C_Initialize: 'new'
WANTED
