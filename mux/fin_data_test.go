package mux

import (
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mpsocks/mpsocks/mux/mptcp"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// A peer's DATA_FIN may stand in the mapping of its last data (RFC 8684, Section 3.3.3), in whole
// numbers or the lower halves: the data arrives, both are acknowledged, and the session ends. Only the data
// was taken, and the end was waited for until the peer gave up.
func TestDataFINWithData(t *testing.T) {
	for _, c := range []struct{ sum, whole, first bool }{{false, true, false}, {true, true, false}, {false, false, false}, {false, true, true}} {
		synctest.Test(t, func(t *testing.T) {
			p := newScripted(t, false, c.sum)
			synctest.Wait()
			u := packet.UDP{Src: netip.MustParseAddrPort("198.18.0.2:5000"), Dst: netip.MustParseAddrPort("192.0.2.9:9"), TTL: 64}
			pkt := make([]byte, u.Overhead(8)+8)
			packet.PutUDP(pkt, &u)
			end := p.dsn + uint64(len(pkt))
			last := func(l *link) {
				d := mptcp.DSS{HasMap: true, DSN8: c.whole, DSN: end, SSN: l.ssn, DataFIN: true, Length: uint16(len(pkt)) + 1, HasChecksum: c.sum}
				if c.sum {
					d.Checksum = mptcp.Checksum(d.DSN, d.SSN, d.Length, pkt)
				}
				l.ssn += uint32(len(pkt))
				p.write(l, append(d.Append(nil), pkt...))
			}
			if c.first { // and the data before it is behind it, on the other subflow; it comes again
				last(p.links[0])
				synctest.Wait()
			}
			p.carry(p.links[1], &mptcp.DSS{HasMap: true, DSN8: true, DSN: p.dsn, HasChecksum: c.sum}, pkt, 0)
			synctest.Wait()
			last(p.links[0])
			synctest.Wait()
			if got, want := p.s.space.next.Load(), end+uint64(len(pkt))+1; got != want {
				t.Errorf("%+v: all is acknowledged up to %d, want %d", c, got, want)
			}
			if n := p.from.seen[0]; n != 2 { // both have number 0
				t.Errorf("%+v: %d of 2 datagrams came", c, n)
			}
			time.Sleep(2 * finAgain)
			synctest.Wait()
			if !errors.Is(p.s.end.err, ErrPeerClosed) {
				t.Errorf("%+v: the session ended with %v", c, p.s.end.err)
			}
			p.s.Close(nil)
			p.leave()
			p.tasks.Wait()
		})
	}
}
