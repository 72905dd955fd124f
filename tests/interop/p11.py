"""Makes one AES key on a SoftHSM token, attribute by attribute: what pkcs11-tool cannot.

Runs as a program of its own, so that no test ever has a PKCS#11 module in its process.
"""

import ctypes
import json
import os
import subprocess
import sys
import time

SOFTHSM = "/usr/lib/softhsm/libsofthsm2.so"

CLASS, TOKEN, PRIVATE, LABEL, VALUE, KEY_TYPE, ID = 0, 1, 2, 3, 0x11, 0x100, 0x102
VALUE_LEN = 0x161
NAMES = {"sensitive": 0x103, "encrypt": 0x104, "decrypt": 0x105, "wrap": 0x106, "unwrap": 0x107,
         "sign": 0x108, "verify": 0x10A, "extractable": 0x162, "derive": 0x10C}
SECRET_KEY, AES, AES_KEY_GEN = 4, 0x1F, 0x1080

TRIES = 8

# A key as kekd wants it.
GOOD = {"sensitive": True, "extractable": False, "wrap": True, "unwrap": True, "encrypt": False,
        "decrypt": False, "sign": False, "verify": False, "derive": False}


def plant(token, label, kek_id, size=32, value=None, **attributes):
    """A key that is as kekd wants it, but for what `attributes` says; imported if it has a value."""
    order = {"token": token.label, "pin": token.pin, "label": label, "id": kek_id.hex(), "size": size,
             "value": None if value is None else value.hex(), "attributes": dict(GOOD, **attributes)}
    # SoftHSM rewrites its token at each login: whoever looks while somebody else does so sees none.
    for attempt in range(TRIES):
        done = subprocess.run([sys.executable, "-B", __file__], input=json.dumps(order), text=True,
                              env=dict(os.environ, SOFTHSM2_CONF=token.conf), check=False)
        if done.returncode == 0:
            return
        time.sleep(0.1 * (attempt + 1))
    raise AssertionError("no key could be made on %s" % token.folder)


class Attribute(ctypes.Structure):
    _fields_ = [("type", ctypes.c_ulong), ("value", ctypes.c_void_p), ("size", ctypes.c_ulong)]


class Mechanism(ctypes.Structure):
    _fields_ = [("type", ctypes.c_ulong), ("parameter", ctypes.c_void_p), ("size", ctypes.c_ulong)]


def must(rv):
    if rv != 0:
        sys.exit("PKCS#11: 0x%x" % rv)


def template(values):
    kept, entries = [], (Attribute * len(values))()
    for entry, (kind, value) in zip(entries, values.items()):
        if isinstance(value, bool):
            value = bytes([value])
        elif isinstance(value, int):
            value = bytes(ctypes.c_ulong(value))
        buffer = ctypes.create_string_buffer(value, len(value))
        kept.append(buffer)
        entry.type, entry.value, entry.size = kind, ctypes.addressof(buffer), len(value)
    return entries, kept


def slot_of(module, label):
    count = ctypes.c_ulong(16)
    slots = (ctypes.c_ulong * 16)()
    must(module.C_GetSlotList(b"\1", slots, ctypes.byref(count)))
    for slot in slots[:count.value]:
        info = ctypes.create_string_buffer(512)
        must(module.C_GetTokenInfo(ctypes.c_ulong(slot), info))
        if info.raw[:32].decode().rstrip() == label:
            return ctypes.c_ulong(slot)
    sys.exit("no token %s" % label)


def main():
    order = json.load(sys.stdin)
    module = ctypes.CDLL(SOFTHSM)
    for name in ("C_Initialize", "C_OpenSession", "C_Login", "C_GenerateKey", "C_CreateObject"):
        getattr(module, name).restype = ctypes.c_ulong
    must(module.C_Initialize(None))
    session = ctypes.c_ulong()
    must(module.C_OpenSession(slot_of(module, order["token"]), ctypes.c_ulong(6), None, None,
                              ctypes.byref(session)))
    pin = order["pin"].encode()
    must(module.C_Login(session, ctypes.c_ulong(1), pin, ctypes.c_ulong(len(pin))))
    values = {CLASS: SECRET_KEY, KEY_TYPE: AES, TOKEN: True, PRIVATE: True,
              LABEL: order["label"].encode(), ID: bytes.fromhex(order["id"])}
    values.update((NAMES[name], on) for name, on in order["attributes"].items())
    key = ctypes.c_ulong()
    if order["value"] is None:
        values[VALUE_LEN] = order["size"]
        entries, _kept = template(values)
        must(module.C_GenerateKey(session, ctypes.byref(Mechanism(AES_KEY_GEN, None, 0)), entries,
                                  ctypes.c_ulong(len(entries)), ctypes.byref(key)))
    else:
        values[VALUE] = bytes.fromhex(order["value"])
        entries, _kept = template(values)
        must(module.C_CreateObject(session, entries, ctypes.c_ulong(len(entries)), ctypes.byref(key)))
    must(module.C_Finalize(None))
    sys.stdout.flush()
    os._exit(0)  # SoftHSM's exit handlers are not to be trusted


if __name__ == "__main__":
    main()
