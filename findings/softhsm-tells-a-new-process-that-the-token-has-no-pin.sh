#!/usr/bin/env bash
# SoftHSM 2.6.1 (Debian 12: libsofthsm2, softhsm2, softhsm2-common 2.6.1-2.1): a process that starts while another one logs
# in is told that the token has no user PIN, or is not initialized at all, and is told so for as long as it lives.
#
# One would guess that C_Login reads, so that several processes may log in to one token at once.  It writes: each login stores
# the token's flags, in place, and a process that loads the token in between finds a file without the PIN's record or without
# anything.  It does not look again: C_Login stays CKR_USER_PIN_NOT_INITIALIZED, C_OpenSession stays
# CKR_TOKEN_NOT_RECOGNIZED, while the next process is told the right thing.  So neither answer proves anything of the token,
# and "initialize it" is the wrong thing to do: ask again from a new process.
#
# Seen, four processes at a time, each with the right PIN ("and again" is 0.3 s later, in the same process):
#       16 x C_Login: 0x0
#        6 x C_OpenSession: 0xe1, and again 0xe1
#        1 x C_Login: 0x5, and again 0x0
#        1 x C_Login: 0x102, and again 0x102
#   alone: C_Login: 0x0
# The numbers differ each time, and 0x5 is not always among them.
#
# Needs apt-get, dpkg, openssl's library and python3 on amd64; installs into a temporary folder.  It ends once all of this was
# seen, within seconds, and fails if it was not seen in four minutes.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder" # apt's own user looks into it
cd "$folder"
apt-get -qq download libsofthsm2=2.6.1-2.1 softhsm2=2.6.1-2.1 softhsm2-common=2.6.1-2.1 >/dev/null 2>&1
for package in ./*.deb; do
    dpkg -x "$package" root
done
library=$folder/root/usr/lib/softhsm/libsofthsm2.so
mkdir tokens
printf 'directories.tokendir = %s/tokens\nobjectstore.backend = file\n' "$folder" >softhsm2.conf
export SOFTHSM2_CONF=$folder/softhsm2.conf
root/usr/bin/softhsm2-util --module "$library" --init-token --free --label all --so-pin 5678 --pin 1234 >/dev/null

cat >ask.py <<'PYTHON'
import collections
import ctypes
import multiprocessing
import sys
import time

U = ctypes.c_ulong
RW_SERIAL, USER, PIN = U(6), U(1), b"1234"
OPEN_SESSION, LOGIN = 13, 19  # places in the table of PKCS#11 2.40, after a version as wide as a pointer


def one_process(library, answers):
    """What a process that is new to the token is told, and what it is told a little later."""
    table = ctypes.POINTER(ctypes.c_void_p)()
    assert ctypes.CDLL(library).C_GetFunctionList(ctypes.byref(table)) == 0

    def ask(place, *arguments):
        return ctypes.CFUNCTYPE(U)(table[place])(*arguments)

    slots, count, session = (U * 8)(), U(8), U()
    assert ask(1, None) == 0 and ask(5, ctypes.c_ubyte(1), slots, ctypes.byref(count)) == 0
    opening = (OPEN_SESSION, slots[0], RW_SERIAL, None, None, ctypes.byref(session))
    login = None
    told = ask(*opening)
    asked, what = opening, "C_OpenSession"
    if told == 0:
        login = (LOGIN, session, USER, PIN, U(len(PIN)))
        told, asked, what = ask(*login), login, "C_Login"
    if told == 0:
        answers.put((what, "0x0", ""))
        return
    time.sleep(0.3)
    answers.put((what, hex(told), hex(ask(*asked))))


def main(library):
    fork = multiprocessing.get_context("fork")
    seen, wanted = collections.Counter(), {
        ("C_Login", "0x0", ""), ("C_OpenSession", "0xe1", "0xe1"), ("C_Login", "0x102", "0x102")}
    end = time.monotonic() + 240
    while not wanted <= seen.keys() and time.monotonic() < end:
        answers = fork.Queue()
        four = [fork.Process(target=one_process, args=(library, answers)) for _ in range(4)]
        for one in four:
            one.start()
        seen.update(answers.get(timeout=60) for _ in four)
        for one in four:
            one.join()
    alone = fork.Queue()
    last = fork.Process(target=one_process, args=(library, alone))
    last.start()
    told = alone.get(timeout=60)
    last.join()
    for (what, first, again), times in seen.most_common():
        print("%6d x %s: %s%s" % (times, what, first, again and ", and again " + again))
    print("alone: %s: %s" % told[:2])
    changed = [one for one in seen if one[1] in ("0xe1", "0x102") and one[1] != one[2]]
    if not wanted <= seen.keys() or changed or told != ("C_Login", "0x0", ""):
        sys.exit("not as written at the top")


main(sys.argv[1])
PYTHON
python3 ask.py "$library"
