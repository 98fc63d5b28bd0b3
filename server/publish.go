package server

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/errno"
	"github.com/mpsocks/mpsocks/mux/packet"
	"github.com/mpsocks/mpsocks/mux/tcpio"
)

const (
	// doorRest is how long a published TCP port stays open when no stream of its
	// client waits there: a path may have died, and connections wait so long.
	doorRest = 10 * time.Second
)

// publishing is what the server knows of published ports.
type publishing struct {
	accepting sync.WaitGroup // of all doors

	mu      sync.Mutex // guards all following fields
	allowed map[string][]conf.PortRange
	doors   map[netip.AddrPort]*door
	held    map[*hold]struct{}
	ending  bool // nothing is opened any more
	// changed are closed when a port of theirs, each one's last digits, may have become somebody's
	// to publish; nil = nobody waits.
	changed [256]chan struct{}

	// Streams that carry nothing: they wait for a connection or for another answer, or
	// hold a UDP port. A server that drains does not wait for them.
	standing atomic.Int64
}

// A hold is one published UDP port.
type hold struct {
	client    string
	port      uint16
	up        func() bool // its session has a subflow
	end       func()
	published bool // guarded by publishing.mu
}

// allow takes the ports that clients may publish. Ports that are no longer allowed are
// closed; connections that came through them go on.
func (t *publishing) allow(clients []conf.Peer) {
	allowed := make(map[string][]conf.PortRange, len(clients))
	for _, c := range clients {
		allowed[c.Name] = c.Publish
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.allowed = allowed
	for port := range len(t.changed) {
		t.tell(uint16(port))
	}
	for _, d := range t.doors {
		if !t.mayNow(d.client.name, d.at.Port()) {
			t.shut(d)
		}
	}
	for h := range t.held {
		if !t.mayNow(h.client, h.port) {
			h.end()
		}
	}
}

// hold notes a UDP port that is to be published for a peer, and end, which is called when the
// client may have it no longer; false if it may not now. Whoever holds it frees it. Where another session
// of the client holds that port and has no subflow, as one does whose client was killed, that ends.
func (t *publishing) hold(p *peer, port uint16, end func()) (h *hold, ok bool) {
	client := p.client.name
	h = &hold{client: client, port: port, up: p.session.Up, end: end}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ending || !t.mayNow(client, port) {
		return nil, false
	}
	if t.held == nil {
		t.held = make(map[*hold]struct{})
	}
	for o := range t.held {
		if o.client == client && o.port == port && !o.up() {
			o.end()
		}
	}
	t.held[h] = struct{}{}
	return h, true
}

// free is called when the port of a hold is free.
func (t *publishing) free(h *hold) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.held, h)
	if h.published {
		t.tell(h.port)
	}
}

// bound notes that the port of a hold is published.
func (t *publishing) bound(h *hold) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h.published = true
}

// may says whether a client may publish a port.
func (t *publishing) may(client string, port uint16) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mayNow(client, port)
}

// mayNow is may. t.mu is held.
func (t *publishing) mayNow(client string, port uint16) bool {
	return slices.ContainsFunc(t.allowed[client], func(r conf.PortRange) bool { return !r.IsZero() && r.Contains(port) })
}

// publish serves one stream to the publish port: a TCP connection from outside, or
// as long as it lives a UDP port.
func publish(p *peer, st stream) {
	s := p.server
	defer st.Close()
	if s.draining.Load() || !claim(p, st, p.streams.take) {
		s.connects.capped.Add(1)
		st.Reset()
		return
	}
	defer p.streams.give()
	stop := context.AfterFunc(p.ctx, st.Reset)
	defer stop()
	_ = st.SetDeadline(time.Now().Add(requestTimeout))
	b := make([]byte, packet.PublishRequestLen)
	if _, err := io.ReadFull(st, b); err != nil {
		st.Reset()
		return
	}
	q, err := packet.ParsePublish(b)
	if err != nil {
		st.Reset()
		return
	}
	s.publishing.standing.Add(1)
	p.standing.Add(1)
	stand := sync.OnceFunc(func() { s.publishing.standing.Add(-1); p.standing.Add(-1) })
	defer stand()
	// A no is the last word until something has changed; the client may go before.
	news := s.publishing.news(q.At.Port())
	answer := func(code byte) bool {
		_, err := st.Write([]byte{code})
		if err != nil || st.SetDeadline(time.Time{}) != nil {
			return false
		}
		if code != packet.PublishOK {
			s.publishing.reconsider(st, p.client.name, q.At.Port(), code, news)
		}
		return code == packet.PublishOK
	}
	if !s.publishing.may(p.client.name, q.At.Port()) {
		noted(p).Stringer("at", q.At).Msg("a client wants to publish a port that it may not")
		p.client.wrong("it wants to publish " + q.At.String() + ", which it may not: clients[].publish")
		answer(packet.PublishNotAllowed)
		return
	}
	if q.Protocol == packet.ProtocolUDP {
		publishUDP(p, st, &q, answer)
		return
	}
	d, code := s.publishing.open(&s.sockets, p.client, q.At)
	if d == nil {
		if code != packet.PublishNotAllowed {
			p.client.wrong("its port " + q.At.String() + " is not published: another program has it, it cannot be bound, or the client's share of file descriptors is used")
		}
		answer(code)
		return
	}
	leave := sync.OnceFunc(func() { s.publishing.leave(d); stand() })
	defer leave()
	if answer(code) {
		await(p, st, d, leave)
	}
}

// codeOf is the answer for an error of binding.
func codeOf(err error) byte {
	if errors.Is(err, errno.AddrInUse) {
		return packet.PublishTaken
	}
	return packet.PublishFailed
}

// publishUDP binds the mappings of an inner port to a port of the server's, as
// long as the stream lives. No idle time ends them, and nobody is filtered.
func publishUDP(p *peer, st stream, q *packet.Publish, answer func(byte) bool) {
	h, ok := p.server.publishing.hold(p, q.At.Port(), st.Reset)
	if !ok {
		answer(packet.PublishNotAllowed)
		return
	}
	free := sync.OnceFunc(func() { p.server.publishing.free(h) })
	defer free()
	four, six := packet.ClientHost4, packet.ClientHost6
	for range q.Host {
		four, six = four.Next(), six.Next()
	}
	var bound []*mapping
	var failed error
	for _, inner := range []netip.Addr{four, six} {
		at := q.At
		if a := at.Addr(); a == netip.IPv6Unspecified() && inner.Is4() {
			at = netip.AddrPortFrom(netip.IPv4Unspecified(), at.Port())
		} else if a.Is4() != inner.Is4() {
			continue
		}
		m, err := p.nat.bind(netip.AddrPortFrom(inner, q.Port), at, st.Reset)
		if err != nil {
			failed = err
			continue
		}
		bound = append(bound, m)
	}
	end := sync.OnceFunc(func() {
		for _, m := range bound {
			p.nat.unbind(m)
		}
	})
	defer end()
	if len(bound) == 0 || errors.Is(failed, errno.AddrInUse) {
		noted(p).Err(failed).Stringer("at", q.At).Msg("a port is not published")
		end()
		free()
		answer(codeOf(failed))
		return
	}
	p.server.publishing.bound(h)
	if answer(packet.PublishOK) {
		noted(p).Stringer("at", q.At).Str("proto", "udp").Msg("a client's port is published")
		_, _ = io.Copy(io.Discard, st)
	}
}

// open finds the door at an address, or opens it with one of the client's descriptors.
func (t *publishing) open(s *sockets, c *client, at netip.AddrPort) (*door, byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.doors[at]
	switch {
	case t.ending || !t.mayNow(c.name, at.Port()):
		return nil, packet.PublishNotAllowed
	case d != nil && d.client.name != c.name:
		return nil, packet.PublishTaken
	case d == nil && !s.take(&c.sockets, exitSocket):
		return nil, packet.PublishFailed
	case d == nil:
		network := "tcp"
		if at.Addr().Is4() {
			network = "tcp4"
		}
		lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error { tcpio.Inline(raw); return nil }}
		lc.SetMultipathTCP(false)
		ln, err := lc.Listen(context.Background(), network, at.String())
		if err != nil {
			s.give(&c.sockets, exitSocket)
			return nil, codeOf(err)
		}
		d = &door{at: at, client: c, sockets: s, ln: ln.(*net.TCPListener), came: make(chan struct{}, 1), closed: make(chan struct{})}
		if t.doors == nil {
			t.doors = make(map[netip.AddrPort]*door)
		}
		t.doors[at] = d
		t.accepting.Go(d.accept)
	case d.rest != nil:
		d.rest.Stop()
		d.rest = nil
	}
	d.refs++
	return d, packet.PublishOK
}

// leave gives up a stream's place; a door that nobody waits at is closed after a
// while, if it is open.
func (t *publishing) leave(d *door) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if d.refs--; d.refs == 0 && t.doors[d.at] == d {
		d.rest = time.AfterFunc(doorRest, func() {
			t.mu.Lock()
			defer t.mu.Unlock()
			if d.refs == 0 {
				t.shut(d)
			}
		})
	}
}

// shut closes a door. t.mu is held.
func (t *publishing) shut(d *door) {
	if t.doors[d.at] == d {
		delete(t.doors, d.at)
		close(d.closed)
		d.ln.Close()
		d.sockets.give(&d.client.sockets, exitSocket)
		t.tell(d.at.Port())
	}
}

// close closes all doors for good. UDP ports that are held stay as long as their
// clients.
func (t *publishing) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ending = true
	for _, d := range t.doors {
		if d.rest != nil {
			d.rest.Stop()
		}
		t.shut(d)
	}
}
