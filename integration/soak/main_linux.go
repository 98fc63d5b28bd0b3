// Command soak runs a client and a server in namespaces of their own for a long time:
// 20 associations and 20 CONNECTs of mixed kinds, while paths die, change their
// addresses and lose packets, the server ends and comes back, either half is suspended,
// and name servers fail. It wants that no datagram is altered or doubled, none is lost
// while a path, a server and a client are there, that every stream's bytes are right or
// the stream is reset, and that memory and descriptors stay. It ends with 1 when one of
// these was broken.
//
//	go run ./integration/soak -mpsocks ./mpsocks [-for 1h] [-seed N]
//
// What happens, and when, follows from the seed; it is printed as it happens.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/mpsocks/mpsocks/integration/netlab"
)

func main() {
	netlab.Main()
	netlab.Hasten()
	program := flag.String("mpsocks", "./mpsocks", "the program")
	length := flag.Duration("for", time.Hour, "how long")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano())%1e6, "what happens")
	logs := flag.String("logs", "", "a file for what both halves said")
	verbose := flag.Bool("v", false, "the halves log at debug")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ok, err := run(ctx, *program, *seed, *length, *logs, *verbose)
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// run is a whole soak; ok says that there was no fault.
func run(ctx context.Context, program string, seed uint64, length time.Duration, logs string, verbose bool) (ok bool, err error) {
	if err := netlab.Available(); err != nil {
		return false, err
	}
	fmt.Printf("soak -for %v -seed %d\n", length, seed)
	s, err := start(program, length, verbose)
	if err != nil {
		return false, err
	}
	defer s.stop()
	defer func() {
		if logs != "" {
			err = errors.Join(err, os.WriteFile(logs, []byte(s.said()), 0o600))
		}
	}()
	before := s.footprints()
	s.report.say("at rest: client %v; server %v", before[0], before[1])
	s.traffic(ctx, seed, length, func(ctx context.Context) {
		s.happen(ctx, plan(seed, length, len(s.lab.Paths)))
	})
	// What the traffic needed is given back.
	pause(ctx, 10*time.Second)
	after := s.footprints()
	s.report.say("at rest again: client %v; server %v", after[0], after[1])
	for i, name := range []string{"client", "server"} {
		if !flat(before[i], after[i]) {
			s.report.fault("the %s had %v before and has %v after", name, before[i], after[i])
		}
	}
	return s.report.print(), ctx.Err()
}
