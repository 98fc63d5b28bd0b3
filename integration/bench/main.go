//go:build linux

// Command bench measures the whole program on loopback: client and server as
// separate processes beside a load generator and an echo, each figure next to
// its physical limit taken in the same run, and judges the bars of the fast
// path.
//
//	go run ./integration/bench                        everything, medians of 5: some fifteen minutes
//	go run ./integration/bench -quick -run flood-16   one thing, quickly
//	go run ./integration/bench -list                  what there is
//	make bench-peers                                  the everyday rows beside sing-box, and ratios
//
// What lives where: measure.go and scale.go have the measurements, system.go and
// peer.go the things measured, child.go the helper processes (this program again),
// bars.go the bars; load, target, relay and mmsg are what the helpers do,
// halves starts mpsocks itself.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
)

// options is the command line.
type options struct {
	run, bin, only, singbox     string
	quick, list, peers          bool
	rounds                      int
	window                      time.Duration
	markdown, json, cpuprofile  string
	profileFlood, profileStream string
}

func main() {
	if len(os.Args) > 2 && os.Args[1] == childArg {
		if role := os.Args[2]; !strings.HasPrefix(role, "tls-") {
			// Helpers allocate at most a few buffers while they measure: a
			// collection would only disturb. The TLS yardstick is ordinary
			// Go and has an ordinary collector.
			debug.SetGCPercent(-1)
			debug.SetMemoryLimit(1 << 30)
		}
		exit(runChild(os.Args[2:]))
	}
	// Children die with the thread that started them: the main one.
	runtime.LockOSThread()
	var o options
	flag.StringVar(&o.run, "run", "", "make only the measurements whose name matches this `regexp`")
	flag.BoolVar(&o.list, "list", false, "list the measurements and end")
	flag.BoolVar(&o.quick, "quick", false, "three rounds of half-second windows")
	flag.IntVar(&o.rounds, "rounds", 5, "rounds per measurement")
	flag.DurationVar(&o.window, "window", 2*time.Second, "measured time per system and round")
	flag.StringVar(&o.bin, "bin", "", "use this mpsocks `file` instead of building one")
	flag.StringVar(&o.only, "systems", "", "measure only these, `comma-separated`")
	flag.BoolVar(&o.peers, "peers", false, "measure what people do every day, beside other programs, three rounds")
	flag.StringVar(&o.singbox, "sing-box", "", "the sing-box to measure beside, a `file`")
	flag.StringVar(&o.markdown, "markdown", "", "write the tables to this `file` too")
	flag.StringVar(&o.json, "json", "", "write every sample to this `file`")
	flag.StringVar(&o.cpuprofile, "cpuprofile", "", "write profiles of both halves, taken under a load, into this `directory`")
	flag.StringVar(&o.profileFlood, "profile-flood", "16x32x1200", "the flood to profile, `associations x window x size`")
	flag.StringVar(&o.profileStream, "profile-stream", "", "profile a CONNECT instead of a flood, `up or down`")
	flag.Parse()
	given := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if !given["rounds"] && (o.quick || o.peers) {
		o.rounds = 3
	}
	if !given["window"] && o.quick {
		o.window = 500 * time.Millisecond
	}
	if o.only == "" {
		o.only = strings.Join(o.usual(), ",")
	}
	exit(o.bench())
}

// usual are the systems that are measured unless it is said which.
func (o *options) usual() []string {
	all := []string{direct, plain, tlsCopy, ours}
	if o.peers {
		all = []string{direct, plain, ours, oursOne, oursEarly}
		if o.singbox != "" {
			all = append(all, singBox2022, singBoxNone)
		}
	}
	return all
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// bench is the whole program.
func (o *options) bench() error {
	match, err := regexp.Compile(o.run)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	var chosen []measurement
	for _, m := range measurements() {
		if match.MatchString(m.name) && (!o.peers || m.everyday) {
			chosen = append(chosen, m)
		}
	}
	if o.list {
		for _, m := range chosen {
			fmt.Printf("%-18s %s\n", m.name, m.title)
		}
		return nil
	}
	if len(chosen) == 0 && o.cpuprofile == "" {
		return fmt.Errorf("no measurement matches %q: see -list", o.run)
	}
	profiled, err := parseProfiled(o.profileFlood, o.profileStream)
	if err != nil {
		return err
	}
	b, err := o.prepare(strings.Split(o.only, ","))
	if err != nil {
		return err
	}
	defer b.close()
	go func() { // ends with the program
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
		<-stop
		b.close()
		os.Exit(130)
	}()
	if o.cpuprofile != "" {
		b.progress("profiles of %s", profiled.name)
		if err := b.profile(o.cpuprofile, profiled); err != nil {
			return err
		}
	}
	return o.report(b, chosen)
}

// prepare builds mpsocks, when it is wanted, and starts the helpers.
func (o *options) prepare(systems []string) (*bench, error) {
	// Before anything is started, so that all children inherit the limit.
	b := &bench{many: files(), rounds: o.rounds, window: o.window, warmup: 500 * time.Millisecond, progress: progress()}
	if o.quick {
		b.warmup = 200 * time.Millisecond
	}
	if load, err := os.ReadFile("/proc/loadavg"); err == nil {
		b.busy = strings.Join(strings.Fields(string(load))[:3], " ")
	}
	only := map[string]bool{}
	for _, name := range systems {
		switch name = strings.TrimSpace(name); name {
		case direct, plain, tlsCopy, ours, oursOne, oursEarly:
			only[name] = true
		case singBox2022, singBoxNone:
			if only[name] = true; o.singbox == "" {
				return nil, fmt.Errorf("-systems: %s needs -sing-box", name)
			}
		default:
			return nil, fmt.Errorf("-systems: no system %q", name)
		}
	}
	bin, singbox := o.bin, o.singbox
	for _, file := range []*string{&bin, &singbox} {
		if *file == "" {
			continue
		}
		var err error
		if *file, err = filepath.Abs(*file); err != nil {
			return nil, err
		}
	}
	w, err := newWorld(bin, only)
	if err != nil {
		return nil, err
	}
	w.singbox = singbox
	b.world = w
	if (only[ours] || only[oursOne] || only[oursEarly]) && bin == "" {
		b.progress("building mpsocks")
		if w.bin, err = halves.Build(context.Background(), w.dir); err != nil {
			w.close()
			return nil, err
		}
	}
	return b, nil
}

// report makes the measurements and shows what they found. One that fails
// does not stop the others, but makes the run a failure.
func (o *options) report(b *bench, chosen []measurement) error {
	var results []*Result
	failures := 0
	for _, m := range chosen {
		r := &Result{Name: m.name, Title: m.title, Metrics: m.metrics}
		if err := m.run(b, r); err != nil {
			b.progress("%s: %v", m.name, err)
			r.Error = err.Error()
			failures++
		}
		results = append(results, r)
	}
	report := newReport(b, results)
	if o.peers {
		report.Ratios = ratios(results)
	}
	if o.run != "" || o.peers {
		// Of a part, only what it says.
		report.Bars = slices.DeleteFunc(report.Bars, func(b Bar) bool { return b.Verdict == notMeasured })
	}
	fmt.Print(report.markdown())
	if err := report.write(o.markdown, o.json); err != nil {
		return err
	}
	if failures > 0 {
		return fmt.Errorf("%d of %d measurements failed", failures, len(chosen))
	}
	return nil
}
