package engine

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/fq"
	"github.com/mpsocks/mpsocks/mux/muxtest"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// TestFragmentsKeepTheirIdentification: they stay together in the queue of
// their flow, are not renumbered, and do not count among the flow's packets.
func TestFragmentsKeepTheirIdentification(t *testing.T) {
	s := New(false, ModeAuto, nil, 0)
	s.Establish(1)
	src := &Source{}
	from, to := netip.AddrPortFrom(packet.ClientHost6, 5000), netip.MustParseAddrPort("[2001:db8::1]:9")
	other := netip.MustParseAddrPort("[2001:db8::2]:9")
	for i := range 2 {
		first, second := muxtest.LongDatagram(uint32(1000+i), make([]byte, 65500))
		for _, p := range []*buf.Buffer{testPacket(from, to, 0, 100), testPacket(from, other, 0, 100), first, second} {
			s.Send(src, p, 0)
		}
	}
	if len(s.table.flows) != 2 {
		t.Errorf("%d flows, want 2", len(s.table.flows))
	}
	var got []uint32
	for band := range fq.Classes {
		for f, p := s.table.queue.Pop(band, 0, SegmentSize); p != nil; f, p = s.table.queue.Pop(band, 0, SegmentSize) {
			sn := s.choose.commit(f, p, 0)
			if f.Key.Dst == to.Addr().As16() {
				got = append(got, packet.ID(s.held.out.At(sn).P.Bytes()))
			}
		}
	}
	if want := []uint32{0, 1000, 1000, 1, 1001, 1001}; !slices.Equal(got, want) {
		t.Errorf("Identifications %v, want %v", got, want)
	}
}
