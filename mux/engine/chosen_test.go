package engine

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/mpsocks/mpsocks/mux/fq"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// A choosy has two paths, and programs at ports of the client that want one of them.
type choosy struct {
	t   *testing.T
	e   *Engine
	now int64
	was [2]uint64
}

var choosyFar = netip.MustParseAddrPort("203.0.113.7:443")

func newChoosy(t *testing.T, client bool, a, b PathConfig) *choosy {
	c := &choosy{t: t, e: New(client, ModeAuto, nil, 0), now: 1}
	c.e.Establish(1)
	for _, p := range []PathConfig{a, b} {
		f := NewSubflow(nil, c.e.AddPath(p, -1), c.e.Epoch(), 0)
		c.e.Attach(f, 0)
		c.e.Learn(f, 0, &Report{Full: true, Known: true, Info: Info{SRTT: 20e6, RTTVar: 1e6, MinRTT: 20e6, CWND: 1 << 20, Rate: 1e7}})
	}
	return c
}

func (c *choosy) end(proto uint8, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(packet.ClientHost4, port)
}

func (c *choosy) wish(proto uint8, port uint16, w fq.Wish) {
	at, _ := packet.EndAt(proto, c.end(proto, port))
	if !Want(c.e, at, w, c.now) {
		c.t.Error("no room for a wish")
	}
}

// send has a program send n datagrams of that size.
func (c *choosy) send(port uint16, n, size int) {
	from, to := c.end(packet.ProtoUDP, port), choosyFar
	if !c.e.table.client {
		from, to = to, from
	}
	for range n {
		c.e.Send(&Source{User: "ann"}, testPacket(from, to, 0, size), c.now)
	}
}

// pass lets a millisecond pass, in which all that is given arrives, and returns how many
// bytes went by each path.
func (c *choosy) pass() (by [2]uint64) {
	c.now += 1e6
	write(c.e, c.now)
	for i, p := range c.e.paths {
		by[i], c.was[i] = p.sent-c.was[i], p.sent
	}
	return by
}

// A program's packets take the paths that it wants and no other, in both directions, in
// every class, also where that is metered or a backup; others' take what they always did.
func TestChosenPaths(t *testing.T) {
	for _, client := range []bool{true, false} {
		for _, class := range []fq.Class{fq.ClassLatency, fq.ClassBulk, fq.ClassOrdered, fq.ClassMetered, fq.ClassBackup} {
			for _, second := range []PathConfig{{Name: "b"}, {Name: "b", Metered: true}, {Name: "b", Backup: true}} {
				name := fmt.Sprintf("client %v, %s, %+v", client, class, second)
				c := newChoosy(t, client, PathConfig{Name: "a"}, second)
				w := fq.Wish{Class: class, Asked: true, Paths: []string{"b"}}
				if !client {
					w.Paths, w.IDs = nil, 1<<c.e.paths[1].addrID
				}
				c.wish(packet.ProtoUDP, 5000, w)
				for range 30 {
					c.send(5000, 8, 1200)
					if by := c.pass(); by[0] != 0 || by[1] == 0 {
						t.Fatalf("%s: %d bytes by a, %d by b", name, by[0], by[1])
					}
				}
				c.send(5001, 1, 100)
				if by := c.pass(); by[0] == 0 {
					t.Errorf("%s: another program's: %d, %d", name, by[0], by[1])
				}
			}
		}
	}
}

// While none of its paths is there, what a program sends waits and grows stale; it goes no
// other way and is in nobody's way. What it sends afterwards goes as before.
func TestChosenPathIsDown(t *testing.T) {
	c := newChoosy(t, true, PathConfig{Name: "a"}, PathConfig{Name: "b"})
	c.wish(packet.ProtoUDP, 5000, fq.Wish{Paths: []string{"b"}})
	lost := c.e.subs[1]
	lost.state.on(overdue)
	for range 400 {
		c.send(5000, 4, 1200)
		c.send(5001, 1, 100)
		if by := c.pass(); by[1] != 0 || by[0] == 0 || by[0] > 200 {
			t.Fatalf("%d bytes by a, %d by b", by[0], by[1])
		}
	}
	q := &c.e.table.queue
	if q.Drops[fq.DropStale] == 0 || q.Bytes > 4*1400*300 {
		t.Errorf("%d bytes wait, %d were dropped", q.Bytes, q.Drops[fq.DropStale])
	}
	if !q.Idle() {
		t.Error("what cannot go keeps the session awake")
	}
	lost.state.on(progress)
	if by := c.pass(); by[1] == 0 || by[0] != 0 {
		t.Errorf("when it is back: %d by a, %d by b", by[0], by[1])
	}
	for range 100 {
		c.pass()
	}
	// A path that no one has is one that is down.
	c.wish(packet.ProtoUDP, 5002, fq.Wish{Paths: []string{"c"}})
	c.send(5002, 4, 100)
	if by := c.pass(); by != [2]uint64{} {
		t.Errorf("by no path: %d", by)
	}
}

// A stream keeps to its paths and waits as long as it has none.
func TestChosenStream(t *testing.T) {
	c := newChoosy(t, true, PathConfig{Name: "a"}, PathConfig{Name: "b"})
	c.wish(packet.ProtoTCP, 5000, fq.Wish{Paths: []string{"b"}})
	left := 1000
	c.e.Wake(packet.Key{Proto: packet.ProtoTCP, Src: packet.ClientHost4.As16(), SrcPort: 5000}, ration{endless{1400}, &left}, c.now)
	if by := c.pass(); by[0] != 0 || by[1] == 0 {
		t.Fatalf("%d bytes by a, %d by b", by[0], by[1])
	}
	c.e.subs[1].state.on(overdue)
	was := left
	for range 2000 {
		if by := c.pass(); by != [2]uint64{} {
			t.Fatalf("%d bytes by a, %d by b", by[0], by[1])
		}
	}
	if left != was {
		t.Error("it is asked for more than can go")
	}
	c.e.subs[1].state.on(progress)
	for range 200 {
		c.pass()
	}
	if left != 0 || c.e.paths[0].sent != 0 {
		t.Errorf("%d packets left, %d bytes by a", left, c.e.paths[0].sent)
	}
}

// What waits without a path goes when another one is allowed.
func TestChosenAnew(t *testing.T) {
	c := newChoosy(t, true, PathConfig{Name: "a"}, PathConfig{Name: "b"})
	c.wish(packet.ProtoUDP, 5000, fq.Wish{Paths: []string{"c"}})
	c.send(5000, 1, 100)
	if by := c.pass(); by != [2]uint64{} {
		t.Fatalf("by no path: %d", by)
	}
	c.wish(packet.ProtoUDP, 5000, fq.Wish{Paths: []string{"b"}})
	if by := c.pass(); by[0] != 0 || by[1] == 0 {
		t.Errorf("another wish: %d by a, %d by b", by[0], by[1])
	}
}

// What a stalled subflow holds waits for its path a while, in nobody's way, and goes by
// another one then.
func TestChosenWaitsForItsPath(t *testing.T) {
	for _, back := range []bool{true, false} {
		c := newChoosy(t, true, PathConfig{Name: "a"}, PathConfig{Name: "b"})
		c.wish(packet.ProtoUDP, 5000, fq.Wish{Paths: []string{"b"}})
		c.send(5000, 1, 1200)
		c.e.Assign(c.now)
		on := c.e.subs[1]
		on.shelve(c.e, c.now, overdue)
		c.send(5001, 1, 100)
		other := c.e.subs[0]
		for range 900 {
			c.now += 1e6
			c.e.Assign(c.now)
		}
		if c.e.paths[0].sent == 0 || c.e.paths[0].sent > 300 || len(c.e.held.bound) != 1 || len(other.pending) != 1 {
			t.Fatalf("%d bytes by a, %d segments wait", c.e.paths[0].sent, len(c.e.held.bound))
		}
		if back {
			on.state.on(progress)
		}
		c.now += 200e6
		sent := on.path.sent
		c.e.Assign(c.now)
		if c.e.held.waits() || back != (on.path.sent > sent) {
			t.Errorf("back %v: %d wait, %d bytes by a, %d by b", back, len(c.e.held.bound), c.e.paths[0].sent, on.path.sent)
		}
	}
}

// What a dead subflow held goes again by the paths that its flow is for, as long as there
// is one, and by the others when there is none: the data sequence allows no gap.
func TestChosenGoesAgain(t *testing.T) {
	for _, also := range []bool{true, false} {
		c := newChoosy(t, true, PathConfig{Name: "a"}, PathConfig{Name: "b"})
		third := c.e.AddPath(PathConfig{Name: "c", Metered: true}, -1)
		c.e.Attach(NewSubflow(nil, third, c.e.Epoch(), 0), 0)
		w := fq.Wish{Class: fq.ClassBulk, Asked: true, Paths: []string{"b"}}
		if also {
			w.Paths = append(w.Paths, "c")
		}
		c.wish(packet.ProtoUDP, 5000, w)
		c.send(5000, 1, 1200)
		c.e.Assign(c.now)
		var on *Subflow
		for _, f := range c.e.subs {
			if len(f.pending) > 0 {
				on = f
			}
		}
		if on == nil || on.path.cfg.Name == "a" {
			t.Fatal("it was not given to its path")
		}
		c.e.Detach(on, c.now, 0, 0)
		if on.path == third { // the other one of the two
			third = c.e.paths[1]
		}
		c.e.Assign(c.now)
		if got := third.sent; also != (got > 0) || also == (c.e.paths[0].sent > 0) {
			t.Errorf("with another path %v: %d bytes by that, %d by a", also, got, c.e.paths[0].sent)
		}
	}
}

// The server believes a wish for as long as it is told again; the client's own stays.
func TestWishesEnd(t *testing.T) {
	for _, client := range []bool{true, false} {
		c := newChoosy(t, client, PathConfig{Name: "a"}, PathConfig{Name: "b"})
		w := fq.Wish{Class: fq.ClassBackup, Asked: true}
		c.wish(packet.ProtoUDP, 5000, w)
		class := func() fq.Class {
			c.send(5000, 1, 100)
			for _, f := range c.e.table.flows {
				return f.Class
			}
			return fq.NoBand
		}
		for range 5 {
			c.now += wishLife - 1e9
			c.wish(packet.ProtoUDP, 5000, w)
			if got := class(); got != fq.ClassBackup {
				t.Fatalf("client %v: class %v", client, got)
			}
		}
		c.now += wishLife + 1
		c.e.table.wishes.sweep(c.now)
		if !client {
			if got := class(); got != fq.ClassLatency || len(c.e.table.wishes.at) != 0 {
				t.Errorf("class %v of what nobody wishes any more", got)
			}
		}
		c.wish(packet.ProtoUDP, 5000, fq.Wish{})
		if got := class(); got != fq.ClassLatency {
			t.Errorf("client %v: class %v after the end", client, got)
		}
	}
	e := New(false, ModeAuto, nil, 0)
	for i := range maxWishes + 10 {
		Want(e, packet.End{Proto: packet.ProtoUDP, Host: uint16(i >> 8), Port: uint16(i)}, fq.Wish{Asked: true}, 1)
	}
	if n := len(e.table.wishes.at); n != maxWishes {
		t.Errorf("%d wishes", n)
	}
}

// A peer is told paths by their address IDs, and of none that there is not.
func TestIDs(t *testing.T) {
	c := newChoosy(t, true, PathConfig{Name: "a"}, PathConfig{Name: "b"})
	a, b := c.e.paths[0].addrID, c.e.paths[1].addrID
	for _, test := range []struct {
		names []string
		want  uint32
	}{{nil, 0}, {[]string{"a"}, 1 << a}, {[]string{"b", "a"}, 1<<a | 1<<b}, {[]string{"c"}, 1 << 31}} {
		if got := IDs(c.e, test.names); got != test.want {
			t.Errorf("%q: %b, want %b", test.names, got, test.want)
		}
	}
}

// TestManyThatWaitForAPath: thousands of flows that wait for a path that is not there are looked at
// a part at a time, and one that has its path does not wait behind them.
func TestManyThatWaitForAPath(t *testing.T) {
	c := newChoosy(t, true, PathConfig{Name: "a"}, PathConfig{Name: "b"})
	const many = 2000
	for i := range many {
		c.wish(packet.ProtoUDP, uint16(10000+i), fq.Wish{Paths: []string{"b"}})
	}
	c.wish(packet.ProtoUDP, 5000, fq.Wish{Paths: []string{"a"}})
	c.e.subs[1].state.on(overdue)
	for i := range many {
		c.send(uint16(10000+i), 1, 100)
	}
	c.pass()
	looked := 0
	for range 12 {
		c.pass()
		looked = max(looked, cap(c.e.choose.chosen))
	}
	if q := &c.e.table.queue; !q.Barred || q.Bytes == 0 {
		t.Errorf("%d bytes wait, barred: %v: what cannot go keeps the session awake", q.Bytes, q.Barred)
	}
	if looked > 2*mostChosen {
		t.Errorf("%d flows are looked at in one turn", looked)
	}
	c.send(5000, 3, 100)
	passes := 0
	for by := c.pass(); by[0] < 300 && passes < 20; passes++ {
		got := c.pass()
		by[0] += got[0]
	}
	if passes > 1+many/mostChosen {
		t.Errorf("what has its path waits for %d turns", passes)
	}
	c.e.subs[1].state.on(progress)
	came := uint64(0)
	for range 30 {
		came += c.pass()[1]
	}
	if came < many*100/2 {
		t.Errorf("%d bytes go when the path is there again", came)
	}
}
