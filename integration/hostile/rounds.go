package main

import (
	"fmt"
	"time"
)

const (
	// honest is the load beside an attack, datagrams a second.
	honest = 500
	// soon is how long another client may take until it works beside an attack, which goes on
	// for so long after the window.
	soon = 2 * time.Second
	// rest is a pause after an attack, for what it leaves behind, and settled how long it may
	// take at most until its descriptors are closed: the next window is without it.
	rest, settled = 300 * time.Millisecond, time.Second
)

// A round is a window without an attack, one beside it at a server that nobody uses, and one
// beside it at the server of the honest load, with what that server did meanwhile.
type round struct {
	alone, elsewhere, beside measure
	joined                   time.Duration // until another client works
	peak                     int64         // the server's memory at most, bytes
	busy                     float64       // processor time of the server's, of one core
}

// measure does all rounds of an attack and says which promises were broken.
func (p *pair) measure(a *attack) (row, []string) {
	r := row{name: a.name, control: a.control}
	load := func() measure { return p.load(p.socks, honest, *lasting) }
	if a.crowd > 0 {
		c, err := p.gather(a.crowd)
		defer c.stop()
		if err != nil {
			return r, []string{err.Error()}
		}
		load = func() measure { return c.load(p, *lasting) }
	}
	fmt.Printf("%-10s %s\n", a.name, a.what)
	var broken []string
	for n := 0; n < *rounds || n < 3**rounds && (r.unsure() || r.control); n++ {
		one, wrong := p.round(a, load)
		r.rounds = append(r.rounds, one)
		broken = append(broken, wrong...)
	}
	if broken = append(broken, r.broken()...); !p.server.alive() {
		broken = append(broken, "the server has died")
	}
	return r, broken
}

// round does one. broken are promises of the attack itself.
func (p *pair) round(a *attack, load func() measure) (r round, broken []string) {
	r.alone = load()
	control, err := p.attack(a, p.elsewhere, *lasting)
	if err != nil {
		return r, []string{err.Error()}
	}
	r.elsewhere = load()
	control.result() // what it breaks there it breaks here
	time.Sleep(rest)

	files := p.server.descriptors()
	most, server, before, begin := p.server.peak(), p.server.cpu(), p.server.state(), time.Now()
	other, err := p.attack(a, p.at, *lasting+soon)
	if err != nil {
		most()
		return r, []string{err.Error()}
	}
	r.beside = load()
	took := time.Since(begin).Seconds()
	theirs := other.cpu().Seconds() / took
	r.busy = (p.server.cpu() - server).Seconds() / took
	during := p.server.state()
	r.joined = p.join()
	got := other.result()
	r.peak = most()
	time.Sleep(rest)
	for end := time.Now().Add(settled); p.server.descriptors() > files+16 && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
	fmt.Printf("%10s %s\n%10s honest: %s; beside the same elsewhere: %s; alone: %s; another client joins in %v\n", "", got.Got,
		"", r.beside, r.elsewhere, r.alone, r.joined.Round(time.Millisecond))
	fmt.Printf("%10s server: %s before, %s during, at most %d MiB, %s after; processor: %.0f %% of a core, the attacker's %.0f %%; load of the machine %s\n",
		"", before, during, r.peak>>20, p.server.state(), 100*r.busy, 100*theirs, machineLoad())
	if got.Broken != "" {
		broken = append(broken, got.Broken)
	}
	return r, broken
}
