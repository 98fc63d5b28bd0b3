package server

import (
	"math"
	"net/netip"
	"testing"
	"time"
	"unsafe"
)

func TestRemotes(t *testing.T) {
	table := remotes{limit: 64}
	at := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}), uint16(1000+i))
	}
	if table.lookup(at(1)) != nil {
		t.Fatal("an empty table knows somebody")
	}
	// A few remotes keep exact counts, whatever the table's growth.
	for round := range 100 {
		for i := range 8 {
			if r := table.slot(at(i)); r.n != uint32(round) {
				t.Fatalf("remote %d has %d in round %d", i, r.n, round)
			} else {
				r.n++
			}
		}
	}
	// Many remotes stay within the limit, and counts never fall.
	last := make(map[netip.AddrPort]uint32)
	for range 20 {
		for i := range 500 {
			r := table.slot(at(i))
			if before, ok := last[at(i)]; ok && r.n < before {
				t.Fatalf("remote %d fell from %d to %d", i, before, r.n)
			}
			r.n++
			last[at(i)] = r.n
		}
	}
	if len(table.slots) > 64 {
		t.Errorf("%d slots", len(table.slots))
	}
	least := math.Inf(1)
	for range 20 { // what ends of another test may allocate beside
		least = min(least, testing.AllocsPerRun(100, func() {
			for i := range 500 {
				table.slot(at(i)).n++
			}
		}))
		if least == 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if least != 0 {
		t.Errorf("%v allocations in steady state", least)
	}
	if n := unsafe.Sizeof(mapping{}); n > 512 {
		t.Errorf("a mapping costs %d bytes", n)
	}
}
