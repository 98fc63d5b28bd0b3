package e2e

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
)

// mpsocks is the program under test, built once for all tests.
var mpsocks string

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() || runtime.GOOS != "linux" {
		fmt.Println("e2e: skipped: needs Linux and time (no -short)")
		os.Exit(0)
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if mpsocks = os.Getenv("E2E_BIN"); mpsocks == "" {
		dir, err := os.MkdirTemp("", "mpsocks-e2e-")
		if err != nil {
			fmt.Fprintln(os.Stderr, "e2e:", err)
			return 1
		}
		defer os.RemoveAll(dir)
		if mpsocks, err = halves.Build(context.Background(), dir); err != nil {
			fmt.Fprintln(os.Stderr, "e2e:", err)
			return 1
		}
	}
	code := m.Run()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	return code
}

// begin starts both halves for one test; what they said is shown when it
// fails.
func begin(t *testing.T, c halves.Config) *halves.Pair {
	t.Helper()
	c.Dir = t.TempDir()
	if c.Allow == nil {
		c.Allow = []string{"127.0.0.0/8", "::1/128"}
	}
	if len(c.Paths) == 0 {
		c.Paths = halves.TwoPaths()
	}
	if len(c.Socks) == 0 {
		c.Socks = ports(t, 1)
	}
	p, err := halves.Start(mpsocks, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("client said:\n%s", p.Client.Output())
			t.Logf("server said:\n%s", p.Server.Output())
		}
	})
	return p
}

func ports(t *testing.T, n int) []netip.AddrPort {
	t.Helper()
	found, err := halves.FreePorts(n)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// eventually asks until ok, and returns how long that took.
func eventually(t *testing.T, limit time.Duration, what string, ok func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	if !within(limit, ok) {
		t.Fatalf("%s: not within %v", what, limit)
	}
	return time.Since(start)
}

// within asks until ok, and says whether that was in time.
func within(limit time.Duration, ok func() bool) bool {
	for end := time.Now().Add(limit); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// soonest measures until it was within a time, three times at most, and returns the least: a
// machine that runs other tests beside is away now and then, and what is slow is so each time.
func soonest(within time.Duration, measure func() time.Duration) time.Duration {
	least := measure()
	for try := 1; try < 3 && least > within; try++ {
		least = min(least, measure())
	}
	return least
}
