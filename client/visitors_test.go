package client

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mpsocks/mpsocks/client/admission"
	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// programHere is the socket of a program that a published UDP port leads to.
func programHere(t *testing.T) (net.PacketConn, netip.AddrPort) {
	t.Helper()
	program, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return program, program.LocalAddr().(*net.UDPAddr).AddrPort()
}

// TestVisitorsGiveWay has strangers with invented addresses at a published UDP port: who
// comes gets in, one house has its share, and whoever has sent again after an answer,
// which an invented address cannot, stays.
func TestVisitorsGiveWay(t *testing.T) {
	c := startWith(t, &fakeTunnel{answer: echo}, files(200), nil)
	_, to := programHere(t)
	v := newVisitors(newPublication(c, conf.Route{}))
	v.loop, v.places.Cap = c.loops[0], 16
	stranger := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, byte(113 + i>>8), byte(i)}), 9)
	}
	come := func(from netip.AddrPort) *visitor {
		t.Helper()
		one := v.visitor(from, to)
		if one == nil {
			t.Fatalf("%s is kept out, with %d there", from, len(v.by))
		}
		return one
	}
	player := netip.MustParseAddrPort("198.51.100.7:5000")
	one := come(player)
	one.answered.Store(true)
	come(player) // it has read the answer
	for i := range 200 {
		come(stranger(i))
	}
	if len(v.by) != 16 || v.by[player] != one {
		t.Errorf("%d are there, and the player is not: %v", len(v.by), v.by[player] == nil)
	}
	for i := range 200 { // one house
		a := netip.MustParseAddr("2001:db8::").As16()
		a[15] = byte(i)
		come(netip.AddrPortFrom(netip.AddrFrom16(a), 9))
	}
	house := 0
	for from := range v.by {
		if from.Addr().Is6() {
			house++
		}
	}
	if house != 16/admission.ShareOfOne || len(v.by) != 16 {
		t.Errorf("one house has %d places of %d", house, len(v.by))
	}
	// A flood does not make a socket for each address.
	in := 0
	for i := range 20 * swapsPerSecond {
		if v.visitor(stranger(i), to) != nil {
			in++
		}
	}
	if in > 10*swapsPerSecond { // in a second or two
		t.Errorf("%d of %d invented addresses have got a socket", in, 20*swapsPerSecond)
	}
	if v.by[player] != one {
		t.Error("the player has lost its place in the flood")
	}
	if n := 200 - spare(c); n != len(v.by) || v.places.Len() != n || v.fresh.Len() != n-1 {
		t.Errorf("%d descriptors, %d visitors, %d places, %d fresh", n, len(v.by), v.places.Len(), v.fresh.Len())
	}
	v.table.Lock()
	for from, one := range v.by {
		v.drop(from, one)
	}
	v.table.Unlock()
	if n := 200 - spare(c); n != 0 || v.places.Len() != 0 || v.fresh.Len() != 0 {
		t.Errorf("when all have gone: %d descriptors, %d places, %d fresh", n, v.places.Len(), v.fresh.Len())
	}
}

// TestVisitorsAreTold: a program that takes the PROXY protocol is told of each datagram whose
// it is (HAProxy, doc/proxy-protocol.txt, Section 2.2).
func TestVisitorsAreTold(t *testing.T) {
	c := start(t, &fakeTunnel{answer: echo}, nil)
	program, to := programHere(t)
	at := func(s string) *publication {
		return newPublication(c, conf.Route{Listen: netip.MustParseAddrPort(s), Proto: conf.ProtoUDP, ProxyProtocol: true})
	}
	const (
		head = "\r\n\r\n\x00\r\nQUIT\n\x21"
		from = "\xcb\x00\x71\x07"
		six  = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07"
		port = "\x13\x88\x14\xb4" // 5000 and 5300
	)
	for _, tt := range []struct{ listen, from, payload, want string }{
		{"[::]:5300", "203.0.113.7:5000", "hello", head + "\x12\x00\x0c" + from + "\x00\x00\x00\x00" + port + "hello"},
		{"192.0.2.1:5300", "203.0.113.7:5000", "", head + "\x12\x00\x0c" + from + "\xc0\x00\x02\x01" + port},
		{"[::]:5300", "[2001:db8::7]:5000", "hello", head + "\x22\x00\x24" + six + string(make([]byte, 16)) + port + "hello"},
	} {
		v := newVisitors(at(tt.listen))
		v.loop = c.loops[0]
		v.target.Store(&to)
		d := deliveries.Get().(*delivery)
		d.udp = packet.UDP{Src: netip.MustParseAddrPort(tt.from)}
		for range 2 { // each of them, and not the first alone
			v.receive(d, nil, []byte(tt.payload))
			d.w.Flush()
			b := make([]byte, 200)
			program.SetReadDeadline(time.Now().Add(20 * time.Second))
			n, _, err := program.ReadFrom(b)
			if err != nil || string(b[:n]) != tt.want {
				t.Errorf("at %s from %s: %q, %v, want %q", tt.listen, tt.from, b[:n], err, tt.want)
			}
		}
		deliveries.Put(d)
		v.table.Lock()
		for from, one := range v.by {
			v.drop(from, one)
		}
		v.table.Unlock()
	}
}

// TestOnlyTheProgramAnswers: what somebody else sends to a visitor's socket is no answer of the
// program's, which would keep the visitor's place for it.
func TestOnlyTheProgramAnswers(t *testing.T) {
	c := start(t, &fakeTunnel{}, nil)
	program, to := programHere(t)
	other, _ := programHere(t)
	v := newVisitors(newPublication(c, conf.Route{}))
	v.loop = c.loops[0]
	if err := c.ports.take(&v.innerPort, v); err != nil {
		t.Fatal(err)
	}
	defer v.close()
	v.target.Store(&to)
	one := v.visitor(netip.MustParseAddrPort("203.0.113.7:5000"), to)
	at := net.UDPAddrFromAddrPort(one.conn.LocalAddr())
	if _, err := other.WriteTo([]byte("x"), at); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is dropped", func() bool { return c.drops[dropSource].Load() == 1 })
	if one.answered.Load() || one.active.moved.Load() {
		t.Error("it counts as the program's answer")
	}
	if _, err := program.WriteTo([]byte("x"), at); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the program's does", one.answered.Load)
}

// TestVisitorsLeaveDescriptors: people outside, at published ports, have half of what
// applications may open.
func TestVisitorsLeaveDescriptors(t *testing.T) {
	c := startWith(t, &fakeTunnel{answer: echo}, files(40), nil)
	v := newVisitors(newPublication(c, conf.Route{}))
	v.loop = c.loops[0]
	most := 0
	for i := range 100 {
		v.visitor(netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}), 9), netip.MustParseAddrPort("127.0.0.1:9"))
		most = max(most, len(v.by))
	}
	if most != 40/2 || len(v.by) != most {
		t.Errorf("%d visitors of 40 descriptors", most)
	}
	talk(t, dial(t, c), []byte{5, 1, 0}, 2)
	v.table.Lock()
	for from, one := range v.by {
		v.drop(from, one)
	}
	v.table.Unlock()
	n := 0
	for n < 40 && c.crowd.Descriptors.Admit() {
		n++
	}
	if n != 40/2 {
		t.Errorf("%d may come when all have gone", n)
	}
}

// TestForwardPeersGiveWay: a forward that is full of other machines' invented addresses
// still takes a new one, and one machine has its share.
func TestForwardPeersGiveWay(t *testing.T) {
	c := start(t, &fakeTunnel{answer: echo}, forwardTo("192.0.2.50:51820"))
	f := c.front.forwards()[0]
	f.mu.Lock()
	f.places.Cap = 16
	come := func(from string) *forwardPeer {
		p := f.peer(netip.MustParseAddrPort(from))
		if p == nil {
			t.Fatalf("%s is kept out", from)
		}
		return p
	}
	old := come("192.0.2.7:1000")
	for i := range 30 {
		come(netip.AddrPortFrom(netip.MustParseAddr("192.0.2.8"), uint16(1000+i)).String())
	}
	if f.peers[old.addr] != old || len(f.peers) != 1+16/admission.ShareOfOne {
		t.Errorf("one machine has pushed another out, or has %d places", len(f.peers)-1)
	}
	for i := range 30 {
		come(netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(10 + i)}), 9).String())
		come("192.0.2.7:1000")
	}
	if f.peers[old.addr] != old || len(f.peers) != 16 {
		t.Errorf("who sends has lost its place among %d", len(f.peers))
	}
	for i := range 30 { // this machine's programs share as they like: a resolver asks from many ports
		come(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(1000+i)).String())
	}
	n := 0
	for at := range f.peers {
		if at.Addr().IsLoopback() {
			n++
		}
	}
	if n != 16 {
		t.Errorf("this machine's programs have %d places", n)
	}
	f.mu.Unlock()
	app := newApp(t, "127.0.0.1", f.conn.LocalAddr())
	app.exchange(t, "hello")
}

// TestDoorsThatWantAPassword: where SOCKS has users, no other door of the port is open
// without one.
func TestDoorsThatWantAPassword(t *testing.T) {
	f := &fakeTunnel{answer: echo, exit: armonExit(t)}
	c := start(t, f, func(cfg *conf.Client) { cfg.Users = oneUser })
	uot := "\x05\x01\x00\x03\x17" + uotHost + "\x00\x50"
	for name, tt := range map[string]struct{ says, want string }{
		"SOCKS4":           {"\x04\x01\x00\x50\xc0\x00\x02\x01u\x00", "\x00\x5b\x00\x00\x00\x00\x00\x00"},
		"SOCKS4A":          {"\x04\x01\x00\x50\x00\x00\x00\x01ann\x00example.com\x00", "\x00\x5b\x00\x00\x00\x00\x00\x00"},
		"CONNECT":          {"\x05\x01\x00\x05\x01\x00\x01\xc0\x00\x02\x01\x00\x50", "\x05\xff"},
		"UDP ASSOCIATE":    {"\x05\x01\x00\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00", "\x05\xff"},
		"command 5":        {"\x05\x01\x00\x05\x05\x00\x01\x00\x00\x00\x00\x00\x00", "\x05\xff"},
		"command F3":       {"\x05\x01\x00\x05\xf3\x00\x01\x00\x00\x00\x00\x00\x00", "\x05\xff"},
		"UDP over TCP":     {"\x05\x01\x00" + uot, "\x05\xff"},
		"the same, 4A":     {string(ask4(1, uotHost+":0", "ann")), "\x00\x5b\x00\x00\x00\x00\x00\x00"},
		"the same, HTTP":   {"CONNECT " + uotHost + ":0 HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 407 "},
		"both methods":     {"\x05\x02\x00\x02" + "\x01\x03ann\x05wrong" + uot, "\x05\x02\x01\x01"},
		"an empty name":    {"\x05\x01\x02" + "\x01\x00\x00" + uot, "\x05\x02\x01\x01"},
		"HTTP CONNECT":     {"CONNECT 192.0.2.1:80 HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 407 "},
		"HTTP":             {"GET http://192.0.2.1/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.1 407 "},
		"HTTP, own header": {"GET http://192.0.2.1/ HTTP/1.1\r\nHost: x\r\nAuthorization: Basic YW5uOnNlY3JldA==\r\n\r\n", "HTTP/1.1 407 "},
	} {
		conn := dial(t, c)
		conn.Write([]byte(tt.says))
		conn.CloseWrite()
		got := make([]byte, 64)
		n := 0
		for n < len(tt.want) {
			k, err := conn.Read(got[n:])
			n += k
			if err != nil {
				break
			}
		}
		if n < len(tt.want) || string(got[:len(tt.want)]) != tt.want {
			t.Errorf("%s: %q, want %q", name, got[:n], tt.want)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.sources) != 0 || c.Status().Streams != 0 {
		t.Errorf("something went through: %v, %d streams", f.sources, c.Status().Streams)
	}
}

// seekers are the visitors of a published UDP port whose program has a name.
func seekers(host string) *visitors {
	c := &Client{log: nopLog}
	return newVisitors(newPublication(c, conf.Route{Host: host, Port: 7, Proto: conf.ProtoUDP}))
}

// A program whose name is not known when its port is published, as at the start of a machine, is
// found when it is.
func TestProgramThatComesLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := seekers("nas.lan")
		known := time.Now().Add(time.Minute)
		v.lookup = func(context.Context, string, string) ([]netip.Addr, error) {
			if time.Now().Before(known) {
				return nil, errors.New("no such host")
			}
			return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		v.resolve(ctx)
		go v.follow(ctx)
		time.Sleep(2 * time.Minute)
		if to := v.target.Load(); to == nil || to.String() != "192.0.2.1:7" {
			t.Errorf("it is at %v", to)
		}
		cancel()
	})
}

// An answer that comes when the port leads elsewhere already is not where it leads.
func TestProgramThatHasMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := seekers("old.lan")
		v.lookup = func(_ context.Context, _, host string) ([]netip.Addr, error) {
			if host == "old.lan" {
				time.Sleep(5 * time.Second)
				return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil
			}
			return []netip.Addr{netip.MustParseAddr("192.0.2.2")}, nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		go v.resolve(ctx)
		go v.follow(ctx)
		time.Sleep(time.Second)
		v.publication.move(conf.Route{Host: "new.lan", Port: 7, Proto: conf.ProtoUDP})
		time.Sleep(time.Minute)
		if to := v.target.Load(); to == nil || to.String() != "192.0.2.2:7" {
			t.Errorf("it leads to %v", to)
		}
		cancel()
	})
}

// A program whose machine gets another address is found there, and an address that its name still
// has is kept, in whatever order they come.
func TestProgramThatGetsAnotherAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := seekers("nas.lan")
		old, other := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
		start := time.Now()
		v.lookup = func(context.Context, string, string) ([]netip.Addr, error) {
			switch time.Since(start) / (3 * time.Minute) {
			case 0:
				return []netip.Addr{old}, nil
			case 1:
				return []netip.Addr{other, old}, nil
			case 2:
				return nil, errors.New("the name server is gone")
			}
			return []netip.Addr{other}, nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		v.resolve(ctx)
		go v.follow(ctx)
		time.Sleep(time.Second)
		for _, want := range []string{"192.0.2.1:7", "192.0.2.1:7", "192.0.2.1:7", "192.0.2.2:7"} {
			time.Sleep(3*time.Minute - 2*time.Second)
			if to := v.target.Load(); to == nil || to.String() != want {
				t.Errorf("after %v it is at %v, and not at %s", time.Since(start), to, want)
			}
			time.Sleep(2 * time.Second)
		}
	})
}

// Of localhost's addresses the program is taken to be at IPv4's, where nearly all are; another
// name's first is taken. A zone is an interface's name, as it is in what comes from there.
func TestWhereAProgramIs(t *testing.T) {
	for _, c := range [][2]string{
		{"::1 127.0.0.1", "127.0.0.1:7"},
		{"::1", "[::1]:7"},
		{"2001:db8::1 192.0.2.1", "[2001:db8::1]:7"},
		{"::ffff:192.0.2.1", "192.0.2.1:7"},
		{"fe80::1%1", "[fe80::1%lo]:7"},
		{"fe80::1%4711", "[fe80::1%4711]:7"},
	} {
		var list []netip.Addr
		for _, a := range strings.Fields(c[0]) {
			list = append(list, netip.MustParseAddr(a))
		}
		want := c[1]
		if i, err := net.InterfaceByIndex(1); err == nil {
			want = strings.Replace(want, "%lo", "%"+i.Name, 1)
		}
		if to := programAt(likeliest(list), 7); to.String() != want {
			t.Errorf("%s: it is at %v, and not at %s", c[0], to, want)
		}
	}
}
