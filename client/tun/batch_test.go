package tun

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/mpsocks/mpsocks/mux/packet"
)

// answer is a datagram as the tunnel brings it.
func answer(src, dst netip.AddrPort, payload string, tos uint8) (h *packet.UDP, pkt, end []byte) {
	h = &packet.UDP{Src: src, Dst: dst, TOS: tos, TTL: 50}
	pkt = append(make([]byte, h.Overhead(len(payload))), payload...)
	packet.PutUDP(pkt, h)
	return h, pkt, pkt[len(pkt)-len(payload):]
}

// Datagrams of one size for one socket come to the kernel in one piece, with a header by which
// it cuts them as they were; all others one by one, and all in order.
func TestBatch(t *testing.T) {
	type one struct {
		from    netip.AddrPort
		payload string
		tos     uint8
	}
	for _, f := range []struct{ src, dst, other netip.AddrPort }{
		{netip.MustParseAddrPort("10.9.9.9:4000"), dst4, netip.MustParseAddrPort("192.0.2.77:7")},
		{netip.MustParseAddrPort("[2001:db8:9::9]:4000"), dst6, netip.MustParseAddrPort("[2001:db8::77]:7")},
	} {
		long := strings.Repeat("x", 1199)
		in := []one{
			{f.dst, long + "1", 0}, {f.dst, long + "2", 0}, {f.dst, long + "3", 0}, {f.dst, "short", 0}, // 4
			{f.dst, long + "4", 0}, {f.dst, long + "5", 1}, {f.dst, long + "6", 1}, {f.dst, long + "longer", 1}, // 1, 2, 1
			{f.other, "a", 0}, {f.dst, "b", 0}, {f.dst, "c", 0}, {f.dst, "", 0}, {f.dst, "", 0}, {f.dst, "d", 0}, // 1, 2, 1, 1, 1
		}
		pieces := []int{4, 1, 2, 1, 1, 2, 1, 1, 1}
		for range 100 { // more than one piece may have
			in = append(in, one{f.other, long + "7", 0})
		}
		pieces = append(pieces, 54, 46)
		d, tunnel, kernel := newDevice()
		d.link.cuts = true
		take(d, &vnet{}, udp(f.src, f.dst, "question", 0, 64))
		var batch Batch
		for _, o := range in {
			h, pkt, payload := answer(o.from, f.src, o.payload, o.tos)
			tunnel.ports[0].to.UDP(&batch, h, pkt, payload)
		}
		batch.Flush()
		batch.Flush() // nothing is left
		if len(kernel.pkts) != len(pieces) {
			t.Fatalf("%v: %d pieces, want %v", f.src, len(kernel.pkts), pieces)
		}
		for i, b := range kernel.pkts {
			v := kernel.heads[i]
			var n network
			if !n.parse(b) || n.total != len(b) || n.src.Is4() && packet.Checksum(b[:n.header], 0) != 0 {
				t.Fatalf("piece %d: no sound header: % x", i, b[:48])
			}
			if pieces[i] > 1 {
				u := b[n.header:]
				if v.flags != vnetNeedsCsum || v.kind != vnetGSOUDP || int(v.header) != n.header+packet.UDPHeaderLen || int(v.start) != n.header || v.offset != 6 {
					t.Errorf("piece %d: %+v", i, v)
				}
				if sum := packet.Fold(pseudo(&n, len(u))); u[6] != byte(sum>>8) || u[7] != byte(sum) || int(u[4])<<8|int(u[5]) != len(u) {
					t.Errorf("piece %d: UDP header % x, want the sum %x", i, u[:8], sum)
				}
			} else if v != (vnet{}) {
				t.Errorf("piece %d: %+v", i, v)
			}
			// What a device is given by the kernel has the same form: another one cuts it.
			cut, far, _ := newDevice()
			take(cut, &v, b)
			if len(far.ports) != 1 || len(far.ports[0].sent) != pieces[i] {
				t.Fatalf("piece %d: cut into %+v, want %d", i, far.ports, pieces[i])
			}
			for _, got := range far.ports[0].sent {
				if want := in[0]; got.payload != want.payload || got.tos != want.tos || got.to != f.src || n.src != want.from.Addr() {
					t.Fatalf("piece %d: %+v from %v, want %+v", i, got, n.src, want)
				}
				in = in[1:]
			}
		}
		if len(in) > 0 || d.Counts().In != 114 {
			t.Errorf("%d are missing, %d counted", len(in), d.Counts().In)
		}
		// A kernel that takes none, or cuts none.
		kernel.full = true
		for range 3 {
			h, pkt, payload := answer(f.dst, f.src, "lost", 0)
			tunnel.ports[0].to.UDP(&batch, h, pkt, payload)
		}
		batch.Flush()
		if d.Counts().Full != 3 {
			t.Errorf("%d were not taken, want 3", d.Counts().Full)
		}
		kernel.full, d.link.cuts = false, false
		before := len(kernel.pkts)
		for range 3 {
			h, pkt, payload := answer(f.dst, f.src, "single", 0)
			tunnel.ports[0].to.UDP(&batch, h, pkt, payload)
		}
		batch.Flush()
		if len(kernel.pkts) != before+3 {
			t.Errorf("%d pieces, want 3", len(kernel.pkts)-before)
		}
	}
}
