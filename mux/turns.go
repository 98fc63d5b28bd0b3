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
	// turnsPerCore is how many handshakes a second one client's key may have, on each core,
	// and turnsAtOnce how many at once beside: more than a client with all of its sessions
	// and paths needs after a restart of the server. A handshake costs about 0.6 ms.
	turnsPerCore = 40
	turnsAtOnce  = 256
)

// turns has handshakes of those who have proved a key wait, each key for itself, so that a
// client which comes without end costs the others nothing.
type turns struct {
	crowd *hands.Crowd // may be nil

	mu sync.Mutex // guards of
	of map[[32]byte]*turn
}

// A turn is one client's.
type turn struct {
	handshakes *rate.Limiter
	voice      *chatter.Voice
	hands      *hands.Hands
	commands   *rate.Limiter // of options without data, of all sessions
	joins      sync.Mutex    // held while a join is counted, before the locks of sessions
}

// wait returns when it is the turn of a client's handshake, or an error when that does not
// come in time.
func (t *turns) wait(ctx context.Context, client [32]byte) error {
	return t.client(client).handshakes.Wait(ctx)
}

func (t *turns) client(client [32]byte) *turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.of[client]
	if c == nil {
		if t.of == nil {
			t.of = make(map[[32]byte]*turn)
		}
		c = &turn{
			handshakes: rate.NewLimiter(rate.Limit(turnsPerCore*runtime.GOMAXPROCS(0)), turnsAtOnce),
			voice:      chatter.NewVoice(), hands: t.crowd.Hands(),
			commands: rate.NewLimiter(clientCommands, clientCommandsAtOnce),
		}
		t.of[client] = c
	}
	return c
}

// keep forgets all clients but those.
func (t *turns) keep(clients map[[32]byte]string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for k := range t.of {
		if _, known := clients[k]; !known {
			delete(t.of, k)
		}
	}
}
