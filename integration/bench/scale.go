//go:build linux

package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/load"
)

// ten is how many associations are "many"; a machine that allows fewer open
// files gets as many as it allows.
const ten = 10_000

const (
	memClient = "client"
	memServer = "server"
	memBoth   = "both halves"

	rssClient    = "client, at its end"
	rssServer    = "server, at its end"
	restedClient = "client, 30 s later"
	restedServer = "server, 30 s later"
)

// settle is how long memory is given to come to rest before it is read.
const settle = 2 * time.Second

// scale compares the same shape of load on few and on many associations: what
// differs is only how many the program has to keep and find. "Turns" lets 16
// associations at a time send 32 datagrams each and then hands on to the next
// ones; "singles" has 512 associations at a time with one datagram each, so
// that no system call carries more than one.
func (b *bench) scale(r *Result) error {
	if err := b.enough(); err != nil {
		return err
	}
	shapes := []struct{ associations, window, active int }{
		{16, 32, 16},
		{b.many, 32, 16},
		{512, 1, 512},
		{b.many, 1, 512},
	}
	return b.fresh(r, len(shapes), func(s *system, i int) error {
		shape := shapes[i]
		a, err := b.load.ask(request{Flood: &load.FloodSpec{
			Proxy: s.proxy, Target: b.echo, Associations: shape.associations, Window: shape.window,
			Active: shape.active, Size: 512, Warmup: b.warmup, Duration: b.window, PIDs: s.pids,
		}})
		if err != nil {
			return err
		}
		return record(r, scaleRow(s.name, shape.associations, shape.window), a.Flood, 512)
	})
}

func scaleRow(system string, associations, window int) string {
	if window == 1 {
		return fmt.Sprintf("%s, %d associations, singles", system, associations)
	}
	return fmt.Sprintf("%s, %d associations, turns of %d", system, associations, window)
}

// memory reads what idle associations add to the resident memory of fresh
// processes.
func (b *bench) memory(r *Result) error {
	if err := b.enough(); err != nil {
		return err
	}
	return b.fresh(r, 2, func(s *system, i int) error { return b.idle(r, s, i == 1) })
}

// rest is how long memory is given to be given back after a load.
const rest = 30 * time.Second

// afterFlood loads fresh processes of all systems, one after the other, and reads their
// resident memory at the end of each one's load, and when all have rested.
func (b *bench) afterFlood(r *Result) error {
	b.retire()
	for round := range b.rounds {
		systems, err := b.systems(tunnels...)
		if err != nil {
			return err
		}
		for _, s := range systems {
			b.progress("%s: round %d of %d, %s", r.Name, round+1, b.rounds, s.name)
			if err := b.everything(s); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			if err := noteResident(r, s, rssClient, rssServer); err != nil {
				return err
			}
		}
		time.Sleep(rest)
		for _, s := range systems {
			if err := noteResident(r, s, restedClient, restedServer); err != nil {
				return err
			}
		}
		b.retire()
	}
	return nil
}

// everything loads a system with a flood, and with streams if it has such.
func (b *bench) everything(s *system) error {
	requests := []request{{Flood: &load.FloodSpec{
		Proxy: s.proxy, Target: b.echo, Associations: 16, Window: 32, Size: 1200, Warmup: b.warmup, Duration: b.window,
	}}}
	if s.name != plain {
		for _, upload := range []bool{true, false} {
			requests = append(requests, request{Stream: &load.StreamSpec{
				Proxy: s.proxy, Target: b.bulk, Streams: 4, Upload: upload, Warmup: b.warmup, Duration: b.window,
			}})
		}
	}
	for _, q := range requests {
		if _, err := b.load.ask(q); err != nil {
			return err
		}
	}
	return nil
}

func noteResident(r *Result, s *system, metrics ...string) error {
	kib, err := resident(s.pids)
	if err != nil {
		return err
	}
	for i, metric := range metrics {
		r.add(s.name, metric, kib[i]/1024)
	}
	return nil
}

// fresh runs each variant of a measurement for each system as often as there
// are rounds, with new processes for each step and no others: a machine's ports
// do not suffice for many associations of two systems, and mappings outlive
// their associations by minutes.
func (b *bench) fresh(r *Result, variants int, step func(s *system, variant int) error) error {
	b.retire()
	for i := range b.rounds * variants {
		for _, name := range []string{plain, ours} {
			if !b.only[name] {
				continue
			}
			b.progress("%s: round %d of %d, %s", r.Name, i/variants+1, b.rounds, name)
			s, err := b.start(name)
			if err == nil {
				err = step(s, i%variants)
				s.stop()
			}
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

// idle holds 1, 1,000 and all of the many associations one after the other, in
// one fresh instance.
func (b *bench) idle(r *Result, s *system, used bool) error {
	holder, _, err := startChild("load")
	if err != nil {
		return err
	}
	defer holder.stop()
	time.Sleep(settle / 2)
	before, err := resident(s.pids)
	if err != nil {
		return err
	}
	held := 0
	for _, n := range []int{1, 1000, b.many} {
		if _, err := holder.ask(request{Hold: &load.HoldSpec{Proxy: s.proxy, Target: b.echo, Associations: n - held, Used: used}}); err != nil {
			return err
		}
		held = n
		time.Sleep(settle)
		after, err := resident(s.pids)
		if err != nil {
			return err
		}
		row := memoryRow(s.name, n, used)
		client, server := (after[0]-before[0])/float64(n), (after[1]-before[1])/float64(n)
		r.add(row, memClient, client)
		r.add(row, memServer, server)
		r.add(row, memBoth, client+server)
	}
	return nil
}

func memoryRow(system string, n int, used bool) string {
	if used {
		return fmt.Sprintf("%s, %d, one datagram echoed each", system, n)
	}
	return fmt.Sprintf("%s, %d, never used", system, n)
}

// resident returns each process's resident memory in KiB.
func resident(pids []int) ([]float64, error) {
	var all []float64
	for _, pid := range pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			return nil, err
		}
		_, rest, ok := strings.Cut(string(b), "\nRss:")
		fields := strings.Fields(rest)
		if !ok || len(fields) == 0 {
			return nil, fmt.Errorf("no Rss in smaps_rollup of %d", pid)
		}
		kib, err := strconv.ParseFloat(fields[0], 64)
		if err != nil {
			return nil, err
		}
		all = append(all, kib)
	}
	return all, nil
}

// spare is how many files a half needs besides two for each association: its
// listeners, subflows, pollers and logs.
const spare = 64

// files raises the limit of open files for this process and its children, as
// far as it may, and returns how many associations fit, ten thousand at most.
// Each takes two files of the client and of the generator.
func files() (many int) {
	wanted := syscall.Rlimit{Cur: 4 * ten, Max: 4 * ten}
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return 0
	}
	if l.Max >= wanted.Max || syscall.Setrlimit(syscall.RLIMIT_NOFILE, &wanted) != nil {
		// Set in any case: what Go raised by itself is not inherited.
		wanted = syscall.Rlimit{Cur: l.Max, Max: l.Max}
		if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &wanted) != nil {
			return 0
		}
	}
	return min(ten, int(wanted.Max-spare)/2)
}

// enough says what to do where the limit of open files leaves no room to speak
// of many associations.
func (b *bench) enough() error {
	if b.many < 2000 {
		return fmt.Errorf("too few open files are allowed, %d associations need %d: raise the limit (ulimit -Hn)", ten, 2*ten+spare)
	}
	return nil
}
