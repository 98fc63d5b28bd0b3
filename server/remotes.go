package server

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// ways is how many places a remote may be in: with four, a table that is half
// full hardly ever has to give one up.
const ways = 4

// remotes is a small table from a remote address and port to a number. A
// mapping that filters has one for what it lets in. It is bounded: a remote that
// was not seen for long gives way to a new one. It costs nothing until first used,
// and grows by doubling, so that it allocates nothing in steady state. The zero
// value with a limit is ready; it is not safe for concurrent use.
type remotes struct {
	slots []remote
	limit uint16 // most slots, a power of two
	last  uint16 // slot of the last hit
	base  uint32 // the largest number that was given up
}

// A remote is 24 bytes and free of pointers, for there are many.
type remote struct {
	ip   [16]byte // IPv4 in its mapped form; all zeros: a free slot
	port uint16
	seen bool // since the last search for a slot to give up
	n    uint32
}

// slot returns the place of a remote, making one if there is none. The number
// of a new one is the largest that ever had to give way, so that numbers that
// count up never fall, not even those of a remote that comes back.
func (t *remotes) slot(at netip.AddrPort) *remote {
	ip, port := at.Addr().As16(), at.Port()
	if int(t.last) < len(t.slots) {
		if r := &t.slots[t.last]; r.ip == ip && r.port == port {
			return r
		}
	}
	if r := t.find(ip, port); r != nil {
		r.seen = true
		return r
	}
	for {
		if i, ok := t.room(ip, port); ok {
			t.last = uint16(i)
			r := &t.slots[i]
			t.base = max(t.base, r.n)
			*r = remote{ip: ip, port: port, seen: true, n: t.base}
			return r
		}
		t.grow()
	}
}

// lookup returns the place of a remote, or nil.
func (t *remotes) lookup(at netip.AddrPort) *remote {
	return t.find(at.Addr().As16(), at.Port())
}

func (t *remotes) find(ip [16]byte, port uint16) *remote {
	if len(t.slots) == 0 {
		return nil
	}
	first := t.bucket(&ip, port)
	for i := first; i < first+ways; i++ {
		if r := &t.slots[i]; r.ip == ip && r.port == port {
			t.last = uint16(i)
			return r
		}
	}
	return nil
}

// bucket returns the first of the slots that a remote may be in.
func (t *remotes) bucket(ip *[16]byte, port uint16) int {
	h := binary.LittleEndian.Uint64(ip[0:]) ^ bits.RotateLeft64(binary.LittleEndian.Uint64(ip[8:]), 29) ^ uint64(port)<<48
	h *= 0x9E3779B97F4A7C15 // 2^64 divided by the golden ratio (Fibonacci hashing)
	return int(h>>40) & (len(t.slots)/ways - 1) * ways
}

// room returns a slot for a new remote: a free one, or, when the table may not
// grow, one whose remote was not seen for the longest (second chance).
func (t *remotes) room(ip [16]byte, port uint16) (int, bool) {
	if len(t.slots) == 0 {
		return 0, false
	}
	first := t.bucket(&ip, port)
	for i := first; i < first+ways; i++ {
		if t.slots[i].ip == ([16]byte{}) {
			return i, true
		}
	}
	if len(t.slots) < int(t.limit) {
		return 0, false
	}
	for i := first; i < first+ways; i++ {
		if !t.slots[i].seen {
			return i, true
		}
	}
	for i := first; i < first+ways; i++ {
		t.slots[i].seen = false
	}
	return first, true
}

// grow doubles the table. Remotes of one bucket part into two at most, so
// there is room for all of them.
func (t *remotes) grow() {
	old := t.slots
	t.slots = make([]remote, max(2*len(old), ways))
	t.last = 0
	for _, r := range old {
		if r.ip == ([16]byte{}) {
			continue
		}
		i, _ := t.room(r.ip, r.port)
		t.slots[i] = r
	}
}
