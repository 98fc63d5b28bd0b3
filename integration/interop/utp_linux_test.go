package interop

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
	"github.com/mpsocks/mpsocks/integration/netlab"
)

// needLibtorrent skips a test whose libtorrent is missing.
func needLibtorrent(t *testing.T) {
	t.Helper()
	if err := exec.Command(python, "-c", "import libtorrent").Run(); err != nil {
		t.Skip("python3-libtorrent is not installed: make interop installs it from Debian where it may")
	}
}

// A swarm is a torrent with its seed, which stands at an address.
type swarm struct {
	dir  string
	seed netip.AddrPort
}

// newSwarm starts the seed, by in, which puts a command where the address is.
func newSwarm(t *testing.T, in []string, at netip.AddrPort, size int64) *swarm {
	t.Helper()
	dir := t.TempDir()
	s := &swarm{dir: dir, seed: at}
	args := append(in, python, "testdata/utp.py", "seed", s.seed.Addr().String(), strconv.Itoa(int(s.seed.Port())), dir, strconv.FormatInt(size, 10))
	cmd := exec.Command(args[0], args[1:]...)
	alive, err := cmd.StdinPipe() // its end is the seed's
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		alive.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the seed: %v: %s", err, &said)
		}
	})
	for range 1200 { // it writes and hashes all of it first
		if _, err := os.Stat(filepath.Join(dir, "data.torrent")); err == nil {
			return s
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("the seed does not come up")
	return nil
}

// fetch has somebody fetch through a proxy for some seconds, and returns the bit/s of the
// payload.
func (s *swarm) fetch(t *testing.T, in []string, proxy string, seconds float64) float64 {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(s.dir, "fetched")); err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(proxy)
	if err != nil {
		t.Fatal(err)
	}
	args := append(in, python, "testdata/utp.py", "fetch", host, port, s.seed.Addr().String(), strconv.Itoa(int(s.seed.Port())), s.dir, fmt.Sprint(seconds))
	out := output(t, time.Minute, args[0], args[1:]...)
	rate, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
	if err != nil {
		t.Fatalf("%q: %v", out, err)
	}
	return 8 * rate
}

// TestUTP has BitTorrent's uTP, which nobody here knows, fetch over as many subflows as
// `auto` makes: on loopback, where the machine is all that limits, not much slower than
// over one subflow.
func TestUTP(t *testing.T) {
	needLibtorrent(t)
	s := newSwarm(t, nil, freePort(t), 2<<30)
	measure := func(c halves.Config) float64 {
		c.Dir, c.Allow = t.TempDir(), loopback
		p, err := halves.Start(mpsocks, c)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Kill()
		return s.fetch(t, nil, p.Proxy(), 4)
	}
	// uTP yields to every delay, also to one that the machine makes: what it gets differs by
	// half from one time to the next, so that the best of each counts.
	var one, all float64
	for range 6 {
		one = max(one, measure(halves.Config{Paths: []halves.Path{{Name: "one", Bind: "127.0.0.1", Subflows: 1}}}))
		all = max(all, measure(halves.Config{Paths: []halves.Path{{Name: "one", Bind: "127.0.0.1", Subflows: 6}, {Name: "two", Bind: "127.0.0.2", Subflows: 6}}}))
		t.Logf("uTP, best so far: one subflow %.0f Mbit/s, two paths of six %.0f: %.2f", one/1e6, all/1e6, all/one)
		if all >= .8*one {
			return
		}
	}
	t.Errorf("uTP over all subflows has %.2f of the rate over one, less than 0.8", all/one)
}

// TestUTPOverTwoPaths has it use two equal paths of 40 Mbit/s.
func TestUTPOverTwoPaths(t *testing.T) {
	needLibtorrent(t)
	if err := netlab.Available(); err != nil {
		t.Skip(err)
	}
	link := netlab.Link{Rate: netlab.Mbit(40), Delay: 5 * time.Millisecond}
	lab, err := netlab.New(netlab.Symmetric("a", link), netlab.Symmetric("b", link))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lab.Close() })
	enter := func(n *netlab.Namespace) []string { return []string{"ip", "netns", "exec", n.Name} }
	s := newSwarm(t, enter(lab.World), netip.AddrPortFrom(netlab.World, 6881), 256<<20)
	measure := func(paths ...halves.Path) float64 {
		c := halves.Config{
			Dir: t.TempDir(), Socks: []netip.AddrPort{freePort(t)}, Tunnel: netip.AddrPortFrom(netlab.Server, freePort(t).Port()),
			Paths: paths, Allow: []string{netlab.World.String()},
		}
		if err := c.Write(mpsocks); err != nil {
			t.Fatal(err)
		}
		for _, h := range []struct {
			n    *netlab.Namespace
			args []string
		}{{lab.World, []string{"server", "-c", c.ServerFile}}, {lab.Client, []string{"client", "-c", c.ClientFile}}} {
			args := append(enter(h.n), mpsocks)
			p, err := halves.Run(args[0], append(args[1:], h.args...)...)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				p.Kill()
				if t.Failed() {
					t.Logf("%s said:\n%s", h.args[0], p.Output())
				}
			}()
		}
		listening(t, lab.Client, c.Socks[0])
		time.Sleep(time.Second) // until all subflows have joined
		return s.fetch(t, enter(lab.Client), c.Socks[0].String(), 8)
	}
	best := 0.0
	for range 3 {
		one := measure(halves.Path{Name: "a", Bind: "a", Subflows: 6})
		both := measure(halves.Path{Name: "a", Bind: "a", Subflows: 6}, halves.Path{Name: "b", Bind: "b", Subflows: 6})
		t.Logf("uTP: one path %.1f Mbit/s, both %.1f: %.2f", one/1e6, both/1e6, both/one)
		if best = max(best, both/one); best >= 1.5 {
			return
		}
	}
	t.Errorf("uTP over two equal paths has %.2f of the rate over one, less than 1.5", best)
}

// listening waits until somebody listens there.
func listening(t *testing.T, n *netlab.Namespace, at netip.AddrPort) {
	t.Helper()
	for range 200 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		c, err := n.Dial(ctx, "tcp", netip.Addr{}, at)
		cancel()
		if err == nil {
			c.Close()
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("nobody listens at %v", at)
}
