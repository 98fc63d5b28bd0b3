package client

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/packet"
	"github.com/mpsocks/mpsocks/mux/tcpio"
)

// app is an application's UDP socket.
type app struct {
	*net.UDPConn
	relay netip.AddrPort
}

func newApp(t testing.TB, local string, relay netip.AddrPort) *app {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(local)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetReadBuffer(1 << 20)
	return &app{conn, relay}
}

// relayOf reads the relay's address from a reply.
func relayOf(reply []byte) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(reply[4:8])), binary.BigEndian.Uint16(reply[8:10]))
}

// associated asks for an association; want is DST of the request.
func associated(t testing.TB, c *Client, want netip.AddrPort) (*net.TCPConn, netip.AddrPort) {
	t.Helper()
	conn := dial(t, c)
	in := []byte{5, 1, 0, 5, 3, 0, 0, 0, 0, 0, 0, 0, 0}
	putHeader(in[3:], want)
	in[3], in[4] = 5, 3
	out := talk(t, conn, in, 12)
	if out[3] != 0 {
		t.Fatalf("reply % x", out)
	}
	return conn, relayOf(out[2:])
}

var anywhere = netip.MustParseAddrPort("0.0.0.0:0")

// datagram writes a SOCKS datagram; a destination that is no address is a name.
func datagram(frag byte, to string, payload []byte) []byte {
	if dst, err := netip.ParseAddrPort(to); err == nil {
		b := make([]byte, headerLen(dst.Addr()), headerLen(dst.Addr())+len(payload))
		putHeader(b, dst)
		b[2] = frag
		return append(b, payload...)
	}
	host, port, _ := net.SplitHostPort(to)
	var p uint16
	fmt.Sscan(port, &p)
	b := append([]byte{0, 0, frag, 3, byte(len(host))}, host...)
	return append(binary.BigEndian.AppendUint16(b, p), payload...)
}

func (a *app) send(t testing.TB, b []byte) {
	t.Helper()
	if _, err := a.WriteToUDPAddrPort(b, a.relay); err != nil {
		t.Fatal(err)
	}
}

// receive reads one datagram and takes its header off.
func (a *app) receive(t testing.TB) (from netip.AddrPort, payload []byte) {
	t.Helper()
	b := make([]byte, 1<<16)
	a.SetReadDeadline(time.Now().Add(20 * time.Second))
	n, relay, err := a.ReadFromUDPAddrPort(b)
	if err != nil {
		t.Fatal(err)
	}
	if relay.Port() != a.relay.Port() {
		t.Errorf("from %s, not the relay", relay)
	}
	var h header
	k, err := parseHeader(b[:n], &h)
	if err != nil {
		t.Fatal(err)
	}
	return h.to, b[k:n]
}

func (a *app) echoes(t testing.TB, to string, payload []byte) {
	t.Helper()
	a.send(t, datagram(0, to, payload))
	from, got := a.receive(t)
	if from.String() != to || !bytes.Equal(got, payload) {
		t.Errorf("%d bytes to %s: %d bytes from %s", len(payload), to, len(got), from)
	}
}

func TestAssociationEchoes(t *testing.T) {
	f := &fakeTunnel{answer: echo}
	c := start(t, f, nil)
	_, relay := associated(t, c, anywhere)
	a := newApp(t, "127.0.0.1", relay)
	for _, to := range []string{"192.0.2.1:7", "[2001:db8::1]:7", "192.0.2.1:8"} {
		for _, size := range []int{1, 0, 1200, 9000, 65507 - headerLen6} {
			a.echoes(t, to, bytes.Repeat([]byte{byte(size)}, size))
		}
	}
	for _, h := range f.sent() { // honest headers; the session counts the packets
		if h.TTL != innerTTL || h.Src.Port() != f.sent()[0].Src.Port() {
			t.Errorf("%+v", h)
		}
		if want := packet.ClientHost4; h.Dst.Addr().Is4() && h.Src.Addr() != want {
			t.Errorf("from %s, want %s", h.Src, want)
		}
		if want := packet.ClientHost6; h.Dst.Addr().Is6() && h.Src.Addr() != want {
			t.Errorf("from %s, want %s", h.Src, want)
		}
	}
}

func TestAssociationLivesAsLongAsItsConnection(t *testing.T) {
	f := &fakeTunnel{answer: echo}
	c := start(t, f, nil)
	conn, relay := associated(t, c, anywhere)
	a := newApp(t, "127.0.0.1", relay)
	a.echoes(t, "192.0.2.1:7", []byte("one"))
	conn.Write([]byte("what an application sends here means nothing"))
	a.echoes(t, "192.0.2.1:7", []byte("two"))
	conn.Close()
	eventually(t, "the association has gone", func() bool { return c.Status().Associations == 0 })
	eventually(t, "its port is free", func() bool {
		again, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(relay))
		if err == nil {
			again.Close()
		}
		return err == nil
	})
	before := c.drops[dropNoPort].Load()
	c.downlink.Deliver(echo(f.sent()[0], []byte("late")))
	if n := c.drops[dropNoPort].Load() - before; n != 1 {
		t.Errorf("%d late packets counted", n)
	}
}

// TestAssociationOfAnyAddress has requests say in every way where datagrams will come from, RFC 1928,
// Section 7: not at all, by the port alone, by a name, or wrongly as seen from behind a NAT.
func TestAssociationOfAnyAddress(t *testing.T) {
	c := start(t, &fakeTunnel{answer: echo}, nil)
	zeros := func(n int) string { return string(make([]byte, n)) }
	for name, address := range map[string]string{
		"nothing":              "\x01" + zeros(6),
		"nothing, IPv6":        "\x04" + zeros(18),
		"nothing, IPv4-mapped": "\x04" + zeros(10) + "\xff\xff" + zeros(6),
		"the empty name":       "\x03" + zeros(3),
		"port 7 of no name":    "\x03\x00\x00\x07",
		"port 7 alone":         "\x01" + zeros(4) + "\x00\x07",
		"a name":               "\x03\x09localhost" + zeros(2),
		"a name and port 7":    "\x03\x09localhost\x00\x07",
		"a name of zeros":      "\x03\x07" + "0.0.0.0" + zeros(2),
		"another host":         "\x01\xc0\xa8\x01\x05\x10\x00",
		"another host, IPv6":   "\x04\xfd" + zeros(14) + "\x05\x10\x00",
	} {
		for _, piece := range []int{1 << 10, 1} {
			conn := dial(t, c)
			talk(t, conn, []byte("\x05\x01\x00"), 2)
			in := []byte("\x05\x03\x00" + address)
			for len(in) > piece {
				talk(t, conn, in[:piece], 0)
				in = in[piece:]
			}
			out := talk(t, conn, in, 10)
			if out[1] != repSuccess {
				t.Errorf("%s: reply % x", name, out)
				continue
			}
			newApp(t, "127.0.0.1", relayOf(out)).echoes(t, "192.0.2.1:7", []byte(name))
		}
	}
}

func TestAssociationOnlyItsApplicationMaySend(t *testing.T) {
	f := &fakeTunnel{answer: echo}
	c := start(t, f, nil)
	_, relay := associated(t, c, anywhere)
	stranger := newApp(t, "127.0.0.2", relay)
	stranger.send(t, datagram(0, "192.0.2.1:7", []byte("no")))
	eventually(t, "a stranger's datagram is dropped", func() bool { return c.drops[dropSource].Load() == 1 })
	a := newApp(t, "127.0.0.1", relay)
	a.echoes(t, "192.0.2.1:7", []byte("yes"))
	stranger.send(t, datagram(0, "192.0.2.1:7", []byte("no")))
	eventually(t, "the stranger is counted", func() bool { return c.drops[dropSource].Load() == 2 })
	a.echoes(t, "192.0.2.1:7", []byte("still"))
	if n := len(f.sent()); n != 2 {
		t.Errorf("%d packets were sent, want 2", n)
	}
}

func TestBadDatagramsEndNothing(t *testing.T) {
	c := start(t, &fakeTunnel{answer: echo}, nil)
	_, relay := associated(t, c, anywhere)
	a := newApp(t, "127.0.0.1", relay)
	for _, bad := range [][]byte{
		{},
		{0},
		{0, 0, 0, 9, 1, 2, 3},
		{0, 0, 0, 3, 0, 0, 7},
		{0, 0, 0, 1, 1, 2, 3, 4},
		datagram(0, "192.0.2.1:0", []byte("port 0")),
		datagram(0, "a..b:7", []byte("no name")),
		datagram(0x85, "192.0.2.1:7", []byte("fragment from nowhere")),
		datagram(0x80, "192.0.2.1:7", []byte("end at position 0")),
	} {
		a.send(t, bad)
	}
	a.echoes(t, "192.0.2.1:7", []byte("alive"))
	s := c.Status()
	for reason, want := range map[string]uint64{"header": 5, "port": 1, "name": 1, "fragment": 2} {
		if s.Drops[reason] != want {
			t.Errorf("%s: %d drops, want %d (all: %v)", reason, s.Drops[reason], want, s.Drops)
		}
	}
}

func TestBadPacketsFromTheTunnelEndNothing(t *testing.T) {
	f := &fakeTunnel{answer: echo}
	c := start(t, f, nil)
	_, relay := associated(t, c, anywhere)
	c.downlink.Deliver([][]byte{nil, {0x45}, bytes.Repeat([]byte{0xff}, 60)})
	a := newApp(t, "127.0.0.1", relay)
	a.echoes(t, "192.0.2.1:7", []byte("alive"))
	// Unasked ones arrive too: who may send is the server's affair.
	c.downlink.Deliver([][]byte{respond(packet.UDP{
		Src: f.sent()[0].Src, Dst: netip.MustParseAddrPort("203.0.113.9:99"), TTL: 9,
	}, []byte("hello"))})
	if from, payload := a.receive(t); from.String() != "203.0.113.9:99" || string(payload) != "hello" {
		t.Errorf("%q from %s", payload, from)
	}
}

func TestAssociationLimits(t *testing.T) {
	c := start(t, &fakeTunnel{}, func(cfg *conf.Client) { cfg.Limits.Associations = 2 })
	first, _ := associated(t, c, anywhere)
	associated(t, c, anywhere)
	refused := dial(t, c)
	if out := talk(t, refused, []byte("\x05\x01\x00\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00"), 12); out[3] != repFailure {
		t.Errorf("% x", out)
	}
	if _, err := io.ReadAll(refused); err != nil {
		t.Errorf("after the refusal: %v", err)
	}
	first.Close()
	eventually(t, "there is room again", func() bool { return c.Status().Associations == 1 })
	associated(t, c, anywhere)
}

func TestRelayPortsAndPublicAddress(t *testing.T) {
	probe := newApp(t, "127.0.0.1", netip.AddrPort{})
	from := uint16(probe.LocalAddr().(*net.UDPAddr).Port)
	if from > 65000 {
		from = 20000
	}
	c := start(t, &fakeTunnel{}, func(cfg *conf.Client) {
		cfg.UDP.Ports = conf.PortRange{From: from, To: from + 4} // one is taken, perhaps more
		cfg.UDP.PublicAddress = []netip.Addr{netip.MustParseAddr("203.0.113.80")}
	})
	_, relay := associated(t, c, anywhere)
	if relay.Port() < from || relay.Port() > from+4 {
		t.Errorf("relay port %d is not in the range", relay.Port())
	}
	if relay.Addr() != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("a local application is told %s", relay.Addr())
	}
	refused := false
	for range 5 {
		out := talk(t, dial(t, c), []byte("\x05\x01\x00\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00"), 12)
		refused = refused || out[3] == repFailure
	}
	if !refused {
		t.Error("more relay ports than the range has")
	}
}

// countedSocket counts what is read of it.
type countedSocket struct {
	tcpio.Socket
	reads atomic.Int64
}

func (s *countedSocket) Read(b []byte) (int, error) {
	s.reads.Add(1)
	return s.Socket.Read(b)
}

// TestControlIsDrained: what an application sends by its control connection, where nothing is
// expected, costs no call of the system for each byte.
func TestControlIsDrained(t *testing.T) {
	c := start(t, &fakeTunnel{}, nil)
	app, conn := tcpPair(t)
	control := &countedSocket{Socket: conn}
	if !c.crowd.Enter(control) {
		t.Fatal("it does not come in")
	}
	if err := associate(c, control, "", netip.AddrPort{}); err != nil {
		t.Fatal(err)
	}
	const size = 256 << 10
	if _, err := app.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	app.Close()
	eventually(t, "the association ends", func() bool { n, _ := c.associations.State(); return n == 0 })
	if n := control.reads.Load(); n > size/16 {
		t.Errorf("%d bytes are read in %d calls", size, n)
	}
}
