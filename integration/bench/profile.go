//go:build linux

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/load"
)

const (
	allocClient = "client allocations"
	allocServer = "server allocations"
)

// allocations reads the halves' own counters twice within a flood. What
// reading costs is measured in an idle moment before and taken off; what
// remains besides datagrams is the program's timers.
func (b *bench) allocations(r *Result) error {
	return b.interleave(r, []string{ours}, func(s *system) error {
		admins := []string{s.pair.ClientAdmin, s.pair.ServerAdmin}
		first, err := mallocs(admins)
		if err != nil {
			return err
		}
		second, err := mallocs(admins)
		if err != nil {
			return err
		}
		var before, after []float64
		var seconds float64
		f, err := b.during(s, load.FloodSpec{
			Proxy: s.proxy, Target: b.echo, Associations: 16, Window: 32, Size: 1200,
			Warmup: b.warmup, Duration: b.window + b.warmup,
		}, func() (err error) {
			if before, err = mallocs(admins); err != nil {
				return err
			}
			start := time.Now()
			time.Sleep(b.window - b.warmup)
			seconds = time.Since(start).Seconds()
			after, err = mallocs(admins)
			return err
		})
		if err != nil {
			return err
		}
		carried := 2 * float64(f.RoundTrips) / f.Seconds * seconds
		for i, metric := range []string{allocClient, allocServer} {
			reading := second[i] - first[i]
			r.add(s.name, metric, max(0, after[i]-before[i]-reading)/carried)
		}
		return nil
	})
}

// during runs something in the middle of a flood, after its warm-up.
func (b *bench) during(s *system, spec load.FloodSpec, do func() error) (*load.FloodResult, error) {
	if err := b.load.send(request{Flood: &spec}); err != nil {
		return nil, err
	}
	time.Sleep(spec.Warmup)
	err := do()
	a, floodErr := b.load.receive()
	if err = errors.Join(err, floodErr); err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	return a.Flood, nil
}

// mallocs returns how many objects each half has allocated since its start,
// from the statistics at the end of its heap profile.
func mallocs(admins []string) ([]float64, error) {
	var all []float64
	for _, admin := range admins {
		resp, err := http.Get("http://" + admin + "/debug/pprof/heap?debug=1")
		if err != nil {
			return nil, err
		}
		count, err := findMallocs(resp)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", admin, err)
		}
		all = append(all, count)
	}
	return all, nil
}

func findMallocs(resp *http.Response) (float64, error) {
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("/debug/pprof/heap: %s", resp.Status)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if v, ok := strings.CutPrefix(lines.Text(), "# Mallocs = "); ok {
			return strconv.ParseFloat(v, 64)
		}
	}
	return 0, errors.Join(lines.Err(), errors.New("no Mallocs in the heap profile"))
}

// profile writes processor, allocation, mutex and block profiles of both
// halves, taken during a flood, into a directory.
func (b *bench) profile(dir string, spec load.FloodSpec) error {
	systems, err := b.systems(ours)
	if err != nil || len(systems) == 0 {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	s := systems[0]
	spec.Proxy, spec.Target, spec.PIDs = s.proxy, b.echo, s.pids
	spec.Warmup, spec.Duration = b.warmup, 8*time.Second
	name := fmt.Sprintf("flood-%dx%d-%d", spec.Associations, spec.Window, spec.Size)
	_, err = b.during(s, spec, func() error {
		errs := make(chan error, 2)
		for half, admin := range map[string]string{"client": s.pair.ClientAdmin, "server": s.pair.ServerAdmin} {
			go func() { errs <- fetchProfiles(dir, name+"-"+half, admin) }()
		}
		return errors.Join(<-errs, <-errs)
	})
	return err
}

func fetchProfiles(dir, name, admin string) error {
	// The heap comes with a collection, without which the allocations of the
	// last moments are in no profile.
	for _, kind := range []string{"profile?seconds=5", "heap?gc=1", "allocs", "mutex", "block"} {
		resp, err := http.Get("http://" + admin + "/debug/pprof/" + kind)
		if err != nil {
			return err
		}
		short, _, _ := strings.Cut(kind, "?")
		if short == "profile" {
			short = "cpu"
		}
		if err := save(resp, filepath.Join(dir, name+"-"+short+".pprof")); err != nil {
			return err
		}
	}
	return nil
}

func save(resp *http.Response, file string) error {
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", resp.Request.URL, resp.Status)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o644)
}
