package dialer

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

var (
	t0                = time.Unix(1_800_000_000, 0)
	near, other, last = netip.MustParseAddrPort("192.0.2.1:443"), netip.MustParseAddrPort("192.0.2.2:443"), netip.MustParseAddrPort("192.0.2.3:443")
)

// An address that failed stands behind the others, each time for twice as long; several
// failures at once are one.
func TestBookOfFailures(t *testing.T) {
	var b Book
	if n := b.Fails(near); n != 0 {
		t.Errorf("%d failures of an address that nobody tried", n)
	}
	order := func(now time.Time) netip.AddrPort {
		addrs := []netip.AddrPort{near, other}
		b.Order(addrs, nil, now)
		return addrs[0]
	}
	now := t0
	for n, rest := 1, failFirst; n <= 8; n, rest = n+1, min(2*rest, failMost) {
		b.Failed(near, now)
		b.Failed(near, now.Add(time.Millisecond))
		if b.Fails(near) != n || order(now.Add(rest-time.Millisecond)) != other || order(now.Add(rest)) != near {
			t.Fatalf("after %d failures: %d counted, and not %v behind the others", n, b.Fails(near), rest)
		}
		now = now.Add(rest)
	}
	b.Proved(near, now)
	if b.Fails(near) != 0 || order(now) != near {
		t.Error("what proved itself is not forgiven")
	}
}

// The session's own addresses come first, another server's last, until the session is a
// new one.
func TestBookOfServers(t *testing.T) {
	var b Book
	b.Unknown(near, t0)
	b.Failed(other, t0)
	addrs := []netip.AddrPort{near, other, last}
	b.Order(addrs, nil, t0)
	if !slices.Equal(addrs, []netip.AddrPort{last, other, near}) {
		t.Errorf("the order is %v", addrs)
	}
	fourth := netip.MustParseAddrPort("192.0.2.4:443")
	addrs = []netip.AddrPort{last, fourth}
	if b.Order(addrs, []netip.AddrPort{fourth}, t0); addrs[0] != fourth {
		t.Error("an address with subflows is not the first")
	}
	if b.Hopeless([]netip.AddrPort{near, other, last}, t0) || !b.Hopeless([]netip.AddrPort{near, other}, t0) {
		t.Error("hopeless is when all have failed or are another server's")
	}
	b.Renew()
	if b.Hopeless([]netip.AddrPort{near, other}, t0) {
		t.Error("a new session does not try what the old one was refused at")
	}
}

func TestBookIsBounded(t *testing.T) {
	var b Book
	for i := range maxRecords + 10 {
		b.Failed(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 1), t0.Add(time.Duration(i)))
	}
	if len(b.records) != maxRecords || b.Fails(netip.MustParseAddrPort("10.0.0.9:1")) != 0 || b.Fails(netip.MustParseAddrPort("10.0.0.10:1")) != 1 {
		t.Errorf("%d records, and not the oldest are gone", len(b.records))
	}
}
