package admin

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mpsocks/mpsocks/status"
)

const (
	// sampleEvery is how often the half is looked at for rates and curves, and
	// samplesMost how many samples are kept: five minutes.
	sampleEvery = time.Second
	samplesMost = 300
	// freshTime is how old an answer to a question may be: a program that waits for a
	// path to die or to come is told at once, and many that ask cost ten looks a second.
	freshTime = 100 * time.Millisecond
	// lossTime is how long a path's losses count.
	lossTime = 10 * time.Second
	// lossLeast is of how many segments a share of them says something: one that goes again beside
	// a keep-alive is no loss of half.
	lossLeast = 10
)

// Sample is a point of the curves: of each path, at one second.
type Sample struct {
	Time  time.Time              `json:"time"`
	Paths map[string]SamplePoint `json:"paths"`
}

// SamplePoint is one path in it.
type SamplePoint struct {
	Up   int64   `json:"up_bps"`
	Down int64   `json:"down_bps"`
	RTT  float64 `json:"rtt_seconds"`
	Loss float64 `json:"loss"`
}

// recorder looks at the half every second, and knows what takes two looks: rates,
// losses, and since when.
type recorder struct {
	cfg     Config
	started time.Time
	trips   *prometheus.HistogramVec
	ended   chan struct{} // closed when run ends

	asked sync.Mutex // held by the one that looks because somebody asked

	mu      sync.Mutex // guards the rest
	last    *status.Status
	before  look // the counters of the newest sample
	earlier look // those of the one before it
	losses  map[string]*lossMeter
	states  map[string]stateSince
	samples []Sample
	watch   map[chan struct{}]struct{} // those who are told of a new look
}

// lossMeter is how many segments a path sent, and how many of them again, lately.
type lossMeter struct {
	seen         map[string][2]uint64 // by subflow: segments, those that went again
	sent, resent float64
	at           time.Time
}

// stateSince is since when a path is as it is, as far as was seen.
type stateSince struct {
	state status.State
	since time.Time
}

func newRecorder(cfg Config) *recorder {
	return &recorder{
		cfg: cfg, started: time.Now(), trips: newTrips(), ended: make(chan struct{}), losses: make(map[string]*lossMeter), states: make(map[string]stateSince),
		watch: make(map[chan struct{}]struct{}),
	}
}

// run looks every second until ctx ends.
func (r *recorder) run(ctx context.Context) {
	defer close(r.ended)
	t := time.NewTicker(sampleEvery)
	defer t.Stop()
	for {
		r.sample()
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// key names a path of a session.
func pathKey(s *status.Session, p *status.Path) string {
	if s.Peer == "" {
		return p.Name
	}
	return s.Peer + " " + s.ID + " " + p.Name
}

// sample looks once, for the curves too, and tells those who watch.
func (r *recorder) sample() {
	r.take(true)
}

// take looks once. What is no sample is for somebody who asks between two of them.
func (r *recorder) take(sample bool) *status.Status {
	s := r.cfg.Status()
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	before := &r.before
	if now.Sub(before.at) < sampleEvery/2 && !r.earlier.at.IsZero() {
		before = &r.earlier // rates over less would jump
	}
	next := newLook(now)
	sessions := s.Sessions
	if s.Session != nil {
		sessions = []status.Session{*s.Session}
	}
	for i := range sessions {
		sess := &sessions[i]
		for j := range sess.Paths {
			p := &sess.Paths[j]
			key := pathKey(sess, p)
			if !p.Carries() {
				p.RTT, p.Jitter = 0, 0 // they were those of a path that worked
			}
			p.Loss = r.loss(key, sess, p, now)
			if s.Session != nil {
				trips := r.trips.WithLabelValues(p.Name) // there from the start
				if sample && p.RTT > 0 && p.State == status.Up {
					trips.Observe(p.RTT)
				}
			}
			r.since(key, p, now)
		}
	}
	next.rate(s, sessions, before)
	r.complete(s)
	r.forget(next)
	r.last = s
	if sample {
		r.keep(next, sessions)
	}
	return s
}

// keep makes a look a sample, and tells those who watch; the caller holds r.mu.
func (r *recorder) keep(l *look, sessions []status.Session) {
	r.earlier, r.before = r.before, *l
	point := Sample{Time: l.at, Paths: make(map[string]SamplePoint)}
	for i := range sessions {
		for j := range sessions[i].Paths {
			p := &sessions[i].Paths[j]
			point.Paths[pathKey(&sessions[i], p)] = SamplePoint{p.UpBPS, p.DownBPS, p.RTT, p.Loss}
		}
	}
	r.samples = append(r.samples, point)
	if n := len(r.samples) - samplesMost; n > 0 {
		r.samples = append(r.samples[:0], r.samples[n:]...)
	}
	for c := range r.watch {
		select {
		case c <- struct{}{}:
		default: // it has not taken the last one yet
		}
	}
}

// loss is the share of a path's segments that TCP sent again, lately; the caller holds
// r.mu.
func (r *recorder) loss(key string, sess *status.Session, p *status.Path, now time.Time) float64 {
	m := r.losses[key]
	if m == nil {
		m = &lossMeter{at: now}
		r.losses[key] = m
	}
	fade := 1 - min(1, now.Sub(m.at).Seconds()/lossTime.Seconds())
	m.sent, m.resent, m.at = m.sent*fade, m.resent*fade, now
	seen := make(map[string][2]uint64)
	for i := range sess.Subflows {
		f := &sess.Subflows[i]
		if f.Path != p.Name {
			continue
		}
		id := f.Local + " " + f.Remote
		n := [2]uint64{f.Segments, f.Retransmits}
		if old, ok := m.seen[id]; ok && n[0] >= old[0] && n[1] >= old[1] {
			m.sent += float64(n[0] - old[0])
			m.resent += float64(n[1] - old[1])
		}
		seen[id] = n
	}
	m.seen = seen
	if m.sent < lossLeast {
		return 0
	}
	return min(1, m.resent/m.sent)
}

// since fills in since when a path is as it is, where the half does not know; the caller
// holds r.mu.
func (r *recorder) since(key string, p *status.Path, now time.Time) {
	if !p.Since.IsZero() {
		return
	}
	k := r.states[key]
	if k.state != p.State {
		k = stateSince{p.State, now}
		r.states[key] = k
	}
	p.Since = k.since
}

// forget drops what is known of paths that are gone; the caller holds r.mu.
func (r *recorder) forget(next *look) {
	for k := range r.losses {
		if _, there := next.paths[k]; !there {
			delete(r.losses, k)
		}
	}
	for k := range r.states {
		if _, there := next.paths[k]; !there {
			delete(r.states, k)
		}
	}
}

// complete fills in what the half itself does not know.
func (r *recorder) complete(s *status.Status) {
	s.Half, s.Version, s.Started = r.cfg.Half, r.cfg.Version, r.started
	s.Events = r.cfg.Events.List()
	if r.cfg.Controls.CaptureFile != nil {
		s.Capture, s.Capturing = r.cfg.Controls.CaptureFile()
		s.CanCapture = true
	}
	for i := range s.Programs {
		if p := &s.Programs[i]; p.MostlyReceives() {
			p.Why = "what it sends: " + p.Why
		}
	}
	s.TidyPrograms()
	s.CompareReleases()
}

// status is a look that is not older than freshTime.
func (r *recorder) status() *status.Status {
	if s := r.fresh(); s != nil {
		return s
	}
	r.asked.Lock()
	defer r.asked.Unlock()
	if s := r.fresh(); s != nil { // another has looked meanwhile
		return s
	}
	return r.take(false)
}

// fresh is the newest look, nil if it is too old.
func (r *recorder) fresh() *status.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last == nil || time.Since(r.last.Time) > freshTime {
		return nil
	}
	return r.last
}

// history is the curves so far.
func (r *recorder) history() []Sample {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Sample{}, r.samples...)
}

// subscribe returns a channel that is told of each new look; drop ends it.
func (r *recorder) subscribe() (c chan struct{}, drop func()) {
	c = make(chan struct{}, 1)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watch[c] = struct{}{}
	return c, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.watch, c)
	}
}
