package server

import "time"

// A client that was killed leaves a session behind, which waits for it as long as sessions do, with all
// that it holds of the client's share. When that is used up, it gives way to one that is up.

const (
	// reliefEvery is how often sessions of a client are looked at, at most.
	reliefEvery = 100 * time.Millisecond
	// reliefTime is how long what such a session held may take to be given back, and reliefPause how soon
	// it is looked for.
	reliefTime, reliefPause = time.Second, 5 * time.Millisecond
)

// relieve has those sessions of a client end that have lost all their subflows. What they hold is free
// some time later.
func (r *roll) relieve(c *client, now int64) {
	last := c.looked.Load()
	if last != 0 && now-last < int64(reliefEvery) || !c.looked.CompareAndSwap(last, max(now, 1)) {
		return
	}
	for _, p := range r.list() {
		if p.client == c && p.session.Yield() {
			c.relief.Store(now + int64(reliefTime))
		}
	}
}

// claim takes something of the client's share for a stream by take, and where there is none waits for
// what a session of before gives back.
func claim(p *peer, st stream, take func() bool) bool {
	if take() {
		return true
	}
	s := p.server
	s.roll.relieve(p.client, s.now())
	if s.now() >= p.client.relief.Load() {
		return false
	}
	st.Rest()
	defer st.Begin()
	for s.now() < p.client.relief.Load() {
		time.Sleep(reliefPause)
		if take() {
			return true
		}
	}
	return false
}
