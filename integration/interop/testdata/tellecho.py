# Answers every datagram with what arrived: its time to live, its TOS and its length, as
# text in front of as much of it as fits. The answer leaves with a time to live of 33 and
# a TOS of 0x2e. usage: tellecho.py ADDRESS PORT
import socket, struct, sys

address, port = sys.argv[1], int(sys.argv[2])
v6 = ":" in address
s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
if v6:
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, 0x2E)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 33)
else:
    s.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
    s.setsockopt(socket.IPPROTO_IP, 12, 1)  # IP_RECVTTL
    s.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 0x2E)
    s.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 33)
s.bind((address, port))
while True:
    data, control, _, peer = s.recvmsg(70000, 256)
    ttl = tos = -1
    for level, kind, value in control:
        n = value[0] if len(value) == 1 else struct.unpack("i", value[:4])[0]
        if (level, kind) in ((0, 2), (41, 52)):
            ttl = n
        elif (level, kind) in ((0, 1), (41, 67)):
            tos = n
    text = b"%d %d %d " % (ttl, tos, len(data))
    s.sendto(text + data[: len(data) - len(text)], peer)
