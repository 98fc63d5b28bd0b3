package engine

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/mpsocks/mpsocks/mux/packet"
)

// mixed plays the laboratory's load of that name, a game of 500 datagrams a second, echoed,
// beside a stream and a QUIC transfer from the server. It returns the share of copies in
// all that both halves sent. lost says that something was lost just before.
func (p *profile) mixed(seed uint64, lost bool) float64 {
	n := p.open(seed, true)
	w := n.w
	start := int64(1e9 + 5e8*w.rnd.Float64())
	w.run(start)
	if lost {
		n.a.e.lossAt, n.b.e.lossAt = w.now, w.now
	}
	client, world := netip.AddrPortFrom(packet.ClientHost4, 4000), netip.MustParseAddrPort("192.0.2.1:9")
	var echo Source
	n.b.listen(world.Port(), func(pkt []byte) {
		n.b.e.Send(&echo, testPacket(world, client, binary.BigEndian.Uint64(packet.UDPPayload(pkt)), 200), w.now)
	})
	n.a.listen(client.Port(), func([]byte) {})
	var sent []int64
	n.a.smallFlows(1, start, start+profileSpan, 2e6, &sent)
	w.at(start, func() {
		n.b.e.Wake(packet.Key{Proto: packet.ProtoTCP, SrcPort: 1}, endless{16000}, w.now)
		n.b.pump()
	})
	talk := talkFrom(quicTalk, n.b, n.a, 7000, start)
	sum := func() (sent, copied float64) {
		for _, h := range []*host{n.a, n.b} {
			c, _, _, _ := Tally(h.e)
			sent, copied = sent+float64(h.e.Committed()), copied+float64(c)
		}
		return sent, copied
	}
	sentBefore, copiedBefore := sum()
	w.run(start + profileSpan)
	talk.ended = true
	all, copied := sum()
	return (copied - copiedBefore) / (all - sentBefore)
}

// TestCopiesShare is the laboratory's bar `copies`: 5 % in a mixed load, also when something
// was lost lately, so that a small packet has as many copies as there is budget for.
func TestCopiesShare(t *testing.T) {
	p := profiles(t)["uneven"]
	for seed := range uint64(seeds()) {
		for _, lost := range []bool{false, true} {
			share := p.mixed(seed, lost)
			if t.Logf("seed %d, lost %v: copies are %.2f %% of what is sent", seed, lost, 100*share); share > 0.05 {
				t.Error("the bound is 5 %")
			}
		}
	}
}
