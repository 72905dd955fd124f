"""Keys on a SoftHSM token, attribute by attribute: what pkcs11-tool cannot.

plant() makes one, set_attributes() changes one, and a Process is a PKCS#11 application that stays: it finds,
reads, wraps and unwraps when told.  All of it runs as programs of their own, so that no test ever has a
PKCS#11 module in its process.
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
SECRET_KEY, AES, AES_KEY_GEN, AES_KEY_WRAP = 4, 0x1F, 0x1080, 0x2109

# Their places in CK_FUNCTION_LIST (PKCS#11 2.40, pkcs11f.h), from 0.
FUNCTIONS = {"C_Initialize": 0, "C_GetSlotList": 4, "C_GetTokenInfo": 6, "C_OpenSession": 12, "C_Login": 18,
             "C_CreateObject": 20, "C_GetAttributeValue": 24, "C_SetAttributeValue": 25,
             "C_FindObjectsInit": 26, "C_FindObjects": 27, "C_FindObjectsFinal": 28, "C_GenerateKey": 58,
             "C_WrapKey": 60, "C_UnwrapKey": 61}

TRIES = 8

# A key as kekd wants it.
GOOD = {"sensitive": True, "extractable": False, "wrap": True, "unwrap": True, "encrypt": False,
        "decrypt": False, "sign": False, "verify": False, "derive": False}


def plant(token, label, kek_id, size=32, value=None, **attributes):
    """A key that is as kekd wants it, but for what `attributes` says; imported if it has a value."""
    once(token, {"do": "make", "label": label, "id": kek_id.hex(), "size": size,
                 "value": None if value is None else value.hex(), "attributes": dict(GOOD, **attributes)})


def set_attributes(token, kek_id, **attributes):
    """Changes usages of the key of this CKA_ID, as an officer does."""
    once(token, {"do": "set", "id": kek_id.hex(), "attributes": attributes})


def once(token, order):
    """SoftHSM rewrites its token at each login: whoever looks while somebody else does so sees none."""
    for attempt in range(TRIES):
        with Process(token) as process:
            if process.tell(order) is not None:
                return
        time.sleep(0.1 * (attempt + 1))
    raise AssertionError("%s: could not be done on %s" % (order["do"], token.folder))


class Process:
    """A PKCS#11 application that has logged in."""

    def __init__(self, token, module=SOFTHSM, **environment):
        self.child = subprocess.Popen(  # pylint: disable=consider-using-with
            [sys.executable, "-B", __file__, module, token.label, token.pin], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env=dict(os.environ, SOFTHSM2_CONF=token.conf, **environment))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.stdin.close()
        self.child.stdout.close()
        self.child.wait()

    def tell(self, order):
        """What it answers; None once it has failed and ended."""
        try:
            self.child.stdin.write(json.dumps(order) + "\n")
            self.child.stdin.flush()
        except BrokenPipeError:
            return None
        answer = self.child.stdout.readline()
        return json.loads(answer) if answer else None

    def find(self, kek_id):
        """The handles of this CKA_ID."""
        return self.tell({"do": "find", "id": kek_id.hex()})

    def shows(self, handle, name):
        return self.tell({"do": "read", "key": handle, "name": name})

    def wrap(self, handle, plain):
        return bytes.fromhex(self.tell({"do": "wrap", "key": handle, "plain": plain.hex()}))

    def unwrap(self, handle, blob):
        """What it opens to; None if it does not."""
        return bytes.fromhex(self.tell({"do": "unwrap", "key": handle, "blob": blob.hex()})) or None


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


def slot_of(application, label):
    count = ctypes.c_ulong(16)
    slots = (ctypes.c_ulong * 16)()
    must(application.call("C_GetSlotList", b"\1", slots, ctypes.byref(count)))
    for slot in slots[:count.value]:
        info = ctypes.create_string_buffer(512)
        must(application.call("C_GetTokenInfo", ctypes.c_ulong(slot), info))
        if info.raw[:32].decode().rstrip() == label:
            return ctypes.c_ulong(slot)
    sys.exit("no token %s" % label)


class Application:
    """The child's side."""

    def __init__(self, path, label, pin):
        self.module = ctypes.CDLL(path)
        functions = ctypes.POINTER(ctypes.c_void_p)()
        must(self.module.C_GetFunctionList(ctypes.byref(functions)))
        self.functions = functions
        must(self.call("C_Initialize", None))
        session = ctypes.c_ulong()
        must(self.call("C_OpenSession", slot_of(self, label), ctypes.c_ulong(6), None, None,
                       ctypes.byref(session)))
        self.session = session
        must(self.call("C_Login", session, ctypes.c_ulong(1), pin.encode(), ctypes.c_ulong(len(pin))))

    def call(self, name, *arguments):
        """By the module's list, as applications do; CK_VERSION is the list's first entry."""
        address = self.functions[FUNCTIONS[name] + 1]
        return ctypes.CFUNCTYPE(ctypes.c_ulong)(address)(*arguments)

    def make(self, order):
        values = {CLASS: SECRET_KEY, KEY_TYPE: AES, TOKEN: True, PRIVATE: True,
                  LABEL: order["label"].encode(), ID: bytes.fromhex(order["id"])}
        values.update((NAMES[name], on) for name, on in order["attributes"].items())
        key = ctypes.c_ulong()
        if order["value"] is None:
            values[VALUE_LEN] = order["size"]
            entries, _kept = template(values)
            must(self.call("C_GenerateKey", self.session, ctypes.byref(Mechanism(AES_KEY_GEN, None, 0)), entries,
                           ctypes.c_ulong(len(entries)), ctypes.byref(key)))
            return key.value
        values[VALUE] = bytes.fromhex(order["value"])
        return self.create(values)

    def create(self, values):
        key = ctypes.c_ulong()
        entries, _kept = template(values)
        must(self.call("C_CreateObject", self.session, entries, ctypes.c_ulong(len(entries)), ctypes.byref(key)))
        return key.value

    def find(self, order):
        entries, _kept = template({CLASS: SECRET_KEY, TOKEN: True, ID: bytes.fromhex(order["id"])})
        found, count = (ctypes.c_ulong * 16)(), ctypes.c_ulong()
        must(self.call("C_FindObjectsInit", self.session, entries, ctypes.c_ulong(len(entries))))
        must(self.call("C_FindObjects", self.session, found, ctypes.c_ulong(16), ctypes.byref(count)))
        must(self.call("C_FindObjectsFinal", self.session))
        return list(found[:count.value])

    def set(self, order):
        entries, _kept = template({NAMES[name]: on for name, on in order["attributes"].items()})
        for key in self.find(order) or sys.exit("no such key"):
            must(self.call("C_SetAttributeValue", self.session, ctypes.c_ulong(key), entries,
                           ctypes.c_ulong(len(entries))))
        return True

    def read(self, order):
        entries, kept = template({NAMES[order["name"]]: True})
        must(self.call("C_GetAttributeValue", self.session, ctypes.c_ulong(order["key"]), entries,
                       ctypes.c_ulong(1)))
        return kept[0].raw == b"\1"

    def wrap(self, order):
        data = self.create({CLASS: SECRET_KEY, KEY_TYPE: AES, TOKEN: False, NAMES["extractable"]: True,
                            VALUE: bytes.fromhex(order["plain"])})
        blob, size = ctypes.create_string_buffer(128), ctypes.c_ulong(128)
        must(self.call("C_WrapKey", self.session, ctypes.byref(Mechanism(AES_KEY_WRAP, None, 0)),
                       ctypes.c_ulong(order["key"]), ctypes.c_ulong(data), blob, ctypes.byref(size)))
        return blob.raw[:size.value].hex()

    def unwrap(self, order):
        blob, key = bytes.fromhex(order["blob"]), ctypes.c_ulong()
        entries, _kept = template({CLASS: SECRET_KEY, KEY_TYPE: AES, TOKEN: False, NAMES["sensitive"]: False,
                                   NAMES["extractable"]: True})
        if self.call("C_UnwrapKey", self.session, ctypes.byref(Mechanism(AES_KEY_WRAP, None, 0)),
                     ctypes.c_ulong(order["key"]), blob, ctypes.c_ulong(len(blob)), entries,
                     ctypes.c_ulong(len(entries)), ctypes.byref(key)) != 0:
            return ""
        entries, kept = template({VALUE: bytes(32)})
        must(self.call("C_GetAttributeValue", self.session, key, entries, ctypes.c_ulong(1)))
        return kept[0].raw.hex()


def main():
    application = Application(*sys.argv[1:4])
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(getattr(application, order["do"])(order)), flush=True)
    os._exit(0)  # SoftHSM's exit handlers are not to be trusted


if __name__ == "__main__":
    main()
