# Asks tellecho.py from within the tunnel, and says "ok" if all that it hears is right.
# usage: tellask.py ADDRESS PORT LENGTH...
import socket, struct, sys

address, port, sizes = sys.argv[1], int(sys.argv[2]), [int(x) for x in sys.argv[3:]]
v6 = ":" in address
s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
if v6:
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
    mark = lambda ttl, tos: (s.setsockopt(41, socket.IPV6_UNICAST_HOPS, ttl), s.setsockopt(41, socket.IPV6_TCLASS, tos))
else:
    s.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
    s.setsockopt(socket.IPPROTO_IP, 12, 1)  # IP_RECVTTL
    s.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO: no fragments of this machine's
    mark = lambda ttl, tos: (s.setsockopt(0, socket.IP_TTL, ttl), s.setsockopt(0, socket.IP_TOS, tos))
s.connect((address, port))
s.settimeout(5)
wrong = []


def hear(want_ttl, want_tos, length):
    data, control, _, _ = s.recvmsg(70000, 256)
    ttl, tos, n = (int(x) for x in data.split(b" ", 3)[:3])
    if (ttl, tos, n) != (want_ttl, want_tos, length):
        wrong.append("arrived with %d %#x %d, want %d %#x %d" % (ttl, tos, n, want_ttl, want_tos, length))
    for level, kind, value in control:
        n = value[0] if len(value) == 1 else struct.unpack("i", value[:4])[0]
        if (level, kind) in ((0, 2), (41, 52)) and n != 33 or (level, kind) in ((0, 1), (41, 67)) and n != 0x2E:
            wrong.append("an answer has %d %d %#x" % (level, kind, n))


for ttl, tos in ((9, 0xB8), (64, 0), (128, 0x02), (255, 0x2B), (33, 0x01)):
    mark(ttl, tos)
    s.send(bytes(100))
    hear(ttl - (ttl != 64), tos, 100)
mark(64, 0)
for n in sizes:
    s.send(bytes(n))
    hear(64, 0, n)
# A burst that the kernel leaves in one piece (UDP_SEGMENT).
s.setsockopt(17, 103, 1200)
for _ in range(3):
    s.send(bytes(40 * 1200 + 700))
    for i in range(41):
        hear(64, 0, 1200 if i < 40 else 700)
s.setsockopt(17, 103, 0)
mtu = s.getsockopt(41 if v6 else 0, 24 if v6 else 14)
print("mtu", mtu)
print(wrong or "ok")
