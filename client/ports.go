package client

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mpsocks/mpsocks/mux/packet"
)

const (
	// firstPort keeps the inner source out of the well-known range, which
	// servers at the other end may treat as special.
	firstPort = 1024
	portCount = 65536 - firstPort
	// maxHosts is how many inner addresses the client uses: 516,096 ports. A
	// table for all of them takes 4 MiB.
	maxHosts = 8
	// portRest is how long a freed port rests while others are to be had: if the
	// news of its end gets lost, the server keeps the mapping for five idle
	// minutes (RFC 4787, REQ-5), and its late replies must not reach another
	// application.
	portRest = 5 * time.Minute
	// chunkLen splits a host's ports so that only used parts take memory.
	chunkLen = 256
)

var errNoPorts = errors.New("all inner ports are in use")

// owner is what sits at an inner port: an association, a forward's peer, or
// the resolver.
type owner interface {
	// receive takes one UDP packet that the tunnel delivered. d.udp is its
	// header; pkt is borrowed and may be rewritten in place.
	receive(d *delivery, pkt, payload []byte)
	// core is what all owners have.
	core() *inner
}

// innerPort is one port of the client inside the tunnel, the same in both
// families.
type innerPort struct {
	owner owner
	host  uint8 // index of the inner address
	port  uint16
}

// source returns the address of the port in the family of dst.
func (p *innerPort) source(dst netip.Addr) netip.AddrPort {
	if dst.Is4() {
		return netip.AddrPortFrom(hosts4[p.host], p.port)
	}
	return netip.AddrPortFrom(hosts6[p.host], p.port)
}

// The client's inner addresses: 198.18.0.2 and fd6d:7073::2 and the following.
var hosts4, hosts6 = innerHosts()

func innerHosts() (h4, h6 [maxHosts]netip.Addr) {
	a, b := packet.ClientHost4, packet.ClientHost6
	for i := range maxHosts {
		h4[i], h6[i] = a, b
		a, b = a.Next(), b.Next()
	}
	return h4, h6
}

// hostIndex is the reverse of hosts4 and hosts6; it returns maxHosts or more
// for other addresses.
func hostIndex(a netip.Addr) uint64 {
	if a.Is4() {
		b, first := a.As4(), hosts4[0].As4()
		return uint64(binary.BigEndian.Uint32(b[:]) - binary.BigEndian.Uint32(first[:]))
	}
	b, first := a.As16(), hosts6[0].As16()
	if [8]byte(b[:8]) != [8]byte(first[:8]) {
		return maxHosts
	}
	return binary.BigEndian.Uint64(b[8:]) - binary.BigEndian.Uint64(first[8:])
}

// ports gives out inner ports and finds their owners. Looking up takes no lock;
// taking and giving back does.
type ports struct {
	table [maxHosts][65536 / chunkLen]atomic.Pointer[portChunk]

	mu sync.Mutex // guards all following fields
	// next counts the ports that were given out for the first time; start
	// makes a restarted client begin elsewhere.
	next, start uint32
	// freed is a queue, the longest free port first.
	freed []freedPort
	head  int
	inUse int
}

type portChunk [chunkLen]atomic.Pointer[innerPort]

type freedPort struct {
	at   uint32 // seconds since the table was made
	host uint8
	port uint16
}

var portEpoch = time.Now()

func newPorts() *ports { return &ports{start: rand.Uint32N(portCount)} }

// lookup finds who has an inner address and port; nil if nobody.
func (t *ports) lookup(dst netip.AddrPort) *innerPort {
	host := hostIndex(dst.Addr())
	if host >= maxHosts {
		return nil
	}
	chunk := t.table[host][dst.Port()/chunkLen].Load()
	if chunk == nil {
		return nil
	}
	return chunk[dst.Port()%chunkLen].Load()
}

// take gives p a port and makes it known. Ports that were never used come
// first, then those that rested, then those of the next address, and only when
// all addresses are used up those that were freed lately.
func (t *ports) take(p *innerPort, o owner) error {
	now := uint32(time.Since(portEpoch) / time.Second)
	t.mu.Lock()
	defer t.mu.Unlock()
	fresh := t.next < maxHosts*portCount
	waiting := len(t.freed) - t.head
	switch {
	case fresh && t.next%portCount != 0, // the current address has unused ports
		fresh && (waiting == 0 || now-t.freed[t.head].at < uint32(portRest/time.Second)):
		p.host = uint8(t.next / portCount)
		p.port = uint16(firstPort + (t.next+t.start)%portCount)
		t.next++
	case waiting > 0:
		f := t.freed[t.head]
		p.host, p.port = f.host, f.port
		t.head++
		if t.head > len(t.freed)/2 { // each entry moves once at most
			t.freed = append(t.freed[:0], t.freed[t.head:]...)
			t.head = 0
		}
	default:
		return errNoPorts
	}
	p.owner = o
	slot := &t.table[p.host][p.port/chunkLen]
	if slot.Load() == nil {
		slot.Store(new(portChunk))
	}
	slot.Load()[p.port%chunkLen].Store(p)
	t.inUse++
	return nil
}

// give ends the use of a port. Deliveries that found it before may still be
// running.
func (t *ports) give(p *innerPort) {
	now := uint32(time.Since(portEpoch) / time.Second)
	t.mu.Lock()
	defer t.mu.Unlock()
	slot := &t.table[p.host][p.port/chunkLen].Load()[p.port%chunkLen]
	if slot.Load() != p {
		return
	}
	slot.Store(nil)
	t.freed = append(t.freed, freedPort{now, p.host, p.port})
	t.inUse--
}

// each calls f for every port in use; ports may come and go meanwhile.
func (t *ports) each(f func(*innerPort)) {
	for i := range t.table {
		for j := range t.table[i] {
			chunk := t.table[i][j].Load()
			if chunk == nil {
				continue
			}
			for k := range chunk {
				if p := chunk[k].Load(); p != nil {
					f(p)
				}
			}
		}
	}
}

// used is the number of ports in use.
func (t *ports) used() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.inUse
}
