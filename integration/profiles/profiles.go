// Package profiles holds the networks that mpsocks is measured on, as data: one YAML file per profile, embedded here,
// each with a line on where its figures come from. Adding a file adds a profile.
package profiles

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/mpsocks/mpsocks/integration/netlab"
)

//go:embed *.yaml
var files embed.FS

// Profile is one network.
type Profile struct {
	Name       string       `yaml:"-"` // the file's, without .yaml
	About      string       `yaml:"about"`
	Origin     string       `yaml:"origin"`
	Paths      []Path       `yaml:"paths"`
	Events     []Event      `yaml:"events"`
	Background []Background `yaml:"background"`
}

// Figures describe a link, or one direction of it. Nil and empty mean "as it was".
type Figures struct {
	RTT    *time.Duration `yaml:"rtt"`    // round trip without queues; each direction has half of it
	Rate   *netlab.Rate   `yaml:"rate"`   // of each direction
	Queue  *time.Duration `yaml:"queue"`  // drop-tail, 50 ms unless given
	Jitter *time.Duration `yaml:"jitter"` // of the round trip: ± half of it in each direction
	Loss   *float64       `yaml:"loss"`   // of each direction
	Burst  *netlab.Burst  `yaml:"burst"`  // of each direction
}

// Path is one path of a profile.
type Path struct {
	Name    string `yaml:"name"`
	Figures `yaml:",inline"`
	Up      Figures `yaml:"up"`   // what differs from client to world
	Down    Figures `yaml:"down"` // and from world to client
	Metered bool    `yaml:"metered"`
}

// Event changes a path during a measurement.
type Event struct {
	At    time.Duration `yaml:"at"`    // since the measurement began
	Every time.Duration `yaml:"every"` // then again and again; zero is once
	Path  string        `yaml:"path"`
	// Do is black_hole, restore (the path's own figures again, black hole gone), down, up, renumber, or set (the figures
	// given here).
	Do      string `yaml:"do"`
	Figures `yaml:",inline"`
}

// Background is an endless TCP flow that shares a path with the measurement, outside of any proxy.
type Background struct {
	Path       string `yaml:"path"`
	Direction  string `yaml:"direction"`  // up or down
	Congestion string `yaml:"congestion"` // the sender's congestion control
}

// All returns every profile by name order.
func All() ([]Profile, error) {
	entries, err := files.ReadDir(".")
	if err != nil {
		return nil, err
	}
	var out []Profile
	for _, e := range entries {
		b, err := files.ReadFile(e.Name())
		if err != nil {
			return nil, err
		}
		p, err := Parse(strings.TrimSuffix(path.Base(e.Name()), ".yaml"), b)
		if err != nil {
			return nil, err
		}
		out = append(out, *p)
	}
	return out, nil
}

// Parse reads one profile; unknown keys are errors.
func Parse(name string, text []byte) (*Profile, error) {
	p := &Profile{Name: name}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(p); err != nil {
		return nil, fmt.Errorf("profile %s: %w", name, err)
	}
	if err := p.validate(); err != nil {
		return nil, fmt.Errorf("profile %s: %w", name, err)
	}
	return p, nil
}

func (p *Profile) validate() error {
	var errs []error
	if p.About == "" || p.Origin == "" || len(p.Paths) == 0 {
		errs = append(errs, errors.New("want about, origin and at least one path"))
	}
	known := map[string]bool{}
	for i := range p.Paths {
		s := &p.Paths[i]
		if known[s.Name] || s.Name == "" {
			errs = append(errs, fmt.Errorf("path %q has no name of its own", s.Name))
		}
		known[s.Name] = true
		if s.RTT == nil {
			errs = append(errs, fmt.Errorf("path %s has no rtt", s.Name))
		}
		spec := s.Spec()
		if err := errors.Join(spec.Up.Validate(), spec.Down.Validate()); err != nil {
			errs = append(errs, fmt.Errorf("path %s: %w", s.Name, err))
		}
	}
	for _, e := range p.Events {
		if !known[e.Path] || !slices.Contains([]string{"black_hole", "restore", "down", "up", "renumber", "set"}, e.Do) || e.At < 0 || e.Every < 0 {
			errs = append(errs, fmt.Errorf("event at %v: path %q or action %q unknown", e.At, e.Path, e.Do))
		}
	}
	for _, b := range p.Background {
		if !known[b.Path] || b.Direction != "up" && b.Direction != "down" {
			errs = append(errs, fmt.Errorf("background: path %q or direction %q unknown", b.Path, b.Direction))
		}
	}
	return errors.Join(errs...)
}

// Apply puts the figures that are given over those of the link.
func (f *Figures) Apply(l *netlab.Link) {
	if f.RTT != nil {
		l.Delay = *f.RTT / 2
	}
	if f.Rate != nil {
		l.Rate = *f.Rate
	}
	if f.Queue != nil {
		l.QueueTime = *f.Queue
	}
	if f.Jitter != nil {
		l.Jitter = *f.Jitter / 2
	}
	if f.Loss != nil {
		l.Loss = *f.Loss
	}
	if f.Burst != nil {
		l.Burst = *f.Burst
	}
}

// Spec is the path as the lab wants it.
func (s *Path) Spec() netlab.PathSpec {
	var up, down netlab.Link
	for _, f := range []*Figures{&s.Figures, &s.Up} {
		f.Apply(&up)
	}
	for _, f := range []*Figures{&s.Figures, &s.Down} {
		f.Apply(&down)
	}
	return netlab.PathSpec{Name: s.Name, Up: up, Down: down}
}

// Specs are all paths as the lab wants them.
func (p *Profile) Specs() []netlab.PathSpec {
	var out []netlab.PathSpec
	for i := range p.Paths {
		out = append(out, p.Paths[i].Spec())
	}
	return out
}

// Lossless says whether no path ever loses a packet by itself: no loss, no events.
func (p *Profile) Lossless() bool {
	for _, s := range p.Specs() {
		if s.Up.Loss+s.Down.Loss+s.Up.Burst.Enter+s.Down.Burst.Enter > 0 {
			return false
		}
	}
	return len(p.Events) == 0 && len(p.Background) == 0
}

// Longest is the longest round trip of a path without queues.
func (p *Profile) Longest() time.Duration {
	longest := time.Duration(0)
	for _, s := range p.Specs() {
		longest = max(longest, s.Up.Delay+s.Down.Delay)
	}
	return longest
}

// Spread is the difference between the longest and the shortest round trip.
func (p *Profile) Spread() time.Duration {
	low, high := time.Hour, time.Duration(0)
	for _, s := range p.Specs() {
		rtt := s.Up.Delay + s.Down.Delay
		low, high = min(low, rtt), max(high, rtt)
	}
	return high - low
}

// Best is the index of the path with the shortest round trip, of those the fastest: what native UDP would use.
func (p *Profile) Best() int {
	best, specs := 0, p.Specs()
	for i, s := range specs {
		b := specs[best]
		d := (s.Up.Delay + s.Down.Delay) - (b.Up.Delay + b.Down.Delay)
		if d < 0 || d == 0 && s.Down.Rate > b.Down.Rate {
			best = i
		}
	}
	return best
}
