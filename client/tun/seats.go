package tun

import (
	"net/netip"
	"sync"
	"time"

	"github.com/mpsocks/mpsocks/mux/ledger"
	"github.com/mpsocks/mpsocks/mux/packet"
)

const (
	// maxConnecting is how many connections wait at once for the exit's answer, or for their
	// program's to that, and maxNames how many there may be to the resolver.
	maxConnecting = 1024
	maxNames      = 256
	// seatTime is how long a seat is safe from others of its own holder's.
	seatTime = time.Second
)

// A Holder is a user of this machine, where that is known, or a host. Behind a device of one
// program it is that program.
type Holder struct {
	Host netip.Addr
	UID  uint32
	User bool // UID is known
}

// An Owner tells whose a socket of this machine is, as Tunnel.Owner does.
type Owner func(proto uint8, from, to netip.AddrPort) (uid uint32, ok bool)

// HolderOf is whose a socket of TCP or UDP is that speaks from there to there.
func HolderOf(of Owner, proto uint8, from, to netip.AddrPort) Holder {
	if uid, ok := of(proto, from, to); ok {
		return Holder{UID: uid, User: true}
	}
	return Holder{Host: from.Addr()}
}

// A seat is what one connection has of seats.
type seat struct {
	from, to netip.AddrPort
	since    time.Time
	out      func() // ends the connection; any goroutine may call it, at any time

	// Guarded by seats.mu.
	looked bool // for whose it is
	place  ledger.Entry[Holder, *seat]
}

// seats are for the connections of a device that others could fill with theirs. When all are
// taken the oldest of whoever has most goes for one of somebody who has fewer. Of one holder
// the oldest goes for a new one too, when it is seatTime old; before that the new one has
// to come again, which its program's system sees to.
type seats struct {
	most  int
	owner Owner
	told  func() // is told of each that has to go, or to come again

	mu     sync.Mutex                   // guards all following fields
	taken  ledger.Ledger[Holder, *seat] // the oldest first
	looked bool                         // for whose all of them are
}

// enter takes a connection in; false if it has to come again.
func (s *seats) enter(p *seat) bool {
	s.mu.Lock()
	who := Holder{Host: p.from.Addr()}
	var out *seat
	n := s.taken.Len()
	if n >= s.most/2 {
		s.lookAll()
		who = s.look(p)
	} else {
		s.looked = false
	}
	if n >= s.most {
		if out = s.victim(who, p.since); out == nil {
			s.mu.Unlock()
			s.told()
			return false
		}
		s.taken.Remove(&out.place)
	}
	s.taken.Add(&p.place, who, p)
	s.mu.Unlock()
	if out != nil {
		out.out()
		s.told()
	}
	return true
}

// leave gives a seat back; it may have been taken away.
func (s *seats) leave(p *seat) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken.Remove(&p.place)
}

// victim is which one has to go for another of that holder's, who comes now, or nil. The
// caller holds mu.
func (s *seats) victim(who Holder, now time.Time) *seat {
	fullest, most := s.taken.Most()
	own := s.taken.Held(who)
	if own == most {
		fullest = who
	}
	if oldest, _ := s.taken.FirstOf(fullest); own < most || now.Sub(oldest.since) >= seatTime {
		return oldest
	}
	return nil
}

// look finds out whose a seat is. The system is asked only when half of the seats are taken:
// that takes some microseconds. The caller holds mu.
func (s *seats) look(p *seat) Holder {
	p.looked = true
	return HolderOf(s.owner, packet.ProtoTCP, p.from, p.to)
}

// lookAll does so for those who came when it did not matter. The caller holds mu.
func (s *seats) lookAll() {
	if s.looked {
		return
	}
	s.looked = true
	for p := range s.taken.All() {
		if !p.looked {
			s.taken.Move(&p.place, s.look(p))
		}
	}
}
