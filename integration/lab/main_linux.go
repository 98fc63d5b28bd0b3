// Command lab measures mpsocks, and what it is compared with, in emulated networks: profiles x loads x subjects.
//
//	go run ./integration/lab -run loss_1 -loads game -subject mpsocks,raw -seconds 10
//	go run ./integration/lab -bars all
//	go run ./integration/lab -bars death -family 46      one path over IPv4, one over IPv6
//	go run ./integration/lab                     the whole matrix, with tables and plots in -out
//
// Each measurement prints one line; see line in report.go for what it says.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/mpsocks/mpsocks/integration/baseline"
	"github.com/mpsocks/mpsocks/integration/netlab"
	"github.com/mpsocks/mpsocks/integration/profiles"
)

// options is the command line.
type options struct {
	profiles []string
	loads    []string
	subjects []string
	bars     []string
	seconds  float64
	warmup   float64
	rest     time.Duration // before each measurement
	repeat   int
	// tolerance is how late the emulator may come, ms (p99), before a session is run again.
	tolerance float64
	short     bool
	binary    string
	out       string
	mode      string
	family    string
	set       string
	verbose   bool
	points    bool
}

func main() {
	netlab.Main()
	baseline.Main()
	// See netlab.Realtime: the real-time goroutines must always find a slot. Collections are rare: they cost what the
	// system under test needs.
	runtime.GOMAXPROCS(16)
	netlab.Hasten()
	debug.SetGCPercent(400)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	o := &options{}
	f := flag.NewFlagSet("lab", flag.ContinueOnError)
	list := func(to *[]string, name, value, usage string) {
		if value != "" {
			*to = strings.Split(value, ",")
		}
		f.Func(name, usage, func(s string) error { *to = strings.Split(s, ","); return nil })
	}
	list(&o.profiles, "run", "all", "profiles, comma-separated (default all); a trailing * matches the rest")
	list(&o.loads, "loads", "game,bulk_down,http3,mixed", "loads: "+strings.Join(loadNames(), " ")+" (default game,bulk_down,http3,mixed)")
	list(&o.subjects, "subject", "", "mpsocks, alone (each path alone), alone:PATH, raw (best path), raw:PATH, kernel (default: those that the load is compared with)")
	list(&o.bars, "bars", "", "scenarios with a bar instead of the matrix: all, or "+strings.Join(barNames(), " "))
	f.Float64Var(&o.seconds, "seconds", 0, "length of each measurement after the warm-up (default 3, bars 4, and 8 where the profile has events)")
	f.DurationVar(&o.rest, "rest", 0, "how long the subject is left alone before each measurement, so that its paths rest (with -warmup 0 all of its waking counts)")
	f.Float64Var(&o.warmup, "warmup", 1, "seconds at the beginning of a measurement that do not count")
	f.IntVar(&o.repeat, "repeat", 1, "measure each so many times; tables have the medians (bars: 3)")
	f.Float64Var(&o.tolerance, "tolerance", 3, "run a session again, twice at most, when the emulator came later than so many ms (p99); 0 never")
	f.BoolVar(&o.short, "short", false, "a few minutes: two seconds each, three profiles unless -run says which")
	f.StringVar(&o.binary, "bin", "", "mpsocks executable (default: built from this module)")
	f.StringVar(&o.out, "out", "", "directory for tables and plots (default: none when profiles are chosen, run/lab otherwise)")
	f.StringVar(&o.mode, "mode", "auto", "mode in both halves' configurations")
	f.StringVar(&o.family, "family", "4", "what the paths of mpsocks carry: 4, 6, or 46 for both in turn")
	f.StringVar(&o.set, "set", "", "YAML merged into both halves' configurations, such as '{log: {level: debug}}'")
	f.BoolVar(&o.verbose, "v", false, "show the halves' logs")
	f.BoolVar(&o.points, "points", false, "print latency over time below each line")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	if !slices.Contains([]string{"4", "6", "46"}, o.family) {
		return fmt.Errorf("-family %q: want 4, 6 or 46", o.family)
	}
	set := map[string]bool{}
	f.Visit(func(g *flag.Flag) { set[g.Name] = true })
	if o.short && !set["run"] {
		o.profiles = []string{"baseline", "loss_1", "silent_death"}
	}
	if o.short && o.seconds == 0 {
		o.seconds = 2
	}
	if len(o.bars) > 0 && !set["repeat"] {
		o.repeat = 3
	}
	if o.out == "" && !set["run"] && len(o.bars) == 0 {
		o.out = filepath.Join("run", "lab")
	}
	if err := netlab.Available(); err != nil {
		return err
	}
	chosen, err := choose(o.profiles)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "mpsocks-lab-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if o.binary == "" && needsBinary(o) {
		o.binary = filepath.Join(dir, "mpsocks")
		build := exec.CommandContext(ctx, "go", "build", "-o", o.binary, "github.com/mpsocks/mpsocks")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			return fmt.Errorf("build mpsocks: %w", err)
		}
	}
	l := &laboratory{options: o, dir: dir, command: "lab " + strings.Join(args, " "), begin: time.Now()}
	if len(o.bars) > 0 {
		err = l.judge(ctx)
	} else {
		err = l.matrix(ctx, chosen)
	}
	if o.out != "" && len(l.done) > 0 {
		err = errors.Join(err, l.write(o.out))
	}
	return err
}

// needsBinary says whether mpsocks itself takes part.
func needsBinary(o *options) bool {
	return len(o.subjects) == 0 || slices.ContainsFunc(o.subjects, func(s string) bool {
		return !strings.HasPrefix(s, "raw") && s != "kernel"
	})
}

// choose finds the profiles by name.
func choose(names []string) ([]profiles.Profile, error) {
	all, err := profiles.All()
	if err != nil {
		return nil, err
	}
	var out []profiles.Profile
	for _, name := range names {
		before := len(out)
		for _, p := range all {
			prefix, star := strings.CutSuffix(name, "*")
			if name == "all" || name == p.Name || star && strings.HasPrefix(p.Name, prefix) {
				out = append(out, p)
			}
		}
		if len(out) == before {
			var have []string
			for _, p := range all {
				have = append(have, p.Name)
			}
			return nil, fmt.Errorf("no profile %q; there are %s", name, strings.Join(have, " "))
		}
	}
	return out, nil
}
