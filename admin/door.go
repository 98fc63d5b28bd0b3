package admin

import (
	"io"
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
	foreign func(c net.Conn, first byte) // answers who does not speak HTTP

	mu   sync.Mutex // guards the rest
	open []*counted // in the order in which they came
}

func limit(l net.Listener, foreign func(net.Conn, byte)) net.Listener {
	return &limited{Listener: l, foreign: foreign}
}

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
	spoke bool // something has come; net/http's alone
}

// Read brings what the other end says. Who speaks another protocol than HTTP is told so and cut off at
// once: net/http would wait for the end of a line.
func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n == 0 || c.spoke {
		return n, err
	}
	c.spoke = true
	if p[0] >= 'A' && p[0] <= 'Z' { // a method
		return n, err
	}
	c.from.foreign(c.Conn, p[0])
	return 0, io.EOF
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
