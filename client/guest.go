package client

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"

	"github.com/txthinking/socks5"

	"github.com/mpsocks/mpsocks/client/tun"
	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// A guest is a TUN device at the client: its programs' sockets have inner ports
// as associations do, and their connections leave by the exit as CONNECTs do.
type guest struct {
	client *Client
	name   string // the user that rules see
}

// guestPort is the inner port of one socket.
type guestPort struct {
	inner
	deliver func(h *packet.UDP, pkt, payload []byte)
	holder  holder
}

// Open implements tun.Tunnel.
func (g *guest) Open(deliver func(h *packet.UDP, pkt, payload []byte)) (tun.Port, error) {
	p := &guestPort{deliver: deliver, holder: holderOf(g.name, netip.Addr{})}
	p.client, p.source.User = g.client, g.name
	if !g.client.associations.acquire(p.holder) {
		return nil, errTooManyAssociations
	}
	if err := g.client.ports.take(&p.innerPort, p); err != nil {
		g.client.associations.release(p.holder)
		return nil, err
	}
	return p, nil
}

// Flush implements tun.Tunnel.
func (g *guest) Flush() { g.client.tunnel.Flush() }

// Send implements tun.Port.
func (p *guestPort) Send(b *buf.Buffer, to netip.AddrPort, tos, ttl uint8) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || !p.wrap(b, to, tos) {
		b.Release()
		return
	}
	packet.SetTTL(b.Bytes(), ttl)
	if b.Next == nil {
		one := [1]*buf.Buffer{b}
		p.client.tunnel.Send(&p.source, one[:])
		return
	}
	p.client.tunnel.Send(&p.source, appendPackets(nil, b))
}

// Close implements tun.Port.
func (p *guestPort) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.end()
	p.client.associations.release(p.holder)
}

// receive implements owner.
func (p *guestPort) receive(d *delivery, pkt, payload []byte) {
	p.deliver(&d.udp, pkt, payload)
	p.client.received.Add(1)
}

// Connect implements tun.Tunnel: the exit is asked as it is for a CONNECT.
func (g *guest) Connect(ctx context.Context, from, to netip.AddrPort) (tun.Stream, error) {
	c := g.client
	who := holderOf(g.name, netip.Addr{})
	if !c.streams.acquire(who) {
		return nil, errTooManyStreams
	}
	st, err := c.openStream(from)
	if err != nil {
		c.streams.release(who)
		return nil, err
	}
	stop := context.AfterFunc(ctx, st.Reset)
	_, err = st.Write(exitRequest(to))
	var reply *socks5.Reply
	if err == nil {
		reply, err = readExit(st)
	}
	stop()
	if err == nil && reply.Rep != repSuccess {
		c.exitRefused.Add(1)
		err = tun.ErrRefused
	}
	if err != nil {
		st.Reset()
		st.Close()
		c.streams.release(who)
		return nil, err
	}
	return &guestStream{stream: st, client: c, holder: who}, nil
}

// exitRequest is the offer of no authentication and a CONNECT request (RFC 1928,
// Sections 3 and 4).
func exitRequest(to netip.AddrPort) []byte {
	atyp := socks5.ATYPIPv4
	if to.Addr().Is6() {
		atyp = socks5.ATYPIPv6
	}
	b := append([]byte{socks5.Ver, 1, socks5.MethodNone, socks5.Ver, socks5.CmdConnect, 0, atyp}, to.Addr().AsSlice()...)
	return append(b, byte(to.Port()>>8), byte(to.Port()))
}

// guestStream gives its place back when it is closed.
type guestStream struct {
	stream
	client *Client
	holder holder
	closed bool // owned by who closes it
}

func (s *guestStream) Close() error {
	if !s.closed {
		s.closed = true
		s.client.streams.release(s.holder)
	}
	return s.stream.Close()
}

// attached is a device with its name.
type attached struct {
	name   string
	device *tun.Device
}

// guests are the TUN devices at the client.
type guests struct {
	mu   sync.Mutex // guards list
	list []*attached
}

// Guest is what is known of a TUN device at the client.
type Guest struct {
	Name   string
	Counts tun.Counts
}

// Guests lists the TUN devices at the client, the oldest first.
func (c *Client) Guests() []Guest {
	c.guests.mu.Lock()
	defer c.guests.mu.Unlock()
	out := make([]Guest, 0, len(c.guests.list))
	for _, g := range c.guests.list {
		out = append(out, Guest{g.name, g.device.Counts()})
	}
	return out
}

// maxGuests bounds the devices at once.
const maxGuests = 64

var errTooManyGuests = errors.New("too many programs with a network of their own")

func (t *guests) add(g *attached) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.list) >= maxGuests {
		return false
	}
	t.list = append(t.list, g)
	return true
}

func (t *guests) remove(g *attached) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.list = slices.DeleteFunc(t.list, func(x *attached) bool { return x == g })
}
