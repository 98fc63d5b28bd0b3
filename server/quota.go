package server

import (
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/chatter"
	"github.com/mpsocks/mpsocks/server/names"
)

// A quota counts what is held of something against a cap. It is safe for
// concurrent use.
type quota struct {
	used atomic.Int64
	max  atomic.Int64 // 0 = no cap
	// barren is until when (Server.now) no mapping can be evicted to make room,
	// as the last search has found. A full table is so not searched for every
	// datagram of a flood.
	barren atomic.Int64
}

// take counts one more, unless the cap is reached.
func (q *quota) take() bool {
	for {
		n, most := q.used.Load(), q.max.Load()
		if most > 0 && n >= most {
			return false
		}
		if q.used.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// give counts one less.
func (q *quota) give() { q.used.Add(-1) }

// full says whether take would fail now.
func (q *quota) full() bool {
	most := q.max.Load()
	return most > 0 && q.used.Load() >= most
}

// A pair is a client's share of something and what there is of it for all: who takes
// one takes it of both.
type pair struct{ own, all *quota }

// take counts one more, unless one of the caps is reached.
func (q pair) take() bool {
	if !q.own.take() {
		return false
	}
	if !q.all.take() {
		q.own.give()
		return false
	}
	return true
}

// give counts one less.
func (q pair) give() {
	q.own.give()
	q.all.give()
}

// A client is what the sessions of one client's key share: its caps.
type client struct {
	name              string
	mappings, streams quota
	names             names.Client
	brake             brake
	braked            atomic.Bool  // brake is on
	sockets           holding      // of mappings and streams
	ports             [2]holding   // of mappings, as Server.ports
	kernel            atomic.Int64 // what the kernel holds for its CONNECTs, bytes
	visits            visits       // through its published TCP ports
	looked            atomic.Int64 // when its sessions were last looked at (Server.now); see relieve
	relief            atomic.Int64 // until when what one of them held comes free

	out, in pace        // how fast its traffic to the internet and from there may be
	over    atomic.Bool // its quota of the month is used
	fault   atomic.Pointer[fault]

	pings, failures *rate.Limiter  // echo requests, words of what did not arrive
	voice           *chatter.Voice // in the log

	// Guarded by roll.mu.
	sent, received uint64    // what its ended sessions carried, bytes
	quota          uint64    // bytes a month, 0 for no bound
	said           time.Time // when it was last told that its quota is used
	nearly         bool      // it was told that little of its quota is left
	kept           uint64    // bytes of the month that a crash does not forget
}

// limit sets the caps; what is held beyond them stays. own is the client's entry, or
// nil. It is called with roll.mu held.
func (c *client) limit(l *conf.ServerLimits, own *conf.Peer) {
	c.mappings.max.Store(int64(l.MappingsPerClient))
	c.streams.max.Store(int64(l.StreamsPerClient))
	c.quota = 0
	var most conf.Rate
	if own != nil {
		c.quota, most = uint64(max(own.Quota, 0)), own.Rate
		if own.Streams > 0 {
			c.streams.max.Store(int64(own.Streams))
		}
	}
	c.out.set(most)
	c.in.set(most)
	c.brake.set(l)
	c.braked.Store(l.DestinationsPerSecond > 0 || l.RefusalsPerSecond > 0)
}
