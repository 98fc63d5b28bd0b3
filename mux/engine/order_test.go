package engine

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/mpsocks/mpsocks/mux/packet"
)

// A way is a path of a test about order, both directions alike.
type orderWay struct {
	delay, jitter int64   // one way, ns
	rate          float64 // Mbit/s
}

// ordered plays a flow over paths of six subflows each, with hosts that pause now and
// then: next tells when, after the datagram of that number, the one after it is sent. It
// returns how many arrived, and how many of these behind a later one.
func ordered(seed uint64, ways []orderWay, count, size int, next func(i int, rnd *rand.Rand) int64) (arrived, swapped int) {
	w := &world{rnd: rand.New(rand.NewPCG(seed, 1))}
	a, b := newHost(w, true, len(ways)), newHost(w, false, len(ways))
	a.stumbles(rand.New(rand.NewPCG(seed, 2)))
	b.stumbles(rand.New(rand.NewPCG(seed, 3)))
	for i, way := range ways {
		there := &line{w: w, rate: way.rate * mbit, delay: way.delay, jitter: way.jitter, queue: 50e6, phase: w.rnd.Float64() * 6}
		back := &line{w: w, rate: way.rate * mbit, delay: way.delay, jitter: way.jitter, queue: 50e6, phase: w.rnd.Float64() * 6}
		for _, h := range []*host{a, b} {
			h.paths[i] = h.e.AddPath(PathConfig{Name: fmt.Sprint(i)}, -1)
		}
		for range profileSubs {
			dial(w, a, b, i, there, back)
		}
	}
	var src Source
	rnd := rand.New(rand.NewPCG(seed, 4))
	from, to := netip.AddrPortFrom(packet.ClientHost4, 5000), netip.MustParseAddrPort("192.0.2.1:9")
	i := 0
	var send func()
	send = func() {
		for {
			a.e.Send(&src, testPacket(from, to, 1<<48|uint64(i), size), w.now)
			pause := next(i, rnd)
			if i++; i == count {
				break
			}
			if pause > 0 {
				w.at(w.now+pause, send)
				break
			}
		}
		a.pump()
	}
	w.at(1e9, send)
	for i < count {
		w.run(w.now + 1e9)
	}
	w.run(w.now + 3e9)
	return b.datagrams, b.swapped
}

// Datagrams of one flow arrive in order where the paths themselves keep it: a small flow's
// that are sent 0 to 2 ms apart, and 10 Mbit/s of media in frames of ten, as RTP and SRT
// send them.
func TestOrderIsKept(t *testing.T) {
	pairs := func(i int, rnd *rand.Rand) int64 {
		if i%2 == 0 {
			return rnd.Int64N(2e6)
		}
		return 2e6 + rnd.Int64N(20e6)
	}
	media := func(i int, _ *rand.Rand) int64 {
		if i%10 != 9 {
			return 0
		}
		return 10e6
	}
	for name, ways := range map[string][]orderWay{
		"loopback": {{delay: 30e3, rate: 1000}, {delay: 30e3, rate: 1000}},
		"equal":    {{delay: 5e6, rate: 40}, {delay: 5e6, rate: 40}},
		"unequal":  {{delay: 5e6, rate: 40}, {delay: 20e6, rate: 40}},
		"jitter":   {{delay: 15e6, jitter: 10e6, rate: 40}, {delay: 20e6, jitter: 10e6, rate: 40}},
	} {
		for seed := range uint64(4) {
			if came, swapped := ordered(seed, ways, 1000, 200, pairs); came != 1000 || float64(swapped) > 0.005*500 {
				t.Errorf("%s, seed %d: of 500 pairs %d datagrams came, %d behind a later one", name, seed, came, swapped)
			} else if swapped > 0 {
				t.Logf("%s, seed %d: %d of 500 pairs", name, seed, swapped)
			}
			if came, swapped := ordered(seed, ways, 3000, 1316, media); came != 3000 || swapped > 0 {
				t.Errorf("%s, seed %d: of 3000 datagrams of media %d came, %d behind a later one", name, seed, came, swapped)
			}
		}
	}
}
