# A call: 50 datagrams a second of 200 bytes to tellecho.py, and how many of them came back
# and the longest time without one, in milliseconds. usage: call.py ADDRESS PORT SECONDS [SOCKSPORT]
import select, socket, struct, sys, time

address, port, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
head = b""
to = (address, port)
if len(sys.argv) > 4:
    control = socket.create_connection(("127.0.0.1", int(sys.argv[4])))
    control.sendall(b"\5\1\0")
    assert control.recv(2) == b"\5\0"
    control.sendall(b"\5\3\0\1\0\0\0\0\0\0")
    r = control.recv(10)
    assert r[1] == 0, r
    head = b"\0\0\0\1" + socket.inet_aton(address) + struct.pack("!H", port)
    to = ("127.0.0.1", struct.unpack("!H", r[8:10])[0])
s.connect(to)
print("begins", flush=True)
sent, got, last, gap = 0, set(), None, 0.0
began = time.monotonic()
while True:
    now = time.monotonic()
    if now - began > seconds + 3:
        break
    if now - began < seconds and now - began >= sent * 0.02:
        s.send(head + bytes(60) + struct.pack("!I", sent) + bytes(136))
        sent += 1
        continue
    wait = 0.02 if now - began > seconds else max(0.0, began + sent * 0.02 - now)
    if not select.select([s], [], [], wait)[0]:
        continue
    data = s.recv(4096)[len(head):]
    now = time.monotonic()
    if last is not None and now - began < seconds:
        gap = max(gap, now - last)
    last = now
    at = 60 + len(data) - len(data.split(b" ", 3)[3])  # behind what the echo says in front
    got.add(struct.unpack("!I", data[at : at + 4])[0])
print("sent", sent, "lost", sent - len(got), "gap", int(gap * 1000))
