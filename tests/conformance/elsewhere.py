"""Another program that uses the token: logs in, logs out, leaves. Arguments: module, PIN file, init_args."""

import ctypes
import os
import sys

TOKEN_INITIALIZED, LOGIN_REQUIRED = 0x400, 0x4

# Places in CK_FUNCTION_LIST: not every module exports its functions by name (NSS).
PLACES = {"C_Initialize": 0, "C_GetSlotList": 4, "C_GetTokenInfo": 6, "C_OpenSession": 12,
          "C_CloseSession": 13, "C_Login": 18, "C_Logout": 19}


class InitializeArgs(ctypes.Structure):
    """CK_C_INITIALIZE_ARGS, in the standard's order: pReserved is the last."""
    _fields_ = [("callbacks", ctypes.c_void_p * 4), ("flags", ctypes.c_ulong), ("reserved", ctypes.c_char_p)]


class FunctionList(ctypes.Structure):
    """The head of CK_FUNCTION_LIST."""
    _fields_ = [("version", ctypes.c_ubyte * 2), ("functions", ctypes.c_void_p * 20)]


class Module:
    """A module's functions by name; what they return must be CKR_OK."""

    def __init__(self, path):
        listed = ctypes.POINTER(FunctionList)()
        must("C_GetFunctionList", ctypes.CDLL(path).C_GetFunctionList(ctypes.byref(listed)))
        self.listed = listed.contents

    def __call__(self, name, *arguments):
        function = ctypes.CFUNCTYPE(ctypes.c_ulong)(self.listed.functions[PLACES[name]])
        must(name, function(*arguments))


def must(what, rv):
    if rv != 0:
        print("%s: 0x%x" % (what, rv), flush=True)
        os._exit(1)


def main():
    path, pin_file, init_args = sys.argv[1:]
    module = Module(path)
    args = InitializeArgs(flags=2, reserved=init_args.encode() or None)
    module("C_Initialize", ctypes.byref(args))
    slots, count = (ctypes.c_ulong * 64)(), ctypes.c_ulong(64)
    module("C_GetSlotList", b"\1", slots, ctypes.byref(count))
    for slot in slots[:count.value]:
        info = ctypes.create_string_buffer(512)
        module("C_GetTokenInfo", ctypes.c_ulong(slot), info)
        flags = int.from_bytes(info.raw[96:96 + ctypes.sizeof(ctypes.c_ulong)], sys.byteorder)
        if flags & TOKEN_INITIALIZED and flags & LOGIN_REQUIRED:
            break
    else:
        must("no token", 1)
    session = ctypes.c_ulong()
    module("C_OpenSession", ctypes.c_ulong(slot), ctypes.c_ulong(6), None, None, ctypes.byref(session))
    with open(pin_file, "rb") as file:
        pin = file.read().rstrip(b"\n")
    module("C_Login", session, ctypes.c_ulong(1), pin, ctypes.c_ulong(len(pin)))
    module("C_Logout", session)
    module("C_CloseSession", session)
    os._exit(0)  # exit handlers of modules are not to be trusted


if __name__ == "__main__":
    main()
