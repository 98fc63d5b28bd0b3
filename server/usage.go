package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

const (
	// usageName is the file in state_dir that keeps what clients have used.
	usageName = "clients-usage.json"
	// usageTick is how often what sessions have carried is counted: by so much a
	// client can go beyond its quota.
	usageTick = time.Second
	// usageEvery is how often the file is written, if anything has changed: so much
	// a crash forgets.
	usageEvery = 15 * time.Second
	// usageLimit is how long the file may be: a hundred thousand clients.
	usageLimit = 16 << 20
	// wordEvery is how often a client is told again that its quota is used.
	wordEvery = 10 * time.Minute
	// usageMonth writes the month that a count is of.
	usageMonth = "2006-01"
)

// A spending is what a client has used of a month.
type spending struct {
	Month string `json:"month"`
	Bytes uint64 `json:"bytes"`
}

// add counts bytes; a month that has begun starts from nothing.
func (u *spending) add(n uint64, now time.Time) {
	if month := now.Format(usageMonth); month != u.Month {
		*u = spending{Month: month}
	}
	u.Bytes += n
}

// A usageFile keeps clients' spendings over restarts; it is replaced whole. It
// belongs to the goroutine that counts, but for known, which Server.mu guards.
type usageFile struct {
	path  string // "" = none
	known map[string]spending
	last  string // as it was written
	next  time.Time
	tired bool // the last write failed, and that was said
}

// load reads the file, if there is one.
func (u *usageFile) load(dir string) error {
	u.known = make(map[string]spending)
	if dir == "" {
		return nil
	}
	u.path = filepath.Join(dir, usageName)
	f, err := os.Open(u.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := json.NewDecoder(io.LimitReader(f, usageLimit)).Decode(&u.known); err != nil {
		u.known = make(map[string]spending)
		return fmt.Errorf("%s: %w", u.path, err)
	}
	return nil
}

// keep writes what was read of known before, when it differs.
func (u *usageFile) keep(body []byte) error {
	if u.path == "" || string(body) == u.last {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(u.path), "."+usageName+"-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(body)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), u.path)
	}
	if err != nil {
		os.Remove(f.Name())
		return err
	}
	u.last = string(body)
	return nil
}

// countUsage counts what clients use and keeps it, until ctx ends.
func (s *Server) countUsage(ctx context.Context) {
	tick := time.NewTicker(usageTick)
	defer tick.Stop()
	for running := true; running; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			running = false
		}
		now := time.Now()
		s.account(now)
		if running && now.Before(s.usage.next) {
			continue
		}
		s.usage.next = now.Add(usageEvery)
		s.mu.Lock()
		body, err := json.Marshal(s.usage.known) // keys are sorted
		s.mu.Unlock()
		if err == nil {
			err = s.usage.keep(body)
		}
		if err != nil && !s.usage.tired {
			s.log.Warn().Err(err).Msg("what clients have used cannot be kept: a restart forgets it")
		}
		s.usage.tired = err != nil
	}
}

// account counts what the sessions have carried since the last time, and holds clients
// to their quotas.
func (s *Server) account(now time.Time) {
	type word struct {
		peer *peer
		text string
	}
	var words []word
	var ended []*client
	s.mu.Lock()
	for p := range s.peers {
		p.tally(now)
	}
	for _, c := range s.clients {
		s.spend(c, 0, now) // a month may have begun
		over := c.quota > 0 && s.usage.known[c.name].Bytes >= c.quota
		if over == c.over.Load() && !(over && now.Sub(c.said) >= wordEvery) {
			continue
		}
		switch was := c.over.Swap(over); {
		case over && !was:
			s.log.Warn().Str("client", c.name).Msg("quota: " + c.used(now))
			ended = append(ended, c)
		case !over:
			s.log.Info().Str("client", c.name).Msg("quota: it has some left again")
			continue
		}
		c.said = now
		for p := range s.peers {
			if p.client == c {
				words = append(words, word{p, c.used(now)})
			}
		}
	}
	s.mu.Unlock()
	for _, c := range ended {
		s.exits.end(c)
	}
	for _, w := range words {
		w.peer.say(w.text)
	}
}

// tally counts what the session has carried since the last time; with Server.mu held.
func (p *peer) tally(now time.Time) {
	sent, received := p.carried()
	if n := sent + received; n > p.counted {
		p.server.spend(p.client, n-p.counted, now)
		p.counted = n
	}
}

// spend notes what a client has used; with s.mu held.
func (s *Server) spend(c *client, n uint64, now time.Time) {
	u := s.usage.known[c.name]
	u.add(n, now)
	if u.Bytes > 0 || c.quota > 0 {
		s.usage.known[c.name] = u
	}
}

// used says in words that the quota is used.
func (c *client) used(now time.Time) string {
	next := time.Date(now.Year(), now.Month()+1, 1, 0, 0, 0, 0, now.Location())
	return fmt.Sprintf("the quota of %s a month is used up until %s", conf.Size(c.quota), next.Format("2 January"))
}

// say tells the client something for a person to read. It may get lost.
func (p *peer) say(text string) {
	h := packet.UDP{
		Src: netip.AddrPortFrom(packet.ServerHost4, packet.WordPort),
		Dst: netip.AddrPortFrom(packet.ClientHost4, packet.DiscardPort), TTL: hopLimit,
	}
	b := buf.Get(len(text))
	copy(b.Bytes(), text)
	p.session.Send(&p.source, wrap(nil, b, &h))
	p.session.Flush()
}

// end resets all CONNECTs of a client.
func (t *exits) end(c *client) {
	var all []*exit
	t.mu.Lock()
	for e := range t.set {
		if e.client == c {
			all = append(all, e)
		}
	}
	t.mu.Unlock()
	for _, e := range all {
		e.kill()
	}
}
