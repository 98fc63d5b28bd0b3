package dialer

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What was found once is used when it is not found again, and asked for again when
// it is old, or when nothing of it answers.
func TestLookupIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		found := []netip.Addr{netip.MustParseAddr("192.0.2.1")}
		n := NewNames(func(context.Context, *Way, string) ([]netip.Addr, error) {
			if asked++; asked == 2 {
				return nil, errors.New("no")
			}
			return found, nil
		})
		var tasks sync.WaitGroup
		ask := func(want int) {
			t.Helper()
			n.Ask(t.Context(), tasks.Go, &Way{}, "server.test")
			tasks.Wait()
			if asked != want {
				t.Errorf("asked %d times, want %d", asked, want)
			}
			if addrs, _, _ := n.Known("server.test", nil); len(addrs) != 1 {
				t.Errorf("known: %v", addrs)
			}
		}
		ask(1)
		ask(1)
		time.Sleep(lookupFresh + time.Second)
		ask(2)
		ask(3)
		ask(3)
		n.Doubt("server.test")
		ask(4)
	})
}

// A path's resolver asks from the path's address.
func TestResolverIsBound(t *testing.T) {
	way := Way{Local: netip.AddrFrom4([4]byte{127, 0, 0, 7}), KernelMPTCP: true}
	u, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	conn, err := way.dialResolver(t.Context(), "udp", u.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr(); got != way.Local {
		t.Errorf("asks from %v", got)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	conn, err = way.dialResolver(t.Context(), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := conn.LocalAddr().(*net.TCPAddr).AddrPort().Addr(); got != way.Local {
		t.Errorf("asks from %v", got)
	}
}

// A failure is said once: its words do not change from one lookup to the next.
func TestLookupErrorIsPlain(t *testing.T) {
	a := plainDNS(&net.DNSError{Name: "server.test", Server: "192.0.2.1:53", Err: "read udp 192.0.2.9:40001->192.0.2.1:53: i/o timeout", IsTimeout: true})
	if got := a.Error(); got != "lookup server.test: no answer" {
		t.Error(got)
	}
}

// Resolvers need not agree: a path dials first what its own one says, and then what the
// others do, whoever answers first. A captive portal's names itself.
func TestResolversDisagree(t *testing.T) {
	portal, server := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.1")
	lte := &Way{Interface: "wwan0"}
	n := NewNames(func(_ context.Context, way *Way, _ string) ([]netip.Addr, error) {
		if way == nil {
			return []netip.Addr{portal}, nil
		}
		return []netip.Addr{server}, nil
	})
	var lookups []func()
	n.Ask(t.Context(), func(f func()) { lookups = append(lookups, f) }, lte, "server.test")
	for _, f := range lookups { // the default route's answer is there first
		f()
	}
	for _, tt := range []struct {
		way  *Way
		want []netip.Addr
	}{{lte, []netip.Addr{server, portal}}, {nil, []netip.Addr{portal, server}}} {
		if got, _, _ := n.Known("server.test", tt.way); !slices.Equal(got, tt.want) {
			t.Errorf("by %v: %v, want %v", tt.way, got, tt.want)
		}
	}
}

// Answers of bindings that are gone are forgotten in the end.
func TestAnswersAreBounded(t *testing.T) {
	var n serverName
	for i := range 3 * maxAnswers {
		n.answered(strconv.Itoa(i), []netip.Addr{{}}, time.Now(), time.Now())
		n.answered(strconv.Itoa(i), []netip.Addr{{}}, time.Now(), time.Now())
	}
	if len(n.answers) != maxAnswers {
		t.Errorf("%d answers", len(n.answers))
	}
}

// A lookup that asks a name server which is silent does not keep others from asking the one that
// there is by now; what the first one brings at last does not count any more.
func TestLookupBesideASilentOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lookups sync.WaitGroup
		old, now := netip.MustParseAddr("192.168.1.1"), netip.MustParseAddr("203.0.113.5")
		first := true
		r := NewNames(func(ctx context.Context, _ *Way, _ string) ([]netip.Addr, error) {
			if first {
				first = false
				time.Sleep(5 * time.Second)
				return []netip.Addr{old}, nil
			}
			return []netip.Addr{now}, nil
		})
		ask := func() (addrs []netip.Addr) {
			r.Ask(t.Context(), lookups.Go, nil, "home.example")
			synctest.Wait()
			addrs, _, _ = r.Known("home.example", nil)
			return addrs
		}
		ask()
		time.Sleep(lookupAgain / 2)
		if got := ask(); got != nil {
			t.Errorf("%v is known soon", got)
		}
		time.Sleep(lookupAgain / 2)
		if got := ask(); len(got) != 1 || got[0] != now {
			t.Errorf("%v is known after %v", got, lookupAgain)
		}
		lookups.Wait()
		if got, asking, _ := r.Known("home.example", nil); len(got) != 1 || got[0] != now || asking {
			t.Errorf("%v is known at last, asking %v", got, asking)
		}
	})
}
