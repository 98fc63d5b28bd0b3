package main

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/socks"
	"github.com/mpsocks/mpsocks/integration/netlab"
)

// The world's ports.
const (
	datagramPort = "7000"
	streamPort   = "7001"
)

var (
	world4 = net.JoinHostPort(netlab.World.String(), datagramPort)
	world6 = net.JoinHostPort(netlab.World6.String(), datagramPort)
)

const (
	pushed = 1200
	// lead is how long before an outage a datagram may have been sent that is lost by it:
	// longer than any queue and round trip here. trail is how long after it things settle.
	lead, trail = time.Second, time.Second
	// asking is how long after an outage a flow to a name that was never answered may have
	// none yet: the client asks again after 1 and 3 s, and begins anew after 5.
	asking = 6 * time.Second
	// straggle is how long a flow waits for its last datagrams.
	straggle = 3 * time.Second
)

var flowKinds = []flowKind{
	{name: "game", size: 200, every: 20 * time.Millisecond, burst: 1, to: world4, echo: true},
	{name: "voice, IPv6", size: 160, every: 20 * time.Millisecond, burst: 1, to: world6, echo: true},
	{name: "game by name", size: 120, every: 40 * time.Millisecond, burst: 1, to: "game." + zone + ":" + datagramPort, echo: true},
	{name: "upload", size: 1200, every: 30 * time.Millisecond, burst: 1, to: world4},
	{name: "pushes", size: 32, every: hello, burst: 1, to: world4, push: 40 * time.Millisecond},
	{name: "large", size: 6000, every: 400 * time.Millisecond, burst: 1, to: world4, echo: true},
	{name: "bursts", size: 1200, every: 250 * time.Millisecond, burst: 6, to: world4, echo: true},
	{name: "sparse", size: 64, every: 2 * time.Second, burst: 1, to: world6, echo: true},
}

// canary is what says when the tunnel is back.
var canary = flowKind{name: "canary", size: 100, every: 50 * time.Millisecond, burst: 1, to: world4, echo: true}

// associations keeps one association after the other open until the end.
func (s *soak) associations(ctx context.Context, r *rand.Rand) {
	for ctx.Err() == nil {
		kind := &flowKinds[r.IntN(len(flowKinds))]
		life := s.pace.unit + jitter(r, 10*s.pace.unit)
		w := s.newFlow(kind)
		if !s.associate(ctx, w, life) {
			pause(ctx, 200*time.Millisecond)
		}
	}
}

func (s *soak) newFlow(kind *flowKind) *flow {
	return &flow{id: s.lastFlow.Add(1), kind: kind, begun: time.Now()}
}

// dial opens and greets the proxy in the client's namespace.
func (s *soak) dial() (c *net.TCPConn, err error) {
	d := socks.Dialer{Proxy: s.proxy}
	err = s.lab.Client.Do(func() (err error) {
		c, err = d.Open()
		return err
	})
	return c, err
}

// associate runs one association for its life; false if there was none.
func (s *soak) associate(ctx context.Context, w *flow, life time.Duration) bool {
	control, err := s.dial()
	if err == nil {
		defer control.Close()
	}
	var relay netip.AddrPort
	if err == nil {
		relay, err = socks.Request(control, socks.CommandAssociate, "0.0.0.0:0")
	}
	if err != nil {
		if !s.outages.during(w.begun, time.Now(), func(kind string) bool { return kind == sleepC || kind == starting }) {
			s.report.fault("no association: %v", err)
		}
		return false
	}
	_ = control.SetDeadline(time.Time{})
	var conn *net.UDPConn
	err = s.lab.Client.Do(func() (err error) {
		conn, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(relay))
		return err
	})
	if err != nil {
		s.report.fault("socket of an association: %v", err)
		return false
	}
	s.far.add(w)
	done := make(chan struct{})
	go func() { // ends when the socket is closed
		defer close(done)
		s.receive(w, conn)
	}()
	pushes := make(chan struct{})
	pushing, stop := context.WithTimeout(ctx, life)
	go func() { defer close(pushes); w.pushAll(pushing) }()
	s.sendAll(pushing, w, conn)
	<-pushes
	stop()
	for end := time.Now().Add(straggle); time.Now().Before(end) && !(w.up.complete() && w.down.complete()); {
		time.Sleep(20 * time.Millisecond)
	}
	conn.Close()
	<-done
	s.far.remove(w)
	s.judge(w)
	return true
}

// sendAll sends to the world until the time is over.
func (s *soak) sendAll(ctx context.Context, w *flow, conn *net.UDPConn) {
	b := make([]byte, w.kind.size)
	for next := time.Now(); ctx.Err() == nil; next = next.Add(w.kind.every) {
		for range w.kind.burst {
			fillDatagram(b, w.id, w.up.send())
			out, err := socks.AppendDatagram(nil, w.kind.to, b)
			if err == nil {
				_, _ = conn.Write(out) // what the kernel refuses is lost, and counted so
			}
		}
		pause(ctx, time.Until(next))
	}
}

// pushAll sends to the client by itself, if this flow is of that kind.
func (w *flow) pushAll(ctx context.Context) {
	if w.kind.push == 0 {
		return
	}
	b := make([]byte, pushed)
	for ctx.Err() == nil {
		w.mu.Lock()
		heard := w.conn != nil
		w.mu.Unlock()
		if heard {
			fillDatagram(b, w.id, w.down.send())
			w.toPeer(b)
		}
		pause(ctx, w.kind.push)
	}
}

// receive notes what comes to the association.
func (s *soak) receive(w *flow, conn *net.UDPConn) {
	b := make([]byte, 65536)
	size := w.kind.size
	if w.kind.push > 0 {
		size = pushed
	}
	for {
		n, err := conn.Read(b)
		if err != nil {
			return
		}
		source, payload, err := socks.ParseDatagram(b[:n])
		if err != nil {
			s.report.fault("%s: the relay sent no SOCKS datagram: %v", w.kind.name, err)
			continue
		}
		id, seq, whole := datagramOf(payload)
		whole = whole && id == w.id && len(payload) == size && (source.Addr() == netlab.World || source.Addr() == netlab.World6)
		if _, fresh := w.down.take(seq, whole); fresh && w.kind.echo {
			w.up.mu.Lock()
			at := w.up.sent[seq].UnixNano()
			w.up.mu.Unlock()
			if at > w.lastBack.Load() {
				w.lastBack.Store(at)
			}
		}
	}
}

// judge counts the flow, and says what must not have happened.
func (s *soak) judge(w *flow) {
	named := w.kind.to[0] >= 'a'
	noAnswer := func(kind string) bool { return noName(kind) || nothingUp(kind) }
	for i, l := range []*leg{&w.up, &w.down} {
		settled := trail
		if i == 1 && w.kind.push > 0 {
			settled += 2 * hello // the world has to hear the new address first
		}
		l.mu.Lock()
		var t tally
		heard := false
		first, last := time.Time{}, time.Time{}
		for seq, came := range l.came {
			at := l.sent[seq]
			if at.IsZero() {
				continue
			}
			t.sent++
			switch {
			case came:
				t.came++
				heard = true
			case s.outages.during(at.Add(-settled), at.Add(lead), nothingUp), named && !heard && s.outages.during(at.Add(-asking), at, noAnswer):
				t.lostDown++
			default:
				if t.lost++; first.IsZero() {
					first = at
				}
				last = at
			}
		}
		t.alter, t.dupe = l.altered, l.doubled
		l.mu.Unlock()
		way := [2]string{"to the world", "to the program"}[i]
		if t.lost > 0 {
			s.report.fault("%s %s: %d of %d lost while a path was up, sent %.1fs to %.1fs, flow of %.1fs", w.kind.name, way, t.lost, t.sent,
				first.Sub(s.report.begin).Seconds(), last.Sub(s.report.begin).Seconds(), w.begun.Sub(s.report.begin).Seconds())
		}
		if t.alter+t.dupe > 0 {
			s.report.fault("%s %s: %d altered, %d doubled", w.kind.name, way, t.alter, t.dupe)
		}
		s.report.count(w.kind.name, func(all *tally) {
			all.begun += 1 - i
			all.sent += t.sent
			all.came += t.came
			all.lostDown += t.lostDown
			all.lost += t.lost
			all.alter += t.alter
			all.dupe += t.dupe
		})
	}
}

// pause sleeps, at most until the end.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
