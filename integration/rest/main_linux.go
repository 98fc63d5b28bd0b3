// Command rest measures what an idle pair costs: the bytes of each path with all headers,
// from the interface's own counters, and how often each half wakes. Then it kills the
// paths in silence, one after the other, and waits until the client's status says so.
//
//	go run ./integration/rest -settle 2m -for 1m
//
// It needs root, builds its network with package netlab, and ends with an error when a
// bar is missed.
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
	"syscall"
	"time"

	"github.com/mpsocks/mpsocks/integration/netlab"
)

// The bars: megabytes a day of a path at rest, and how long a dead one may go unseen.
const (
	plainMost  = 3.0
	restsMost  = 1.0
	deathMost  = 60 * time.Second
	switchMost = 40.0 // a second, of each half: a wake-up of a Go program takes some six
)

// options is the command line.
type options struct {
	binary      string
	settle, run time.Duration
	deaths      bool
	verbose     bool
}

func main() {
	netlab.Main()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o := &options{}
	flag.StringVar(&o.binary, "binary", "", "mpsocks (default: built from this tree)")
	flag.DurationVar(&o.settle, "settle", 2*time.Minute, "how long the pair is left alone first")
	flag.DurationVar(&o.run, "for", time.Minute, "how long it is measured")
	flag.BoolVar(&o.deaths, "deaths", true, "kill the paths afterwards")
	flag.BoolVar(&o.verbose, "v", false, "show the logs of both halves")
	flag.Parse()
	if err := o.measure(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "rest:", err)
		os.Exit(1)
	}
}

// ways are the paths of the network, and what the configuration says of each beside its
// name and interface.
var ways = []struct {
	name  string
	extra map[string]any
	delay time.Duration // one way
}{
	{"dsl", nil, 10 * time.Millisecond},
	{"lte", map[string]any{"metered": true}, 25 * time.Millisecond},
	{"sat", map[string]any{"backup": true}, 40 * time.Millisecond},
}

// measure does all of it and prints as it goes. The error names the bars that were missed.
func (o *options) measure(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "mpsocks-rest-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if o.binary == "" {
		o.binary = filepath.Join(dir, "mpsocks")
		if out, err := exec.CommandContext(ctx, "go", "build", "-o", o.binary, "github.com/mpsocks/mpsocks").CombinedOutput(); err != nil {
			return fmt.Errorf("build: %w: %s", err, out)
		}
	}
	var specs []netlab.PathSpec
	for _, w := range ways {
		specs = append(specs, netlab.Symmetric(w.name, netlab.Link{Delay: w.delay, Rate: netlab.Mbit(50)}))
	}
	lab, err := netlab.New(specs...)
	if err != nil {
		return err
	}
	defer lab.Close()
	p, err := o.start(ctx, lab, dir)
	if err != nil {
		return err
	}
	defer p.stop()
	if err := pause(ctx, o.settle); err != nil {
		return err
	}
	missed := o.idle(ctx, lab, p)
	if o.deaths && ctx.Err() == nil {
		missed = append(missed, p.kill(ctx, lab)...)
	}
	return errors.Join(append(missed, ctx.Err())...)
}

// idle counts for a while.
func (o *options) idle(ctx context.Context, lab *netlab.Lab, p *pair) (missed []error) {
	before, err := read(lab, p)
	if err != nil {
		return []error{err}
	}
	if err := pause(ctx, o.run); err != nil {
		return []error{err}
	}
	after, err := read(lab, p)
	if err != nil {
		return []error{err}
	}
	span := after.at.Sub(before.at)
	days := span.Hours() / 24
	for i, w := range ways {
		bytes, packets := after.bytes[i]-before.bytes[i], after.packets[i]-before.packets[i]
		most := plainMost
		if w.extra != nil {
			most = restsMost
		}
		// A path with a cable under it has an Ethernet header a packet as well.
		perDay := float64(bytes+14*packets) / 1e6 / days
		fmt.Printf("path %-4s %6d bytes in %3d packets: %5.2f MB a day, with Ethernet headers %5.2f (bar %.0f)\n",
			w.name, bytes, packets, float64(bytes)/1e6/days, perDay, most)
		if perDay > most {
			missed = append(missed, fmt.Errorf("path %s: %.2f MB a day", w.name, perDay))
		}
	}
	for i, half := range halfNames {
		rate := float64(after.switches[i]-before.switches[i]) / span.Seconds()
		cpu := (after.cpu[i] - before.cpu[i]).Seconds() / span.Seconds()
		fmt.Printf("%-6s   %6.2f context switches a second (bar %.0f), %.3f %% of a core\n", half, rate, switchMost, 100*cpu)
		if rate > switchMost {
			missed = append(missed, fmt.Errorf("the %s wakes %.1f times a second", half, rate))
		}
	}
	return missed
}

// pause waits, unless the context ends.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
