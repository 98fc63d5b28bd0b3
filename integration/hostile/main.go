// Command hostile starts a client and a server on loopback with an honest load between
// them, attacks the server in one way after the other, and says what it did to the
// honest load and to the server: each row of docs/security.md's table that names a mode
// is one of these. It ends with 1 when a promise was broken.
//
//	go run ./integration/hostile -mpsocks ./mpsocks [-only MODE,…] [-for 5s]
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

var (
	program = flag.String("mpsocks", "./mpsocks", "the program under attack")
	only    = flag.String("only", "", "modes, with commas; empty is all")
	keep    = flag.Bool("keep", false, "leave the directory with the logs")
	decoy   = flag.Bool("decoy", false, "attack another server than the one that the honest load goes through: what sharing the machine costs by itself")
	// What the program gives itself as a process of its own, so that attacks are not in
	// the way of what measures.
	mode    = flag.String("attack", "", "only this attack, on a server that runs")
	at      = flag.String("at", "", "the server's address, for -attack")
	file    = flag.String("conf", "", "the attacker's configuration, for -attack")
	lasting = flag.Duration("for", 5*time.Second, "how long each attack lasts")
)

// An attack is one mode.
type attack struct {
	name string
	what string
	// run attacks until the time is over and says what it got; broken is why a promise
	// is broken, "" if none is.
	run func(p *attacker, until time.Time) (got, broken string)
	// crowd is how many further clients there are, whose loads are the honest ones.
	crowd int
	// shares is whether the attacker's own work is beside the server's on the same cores.
	shares bool
}

func main() {
	flag.Parse()
	if *mode != "" {
		if err := single(*mode); err != nil {
			fmt.Fprintln(os.Stderr, "hostile:", err)
			os.Exit(1)
		}
		return
	}
	p, err := start(*program)
	if err != nil {
		fmt.Fprintln(os.Stderr, "hostile:", err)
		os.Exit(1)
	}
	bad := false
	for _, a := range attacks {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), a.name) {
			continue
		}
		broken := attempt(p, &a)
		if len(broken) > 0 {
			bad = true
			fmt.Printf("%10s BROKEN: %s\n", "", strings.Join(broken, "; "))
		}
	}
	p.stop()
	if *only == "" || slices.Contains(strings.Split(*only, ","), "server") {
		said, broken := underEvil(*program, *lasting)
		fmt.Printf("%-10s a server with the right key that breaks the rules, %d in turn\n%10s %s\n", "server", len(evils), "", said)
		if len(broken) > 0 {
			bad = true
			fmt.Printf("%10s BROKEN: %s\n", "", strings.Join(broken, "; "))
		}
	}
	if bad {
		os.Exit(1)
	}
}

const (
	// honest is the load beside an attack, datagrams a second.
	honest = 500
	// worse is how much of the p99 without an attack, measured right before, there may be
	// beside it, and noise what is nobody's fault where attacker, server, client and load
	// share the processor: a turn of the scheduler's.
	worse, noise = 2, 5 * time.Millisecond
	// tries is how often a mode is tried whose p99 is over that: others on the machine
	// are not the attack. A datagram that was lost, and memory, count at once.
	tries = 3
)

// attempt runs one mode and says which promises were broken.
func attempt(p *pair, a *attack) (broken []string) {
	load := func(d time.Duration) measure { return p.load(p.socks, honest, d) }
	if a.crowd > 0 {
		c, err := p.gather(a.crowd)
		defer c.stop()
		if err != nil {
			return []string{err.Error()}
		}
		load = func(d time.Duration) measure { return c.load(p, d) }
	}
	fmt.Printf("%-10s %s\n", a.name, a.what)
	for range tries {
		var slow string
		if slow, broken = once(p, a, load); slow == "" {
			return broken
		}
		broken = append(broken, slow)
		if len(broken) > 1 {
			return broken
		}
	}
	return broken
}

// once attacks one time. slow says that the honest load or another client had to wait too
// long, which a busy machine may have done.
func once(p *pair, a *attack, load func(time.Duration) measure) (slow string, broken []string) {
	alone := load(*lasting / 2)
	until := time.Now().Add(*lasting + 3*time.Second)
	most, server := p.server.peak(), p.server.cpu()
	before := p.server.state()
	begin := time.Now()
	other, err := p.attack(a, time.Until(until))
	if err != nil {
		return "", []string{err.Error()}
	}
	beside := load(*lasting)
	server, theirs := p.server.cpu()-server, other.cpu()
	took := time.Since(begin).Seconds()
	during := p.server.state()
	joined := p.join() // the attack goes on for as long
	r := other.result()
	peak := most()
	time.Sleep(time.Second)
	fmt.Printf("%10s %s\n%10s honest: %s; alone right before: %s; p99 %.1f times; another client joins in %v\n", "", r.Got,
		"", beside, alone, beside.p99.Seconds()/max(alone.p99.Seconds(), 1e-6), joined.Round(time.Millisecond))
	fmt.Printf("%10s server: %s before, %s during, at most %d MiB, %s after; processor: %.0f %% of a core, the attacker's %.0f %%; load of the machine %s\n",
		"", before, during, peak>>20, p.server.state(), 100*server.Seconds()/took, 100*theirs.Seconds()/took, machineLoad())
	if r.Broken != "" {
		broken = append(broken, r.Broken)
	}
	if beside.lost > 0 {
		broken = append(broken, fmt.Sprintf("the honest load lost %d of %d", beside.lost, beside.sent))
	}
	if peak > memory+memory/5 {
		broken = append(broken, fmt.Sprintf("the server had %d MiB, with limits.memory of %d MiB", peak>>20, memory>>20))
	}
	if !p.server.alive() {
		broken = append(broken, "the server has died")
	}
	switch {
	case joined > 2*time.Second:
		slow = "an honest client did not join within 2 s"
	case beside.p99 > worse*alone.p99 && beside.p99 > noise:
		slow = fmt.Sprintf("the honest p99 was %v, and %v without the attack", beside.p99.Round(time.Microsecond), alone.p99.Round(time.Microsecond))
	}
	return slow, broken
}
