package admission

import (
	"net"
	"net/netip"
	"sync"

	"github.com/mpsocks/mpsocks/mux/gate"
	"github.com/mpsocks/mpsocks/mux/ledger"
)

const (
	// maxPending bounds the connections that have not sent their request: 4 MiB
	// of prefaces and stacks or so.
	maxPending = 1024
	// maxPendingEach is the share of one address, as gate.Home has it.
	maxPendingEach = maxPending / 2
	// maxAsked is of how many the kernel is asked whether they have said anything, for
	// one that is closed.
	maxAsked = 16
)

// A Lobby holds the connections of which nothing is known yet: those that have not
// sent their request, and those of HTTP between two requests. When it is full,
// or an address has its share, the oldest one of whoever holds most is closed:
// an honest application speaks at once and is gone from here before it is old. What it
// has said may still wait in the kernel, when hundreds come at once: it is passed over. It is safe
// for concurrent use.
type Lobby struct {
	most, each int // set once at construction

	mu     sync.Mutex                          // guards all following fields
	guests ledger.Ledger[netip.Prefix, *Guest] // the oldest first
	closed uint64                              // to make room
}

// A Guest is one connection in the lobby.
type Guest struct {
	conn  net.Conn
	place ledger.Entry[netip.Prefix, *Guest] // guarded by Lobby.mu
}

func newLobby(most, each int) *Lobby { return &Lobby{most: most, each: each} }

// Enter takes a connection in until Leave, and closes another one if there is no room: whoever
// serves that finds out by it.
func (l *Lobby) Enter(conn net.Conn) *Guest {
	g, home := &Guest{conn: conn}, gate.Home(remoteAddr(conn))
	l.mu.Lock()
	l.guests.Add(&g.place, home, g)
	var out *Guest
	switch {
	case l.guests.Held(home) > l.each:
		out = l.oldest(home)
	case l.guests.Len() > l.most:
		fullest, _ := l.guests.Most()
		out = l.oldest(fullest)
	}
	l.mu.Unlock()
	if out != nil {
		out.conn.Close()
	}
	return g
}

// crowd closes the oldest connection of whoever holds most, because something
// else is short; false if there is none.
func (l *Lobby) crowd() bool {
	l.mu.Lock()
	fullest, held := l.guests.Most()
	if held == 0 {
		l.mu.Unlock()
		return false
	}
	out := l.oldest(fullest)
	l.mu.Unlock()
	out.conn.Close()
	return true
}

// Leave notes that a connection has ended or is known now. It is idempotent.
func (l *Lobby) Leave(g *Guest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.guests.Remove(&g.place)
}

// oldest takes the oldest guest of an address out that has said nothing, to be closed; or
// the oldest of its guests if the first few have. It has one at least; l.mu is held.
func (l *Lobby) oldest(home netip.Prefix) *Guest {
	out, _ := l.guests.FirstOf(home)
	asked := 0
	for g := range l.guests.Of(home) {
		if asked == maxAsked {
			break
		}
		if asked++; !gate.Unread(g.conn) {
			out = g
			break
		}
	}
	l.guests.Remove(&out.place)
	l.closed++
	return out
}

// State returns how many are in, and how many were closed to make room.
func (l *Lobby) State() (in int, closed uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.guests.Len(), l.closed
}

// remoteAddr is the host at the far end of a TCP connection.
func remoteAddr(conn net.Conn) netip.Addr {
	a, _ := conn.RemoteAddr().(*net.TCPAddr)
	return a.AddrPort().Addr().Unmap()
}
