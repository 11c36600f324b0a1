"""A router that delegates prefixes by DHCPv6: `delegating.py LINK FILE`. The file names the prefix, and is
read with every message; the way to it is by who asked. Each message's type is printed."""

import ipaddress
import socket
import struct
import subprocess
import sys

CLIENT, SERVER, IA_PD, PREFIX = 1, 2, 25, 26
SOLICIT, ADVERTISE, REQUEST, RENEW, REBIND, REPLY, RELEASE = 1, 2, 3, 5, 6, 7, 8
IDENTITY = struct.pack("!HHI", 3, 1, 0x5254) + b"\0\1"
PREFERRED_S, VALID_S = 3600, 7200


def options(data):
    found = {}
    while len(data) >= 4:
        code, length = struct.unpack_from("!HH", data)
        found[code] = data[4:4 + length]
        data = data[4 + length:]
    return found


def option(code, data):
    return struct.pack("!HH", code, len(data)) + data


def answer(message, prefix):
    kind, asked = message[0], options(message[4:])
    lent = struct.pack("!IIB", PREFERRED_S, VALID_S, prefix.prefixlen) + prefix.network_address.packed
    delegation = asked[IA_PD][:4] + struct.pack("!II", 0, 0) + option(PREFIX, lent)
    return (bytes([ADVERTISE if kind == SOLICIT else REPLY]) + message[1:4] +
            option(CLIENT, asked[CLIENT]) + option(SERVER, IDENTITY) + option(7, b"\xff") +
            option(IA_PD, delegation))


def main(link, file):
    server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    server.bind(("::", 547))
    group = socket.inet_pton(socket.AF_INET6, "ff02::1:2") + struct.pack("@I", socket.if_nametoindex(link))
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
    print("serving", flush=True)
    while True:
        message, client = server.recvfrom(4096)
        print(message[0], flush=True)
        asked = options(message[4:])
        if message[0] not in (SOLICIT, REQUEST, RENEW, REBIND, RELEASE) or asked.get(SERVER, IDENTITY) != IDENTITY:
            continue
        with open(file, encoding="ascii") as text:
            prefix = ipaddress.ip_network(text.read().strip())
        if message[0] == REQUEST:
            subprocess.run(["ip", "-6", "route", "replace", str(prefix), "via", client[0].split("%")[0],
                            "dev", link], check=True)
        if message[0] == RELEASE:
            subprocess.run(["ip", "-6", "route", "del", str(prefix)], check=True)
        server.sendto(answer(message, prefix), client)


if __name__ == "__main__":
    main(*sys.argv[1:])
