package names

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/mpsocks/mpsocks/server/names/namestest"
)

// few is a Resolver with so many places, whose name server is ask.
func few(t *testing.T, all, each int, ask func(context.Context, netip.AddrPort, []byte, int) ([]byte, error)) *Resolver {
	return New(t.Context(), Config{All: all, Each: each, Sources: Sources{
		Upstreams: upstreams(netip.MustParseAddrPort("192.0.2.53:53")), Hosts: namestest.None, Ask: ask,
	}})
}

// kindOf is what a query asks for.
func kindOf(msg []byte) dnsmessage.Type { return dnsmessage.Type(msg[len(msg)-3]) }

// TestLookupsAskInOrder: of names for which there is no place the first is asked for first, and
// another client's does not wait for all of them.
func TestLookupsAskInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var order []string
		late := namestest.Late(100 * time.Millisecond)
		r := few(t, 1, 1, func(ctx context.Context, to netip.AddrPort, msg []byte, end int) ([]byte, error) {
			if kindOf(msg) == dnsmessage.TypeA {
				mu.Lock()
				order = append(order, namestest.Unpack(t, msg).Questions[0].Name.String())
				mu.Unlock()
			}
			return late(ctx, to, msg, end)
		})
		var greedy, modest Client
		var all sync.WaitGroup
		look := func(c *Client, name string) {
			all.Go(func() {
				if got, _ := r.Lookup(t.Context(), c, name, func() {}); got.Err != nil {
					t.Errorf("%s: %v", name, got.Err)
				}
			})
			synctest.Wait()
		}
		look(&greedy, "first.test")
		for i, name := range []string{"a.test", "b.test", "c.test", "d.test"} {
			look(&greedy, name)
			if n := r.asking.Waiting(&greedy.asking); n != i+1 {
				t.Errorf("%d wait", n)
			}
		}
		look(&modest, "x.test")
		all.Wait()
		if want := []string{"first.test.", "x.test.", "a.test.", "b.test.", "c.test.", "d.test."}; !slices.Equal(order, want) {
			t.Errorf("asked in the order %v, want %v", order, want)
		}
		if n := r.Held(); n != 0 {
			t.Errorf("%d places are held", n)
		}
	})
}

// TestQueriesAndLookupsShareTheirPlaces: a client has so many names asked for at once, in
// whatever way.
func TestQueriesAndLookupsShareTheirPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := few(t, 4, 2, namestest.Late(time.Second))
		var c, other Client
		give, ok := r.Take(&c)
		if !ok {
			t.Fatal("there is no place")
		}
		go r.Lookup(t.Context(), &c, "a.test", func() {})
		synctest.Wait()
		if _, ok := r.Take(&c); ok || r.Held() != 2 {
			t.Errorf("a third place: %v, of %d", ok, r.Held())
		}
		begun := time.Now()
		give()
		give()
		if got, _ := r.Lookup(t.Context(), &c, "b.test", func() {}); got.Err != nil || time.Since(begun) != time.Second {
			t.Errorf("%v after %v", got.Err, time.Since(begun))
		}
		if _, ok := r.Take(&other); !ok {
			t.Error("another client has no place")
		}
		time.Sleep(queryTimeout + time.Second)
		if n := r.Held(); n != 0 {
			t.Errorf("%d places are held", n)
		}
	})
}

// TestAPlaceIsHeldUntilAllIsAnswered: also when the addresses of one family were there long before.
func TestAPlaceIsHeldUntilAllIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := namestest.Late(time.Second)
		r := few(t, 4, 2, func(ctx context.Context, to netip.AddrPort, msg []byte, end int) ([]byte, error) {
			if kindOf(msg) == dnsmessage.TypeAAAA {
				m := namestest.Unpack(t, msg)
				m.Response = true
				return namestest.AddAAAA(m, 60, "2001:db8::1").Pack()
			}
			return late(ctx, to, msg, end)
		})
		begun := time.Now()
		got, more := r.Lookup(t.Context(), new(Client), "both.test", func() {})
		if got.Err != nil || more == nil || time.Since(begun) != 0 || r.Held() != 1 {
			t.Fatalf("%v after %v, %d places are held", got, time.Since(begun), r.Held())
		}
		if four := <-more; len(four.Addrs) != 1 || time.Since(begun) != time.Second || r.Held() != 0 {
			t.Errorf("%v after %v, %d places are held", four, time.Since(begun), r.Held())
		}
	})
}

// TestALateNameHoldsNoPlace: after five seconds others need not wait for it any more, and it may
// still be answered.
func TestALateNameHoldsNoPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := few(t, 64, 64, namestest.Late(6*time.Second))
		begun := time.Now()
		told := make(chan time.Duration, 1)
		got, _ := r.Lookup(t.Context(), new(Client), "late.test", func() { told <- time.Since(begun) })
		if got.Err != nil || time.Since(begun) != 6*time.Second || r.Held() != 0 {
			t.Errorf("%v after %v, %d places are held", got, time.Since(begun), r.Held())
		}
		if after := <-told; after != queryTimeout {
			t.Errorf("told after %v", after)
		}
	})
}

// Names that are being resolved take no more sockets than what the server leaves for them, a
// quarter of the files and 4,096 at most.
func TestLookupsFitTheFiles(t *testing.T) {
	for files, want := range map[int][2]int{0: {512, 128}, 1 << 20: {512, 128}, 32768: {512, 128}, 16384: {256, 64}, 1024: {16, 4}, 128: {4, 2}} {
		if all, each := lookups(files); all != want[0] || each != want[1] {
			t.Errorf("of %d files: %d in all and %d each, want %v", files, all, each, want)
		} else if most := min(files/4, 4096); files > 1000 && all*mostAsked > most {
			t.Errorf("of %d files %d lookups may take %d, where %d are left", files, all, all*mostAsked, most)
		}
	}
}
