package client

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/muxtest"
)

var oneUser = []conf.User{{Name: "ann", Password: "secret"}, {Name: "bob", Password: "other"}}

// TestHandshake is the matrix of RFC 1928 and RFC 1929: what an application says,
// and everything it hears until the connection ends.
func TestHandshake(t *testing.T) {
	const (
		login    = "\x01\x03ann\x06secret"
		loopback = "\x01\x7f\x00\x00\x01\x00\x50"
		rejected = "\x00\x01\x00\x00\x00\x00\x00\x00"
	)
	long := strings.Repeat("x", 255)
	for _, tt := range []struct {
		name  string
		users []conf.User
		in    string
		want  string
	}{
		{name: "nothing"},
		{name: "not SOCKS", in: "\x16\x03\x01\x00\x05hello"},
		{name: "SOCKS3", in: "\x03\x01\x00\x50\x7f\x00\x00\x01\x00"},
		{name: "no methods", in: "\x05\x00", want: "\x05\xff"},
		{name: "only GSSAPI", in: "\x05\x01\x01", want: "\x05\xff"},
		{name: "only GSSAPI and another", in: "\x05\x02\x01\x80", want: "\x05\xff"},
		{name: "password offered, none wanted", in: "\x05\x01\x02" + login + "\x05\x02\x00" + loopback, want: "\x05\x02\x01\x00\x05\x07" + rejected},
		{name: "an empty one offered, none wanted", in: "\x05\x01\x02\x01\x00\x00\x05\x02\x00" + loopback, want: "\x05\x02\x01\x00\x05\x07" + rejected},
		{name: "the longest one offered, none wanted", in: "\x05\x01\x02\x01\xff" + long + "\xff" + long + "\x05\x02\x00" + loopback, want: "\x05\x02\x01\x00\x05\x07" + rejected},
		{name: "login version, none wanted", in: "\x05\x01\x02\x05\x03ann\x06secret", want: "\x05\x02\x01\x01"},
		{name: "login cut off, none wanted", in: "\x05\x01\x02\x01\x03ann\x06sec", want: "\x05\x02"},
		{name: "methods cut off", in: "\x05\x02\x00"},
		{name: "none offered, password wanted", users: oneUser, in: "\x05\x01\x00", want: "\x05\xff"},
		{name: "wrong password", users: oneUser, in: "\x05\x01\x02\x01\x03ann\x05wrong", want: "\x05\x02\x01\x01"},
		{name: "another's password", users: oneUser, in: "\x05\x01\x02\x01\x03ann\x05other", want: "\x05\x02\x01\x01"},
		{name: "unknown user", users: oneUser, in: "\x05\x01\x02\x01\x03eve\x06secret", want: "\x05\x02\x01\x01"},
		{name: "empty user", users: oneUser, in: "\x05\x01\x02\x01\x00\x06secret", want: "\x05\x02\x01\x01"},
		{name: "empty password", users: oneUser, in: "\x05\x01\x02\x01\x03ann\x00", want: "\x05\x02\x01\x01"},
		{name: "login version", users: oneUser, in: "\x05\x01\x02\x05\x03ann\x06secret", want: "\x05\x02\x01\x01"},
		{name: "login, then BIND", users: oneUser, in: "\x05\x02\x00\x02" + login + "\x05\x02\x00" + loopback, want: "\x05\x02\x01\x00\x05\x07" + rejected},
		{name: "BIND", in: "\x05\x01\x00\x05\x02\x00" + loopback, want: "\x05\x00\x05\x07" + rejected},
		{name: "unknown command", in: "\x05\x01\x00\x05\x09\x00" + loopback, want: "\x05\x00\x05\x07" + rejected},
		{name: "unknown address type", in: "\x05\x01\x00\x05\x01\x00\x02\x7f\x00\x00\x01\x00\x50", want: "\x05\x00\x05\x08" + rejected},
		{name: "unknown address type, UDP", in: "\x05\x01\x00\x05\x03\x00\x05\x7f\x00\x00\x01\x00\x50", want: "\x05\x00\x05\x08" + rejected},
		{name: "unknown command and type", in: "\x05\x01\x00\x05\x09\x00\x05\x7f\x00\x00\x01\x00\x50", want: "\x05\x00\x05\x07" + rejected},
		{name: "empty name", in: "\x05\x01\x00\x05\x01\x00\x03\x00\x00\x50", want: "\x05\x00\x05\x01" + rejected},
		{name: "request version", in: "\x05\x01\x00\x04\x01\x00" + loopback, want: "\x05\x00\x05\x01" + rejected},
		{name: "request cut off", in: "\x05\x01\x00\x05\x01\x00\x01\x7f", want: "\x05\x00\x05\x01" + rejected},
		{name: "no exit", in: "\x05\x01\x00\x05\x01\x00" + loopback, want: "\x05\x00\x05\x01" + rejected},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := start(t, &fakeTunnel{}, func(cfg *conf.Client) { cfg.Users = tt.users })
			for _, step := range []int{len(tt.in), 1} { // in one piece, and byte by byte
				conn := dial(t, c)
				for in := []byte(tt.in); len(in) > 0; in = in[min(step, len(in)):] {
					if _, err := conn.Write(in[:min(step, len(in))]); err != nil {
						break // refused already
					}
				}
				conn.CloseWrite()
				got, err := io.ReadAll(conn)
				if err != nil && !(tt.want == "" || step == 1) {
					t.Errorf("step %d: %v", step, err)
				}
				if string(got) != tt.want {
					t.Errorf("step %d: got % x, want % x", step, got, tt.want)
				}
			}
		})
	}
}

func TestRequestAndPasswordMatchTheirUser(t *testing.T) {
	f := &fakeTunnel{answer: echo}
	c := start(t, f, func(cfg *conf.Client) { cfg.Users = oneUser })
	conn := dial(t, c)
	in := "\x05\x01\x02" + "\x01\x03bob\x05other" + "\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00"
	got := talk(t, conn, []byte(in), 2+2+10)
	if want := []byte{5, 2, 1, 0, 5, 0, 0, 1, 127, 0, 0, 1}; !bytes.Equal(got[:12], want) {
		t.Fatalf("% x", got)
	}
	app := newApp(t, "127.0.0.1", relayOf(got[4:]))
	app.echoes(t, "192.0.2.1:7", []byte("hello"))
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sources[0] != "bob" {
		t.Errorf("sent as %q", f.sources[0])
	}
}

func TestWrongPasswordsAreSlowAndCounted(t *testing.T) {
	c := start(t, &fakeTunnel{}, func(cfg *conf.Client) { cfg.Users = oneUser })
	login := func(password string) byte {
		in := append([]byte("\x05\x01\x02\x01\x03ann"), byte(len(password)))
		return talk(t, dial(t, c), append(in, password...), 4)[3]
	}
	const guesses = 6 // some are free
	begin := time.Now()
	for i := range guesses {
		if login(fmt.Sprint("guess", i)) == 0 {
			t.Error("a guess got in")
		}
	}
	if d := time.Since(begin); d < 300*time.Millisecond {
		t.Errorf("%d guesses took %v", guesses, d)
	}
	if login("secret") != 0 {
		t.Error("the right one did not get in")
	}
	if n := c.Status().Refused["password"]; n != guesses {
		t.Errorf("%d counted", n)
	}
}

// TestSilentConnectionsGiveWay fills the lobby with connections that say nothing:
// one that speaks always gets in, and the oldest silent one goes.
func TestSilentConnectionsGiveWay(t *testing.T) {
	c := start(t, &fakeTunnel{}, nil)
	var silent []*net.TCPConn
	for closed := uint64(0); closed < 10; _, closed = c.crowd.Lobby.State() {
		silent = append(silent, dial(t, c))
	}
	eventually(t, "all of them were seen", func() bool {
		in, closed := c.crowd.Lobby.State()
		return in+int(closed) == len(silent)
	})
	talk(t, dial(t, c), []byte{5, 1, 0}, 2)
	if n, err := silent[0].Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("the oldest one: read %d, %v", n, err)
	}
	talk(t, silent[len(silent)-1], []byte{5, 1, 0}, 2) // the youngest one is still welcome
	if n := c.Status().Refused["pending"]; n < 10 {
		t.Errorf("%d counted", n)
	}
}

// TestWhoHasAskedIsNotInTheLobby: who has said what he wants and waits for a path is silent, and
// keeps his place whoever comes behind.
func TestWhoHasAskedIsNotInTheLobby(t *testing.T) {
	for name, in := range map[string]string{
		"SOCKS5": "\x05\x01\x00\x05\x01\x00\x01\xc0\x00\x02\x01\x00\x50", "SOCKS4": "\x04\x01\x00\x50\xc0\x00\x02\x01\x00",
	} {
		f := &fakeTunnel{}
		f.down.Store(true)
		c := start(t, f, nil)
		if _, err := dial(t, c).Write([]byte(in)); err != nil {
			t.Fatal(err)
		}
		eventually(t, name+": it waits", func() bool { s := c.Status(); return s.Streams == 1 && s.Pending == 0 })
	}
}

func TestWildcardOfOneFamily(t *testing.T) {
	c := start(t, &fakeTunnel{}, func(cfg *conf.Client) {
		cfg.Listen = []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:0")}
	})
	port := fmt.Sprint(c.Addrs()[0].Port())
	if conn, err := net.Dial("tcp", "[::1]:"+port); err == nil {
		conn.Close()
		t.Error("0.0.0.0 is reached by IPv6")
	}
	conn, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

// TestBothWildcards binds 0.0.0.0 and [::] with one port, in both orders.
func TestBothWildcards(t *testing.T) {
	if !muxtest.HasIPv6() {
		t.Skip("this machine has no IPv6 loopback")
	}
	for _, order := range [][2]string{{"0.0.0.0", "::"}, {"::", "0.0.0.0"}} {
		port, err := muxtest.FreePort()
		if err != nil {
			t.Fatal(err)
		}
		c := start(t, &fakeTunnel{}, func(cfg *conf.Client) {
			cfg.Listen = nil
			for _, a := range order {
				cfg.Listen = append(cfg.Listen, netip.AddrPortFrom(netip.MustParseAddr(a), port))
			}
		})
		if len(c.Addrs()) != 2 {
			t.Errorf("%v: %v", order, c.Addrs())
		}
	}
}

func TestListenersV4AndV6(t *testing.T) {
	cfg := conf.DefaultClient()
	if !muxtest.HasIPv6() {
		t.Skip("this machine has no IPv6 loopback")
	}
	cfg.Listen = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0"), netip.MustParseAddrPort("[::1]:0")}
	c := start(t, &fakeTunnel{answer: echo}, func(into *conf.Client) { *into = *cfg })
	conn, err := net.Dial("tcp", c.Addrs()[1].String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	got := talk(t, conn, []byte("\x05\x01\x00\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00"), 2+22)
	relay := netip.AddrPortFrom(netip.AddrFrom16([16]byte(got[6:22])), uint16(got[22])<<8|uint16(got[23]))
	if got[5] != 4 || relay.Addr() != netip.IPv6Loopback() {
		t.Fatalf("% x", got)
	}
	app := newApp(t, "::1", relay)
	app.echoes(t, "192.0.2.1:7", []byte("over v6"))
	app.echoes(t, "[2001:db8::1]:7", []byte("to v6"))
}

func TestListenErrorSaysWhatToDo(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	cfg := conf.DefaultClient()
	cfg.Listen = []netip.AddrPort{netip.MustParseAddrPort(ln.Addr().String())}
	_, err = newClient(cfg, nopLog, &fakeTunnel{}, 0)
	if err == nil || !bytes.Contains([]byte(err.Error()), []byte(ln.Addr().String())) || !bytes.Contains([]byte(err.Error()), []byte("has this port")) {
		t.Errorf("%v", err)
	}
}
