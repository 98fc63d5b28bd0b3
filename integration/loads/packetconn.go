package loads

import (
	"net"
)

// packetConn is a connected UDP socket that looks like one which talks to the destination: it adds and strips the
// SOCKS header. It hides the socket's other methods, so that a QUIC implementation treats a direct and a proxied
// one alike: a system call per packet, no offloads. One reader and one writer may use it at a time.
type packetConn struct {
	*net.UDPConn
	control net.Conn // or nil
	prefix  []byte
	to      net.Addr
	out     []byte // the writer's buffer
	in      []byte // the reader's
}

func (c *packetConn) ReadFrom(b []byte) (int, net.Addr, error) {
	if c.prefix == nil {
		n, err := c.Read(b)
		return n, c.to, err
	}
	if c.in == nil {
		c.in = make([]byte, 65536)
	}
	for {
		n, err := c.Read(c.in)
		if err != nil {
			return 0, nil, err
		}
		if off := datagramOffset(c.in[:n]); off >= 0 {
			return copy(b, c.in[off:n]), c.to, nil
		}
	}
}

func (c *packetConn) WriteTo(b []byte, _ net.Addr) (int, error) {
	c.out = append(append(c.out[:0], c.prefix...), b...)
	if _, err := c.Write(c.out); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Close ends the association too.
func (c *packetConn) Close() error {
	if c.control != nil {
		c.control.Close()
	}
	return c.UDPConn.Close()
}
