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
	lasting = flag.Duration("for", 5*time.Second, "how long each attack lasts")
)

// An attack is one mode.
type attack struct {
	name string
	what string
	// run attacks until the time is over and says what it got; broken is why a promise
	// is broken, "" if none is.
	run func(p *pair, until time.Time) (got, broken string)
}

func main() {
	flag.Parse()
	p, err := start(*program)
	if err != nil {
		fmt.Fprintln(os.Stderr, "hostile:", err)
		os.Exit(1)
	}
	bad := false
	alone := p.load(*lasting / 2)
	fmt.Printf("%-10s %s; server %s\n", "alone", alone, p.server.state())
	for _, a := range attacks {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), a.name) {
			continue
		}
		until := time.Now().Add(*lasting + 3*time.Second)
		type result struct{ got, broken string }
		done := make(chan result, 1)
		go func() {
			got, broken := a.run(p, until)
			done <- result{got, broken}
		}()
		beside := p.load(*lasting)
		during := p.server.state()
		joined := p.join() // the attack goes on for as long
		r := <-done
		time.Sleep(time.Second)
		fmt.Printf("%-10s %s\n%10s %s\n%10s honest: %s; another client joins in %v\n%10s server: %s; after: %s\n",
			a.name, a.what, "", r.got, "", beside, joined.Round(time.Millisecond), "", during, p.server.state())
		var broken []string
		if r.broken != "" {
			broken = append(broken, r.broken)
		}
		if beside.lost > 0 {
			broken = append(broken, fmt.Sprintf("the honest load lost %d of %d", beside.lost, beside.sent))
		}
		if joined > 2*time.Second {
			broken = append(broken, "an honest client did not join within 2 s")
		}
		if !p.server.alive() {
			broken = append(broken, "the server has died")
		}
		if len(broken) > 0 {
			bad = true
			fmt.Printf("%10s BROKEN: %s\n", "", strings.Join(broken, "; "))
		}
	}
	p.stop()
	if bad {
		os.Exit(1)
	}
}
