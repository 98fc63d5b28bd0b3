// Command hostile starts a client and a server on loopback with an honest load between
// them, attacks the server in one way after the other, and says what it did to the
// honest load and to the server: each row of docs/security.md's table that names a mode
// is one of these. Each is measured in rounds of three windows: without an attack, beside
// the same attack at a server that nobody uses, which says what the machine costs, and
// beside the attack at this one. The first row has no attack at all and says what the measure
// is worth. A table comes last. It ends with 1 when a promise was broken; see row.broken.
//
//	go run ./integration/hostile -mpsocks ./mpsocks [-only MODE,…] [-for 3s] [-rounds 3]
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
	rounds  = flag.Int("rounds", 3, "how often each attack is measured; three times as often where the rounds do not agree about the goal")
	// What the program gives itself as a process of its own, so that attacks are not in
	// the way of what measures.
	mode    = flag.String("attack", "", "only this attack, on a server that runs")
	at      = flag.String("at", "", "the server's address, for -attack")
	file    = flag.String("conf", "", "the attacker's configuration, for -attack")
	lasting = flag.Duration("for", 3*time.Second, "how long a window is")
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
	// control is that it is none: its row says what the measure itself is worth.
	control bool
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
	wrong := func(broken []string) {
		if len(broken) > 0 {
			bad = true
			fmt.Printf("%10s BROKEN: %s\n", "", strings.Join(broken, "; "))
		}
	}
	var rows []row
	begin := machineLoad()
	for _, a := range attacks {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), a.name) {
			continue
		}
		r, broken := p.measure(&a)
		rows = append(rows, r)
		wrong(broken)
	}
	p.stop()
	if *only == "" || slices.Contains(strings.Split(*only, ","), "server") {
		said, broken := underEvil(*program, *lasting)
		fmt.Printf("%-10s a server with the right key that breaks the rules, %d in turn\n%10s %s\n", "server", len(evils), "", said)
		wrong(broken)
	}
	if len(rows) > 0 {
		fmt.Printf("\nLoad of the machine before: %s, and after: %s.\n\n%s\n%s", begin, machineLoad(), table(rows), verdicts(rows))
	}
	if bad {
		os.Exit(1)
	}
}
