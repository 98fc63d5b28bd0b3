package mux

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/time/rate"

	"github.com/mpsocks/mpsocks/mux/carrier"
	"github.com/mpsocks/mpsocks/mux/engine"
	"github.com/mpsocks/mpsocks/mux/gate"
	"github.com/mpsocks/mpsocks/mux/handshake"
	"github.com/mpsocks/mpsocks/mux/tcpio"
)

// Who connects has proved nothing, and there are many on the internet. Each gets a
// place at the gate, if there is one for it (mux/gate); its ClientHello is read, which
// costs next to nothing; and the handshake, which costs, is for those who have shown a
// proof in it (mux/proof), and for as many others as the budget for strangers allows.

const (
	// acceptTimeout is how long a connection may take until its client has proved its key.
	acceptTimeout = 10 * time.Second
	// joinTimeout is how long it may take from then on for TLS, and then until it is a subflow: a
	// path may be far.
	joinTimeout = 20 * time.Second
)

const (
	// strangersPerCore is how many handshakes a second without a proof are paid for: each
	// costs some 0.6 ms, so this is a thirtieth of the processor. As many again are for
	// addresses that have proved a key before: clients of an older release are there.
	strangersPerCore = 50
	// patienceOfStrangers is how long one of them waits for its turn.
	patienceOfStrangers = 3 * time.Second
	// knocksPerCore is how many ClientHellos a second are read for addresses that have
	// not proved a key, and turnedPerCore how many connections a second are accepted
	// only to be closed: more wait in the kernel. Both are some twentieths of it.
	knocksPerCore = 200
	turnedPerCore = 5000
	// floodRest is how long it rests after some were turned away and no more were there: as many come
	// meanwhile as cost one wake-up.
	floodRest = 2 * time.Millisecond
)

// newStrangers makes the budget.
func newStrangers() *rate.Limiter {
	n := strangersPerCore * runtime.GOMAXPROCS(0)
	return rate.NewLimiter(rate.Limit(n), n/2)
}

// newGate is the gate of this machine, for a process that may open so many files.
func newGate(files int) *gate.Gate {
	n := ofFiles(files, 16, 16, gate.Places)
	return gate.NewRated(n, max(n*gate.Share/gate.Places, 8), n*gate.Reserve/gate.Places, knocksPerCore*runtime.GOMAXPROCS(0))
}

// newGuests is the same for the cover's upstream, where each takes two.
func newGuests(files int) guests {
	n := ofFiles(files, 32, 4, mostGuests)
	return guests{gate: gate.NewFair(n, max(n*guestShare/mostGuests, 2))}
}

// ofFiles is a part of the files that may be opened, between two bounds, and the larger one
// where it is not known how many these are: what has proved nothing, and one client, must
// leave some for the others.
func ofFiles(files, part, least, most int) int {
	if files <= 0 {
		return most
	}
	return min(max(files/part, least), most)
}

// filesOf is how many descriptors the sessions of one client may hold together.
func (c *ListenerConfig) filesOf() int { return ofFiles(c.MaxFiles, 16, 6, math.MaxInt) }

// inTime waits for the turn of a handshake, without the bench, and fails at once when that does not
// come in time.
func (b *bench) inTime(ctx context.Context, turn func(context.Context) error) (err error) {
	ctx, cancel := context.WithTimeout(ctx, patienceOfStrangers)
	defer cancel()
	b.without(func() { err = turn(ctx) })
	if err != nil {
		return fmt.Errorf("%w: handshakes: %w", errTooMany, err)
	}
	return nil
}

// accept is the goroutine of one address.
func (l *Listener) accept(ctx context.Context, door carrier.Door) {
	turned := rate.NewLimiter(rate.Limit(turnedPerCore*runtime.GOMAXPROCS(0)), turnedPerCore/10)
	away := 0 // so many were turned away in this turn
	may := func(from netip.Addr) bool {
		ok, first := l.gate.Knock(from, time.Now())
		if first {
			l.live.Load().Log.Warn().Stringer("from", from.Unmap()).
				Msg("more connections a second than are looked at: most are closed at once, but those of addresses that have proved a key")
		}
		if !ok {
			away++
		}
		return ok
	}
	turn := func(step func() (more bool)) {
		at := l.benches.take()
		more := step()
		if at.leave(); away == 0 {
			return
		}
		_ = turned.WaitN(ctx, away)
		if away = 0; !more {
			time.Sleep(floodRest)
		}
	}
	_ = tcpio.AcceptAll(ctx, func() (net.Conn, error) { return door.AcceptFrom(may, turn) }, func(conn net.Conn) {
		at := l.benches.take()
		defer at.leave()
		l.admit(ctx, conn)
	}, func(err error) {
		l.live.Load().Log.Warn().Err(err).Stringer("listen", door.Addr()).Msg("cannot accept connections; trying again")
	})
}

// admit begins the handshake of a connection that gets a place.
func (l *Listener) admit(ctx context.Context, conn net.Conn) {
	from := carrier.AddrPort(conn.RemoteAddr())
	ctx, leave := context.WithCancel(ctx)
	place, first := l.gate.Enter(from.Addr(), time.Now(), leave, func() bool { return gate.Unread(conn) })
	if first {
		l.live.Load().Log.Warn().Stringer("from", from.Addr()).
			Msg("more connections than there is room for that prove nothing: the oldest of them are closed")
	}
	if place == nil {
		leave()
		conn.Close()
		return
	}
	l.tasks.Go(func() {
		defer leave()
		defer place.Leave()
		l.handshake(ctx, conn, place)
	})
}

// handshake makes a subflow of an accepted connection. It ends with ctx, but the
// subflow does not.
func (l *Listener) handshake(ctx context.Context, tcp net.Conn, place *gate.Place) {
	stop := context.AfterFunc(ctx, func() { tcp.Close() })
	defer stop()
	k := carrier.NewTLS(tcp, engine.MinLowat)
	tcp.SetDeadline(time.Now().Add(acceptTimeout))
	live := l.live.Load()
	if live.Cover.Hides() {
		k.Hush()
	}
	cfg := live.tls.Clone()
	at := l.benches.take()
	defer at.leave()
	k.Waits(at.without)
	var clock *clockError
	cfg.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		place.Spoke()
		client, ahead, ok := l.book.Check(hello.ServerName, time.Now())
		if ok {
			place.Prove(client)
			k.SetDeadline(time.Now().Add(joinTimeout))
			k.Answer()
			return nil, at.inTime(ctx, func(ctx context.Context) error { return l.allowances.wait(ctx, client, place.Known()) })
		}
		if k.Hushed() {
			if ahead != 0 {
				clock = &clockError{live.Clients[client], ahead}
				l.refusals.note(&live.Log, tcp.RemoteAddr(), clock, time.Now())
			}
			return nil, errStranger
		}
		budget := l.strangers // for a handshake without a proof
		if place.Known() {
			budget = l.familiar
		}
		return nil, at.inTime(ctx, budget.Wait)
	}
	err := k.Server(context.WithoutCancel(ctx), cfg) // its end is the connection's
	switch {
	case err == nil:
		if client, err := handshake.PeerKey(k.State()); err == nil {
			place.Finish(time.Now(), client)
		}
		k.SetDeadline(time.Now().Add(joinTimeout))
		err = l.welcome(k, stop, at)
	case ctx.Err() != nil:
		err = fmt.Errorf("%w: another connection got its place", errTooMany)
	case k.Hushed():
		at.without(func() { err = l.guests.serve(ctx, &l.live.Load().Cover, k, place) })
	default:
		err = &tlsError{err}
	}
	if err == nil {
		return
	}
	tcp.Close()
	log := &l.live.Load().Log
	switch {
	case l.running().Err() != nil, clock != nil: // that was said
	case errors.Is(err, errGuest): // a visitor of the web site is not refused
		log.Debug().Stringer("from", tcp.RemoteAddr()).Msg("a guest of the cover's upstream has gone")
	case hasLeft(err) && place.Proven(time.Now()):
		// A client dials more than it needs, to find which of its servers answers first and
		// how large packets may be, and leaves what it does not need, often without a word.
		log.Debug().Stringer("from", tcp.RemoteAddr()).Err(err).Msg("a client has gone before it was let in")
	default:
		log.Debug().Stringer("from", tcp.RemoteAddr()).Err(err).Msg("subflow refused")
		l.refusals.note(log, tcp.RemoteAddr(), err, time.Now())
	}
}

// running is the context of Run.
func (l *Listener) running() context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ctx
}
