package engine

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/mpsocks/mpsocks/mux/packet"
)

// An echoed datagram is one that came back: when it left the client, and after it each step:
// it was at the server, in its order there, back at the client, and in order. In ns; 0 = not yet.
type echoed struct{ at, there, turned, back, done int64 }

const (
	echoSize = 1200
	// echoStart is how long of a run does not count, as in the laboratory: a session's first
	// second, in which TCP finds its windows.
	echoStart = 1e9
	echoPause = 4e9
)

// echo has datagrams sent at that rate of payload, bytes a nanosecond, and sent back by the
// server, each when it has its order. The server stands still for pause ns at echoPause.
func (p *profile) echo(seed uint64, rate float64, pause int64) (all []echoed) {
	n := p.open(seed, false)
	w := n.w
	start := int64(1e9 + 5e8*w.rnd.Float64()) // the paths are known
	n.befalls(start)
	w.at(start+echoPause, func() { n.b.asleep = max(n.b.asleep, w.now+pause) })
	w.run(start)
	client, server := netip.AddrPortFrom(packet.ClientHost4, 5000), netip.MustParseAddrPort("192.0.2.1:9")
	var src [2]Source
	of := func(pkt []byte) *echoed { return &all[binary.BigEndian.Uint64(packet.UDPPayload(pkt))] }
	n.b.came = func(pkt []byte) { of(pkt).there = w.now }
	n.b.due = func(pkt []byte) {
		of(pkt).turned = w.now
		n.b.e.Send(&src[1], testPacket(server, client, binary.BigEndian.Uint64(packet.UDPPayload(pkt)), echoSize), w.now)
	}
	n.a.came = func(pkt []byte) { of(pkt).back = w.now }
	n.a.due = func(pkt []byte) { of(pkt).done = w.now }
	var next func()
	next = func() {
		if w.now >= start+profileSpan {
			return
		}
		n.a.e.Send(&src[0], testPacket(client, server, uint64(len(all)), echoSize), w.now)
		all = append(all, echoed{at: w.now})
		n.a.pump()
		w.at(start+int64(float64(len(all))*echoSize/rate), next)
	}
	w.at(start, next)
	w.run(start + profileSpan + 3e9)
	first := slices.IndexFunc(all, func(e echoed) bool { return e.at >= start+echoStart })
	return all[first:]
}

// A delay is what a step, or all of them, took: in ns.
type delay struct{ p50, p99 int64 }

func (d delay) String() string { return fmt.Sprintf("%d, %d", d.p50/1e6, d.p99/1e6) }

func delayOf(all []echoed, step func(e *echoed) int64) delay {
	var took []int64
	for i := range all {
		if all[i].done != 0 {
			took = append(took, step(&all[i]))
		}
	}
	slices.Sort(took)
	return delay{took[len(took)/2], took[len(took)*99/100]}
}

// TestEchoes has a paced load that leaves the paths little to spare go both ways: 85 and 90 of
// 100 Mbit/s, where headers take another 8. Kept in order it cannot be back before the farther
// path's round trip, 50 ms: the nearer one carries 60 % of it.
func TestEchoes(t *testing.T) {
	p := profiles(t)["uneven"]
	for _, c := range []struct {
		rate     float64 // Mbit/s
		p50, p99 int64   // ms at most, of the worst of 48 and of 32 seeds and a tenth more
		lost     float64
		also     []uint64 // seeds with which what a start had left stood for a second: p99 was 159 to 189
	}{
		{85, 60, 133, 0.004, []uint64{4, 16, 17, 21}},
		{90, 125, 228, 0.027, nil},
	} {
		for seed := range uint64(seeds()) {
			c.also = append(c.also, seed)
		}
		slices.Sort(c.also)
		for _, seed := range slices.Compact(c.also) {
			all := p.echo(seed, c.rate*mbit, 0)
			lost := 0
			for i := range all {
				if all[i].done == 0 {
					lost++
				}
			}
			share := float64(lost) / float64(len(all))
			d := delayOf(all, func(e *echoed) int64 { return e.done - e.at })
			t.Logf("%g Mbit/s, seed %d: p50 and p99 %v ms, %.4f lost; there %v, in order %v, back %v, in order %v", c.rate, seed, d, share,
				delayOf(all, func(e *echoed) int64 { return e.there - e.at }), delayOf(all, func(e *echoed) int64 { return e.turned - e.there }),
				delayOf(all, func(e *echoed) int64 { return e.back - e.turned }), delayOf(all, func(e *echoed) int64 { return e.done - e.back }))
			if d.p50 > c.p50*1e6 || d.p99 > c.p99*1e6 || share > c.lost {
				t.Errorf("the bound is %+v", c)
			}
		}
	}
}

// TestPauseLosesNothing has the server stand still for 80 ms in the same load: what comes at once then
// leaves by itself, as the paths carry more. 0.9 % of six seconds were dropped, as a start had shown that
// the flow does not slow down, and those before had waited for no more than some milliseconds.
func TestPauseLosesNothing(t *testing.T) {
	p := profiles(t)["uneven"]
	for _, seed := range []uint64{0, 2, 4} {
		all := p.echo(seed, 85*mbit, 80e6)
		from := slices.IndexFunc(all, func(e echoed) bool { return e.at >= all[0].at+echoPause-echoStart-200e6 })
		lost := 0
		for i := range all[from:] {
			if all[from+i].done == 0 {
				lost++
			}
		}
		d := delayOf(all, func(e *echoed) int64 { return e.done - e.at })
		if t.Logf("seed %d: %d lost, p50 and p99 %v ms", seed, lost, d); lost > 0 || d.p99 > 150e6 {
			t.Error("the bounds are 0 and 150 ms")
		}
	}
}
