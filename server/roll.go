package server

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux"
	"github.com/mpsocks/mpsocks/mux/chatter"
	"github.com/mpsocks/mpsocks/status"
)

// wordEvery is how often a client is told again that its quota is used.
const wordEvery = 10 * time.Minute

// A roll is who is there: the sessions, and what those of one client share.
type roll struct {
	mu      sync.Mutex // guards all following fields, and what client and peer say of it
	peers   map[*peer]struct{}
	clients map[string]*client
	limits  conf.ServerLimits
	entries map[string]conf.Peer // of the configuration
	used    map[string]spending  // of the month, by client
	past    mux.Counts           // of sessions that have ended
	// gone has what clients carried that were revoked: it counts in the sums, and again for
	// a client of the same name. Names are those that the operator has given.
	gone map[string]carried
}

// carried is bytes to a client and from it.
type carried struct{ sent, received uint64 }

// open begins with what clients have used so far.
func (r *roll) open(cfg *conf.Server, used map[string]spending) {
	r.mu.Lock()
	r.peers, r.clients, r.used, r.gone = make(map[*peer]struct{}), make(map[string]*client), used, make(map[string]carried)
	r.mu.Unlock()
	r.apply(cfg)
}

// apply has the limits of a configuration hold; what is held beyond them stays.
// Clients that are gone are forgotten when they hold nothing.
func (r *roll) apply(cfg *conf.Server) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.limits, r.entries = cfg.Limits, make(map[string]conf.Peer, len(cfg.Clients))
	for _, c := range cfg.Clients {
		r.entries[c.Name] = c
	}
	for name, c := range r.clients {
		r.limit(c)
		r.forget(name, c)
	}
}

// forget drops a client that is gone and holds nothing; the caller holds r.mu.
func (r *roll) forget(name string, c *client) {
	if _, known := r.entries[name]; known || r.clients[name] != c || c.mappings.used.Load() > 0 || c.streams.used.Load() > 0 {
		return
	}
	for p := range r.peers {
		if p.client == c {
			return // until it has ended, and is counted
		}
	}
	r.gone[name] = carried{c.sent, c.received}
	delete(r.clients, name)
}

// limit sets a client's caps; the caller holds r.mu.
func (r *roll) limit(c *client) {
	if entry, ok := r.entries[c.name]; ok {
		c.limit(&r.limits, &entry)
	} else {
		c.limit(&r.limits, nil)
	}
}

// client returns what the sessions of a client share.
func (r *roll) client(name string) *client {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.clients[name]
	if c == nil {
		before := r.gone[name]
		delete(r.gone, name)
		c = &client{name: name, pings: newPingLimit(), failures: newFailureLimit(), voice: chatter.NewVoice(), sent: before.sent, received: before.received}
		r.limit(c)
		used := r.used[name]
		c.over.Store(c.quota > 0 && used.of(time.Now()) >= c.quota) // as it was before a restart
		r.clients[name] = c
	}
	return c
}

// add notes a session that begins.
func (r *roll) add(p *peer) {
	r.mu.Lock()
	r.peers[p] = struct{}{}
	r.mu.Unlock()
}

// remove notes a session's end, once.
func (r *roll) remove(p *peer, now time.Time) {
	sent, received := p.carried()
	counts := p.counts()
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, there := r.peers[p]; !there {
		return
	}
	r.tally(p, now)
	r.past.Add(&counts)
	p.client.sent += sent
	p.client.received += received
	delete(r.peers, p)
	r.forget(p.client.name, p.client)
}

// list returns the present peers.
func (r *roll) list() []*peer {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]*peer, 0, len(r.peers))
	for p := range r.peers {
		out = append(out, p)
	}
	return out
}

// A word is something for the person at a client to read.
type word struct {
	peer *peer
	text string
}

// account counts what the sessions have carried since the last time. It returns the
// clients whose quota is used from now on, and what is to be told.
func (r *roll) account(now time.Time, log *zerolog.Logger) (ended []*client, words []word) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for p := range r.peers {
		r.tally(p, now)
	}
	for _, c := range r.clients {
		r.spend(c, 0, now) // a month may have begun
		text := ""
		if nearly := c.quota > 0 && r.used[c.name].Bytes >= c.quota/10*9; nearly != c.nearly {
			if c.nearly = nearly; nearly {
				text = fmt.Sprintf("nine tenths of the quota of %s a month are used", conf.Size(c.quota))
			}
		}
		over := c.quota > 0 && r.used[c.name].Bytes >= c.quota
		switch was := c.over.Swap(over); {
		case over && (!was || c.said.IsZero()):
			text = c.used(now)
			log.Warn().Str("client", c.name).Msg("quota: " + text)
			ended = append(ended, c)
		case over && now.Sub(c.said) >= wordEvery:
			text = c.used(now)
		case was && !over:
			text = "the quota has some left again"
			log.Info().Str("client", c.name).Msg("quota: it has some left again")
		}
		if text == "" {
			continue
		}
		if over {
			c.said = now
		}
		for p := range r.peers {
			if p.client == c {
				words = append(words, word{p, text})
			}
		}
	}
	return ended, words
}

// due says that a client has used a hundredth of its quota since the last time that
// spendings was called: a crash should not forget more.
func (r *roll) due() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.clients {
		if n := r.used[c.name].Bytes; c.quota > 0 && n > c.kept && n-c.kept >= c.quota/100 {
			return true
		}
	}
	return false
}

// tally counts what the session has carried since the last time; the caller holds r.mu.
func (r *roll) tally(p *peer, now time.Time) {
	sent, received := p.carried()
	if n := sent + received; n > p.counted {
		r.spend(p.client, n-p.counted, now)
		p.counted = n
	}
}

// spend notes what a client has used; the caller holds r.mu.
func (r *roll) spend(c *client, n uint64, now time.Time) {
	u := r.used[c.name]
	u.add(n, now)
	if u.Bytes > 0 || c.quota > 0 {
		r.used[c.name] = u
	}
}

// spendings are what clients have used, to be kept.
func (r *roll) spendings() map[string]spending {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.clients {
		c.kept = r.used[c.name].Bytes
	}
	return maps.Clone(r.used)
}

// used says in words that the quota is used.
func (c *client) used(now time.Time) string {
	next := time.Date(now.Year(), now.Month()+1, 1, 0, 0, 0, 0, now.Location())
	return fmt.Sprintf("the quota of %s a month is used up until %s", conf.Size(c.quota), next.Format("2 January"))
}

// counts are what all sessions have counted, those too that have ended.
func (r *roll) counts() (all mux.Counts) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all.Add(&r.past)
	for p := range r.peers {
		counts := p.counts()
		all.Add(&counts)
	}
	return all
}

// revoked is what clients carried that are not in the list of status any more.
func (r *roll) revoked() (sum carried) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, c := range r.gone {
		if _, known := r.entries[name]; !known {
			sum.sent += c.sent
			sum.received += c.received
		}
	}
	return sum
}

// status is what people see of the clients.
func (r *roll) status(now time.Time) []status.Peer {
	r.mu.Lock()
	defer r.mu.Unlock()
	sessions := make(map[*client]int)
	sent, received := make(map[*client]uint64), make(map[*client]uint64)
	for p := range r.peers {
		sessions[p.client]++
		up, down := p.carried()
		sent[p.client] += up
		received[p.client] += down
	}
	out := []status.Peer{}
	for _, c := range r.clients {
		one := status.Peer{
			Quota: c.quota, Used: r.used[c.name].Bytes,
			Name: c.name, Sessions: sessions[c], Mappings: int(c.mappings.used.Load()), Streams: int(c.streams.used.Load()),
			Sent: c.sent + sent[c], Received: c.received + received[c],
		}
		if c.tell(&one); c.over.Load() {
			one.Error = c.used(now)
		}
		out = append(out, one)
	}
	for name, entry := range r.entries {
		if r.clients[name] == nil { // it has not come yet
			before := r.gone[name]
			out = append(out, status.Peer{Name: name, Quota: uint64(max(entry.Quota, 0)), Used: r.used[name].Bytes, Sent: before.sent, Received: before.received})
		}
	}
	slices.SortFunc(out, func(a, b status.Peer) int { return cmp.Compare(a.Name, b.Name) })
	return out
}
