package server

import (
	"errors"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

const (
	// pingsPerSecond bounds the echo requests of a client, and pingBurst those at once:
	// more than any diagnosis wants, less than a flood.
	pingsPerSecond = 256
	pingBurst      = 256
	// maxQuestions is how many requests of a family may wait for their answers, those of
	// all clients; a power of two. The table takes 1.2 MB when it is first needed.
	maxQuestions = 1 << 14
	// pingWait is how long an answer is waited for if others want the place: longer than
	// any round trip but a few; pingIdle is how long if nobody does.
	pingWait = 3 * time.Second
	pingIdle = time.Minute
	// pingRetry is how long the system is not asked again for a socket that it has refused.
	pingRetry = 30 * time.Second
)

// A pinger sends clients' echo requests to the internet: one socket for each family, with
// one identifier. The sequence number says whose a request was, so that no client is
// answered what another has asked, whatever identifiers they choose; an answer counts
// once, and only from where the request went.
type pinger struct {
	server   *Server
	families [2]asker // IPv4, IPv6
}

// An asker is the pinger of one family.
type asker struct {
	v4 bool

	mu        sync.Mutex // guards all following fields
	socket    *pingSocket
	local     netip.Addr // of socket
	refused   time.Time  // when the system last gave none
	said      bool       // that it does not
	questions []asked    // by sequence number
	next      uint16
}

// An asked is an echo request that may be answered.
type asked struct {
	peer *peer          // nil = free
	from netip.AddrPort // the port is the identifier
	to   netip.Addr
	seq  uint16
	at   int64 // Server.now
}

func (g *pinger) of(v4 bool) *asker {
	a := &g.families[1]
	if v4 {
		a = &g.families[0]
	}
	return a
}

// ping takes a packet that is not UDP: an echo request, or nothing that is known here.
// It is called with p.nat.mu held for reading.
func ping(u *uplink, p *peer, pkt []byte) dropReason {
	var h packet.Echo
	payload, err := packet.ParseEcho(pkt, &h)
	if err != nil || h.Reply {
		return dropPacket
	}
	if _, ok := innerKey(netip.AddrPortFrom(h.Src, h.ID)); !ok {
		return dropSource
	}
	if !p.client.pings.Allow() {
		return dropRate
	}
	if h.Dst == packet.ServerHost4 || h.Dst == packet.ServerHost6 {
		h.Src, h.Dst, h.Reply, h.TTL = h.Dst, h.Src, true, hopLimit
		u.answers = append(u.answers, echoPacket(&h, payload))
		return dropNone
	}
	if p.client.over.Load() {
		return dropQuota
	}
	f := packet.Failure{
		To: h.Src, Proto: packet.ProtoICMP6,
		Src: netip.AddrPortFrom(h.Src, h.ID), Dst: netip.AddrPortFrom(h.Dst, h.Seq),
	}
	if h.Dst.Is4() {
		f.Proto = packet.ProtoICMP
	}
	if reason := p.server.rules.current.Load().host(h.Dst); reason != dropNone {
		f.Prohibited(h.Dst.Is4())
		fail(u, p, &f)
		return reason
	}
	if p.client.braked.Load() && !p.client.brake.admits(netip.AddrPortFrom(h.Dst, 0)) {
		return dropBrake
	}
	if l := p.client.out.limiter.Load(); l != nil && !l.AllowN(time.Now(), len(pkt)) {
		return dropRate
	}
	if h.TTL <= 1 {
		f.Expired(h.Dst.Is4())
		fail(u, p, &f)
		return dropTTL
	}
	return p.server.pinger.ask(p, &h, payload, u.now)
}

// echoPacket makes a packet of an echo.
func echoPacket(h *packet.Echo, payload []byte) *buf.Buffer {
	b := buf.Get(len(payload))
	copy(b.Bytes(), payload)
	packet.PutEcho(b.Prepend(h.Overhead()), h)
	return b
}

// ask sends a request. What the system or a full table does not take is dropped.
func (g *pinger) ask(p *peer, h *packet.Echo, payload []byte, now int64) dropReason {
	a := g.of(h.Dst.Is4())
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.open(g) {
		return dropEcho
	}
	seq := a.next
	q := &a.questions[seq%maxQuestions]
	if q.peer != nil && now-q.at < int64(pingWait) {
		return dropCap
	}
	a.next++
	*q = asked{peer: p, from: netip.AddrPortFrom(h.Src, h.ID), to: h.Dst, seq: h.Seq, at: now}
	if err := a.socket.send(h.Dst, seq, h.TOS, h.TTL-1, payload); err != nil {
		*q = asked{}
		return dropSend
	}
	g.server.sent.Add(1)
	return dropNone
}

var errNoEcho = errors.New("this system lets the server send no echo requests")

// open makes the socket if there is none from the right address; a.mu is held. Why there
// is none is said once.
func (a *asker) open(g *pinger) bool {
	local, err := g.server.outlet.egress.local(a.v4)
	if err != nil {
		return false
	}
	if a.socket != nil && a.local == local {
		return true
	}
	if a.socket != nil {
		a.socket.close()
		a.socket = nil
	}
	if now := time.Now(); now.Sub(a.refused) < pingRetry {
		return false
	} else if a.socket, err = newPingSocket(local); err != nil {
		a.socket, a.refused = nil, now
		if !a.said {
			a.said = true
			g.server.log.Warn().Err(err).Bool("ipv6", !a.v4).Msg("clients' echo requests (ping) are not answered")
		}
		return false
	}
	a.local = local
	if a.questions == nil {
		a.questions = make([]asked, maxQuestions)
	}
	socket := a.socket
	g.server.work.Go(func() { socket.serve(g.server.ctx, a) })
	return true
}

// take finds what an answer, or word of a failure, belongs to.
func (a *asker) take(seq uint16, from netip.Addr, answer bool) (q asked, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at := &a.questions[seq%maxQuestions]
	if at.peer == nil || uint16(a.next-1-seq) >= maxQuestions || answer && at.to != from {
		return q, false
	}
	q, *at = *at, asked{}
	return q, true
}

// answered takes an answer to whom it is for.
func (a *asker) answered(seq uint16, from netip.Addr, tos, ttl uint8, payload []byte) {
	q, ok := a.take(seq, from, true)
	if !ok {
		return
	}
	p := q.peer
	h := packet.Echo{Src: from, Dst: q.from.Addr(), TOS: tos, TTL: ttl, Reply: true, ID: q.from.Port(), Seq: q.seq}
	switch l := p.client.in.limiter.Load(); {
	case p.client.over.Load():
		p.server.drops.add(dropQuota, 1)
	case len(payload) > packet.MaxEcho4 || !a.v4 && len(payload) > packet.MaxEcho6:
		p.server.drops.add(dropSize, 1)
	case l != nil && !l.AllowN(time.Now(), h.Overhead()+len(payload)):
		p.server.drops.add(dropRate, 1)
	default:
		p.server.received.Add(1)
		p.session.Send(&p.source, []*buf.Buffer{echoPacket(&h, payload)})
		p.session.Flush()
	}
}

// failed tells the one whose request it was that it did not arrive.
func (a *asker) failed(seq uint16, from netip.Addr, kind, code uint8) {
	if !packet.Carried(a.v4, kind, code) {
		return
	}
	q, ok := a.take(seq, from, false)
	if !ok {
		return
	}
	f := packet.Failure{
		From: from, To: q.from.Addr(), Type: kind, Code: code, Proto: packet.ProtoICMP6,
		Src: q.from, Dst: netip.AddrPortFrom(q.to, q.seq),
	}
	if a.v4 {
		f.Proto = packet.ProtoICMP
	}
	if b := failurePacket(q.peer, &f); b != nil {
		q.peer.session.Send(&q.peer.source, []*buf.Buffer{b})
		q.peer.session.Flush()
	}
}

// expire forgets requests that nobody will answer, and whose client may be gone.
func (g *pinger) expire(now int64) {
	for i := range g.families {
		a := &g.families[i]
		a.mu.Lock()
		for i := range a.questions {
			if q := &a.questions[i]; q.peer != nil && now-q.at > int64(pingIdle) {
				*q = asked{}
			}
		}
		a.mu.Unlock()
	}
}

// newPingLimit is the bound for one client.
func newPingLimit() *rate.Limiter { return rate.NewLimiter(pingsPerSecond, pingBurst) }
