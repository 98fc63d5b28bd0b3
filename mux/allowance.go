package mux

import (
	"context"
	"runtime"
	"sync"

	"golang.org/x/time/rate"

	"github.com/mpsocks/mpsocks/mux/chatter"
	"github.com/mpsocks/mpsocks/mux/hands"
)

const (
	// handshakesPerCore is how many handshakes a second one client's key may have, on each core,
	// and handshakesAtOnce how many at once beside: more than a client with all of its sessions
	// and paths needs after a restart of the server. A handshake costs about 0.6 ms. As many again
	// are for addresses at which one was finished before.
	handshakesPerCore = 40
	handshakesAtOnce  = 256
)

// allowances are what clients may have done for them, each key for itself, so that a client
// which comes without end costs the others nothing.
type allowances struct {
	crowd *hands.Crowd // may be nil

	mu sync.Mutex // guards of
	of map[[32]byte]*allowance
}

// An allowance is one client's, in all of its sessions.
type allowance struct {
	handshakes *rate.Limiter
	familiar   *rate.Limiter // the same, for addresses that have proved a key
	voice      *chatter.Voice
	hands      *hands.Hands
	commands   *rate.Limiter // of options without data, of all sessions
	joins      sync.Mutex    // held while a join is counted, before the locks of sessions
}

// wait returns when it is the turn of a client's handshake, or an error when that does not
// come in time. known is that its address has proved a key before.
func (a *allowances) wait(ctx context.Context, client [32]byte, known bool) error {
	of := a.client(client)
	if known {
		return of.familiar.Wait(ctx)
	}
	return of.handshakes.Wait(ctx)
}

func newHandshakes() *rate.Limiter {
	return rate.NewLimiter(rate.Limit(handshakesPerCore*runtime.GOMAXPROCS(0)), handshakesAtOnce)
}

func (a *allowances) client(client [32]byte) *allowance {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.of[client]
	if c == nil {
		if a.of == nil {
			a.of = make(map[[32]byte]*allowance)
		}
		c = &allowance{
			handshakes: newHandshakes(), familiar: newHandshakes(),
			voice: chatter.NewVoice(), hands: a.crowd.Hands(),
			commands: rate.NewLimiter(clientCommands, clientCommandsAtOnce),
		}
		a.of[client] = c
	}
	return c
}

// keep forgets all clients but those.
func (a *allowances) keep(clients map[[32]byte]string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for k := range a.of {
		if _, known := clients[k]; !known {
			delete(a.of, k)
		}
	}
}
