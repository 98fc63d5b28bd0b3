package server

import (
	"encoding/binary"
	"net/netip"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux"
	"github.com/mpsocks/mpsocks/mux/packet"
	"github.com/mpsocks/mpsocks/mux/udpio"
)

const (
	// minIdle is the age below which no mapping ends, not even for the sake of
	// a new one (RFC 4787 REQ-5), unless the client has ended it: see ended.go.
	minIdle = 2 * time.Minute
	// maxPermits is how many remotes one mapping's filter remembers, if it
	// filters at all: 24 KiB for a mapping that talks to so many.
	maxPermits = 1024
	// evictShare is the part of the idle mappings that give way at once when
	// the table is full, so that a full table is rarely searched.
	evictShare = 16
)

// A mapping is an inner source, an address and a port of one family, and its
// UDP socket. Whatever the destination, this socket sends (RFC 4787 REQ-1,
// endpoint-independent mapping). All mappings leave from the one address of
// relay.bind (REQ-2); ports are never shared (REQ-3); no ICMP error ends one
// (REQ-12); a mapping that sends to another one's external address reaches it
// through the system's loopback, with its external address as source (REQ-9).
type mapping struct {
	peer   *peer
	room   *room // where its socket is read
	conn   *udpio.Conn
	inner  netip.AddrPort
	source mux.Source // the session's, for what comes back

	// sent is when the client last sent something (Server.now): only that
	// keeps the mapping (REQ-6).
	sent atomic.Int64
	// visitors is set for a port that the client has published: no idle time ends
	// that one, and whoever has sent to it may be answered, also where the access
	// rules would not let the client send to him.
	visitors *permits
	// permits is nil with endpoint-independent filtering.
	permits *permits
}

// innerKey packs a client's inner source into the key of the mapping table; ok
// is false for an address that no client has.
func innerKey(src netip.AddrPort) (key uint64, ok bool) {
	addr := src.Addr()
	var host uint32
	var family uint64
	if addr.Is4() {
		if !packet.TunnelPrefix4.Contains(addr) || addr == packet.ServerHost4 {
			return 0, false
		}
		a := addr.As4()
		host = binary.BigEndian.Uint32(a[:])
	} else {
		if !packet.TunnelPrefix6.Contains(addr) || addr == packet.ServerHost6 {
			return 0, false
		}
		a := addr.As16()
		if binary.BigEndian.Uint64(a[4:]) != 0 {
			return 0, false
		}
		host, family = binary.BigEndian.Uint32(a[12:]), 1
	}
	return family<<63 | uint64(host)<<16 | uint64(src.Port()), true
}

// open makes the mapping of an inner source, or finds the one that another
// goroutine has just made. It is called without p.mu.
func (p *peer) open(key uint64, inner netip.AddrPort, now int64) (*mapping, dropReason) {
	for _, q := range []*quota{&p.client.mappings, &p.client.sockets, &p.server.mappings, &p.server.sockets} {
		if q.full() {
			p.server.evict(q, now)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, dropClosed
	}
	if m := p.mappings[key]; m != nil {
		return m, dropNone
	}
	if !p.client.mappings.take() {
		return nil, dropCap
	}
	if !p.server.mappings.take() {
		p.client.mappings.give()
		return nil, dropCap
	}
	if !p.takeSocket() {
		p.client.mappings.give()
		p.server.mappings.give()
		return nil, dropCap
	}
	m, err := p.server.listen(p, inner)
	if err != nil {
		p.giveSocket()
		p.client.mappings.give()
		p.server.mappings.give()
		p.log.Debug().Err(err).Msg("no socket for a mapping")
		return nil, dropSocket
	}
	m.sent.Store(now)
	p.mappings[key] = m
	return m, dropNone
}

// listen makes a mapping with its socket, on the Loops in turn.
func (s *Server) listen(p *peer, inner netip.AddrPort) (*mapping, error) {
	local, err := s.egress.local(inner.Addr().Is4())
	if err != nil {
		return nil, err
	}
	return s.listenAt(p, inner, netip.AddrPortFrom(local, 0), false)
}

// listenAt is listen with the socket's address, perhaps for a published port, which
// is not filtered.
func (s *Server) listenAt(p *peer, inner, at netip.AddrPort, published bool) (m *mapping, err error) {
	m = &mapping{
		peer:   p,
		room:   s.rooms[s.nextRoom.Add(1)%uint32(len(s.rooms))],
		inner:  inner,
		source: mux.Source{User: p.client.name},
	}
	relay := s.relay.Load()
	switch {
	case published:
		m.visitors = &permits{table: remotes{limit: maxPermits}, ports: true, idle: int64(relay.idle)}
	case relay.filtering == conf.FilteringAddress || relay.filtering == conf.FilteringAddressPort:
		m.permits = &permits{
			table: remotes{limit: maxPermits},
			ports: relay.filtering == conf.FilteringAddressPort,
			idle:  int64(relay.idle),
		}
	}
	m.conn, err = m.room.loop.Listen(at, relay.socket, m.receive)
	if err != nil {
		return nil, err
	}
	s.external.add(m.conn.LocalAddr())
	return m, nil
}

// drop forgets a mapping and frees its port; with p.mu held.
func (p *peer) drop(key uint64, m *mapping) {
	delete(p.mappings, key)
	p.server.external.remove(m.conn.LocalAddr()) // before its port is free for another
	_ = m.conn.Close()
	p.giveSocket()
	p.client.mappings.give()
	p.server.mappings.give()
}

// expire drops the mappings that have sent nothing since before.
func (p *peer) expire(before int64) {
	var old []uint64
	p.mu.RLock()
	for key, m := range p.mappings {
		if m.sent.Load() < before && m.visitors == nil {
			old = append(old, key)
		}
	}
	p.mu.RUnlock()
	for _, key := range old {
		p.mu.Lock()
		if m := p.mappings[key]; m != nil && m.sent.Load() < before {
			p.drop(key, m)
		}
		p.mu.Unlock()
	}
}

// evict makes room under a quota: the longest idle of its mappings give way, if
// they have been idle for longer than s.spare (REQ-5). It is called with no lock held.
func (s *Server) evict(q *quota, now int64) {
	if now < q.barren.Load() {
		return
	}
	type victim struct {
		peer *peer
		key  uint64
		sent int64
	}
	var victims []victim
	oldest := now
	for _, p := range s.peerList() {
		if q != &s.mappings && q != &p.client.mappings && q != &s.sockets && q != &p.client.sockets {
			continue
		}
		p.mu.RLock()
		for key, m := range p.mappings {
			if m.visitors != nil {
				continue
			}
			sent := m.sent.Load()
			oldest = min(oldest, sent)
			if now-sent > int64(s.spare) {
				victims = append(victims, victim{p, key, sent})
			}
		}
		p.mu.RUnlock()
	}
	if len(victims) == 0 {
		q.barren.Store(oldest + int64(s.spare))
		return
	}
	sort.Slice(victims, func(i, j int) bool { return victims[i].sent < victims[j].sent })
	for _, v := range victims[:1+len(victims)/evictShare] {
		v.peer.mu.Lock()
		if m := v.peer.mappings[v.key]; m != nil && m.sent.Load() == v.sent {
			v.peer.drop(v.key, m)
		}
		v.peer.mu.Unlock()
	}
}

// permits is the state of a mapping's filter (RFC 4787 REQ-8): whom the client
// sent to within the idle time may answer. Deliver's goroutines write it and the
// Loop's reads it, so it has a lock.
type permits struct {
	mu    sync.Mutex
	table remotes // number: when, in seconds
	ports bool    // the port counts too
	idle  int64   // nanoseconds
}

// note lets a remote answer.
func (f *permits) note(remote netip.AddrPort, now int64) {
	f.mu.Lock()
	f.table.slot(f.key(remote)).n = uint32(now / int64(time.Second))
	f.mu.Unlock()
}

// admits says whether a remote may answer.
func (f *permits) admits(remote netip.AddrPort, now int64) bool {
	f.mu.Lock()
	r := f.table.lookup(f.key(remote))
	ok := r != nil && now-int64(r.n)*int64(time.Second) < f.idle
	f.mu.Unlock()
	return ok
}

func (f *permits) key(remote netip.AddrPort) netip.AddrPort {
	if f.ports {
		return remote
	}
	return netip.AddrPortFrom(remote.Addr(), 0)
}
