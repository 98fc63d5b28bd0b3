package client

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/client/admission"
	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/udpio"
)

// login is a negotiation with a user's password.
func login(user, password string) []byte {
	out := append([]byte{5, 1, 2, 1, byte(len(user))}, user...)
	return append(append(out, byte(len(password))), password...)
}

// associatedAs opens an association as a user and returns its control connection.
func associatedAs(t *testing.T, c *Client, user, password string) *net.TCPConn {
	t.Helper()
	conn := dial(t, c)
	if out := talk(t, conn, login(user, password), 4); out[3] != 0 {
		t.Fatalf("%s is refused", user)
	}
	if out := talk(t, conn, []byte{5, 3, 0, 1, 0, 0, 0, 0, 0, 0}, 10); out[1] != 0 {
		t.Fatalf("reply %d", out[1])
	}
	return conn
}

// lives says whether nothing has ended a connection.
func lives(conn net.Conn) bool {
	conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	_, err := conn.Read(make([]byte, 1))
	timeout, ok := err.(net.Error)
	return ok && timeout.Timeout()
}

// Users, listeners, forwards and limits change, and nothing ends but what a user had who
// is gone or has another password.
func TestApply(t *testing.T) {
	var cfg *conf.Client
	c := start(t, &fakeTunnel{answer: echo}, func(k *conf.Client) {
		k.Users = []conf.User{{Name: "ann", Password: "a"}, {Name: "bob", Password: "b"}, {Name: "cy", Password: "c"}}
		k.Forwards = []conf.Forward{{Listen: conf.EndpointOf(netip.MustParseAddrPort("127.0.0.1:0")), To: "192.0.2.1:53"}}
		cfg = k
	})
	eventually(t, "it runs", func() bool { c.front.mu.Lock(); defer c.front.mu.Unlock(); return c.front.start != nil })
	ann, bob, cy := associatedAs(t, c, "ann", "a"), associatedAs(t, c, "bob", "b"), associatedAs(t, c, "cy", "c")
	app := newApp(t, "127.0.0.1", c.front.forwards()[0].conn.LocalAddr())
	app.exchange(t, "through the forward")

	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	bad := *cfg
	bad.Listen = append(slices.Clone(c.Addrs()), taken.Addr().(*net.TCPAddr).AddrPort())
	bad.Users = nil
	if err := c.Apply(&bad); err == nil {
		t.Fatal("an address that is taken is taken twice")
	}
	if !lives(ann) || !lives(bob) || len(c.Addrs()) != 1 {
		t.Error("a configuration that failed has changed something")
	}
	taken.Close()

	next := *cfg
	next.Listen = append(slices.Clone(c.Addrs()), taken.Addr().(*net.TCPAddr).AddrPort())
	next.Users = []conf.User{{Name: "ann", Password: "a"}, {Name: "cy", Password: "other"}, {Name: "dan", Password: "d"}}
	next.Limits.Associations, next.Limits.AssociationsPerUser = 4, 1
	next.Forwards = []conf.Forward{{Listen: conf.EndpointOf(c.front.forwards()[0].listen), To: "192.0.2.2:53"}}
	if err := c.Apply(&next); err != nil {
		t.Fatal(err)
	}
	if !lives(ann) {
		t.Error("ann's association has ended, and she is still a user")
	}
	eventually(t, "bob's and cy's associations end", func() bool { return !lives(bob) && !lives(cy) })
	associatedAs(t, c, "dan", "d").Close()
	if out := talk(t, dial(t, c), login("bob", "b"), 4); out[3] == 0 {
		t.Error("bob still gets in")
	}
	conn := dial(t, c)
	talk(t, conn, login("ann", "a"), 4)
	if out := talk(t, conn, []byte{5, 3, 0, 1, 0, 0, 0, 0, 0, 0}, 10); out[1] == 0 {
		t.Error("a second association of ann's is over the new limit")
	}
	if conn, err := net.Dial("tcp", taken.Addr().String()); err != nil {
		t.Error("the new listener does not answer:", err)
	} else {
		conn.Close()
	}
	app.exchange(t, "to the other destination")
	if got := c.front.forwards()[0].target.Load().to.String(); got != "192.0.2.2:53" {
		t.Errorf("the forward leads to %s", got)
	}

	last := next
	last.Listen, last.Forwards = next.Listen[1:], nil
	old := c.Addrs()[0]
	if err := c.Apply(&last); err != nil {
		t.Fatal(err)
	}
	if conn, err := net.Dial("tcp", old.String()); err == nil {
		conn.Close()
		t.Error("the listener that is gone still answers")
	}
	if !lives(ann) {
		t.Error("what came through a listener that is gone has ended")
	}
	if n := len(c.front.forwards()); n != 0 {
		t.Errorf("%d forwards are left", n)
	}
}

// A key that no server can have, though it has the length of one, changes nothing: of the TUN
// device and its routing neither.
func TestApplyRefusesAKeyFirst(t *testing.T) {
	c := lonely(t)
	eventually(t, "it runs", func() bool { c.machine.mu.Lock(); defer c.machine.mu.Unlock(); return c.machine.begun })
	cfg := *conf.DefaultClient()
	cfg.Listen = c.Addrs()
	cfg.Server = conf.Remote{Addresses: []string{"127.0.0.1:1"}, PublicKey: make(conf.PublicKey, 32)}
	cfg.TUN.MTU = 1400
	if err := c.Apply(&cfg); err == nil {
		t.Fatal("it is taken")
	}
	c.machine.mu.Lock()
	defer c.machine.mu.Unlock()
	if c.machine.cfg.MTU == cfg.TUN.MTU {
		t.Error("the device's configuration has changed")
	}
}

// A listener cannot be put in the place of one that has its port. It is not said that another
// program has it.
func TestApplyOfOwnPort(t *testing.T) {
	var cfg *conf.Client
	c := start(t, &fakeTunnel{}, func(k *conf.Client) { cfg = k })
	eventually(t, "it runs", func() bool { c.front.mu.Lock(); defer c.front.mu.Unlock(); return c.front.start != nil })
	next := *cfg
	next.Listen = []netip.AddrPort{netip.AddrPortFrom(netip.IPv4Unspecified(), c.Addrs()[0].Port())}
	if err := c.Apply(&next); err != nil && !strings.Contains(err.Error(), "this client itself has the port, at "+c.Addrs()[0].String()) {
		t.Error(err)
	}
	conn := dial(t, c)
	if out := talk(t, conn, []byte{5, 1, 0}, 2); out[1] != 0 {
		t.Errorf("answer %d", out[1])
	}
}

// What one redirected machine may have of the streams changes with how many there may be.
func TestApplyToRedirect(t *testing.T) {
	var cfg *conf.Client
	c := start(t, &fakeTunnel{}, func(k *conf.Client) { cfg = k })
	eventually(t, "it runs", func() bool { c.front.mu.Lock(); defer c.front.mu.Unlock(); return c.front.start != nil })
	ln, err := listen(netip.MustParseAddrPort("127.0.0.1:0"), nil)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := c.loops[0].Listen(netip.MustParseAddrPort("127.0.0.1:0"), udpio.Options{}, func(*udpio.Conn, []udpio.Message) {})
	if err != nil {
		t.Fatal(err)
	}
	r := &redirect{client: c, listen: addrOf(ln.Addr()), ln: ln, conn: conn, streams: admission.NewQuota(0, redirectedStreams(c))}
	r.guests.redirect = r
	c.front.mu.Lock()
	c.front.entrances = append(c.front.entrances, r)
	c.front.mu.Unlock()
	next := *cfg
	next.Listen, next.Redirect.Listen = c.Addrs(), []netip.AddrPort{r.listen}
	next.Limits.Streams = 40
	if err := c.Apply(&next); err != nil {
		t.Fatal(err)
	}
	who := admission.HolderOf("", netip.MustParseAddr("192.0.2.7"))
	n := 0
	for ; n < 100 && r.streams.Acquire(who); n++ {
	}
	if n != 40/admission.ShareOfOne {
		t.Errorf("one machine may have %d streams of 40", n)
	}
}
