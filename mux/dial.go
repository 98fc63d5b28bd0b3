package mux

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/mux/carrier"
	"github.com/mpsocks/mpsocks/mux/dialer"
	"github.com/mpsocks/mpsocks/mux/engine"
	"github.com/mpsocks/mpsocks/mux/handshake"
	"github.com/mpsocks/mpsocks/mux/mptcp"
)

const (
	dialQuick        = 1200 * time.Millisecond
	dialTimeout      = 5 * time.Second
	handshakeTimeout = 5 * time.Second
	// farTime bounds all of these where the path is seen to be far.
	farTime = 30 * time.Second
	// joinLeast is the least time for the MPTCP handshake, joinPatience how many times
	// what the proof took it may take otherwise: a server may hang in between.
	joinLeast    = time.Second
	joinPatience = 4
	// silentStagger is the head start of one address over the next where the session has
	// subflows and all of them are silent: its server may be gone.
	silentStagger = 100 * time.Millisecond
	// homeLeast is the least time that a session's own server has for its proof when a
	// load balancer's address has given one, homePatience how many times what that took it
	// may take otherwise.
	homeLeast    = 300 * time.Millisecond
	homePatience = 4
	// maxServers is how many servers one attempt asks for the session: each has
	// proved its key, and did not know it.
	maxServers = 8
	// mtuTime is how long it is believed that larger packets get lost on a path (RFC 1191, Section
	// 6.3): then they are tried again with the next subflow, beside small ones.
	mtuTime = 10 * time.Minute
)

// A proven is a connection on which the server has proved its key.
type proven struct {
	carrier *carrier.TLS
	key     [32]byte // that the server proved
	addr    netip.AddrPort
	took    time.Duration // from the SYN to the proof
	epoch   uint64        // of the session's keys when it was dialled
	mtu     int           // of its packets, at most; 0 = any
}

// dialTime is how long TCP's handshake may take. A lost SYN goes again after 1, 3, 7 s: short
// attempts find a path that comes back sooner; the second and every fourth after it is patient,
// as a path may be far, and all are where the last proof, that took so long, says that it is: the
// first one then for as long as that took, which was two round trips.
func dialTime(tries int, took time.Duration) time.Duration {
	switch {
	case tries == 0 && took > dialTimeout:
		return min(took, farTime)
	case tries%4 == 1 || took > dialQuick:
		return dialTimeout
	}
	return dialQuick
}

// shakes is how long a handshake of one round trip may take, of which that one is known: twice as
// long where that is more than is usual.
func shakes(trip time.Duration) time.Duration {
	return min(max(handshakeTimeout, 2*trip), farTime)
}

// joins is how long the MPTCP handshake may take.
func (v *proven) joins() time.Duration {
	return min(max(joinPatience*v.took, joinLeast), shakes(v.took/2))
}

// near says that it may take no longer than is usual.
func (v *proven) near() bool { return shakes(v.took/2) == handshakeTimeout }

// connect makes one subflow: the address that proves first that it is the server,
// and the MPTCP handshake with it. A server that does not know the session is not
// asked again before the others.
func (p *clientPath) connect(ctx context.Context, timeout time.Duration) (*subflow, error) {
	c := p.c
	var asked []netip.AddrPort // that do not know it
	var refused *forgottenError
	var took time.Duration // the last of these
	for len(asked) < maxServers {
		v, err := p.raceOthers(ctx, timeout, asked, refused, took)
		if err != nil {
			if refused != nil { // no other server is left
				c.opening.forgotten(ctx, refused.epoch)
				return nil, refused
			}
			return nil, judged(err, false)
		}
		f, err := p.open(ctx, p.home(ctx, v))
		if !errors.As(err, &refused) {
			return f, err
		}
		p.book.Unknown(v.addr, time.Now())
		took = v.took
		if asked = append(asked, v.addr); p.lastServer(asked) {
			c.opening.forgotten(ctx, refused.epoch)
			return nil, refused
		}
	}
	return nil, refused
}

// raceOthers is race among those that were not asked for the session. Where one has said that
// it does not know it, and it has nobody else, those that hang do not hold it up for long.
func (p *clientPath) raceOthers(ctx context.Context, timeout time.Duration, asked []netip.AddrPort, refused *forgottenError, took time.Duration) (*proven, error) {
	if refused != nil && !p.c.session.core.alive(refused.epoch) {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, max(homeLeast, homePatience*took))
		defer cancel()
	}
	return p.race(ctx, timeout, asked)
}

// home returns a connection with the session's own server in the place of one that a load
// balancer may have led elsewhere, if there is one to be had: by the other the session
// ends. Where the session lives on the other is refused, without a question.
func (p *clientPath) home(ctx context.Context, v *proven) *proven {
	c := p.c
	if !c.opening.denies() || announced(p, v.addr) || c.session.core.alive(v.epoch) {
		return v
	}
	elsewhere, _, _ := p.targets()
	elsewhere = slices.DeleteFunc(elsewhere, func(a netip.AddrPort) bool { return announced(p, a) })
	ctx, cancel := context.WithTimeout(ctx, max(homeLeast, homePatience*v.took))
	defer cancel()
	own, err := p.race(ctx, dialQuick, elsewhere)
	if err != nil {
		return v
	}
	v.carrier.Close()
	return own
}

// lastServer says that nobody else is likely to know the session: the others were
// asked or fail, or have it and are silent, while this one answers.
func (p *clientPath) lastServer(asked []netip.AddrPort) bool {
	c := p.c
	addrs, _, _ := p.targets()
	silent := c.session.core.remotes(func(f *engine.Subflow) bool { return !f.Moves() })
	moving := c.session.core.remotes((*engine.Subflow).Moves)
	addrs = slices.DeleteFunc(addrs, func(a netip.AddrPort) bool {
		return slices.Contains(asked, a) || slices.Contains(silent, a) && !slices.Contains(moving, a)
	})
	return p.book.Hopeless(addrs, time.Now())
}

// silent says that the session has subflows, and none of them moves.
func silent(s *Session) (silent bool) {
	s.enter(func(e *engine.Engine, _ int64) { silent = len(e.Subflows()) > 0 && !e.Alive() })
	return silent
}

// open does the MPTCP handshake and adds the subflow to the session.
func (p *clientPath) open(ctx context.Context, v *proven) (*subflow, error) {
	c := p.c
	stop := context.AfterFunc(ctx, func() { v.carrier.Close() })
	defer stop()
	v.carrier.SetDeadline(time.Now().Add(v.joins()))
	f, err := p.join(ctx, v)
	if err != nil {
		v.carrier.Close()
		return nil, judged(fmt.Errorf("session with %s: %w", v.addr, plainNet(err)), true)
	}
	v.carrier.SetDeadline(time.Time{})
	if !stop() { // from here on it is the session's, which may have a goodbye to say by it
		return nil, judged(ctx.Err(), true)
	}
	if err := c.session.attach(f); err != nil {
		return nil, judged(err, true)
	}
	if !c.greet.Load().Trusts(f.peer) { // another server was set since the proof, which did not find it
		f.retire(mptcp.ReasonProhibited)
		return nil, errUntrusted
	}
	c.settle()
	c.mu.Lock()
	p.said, p.bad = nil, ""
	close(p.up)
	p.up = make(chan struct{})
	moved := p.moved
	p.moved = false
	c.mu.Unlock()
	if moved { // what is left of the subflows from the old address cannot say so itself
		o := mptcp.RemoveAddr{N: 1}
		c.session.enter(func(*engine.Engine, int64) { o.IDs[0] = p.path.AddrID() })
		f.queue(o.Append(nil))
		c.session.pump()
	}
	c.cfg.Log.Debug().Str("path", p.way.Name).Stringer("local", f.local).Stringer("remote", f.remote).Msg("subflow up")
	return f, nil
}

// race returns the first connection on which the server proves its key, of all
// addresses but some.
func (p *clientPath) race(ctx context.Context, timeout time.Duration, but []netip.AddrPort) (*proven, error) {
	c, quiet, life := p.c, silent(p.c.session), p.c.running()
	if quiet { // the server may be where its names mean by now
		c.servers.doubt()
	}
	c.servers.ask(life, c.slots.Go, p.dialWay())
	look(p)
	var why error
	c.mu.Lock()
	mtu, anew := p.mtu, p.mtu != 0 && time.Since(p.mtuAt) > mtuTime
	c.mu.Unlock()
	if anew {
		mtu = 0
	}
	race := dialer.Race[*proven]{
		Targets: func() (addrs []netip.AddrPort, asking bool) {
			if addrs, asking, why = p.targets(); asking { // those who were asked may be silent
				c.servers.ask(life, c.slots.Go, p.dialWay())
			}
			return slices.DeleteFunc(addrs, func(a netip.AddrPort) bool { return slices.Contains(but, a) }), asking
		},
		Try: func(ctx context.Context, a netip.AddrPort, mtu int, connected func(time.Duration)) (*proven, error) {
			return p.prove(ctx, a, mtu, timeout, connected)
		},
		Drop: func(v *proven) { v.carrier.Close() },
		Go:   c.slots.Go, MTU: mtu, Narrow: anew || c.session.core.narrow(p.path), Timeout: timeout,
		Silent: func(err *dialer.SilentError) { p.mute(ctx, err, len(but) == 0) },
	}
	if quiet {
		race.Stagger = silentStagger
	}
	won, failed, err := race.Run(ctx)
	now := time.Now()
	if won == nil {
		if errors.Is(ctx.Err(), context.Canceled) {
			failed = nil // the path leads another way by now, or ends: nothing is against them
		}
		for _, a := range failed {
			p.book.Failed(a, now)
			c.servers.unlearn(a, p.book.Fails(a))
		}
		if len(but) == 0 && ctx.Err() == nil {
			c.servers.doubt()
			c.servers.ask(life, c.slots.Go, p.dialWay()) // while it pauses
		}
		return nil, cmp.Or(err, why, errNobodyElse)
	}
	for _, a := range won.Beaten {
		p.book.Failed(a, now)
	}
	p.book.Proved(won.Addr, now)
	c.mu.Lock()
	narrower, news := p.fits(mtu, won.MTU, won.Lossy, now)
	p.took = won.Value.took
	c.mu.Unlock()
	if narrower {
		// The next large packet would stop those that are there, each in its turn.
		renew(c.session, func(f *subflow) bool { return f.path == p.path && dialer.Larger(f.mtu, won.MTU) })
	}
	if news {
		c.session.voice.Line(&c.cfg.Log, zerolog.WarnLevel).Str("path", p.way.Name).Int("mtu", won.MTU).Msg("the path loses large packets and says nothing: smaller ones are sent by it")
	}
	return won.Value, nil
}

// fits notes what an attempt that began with packets of tried bytes has shown, 0 = of any size: those
// of mtu bytes got through. That larger ones did not says nothing where small ones were lost too, and
// that what was tried gets through is news only where that is any size. It says whether what gets
// through is less than before, and whether a person reads it: not what was said once. The caller
// holds Client.mu.
func (p *clientPath) fits(tried, mtu int, lossy bool, now time.Time) (narrower, news bool) {
	if mtu == tried && mtu != 0 || mtu != tried && lossy {
		return false, false
	}
	narrower = dialer.Larger(p.mtu, mtu)
	p.mtu, p.mtuAt = mtu, now
	if news = mtu != 0 && (p.least == 0 || mtu < p.least); news {
		p.least = mtu
	}
	return narrower, news
}

// mute notes, while the race goes on, that whoever takes connections says nothing; all says
// that nobody else is left. What the server's names mean may have changed.
func (p *clientPath) mute(ctx context.Context, err *dialer.SilentError, all bool) {
	c := p.c
	p.complain(ctx, err)
	if all {
		c.servers.doubt()
		c.servers.ask(c.running(), c.slots.Go, p.dialWay())
	}
}

// prove connects to one address and has the server prove its key. One that has another
// of its keys is asked again with that one.
func (p *clientPath) prove(ctx context.Context, a netip.AddrPort, mtu int, timeout time.Duration, connected func(time.Duration)) (*proven, error) {
	v, err := p.proveOnce(ctx, a, mtu, timeout, connected)
	if errors.Is(err, handshake.ErrOtherKey) {
		v, err = p.proveOnce(ctx, a, mtu, timeout, connected)
	}
	return v, err
}

func (p *clientPath) proveOnce(ctx context.Context, a netip.AddrPort, mtu int, timeout time.Duration, connected func(time.Duration)) (*proven, error) {
	c := p.c
	epoch := c.session.keys().epoch
	tcp, began, err := lates{p}.dial(ctx, a, dialer.Segment(mtu, a.Addr()), timeout)
	if err != nil {
		return nil, plainNet(err)
	}
	trip := time.Since(began)
	connected(trip)
	stop := context.AfterFunc(ctx, func() { tcp.Close() })
	defer stop()
	k := carrier.NewTLS(tcp, engine.MinLowat)
	greet := c.greet.Load()
	cfg, turn := greet.Config(time.Now())
	tcp.SetDeadline(time.Now().Add(shakes(trip)))
	if err := k.Client(ctx, cfg); err != nil {
		tcp.Close()
		return nil, fmt.Errorf("TLS with %s: %w", a, plainNet(greet.Explain(k.State(), turn, err)))
	}
	key, err := handshake.PeerKey(k.State())
	if err != nil {
		tcp.Close()
		return nil, err
	}
	return &proven{k, key, a, time.Since(began), epoch, mtu}, nil
}

// dialTCP connects to an address by TCP, with segments of so many bytes at most, 0 = any.
func dialTCP(ctx context.Context, way *dialer.Way, segment int, a netip.AddrPort) (net.Conn, error) {
	return way.Dialer(segment, carrier.Untimed).DialContext(ctx, "tcp", a.String())
}

// targets lists the addresses that are known, as they did: the configured ones, the
// announced ones; only of the family that the path is bound to. Behind a load
// balancer the configured ones come only when no subflow of the session moves, and behind
// the announced ones: they lead to any server. asking says that names may bring
// more; the error, why there is none.
func (p *clientPath) targets() (addrs []netip.AddrPort, asking bool, failed error) {
	learned, now := p.c.servers.announced(), time.Now()
	live := p.c.session.core.remotes((*engine.Subflow).Moves)
	denied := p.c.opening.denies()
	var four []netip.AddrPort // of IPv4, where the path has none too
	add := func(a netip.AddrPort) {
		a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
		if a.Addr().Is4() && !slices.Contains(four, a) {
			four = append(four, a)
		}
		if l := p.way.Local; l.IsValid() && l.Is4() != a.Addr().Is4() || slices.Contains(addrs, a) {
			return
		}
		addrs = append(addrs, a)
	}
	addAll := func(list []netip.AddrPort) {
		for _, a := range list {
			add(a)
		}
	}
	if denied {
		addAll(learned)
	}
	if denied = denied && len(live) > 0; !denied {
		var listed []netip.AddrPort
		listed, asking, failed = p.c.servers.configured(p.c.running(), p.dialWay())
		addAll(listed)
	}
	addAll(learned)
	if !slices.ContainsFunc(addrs, func(a netip.AddrPort) bool { return a.Addr().Is6() }) {
		by, wait := translated(p, four)
		addrs, asking = append(by, addrs...), asking || wait
	}
	p.book.Order(addrs, live, now)
	if len(addrs) == 0 && denied {
		failed = errNotHere
	}
	if len(addrs) == 0 && failed == nil {
		failed = fmt.Errorf("no server address of the family of %s", p.way.Local)
	}
	return addrs, asking, failed
}

// errNobodyElse ends a race in which every address is one of those that were asked.
var errNobodyElse = errors.New("every known address of the server was asked")

// errUntrusted ends a subflow whose server has a key that is not the server's any more.
var errUntrusted = errors.New("the server's key was taken out of the configuration")

// errNotHere keeps a slot from an address where the server takes no joins (the C
// flag of RFC 8684, Section 3.1): another one is about to be announced.
var errNotHere = errors.New("the server takes no further subflows at this address")
