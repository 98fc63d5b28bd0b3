package mux

import (
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/durable"
	"github.com/mpsocks/mpsocks/mux/engine"
)

// Byte caps of paths. They count the bytes of both directions, with all headers of TCP and
// IP where the system tells how many there were: at rest these are most of it. They go by the
// local calendar; a path over its cap has no subflows until the next day or billing
// month. Counts go by the path's name, so that they survive its interface, and are
// kept in a file (usage.go), so that they survive a restart.

// A capCount is what is remembered of the paths of one name: what they have carried.
type capCount struct {
	day, month count
	billing    int  // day of the month on which it begins; 0 is the first
	counted    int  // the same for which month counts; 0 = not known
	over       bool // as it was last said

	keep int64 // how long they may be silent at rest, ns; see engine.Path.KeepAlive
}

// A count is what was carried in the period that the clock says it is, and in the one that
// it said before: a clock may be wrong and be set right, as that of a router is at each
// start which has none that runs on.
type count struct {
	span
	before span
}

// A span is a day or a month, and what was carried in it.
type span struct {
	began time.Time
	bytes uint64
}

// turn begins another period, or goes on with the one before.
func (c *count) turn(began time.Time) {
	if began.Equal(c.began) {
		return
	}
	if c.span, c.before = c.before, c.span; !began.Equal(c.began) {
		c.span = span{began: began}
	}
}

// add counts n bytes more.
func (k *capCount) add(now time.Time, n uint64) {
	y, m, d := now.Date()
	k.day.turn(time.Date(y, m, d, 0, 0, 0, 0, now.Location()))
	billing := max(k.billing, 1)
	if k.counted != 0 && k.counted != billing && k.month.began.Equal(billingMonth(now, k.counted, 0)) {
		// The day was changed: how much of this month's was carried since then is not known,
		// and to take it for nothing would let more through than the provider does.
		k.month.began = billingMonth(now, billing, 0)
	}
	k.counted = billing
	k.month.turn(billingMonth(now, k.billing, 0))
	k.day.bytes += n
	k.month.bytes += n
}

// billingMonth is when the billing month of now begins, or one that many months
// later. A day that a month does not have is its last one.
func billingMonth(now time.Time, day, later int) time.Time {
	first := func(months int) time.Time {
		y, m, _ := now.Date()
		last := time.Date(y, m+time.Month(months)+1, 0, 0, 0, 0, 0, now.Location()).Day()
		return time.Date(y, m+time.Month(months), min(max(day, 1), last), 0, 0, 0, 0, now.Location())
	}
	if now.Before(first(0)) {
		later--
	}
	return first(later)
}

// until is when the cap that has been reached is there again; zero if none has.
func (k *capCount) until(p *Path, now time.Time) time.Time {
	switch k.reached(p) {
	case "daily":
		return k.day.began.AddDate(0, 0, 1)
	case "monthly":
		return billingMonth(now, k.billing, 1)
	}
	return time.Time{}
}

// reached returns which cap of the path has been reached, "" for none: of two the
// one that lasts longer.
func (k *capCount) reached(p *Path) string {
	switch {
	case p.MonthlyCap > 0 && k.month.bytes >= uint64(p.MonthlyCap):
		return "monthly"
	case p.DailyCap > 0 && k.day.bytes >= uint64(p.DailyCap):
		return "daily"
	}
	return ""
}

// A meter counts what the paths of a client carry. Client.mu is held by whoever calls.
type meter struct {
	s       *Session
	log     zerolog.Logger
	counts  map[string]*capCount
	leaving []*clientPath // removed, with subflows that still end
	usage   durable.Record
	worn    uint64 // bytes after which a subflow is to be replaced: see retireBytes
}

// count adds what the paths, and those that are leaving, have carried since the last call
// to the counts of their names.
func (m *meter) count(paths []*clientPath, now time.Time) {
	for _, p := range paths {
		m.path(p, now)
	}
	m.leaving = slices.DeleteFunc(m.leaving, func(p *clientPath) bool { return !m.path(p, now) })
}

// records returns all counts, for the file.
func (m *meter) records() usageFormat {
	all := usageFormat{Paths: make(map[string]usageRecord)}
	for name, k := range m.counts {
		all.Paths[name] = k.record()
	}
	return all
}

// path does so for one path, and reports whether it has subflows. The caller
// holds Client.mu.
func (m *meter) path(p *clientPath, now time.Time) (live bool) {
	var bytes uint64
	k := m.of(p)
	m.s.enter(func(*engine.Engine, int64) {
		bytes, k.keep = p.path.Octets(), p.path.KeepAlive()
		for _, core := range p.path.Subflows() {
			f := connOf(core)
			bytes += f.octets()
			live = true
			if f.wear() >= m.worn {
				f.wantReplacement()
			}
		}
	})
	k.add(now, bytes-p.counted)
	p.counted = bytes
	return live
}

// of returns the count of a path's name. The caller holds Client.mu.
func (m *meter) of(p *clientPath) *capCount {
	k := m.counts[p.way.Name]
	if k == nil {
		k = new(capCount)
		m.counts[p.way.Name] = k
	}
	k.billing = p.cfg.BillingDay
	return k
}

// over reports whether a path may carry nothing more, notes it for the
// scheduler and for status, and says it when it changes. The caller holds
// Client.mu.
func (m *meter) over(p *clientPath, now time.Time) bool {
	k := m.of(p)
	k.add(now, 0)
	which := k.reached(&p.cfg)
	over := which != ""
	m.s.enter(func(*engine.Engine, int64) { p.path.SetCapped(over) })
	if over != k.over {
		k.over = over
		switch log := m.log.Warn().Str("path", p.way.Name); which {
		case "daily":
			log.Msg("the path has reached its daily cap: it is not used until tomorrow")
		case "monthly":
			log.Msgf("the path has reached its monthly cap: it is not used until %s", k.until(&p.cfg, now).Format("2 January"))
		default:
			log.Msg("the path is under its byte cap again: it is used")
		}
	}
	return over
}
