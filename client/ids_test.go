package client

import (
	"net/netip"
	"testing"
)

func destination(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, byte(i >> 16), byte(i >> 8), byte(i)}), uint16(1+i%50))
}

func TestIDsCountPerDestination(t *testing.T) {
	var table ids
	const destinations, rounds = 40, 30
	for round := range uint32(rounds) {
		for i := range destinations {
			if got := table.next(destination(i)); got != round {
				t.Fatalf("packet %d to destination %d has the Identification %d", round, i, got)
			}
		}
	}
	if got := table.next(netip.MustParseAddrPort("[2001:db8::1]:1")); got != 0 {
		t.Errorf("a new destination begins at %d", got)
	}
}

func TestIDsBounded(t *testing.T) {
	var table ids
	for i := range 20 * idsMax {
		table.next(destination(i))
	}
	if len(table.more) > idsMax {
		t.Errorf("the table has %d entries", len(table.more))
	}
	i := 0
	if n := testing.AllocsPerRun(1000, func() {
		table.next(destination(i % 3000))
		i++
	}); n != 0 {
		t.Errorf("%v allocations per packet", n)
	}
}

func TestIDsOneDestinationNeedsNoTable(t *testing.T) {
	var table ids
	for i := range uint32(3) {
		if got := table.next(destination(1)); got != i {
			t.Fatalf("%d, want %d", got, i)
		}
	}
	if table.more != nil {
		t.Error("one destination made a table")
	}
}
