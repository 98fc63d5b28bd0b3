package names

import (
	"context"
	"sync"
	"time"

	"github.com/mpsocks/mpsocks/mux/turns"
)

const (
	// maxQueries is how many names are resolved at once: each holds a socket
	// for some milliseconds, or for seconds when upstreams are silent.
	maxQueries = 512
	// maxQueriesPerClient leaves room for others; a browser's page asks for
	// some dozens at once. A client shares them between its users: it has to know the number.
	maxQueriesPerClient = 128
	// queryTimeout is how long a name that is asked for has a place among maxQueries: stub
	// resolvers ask again after five seconds.
	queryTimeout = 5 * time.Second
	// lateTime is how long an answer is waited for, which takes no place from others then: there
	// are name servers that need six seconds or more, and that answer later than never.
	lateTime = 12 * time.Second
)

// A Client is what one client has of the places for names that are asked for. The zero value has
// nothing.
type Client struct{ asking, late turns.Holder }

// Take takes a place for a query of a client, unless all of its own or all that there are are
// taken. give gives it back, once; after queryTimeout that is done by itself.
func (r *Resolver) Take(c *Client) (give func(), ok bool) {
	if !r.asking.Take(&c.asking) {
		return nil, false
	}
	return r.hold(c, func() {}), true
}

// Held is how many names are being asked for.
func (r *Resolver) Held() int { return r.asking.Held() }

// hold returns what gives the place of a lookup back that has begun, once; after queryTimeout
// that is done by itself, and late is called.
func (r *Resolver) hold(c *Client, late func()) (give func()) {
	back := sync.OnceFunc(func() { r.asking.Give(&c.asking) })
	timer := time.AfterFunc(queryTimeout, func() { back(); late() })
	return func() { timer.Stop(); back() }
}

// lookups returns how many names may be resolved at once in all and for one client, given how
// many files the process may open: each may take a socket for every attempt.
func lookups(files int) (all, each int) {
	if files <= 0 {
		return maxQueries, maxQueriesPerClient
	}
	all = min(max(files/64, 4), maxQueries)
	return all, min(max(all/4, 2), maxQueriesPerClient)
}

// late is how many questions of so many lookups are waited for longer than queryTimeout: one lookup's
// at least, which has two.
func late(lookups int) int { return max(lookups/4, 2) }

// askerKey is that of a context's *turns.Holder.
type askerKey struct{}

// asks has the late questions of a context count as a client's.
func asks(ctx context.Context, c *Client) context.Context { return asksFor(ctx, &c.late) }

// asksFor has them count as those of a holder of questions.late.
func asksFor(ctx context.Context, h *turns.Holder) context.Context {
	return context.WithValue(ctx, askerKey{}, h)
}

// asker is whose the late questions of a context are; those of nobody are the server's own.
func (q *questions) asker(ctx context.Context) *turns.Holder {
	if h, ok := ctx.Value(askerKey{}).(*turns.Holder); ok {
		return h
	}
	return &q.own
}
