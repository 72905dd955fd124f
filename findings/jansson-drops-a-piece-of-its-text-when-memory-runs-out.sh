#!/usr/bin/env bash
# jansson 2.14 (Debian 12: libjansson4 2.14-2): json_dumps() out of memory may return a text that lacks a piece.
#
# Its manual says that json_dumps() returns NULL on error, so one would guess that a text which is returned is whole, and
# write it over the last state file.  The text grows in a buffer; where growing it fails in the middle, that piece is
# left out and the next ones are appended.  What comes back is not NULL, and is no JSON any more, or JSON that says
# something else.  json_dumpb(), which fills a buffer of the caller's, and asks for none of its own for the text, gives
# all of it or says that it did not.
#
# Seen, with each allocation of one call failing in turn, for one small object:
#   json_dumps: 7 times NULL, 1 time a text that is not the whole one
#   json_dumpb: never a text that is not the whole one
#
# Needs apt-get, dpkg and python3 on amd64; installs into a temporary folder, and fails if what is seen differs.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder" # apt's own user looks into it
cd "$folder"
apt-get -qq download libjansson4=2.14-2 >/dev/null 2>&1
dpkg -x ./*.deb root

cat >ask.py <<'PYTHON'
import ctypes
import sys

jansson = ctypes.CDLL(sys.argv[1])
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
MALLOC = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_size_t)
FREE = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
COMPACT = 0x20
WHOLE = b'{"keyring":"prod","primary":4,"context":"eu1","versions":[1,2,3,4]}'
failing = asked = 0


@MALLOC
def allocate(size):
    global asked
    asked += 1
    return None if asked == failing else libc.malloc(size)


@FREE
def release(memory):
    libc.free(memory)


jansson.json_set_alloc_funcs(allocate, release)
jansson.json_loads.restype = ctypes.c_void_p
jansson.json_dumps.restype = ctypes.c_void_p
jansson.json_dumps.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
jansson.json_dumpb.restype = ctypes.c_size_t
jansson.json_dumpb.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t]
value = jansson.json_loads(WHOLE, ctypes.c_size_t(0), None)


def dumps():
    text = jansson.json_dumps(value, COMPACT)
    if not text:
        return None
    said = ctypes.string_at(text)
    libc.free(text)
    return said


def dumpb():
    room = ctypes.create_string_buffer(1000)
    used = jansson.json_dumpb(value, room, 1000, COMPACT)
    return room.raw[:used] if used else None


def each_failure(dump):
    global failing, asked
    seen = []
    for failing in range(1, 1000):
        asked = 0
        seen.append(dump())
        if asked < failing:
            failing = 0
            return seen[:-1]


seen = each_failure(dumps)
print("json_dumps: %d times NULL, %d time a text that is not the whole one"
      % (seen.count(None), sum(text not in (None, WHOLE) for text in seen)))
print("json_dumpb: %s a text that is not the whole one"
      % ("never" if all(text in (None, WHOLE) for text in each_failure(dumpb)) else "sometimes"))
PYTHON
python3 ask.py root/usr/lib/x86_64-linux-gnu/libjansson.so.4 | tee seen
diff seen - <<'SEEN'
json_dumps: 7 times NULL, 1 time a text that is not the whole one
json_dumpb: never a text that is not the whole one
SEEN
