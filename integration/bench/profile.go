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

	"github.com/mpsocks/mpsocks/integration/bench/halves"
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
		first, err := mallocs(s.pair, admins)
		if err != nil {
			return err
		}
		second, err := mallocs(s.pair, admins)
		if err != nil {
			return err
		}
		var before, after []float64
		var seconds float64
		a, err := b.during(s, request{Flood: &load.FloodSpec{
			Proxy: s.proxy, Target: b.echo, Associations: 16, Window: 32, Size: 1200,
			Warmup: b.warmup, Duration: b.window + b.warmup,
		}}, func() (err error) {
			if before, err = mallocs(s.pair, admins); err != nil {
				return err
			}
			start := time.Now()
			time.Sleep(b.window - b.warmup)
			seconds = time.Since(start).Seconds()
			after, err = mallocs(s.pair, admins)
			return err
		})
		if err != nil {
			return err
		}
		if err := a.Flood.Wrong(); err != nil {
			return err
		}
		carried := 2 * float64(a.Flood.RoundTrips) / a.Flood.Seconds * seconds
		for i, metric := range []string{allocClient, allocServer} {
			reading := second[i] - first[i]
			r.add(s.name, metric, max(0, after[i]-before[i]-reading)/carried)
		}
		return nil
	})
}

// during runs something in the middle of a load, after its warm-up.
func (b *bench) during(s *system, q request, do func() error) (response, error) {
	if err := b.load.send(q); err != nil {
		return response{}, err
	}
	time.Sleep(b.warmup)
	err := do()
	a, loadErr := b.load.receive()
	if err = errors.Join(err, loadErr); err != nil {
		return a, fmt.Errorf("%s: %w", s.name, err)
	}
	return a, nil
}

// mallocs returns how many objects each half has allocated since its start,
// from the statistics at the end of its heap profile.
func mallocs(pair *halves.Pair, admins []string) ([]float64, error) {
	var all []float64
	for _, admin := range admins {
		resp, err := pair.Get(admin, "/debug/pprof/heap?debug=1")
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

// profileSeconds is how long each kind of profile is taken.
const profileSeconds = 10

// profiled is a load to take profiles under: a flood, or one stream.
type profiled struct {
	name   string
	flood  load.FloodSpec
	stream bool
	upload bool
}

func parseProfiled(flood, stream string) (p profiled, err error) {
	switch stream {
	case "":
		f := &p.flood
		if _, err := fmt.Sscanf(flood, "%dx%dx%d", &f.Associations, &f.Window, &f.Size); err != nil {
			return p, fmt.Errorf("-profile-flood: %w", err)
		}
		p.name = fmt.Sprintf("flood-%dx%d-%d", f.Associations, f.Window, f.Size)
	case "up":
		p.name, p.stream, p.upload = "upload-1", true, true
	case "down":
		p.name, p.stream = "download-1", true
	default:
		return p, fmt.Errorf("-profile-stream: %q is neither up nor down", stream)
	}
	return p, nil
}

// request asks for the load: longer than all profiles together take.
func (p *profiled) request(b *bench, s *system) request {
	const duration = (3*profileSeconds + 3) * time.Second
	if p.stream {
		return request{Stream: &load.StreamSpec{
			Proxy: s.proxy, Target: b.bulk, Streams: 1, Upload: p.upload, Warmup: b.warmup, Duration: duration,
		}}
	}
	f := p.flood
	f.Proxy, f.Target, f.Warmup, f.Duration = s.proxy, b.echo, b.warmup, duration
	return request{Flood: &f}
}

// profile writes processor, allocation, mutex and block profiles of both
// halves, taken under a load, into a directory.
func (b *bench) profile(dir string, p profiled) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	// Halves of its own, which note one allocation in 4 KiB: of one in 512,
	// the default, a flood shows next to none.
	b.retire()
	defer b.retire()
	os.Setenv("GODEBUG", "memprofilerate=4096")
	systems, err := b.systems(ours)
	os.Unsetenv("GODEBUG")
	if err != nil || len(systems) == 0 {
		return err
	}
	s := systems[0]
	_, err = b.during(s, p.request(b, s), func() error {
		errs := make(chan error, 2)
		for half, admin := range map[string]string{"client": s.pair.ClientAdmin, "server": s.pair.ServerAdmin} {
			go func() { errs <- fetchProfiles(s.pair, filepath.Join(dir, p.name+"-"+half), admin) }()
		}
		return errors.Join(<-errs, <-errs)
	})
	return err
}

// fetchProfiles writes one half's profiles to files that begin with name. Each
// kind is taken while no other is, but for the locks, which do not disturb
// each other.
func fetchProfiles(pair *halves.Pair, name, admin string) error {
	get := func(kind, as string) error {
		resp, err := pair.Get(admin, "/debug/pprof/"+kind)
		if err != nil {
			return err
		}
		return save(resp, name+"-"+as+".pprof")
	}
	timed := fmt.Sprintf("?seconds=%d", profileSeconds)
	if err := get("profile"+timed, "cpu"); err != nil {
		return err
	}
	// A heap comes with a collection, without which the allocations of the
	// last moments are in no profile; they count from the program's start, so
	// the ones before are there to be taken off (-base).
	for i, as := range []string{"allocs-before", "allocs"} {
		if i > 0 {
			time.Sleep(profileSeconds * time.Second)
		}
		if err := errors.Join(get("heap?gc=1", "heap"), get("allocs", as)); err != nil {
			return err
		}
	}
	block := make(chan error, 1)
	go func() { block <- get("block"+timed, "block") }()
	return errors.Join(get("mutex"+timed, "mutex"), <-block)
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
