package client

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/muxtest"
	"github.com/mpsocks/mpsocks/mux/packet"
	"github.com/mpsocks/mpsocks/mux/udpio"
)

func forwardTo(to string) func(*conf.Client) {
	return func(cfg *conf.Client) {
		cfg.Forwards = []conf.Forward{{Listen: conf.EndpointOf(netip.MustParseAddrPort("127.0.0.1:0")), To: to}}
	}
}

func (a *app) exchange(t testing.TB, payload string) string {
	t.Helper()
	a.send(t, []byte(payload))
	b := make([]byte, 1500)
	a.SetReadDeadline(time.Now().Add(20 * time.Second))
	n, _, err := a.ReadFromUDPAddrPort(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

func TestForward(t *testing.T) {
	z := &zone{ttl: 300, addrs: map[string][]string{"vpn.test": {"192.0.2.51"}}}
	for _, tt := range []struct{ to, dst string }{
		{"192.0.2.50:51820", "192.0.2.50:51820"},
		{"[2001:db8::50]:51820", "[2001:db8::50]:51820"},
		{"VPN.test:51820", "192.0.2.51:51820"},
	} {
		t.Run(tt.to, func(t *testing.T) {
			f := &fakeTunnel{answer: z.answer}
			c := start(t, f, forwardTo(tt.to))
			listen := c.front.forwards()[0].conn.LocalAddr()
			one, two := newApp(t, "127.0.0.1", listen), newApp(t, "127.0.0.2", listen)
			for _, text := range []string{"a", "", "b"} {
				if got := one.exchange(t, "1"+text) + two.exchange(t, "2"+text); got != "1"+text+"2"+text {
					t.Errorf("%q", got)
				}
			}
			sources := map[netip.AddrPort]bool{}
			var last packet.UDP
			for _, h := range f.sent() {
				if h.Dst == resolver {
					continue
				}
				last = h
				sources[h.Src] = true
				if h.Dst.String() != tt.dst {
					t.Errorf("sent to %s", h.Dst)
				}
			}
			if len(sources) != 2 {
				t.Errorf("%d inner ports for 2 applications", len(sources))
			}
			// Somebody else's packets are not the destination's.
			last.Dst = netip.AddrPortFrom(last.Dst.Addr(), 9)
			c.downlink.Deliver(echo(last, []byte("no")))
			if n := c.drops[dropSource].Load(); n != 1 {
				t.Errorf("%d drops", n)
			}
		})
	}
}

// A batch that was on its way when the forward ended makes nobody known: no sweep would find
// them, and the server would be told for good that their ports are open.
func TestForwardThatHasEndedTakesNobody(t *testing.T) {
	c := start(t, &fakeTunnel{answer: echo}, forwardTo("192.0.2.50:51820"))
	f := c.front.forwards()[0]
	before := c.ports.used()
	f.close()
	m := []udpio.Message{{Buf: buf.Get(1), Addr: netip.MustParseAddrPort("127.0.0.1:4000")}}
	f.uplink(f.conn, m)
	if n := c.ports.used(); n != before || f.count() != 0 || c.drops[dropClosed].Load() != 1 {
		t.Errorf("%d inner ports, %d before; %d applications, %d drops", n, before, f.count(), c.drops[dropClosed].Load())
	}
	if m[0].Buf != nil {
		m[0].Buf.Release()
	}
}

func TestForwardIdlePeersGo(t *testing.T) {
	c := start(t, &fakeTunnel{answer: echo}, forwardTo("192.0.2.50:51820"))
	f := c.front.forwards()[0]
	idle, busy := newApp(t, "127.0.0.1", f.conn.LocalAddr()), newApp(t, "127.0.0.1", f.conn.LocalAddr())
	idle.exchange(t, "x")
	busy.exchange(t, "x")
	for range forwardIdle + 1 {
		busy.exchange(t, "x")
		f.sweep()
	}
	if n := f.count(); n != 1 {
		t.Errorf("%d applications are left", n)
	}
	idle.exchange(t, "back again")
	if n := f.count(); n != 2 {
		t.Errorf("%d applications", n)
	}
}

func TestForwardErrors(t *testing.T) {
	for _, to := range []string{"nowhere", "host:0", "host:70000", "ho st:1", ":1"} {
		cfg := conf.DefaultClient()
		cfg.Listen = nil
		forwardTo(to)(cfg)
		if _, err := newClient(cfg, nopLog, &fakeTunnel{}, 0); err == nil {
			t.Errorf("%q was taken", to)
		}
	}
}

// tcpForward has a forward of TCP to what a tcpServer's request asks for.
func tcpForward(t *testing.T, proto conf.Proto, serve func(*net.TCPConn)) *Client {
	request := tcpServer(t, serve)
	port := int(request[len(request)-2])<<8 | int(request[len(request)-1])
	return start(t, &fakeTunnel{answer: echo, exit: armonExit(t)}, func(cfg *conf.Client) {
		cfg.Forwards = []conf.Forward{{
			Listen: conf.EndpointOf(netip.MustParseAddrPort("127.0.0.1:0")), To: fmt.Sprintf("localhost:%d", port), Proto: proto,
		}}
	})
}

func TestForwardTCP(t *testing.T) {
	c := tcpForward(t, conf.ProtoTCP, func(conn *net.TCPConn) {
		all, _ := io.ReadAll(conn)
		conn.Write(append([]byte("got "), all...))
	})
	conn, err := net.Dial("tcp", c.front.forwards()[0].address().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	conn.Write([]byte("a question"))
	conn.(*net.TCPConn).CloseWrite()
	if all, err := io.ReadAll(conn); err != nil || string(all) != "got a question" {
		t.Errorf("%q, %v", all, err)
	}
	eventually(t, "nothing is left", func() bool { return c.Status().Streams == 0 })
}

// TestForwardTCPListens is a program that says nothing and ends its direction at
// once, to hear a banner.
func TestForwardTCPListens(t *testing.T) {
	c := tcpForward(t, conf.ProtoTCP, func(conn *net.TCPConn) {
		time.Sleep(50 * time.Millisecond)
		conn.Write([]byte("220 hello"))
	})
	conn, err := net.Dial("tcp", c.front.forwards()[0].address().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	conn.(*net.TCPConn).CloseWrite()
	if all, err := io.ReadAll(conn); err != nil || string(all) != "220 hello" {
		t.Errorf("%q, %v", all, err)
	}
}

// TestForwardTCPRefused wants a reset, as a host where nobody listens gives.
func TestForwardTCPRefused(t *testing.T) {
	c := start(t, &fakeTunnel{exit: armonExit(t)}, func(cfg *conf.Client) {
		cfg.Forwards = []conf.Forward{{Listen: conf.EndpointOf(netip.MustParseAddrPort("127.0.0.1:0")), To: "127.0.0.1:1", Proto: conf.ProtoTCP}}
	})
	conn, err := net.Dial("tcp", c.front.forwards()[0].address().String())
	if errors.Is(err, syscall.ECONNRESET) {
		return // it came before connect had returned
	}
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%v", err)
	}
}

// TestForwardRange leads a range of ports to as many, of both protocols.
func TestForwardRange(t *testing.T) {
	from, err := muxtest.FreeRange(3)
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeTunnel{answer: echo, exit: armonExit(t)}
	cfg := conf.DefaultClient()
	cfg.Listen = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	cfg.Forwards = []conf.Forward{{
		Listen: conf.Endpoint{Addr: netip.MustParseAddr("127.0.0.1"), Ports: conf.PortRange{From: from, To: from + 2}},
		To:     "192.0.2.1:700-702", Proto: conf.ProtoBoth,
	}}
	c := start(t, f, func(into *conf.Client) { *into = *cfg })
	if n := len(c.front.forwards()); n != 6 {
		t.Fatalf("%d forwards", n)
	}
	for i := range uint16(3) {
		newApp(t, "127.0.0.1", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), from+i)).exchange(t, "x")
		if h := f.sent()[i]; h.Dst.Port() != 700+i {
			t.Errorf("port %d leads to %s", from+i, h.Dst)
		}
	}
}

// A datagram for a published port whose program is not found is dropped and counted.
func TestVisitorsWithoutAProgram(t *testing.T) {
	a := bare(t, new(sink))
	v := &visitors{by: make(map[netip.AddrPort]*visitor)}
	v.client = a.client
	v.receive(new(delivery), nil, []byte("x"))
	if n := a.client.drops[dropNoPeer].Load(); n != 1 {
		t.Errorf("%d were dropped", n)
	}
}
