package server

import (
	"net/netip"
	"sync"

	"github.com/mpsocks/mpsocks/mux/gate"
	"github.com/mpsocks/mpsocks/mux/ledger"
	"github.com/mpsocks/mpsocks/mux/tcpio"
)

// visitShare is what part of a client's streams may be connections from outside, through
// all of its published TCP ports, and homeShare what part of those one address may have
// (gate.Home): strangers must not use up what the client's own programs need, nor one
// of them what others do.
const visitShare, homeShare = 2, 4

// visits are the connections from outside that a client has. They are safe for concurrent
// use.
type visits struct {
	mu  sync.Mutex                          // guards all
	all ledger.Ledger[netip.Prefix, *visit] // the oldest first
}

// A visit is one of them.
type visit struct {
	conn  tcpio.Socket
	place ledger.Entry[netip.Prefix, *visit] // guarded by visits.mu
}

// enter takes a connection from an address in; nil if there is no room. When all places
// are taken, the oldest connection of whoever has most of them goes for one of somebody
// who has fewer. streams is how many streams the client may have. The programs of this
// machine, a web server in front for one, share as they like.
func (v *visits) enter(conn tcpio.Socket, from netip.Addr, streams int) *visit {
	x, home := &visit{conn: conn}, gate.Home(from)
	most := max(streams/visitShare, 1)
	v.mu.Lock()
	held := v.all.Held(home)
	if held >= max(most/homeShare, 1) && !from.Unmap().IsLoopback() {
		v.mu.Unlock()
		return nil
	}
	var out *visit
	if v.all.Len() >= most {
		fullest, has := v.all.Most()
		if has <= held+1 {
			v.mu.Unlock()
			return nil
		}
		out, _ = v.all.FirstOf(fullest)
		v.all.Remove(&out.place)
	}
	v.all.Add(&x.place, home, x)
	v.mu.Unlock()
	if out != nil {
		_ = out.conn.SetLinger(0)
		out.conn.Close()
	}
	return x
}

// leave gives a place back. It is idempotent.
func (v *visits) leave(x *visit) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.all.Remove(&x.place)
}
