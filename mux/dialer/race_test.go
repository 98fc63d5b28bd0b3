package dialer

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var (
	first  = netip.MustParseAddrPort("192.0.2.1:7443")
	second = netip.MustParseAddrPort("192.0.2.2:7443")
)

// a fake address: how long TCP takes, how long the proof takes after that, and from
// which segment size on nothing gets through.
type fakeAddr struct {
	tcp, proof time.Duration
	loses      int // segments of more bytes; 0 = none
	refuses    bool
	away       time.Duration // proves nothing before that, and then all at once
	lost       time.Duration // proves nothing on what was begun before that
	breaks     time.Duration // is silent until then, and ends what was begun before
}

const never = time.Hour

func run(t *testing.T, addrs map[netip.AddrPort]fakeAddr, order ...netip.AddrPort) (res *Result[netip.AddrPort], failed []netip.AddrPort, took time.Duration, err error) {
	t.Helper()
	var tasks sync.WaitGroup
	var made, dropped atomic.Int64
	defer func() { // whatever was made is the winner's or given back
		tasks.Wait()
		kept := int64(0)
		if res != nil {
			kept = 1
		}
		if made.Load() != dropped.Load()+kept {
			t.Errorf("%d were made, %d given back, %d won", made.Load(), dropped.Load(), kept)
		}
	}()
	start := time.Now()
	wait := func(ctx context.Context, d time.Duration) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	r := Race[netip.AddrPort]{
		Targets: func() ([]netip.AddrPort, bool) { return slices.Clone(order), false },
		Try: func(ctx context.Context, a netip.AddrPort, mtu int, connected func(time.Duration)) (netip.AddrPort, error) {
			f, began := addrs[a], time.Now()
			dial, cancel := context.WithTimeout(ctx, 1200*time.Millisecond)
			defer cancel()
			if err := wait(dial, f.tcp); err != nil {
				return a, err
			}
			if f.refuses {
				return a, errors.New("refused")
			}
			connected(time.Since(began))
			if f.loses != 0 && (mtu == 0 || mtu > f.loses) {
				f.proof = never
			}
			if time.Since(start) < f.lost {
				f.proof = never
			}
			if left := f.breaks - time.Since(start); left > 0 {
				if err := wait(ctx, left); err != nil {
					return a, err
				}
				return a, errors.New("broken")
			}
			if left := f.away - time.Since(start); left > 0 {
				// The smallest segments come through first.
				f.proof = left + time.Duration(mtu/1300)*20*time.Millisecond
				if mtu == 0 {
					f.proof += 60 * time.Millisecond
				}
			}
			proof, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			err := wait(proof, f.proof)
			if err == nil {
				made.Add(1)
			}
			return a, err
		},
		Drop: func(netip.AddrPort) { dropped.Add(1) }, Go: tasks.Go, Timeout: 1200 * time.Millisecond,
	}
	began := time.Now()
	res, failed, err = r.Run(t.Context())
	return res, failed, time.Since(began), err
}

// Whoever proves to be the server wins, and not who takes a connection; what is on
// the way loses little time.
func TestRace(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name          string
		first, second fakeAddr
		winner        netip.AddrPort
		within        time.Duration
		mtu           int
		beaten        bool
	}{
		{"the first works", fakeAddr{tcp: 20 * ms, proof: 20 * ms}, fakeAddr{}, first, 50 * ms, 0, false},
		{"the first is far", fakeAddr{tcp: 300 * ms, proof: 400 * ms}, fakeAddr{tcp: 2 * time.Second}, first, 710 * ms, 0, false},
		{"the first hangs", fakeAddr{tcp: 20 * ms, proof: never}, fakeAddr{tcp: 20 * ms, proof: 20 * ms}, second, 400 * ms, 0, true},
		{"the first is dead", fakeAddr{tcp: never}, fakeAddr{tcp: 20 * ms, proof: 20 * ms}, second, 400 * ms, 0, true},
		{"the first refuses", fakeAddr{tcp: 20 * ms, refuses: true}, fakeAddr{tcp: 20 * ms, proof: 20 * ms}, second, 100 * ms, 0, true},
		{"PPPoE", fakeAddr{tcp: 20 * ms, proof: 20 * ms, loses: 1492}, fakeAddr{tcp: never}, first, 1000 * ms, 1492, false},
		{"LTE", fakeAddr{tcp: 20 * ms, proof: 20 * ms, loses: 1428}, fakeAddr{tcp: never}, first, 1000 * ms, 1400, false},
		{"IPv6's least", fakeAddr{tcp: 20 * ms, proof: 20 * ms, loses: 1280}, fakeAddr{tcp: never}, first, 1000 * ms, 1280, false},
		{"a tunnel in a tunnel", fakeAddr{tcp: 20 * ms, proof: 20 * ms, loses: 1200}, fakeAddr{tcp: never}, first, 1400 * ms, 1000, false},
		{"IPv4's least", fakeAddr{tcp: 20 * ms, proof: 20 * ms, loses: 576}, fakeAddr{tcp: never}, first, 1850 * ms, 576, false},
		{"PPPoE to afar", fakeAddr{tcp: 250 * ms, proof: 250 * ms, loses: 1492}, fakeAddr{tcp: never}, first, 2600 * ms, 1492, false},
		{"it was away", fakeAddr{tcp: 20 * ms, proof: 20 * ms, away: 3 * time.Second}, fakeAddr{tcp: never}, first, 3250 * ms, 0, false},
		{"a balancer lost its server", fakeAddr{tcp: 20 * ms, proof: 20 * ms, lost: 1200 * ms}, fakeAddr{tcp: never}, first, 1600 * ms, 0, false},
		{"a balancer finds another server late", fakeAddr{tcp: 20 * ms, proof: 20 * ms, lost: 4200 * ms}, fakeAddr{tcp: never}, first, 5100 * ms, 0, false},
		{
			"a balancer leads elsewhere when it has seen that its server hangs",
			fakeAddr{tcp: 20 * ms, proof: never},
			fakeAddr{tcp: 20 * ms, proof: 20 * ms, breaks: 3 * time.Second},
			second, 3300 * ms, 0, true,
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			res, _, took, err := run(t, map[netip.AddrPort]fakeAddr{first: c.first, second: c.second}, first, second)
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			if res.Addr != c.winner || took > c.within || res.MTU != c.mtu {
				t.Errorf("%s: %v won after %v with segments of %d", c.name, res.Addr, took, res.MTU)
			}
			if res.Lossy {
				t.Errorf("%s: small packets are said to be lost", c.name)
			}
			if got := slices.Contains(res.Beaten, first); got != c.beaten {
				t.Errorf("%s: beaten %v", c.name, res.Beaten)
			}
		})
	}
}

// A way that loses four of ten packets of any size is not said to lose large ones alone: whichever size
// gets through first does so by chance.
func TestRaceWhereAllSizesGetLost(t *testing.T) {
	const races, loss = 1000, 0.4
	small, believed := 0, 0
	for seed := range uint64(races) {
		synctest.Test(t, func(t *testing.T) {
			var tasks sync.WaitGroup
			defer tasks.Wait()
			var tries atomic.Uint64
			r := Race[int]{
				Targets: func() ([]netip.AddrPort, bool) { return []netip.AddrPort{first}, false },
				Try: func(ctx context.Context, _ netip.AddrPort, mtu int, connected func(time.Duration)) (int, error) {
					rnd := rand.New(rand.NewPCG(seed, tries.Add(1)))
					// pass is a packet that is answered, again after a second, three, seven, …
					pass := func(most time.Duration) error {
						ctx, cancel := context.WithTimeout(ctx, most)
						defer cancel()
						for again := time.Second; rnd.Float64() > (1-loss)*(1-loss); again *= 2 {
							select {
							case <-time.After(again):
							case <-ctx.Done():
								return ctx.Err()
							}
						}
						select {
						case <-time.After(300 * time.Millisecond):
							return nil
						case <-ctx.Done():
							return ctx.Err()
						}
					}
					began := time.Now()
					if err := pass(5 * time.Second); err != nil {
						return 0, err
					}
					connected(time.Since(began))
					return 0, pass(5 * time.Second)
				},
				Drop: func(int) {}, Go: tasks.Go, Timeout: 5 * time.Second,
			}
			res, _, err := r.Run(t.Context())
			if err != nil || res.MTU == 0 {
				return
			}
			if small++; !res.Lossy {
				believed++
			}
		})
	}
	t.Logf("of %d races %d were won by small packets, of which %d said that larger ones get lost", races, small, believed)
	if small < races/200 || believed > races/500 {
		t.Error("that is too few, or too many")
	}
}

// Where nobody proves anything all are said to have failed, with the reason of the
// first, and no address begins after the time for that.
func TestRaceLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		res, failed, took, err := run(t, map[netip.AddrPort]fakeAddr{first: {tcp: never}, second: {refuses: true}}, first, second)
		if res != nil || err == nil || len(failed) != 2 || took > 2*time.Second {
			t.Errorf("%v, %v, %v after %v", res, failed, err, took)
		}
	})
}

// Where all take connections and say nothing, that is said soon and once, and who becomes
// known by it is tried at once.
func TestRaceIsSilent(t *testing.T) {
	for _, known := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var tasks sync.WaitGroup
			defer tasks.Wait()
			start, said := time.Now(), []time.Duration(nil)
			targets := []netip.AddrPort{first}
			r := Race[netip.AddrPort]{
				Targets: func() ([]netip.AddrPort, bool) { return slices.Clone(targets), false },
				Try: func(ctx context.Context, a netip.AddrPort, _ int, connected func(time.Duration)) (netip.AddrPort, error) {
					connected(0)
					if a == first {
						<-ctx.Done()
					}
					return a, ctx.Err()
				},
				Drop: func(netip.AddrPort) {}, Go: tasks.Go, Timeout: 100 * time.Millisecond,
				Silent: func(err *SilentError) {
					if !slices.Equal(err.Addrs, []netip.AddrPort{first}) {
						t.Errorf("said of %v", err.Addrs)
					}
					if said = append(said, time.Since(start)); known {
						targets = append(targets, second)
					}
				},
			}
			res, failed, err := r.Run(t.Context())
			took := time.Since(start)
			if len(said) != 1 || said[0] > suspectAfter+2*step {
				t.Errorf("known %v: said after %v", known, said)
			}
			var silence *SilentError
			switch {
			case known && (err != nil || res.Addr != second || took > suspectAfter+4*step):
				t.Errorf("%v, %v after %v", res, err, took)
			case !known && (!errors.As(err, &silence) || len(failed) != 1 || took < retryFor || took > retryFor+2*stall):
				t.Errorf("%v, failed %v after %v", err, failed, took)
			}
		})
	}
}

// An address that failed stands behind the others for a while, ever longer, and
// comes back; so does one that proves itself. Another server comes last until the
// session is a new one.
func TestBook(t *testing.T) {
	var b Book
	now := time.Unix(1e9, 0)
	order := func(live ...netip.AddrPort) netip.AddrPort {
		addrs := []netip.AddrPort{first, second}
		b.Order(addrs, live, now)
		return addrs[0]
	}
	if order() != first || order(second) != second {
		t.Error("not in their order, or not those of live subflows first")
	}
	b.Failed(first, now)
	b.Failed(first, now) // several slots at once
	if order() != second {
		t.Error("one that failed is first")
	}
	now = now.Add(failFirst)
	if order() != first {
		t.Error("it does not come back")
	}
	b.Failed(first, now)
	now = now.Add(failFirst)
	if order() != second {
		t.Error("the second time is not longer")
	}
	b.Proved(first, now)
	if order() != first {
		t.Error("one that proved itself is not first")
	}
	b.Unknown(first, now)
	b.Failed(second, now)
	if order() != second || !b.Hopeless([]netip.AddrPort{first, second}, now) {
		t.Error("another server comes before one that failed")
	}
	b.Renew()
	if order() != first {
		t.Error("a new session has no other server")
	}
	for i := range 2 * maxRecords {
		b.Failed(netip.AddrPortFrom(first.Addr(), uint16(i+1)), now)
	}
	if len(b.records) > maxRecords {
		t.Errorf("%d records", len(b.records))
	}
}

// Packets of a segment with the headers of its family are as large as the MTU, and no
// larger.
func TestSegment(t *testing.T) {
	four, six := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	for _, tt := range []struct {
		mtu  int
		to   netip.Addr
		want int
	}{
		{0, four, 0},
		{1492, four, 1452},
		{1492, six, 1432},
		{1400, four, 1360},
		{1280, six, 1220},
		{1492, netip.MustParseAddr("::ffff:192.0.2.1"), 1452},
	} {
		if got := Segment(tt.mtu, tt.to); got != tt.want {
			t.Errorf("MTU %d to %s: %d, want %d", tt.mtu, tt.to, got, tt.want)
		}
	}
}

// Where the first address is likely to be gone, the second one waits for less.
func TestShortHeadStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tasks sync.WaitGroup
		defer tasks.Wait()
		start := time.Now()
		r := Race[netip.AddrPort]{
			Targets: func() ([]netip.AddrPort, bool) { return []netip.AddrPort{first, second}, false },
			Try: func(ctx context.Context, a netip.AddrPort, _ int, connected func(time.Duration)) (netip.AddrPort, error) {
				connected(0)
				if a == first {
					<-ctx.Done()
				}
				return a, ctx.Err()
			},
			Drop: func(netip.AddrPort) {}, Go: tasks.Go, Timeout: time.Second, Stagger: 100 * time.Millisecond,
		}
		res, _, err := r.Run(t.Context())
		if err != nil || res.Addr != second || time.Since(start) > 100*time.Millisecond+2*step {
			t.Errorf("%v, %v after %v", res, err, time.Since(start))
		}
	})
}

// On a path that seems to lose large packets small ones are tried at once, and of those that get
// through the largest win.
func TestRaceOnANarrowPath(t *testing.T) {
	for most, want := range map[int]int{1492: 1492, 1300: 1280, 0: 0} {
		synctest.Test(t, func(t *testing.T) {
			var tasks sync.WaitGroup
			defer tasks.Wait()
			start := time.Now()
			r := Race[netip.AddrPort]{
				Targets: func() ([]netip.AddrPort, bool) { return []netip.AddrPort{first}, false },
				Try: func(ctx context.Context, a netip.AddrPort, mtu int, connected func(time.Duration)) (netip.AddrPort, error) {
					connected(0)
					if most != 0 && (mtu == 0 || mtu > most) {
						<-ctx.Done()
						return a, ctx.Err()
					}
					time.Sleep(20 * time.Millisecond)
					return a, nil
				},
				Drop: func(netip.AddrPort) {}, Go: tasks.Go, Timeout: time.Second, Narrow: true,
			}
			res, _, err := r.Run(t.Context())
			if err != nil || res.MTU != want || time.Since(start) > 2*grace {
				t.Errorf("%d get through: %+v, %v after %v", most, res, err, time.Since(start))
			}
		})
	}
}

// What a name server that blocks a name gives is not dialled.
func TestNamesOfNoHost(t *testing.T) {
	zero, host := netip.IPv4Unspecified(), netip.MustParseAddr("192.0.2.1")
	if got, err := hosts("server.test", []netip.Addr{zero, netip.IPv6Unspecified()}); got != nil || err == nil {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := hosts("server.test", []netip.Addr{zero, host}); err != nil || len(got) != 1 || got[0] != host {
		t.Errorf("%v, %v", got, err)
	}
}
