package admin

import (
	"net"
	"sync"
	"sync/atomic"
)

// mostConns is how many connections may be open at an address: a person with some
// pages and some scrapers. Further ones are closed at once, so that a flood costs no
// descriptors.
const mostConns = 64

// limited is a listener with that bound.
type limited struct {
	net.Listener
	open atomic.Int64
}

func limit(l net.Listener) net.Listener { return &limited{Listener: l} }

func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) <= mostConns {
			return &counted{Conn: c, from: l}, nil
		}
		l.open.Add(-1)
		c.Close()
	}
}

// counted gives its place back when it is closed.
type counted struct {
	net.Conn
	from *limited
	once sync.Once
}

func (c *counted) Close() error {
	c.once.Do(func() { c.from.open.Add(-1) })
	return c.Conn.Close()
}
