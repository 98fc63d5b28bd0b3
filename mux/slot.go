package mux

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/mpsocks/mpsocks/mux/mptcp"
)

// A slot is one place for a subflow of a path. Its goroutine dials, joins,
// waits for the end, and begins again; when its subflow is to be replaced it
// makes the new one before it breaks the old one.

const (
	// retireAge and retireBytes, in either direction, end a subflow long before its
	// TLS keys are worn out (2^24.5 full records of AES-GCM, RFC 8446, Section 5.5);
	// crypto/tls never updates them. 100 Mbit/s are a terabyte a day. Who counts the
	// bytes of paths looks at them every second.
	retireAge   = 24 * time.Hour
	retireBytes = 256 << 30
)

// slot is the goroutine. The one that leads finds out whether its path works;
// the others wait for it.
func (p *clientPath) slot(ctx context.Context, leads bool) {
	pause, tries, forgotten := backoffMin, 0, 0
	knows := false // a server that answers: the one that leads may be held up by another
	var old *subflow
	var there context.Context // ends when the path leads another way than it did to old
	for ctx.Err() == nil {
		waited, ok := false, true
		if !leads && !knows {
			waited, ok = p.follow(ctx)
		}
		if !ok {
			return
		}
		knows = false
		timeout, usual := p.patience(tries)
		tries++
		if leads {
			p.dials(time.Now())
		}
		stays := p.stay()
		f, err := p.connect(stays, timeout)
		if leads {
			p.dials(time.Time{})
		}
		if old != nil && (err == nil || isDead(old) || noRoom(err)) {
			if old.abandon() && err == nil && tries == 1 && !waited && there.Err() == nil && alike(old, f) {
				p.freezes(time.Now(), usual)
			}
			old = nil
		}
		if err != nil && stays.Err() != nil { // it leads another way by now, or ends
			pause, tries = backoffMin, 0
			continue
		}
		if err != nil {
			p.complain(ctx, err)
			if errors.Is(err, errForgotten) && forgotten < maxServers {
				forgotten++
				knows = true
				continue // there is a new session to begin
			}
			works := p.c.session.core.works(p.path)
			pause = p.pause(ctx, pause/2+rand.N(pause)/2, nextPause(pause, err, works), works)
			continue
		}
		pause, tries, forgotten = backoffMin, 0, 0
		if p.tend(ctx, f) {
			old, there = f, stays
		}
	}
}

const (
	// FrozenTime is how long it is remembered that subflows froze, and maxFrozen how often.
	FrozenTime = 2 * time.Minute
	maxFrozen  = 32
	// frozenOnce is how long subflows may take to freeze together: a router that is started anew has forgotten all.
	frozenOnce = 2 * time.Second
	// synAgain is when the first SYN goes again (RFC 6298, Section 2).
	synAgain = time.Second
)

// alike says that two subflows go the same way as far as is known here, from the same address to
// the same one: a path that has come into another network leaves the one before behind.
func alike(a, b *subflow) bool {
	return a.local.Addr() == b.local.Addr() && a.remote == b.remote
}

// freezes notes that a subflow stood still for so long that it was replaced, though the next one of
// the same way got through at the first attempt: the path is there, and its connections are not
// let go on. A proof that took far longer than usual has waited for a path that was away.
func (p *clientPath) freezes(now time.Time, usual time.Duration) {
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	if p.took >= max(synAgain, 2*usual) || len(p.froze) > 0 && now.Sub(p.froze[len(p.froze)-1]) < frozenOnce {
		return
	}
	p.froze = slices.DeleteFunc(p.froze, func(t time.Time) bool { return now.Sub(t) >= FrozenTime })
	p.froze = append(p.froze[max(0, len(p.froze)-maxFrozen+1):], now)
}

// pause holds a slot for a while after an attempt that failed, and returns what the next pause
// is: next, if nothing has changed meanwhile. It ends early when somebody knows that attempts are
// to go on, and, if beside says that it is that long only because other subflows of the path
// work, when none of them works any more or another one gets through.
func (p *clientPath) pause(ctx context.Context, wait, next time.Duration, beside bool) time.Duration {
	end := time.NewTimer(wait)
	defer end.Stop()
	look := time.NewTicker(backoffMax)
	defer look.Stop()
	p.c.mu.Lock()
	again, up := p.again, p.up
	p.c.mu.Unlock()
	if beside = beside && wait > backoffMax; !beside {
		up = nil
	}
	for {
		select {
		case <-ctx.Done():
			return next
		case <-again:
			return backoffMin
		case <-up:
			return backoffMin
		case <-end.C:
			return next
		case <-look.C:
			if beside && !p.c.session.core.works(p.path) {
				return backoffMin
			}
		}
	}
}

// tend waits for the end of a subflow, or until another shall take its place: then
// it returns true.
func (p *clientPath) tend(ctx context.Context, f *subflow) (replace bool) {
	retire := time.NewTimer(retireAge + rand.N(retireAge/8))
	defer retire.Stop()
	select {
	case <-f.dead:
		return false
	case <-f.replace:
		return true
	case <-retire.C:
		return true
	case <-ctx.Done():
		// Session.Close or stop ends it, after it has told the peer.
		select {
		case <-f.dead:
		case <-time.After(2 * closeLinger):
			f.close()
		}
		return false
	}
}

// noRoom says that the server has as many subflows as it takes: one that is to be
// replaced has to go first.
func noRoom(err error) bool {
	reset, ok := errors.AsType[*ResetError](err)
	return ok && reset.Reason == mptcp.ReasonResources
}

func isDead(f *subflow) bool {
	select {
	case <-f.dead:
		return true
	default:
		return false
	}
}

// maxSaid bounds what is said of a path until it works again: more tells nobody
// anything.
const maxSaid = 4

// complain notes an error for Reports, whose reader tells people of it, and logs it once
// until the path works again.
func (p *clientPath) complain(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	if errors.Is(err, errNotHere) {
		return // that is how it is meant
	}
	p.c.mu.Lock()
	p.bad, p.badAt = err.Error(), time.Now()
	said := slices.Contains(p.said, err.Error()) || len(p.said) >= maxSaid
	if !said {
		p.said = append(p.said, err.Error())
	}
	p.c.mu.Unlock()
	if !said {
		p.c.cfg.Log.Debug().Str("path", p.way.Name).Err(err).Msg("cannot reach the server by this path")
	}
}

// patience is how long TCP's handshake may take in an attempt, and usual how long the last proof
// took.
func (p *clientPath) patience(tries int) (most, usual time.Duration) {
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	return dialTime(tries, p.took), p.took
}

// dials notes since when the slot that leads is dialling; zero = it is not.
func (p *clientPath) dials(since time.Time) {
	p.c.mu.Lock()
	p.trying = since
	p.c.mu.Unlock()
}

// follow holds a slot while its path has no subflow that works, so that a dead path costs one attempt
// at a time, beside what is late. It says whether it did; ok is false if ctx ended.
func (p *clientPath) follow(ctx context.Context) (waited, ok bool) {
	for ; ; waited = true {
		p.c.mu.Lock()
		up, since := p.up, p.trying
		p.c.mu.Unlock()
		wait := followWait(p.c.session.core.works(p.path), since, time.Now())
		if wait <= 0 {
			return waited, ctx.Err() == nil
		}
		t := time.NewTimer(wait)
		select {
		case <-up:
		case <-t.C:
		case <-ctx.Done():
		}
		if t.Stop(); ctx.Err() != nil {
			return waited, false
		}
	}
}
