package server

import (
	"container/list"
	"net/netip"
	"sync"

	"github.com/mpsocks/mpsocks/mux/gate"
	"github.com/mpsocks/mpsocks/mux/tcpio"
)

// visitShare is what part of a client's streams may be connections from outside, through
// all of its published TCP ports, and houseShare what part of those one address may have
// (IPv6: a /64): strangers must not use up what the client's own programs need, nor one
// of them what others do.
const visitShare, houseShare = 2, 4

// visits are the connections from outside that a client has. They are safe for concurrent
// use.
type visits struct {
	mu     sync.Mutex // guards the rest
	total  int
	houses map[netip.Prefix]*list.List // of *visit, the oldest first
}

// A visit is one of them.
type visit struct {
	conn  tcpio.Socket
	house netip.Prefix
	at    *list.Element // nil once it has left; guarded by visits.mu
}

// enter takes a connection from an address in; nil if there is no room. When all places
// are taken, the oldest connection of whoever has most of them goes for one of somebody
// who has fewer. streams is how many streams the client may have. The programs of this
// machine, a web server in front for one, share as they like.
func (v *visits) enter(conn tcpio.Socket, from netip.Addr, streams int) *visit {
	x := &visit{conn: conn, house: gate.Home(from)}
	most := max(streams/visitShare, 1)
	v.mu.Lock()
	own := v.houses[x.house]
	held := 0
	if own != nil {
		held = own.Len()
	}
	if held >= max(most/houseShare, 1) && !from.Unmap().IsLoopback() {
		v.mu.Unlock()
		return nil
	}
	var out *visit
	if v.total >= most {
		full := v.fullest()
		if full.Len() <= held+1 {
			v.mu.Unlock()
			return nil
		}
		out = full.Front().Value.(*visit)
		v.remove(out)
	}
	if own == nil {
		if own = list.New(); v.houses == nil {
			v.houses = make(map[netip.Prefix]*list.List)
		}
		v.houses[x.house] = own
	}
	x.at = own.PushBack(x)
	v.total++
	v.mu.Unlock()
	if out != nil {
		_ = out.conn.SetLinger(0)
		out.conn.Close()
	}
	return x
}

// fullest is the list of whoever has most. There is one; v.mu is held.
func (v *visits) fullest() (full *list.List) {
	for _, l := range v.houses {
		if full == nil || l.Len() > full.Len() {
			full = l
		}
	}
	return full
}

// leave gives a place back.
func (v *visits) leave(x *visit) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.remove(x)
}

// remove takes a visit out. v.mu is held.
func (v *visits) remove(x *visit) {
	if x.at == nil {
		return
	}
	l := v.houses[x.house]
	l.Remove(x.at)
	x.at = nil
	v.total--
	if l.Len() == 0 {
		delete(v.houses, x.house)
	}
}
