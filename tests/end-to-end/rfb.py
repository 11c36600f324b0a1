"""As much of a VNC viewer (RFC 6143) as the tests need: to come in, and to see a picture."""

import socket
import ssl
import struct

# DES (FIPS 46-3), which VNC passwords are checked by and Python's library lacks.
IP = [58, 50, 42, 34, 26, 18, 10, 2]
IP = [bit + row for bit in (0, 2, 4, 6) for row in IP] + [bit - 1 + row for bit in (0, 2, 4, 6) for row in IP]
E = [32, 1, 2, 3, 4, 5, 4, 5, 6, 7, 8, 9, 8, 9, 10, 11, 12, 13, 12, 13, 14, 15, 16, 17,
     16, 17, 18, 19, 20, 21, 20, 21, 22, 23, 24, 25, 24, 25, 26, 27, 28, 29, 28, 29, 30, 31, 32, 1]
P = [16, 7, 20, 21, 29, 12, 28, 17, 1, 15, 23, 26, 5, 18, 31, 10,
     2, 8, 24, 14, 32, 27, 3, 9, 19, 13, 30, 6, 22, 11, 4, 25]
PC1 = [57, 49, 41, 33, 25, 17, 9, 1, 58, 50, 42, 34, 26, 18, 10, 2, 59, 51, 43, 35, 27, 19, 11, 3,
       60, 52, 44, 36, 63, 55, 47, 39, 31, 23, 15, 7, 62, 54, 46, 38, 30, 22, 14, 6, 61, 53, 45, 37,
       29, 21, 13, 5, 28, 20, 12, 4]
PC2 = [14, 17, 11, 24, 1, 5, 3, 28, 15, 6, 21, 10, 23, 19, 12, 4, 26, 8, 16, 7, 27, 20, 13, 2,
       41, 52, 31, 37, 47, 55, 30, 40, 51, 45, 33, 48, 44, 49, 39, 56, 34, 53, 46, 42, 50, 36, 29, 32]
S = ["e4d12fb83a6c5907 0f74e2d1a6cb9538 41e8d62bfc973a50 fc8249175b3ea06d",
     "f18e6b34972dc05a 3d47f28ec01a69b5 0e7ba4d158c6932f d8a13f42b67c05e9",
     "a09e63f51dc7b428 d709346a285ecbf1 d6498f30b12c5ae7 1ad069874fe3b52c",
     "7de3069a1285bc4f d8b56f03472c1ae9 a690cb7df13e5284 3f06a1d8945bc72e",
     "2c417ab6853fd0e9 eb2c47d150fa3986 421bad78f9c5630e b8c71e2d6f09a453",
     "c1af92680d34e75b af427c9561de0b38 9ef528c3704a1db6 432c95fabe17608d",
     "4b2ef08d3c975a61 d0b7491ae35c2f86 14bdc37eaf680592 6bd814a7950fe23c",
     "d2846fb1a93e50c7 1fd8a374c56b0e92 7b419ce206adf358 21e74a8dfc90356b"]
SHIFTS = [1, 1, 2, 2, 2, 2, 2, 2, 1, 2, 2, 2, 2, 2, 2, 1]


def _pick(bits, table):
    return [bits[place - 1] for place in table]


def _bits(data):
    return [byte >> (7 - place) & 1 for byte in data for place in range(8)]


def des(key, block):
    boxes = [[int(digit, 16) for digit in text.replace(" ", "")] for text in S]
    both = _pick(_bits(key), PC1)
    half_c, half_d = both[:28], both[28:]
    bits = _pick(_bits(block), IP)
    left, right = bits[:32], bits[32:]
    for shift in SHIFTS:
        half_c, half_d = half_c[shift:] + half_c[:shift], half_d[shift:] + half_d[:shift]
        mixed = [a ^ b for a, b in zip(_pick(right, E), _pick(half_c + half_d, PC2))]
        out = []
        for box in range(8):
            six = mixed[box * 6:box * 6 + 6]
            row, column = six[0] * 2 + six[5], six[1] * 8 + six[2] * 4 + six[3] * 2 + six[4]
            out += _bits(bytes([boxes[box][row * 16 + column]]))[4:]
        left, right = right, [a ^ b for a, b in zip(left, _pick(out, P))]
    final = [0] * 64
    for place, bit in zip(IP, right + left):
        final[place - 1] = bit
    return bytes(sum(final[at * 8 + place] << (7 - place) for place in range(8)) for at in range(8))


class Viewer:
    """A connection. `security` lists what the server offers; see `come_in`."""

    def __init__(self, place):
        unix = isinstance(place, str)
        self.socket = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
        self.socket.settimeout(30)
        self.socket.connect(place)
        self.version = self.take(12)
        self.socket.sendall(self.version)
        self.security = list(self.take(self.take(1)[0]))

    def take(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                raise EOFError("the server has closed")
            data += more
        return data

    def encrypt(self, certificate):
        """VeNCrypt with X509Vnc, by a server that has that certificate; come_in() follows."""
        assert self.security == [19]
        self.socket.sendall(b"\x13")
        assert self.take(2) == b"\0\2"
        self.socket.sendall(b"\0\2")
        assert self.take(1) == b"\0" and self.take(self.take(1)[0] * 4) == struct.pack(">I", 261)
        self.socket.sendall(struct.pack(">I", 261))
        assert self.take(1) == b"\1"
        context = ssl.create_default_context(cafile=certificate)
        context.check_hostname = False
        self.socket = context.wrap_socket(self.socket)
        self.security = []

    def come_in(self, password=None):
        """True if the server lets us in."""
        if self.security:
            self.socket.sendall(bytes([2 if password is not None else 1]))
        if password is not None:
            # Each byte of the key is taken with its bits the other way round.
            key = bytes(int(f"{byte:08b}"[::-1], 2) for byte in password.encode().ljust(8, b"\0")[:8])
            challenge = self.take(16)
            self.socket.sendall(des(key, challenge[:8]) + des(key, challenge[8:]))
        return struct.unpack(">I", self.take(4))[0] == 0

    def size(self):
        self.socket.sendall(b"\1")
        width, height = struct.unpack(">HH", self.take(4))
        self.take(16)
        self.take(struct.unpack(">I", self.take(4))[0])
        return width, height

    def pixels(self, width, height):
        """The first update's rectangle, raw: its size and bytes."""
        self.socket.sendall(struct.pack(">BBHi", 2, 0, 1, 0))
        self.socket.sendall(struct.pack(">BBHHHH", 3, 0, 0, 0, width, height))
        kind, count = struct.unpack(">BxH", self.take(4))
        assert kind == 0 and count > 0
        _, _, w, h, encoding = struct.unpack(">HHHHi", self.take(12))
        assert encoding == 0
        return w, h, self.take(w * h * 4)

    def close(self):
        self.socket.close()
