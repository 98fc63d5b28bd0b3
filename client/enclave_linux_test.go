package client

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/client/admission"
	"github.com/mpsocks/mpsocks/client/sockdiag"
	"github.com/mpsocks/mpsocks/client/tun"
	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// Of the programs of a whole machine one user's do not take all streams from another's, nor
// one other machine's: the last eighth is for who has less. One program with a network of its
// own is one user, whatever its connections come from.
func TestEnclaveSharesStreams(t *testing.T) {
	f := &fakeTunnel{exit: func(conn net.Conn) {
		io.ReadFull(conn, make([]byte, 13))
		conn.Write([]byte{5, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
		io.Copy(io.Discard, conn)
	}}
	const most = 16
	c := start(t, f, func(cfg *conf.Client) { cfg.Limits.Streams = most })
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	to := ln.Addr().(*net.TCPAddr).AddrPort()
	// ofUser is the address of a connection whose socket is that user's.
	ofUser := func(uid int) netip.AddrPort {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		before, _ := unix.SetfsuidRetUid(uid)
		defer unix.Setfsuid(before)
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0) // as that user
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}); err != nil {
			t.Fatal(err)
		}
		at, err := unix.Getsockname(fd)
		if err != nil {
			t.Fatal(err)
		}
		in := at.(*unix.SockaddrInet4)
		if got, ok := sockdiag.TCPOwner(netip.AddrPortFrom(netip.AddrFrom4(in.Addr), uint16(in.Port)), to); !ok || got != uint32(uid) {
			t.Skip("the system does not tell whose a socket is, or makes none for others")
		}
		return netip.AddrPortFrom(netip.AddrFrom4(in.Addr), uint16(in.Port))
	}
	machine := func(last byte) func() netip.AddrPort {
		return func() netip.AddrPort { return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, last}), 4000) }
	}
	user := func(uid int) func() netip.AddrPort { return func() netip.AddrPort { return ofUser(uid) } }
	for name, who := range map[string]struct {
		program       string
		greedy, other func() netip.AddrPort
		shared        bool
	}{
		"users":    {conf.TUNUser, user(1001), user(1002), true},
		"machines": {conf.TUNUser, machine(1), machine(2), true},
		"program":  {"browser", user(1001), user(1002), false},
	} {
		t.Run(name, func(t *testing.T) {
			g, err := newEnclave(c, Program{Name: who.program})
			if err != nil {
				t.Fatal(err)
			}
			var held []tun.Stream
			defer func() {
				for _, st := range held {
					st.Close()
				}
			}()
			open := func(from netip.AddrPort) bool {
				st, err := g.Connect(t.Context(), from, to)
				if err == nil {
					held = append(held, st)
				} else if !errors.Is(err, errTooManyStreams) {
					t.Error(err)
				}
				return err == nil
			}
			for open(who.greedy()) {
			}
			if n := len(held); n != most-most/admission.Reserve {
				t.Errorf("one has %d of %d", n, most)
			}
			if open(who.other()) != who.shared {
				t.Errorf("another one gets some: %v", !who.shared)
			}
		})
	}
}

// So it is with UDP sockets, which count as associations: whose one is, the system is asked.
func TestEnclaveSharesAssociations(t *testing.T) {
	const most = 16
	c := start(t, &fakeTunnel{}, func(cfg *conf.Client) { cfg.Limits.Associations = most })
	user := func(uid uint32) tun.Holder { return tun.Holder{UID: uid, User: true} }
	machine := func(last byte) tun.Holder { return tun.Holder{Host: netip.AddrFrom4([4]byte{192, 0, 2, last})} }
	for name, who := range map[string]struct {
		program       string
		greedy, other tun.Holder
		shared        bool
	}{
		"users":    {conf.TUNUser, user(1001), user(1002), true},
		"machines": {conf.TUNUser, machine(1), machine(2), true},
		"program":  {"browser", machine(1), machine(2), false},
	} {
		t.Run(name, func(t *testing.T) {
			g, err := newEnclave(c, Program{Name: who.program})
			if err != nil {
				t.Fatal(err)
			}
			held := 0
			open := func(by tun.Holder) bool {
				p, err := g.Open(by, tun.Sink{})
				if err == nil {
					held++
					t.Cleanup(p.Close)
				} else if !errors.Is(err, errTooManyAssociations) {
					t.Error(err)
				}
				return err == nil
			}
			for open(who.greedy) {
			}
			if held != most-most/admission.Reserve {
				t.Errorf("one has %d of %d", held, most)
			}
			if open(who.other) != who.shared {
				t.Errorf("another one gets some: %v", !who.shared)
			}
		})
	}
	sock, err := net.ListenUDP("udp4", nil) // as programs have them: bound to no address
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close()
	at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), sock.LocalAddr().(*net.UDPAddr).AddrPort().Port())
	to := netip.MustParseAddrPort("192.0.2.1:53")
	g, err := newEnclave(c, Program{Name: conf.TUNUser})
	if err != nil {
		t.Fatal(err)
	}
	if _, tells := sockdiag.UDPOwner(at, to); !tells {
		t.Skip("the system does not tell whose a socket is")
	}
	if got, want := tun.HolderOf(g.Owner, packet.ProtoUDP, at, to), user(uint32(os.Getuid())); got != want {
		t.Errorf("a socket of this user counts for %+v", got)
	}
}

// What a program wants is asked for each of its sockets and connections, of the session
// and of the server, and no longer than they live.
func TestEnclaveWishes(t *testing.T) {
	f := &fakeTunnel{ids: map[string]uint8{"dsl": 1, "lte": 4}, exit: func(conn net.Conn) {
		b := make([]byte, 13)
		io.ReadFull(conn, b)
		conn.Write([]byte{5, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
		io.Copy(io.Discard, conn)
	}}
	c := start(t, f, func(cfg *conf.Client) {
		cfg.Paths = []conf.Path{{Name: "dsl", Bind: "lo"}, {Name: "lte", Bind: "lo"}}
	})
	backup := uint8(mux.ClassBackup)
	for _, test := range []struct {
		program Program
		want    mux.Wish
		class   uint8
		paths   uint32
	}{
		{Program{}, mux.Wish{}, packet.WishNoClass, 0},
		{Program{Class: "backup"}, mux.Wish{Class: mux.ClassBackup, Asked: true}, backup, 0},
		{Program{Paths: []string{"lte"}}, mux.Wish{Paths: []string{"lte"}}, packet.WishNoClass, 1 << 4},
		{
			Program{Class: "latency", Paths: []string{"lte", "dsl"}},
			mux.Wish{Class: mux.ClassLatency, Asked: true, Paths: []string{"lte", "dsl"}},
			uint8(mux.ClassLatency), 1<<4 | 1<<1,
		},
	} {
		test.program.Name = "iperf3"
		g, err := newEnclave(c, test.program)
		if err != nil {
			t.Fatal(err)
		}
		p, err := g.Open(tun.Holder{}, tun.Sink{})
		if err != nil {
			t.Fatal(err)
		}
		st, err := g.Connect(t.Context(), netip.MustParseAddrPort("198.18.255.2:4000"), netip.MustParseAddrPort("192.0.2.1:80"))
		if err != nil {
			t.Fatal(err)
		}
		at, _ := innerAddr(st)
		var ends []packet.End
		for _, x := range []struct {
			proto uint8
			at    netip.AddrPort
		}{{packet.ProtoUDP, p.(*enclavePort).at()}, {packet.ProtoTCP, at}} {
			end, ok := packet.EndAt(x.proto, x.at)
			if !ok {
				t.Fatalf("%v is not inside the tunnel", x.at)
			}
			ends = append(ends, end)
			if got := f.wished(end); !got.Empty() != !test.want.Empty() || got.Class != test.want.Class || !slices.Equal(got.Paths, test.want.Paths) {
				t.Errorf("%+v: %+v", test.program, got)
			}
			if told, ok := f.lastTold(end); ok != !test.want.Empty() || ok && (told.Class != test.class || told.Paths != test.paths) {
				t.Errorf("%+v: the server was told %+v", test.program, told)
			}
		}
		p.Close()
		st.Close()
		for _, end := range ends {
			if got := f.wished(end); !got.Empty() {
				t.Errorf("%+v: %+v after the end", test.program, got)
			}
			if told, ok := f.lastTold(end); ok && (told.Class != packet.WishNoClass || told.Paths != 0) {
				t.Errorf("%+v: the server was last told %+v", test.program, told)
			}
		}
	}
	for _, p := range []Program{{Class: "fast"}, {Paths: []string{"dsl", "wifi"}}} {
		if _, err := newEnclave(c, p); err == nil {
			t.Errorf("%+v is taken", p)
		} else if p.Paths != nil && !strings.Contains(err.Error(), `"wifi"; there are dsl, lte`) {
			t.Error(err)
		}
	}
}

// The server is told again when a path has another address ID, when the session has other
// keys, and from time to time, but not more often.
func TestWishesAreToldAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeTunnel{ids: map[string]uint8{"dsl": 1}}
		c := &Client{tunnel: f}
		c.wishes.client = c
		at := netip.AddrPortFrom(packet.ClientHost4, 4000)
		end, _ := packet.EndAt(packet.ProtoUDP, at)
		count := func() int { f.mu.Lock(); defer f.mu.Unlock(); return len(f.told) }
		c.wishes.ask(packet.ProtoUDP, at, mux.Wish{Paths: []string{"dsl"}})
		time.Sleep(10*wishTick + wishTick/2)
		if n := count(); n != 1 && n != 2 { // the round begins with the first tick
			t.Errorf("told %d times in ten seconds", n)
		}
		before := count()
		f.mu.Lock()
		f.ids["dsl"] = 0
		f.mu.Unlock()
		time.Sleep(wishTick)
		if told, _ := f.lastTold(end); count() != before+1 || told.Paths != 1 {
			t.Errorf("another ID: told %d times more, %+v", count()-before, told)
		}
		f.mu.Lock()
		f.epoch++
		f.mu.Unlock()
		time.Sleep(wishTick)
		if count() != before+2 {
			t.Errorf("other keys: told %d times more", count()-before)
		}
		time.Sleep(wishAgain + wishTick)
		if count() != before+3 {
			t.Errorf("after %v: told %d times more", wishAgain, count()-before)
		}
		c.wishes.end(packet.ProtoUDP, at)
		before = count()
		time.Sleep(3 * wishAgain)
		if count() != before {
			t.Error("told of nothing")
		}
		c.wishes.stop()
	})
}

// A client refuses a class that it does not know for good, and before it says that the
// device is served.
func TestGrantOfNoClass(t *testing.T) {
	c := lonely(t)
	path, end := granting(t, c)
	defer end()
	device, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	err = Borrow(t.Context(), path, Program{Name: "iperf3", Class: "fast"}, device, func(*net.UnixConn) { t.Error("served all the same") })
	if _, refused := errors.AsType[*Refusal](err); !refused || !strings.Contains(err.Error(), "fast") {
		t.Errorf("a class that there is not: %v", err)
	}
}

// A program's echo requests leave with its inner port for an identifier; what comes for that
// port goes to it, and what is for nobody, forged or no reply goes nowhere.
func TestEnclaveICMP(t *testing.T) {
	f := &fakeTunnel{}
	c := start(t, f, nil)
	g, err := newEnclave(c, Program{Name: "ping"})
	if err != nil {
		t.Fatal(err)
	}
	var echoes []packet.Echo
	var failures []packet.Failure
	p, err := g.Open(tun.Holder{}, tun.Sink{
		Echo:    func(h *packet.Echo, payload []byte) { echoes = append(echoes, *h) },
		Failure: func(h *packet.Failure) { failures = append(failures, *h) },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	at := p.(*enclavePort)
	for _, to := range []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")} {
		from := at.innerPort.source(to)
		answer := packet.Echo{Src: to, Dst: from.Addr(), TOS: 8, TTL: 50, Reply: true, ID: from.Port(), Seq: 9}
		word := packet.Failure{From: to, To: from.Addr(), Proto: packet.ProtoUDP, Src: from, Dst: netip.AddrPortFrom(to, 53)}
		word.NoPort(to.Is4())
		forged := word
		forged.To = forged.To.Next()
		echoes, failures = nil, nil
		request := answer
		request.Reply = false
		nobody := answer
		nobody.ID++
		var pkts [][]byte
		for _, h := range []packet.Echo{answer, request, nobody} {
			b := make([]byte, h.Overhead())
			packet.PutEcho(b, &h)
			pkts = append(pkts, b)
		}
		for _, h := range []packet.Failure{word, forged} {
			b := make([]byte, h.Len())
			packet.PutFailure(b, &h)
			pkts = append(pkts, b)
		}
		dropped := c.drops[dropPacket].Load()
		c.downlink.Deliver(pkts)
		if len(echoes) != 1 || echoes[0] != answer || len(failures) != 1 || failures[0] != word {
			t.Errorf("%s: got %+v and %+v", to, echoes, failures)
		}
		if n := c.drops[dropPacket].Load() - dropped; n != 2 {
			t.Errorf("%d packets dropped, want 2", n)
		}
	}
}
