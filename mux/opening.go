package mux

import (
	"context"
	"sync"
	"time"

	"github.com/mpsocks/mpsocks/mux/engine"
	"github.com/mpsocks/mpsocks/mux/lull"
)

// States of the session on the client.
const (
	stateNone         = iota
	stateEstablishing // one slot does MP_CAPABLE, the others wait
	stateEstablished  // slots join
)

// An opening is how far a client is with its session: which of its slots opens it, and
// whether it is to be another one. Its lock is taken before Client.mu.
type opening struct {
	c *Client

	mu      sync.Mutex // guards the rest
	state   int
	changed chan struct{} // closed and renewed when state changes
	stop    func()        // ends the connection of whoever opens it
	denied  bool          // C flag: no joins to the configured addresses
	renewed string        // why the session before ended, until that is said
	moving  uint64        // the epoch that ends because its server does
}

// turn returns the state, and the keys that go with it. Whoever gets stateNone is to open
// the session by the connection that stop ends, and to say by opened how that went.
func (o *opening) turn(stop func()) (state int, changed chan struct{}, keys sessionKeys) {
	o.mu.Lock()
	defer o.mu.Unlock()
	state, changed = o.state, o.changed
	if state == stateNone {
		o.stop = stop
		o.set(stateEstablishing)
	}
	return state, changed, o.c.session.keys() // under both locks: renew changes them with the state
}

// cut ends the connection of whoever opens the session since that was changed, by a path that is far,
// for one by a nearer path that has waited for as long as any took that was near.
func (o *opening) cut(changed chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.state == stateEstablishing && o.changed == changed {
		o.stop()
	}
}

// opened notes how the opening went.
func (o *opening) opened(well bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if well {
		o.set(stateEstablished)
	} else {
		o.set(stateNone)
	}
}

// set changes the state. The caller holds mu.
func (o *opening) set(state int) {
	o.state = state
	close(o.changed)
	o.changed = make(chan struct{})
}

// agreed notes whether the server takes joins at its configured addresses (RFC 8684, Section
// 3.1, the C flag), and returns why the session before ended, if that was not said yet.
func (o *opening) agreed(denied bool) (why string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.denied = denied
	why, o.renewed = o.renewed, ""
	return why
}

// denies says that there is a session, and the configured addresses are not for it.
func (o *opening) denies() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.denied && o.state == stateEstablished
}

// ownSilence is how long the session's own server may be silent before the session is given up
// for another server that answers: it, or this machine, may be away for a moment, and what is
// under way would be late, and in vain.
const ownSilence = 600 * time.Millisecond

// forgotten begins anew after another server refused a join, unless the session lives on other
// subflows (a load balancer may have led this one elsewhere), or its own server, which is silent,
// is heard again in time.
func (o *opening) forgotten(ctx context.Context, epoch uint64) {
	for !o.c.session.core.alive(epoch) {
		left := ownSilence - o.c.session.core.silence()
		if left <= 0 {
			here := o.c.session.core.remotes(func(f *engine.Subflow) bool { return f.State() != engine.Ended })
			o.renew(epoch)
			for _, p := range o.c.list() {
				for _, a := range here {
					p.book.Failed(a, time.Now())
				}
			}
			return
		}
		if !lull.Pause(ctx, left) {
			return
		}
	}
}

// renew begins a new session in the place of the one with that epoch, unless that
// was done: the slots that were refused with the same keys all ask for it. It
// holds the lock throughout, so that nobody joins with keys that are gone.
func (o *opening) renew(epoch uint64) {
	o.renewAfter(epoch, "the server does not know the session before any more")
}

// renewAfter is renew with what is said of it.
func (o *opening) renewAfter(epoch uint64, why string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.state == stateEstablished && o.c.session.renew(epoch) {
		o.set(stateNone)
		for _, p := range o.c.list() {
			p.book.Renew()
		}
		o.renewed = why // who establishes the new one says it
		o.c.cfg.Log.Debug().Msg("a new session is begun: " + why)
	}
}
