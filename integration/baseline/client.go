package baseline

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
)

// client is the near half.
type client struct {
	server netip.AddrPort
	dialer net.Dialer
	out    *frameWriter

	mu    sync.Mutex // guards all following fields
	next  uint16
	relay map[uint16]*association
}

// association is one UDP ASSOCIATE.
type association struct {
	udp *net.UDPConn
	app atomic.Pointer[netip.AddrPort] // where the application sends from
}

// Client serves SOCKS5 at the address and carries everything to the server.
func Client(ctx context.Context, at, server netip.AddrPort) error {
	c := &client{server: server, relay: map[uint16]*association{}}
	c.dialer.SetMultipathTCP(true)
	conn, err := c.dialer.DialContext(ctx, "tcp", server.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	if on, err := conn.(*net.TCPConn).MultipathTCP(); err != nil || !on {
		return errors.Join(errors.New("the connection fell back to plain TCP"), err)
	}
	if _, err := conn.Write([]byte{'u'}); err != nil {
		return err
	}
	c.out = &frameWriter{conn: conn}
	ctx, cancel := context.WithCancelCause(ctx)
	go func() { cancel(c.receive(conn)) }() // ends with the connection
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", at.String())
	if err != nil {
		return err
	}
	return errors.Join(accept(ctx, l, c.serve), context.Cause(ctx))
}

// receive hands what comes from the server to the applications.
func (c *client) receive(conn net.Conn) error {
	in := bufio.NewReaderSize(conn, 256<<10)
	buf := make([]byte, maxFrame)
	var out []byte
	for {
		id, from, payload, err := readFrame(in, buf)
		if err != nil {
			return err
		}
		c.mu.Lock()
		a := c.relay[id]
		c.mu.Unlock()
		if a == nil {
			continue
		}
		if app := a.app.Load(); app != nil {
			out = append(appendAddr(append(out[:0], 0, 0, 0), from), payload...)
			a.udp.WriteToUDPAddrPort(out, *app)
		}
	}
}

// serve is one SOCKS5 connection.
func (c *client) serve(conn net.Conn) {
	b := make([]byte, 512)
	if _, err := io.ReadFull(conn, b[:2]); err != nil || b[0] != 5 {
		return
	}
	if _, err := io.ReadFull(conn, b[:b[1]]); err != nil {
		return
	}
	conn.Write([]byte{5, 0})
	if _, err := io.ReadFull(conn, b[:4]); err != nil {
		return
	}
	command := b[1]
	n := 7
	if b[3] == atypIPv6 {
		n = 19
	}
	if _, err := io.ReadFull(conn, b[4:3+n]); err != nil {
		return
	}
	to, _, err := splitAddr(b[3 : 3+n])
	if err != nil {
		return
	}
	switch command {
	case 1:
		c.connect(conn, to)
	case 3:
		c.associate(conn)
	}
}

// connect opens a multipath connection of its own for the stream.
func (c *client) connect(conn net.Conn, to netip.AddrPort) {
	far, err := c.dialer.Dial("tcp", c.server.String())
	if err != nil {
		return
	}
	defer far.Close()
	if _, err := far.Write(appendAddr([]byte{'c'}, to)); err != nil {
		return
	}
	conn.Write(appendAddr([]byte{5, 0, 0}, to))
	splice(conn, far)
}

// associate relays datagrams until the control connection ends.
func (c *client) associate(conn net.Conn) {
	local := netip.MustParseAddrPort(conn.LocalAddr().String()).Addr()
	udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, 0)))
	if err != nil {
		return
	}
	defer udp.Close()
	udp.SetReadBuffer(4 << 20)
	a := &association{udp: udp}
	c.mu.Lock()
	c.next++
	id := c.next
	c.relay[id] = a
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.relay, id)
		c.mu.Unlock()
	}()
	conn.Write(appendAddr([]byte{5, 0, 0}, netip.MustParseAddrPort(udp.LocalAddr().String())))
	go func() { // ends with the socket
		buf := make([]byte, maxFrame)
		for {
			n, from, err := udp.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			if p := a.app.Load(); p == nil || *p != from {
				a.app.Store(&from)
			}
			if n < 4 {
				continue
			}
			to, payload, err := splitAddr(buf[3:n])
			if err != nil {
				continue
			}
			if c.out.write(id, to, payload) != nil {
				return
			}
		}
	}()
	io.Copy(io.Discard, conn)
}
