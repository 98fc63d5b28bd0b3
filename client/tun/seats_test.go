package tun

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/mux/packet"
)

// crowdTest is seats of which it notes who had to go.
type crowdTest struct {
	seats
	gone []netip.AddrPort
	told int
}

// newCrowdTest is seats for so many; the users of sockets are their ports by thousands.
func newCrowdTest(most int) *crowdTest {
	c := new(crowdTest)
	c.seats.most = most
	c.seats.owner = func(_ uint8, from, _ netip.AddrPort) (uint32, bool) {
		return uint32(from.Port() / 1000), from.Port() >= 1000
	}
	c.seats.told = func() { c.told++ }
	return c
}

// come enters a connection of that port, at a time.
func (c *crowdTest) come(host byte, port uint16, at time.Time) (*seat, bool) {
	p := &seat{from: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, host}), port), since: at}
	p.out = func() { c.gone = append(c.gone, p.from) }
	return p, c.enter(p)
}

// The one who has most gives way, whether known by user or by address; who has it all gets
// in again when the own ones are old; and nobody is asked for while there is room.
func TestSeatsGiveWay(t *testing.T) {
	const most = 8
	begin := time.Now()
	for name, port := range map[string]uint16{"users": 2000, "hosts": 10} {
		c := newCrowdTest(most)
		var first []*seat
		for i := range most {
			p, ok := c.come(1, port+uint16(i), begin)
			if !ok || i < most/2 && p.looked {
				t.Fatalf("%s: %d of %d did not get in, or was looked for", name, i, most)
			}
			first = append(first, p)
		}
		// Another holder's comes in at once, and the oldest goes.
		other, host := uint16(5000), byte(1)
		if name == "hosts" {
			other, host = 20, 2
		}
		p, ok := c.come(host, other, begin)
		if !ok || len(c.gone) != 1 || c.gone[0] != first[0].from {
			t.Errorf("%s: another one: %v, gone %v", name, ok, c.gone)
		}
		// One more of the first's has to come again, and to wait for its own.
		if _, ok := c.come(1, port+100, begin.Add(seatTime/2)); ok || len(c.gone) != 1 {
			t.Errorf("%s: one more of who has most got in; gone %v", name, c.gone)
		}
		if _, ok := c.come(1, port+100, begin.Add(seatTime)); !ok || len(c.gone) != 2 || c.gone[1] != first[1].from {
			t.Errorf("%s: a second later one more of who has most did not get in; gone %v", name, c.gone)
		}
		if c.told != 3 {
			t.Errorf("%s: told %d times", name, c.told)
		}
		c.leave(p)
		c.leave(p)
		c.leave(first[0]) // long gone
		if n := c.taken.Len(); n != most-1 {
			t.Errorf("%s: %d are in", name, n)
		}
		for p := range c.taken.All() {
			c.leave(p)
		}
		if n := c.taken.Len(); n != 0 {
			t.Errorf("%s: all have left, and %d are in", name, n)
		}
	}
}

// syn is the packet by which a program of that port asks for a connection.
func syn(from uint16, to netip.AddrPort) []byte {
	h := packet.TCP{Src: netip.AddrPortFrom(src4.Addr(), from), Dst: to, Flags: packet.FlagSYN, Seq: 1, Window: 1000, TTL: 64, Bare: true}
	b := make([]byte, packet.TCPOverhead(to.Addr(), 0))
	packet.PutTCP(b, &h)
	packet.SumTCP(b)
	return b
}

// A deaf kernel has lost the sockets below a port, and does not say so.
type deaf struct {
	writer
	below uint16
	heard atomic.Int64 // what went to those
}

func (k *deaf) writePacket(head *[vnetLen]byte, parts [][]byte) bool {
	var key packet.Key
	if packet.KeyOf(bytes.Join(parts, nil), &key) && key.DstPort < k.below {
		k.heard.Add(1)
		return true
	}
	return k.writer.writePacket(head, parts)
}

// A program that asks for connections which nobody answers does not keep another user's
// from being made, nor does one that never answers itself; and its own work again.
func TestUnansweredConnectionsGiveWay(t *testing.T) {
	for _, name := range []string{"the exit is silent", "the program is silent", "to the resolver"} {
		t.Run(name, func(t *testing.T) {
			d, tunnel, _ := newDevice()
			tunnel.streams = make(chan net.Conn, 2*maxConnecting)
			tunnel.owners = true
			silent := netip.MustParseAddrPort("192.0.2.66:80")
			var waiting sync.WaitGroup
			tunnel.silent = func(ctx context.Context, to netip.AddrPort) error {
				if to.Addr() != silent.Addr() || name != "the exit is silent" {
					return nil
				}
				waiting.Done()
				<-ctx.Done()
				return ctx.Err()
			}
			s := host(t, d)
			kernel := &deaf{writer: d.link.out, below: 16000} // from there on are those of programs
			d.link.out = kernel
			most, to := maxConnecting, silent
			if name == "to the resolver" {
				most, to = maxNames, netip.AddrPortFrom(packet.ServerHost4, packet.ResolverPort)
			}
			// All of one user's, and none is answered.
			for i := range uint16(most) {
				if name == "the exit is silent" {
					waiting.Add(1)
				}
				d.link.inject(syn(2000+i%1000+i/1000*1000*8, to), true)
			}
			waiting.Wait()
			full := &d.connecting
			if name == "to the resolver" {
				full = &d.asking
			}
			for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
				full.mu.Lock()
				n := full.taken.Len()
				full.mu.Unlock()
				// What the stack has not begun when it is closed it waits for.
				if n == most && (name == "the exit is silent" || kernel.heard.Load() >= int64(most)) {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("%d of %d wait", n, most)
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			if name == "to the resolver" {
				conn, err := dialAt(ctx, s, to)
				if err != nil {
					t.Fatalf("another program's connection to the resolver: %v", err)
				}
				conn.Close()
			} else {
				conn, err := dial(ctx, s)
				if err != nil {
					t.Fatalf("another program's connection: %v", err)
				}
				conn.Close()
			}
			if tunnel.crowded.Load() == 0 {
				t.Error("nobody was told")
			}
		})
	}
}
