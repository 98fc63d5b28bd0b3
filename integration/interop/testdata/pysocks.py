"""PySocks (Debian: python3-socks) through a proxy: TCP and UDP by address and
by name, and DNS queries to a real name server. Exits with a traceback when
anything comes back different.

    pysocks.py PROXY-HOST PROXY-PORT TCP-ECHO UDP-ECHO DNS-PORT NAME ADDRESS
"""

import os
import socket
import struct
import sys

import socks

proxy, proxy_port, tcp_echo, udp_echo, dns_port, name, address = sys.argv[1:]


def open_socket(kind):
    s = socks.socksocket(socket.AF_INET, kind)
    s.set_proxy(socks.SOCKS5, proxy, int(proxy_port), rdns=True)
    s.settimeout(10)
    return s


def split(address):
    host, port = address.rsplit(":", 1)
    return host, int(port)


def tcp(host, port):
    with open_socket(socket.SOCK_STREAM) as s:
        s.connect((host, port))
        data = os.urandom(3_000_000)
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
        got = b""
        while chunk := s.recv(1 << 16):
            got += chunk
        assert got == data, f"TCP to {host}: {len(got)} bytes came back"
        print(f"TCP to {host}: {len(data)} bytes there and back")


def udp(host, port):
    with open_socket(socket.SOCK_DGRAM) as s:
        # PySocks reads the relay into the caller's buffer, header and all.
        for size in (1, 64, 1200, 1472, 9000, 60000):
            data = os.urandom(size)
            for attempt in range(3):
                s.sendto(data, (host, port))
                s.settimeout(3)
                try:
                    got, source = s.recvfrom(65535)
                    break
                except socket.timeout:
                    continue
            else:
                raise AssertionError(f"UDP to {host}: no answer to {size} bytes")
            assert got == data, f"UDP to {host}: {len(got)} of {size} bytes came back"
            assert source[1] == port, f"UDP to {host}: the answer is said to be from {source}"
        print(f"UDP to {host}: datagrams up to 60000 bytes there and back")


def dns(host, port):
    query = struct.pack(">HHHHHH", 0x6D70, 0x0100, 1, 0, 0, 0)
    for label in name.split("."):
        query += bytes([len(label)]) + label.encode()
    query += b"\0" + struct.pack(">HH", 1, 1)
    with open_socket(socket.SOCK_DGRAM) as s:
        s.sendto(query, (host, port))
        answer, _ = s.recvfrom(4096)
    ident, flags, _, answers, _, _ = struct.unpack(">HHHHHH", answer[:12])
    assert ident == 0x6D70 and flags & 0x8000 and answers == 1, answer
    assert answer.endswith(socket.inet_aton(address)), answer
    print(f"DNS at {host}: {name} is {address}")


host, port = split(tcp_echo)
tcp(host, port)
tcp("localhost", port)
host, port = split(udp_echo)
udp(host, port)
udp("localhost", port)
dns("127.0.0.1", int(dns_port))
dns("localhost", int(dns_port))
