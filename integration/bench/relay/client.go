//go:build linux

package relay

import (
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/integration/bench/mmsg"
	"github.com/mpsocks/mpsocks/integration/bench/socks"
)

const (
	// tunnelID marks the TCP connection in the poller; associations have 0 to
	// 65,535.
	tunnelID = -1
	// round bounds how long a closed association waits to be taken down.
	round = 20 * time.Millisecond
	// largest is room for the bench's longest datagram and its header.
	largest = 2048
)

var loopback = netip.MustParseAddrPort("127.0.0.1:0")

// client is the half beside the application: one loop for all datagrams, and a
// goroutine per control connection that only sets up and waits for the end.
type client struct {
	link   *link
	poller *mmsg.Poller
	table  [1 << 16]atomic.Pointer[association]

	mu   sync.Mutex
	free []uint16 // association numbers that nobody uses
	gone []uint16 // ended, still to be taken down by the loop
}

type association struct {
	fd   int
	peer bool // whether the socket is connected to the application; the loop's
}

// Client serves SOCKS5 UDP ASSOCIATE on loopback, hands its address to ready
// and relays through the server until the process ends.
func Client(server netip.AddrPort, ready func(netip.AddrPort)) error {
	fd, err := mmsg.DialTCP(loopback.Addr(), server, 5*time.Second)
	if err != nil {
		return err
	}
	c := &client{}
	if c.link, err = newLink(fd); err != nil {
		return err
	}
	if c.poller, err = mmsg.NewPoller(); err != nil {
		return err
	}
	for id := 1<<16 - 1; id >= 0; id-- {
		c.free = append(c.free, uint16(id))
	}
	l, err := net.Listen("tcp", loopback.String())
	if err != nil {
		return err
	}
	ready(l.Addr().(*net.TCPAddr).AddrPort())
	go c.accept(l) // ends with the process
	return c.run()
}

func (c *client) accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go c.control(conn) // ends with its connection
	}
}

// control is one application's connection: greeting, request, and then the
// wait for its end, which ends the association.
func (c *client) control(conn net.Conn) {
	defer conn.Close()
	b := make([]byte, 22)
	if _, err := io.ReadFull(conn, b[:3]); err != nil || b[0] != 5 || b[1] != 1 {
		return
	}
	if _, err := conn.Write([]byte{5, 0}); err != nil {
		return
	}
	if _, err := io.ReadFull(conn, b[:10]); err != nil || b[1] != socks.CommandAssociate || b[3] != 1 {
		return
	}
	fd, bound, err := mmsg.Listen(loopback, false, 0)
	if err != nil {
		return
	}
	c.mu.Lock()
	if len(c.free) == 0 {
		c.mu.Unlock()
		_ = unix.Close(fd)
		return
	}
	id := c.free[len(c.free)-1]
	c.free = c.free[:len(c.free)-1]
	c.mu.Unlock()
	c.table[id].Store(&association{fd: fd})
	defer c.end(id)
	if err := c.poller.Add(fd, int32(id)); err != nil {
		return
	}
	reply, err := socks.AppendAddress([]byte{5, 0, 0}, bound.String())
	if err != nil {
		return
	}
	if _, err := conn.Write(reply); err != nil {
		return
	}
	_, _ = conn.Read(b) // nothing is ever sent: this returns at the end
}

func (c *client) end(id uint16) {
	c.mu.Lock()
	c.gone = append(c.gone, id)
	c.mu.Unlock()
}

// run is the loop that all datagrams pass.
func (c *client) run() error {
	if err := c.poller.Add(c.link.fd, tunnelID); err != nil {
		return err
	}
	receiver, sender, waiting := mmsg.NewReceiver(largest, true), mmsg.NewSender(), false
	for {
		n, err := c.poller.Wait(round)
		if err != nil {
			return err
		}
		for i := range n {
			id := c.poller.Ready(i)
			if id != tunnelID {
				c.up(uint16(id), receiver)
			} else if err := c.down(sender); err != nil {
				return err
			}
		}
		c.sweep()
		left, err := c.link.flush()
		if err != nil {
			return err
		}
		if left != waiting {
			waiting = left
			if err := c.poller.Output(c.link.fd, tunnelID, waiting); err != nil {
				return err
			}
		}
	}
}

// up takes what an application has sent.
func (c *client) up(id uint16, r *mmsg.Receiver) {
	a := c.table[id].Load()
	if a == nil {
		return
	}
	n, err := r.Receive(a.fd)
	if err != nil {
		return // EAGAIN, or the application's ICMP error
	}
	if !a.peer && n > 0 {
		a.peer = mmsg.Connect(a.fd, r.Source(0)) == nil
	}
	for i := range n {
		c.link.put(id, nil, r.Data(i))
	}
}

// down hands to the applications what the server has sent.
func (c *client) down(s *mmsg.Sender) error {
	if more, err := c.link.fill(); !more || err != nil {
		return err
	}
	fd := -1
	for {
		id, data, ok := c.link.next()
		if !ok {
			s.Flush(fd)
			return nil
		}
		a := c.table[id].Load()
		if a == nil || !a.peer {
			continue
		}
		if a.fd != fd || s.Full() {
			s.Flush(fd)
			fd = a.fd
		}
		s.Add(data, netip.AddrPort{})
	}
}

// sweep takes ended associations down; only the loop closes their sockets, so
// that it never meets another one's number.
func (c *client) sweep() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range c.gone {
		if a := c.table[id].Swap(nil); a != nil {
			_ = unix.Close(a.fd)
		}
		c.link.put(id, nil, nil)
		c.free = append(c.free, id)
	}
	c.gone = c.gone[:0]
}
