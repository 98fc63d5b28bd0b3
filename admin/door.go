package admin

import (
	"net"
	"net/http"
	"slices"
	"sync"
)

// mostConns is how many connections may be open at an address: a person with some
// pages and some scrapers. When another comes, the oldest goes that asks for nothing just
// now, else the oldest that has not shown the token: a flood costs no descriptors, and
// keeps nobody out.
const mostConns = 64

// limited is a listener with that bound.
type limited struct {
	net.Listener

	mu   sync.Mutex // guards the rest
	open []*counted // in the order in which they came
}

func limit(l net.Listener) net.Listener { return &limited{Listener: l} }

func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if in := l.enter(c); in != nil {
			return in, nil
		}
		c.Close()
	}
}

// enter takes a connection in, and closes another one if there is no room; nil if all
// that are there have shown the token and are asking.
func (l *limited) enter(c net.Conn) *counted {
	l.mu.Lock()
	var out *counted
	if len(l.open) >= mostConns {
		i := slices.IndexFunc(l.open, func(o *counted) bool { return !o.asks })
		if i < 0 {
			i = slices.IndexFunc(l.open, func(o *counted) bool { return !o.known })
		}
		if i < 0 {
			l.mu.Unlock()
			return nil
		}
		out = l.open[i]
		l.open = slices.Delete(l.open, i, i+1)
	}
	in := &counted{Conn: c, from: l}
	l.open = append(l.open, in)
	l.mu.Unlock()
	if out != nil {
		out.Conn.Close()
	}
	return in
}

// counted is one connection, which gives its place back when it is closed.
type counted struct {
	net.Conn
	from  *limited
	asks  bool // a request has begun and is not answered; guarded by limited.mu
	known bool // it has shown the token; guarded by limited.mu
}

func (c *counted) Close() error {
	l := c.from
	l.mu.Lock()
	if i := slices.Index(l.open, c); i >= 0 {
		l.open = slices.Delete(l.open, i, i+1)
	}
	l.mu.Unlock()
	return c.Conn.Close()
}

// follow notes what the HTTP server does with a connection.
func follow(conn net.Conn, state http.ConnState) {
	if c, ok := conn.(*counted); ok {
		c.from.mu.Lock()
		c.asks = state == http.StateActive || state == http.StateHijacked
		c.from.mu.Unlock()
	}
}

// trust notes that a connection has shown the token.
func trust(conn net.Conn) {
	if c, ok := conn.(*counted); ok {
		c.from.mu.Lock()
		c.known = true
		c.from.mu.Unlock()
	}
}
