package paths

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux"
	"github.com/mpsocks/mpsocks/status"
)

const (
	// watchTick is how often the paths' states are looked at, for the log and for
	// status.
	watchTick = 200 * time.Millisecond
	// watchRest is the same while nothing is carried and all paths have worked for so long.
	watchRest = time.Second
	// joinTime is how long the first subflow of a path may take before the path
	// counts as dead.
	joinTime = 5 * time.Second
	// quietTime is how long a path may have carried nothing before it counts as
	// resting, if it is one that rests.
	quietTime = 3 * time.Second
	// askPause is how often the system is asked about a path that does not work.
	askPause = 2 * time.Second
)

// A Watch follows the states of the paths, says in the log when one dies, is taken
// over from, and returns, and remembers since when and why each is as it is.
type Watch struct {
	log     zerolog.Logger
	changed chan struct{} // 1 slot: other paths are wanted
	// hinders asks the system what keeps a path from the server; nil = nobody is asked.
	hinders func(conf.Path) status.Cause
	mark    uint32 // of the subflows' sockets

	mu    sync.Mutex  // guards the rest
	paths []conf.Path // of the configuration
	known map[string]*watched
	noted time.Time // when the latest look began of which that is
	says  tidings
	// overrides are what a person changed while it runs, by path.
	overrides map[string]override
}

// NewWatch watches the paths of a configuration, of whose subflows the sockets have that mark, 0 for
// none. Its lines go to log.
func NewWatch(paths []conf.Path, mark uint32, log zerolog.Logger) *Watch {
	return &Watch{log: log, changed: make(chan struct{}, 1), paths: paths, mark: mark}
}

// Ask has the system asked what keeps a path from the addresses that servers tells. It is called
// before Run.
func (w *Watch) Ask(servers func() []netip.Addr) {
	w.hinders = func(p conf.Path) status.Cause { return Hindrance(p, servers(), w.mark) }
}

// watched is what is known of one path.
type watched struct {
	state  status.State
	cause  string
	remedy string // against the cause
	tried  string // what failed last, as the system words it
	since  time.Time
	failed time.Time // since when it is dead or absent
	died   time.Time // when it was last up, zero while it is
	worked time.Time // since when it works, zero while it does not
	ever   bool      // it has worked
	said   bool      // its death
	told   bool      // that it is not there yet
	deaths int       // since the last line about it
	// handed is how long it took until others had what was under way by it when it died.
	handed  time.Duration
	carried uint64
	moved   time.Time // when it last carried something
	// What the system said hinders it, and when it was asked.
	asked  time.Time
	hinder status.Cause
}

// Run looks at what reports tells until ctx ends.
func (w *Watch) Run(ctx context.Context, reports func() []mux.PathReport) {
	t := time.NewTimer(watchTick)
	defer t.Stop()
	carried := uint64(0)
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			all := reports()
			calm := w.look(all, now)
			before := carried
			carried = 0
			for i := range all {
				carried += all[i].Month
			}
			if calm && carried-before <= restingBytes { // below before it is much: the month has turned
				t.Reset(watchRest)
			} else {
				t.Reset(watchTick)
			}
		}
	}
}

// wanted is the paths of the configuration with what was changed by hand.
func (w *Watch) wanted() (out []conf.Path) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.paths {
		o := w.overrides[p.Name]
		if o.paused {
			continue
		}
		if o.backup != nil {
			p.Backup = *o.backup
		}
		if o.metered != nil {
			p.Metered = *o.metered
		}
		out = append(out, p)
	}
	return out
}

// Configure puts other paths in the place of those of the configuration. Where it leaves only
// such as were paused by hand these are used again: without any the tunnel would go by the
// default route.
func (w *Watch) Configure(paths []conf.Path) {
	w.mu.Lock()
	w.paths = paths
	used := func(p conf.Path) bool { return !w.overrides[p.Name].paused }
	if len(paths) > 0 && !slices.ContainsFunc(paths, used) {
		for _, p := range paths {
			o := w.overrides[p.Name]
			o.paused = false
			w.overrides[p.Name] = o
		}
		w.log.Warn().Msg("the configuration has only paths that were paused by hand: they are used again")
	}
	w.mu.Unlock()
	poke(w.changed)
}

// Configured returns the paths of the configuration.
func (w *Watch) Configured() []conf.Path {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.paths
}

// A verdict is what one look says of a path.
type verdict struct {
	path  conf.Path
	of    *watched
	state status.State
	cause status.Cause
	asks  bool         // the system what hinders the path
	says  status.Cause // what it said
}

// look compares the paths with what was known. It reports whether all work and have for a
// while. Several may at the same time, run's and those of who asks for the status.
func (w *Watch) look(reports []mux.PathReport, now time.Time) (calm bool) {
	working := carrying(reports)
	verdicts := w.judge(reports, working, now)
	for i, v := range verdicts {
		if v.asks { // without the lock: the system may take its time
			verdicts[i].says = w.hinders(v.path)
		}
	}
	return w.note(verdicts, working, now)
}

// carrying returns the paths that carry, or those that would where none does.
func carrying(reports []mux.PathReport) (working []string) {
	var spare []string
	for _, r := range reports {
		switch works := r.Moving > 0 && !r.Dark && r.Until.IsZero(); {
		case works && (r.Path.Metered || r.Path.Backup):
			spare = append(spare, r.Path.Name)
		case works:
			working = append(working, r.Path.Name)
		}
	}
	if len(working) == 0 {
		return spare
	}
	return working
}

// judge says of each path what it is in.
func (w *Watch) judge(reports []mux.PathReport, working []string, now time.Time) []verdict {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.known == nil {
		w.known = make(map[string]*watched)
	}
	configured := w.paths
	if len(configured) == 0 {
		for _, r := range reports {
			configured = append(configured, confPath(r))
		}
	}
	verdicts := make([]verdict, 0, len(configured))
	for _, cfg := range configured {
		k := w.known[cfg.Name]
		if k == nil {
			k = &watched{since: now, moved: now}
			w.known[cfg.Name] = k
		}
		v := verdict{path: cfg, of: k, state: status.Absent, cause: absence(cfg)}
		if w.overrides[cfg.Name].paused {
			v.state, v.cause = status.Paused, status.Cause{Says: "by hand"}
		} else if i := slices.IndexFunc(reports, func(r mux.PathReport) bool { return r.Path.Name == cfg.Name }); i >= 0 {
			v.state, v.cause = k.judge(&reports[i], working, now)
			if reports[i].MovedAgo < freshMove {
				k.handed = reports[i].Moved
			} else {
				k.handed = 0
			}
		}
		if v.asks = k.hindered(v.state) && w.hinders != nil && now.Sub(k.asked) >= askPause; v.asks {
			k.asked = now // so that nobody beside asks too
		}
		verdicts = append(verdicts, v)
	}
	return verdicts
}

// note takes what was judged, unless a look that began later has been noted, and has the log say
// it.
func (w *Watch) note(verdicts []verdict, working []string, now time.Time) (calm bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, v := range verdicts {
		if v.asks {
			v.of.hinder = v.says
		}
	}
	if now.Before(w.noted) {
		return false
	}
	w.noted, calm = now, true
	for _, v := range verdicts {
		k := v.of
		// By the default route the system knows only where it leads.
		if k.hindered(v.state) && k.hinder.Says != "" && (v.path.Bind != "" || v.cause.Says == Unanswered) {
			v.cause = k.hinder
		}
		k.remedy = v.cause.Remedy
		k.turn(v.state, v.cause.Says, now)
		calm = calm && !k.said && !k.worked.IsZero() && now.Sub(k.worked) > watchRest
	}
	for name := range w.known {
		if !slices.ContainsFunc(verdicts, func(v verdict) bool { return v.path.Name == name }) {
			delete(w.known, name)
		}
	}
	w.says.log = w.log
	w.says.say(w.known, working, now)
	return calm
}

// hindered says that dialling fails in a way that the system may know the cause of.
func (k *watched) hindered(state status.State) bool { return state == status.Dead && k.tried != "" }

// judge says what a path that the tunnel may use is in, and why.
func (k *watched) judge(r *mux.PathReport, working []string, now time.Time) (status.State, status.Cause) {
	if carried := r.Month; carried > k.carried+restingBytes || carried < k.carried {
		k.carried, k.moved = carried, now
	}
	others := slices.DeleteFunc(slices.Clone(working), func(n string) bool { return n == r.Path.Name })
	k.tried = ""
	switch {
	case !r.Until.IsZero():
		return status.Capped, status.Cause{Says: "until " + r.Until.Format("2 Jan")}
	case r.Moving > 0 && !r.Dark:
		if rests := r.Path.Metered || r.Path.Backup; rests && len(others) > 0 && now.Sub(k.moved) > quietTime {
			why := "a backup"
			if r.Path.Metered {
				why = "metered"
			}
			return status.Resting, status.Cause{Says: fmt.Sprintf("%s, and not needed: %s", why, enough(others))}
		}
		if r.Frozen >= mostFrozen {
			return status.Up, frozen(r.Frozen)
		}
		return status.Up, k.crowded(r, now)
	case r.Dark, r.Subflows > 0 && !k.died.IsZero():
		if r.Error != "" && !k.failed.IsZero() && now.Add(-r.ErrorAgo).After(k.failed) { // of dialling anew
			k.tried = r.Error
			return status.Dead, diagnose(r.Error, others)
		}
		return status.Dead, status.Cause{Says: Unanswered}
	case r.Subflows > 0:
		return status.Stalled, status.Cause{Says: Unanswered}
	case r.Error != "":
		k.tried = r.Error
		return status.Dead, diagnose(r.Error, others)
	case k.died.IsZero() && k.state != status.Up && k.state != status.Resting && now.Sub(k.since) < joinTime:
		return status.Joining, status.Cause{}
	}
	return status.Dead, status.Cause{Says: "no connection"}
}

// Unanswered is all that is known of a path at first when its subflows have gone silent.
const Unanswered = "no answer"

// restingBytes is what a path may carry between two looks and still rest: probes.
const restingBytes = 2000

// enough names the paths that do without a resting one.
func enough(others []string) string {
	if len(others) == 1 {
		return others[0] + " is enough"
	}
	return strings.Join(others, " and ") + " are enough"
}

// freshMove is how long ago flows may have moved and still have done so for a death
// that is being said.
const freshMove = 5 * time.Second

// turn notes a state.
func (k *watched) turn(state status.State, cause string, now time.Time) {
	was := k.state
	if was != state {
		k.since = now
	}
	if cause != "" || was != state || state == status.Up {
		k.cause = cause
	}
	failed := k.fails()
	k.state = state
	switch works := state == status.Up || state == status.Resting; {
	case !works:
		k.worked = time.Time{}
	case k.worked.IsZero():
		if k.worked = now; !k.said {
			k.ever = true
		}
	}
	switch {
	case !k.fails():
		k.failed = time.Time{}
	case was == status.Absent && state == status.Dead && !k.ever: // it has come, and is no better
		k.failed, k.said = now, false
	case !failed:
		k.failed = now
		if k.said {
			k.deaths++
		}
		k.told = state == status.Absent && was == "" // Check has said it, if it stays so
	}
	switch {
	case !k.worked.IsZero() && !k.said:
		k.died = time.Time{}
	case k.worked.IsZero() && k.died.IsZero() && was != "" && was != status.Joining:
		k.died = now
	}
}

// absence says why the tunnel was not told of a path.
func absence(p conf.Path) status.Cause {
	if p.Bind == "" {
		return status.Cause{Says: "the tunnel does not use it"}
	}
	if _, err := netip.ParseAddr(p.Bind); err == nil {
		return status.Cause{
			Says:   "no interface has the address " + p.Bind,
			Remedy: "bind the path to the interface instead, whose name stays when the network gives it another address",
		}
	}
	return status.Cause{Says: "there is no " + p.Bind + ", or it has no address"}
}

// confPath is a path of the tunnel that the configuration does not have: the one by
// the default route.
func confPath(r mux.PathReport) conf.Path {
	return conf.Path{Name: r.Path.Name, Backup: r.Path.Backup, Metered: r.Path.Metered}
}
