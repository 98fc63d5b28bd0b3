package client

import (
	"container/list"
	"net"
	"net/netip"
	"sync"

	"github.com/mpsocks/mpsocks/mux/gate"
)

const (
	// maxPending bounds the connections that have not sent their request: 4 MiB
	// of prefaces and stacks or so.
	maxPending = 1024
	// maxPendingEach is the share of one address (IPv6: of one /64).
	maxPendingEach = maxPending / 2
	// maxAsked is of how many the kernel is asked whether they have said anything, for
	// one that is closed.
	maxAsked = 16
)

// lobby holds the connections of which nothing is known yet: those that have not
// sent their request, and those of HTTP between two requests. When it is full,
// or an address has its share, the oldest one of whoever holds most is closed:
// an honest application speaks at once and is gone from here before it is old. What it
// has said may still wait in the kernel, when hundreds come at once: it is passed over.
type lobby struct {
	most, each int // set once at construction

	mu     sync.Mutex // guards all following fields
	total  int
	by     map[netip.Addr]*list.List // of *guest, the oldest first
	closed uint64                    // to make room
}

// guest is one connection in the lobby.
type guest struct {
	conn net.Conn
	from netip.Addr
	at   *list.Element // nil once it has left; guarded by lobby.mu
}

func newLobby(most, each int) *lobby {
	return &lobby{most: most, each: each, by: make(map[netip.Addr]*list.List)}
}

// enter takes a connection in, and closes another one if there is no room.
func (l *lobby) enter(conn net.Conn) *guest {
	g := &guest{conn: conn, from: household(remoteAddr(conn))}
	l.mu.Lock()
	q := l.by[g.from]
	if q == nil {
		q = list.New()
		l.by[g.from] = q
	}
	g.at = q.PushBack(g)
	l.total++
	var out *guest
	switch {
	case q.Len() > l.each:
		out = l.oldest(q)
	case l.total > l.most:
		out = l.oldest(l.fullest())
	}
	l.mu.Unlock()
	if out != nil {
		out.conn.Close() // whoever serves it finds out by that
	}
	return g
}

// crowd closes the oldest connection of whoever holds most, because something
// else is short; false if there is none.
func (l *lobby) crowd() bool {
	l.mu.Lock()
	q := l.fullest()
	if q == nil {
		l.mu.Unlock()
		return false
	}
	out := l.oldest(q)
	l.mu.Unlock()
	out.conn.Close()
	return true
}

// leave notes that a connection has ended or is known now. It is idempotent.
func (l *lobby) leave(g *guest) {
	l.mu.Lock()
	l.remove(g)
	l.mu.Unlock()
}

// oldest takes the oldest guest of a list out that has said nothing, to be closed; or
// the oldest of all if the first few have. l.mu is held.
func (l *lobby) oldest(q *list.List) *guest {
	g := q.Front().Value.(*guest)
	at := q.Front()
	for range maxAsked {
		if at == nil {
			break
		}
		if o := at.Value.(*guest); !gate.Unread(o.conn) {
			g = o
			break
		}
		at = at.Next()
	}
	l.remove(g)
	l.closed++
	return g
}

// fullest is the list of the address that holds most, or nil. l.mu is held.
func (l *lobby) fullest() (most *list.List) {
	for _, q := range l.by {
		if most == nil || q.Len() > most.Len() {
			most = q
		}
	}
	return most
}

// remove takes a guest out. l.mu is held.
func (l *lobby) remove(g *guest) {
	if g.at == nil {
		return
	}
	q := l.by[g.from]
	q.Remove(g.at)
	g.at = nil
	l.total--
	if q.Len() == 0 {
		delete(l.by, g.from)
	}
}

// state returns how many are in, and how many were closed to make room.
func (l *lobby) state() (in int, closed uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total, l.closed
}

// household is the address for which shares count: an IPv6 host has its whole
// /64, of which it can use as many addresses as it likes.
func household(a netip.Addr) netip.Addr {
	a = a.WithZone("").Unmap()
	if a.Is6() && !a.IsLoopback() {
		return netip.PrefixFrom(a, 64).Masked().Addr()
	}
	return a
}

// remoteAddr is the host at the far end of a TCP connection.
func remoteAddr(conn net.Conn) netip.Addr {
	a, _ := conn.RemoteAddr().(*net.TCPAddr)
	return a.AddrPort().Addr().Unmap()
}
