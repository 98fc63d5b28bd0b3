package engine

import (
	"math"
	"net/netip"
	"slices"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// endless is a stream that always has something to send.
type endless struct{ size int }

func (s endless) Next(most int) *buf.Buffer {
	b := buf.Get(min(most, s.size))
	p := b.Bytes()
	clear(p[:40])
	p[0], p[9] = 0x45, packet.ProtoTCP
	return b
}
func (endless) Ended() bool { return false }
func (endless) Window() int { return math.MaxInt }

// A game is what becomes of the small flow.
type game struct {
	lost     int
	longest  int64 // under way
	p99, p50 int64
}

func (h *host) game(sent []int64) game { return h.gameSince(sent, 0) }

// gameSince is that of what was sent from then on.
func (h *host) gameSince(sent []int64, from int64) game {
	var took []int64
	lost := 0
	for i, at := range sent {
		if at < from {
			continue
		}
		came, ok := h.small[uint64(i)]
		if !ok {
			lost++
			continue
		}
		took = append(took, came-at)
	}
	return gameOf(took, lost)
}

func gameOf(took []int64, lost int) game {
	if len(took) == 0 {
		return game{lost: lost, longest: math.MaxInt64, p99: math.MaxInt64, p50: math.MaxInt64}
	}
	slices.Sort(took)
	return game{lost: lost, longest: took[len(took)-1], p50: took[len(took)/2], p99: took[len(took)*99/100]}
}

// largeFlows sends so many flows of datagrams of 1,200 bytes at that rate in all, bytes a
// nanosecond, whatever becomes of them.
func (h *host) largeFlows(flows int, rate float64, from, until int64) {
	const size = 1200
	var src [8]Source
	to := netip.MustParseAddrPort("192.0.2.1:9")
	sent := 0
	var next func()
	next = func() {
		if h.w.now >= until {
			return
		}
		for due := int(rate * float64(h.w.now-from) / size); sent < due; sent++ {
			flow := sent % flows
			n := uint64(flow+1)<<48 | uint64(sent/flows)
			h.e.Send(&src[flow], testPacket(netip.AddrPortFrom(packet.ClientHost4, uint16(5000+flow)), to, n, size), h.w.now)
			h.offered++
		}
		h.pump()
		h.w.at(h.w.now+1e6, next)
	}
	h.w.at(from, next)
}

// smallFlows has so many flows send a packet of 200 bytes every so often until then, in turns,
// and notes when each was sent.
func (h *host) smallFlows(flows int, from, until, every int64, sent *[]int64) {
	src := make([]Source, flows)
	to := netip.MustParseAddrPort("192.0.2.1:9")
	var next func()
	next = func() {
		if h.w.now >= until {
			return
		}
		i := len(*sent) % flows
		h.e.Send(&src[i], testPacket(netip.AddrPortFrom(packet.ClientHost4, uint16(4000+i)), to, uint64(len(*sent)), 200), h.w.now)
		*sent = append(*sent, h.w.now)
		h.pump()
		h.w.at(h.w.now+every/int64(flows), next)
	}
	h.w.at(from, next)
}
