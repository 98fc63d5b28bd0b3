package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/mpsocks/mpsocks/client/admission"
	"github.com/mpsocks/mpsocks/client/sockdiag"
	"github.com/mpsocks/mpsocks/client/tun"
	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux"
	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// An enclave is a TUN device at the client: its programs' sockets have inner ports
// as associations do, and their connections leave by the exit as CONNECTs do.
type enclave struct {
	client *Client
	name   string // the user that rules see
	wish   mux.Wish
	many   bool // a whole machine's programs are behind it, or a network's: its users share
}

// Program is what programs behind a TUN device are to be known by, and what they want.
type Program struct {
	Name  string   `json:"name"`            // as a SOCKS5 user, for rules and status
	Class string   `json:"class,omitempty"` // of all that is exchanged with them; "" = by rules and by what it does
	Paths []string `json:"paths,omitempty"` // the only ones that they use; nil = all
}

// newEnclave makes one, if there are such a class and such paths.
func newEnclave(c *Client, p Program) (*enclave, error) {
	g := &enclave{client: c, name: p.Name, many: p.Name == conf.TUNUser}
	if p.Class != "" {
		var err error
		if g.wish.Class, err = mux.ParseClass(p.Class); err != nil {
			return nil, err
		}
		g.wish.Asked = true
	}
	if len(p.Paths) > 0 {
		var there []string
		for _, path := range c.watch.Configured() {
			there = append(there, path.Name)
		}
		if len(there) == 0 {
			there = []string{mux.DefaultPath}
		}
		for _, n := range p.Paths {
			if !slices.Contains(there, n) {
				return nil, fmt.Errorf("no path is called %q; there are %s", n, strings.Join(there, ", "))
			}
		}
		g.wish.Paths = p.Paths
	}
	return g, nil
}

// enclavePort is the inner port of one socket.
type enclavePort struct {
	inner
	to    tun.Sink
	wish  mux.Wish
	asked bool          // for echo requests, too; guarded by mu
	pkts  []*buf.Buffer // of Send, between two calls empty; guarded by mu
}

// Open implements tun.Tunnel.
func (g *enclave) Open(by tun.Holder, to tun.Sink) (tun.Port, error) {
	p := &enclavePort{to: to, wish: g.wish}
	p.client, p.holder = g.client, g.holder(by)
	p.source.User = g.name
	if !g.client.associations.Acquire(p.holder) {
		return nil, errTooManyAssociations
	}
	if err := g.client.ports.take(&p.innerPort, p); err != nil {
		g.client.associations.Release(p.holder)
		return nil, err
	}
	g.client.wishes.ask(packet.ProtoUDP, p.at(), g.wish)
	return p, nil
}

// at is the port's address inside the tunnel.
func (p *enclavePort) at() netip.AddrPort { return p.innerPort.source(packet.ServerHost4) }

// Flush implements tun.Tunnel.
func (g *enclave) Flush() { g.client.tunnel.Flush() }

// Owner implements tun.Tunnel.
func (g *enclave) Owner(proto uint8, from, to netip.AddrPort) (uint32, bool) {
	switch {
	case !g.many:
		return 0, false
	case proto == packet.ProtoUDP:
		return sockdiag.UDPOwner(from, to)
	default:
		return sockdiag.TCPOwner(from, to)
	}
}

// Crowded implements tun.Tunnel.
func (g *enclave) Crowded() {
	g.client.enclaves.crowded.Add(1)
	g.client.words.Say(tooManyWait)
}

// Send implements tun.Port.
func (p *enclavePort) Send(run []tun.Datagram) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pkts := p.pkts[:0]
	for _, d := range run {
		if p.closed || !p.wrap(d.Payload, d.To, d.TOS) {
			d.Payload.Release()
			continue
		}
		packet.SetTTL(d.Payload.Bytes(), d.TTL)
		pkts = appendPackets(pkts, d.Payload)
	}
	if len(pkts) > 0 {
		p.client.tunnel.Send(&p.source, pkts)
		clear(pkts)
		p.pkts = pkts
	}
}

// Echo implements tun.Port.
func (p *enclavePort) Echo(b *buf.Buffer, to netip.Addr, seq uint16, tos, ttl uint8) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		b.Release()
		return
	}
	if !p.asked {
		p.asked = true
		p.client.wishes.ask(packet.ProtoICMP, p.at(), p.wish)
	}
	h := packet.Echo{Src: p.innerPort.source(to).Addr(), Dst: to, TOS: tos, TTL: ttl, ID: p.port, Seq: seq}
	packet.PutEcho(b.Prepend(h.Overhead()), &h)
	one := [1]*buf.Buffer{b}
	p.client.tunnel.Send(&p.source, one[:])
}

// Close implements tun.Port.
func (p *enclavePort) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.client.wishes.end(packet.ProtoUDP, p.at())
	p.client.wishes.end(packet.ProtoICMP, p.at())
	p.end()
	p.client.associations.Release(p.holder)
}

// receive implements owner.
func (p *enclavePort) receive(d *delivery, pkt, payload []byte) {
	if p.to.UDP != nil {
		p.to.UDP(&d.devices, &d.udp, pkt, payload)
		p.client.downlink.received.Add(1)
	}
}

// holder is who the caps count somebody behind the device as: a program with a network of its own,
// and else the user of this machine, or another machine.
func (g *enclave) holder(by tun.Holder) admission.Holder {
	if !g.many {
		return admission.Holder{User: g.name}
	}
	return admission.Holder{User: g.name, Host: by.Host, UID: by.UID, Here: by.User}
}

// Connect implements tun.Tunnel: the exit is asked as it is for a CONNECT.
func (g *enclave) Connect(ctx context.Context, from, to netip.AddrPort) (tun.Stream, error) {
	c := g.client
	who := g.holder(tun.HolderOf(g.Owner, packet.ProtoTCP, from, to))
	o, err := reach(ctx, c, who, from, party{name: g.name, to: to.String()}, g.wish, exitRequest("", to.Addr(), to.Port()))
	if errors.Is(err, errExitRefused) {
		return nil, tun.ErrRefused
	}
	if err != nil {
		return nil, err
	}
	return enclaveStream{o}, nil
}

// enclaveStream counts what it carries.
type enclaveStream struct{ *outgoing }

// ReadFrom and WriteTo leave the copying to the stream itself, which needs no buffer for it.
func (s enclaveStream) ReadFrom(r io.Reader) (int64, error) {
	n, err := io.Copy(s.stream, r)
	s.client.streamUp.Add(uint64(n))
	return n, err
}

// WriteTo implements io.WriterTo.
func (s enclaveStream) WriteTo(w io.Writer) (int64, error) {
	n, err := io.Copy(w, s.stream)
	s.client.streamDown.Add(uint64(n))
	return n, err
}

// tooManyWait is what a person reads, seldom, when connections had to go.
const tooManyWait = "more connections of programs behind a TUN device wait for an answer than there may be: the oldest of whoever has most are ended"

// maxEnclaves bounds the devices at once.
const maxEnclaves = 64

var errTooManyEnclaves = errors.New("too many programs with a network of their own")

// enclaves counts the TUN devices at the client.
type enclaves struct {
	n       atomic.Int32
	crowded atomic.Uint64 // connections that had to go, or to come again, because too many waited
}

// enter counts one more, or says that there are too many.
func (t *enclaves) enter() error {
	if t.n.Add(1) > maxEnclaves {
		t.n.Add(-1)
		return errTooManyEnclaves
	}
	return nil
}

// leave counts one less.
func (t *enclaves) leave() { t.n.Add(-1) }
