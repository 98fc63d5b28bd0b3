package mux

import (
	"context"
	"io"
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/mptcp"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// An echoing end counts datagrams, and sends back what streams bring.
type echoing struct{ *counting }

func (echoing) Stream(st *Stream) {
	_, _ = io.Copy(st, st)
	st.Close()
}

// keyBefore returns a key whose data sequence numbers begin so many bytes, or a few more, before the
// lower half of them begins anew.
func keyBefore(bytes uint32, k mptcp.Key) mptcp.Key {
	for ; ; k++ {
		if left := math.MaxUint32 - uint32(k.IDSN()); left >= bytes && left < bytes+100<<10 {
			return k
		}
	}
}

// Both directions of a session cross the end of the data sequence numbers' lower half, which is all that
// most mappings and Data ACKs say (RFC 8684, Section 3.3.1), over subflows of two paths, while one path is
// dead for a while and connections break: everything arrives once.
func TestSequenceNumbersWrap(t *testing.T) {
	const size, number, streamed = 600, 2000, 400 << 10
	ends := [2]*counting{{seen: make(map[uint64]int)}, {seen: make(map[uint64]int)}}
	keys := [2]mptcp.Key{keyBefore(300<<10, 1), keyBefore(500<<10, 1<<40)}
	paths := []simPath{newSimPath(60, 20*time.Millisecond), newSimPath(40, 50*time.Millisecond)}
	simulateEnds(t, [2]Handler{ends[0], echoing{ends[1]}}, keys, paths, func(n *simTunnel) {
		var conns []*simConn
		for i := range paths {
			for range 3 {
				conns = append(conns, n.join(i))
			}
		}
		time.Sleep(time.Second)
		st, err := n.ends[0].OpenStream(context.Background(), netip.AddrPort{}, netip.AddrPortFrom(packet.ServerHost4, packet.ExitPort))
		if err != nil {
			t.Fatal(err)
		}
		back := make(chan int64, 1)
		go func() { n, _ := io.Copy(io.Discard, st); back <- n }()
		go func() { _, _ = st.Write(make([]byte, streamed)); _ = st.CloseWrite() }()
		client, world := netip.AddrPortFrom(packet.ClientHost4, 9), netip.MustParseAddrPort("192.0.2.1:9")
		for i := range uint64(number) { // 1.2 MB each way in two seconds
			switch i {
			case 400:
				paths[0].kill()
			case 700:
				conns[3].Close()
			case 900:
				paths[0].revive()
				conns[1].Close()
			case 1000:
				n.join(1)
			}
			n.ends[0].Send(nil, []*buf.Buffer{testPacket(client, world, i, size)})
			n.ends[1].Send(nil, []*buf.Buffer{testPacket(world, client, i, size)})
			for _, s := range n.ends {
				s.Flush()
			}
			time.Sleep(time.Millisecond)
		}
		time.Sleep(5 * time.Second)
		if got := <-back; got != streamed {
			t.Errorf("%d of %d bytes of a stream came back", got, streamed)
		}
		st.Close()
		for e, s := range n.ends {
			other := n.ends[1-e]
			first := keys[e].IDSN() + 1
			next := other.space.next.Load()
			if next>>32 != first>>32+1 || s.lastAck.Load() != next {
				t.Errorf("from %#x on all came up to %#x, and %#x is acknowledged", first, next, s.lastAck.Load())
			}
			if !other.space.halves.Load() {
				t.Error("numbers are sent whole")
			}
			dropped := uint64(0)
			for _, n := range s.Snapshot().Drops {
				dropped += n
			}
			ends[1-e].mu.Lock()
			lost := uint64(0)
			for i := range uint64(number) {
				switch n := ends[1-e].seen[i]; {
				case n == 0:
					lost++
				case n > 1:
					t.Errorf("%d came %d times", i, n)
				}
			}
			ends[1-e].mu.Unlock()
			if lost > dropped {
				t.Errorf("%d of %d are lost, %d were dropped in the queue", lost, number, dropped)
			}
		}
	})
}
