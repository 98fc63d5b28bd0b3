package client

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"net/netip"
)

const (
	// idsStart is how many destinations a table holds at first; most
	// associations have one, which needs no table at all.
	idsStart = 8
	// idsMax bounds the table: a peer-to-peer program with more destinations
	// shares counters among them. 1,024 entries are 16 KiB.
	idsMax = 1024
	// idsProbe is how many neighbouring entries a destination may be in.
	idsProbe = 4
)

// idSeed keeps applications from choosing destinations that share an entry.
var idSeed = [2]uint64{rand.Uint64() | 1, rand.Uint64() | 1}

// ids counts the packets per destination of one inner port: the counter
// becomes the packet's Identification. It allocates while it grows, up to
// idsMax entries, and never again. Guarded by its owner's mutex.
type ids struct {
	last  uint64 // hash of the newest destination
	count uint32 // its counter
	more  []idEntry
}

// idEntry is the counter of a destination that is not the newest one. The hash
// stands for the destination; two with the same hash share a counter, which
// harms nothing.
type idEntry struct {
	hash  uint64 // 0 is a free entry
	count uint32
}

// next returns the Identification of the next packet to dst: 0, 1, 2, ...
func (t *ids) next(dst netip.AddrPort) uint32 {
	h := hashAddrPort(dst)
	if h != t.last {
		if t.last == 0 { // the first destination of all
			t.last = h
		} else {
			t.swap(h)
		}
	}
	id := t.count
	t.count++
	return id
}

// swap makes h the newest destination and puts the former one into the table.
func (t *ids) swap(h uint64) {
	if t.more == nil {
		t.more = make([]idEntry, idsStart)
	}
	count := uint32(0)
	if e := t.find(h); e != nil {
		count = e.count
		// The entry stays: a conversation that alternates between
		// destinations finds the same entries again.
	}
	t.store(t.last, t.count)
	t.last, t.count = h, count
}

// find returns the entry of h, or nil.
func (t *ids) find(h uint64) *idEntry {
	for i := range uint64(idsProbe) {
		if e := &t.more[(h+i)&uint64(len(t.more)-1)]; e.hash == h {
			return e
		}
	}
	return nil
}

// store keeps the counter of h, growing the table or taking over another
// destination's entry if need be.
func (t *ids) store(h uint64, count uint32) {
	for {
		var free *idEntry
		for i := range uint64(idsProbe) {
			e := &t.more[(h+i)&uint64(len(t.more)-1)]
			if e.hash == h {
				e.count = count
				return
			}
			if e.hash == 0 && free == nil {
				free = e
			}
		}
		if free != nil {
			*free = idEntry{h, count}
			return
		}
		if len(t.more) >= idsMax {
			e := &t.more[(h+h>>32&(idsProbe-1))&uint64(len(t.more)-1)]
			*e = idEntry{h, count}
			return
		}
		t.grow()
	}
}

// grow makes the table larger, by doubling until every entry has a place. At
// idsMax the entries that find none are forgotten: their counters start anew.
func (t *ids) grow() {
	old := t.more
	for size := 2 * len(old); ; size *= 2 {
		t.more = make([]idEntry, size)
		if t.refill(old) || size >= idsMax {
			return
		}
	}
}

// refill puts entries into a fresh table; false says that some did not fit.
func (t *ids) refill(old []idEntry) bool {
	fit := true
	for _, o := range old {
		if o.hash == 0 {
			continue
		}
		placed := false
		for i := range uint64(idsProbe) {
			if e := &t.more[(o.hash+i)&uint64(len(t.more)-1)]; e.hash == 0 {
				*e, placed = o, true
				break
			}
		}
		fit = fit && placed
	}
	return fit
}

// hashAddrPort is a keyed hash of a destination, never 0.
func hashAddrPort(a netip.AddrPort) uint64 {
	b := a.Addr().As16()
	hi := binary.LittleEndian.Uint64(b[:8]) ^ idSeed[0]
	lo := binary.LittleEndian.Uint64(b[8:]) ^ idSeed[1]
	x, y := bits.Mul64(hi^uint64(a.Port())*0x9E3779B97F4A7C15, lo|1)
	x, y = bits.Mul64(x^y^idSeed[0], idSeed[1]^uint64(a.Port()))
	return (x ^ y) | 1
}
