"""Protocol Buffers on the wire (encoding, "A Simple Message"): varints and length-delimited fields, which
is all that the project's messages have.  It knows no message: who uses it types the numbers of its own."""


def varint(number):
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def pack(*fields):
    """(number, int | str | bytes) pairs; numbers and texts that are proto3's defaults are left out."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value) if value else b""
        elif value != "":
            value = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(value)) + value
    return out


def unpack(message):
    """(number, int | bytes) pairs in their order; ValueError if it is none of that."""
    at, found = 0, []

    def number():
        nonlocal at
        value = shift = 0
        while True:
            if at == len(message):
                raise ValueError("a number runs past the message's end")
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        tag = number()
        value = number()
        if tag & 7 == 2:
            if at + value > len(message):
                raise ValueError("a field runs past the message's end")
            at += value
            value = message[at - value:at]
        elif tag & 7 != 0:
            raise ValueError("wire type %d" % (tag & 7))
        found.append((tag >> 3, value))
    return found
