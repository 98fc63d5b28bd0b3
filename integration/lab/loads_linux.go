package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mpsocks/mpsocks/integration/loads"
	"github.com/mpsocks/mpsocks/integration/netlab"
	"github.com/mpsocks/mpsocks/integration/profiles"
)

// A load is one or more flows at once; the first one is what a single line shows.
type load struct {
	name  string
	about string
	flows func(p *profiles.Profile) []any // loads.Datagrams, loads.Streams or download
	// versus are the subjects that it is compared with, beside mpsocks.
	versus []string
}

// download is an HTTP/3 transfer.
type download loads.Streams

// game is 500 datagrams/s of 200 bytes, echoed: more than any game sends, and enough for a p99.9.
func game(name string) loads.Datagrams {
	return loads.Datagrams{Name: name, Rate: 500, Size: 200, Direction: loads.Echo}
}

// flood offers 15 % more than all paths can carry.
func flood(p *profiles.Profile, name string, d loads.Direction) loads.Datagrams {
	return loads.Datagrams{Name: name, Size: 1200, Direction: d}.Mbit(1.15 * capacity(p, d))
}

// capacity is the sum of the paths' rates in a direction, the smaller one for echoes, Mbit/s.
func capacity(p *profiles.Profile, d loads.Direction) float64 {
	up, down := 0.0, 0.0
	for _, s := range p.Specs() {
		up += s.Up.Rate.Mbit()
		down += s.Down.Rate.Mbit()
	}
	switch d {
	case loads.Up:
		return up
	case loads.Down:
		return down
	}
	return min(up, down)
}

var allLoads = []load{
	{"game", "500 datagrams/s of 200 bytes, echoed", func(*profiles.Profile) []any { return []any{game("game")} }, []string{"raw", "kernel"}},
	{"near", "datagrams of 1,200 bytes at 85 % of all paths' rates, echoed", func(p *profiles.Profile) []any {
		return []any{loads.Datagrams{Name: "near", Size: 1200, Direction: loads.Echo}.Mbit(.85 * capacity(p, loads.Echo))}
	}, []string{"raw", "kernel"}},
	{"steady", "30 Mbit/s of 1,200 bytes, world to client", func(*profiles.Profile) []any {
		return []any{loads.Datagrams{Name: "steady", Size: 1200, Direction: loads.Down}.Mbit(30)}
	}, []string{"raw", "kernel"}},
	{"bulk_down", "datagrams of 1,200 bytes at 115 % of all paths' rates, world to client", func(p *profiles.Profile) []any { return []any{flood(p, "bulk_down", loads.Down)} }, []string{"alone", "kernel"}},
	{"bulk_up", "the same, client to world", func(p *profiles.Profile) []any { return []any{flood(p, "bulk_up", loads.Up)} }, []string{"alone", "kernel"}},
	{"http3", "one HTTP/3 download", func(*profiles.Profile) []any { return []any{download{Name: "http3"}} }, []string{"alone"}},
	{"connect_down", "one TCP download by CONNECT", func(*profiles.Profile) []any {
		return []any{loads.Streams{Name: "connect_down", Direction: loads.Down}}
	}, []string{"alone"}},
	{"connect_up", "one TCP upload by CONNECT", func(*profiles.Profile) []any { return []any{loads.Streams{Name: "connect_up", Direction: loads.Up}} }, []string{"alone"}},
	{"mixed", "the game beside an HTTP/3 download and a CONNECT download", func(*profiles.Profile) []any {
		return []any{game("game"), loads.Streams{Name: "connect_down", Direction: loads.Down}, download{Name: "http3"}}
	}, nil},
	{"crowded", "the game beside a CONNECT download and a bulk datagram download", func(p *profiles.Profile) []any {
		return []any{game("game"), loads.Streams{Name: "connect_down", Direction: loads.Down}, flood(p, "bulk_down", loads.Down)}
	}, nil},
	{"many", "62 flows of 50 datagrams/s of 200 bytes, echoed, beside two bulk datagram downloads", func(p *profiles.Profile) []any {
		out := small(62)
		for i := range 2 {
			out = append(out, loads.Datagrams{Name: fmt.Sprint("bulk", i), Size: 1200, Direction: loads.Down}.Mbit(.6*capacity(p, loads.Down)))
		}
		return out
	}, nil},
	{"small", "one flow of 50 datagrams/s of 200 bytes, echoed: a flow of `many` alone", func(*profiles.Profile) []any { return small(1) }, nil},
	{"calls", "the game, and what each of its datagrams costs", func(*profiles.Profile) []any { return []any{game("calls")} }, nil},
	{"paced", "9,400 datagrams/s of 1,200 bytes, echoed (90 Mbit/s), and what each costs", func(*profiles.Profile) []any {
		return []any{loads.Datagrams{Name: "paced", Rate: 9400, Size: 1200, Direction: loads.Echo}}
	}, nil},
}

// counted are the loads whose datagrams' cost is asked for.
var counted = []string{"calls", "paced"}

// small makes n flows of 50 datagrams/s.
func small(n int) []any {
	var out []any
	for i := range n {
		out = append(out, loads.Datagrams{Name: fmt.Sprint("small", i), Rate: 50, Size: 200, Direction: loads.Echo})
	}
	return out
}

func loadNames() []string {
	var out []string
	for _, l := range allLoads {
		out = append(out, l.name)
	}
	return out
}

func loadByName(name string) (*load, error) {
	for i := range allLoads {
		if allLoads[i].name == name {
			return &allLoads[i], nil
		}
	}
	return nil, fmt.Errorf("no load %q; there are %v", name, loadNames())
}

// flowResults are those of the flows of one load.
type flowResults struct {
	Datagrams []*loads.DatagramResult `json:"datagrams,omitempty"`
	Streams   []*loads.StreamResult   `json:"streams,omitempty"`
}

// runFlows runs all flows of the load side by side for the time, and returns when the last one is counted.
func (r *room) runFlows(ctx context.Context, route loads.Route, flows []any, warmup, duration time.Duration, begin time.Time) (*flowResults, error) {
	out := &flowResults{}
	errs := make([]error, len(flows))
	d, s := make([]*loads.DatagramResult, len(flows)), make([]*loads.StreamResult, len(flows))
	var wg sync.WaitGroup
	for i, f := range flows {
		wg.Go(func() {
			switch f := f.(type) {
			case loads.Datagrams:
				f.Warmup, f.Duration, f.Begin = warmup, duration, begin
				// Flows of one rate must not tick together.
				time.Sleep(time.Duration(i%16) * 1300 * time.Microsecond)
				d[i], errs[i] = r.world.Datagrams(ctx, route, f)
			case loads.Streams:
				f.Warmup, f.Duration, f.Begin = warmup, duration, begin
				s[i], errs[i] = r.world.Streams(ctx, route, f)
			case download:
				f.Warmup, f.Duration, f.Begin = warmup, duration, begin
				s[i], errs[i] = r.web.Download(ctx, route, loads.Streams(f))
			}
		})
	}
	wg.Wait()
	for i := range flows {
		if d[i] != nil {
			out.Datagrams = append(out.Datagrams, d[i])
		}
		if s[i] != nil {
			out.Streams = append(out.Streams, s[i])
		}
	}
	return out, errors.Join(errs...)
}

// background starts the profile's own flows and returns what ends them.
func (r *room) background(ctx context.Context, p *profiles.Profile) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for _, b := range p.Background {
		route := loads.Route{Place: r.lab.Client, Source: r.lab.Path(b.Path).ClientAddr()}
		wg.Go(func() {
			// An hour is longer than any measurement: cancel ends it.
			_, _ = r.world.Streams(ctx, route, loads.Streams{Name: "background", Direction: loads.Direction(b.Direction), Congestion: b.Congestion, Duration: time.Hour})
		})
	}
	if len(p.Background) > 0 {
		select {
		case <-time.After(3 * time.Second): // until the deep queue is full
		case <-ctx.Done():
		}
	}
	return func() { cancel(); wg.Wait() }
}

// events plays the profile's events from now on, until stop is called; stop puts all paths back as they were.
func (r *room) events(p *profiles.Profile) (stop func() error) {
	quit := make(chan struct{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	begin := time.Now()
	for _, e := range p.Events {
		wg.Go(func() {
			for at := e.At; ; at += e.Every {
				select {
				case <-quit:
					return
				case <-time.After(time.Until(begin.Add(at))):
				}
				if err := r.do(p, &e); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
				}
				if e.Every == 0 {
					return
				}
			}
		})
	}
	return func() error {
		close(quit)
		wg.Wait()
		for i, s := range p.Specs() {
			if len(p.Events) == 0 {
				break
			}
			path := r.lab.Paths[i]
			errs = append(errs, path.ChangeEach(func(up, down *netlab.Link) { *up, *down = s.Up, s.Down }), path.Up())
		}
		return errors.Join(errs...)
	}
}

// do makes one event happen.
func (r *room) do(p *profiles.Profile, e *profiles.Event) error {
	path := r.lab.Path(e.Path)
	switch e.Do {
	case "black_hole":
		return path.SetBlackHole(true)
	case "down":
		return path.Down()
	case "up":
		return path.Up()
	case "renumber":
		return path.Renumber()
	case "set":
		return path.Change(e.Apply)
	}
	for _, s := range p.Specs() {
		if s.Name == e.Path {
			return path.ChangeEach(func(up, down *netlab.Link) { *up, *down = s.Up, s.Down })
		}
	}
	return nil
}
