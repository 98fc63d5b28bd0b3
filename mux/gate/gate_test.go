package gate

import (
	"net/netip"
	"testing"
	"time"
)

var (
	crowd = netip.MustParseAddr("192.0.2.1")
	home  = netip.MustParseAddr("198.51.100.7")
	t0    = time.Unix(1e9, 0)
)

// enter lets one in and says whether it is still there later.
func enter(t *testing.T, g *Gate, a netip.Addr) (p *Place, there func() bool) {
	t.Helper()
	left := false
	p, _ = g.Enter(a, t0, func() { left = true }, nil)
	if p == nil {
		t.Fatalf("%s was refused", a)
	}
	return p, func() bool { return !left }
}

func TestOneAddressHasAShare(t *testing.T) {
	g := newGate(16, 4, 4)
	_, oldest := enter(t, g, crowd)
	for range 40 {
		enter(t, g, crowd)
	}
	if n := g.Counts().Waiting; n != 4 || oldest() {
		t.Errorf("%d of one address stand there, the oldest of them: %v", n, oldest())
	}
	// An IPv6 /64 is one address.
	for i := range 40 {
		a := netip.MustParseAddr("2001:db8::").As16()
		a[15] = byte(i)
		enter(t, g, netip.AddrFrom16(a))
	}
	if n := g.Counts().Waiting; n != 8 {
		t.Errorf("%d of two addresses stand there, want 4 each", n)
	}
}

func TestTheSilentGoBeforeThoseThatSpeak(t *testing.T) {
	g := newGate(16, 4, 0)
	p, there := enter(t, g, crowd)
	p.Spoke()
	for range 3 {
		enter(t, g, crowd)
	}
	for range 50 {
		enter(t, g, crowd)
	}
	if !there() {
		t.Error("one that has spoken went before a silent one")
	}
}

func TestWhoHasProvedStays(t *testing.T) {
	g := newGate(8, 8, 0)
	p, there := enter(t, g, crowd)
	p.Finish(t0, [32]byte{1})
	for range 50 {
		enter(t, g, crowd)
	}
	if !there() {
		t.Error("one that has proved a key was sent away")
	}
	p.Leave()
	p.Leave()
	var all []*Place
	for range 8 {
		p, _ := enter(t, g, crowd)
		p.Finish(t0, [32]byte{1})
		all = append(all, p)
	}
	if p, _ := g.Enter(crowd, t0, func() {}, nil); p != nil {
		t.Error("a ninth has a place of eight that have all proved a key")
	}
	if g.Counts().Refused != 1 {
		t.Error("it is not counted")
	}
	for _, p := range all {
		p.Leave()
	}
	if c := g.Counts(); c.Waiting != 0 || g.claims.Len() != 0 {
		t.Errorf("all have left: %+v, %d with a key", c, g.claims.Len())
	}
}

func TestAReserveIsKeptForThoseThatProvedBefore(t *testing.T) {
	g := newGate(16, 16, 4)
	p, _ := enter(t, g, home)
	p.Finish(t0, [32]byte{1})
	p.Leave()
	for i := range 200 { // strangers, each from an address of its own
		enter(t, g, netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}))
	}
	if n := g.Counts().Waiting; n != 12 {
		t.Fatalf("%d strangers stand there, want 12 of 16", n)
	}
	_, there := enter(t, g, home)
	for i := range 200 {
		enter(t, g, netip.AddrFrom4([4]byte{203, 0, 114, byte(i)}))
	}
	if !there() {
		t.Error("a stranger took the place of an address that has proved a key")
	}
}

func TestSaidOnceInAWhile(t *testing.T) {
	g := newGate(2, 2, 0)
	said := 0
	for i := range 100 {
		if _, first := g.Enter(crowd, t0.Add(time.Duration(i)*time.Second), func() {}, nil); first {
			said++
		}
	}
	if said != 1 {
		t.Errorf("said %d times in a flood", said)
	}
	if _, first := g.Enter(crowd, t0.Add(10*time.Minute), func() {}, nil); !first {
		t.Error("a flood after ten quiet minutes is not said")
	}
}

// of is the key of a client.
func of(i int) (key [32]byte) {
	key[0], key[1] = byte(i), byte(i>>8)
	return key
}

// A client that proves its key from many addresses, and then says no more, has a share of
// the places and of what is remembered: others get in, and stay known.
func TestOneKeyHasAShare(t *testing.T) {
	g := newGate(16, 4, 4)
	other, _ := enter(t, g, home)
	other.Finish(t0, of(1))
	other.Leave()
	var first func() bool
	for i := range 2 * homesEach {
		p, there := enter(t, g, netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)}))
		p.Prove(of(2))
		p.Finish(t0, of(2))
		if i == 0 {
			first = there
		}
	}
	if n := g.Counts().Waiting; n != 4 || first() {
		t.Errorf("%d of one key stand there, the first of them: %v", n, first())
	}
	if !g.knows(Home(home), t0) || g.proofs.Held(of(2)) != homesEach || len(g.proven) != homesEach+1 {
		t.Errorf("%d addresses of one key are remembered, of %d in all", g.proofs.Held(of(2)), len(g.proven))
	}
	var others []func() bool
	for i := range 12 {
		_, there := enter(t, g, netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}))
		others = append(others, there)
	}
	for i, there := range others {
		if !there() {
			t.Errorf("of 12 others with 12 places that are left number %d was sent away", i)
		}
	}
	for p := range g.waiting.All() {
		p.Leave()
	}
	if g.claims.Len() != 0 || g.waiting.Len() != 0 {
		t.Errorf("all have left, and %d are there, %d with a key", g.waiting.Len(), g.claims.Len())
	}
}

// Who has a key, which may be stolen, and says its first bytes from everywhere has no address known for
// that, makes none of the key's own forgotten, and has nobody cut who comes from one.
func TestFirstBytesFromEverywhereMakeNoHome(t *testing.T) {
	g := newGate(16, 4, 4)
	own, _ := enter(t, g, home)
	own.Finish(t0, of(2))
	own.Leave()
	own, there := enter(t, g, home)
	own.Prove(of(2))
	for i := range 2 * homesEach {
		p, _ := enter(t, g, netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)}))
		p.Prove(of(2))
		if !p.Proven(t0) {
			t.Fatal("who has proved a key has not")
		}
	}
	if !there() || !g.knows(Home(home), t0) || len(g.proven) != 1 {
		t.Errorf("the key's own connection is there: %v; %d addresses are known", there(), len(g.proven))
	}
	if n := g.Counts().Waiting; n != 4 {
		t.Errorf("%d of one key stand there", n)
	}
}

// Where connections stay, who has many makes room, and nobody else: a crowd of connections
// from a few addresses cuts none of somebody who has one, and one from everywhere neither.
func TestAFairGateKeepsThoseWithFew(t *testing.T) {
	g := NewFair(16, 8)
	_, there := enter(t, g, home)
	for i := range 200 {
		_, _ = g.Enter(netip.AddrFrom4([4]byte{203, 0, 113, byte(i % 3)}), t0, func() {}, nil)
	}
	_, other := enter(t, g, netip.MustParseAddr("198.51.100.9"))
	for i := range 200 {
		_, _ = g.Enter(netip.AddrFrom4([4]byte{203, 0, 114, byte(i)}), t0, func() {}, nil)
	}
	if !there() || !other() {
		t.Errorf("the first is there: %v, the second: %v", there(), other())
	}
	if c := g.Counts(); c.Waiting != 16 || c.Refused == 0 {
		t.Errorf("%+v", c)
	}
}

func TestTheMemoryIsBounded(t *testing.T) {
	g := newGate(4, 4, 0)
	for i := range memory + 100 {
		p, _ := g.Enter(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), t0, func() {}, nil)
		p.Finish(t0.Add(time.Duration(i)), of(i))
		p.Leave()
	}
	if len(g.proven) > memory {
		t.Errorf("%d addresses are remembered", len(g.proven))
	}
}

// Nobody that proved is forgotten while there is room, and then it is the one whose
// proof is the oldest.
func TestTheOldestProofIsForgotten(t *testing.T) {
	g := newGate(4, 4, 0)
	at := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}) }
	for i := range memory {
		p, _ := g.Enter(at(i), t0, func() {}, nil)
		p.Finish(t0.Add(time.Duration(i)), of(i))
		p.Leave()
	}
	if len(g.proven) != memory {
		t.Fatalf("of %d addresses %d are remembered", memory, len(g.proven))
	}
	p, _ := g.Enter(at(memory), t0, func() {}, nil)
	home := p.home
	p.Finish(t0.Add(2*memory), of(memory))
	p.Leave()
	oldest, _ := g.Enter(at(0), t0, func() {}, nil)
	defer oldest.Leave()
	if _, there := g.proven[oldest.home]; there || len(g.proven) != memory {
		t.Errorf("the oldest is remembered, and %d in all", len(g.proven))
	}
	if _, there := g.proven[home]; !there {
		t.Error("the newest is not remembered")
	}
}

// On a busy machine hundreds of connections are accepted before what one of them has
// said is read: it goes after the silent ones.
func TestWhoWasNotHeardYetIsNotSilent(t *testing.T) {
	g := newGate(16, 8, 0)
	said, gone := true, false
	g.Enter(crowd, t0, func() { gone = true }, func() bool { return said })
	for range 500 {
		enter(t, g, crowd)
	}
	if gone {
		t.Fatal("one whose bytes nobody has read went before silent ones")
	}
	said = false // it was half of a ClientHello, and no more comes
	for range 8 {
		enter(t, g, crowd)
	}
	if !gone {
		t.Error("one that says no more keeps its place")
	}
}

// A key that proves itself from ever new addresses costs as little when thousands are remembered as
// when there are few: all that knock wait for it.
func TestManyHomesCostLittle(t *testing.T) {
	took := func(known int) time.Duration {
		g := newGate(4, 4, 0)
		at := func(i int) netip.Prefix {
			return Home(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
		}
		for i := range known {
			g.note(at(i), of(i), t0)
		}
		for i := range homesEach {
			g.note(at(1<<20+i), of(memory), t0)
		}
		least := time.Hour
		for round := range 20 {
			begun := time.Now()
			for i := range 1000 {
				g.note(at(1<<21+1000*round+i), of(memory), t0)
			}
			least = min(least, time.Since(begun))
		}
		return least
	}
	if few, many := took(0), took(memory-homesEach); many > 2*few {
		t.Errorf("a thousand take %v beside few and %v beside thousands", few, many)
	}
}
