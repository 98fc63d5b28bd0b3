# What programs do with sockets beside sending and receiving, within the tunnel: each line
# of the output is "ok NAME" or says what was wrong. usage: habits.py ADDRESS ADDRESS6 HOSTDEVICE
import errno, os, select, socket, struct, subprocess, sys, time

four, six, device = sys.argv[1:4]
WEB, ECHO, CLOSED = 8000, 7777, 4053  # at both addresses


def habit(f):
    try:
        f()
        print("ok", f.__name__, flush=True)
    except Exception as e:
        print("wrong", f.__name__, type(e).__name__, e, flush=True)


def get(s, path="/"):
    s.settimeout(10)
    s.sendall(b"GET %s HTTP/1.0\r\n\r\n" % path.encode())
    got = b""
    while chunk := s.recv(65536):
        got += chunk
    assert got.startswith(b"HTTP/1.0 200"), got[:60]


def echoed(s, to=None, data=b"x" * 100):
    s.settimeout(5)
    for attempt in range(3):
        s.sendto(data, to) if to else s.send(data)
        try:
            return s.recvfrom(70000)
        except socket.timeout:
            continue
    raise AssertionError("no answer")


@habit
def bound_to_a_device_of_the_host():
    s = socket.socket()
    try:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
    except OSError as e:
        assert e.errno in (errno.ENODEV, errno.EPERM), e
        return
    raise AssertionError("it is there")


@habit
def bound_to_the_tunnel_s_device():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"mpsocks0")
    echoed(s, (four, ECHO))


@habit
def ipv6_only():
    s = socket.socket(socket.AF_INET6)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    s.connect((six, WEB))
    get(s)


@habit
def ipv4_by_an_ipv6_socket():
    s = socket.socket(socket.AF_INET6)
    s.connect(("::ffff:" + four, WEB))
    get(s)
    u = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    _, peer = echoed(u, ("::ffff:" + four, ECHO))
    assert peer[0] == "::ffff:" + four, peer


@habit
def refused_udp_is_told_to_a_connected_socket():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.connect((four, CLOSED))
    s.settimeout(20)
    s.send(b"x")
    try:
        s.recv(100)
    except ConnectionRefusedError:
        return
    raise AssertionError("it is not")


@habit
def errors_wait_in_the_error_queue():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR
    s.sendto(b"x", (four, CLOSED))
    for _ in range(400):
        try:
            _, control, _, to = s.recvmsg(100, 512, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)
            break
        except BlockingIOError:
            time.sleep(0.05)
    else:
        raise AssertionError("nothing comes")
    assert to == (four, CLOSED), to
    code, origin, kind, number = struct.unpack("IBBB", control[0][2][:7])
    assert (code, origin, kind, number) == (errno.ECONNREFUSED, 2, 3, 3), (code, origin, kind, number)


@habit
def a_port_is_taken_again_at_once():
    for i in range(20):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.bind(("", 40123))
        data, _ = echoed(s, (four, ECHO))
        s.close()


@habit
def one_port_for_two_sockets():
    pair = []
    for _ in range(2):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        s.bind(("", 40124))
        s.connect((four, ECHO))
        pair.append(s)
    for s in pair:
        s.send(b"x")
    for got in range(2):
        ready = select.select(pair, [], [], 20)[0]
        assert ready, got
        ready[0].recv(100)


@habit
def fast_open():
    s = socket.socket()
    s.sendto(b"GET / HTTP/1.0\r\n\r\n", 0x20000000, (four, WEB))  # MSG_FASTOPEN
    s.settimeout(10)
    assert s.recv(100).startswith(b"HTTP/1.0 200")


@habit
def zero_copy():
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, 60, 1)  # SO_ZEROCOPY
    s.connect((four, WEB))
    s.settimeout(10)
    head = b"GET / HTTP/1.0\r\nX: " + b"y" * 30000 + b"\r\n\r\n"
    sent = 0
    while sent < len(head):
        sent += s.send(head[sent:], 0x4000000)  # MSG_ZEROCOPY
    assert s.recv(100).startswith(b"HTTP/1.0 200")


@habit
def several_sends_are_one_datagram():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.connect((four, ECHO))
    s.settimeout(20)
    s.send(b"a" * 50, socket.MSG_MORE)
    s.send(b"b" * 50)
    assert len(s.recv(1000)) == 100


@habit
def an_urgent_byte_and_the_end():
    s = socket.create_connection((four, WEB))
    s.send(b"!", socket.MSG_OOB)
    s.close()


@habit
def a_port_that_refuses():
    for family, to in ((socket.AF_INET, four), (socket.AF_INET6, six)):
        s = socket.socket(family)
        s.settimeout(20)
        assert s.connect_ex((to, CLOSED)) == errno.ECONNREFUSED


@habit
def without_waiting():
    s = socket.socket()
    s.setblocking(False)
    assert s.connect_ex((four, WEB)) == errno.EINPROGRESS
    assert select.select([], [s], [], 10)[1]
    assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    s.setblocking(True)
    get(s)


@habit
def to_many_and_to_all():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    s.sendto(b"M-SEARCH", ("239.255.255.250", 1900))
    s.sendto(b"mdns", ("224.0.0.251", 5353))
    s.sendto(b"dhcp", ("255.255.255.255", 67))
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, socket.if_nametoindex("mpsocks0"))
    s.sendto(b"mdns", ("ff02::fb", 5353))


@habit
def names_by_the_c_library():
    assert socket.getaddrinfo("web.test", 80, socket.AF_INET)[0][4][0] == four
    assert socket.getaddrinfo("six.test", 80)[0][4][0] == six
    try:
        socket.getaddrinfo("nobody.invalid", 80)
    except socket.gaierror:
        return
    raise AssertionError("a name that there is not")


@habit
def what_a_protocol_nobody_has_says():
    if os.geteuid() != 0:
        return
    for family, to, want in ((socket.AF_INET, four, errno.ENOPROTOOPT), (socket.AF_INET6, six, errno.EPROTO)):
        s = socket.socket(family, socket.SOCK_RAW, 253)
        s.connect((to, 0))
        s.settimeout(20)
        s.send(b"x" * 20)
        try:
            s.recv(100)
            raise AssertionError("an answer")
        except OSError as e:
            assert e.errno == want, e


@habit
def raw_frames():
    if os.geteuid() != 0:
        return
    s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
    s.bind(("mpsocks0", 3))  # ETH_P_ALL: what is sent, too
    s.settimeout(20)
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    u.sendto(b"seen", (four, ECHO))
    while b"seen" not in s.recv(2000):
        pass
    s.send(b"\x45" + bytes(30))  # no packet at all, and nothing breaks by it


@habit
def devices_in_files():
    there = os.listdir("/sys/class/net")
    assert "mpsocks0" in there and device not in there, there
    with open("/sys/class/net/mpsocks0/mtu") as f:
        assert f.read() == "65535\n"
    with open("/proc/net/route") as f:
        assert "mpsocks0\t00000000" in f.read()


@habit
def children_of_children():
    out = subprocess.run(["sh", "-c", "(setsid sh -c 'ip -o link | wc -l') & wait; ip -o link | wc -l"], capture_output=True, text=True).stdout
    assert out.split() == ["2", "2"], out
