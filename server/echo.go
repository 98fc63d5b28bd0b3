package server

import (
	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// hopLimit is the TTL of the packets that the server makes: the recommended
// default (RFC 1700), as if one hop lay behind them.
const hopLimit = 64

// echo answers a probe with its own payload (RFC 862), DSCP and Identification:
// the probes count their packets, so the answers are counted too. Nothing
// leaves the tunnel, and an answer is as long as its question.
func (u *uplink) echo(p *peer, payload []byte) dropReason {
	packets := p.answer(u.answers, &u.header, payload)
	if packets == nil {
		return dropSize
	}
	u.answers = packets
	return dropNone
}

// answer appends the packet, or the two, that go back to where a packet with
// header h came from, with a copy of the payload; nil if no datagram holds that.
func (p *peer) answer(packets []*buf.Buffer, h *packet.UDP, payload []byte) []*buf.Buffer {
	back := packet.UDP{Src: h.Dst, Dst: h.Src, TOS: h.TOS, TTL: hopLimit, ID: h.ID}
	if !back.Fits(len(payload)) {
		return nil
	}
	if back.Long(len(payload)) {
		back.ID = p.fragmentIDs.Add(1)
	}
	b := buf.Get(len(payload))
	copy(b.Bytes(), payload)
	return wrap(packets, b, &back)
}
