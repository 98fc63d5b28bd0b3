package paths

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/mux"
	"github.com/mpsocks/mpsocks/mux/lull"
)

const (
	// debounce gathers the burst of events of one change, and bounds how often a
	// busy routing table is looked at.
	debounce = 30 * time.Millisecond
	// restAfter is how many times as long as a look took the pause before the next one is, at least:
	// where interfaces are many and always change, looking is to take a fifth of a processor and no more.
	restAfter = 4
	// retry is the pause before watching is tried again after it failed.
	retry = time.Second
)

// Follow tells the tunnel which paths can be used, whenever that changes, until ctx ends.
func (w *Watch) Follow(ctx context.Context, m *mux.Client) {
	events := make(chan struct{}, 1) // one is enough: "look again"
	ended := make(chan struct{})
	defer func() { <-ended }()
	// This goroutine ends with ctx.
	go func() {
		defer close(ended)
		said := false // since it worked
		for ctx.Err() == nil {
			begin := time.Now()
			err := watchLinks(ctx, events)
			if err == nil || ctx.Err() != nil {
				continue
			}
			if said = said && time.Since(begin) < retry; !said {
				w.log.Warn().Err(err).Msg("watching interfaces failed: they are looked at every second")
				said = true
			}
			poke(events) // what was missed
			lull.Pause(ctx, retry)
		}
	}()
	s := &follower{all: Of(w.wanted()), told: Of(w.Configured()), set: m.SetPaths, redial: m.Redial, retry: m.Retry, log: w.log}
	s.hops = func(p *mux.Path) map[netip.Addr]hop { return hops(p, m.Servers(), w.mark) }
	for said := false; ; {
		began := time.Now()
		if l, names, err := readLinks(s.all); err != nil {
			if !said {
				w.log.Warn().Err(err).Msg("interfaces not read: paths are dialled as if all were there")
			}
			said = true
		} else {
			said = false
			l[defaultRoute] = chosen(m.Servers(), w.mark)
			s.find = func(bind string) string { return names[bind] }
			s.update(l)
			m.Hurry()
		}
		looked := time.Now()
		select {
		case <-ctx.Done():
			return
		case <-w.changed:
			s.replace(Of(w.wanted()))
			continue
		case <-events:
		}
		lull.Pause(ctx, max(debounce, restAfter*looked.Sub(began)-time.Since(looked)))
	}
}

// follower remembers what the tunnel was told.
type follower struct {
	all    []mux.Path
	set    func([]mux.Path)
	redial func(names []string)
	retry  func(names []string)
	find   func(bind string) (name string)
	// hops are the first ones of a path to each of the server's addresses; nil = nobody tells.
	hops func(p *mux.Path) map[netip.Addr]hop
	log  zerolog.Logger
	told []mux.Path // at first all of them, by New
	used []foothold // by path, when they were last read; the zero value before
}

// replace puts other paths in the place of those of the configuration.
func (s *follower) replace(all []mux.Path) {
	s.all, s.used = all, nil
	if len(all) == 0 {
		s.tell(nil) // one by the default route
	}
}

// update tells the tunnel the paths that can be used, if they changed. On a path
// that lost the address that it used, or that leads another way now, by another router too, the subflows
// are made anew at once: waiting for the old ones to notice takes longer.
func (s *follower) update(l links) {
	all := s.all
	if len(all) == 0 {
		all = []mux.Path{{Name: mux.DefaultPath}} // which the tunnel makes by itself
	}
	if s.told == nil {
		s.told = s.all
	}
	if len(s.used) != len(all) {
		s.used = make([]foothold, len(all))
	}
	var usable []mux.Path
	var moved, led []string
	for i, p := range all {
		if p.Interface != "" {
			if name := s.find(p.Interface); name != "" {
				p.Interface = name
			}
		}
		now := l.use(p)
		stands := foothold{read: true, addrs: now}
		if s.hops != nil && len(now) > 0 {
			stands.hops = s.hops(&p)
			if a := sources(stands.hops); p.Interface != "" && len(a) > 0 {
				stands.addrs, stands.exact = a, true
			}
		}
		stands.keep(&s.used[i])
		lost, back := s.used[i].lost(&stands, now), s.used[i].read && len(s.used[i].addrs) == 0
		there := len(s.all) == 0 || slices.ContainsFunc(s.told, func(t mux.Path) bool { return t.Name == p.Name })
		if len(now) > 0 && there && (lost || back) { // one that was not there before is dialled anyway
			moved = append(moved, p.Name)
		} else if s.used[i].led(&stands) {
			led = append(led, p.Name)
		}
		if s.used[i] = stands; len(now) > 0 || p.Interface == "" && !p.Local.IsValid() {
			usable = append(usable, p)
		}
	}
	if len(s.all) == 0 {
		usable = nil
	} else if len(usable) == 0 {
		// None at all would mean the default route. Trying them all finds
		// the first that comes back.
		usable = s.all
	}
	s.tell(usable)
	if len(moved) > 0 {
		s.log.Debug().Strs("paths", moved).Msg("addresses or routers of paths changed: their subflows are made anew")
		s.redial(moved)
	}
	if len(led) > 0 {
		s.retry(led)
	}
}

// tell sets the paths if they are others than before.
func (s *follower) tell(paths []mux.Path) {
	if slices.Equal(paths, s.told) {
		return
	}
	names := make([]string, 0, len(paths))
	for _, p := range paths {
		names = append(names, p.Name)
	}
	s.log.Debug().Strs("paths", names).Msg("usable paths changed")
	s.told = paths
	s.set(paths)
}

// poke puts an event on the channel unless one is there.
func poke(events chan<- struct{}) {
	select {
	case events <- struct{}{}:
	default:
	}
}
