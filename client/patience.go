package client

import (
	"context"
	"sync"
	"time"
)

// A patience is a context that runs out in that time from when somebody first waits for it, or when the
// client ends: most who take it need not wait, and a context with a time is a timer and an entry in a
// list for each. end has to be called.
type patience struct {
	context.Context // its parent, until then
	client          *Client
	time            time.Duration

	mu     sync.Mutex // guards both
	waits  context.Context
	cancel func() // nil before
}

// Done implements context.Context.
func (p *patience) Done() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cancel == nil {
		waits, cancel := context.WithTimeout(p.Context, p.time)
		stop := context.AfterFunc(p.client.life, cancel)
		p.waits, p.cancel = waits, func() { stop(); cancel() }
	}
	return p.waits.Done()
}

// Err implements context.Context.
func (p *patience) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cancel == nil {
		return p.Context.Err()
	}
	return p.waits.Err()
}

// Deadline implements context.Context.
func (p *patience) Deadline() (time.Time, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cancel == nil {
		return p.Context.Deadline()
	}
	return p.waits.Deadline()
}

func (p *patience) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cancel != nil {
		p.cancel()
	}
}
