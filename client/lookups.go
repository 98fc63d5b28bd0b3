package client

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/mpsocks/mpsocks/client/admission"
	"github.com/mpsocks/mpsocks/mux/turns"
)

const (
	// lookupsEach is how many CONNECTs of one holder the exit may be asking the name of at
	// once: with the names that the same holder's datagrams go to that is less than what the
	// server asks for at once for one client, so that others' names have room.
	lookupsEach = 64
	// lookupTime is how long a CONNECT waits for its turn, which is how long the exit would
	// have it wait.
	lookupTime = 5 * time.Second
)

var errTooManyLookups = errors.New("too many names are being asked for")

// lookups bounds for each holder how many of its CONNECTs wait for the exit to find out what a
// name means. The exit's answer to the offer of methods says that it has, or that others need
// not wait for that any more. The others wait here, the first first. It is safe for concurrent
// use.
type lookups struct {
	places turns.Places

	mu     sync.Mutex // guards all following fields
	by     map[admission.Holder]*looker
	denied uint64
}

// A looker is what one holder has.
type looker struct {
	turns.Holder
	users int // that hold a place or wait for one
}

// newLookups returns lookups that nobody waits for.
func newLookups() *lookups {
	l := &lookups{by: make(map[admission.Holder]*looker)}
	l.places.Cap(0, lookupsEach)
	return l
}

// enter waits for a turn. The error is a replyError; without one the caller has to call leave.
func (l *lookups) enter(ctx context.Context, h admission.Holder) error {
	l.mu.Lock()
	k := l.by[h]
	if k == nil {
		k = new(looker)
		l.by[h] = k
	}
	k.users++
	l.mu.Unlock()
	if l.places.Take(&k.Holder) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	if l.places.Await(ctx, &k.Holder) {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.denied++
	l.without(h, k)
	return replyError{repHost, errTooManyLookups}
}

// leave gives a turn to the next one.
func (l *lookups) leave(h admission.Holder) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.by[h]
	l.places.Give(&k.Holder)
	l.without(h, k)
}

// without notes that a holder has one user less. The caller holds mu.
func (l *lookups) without(h admission.Holder, k *looker) {
	if k.users--; k.users == 0 {
		delete(l.by, h)
	}
}

// refused is how many have waited in vain.
func (l *lookups) refused() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.denied
}

// begin takes a turn for a flight to the exit if that is about a name. The error is a
// replyError; without one end has to be called, when the exit has said something. It may be
// called more than once, by one goroutine.
func (l *lookups) begin(ctx context.Context, h admission.Holder, flight []byte) (end func(), err error) {
	if !asksName(flight) {
		return func() {}, nil
	}
	if err := l.enter(ctx, h); err != nil {
		return nil, err
	}
	over := false
	return func() {
		if !over {
			over = true
			l.leave(h)
		}
	}, nil
}

// asksName says whether a flight of ours to the exit is about a name.
func asksName(flight []byte) bool {
	const kind = 3 // where ATYP of RFC 1928, Section 4 stands
	return len(flight) > len(greeting)+kind && flight[len(greeting)+kind] == atypDomain
}
