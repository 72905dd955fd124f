#!/usr/bin/env bash
# NSS softokn 3.87.1 (Debian 12: libnss3, libnss3-tools 2:3.87.1-1+deb12u4): a token that asks for no login still
# refuses a PIN.
#
# A database without a password does not set CKF_LOGIN_REQUIRED, and a private object can be made in a session that
# never logged in.  One would guess that C_Login with some PIN is then CKR_OK, CKR_USER_PIN_NOT_INITIALIZED or
# CKR_USER_ALREADY_LOGGED_IN.  It is CKR_PIN_INCORRECT, as for a wrong PIN of a token that has one; only an empty PIN is
# CKR_OK.  A program that logs in because it was given a PIN, and takes PIN_INCORRECT for what it says, gives up on a
# token that would have served it; one that means to ask whether a token is open must not ask by C_Login.
#
# Seen:
#   CKF_LOGIN_REQUIRED not set
#   private session object without a login: CKR_OK
#   C_Login with a PIN: CKR_PIN_INCORRECT (0xa0)
#   C_Login with an empty PIN: CKR_OK
#
# Needs apt-get, dpkg and python3 on amd64; installs into a temporary folder, and fails if what is seen differs.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder" # apt's own user looks into it
cd "$folder"
apt-get -qq download libnss3=2:3.87.1-1+deb12u4 libnss3-tools=2:3.87.1-1+deb12u4 libnspr4=2:4.35-1 \
    libsqlite3-0=3.40.1-2+deb12u2 >/dev/null 2>&1
for package in ./*.deb; do
    dpkg -x "$package" root
done
export LD_LIBRARY_PATH=$folder/root/usr/lib/x86_64-linux-gnu
mkdir db
root/usr/bin/certutil -N -d "sql:$folder/db" --empty-password

cat >ask.py <<'PYTHON'
import ctypes
import sys

U = ctypes.c_ulong
CKF_LOGIN_REQUIRED, CKF_RW_SERIAL, CKU_USER = 0x4, 0x6, 1
NAMES = {0: "CKR_OK", 0xa0: "CKR_PIN_INCORRECT (0xa0)"}
softokn = ctypes.CDLL(sys.argv[1] + "/libsoftokn3.so")


class InitArgs(ctypes.Structure):  # NSS has its own text where others have pReserved
    _fields_ = [("functions", ctypes.c_void_p * 4), ("flags", U), ("parameters", ctypes.c_char_p),
                ("reserved", ctypes.c_void_p)]


class TokenInfo(ctypes.Structure):
    _fields_ = [("texts", ctypes.c_char * 96), ("flags", U), ("rest", ctypes.c_char * 120)]


class Attribute(ctypes.Structure):
    _fields_ = [("type", U), ("value", ctypes.c_void_p), ("length", U)]


def attribute(kind, value):
    return Attribute(kind, ctypes.cast(ctypes.pointer(value), ctypes.c_void_p), ctypes.sizeof(value))


def name(code):
    return NAMES.get(code, hex(code))


# The table of PKCS#11 2.40: a version, padded to the size of a pointer, then the functions in their order.
PLACES = {"C_Initialize": 1, "C_GetSlotList": 5, "C_GetTokenInfo": 7, "C_OpenSession": 13, "C_Login": 19,
          "C_CreateObject": 21}
table = ctypes.POINTER(ctypes.c_void_p)()
assert softokn.C_GetFunctionList(ctypes.byref(table)) == 0


def ask(function, *arguments):
    return ctypes.CFUNCTYPE(U)(table[PLACES[function]])(*arguments)


def call(function, *arguments):
    code = ask(function, *arguments)
    assert code == 0, (function, hex(code))


parameters = "configdir='sql:%s' certPrefix='' keyPrefix='' secmod='secmod.db' flags=" % sys.argv[2]
call("C_Initialize", ctypes.byref(InitArgs((ctypes.c_void_p * 4)(), 2, parameters.encode(), None)))
slots, count = (U * 8)(), U(8)
call("C_GetSlotList", ctypes.c_ubyte(1), slots, ctypes.byref(count))
slot = U(slots[1])  # the database; the first one is for sessions without any
info, session, key = TokenInfo(), U(), U()
call("C_GetTokenInfo", slot, ctypes.byref(info))
call("C_OpenSession", slot, U(CKF_RW_SERIAL), None, None, ctypes.byref(session))
print("CKF_LOGIN_REQUIRED", "set" if info.flags & CKF_LOGIN_REQUIRED else "not set")

yes, no = ctypes.c_ubyte(1), ctypes.c_ubyte(0)
template = (Attribute * 5)(attribute(0x0, U(4)),      # CKA_CLASS: CKO_SECRET_KEY
                           attribute(0x100, U(0x1f)),  # CKA_KEY_TYPE: CKK_AES
                           attribute(0x1, no),         # CKA_TOKEN
                           attribute(0x2, yes),        # CKA_PRIVATE
                           attribute(0x11, (ctypes.c_ubyte * 32)()))
made = ask("C_CreateObject", session, template, U(5), ctypes.byref(key))
print("private session object without a login:", name(made))
for what, pin in (("a PIN", b"1234"), ("an empty PIN", b"")):
    print("C_Login with %s: %s" % (what, name(ask("C_Login", session, U(CKU_USER), pin, U(len(pin))))))
PYTHON

python3 ask.py "$LD_LIBRARY_PATH" "$folder/db" >seen
cat seen
diff - seen <<'WANTED'
CKF_LOGIN_REQUIRED not set
private session object without a login: CKR_OK
C_Login with a PIN: CKR_PIN_INCORRECT (0xa0)
C_Login with an empty PIN: CKR_OK
WANTED
