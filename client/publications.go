package client

import (
	"context"
	"net/netip"
	"slices"
	"sync"

	"github.com/mpsocks/mpsocks/conf"
)

// publications are the ports at the server that lead to programs here.
type publications struct {
	client *Client // set once at construction

	mu    sync.Mutex // guards all following fields
	list  []*publication
	start func(*publication) // nil while the client does not run
}

// publishedAt is what makes a port of the configuration the same as before.
type publishedAt struct {
	at    netip.AddrPort
	proto conf.Proto
}

// set has these ports published and no others. Those that stay are not touched, or led
// elsewhere where the list says so; connections through ports that are gone go on.
func (p *publications) set(list []conf.Publish) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := make(map[publishedAt]*publication, len(p.list))
	for _, one := range p.list {
		r := one.route.Load()
		old[publishedAt{r.Listen, r.Proto}] = one
	}
	p.list = nil
	var fresh []*publication
	for _, entry := range list {
		for _, r := range entry.Routes() {
			at := publishedAt{r.Listen, r.Proto}
			one := old[at]
			if one == nil {
				one = newPublication(p.client, r)
				fresh = append(fresh, one)
			}
			delete(old, at)
			one.move(r)
			p.list = append(p.list, one)
		}
	}
	for _, gone := range old {
		if gone.stop != nil {
			gone.stop()
		}
	}
	if p.start != nil {
		for _, one := range fresh {
			p.start(one)
		}
	}
}

// run publishes the ports until ctx ends, and those that set adds until then; begin
// starts a goroutine that the caller waits for, until close.
func (p *publications) run(ctx context.Context, begin func(func() error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.start = func(one *publication) {
		var its context.Context
		its, one.stop = context.WithCancel(ctx)
		begin(func() error { one.run(its); return nil })
	}
	for _, one := range p.list {
		p.start(one)
	}
}

// close has no more started.
func (p *publications) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.start = nil
}

// all are those of now.
func (p *publications) all() []*publication {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.list)
}
