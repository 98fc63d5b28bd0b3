"""Talks UDP through a SOCKS5 proxy (Debian: python3-socks), as calls and games do: so many
datagrams a second of one size, each way, until it is ended. What comes back is read.

    talk.py PROXY-PORT TO-HOST TO-PORT A-SECOND SIZE
"""

import socket
import sys
import threading
import time

import socks

proxy, host, port, often, size = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])
s = socks.socksocket(socket.AF_INET, socket.SOCK_DGRAM)
s.set_proxy(socks.SOCKS5, "127.0.0.1", proxy)
s.sendto(b"\0" * size, (host, port))


def listen():
    while True:
        s.recvfrom(65535)


threading.Thread(target=listen, daemon=True).start()
next_one = time.monotonic()
while True:
    next_one += 1 / often
    time.sleep(max(0, next_one - time.monotonic()))
    s.sendto(b"\0" * size, (host, port))
