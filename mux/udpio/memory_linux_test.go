//go:build linux && !mpsocks_portable

package udpio

import (
	"bytes"
	"fmt"
	"net/netip"
	"runtime"
	"testing"

	"github.com/mpsocks/mpsocks/mux/buf"
)

// Receiving and sending allocate nothing in steady state.
func TestNoAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes pools drop Buffers")
	}
	for _, local := range []netip.AddrPort{any4, any6} {
		for _, offload := range []bool{false, true} {
			for _, connected := range []bool{false, true} {
				for _, size := range []int{64, 1200, 9000} {
					t.Run(fmt.Sprintf("%s/offload=%v/connected=%v/%d", local.Addr(), offload, connected, size), func(t *testing.T) {
						got := 0
						var kept [64]*buf.Buffer
						rounds := 0
						l := idle(t, func() { rounds++ })
						opt := Options{Offload: offload, TOS: true, RecvBuffer: 1 << 22}
						to := listen(t, l, local, opt, func(_ *Conn, msgs []Message) {
							for i := range msgs {
								kept[got%len(kept)] = msgs[i].Buf
								msgs[i].Buf = nil
								got++
							}
						})
						from := listen(t, l, local, opt, func(*Conn, []Message) {})
						dst := to.LocalAddr()
						if connected {
							if err := from.Connect(dst); err != nil {
								t.Fatal(err)
							}
							dst = netip.AddrPort{}
						}
						w := NewWriter()
						p := make([]byte, size)
						turn := func() {
							for i := range 40 {
								w.Add(from, dst, uint8(i/20), p)
							}
							w.Flush()
							drain(l)
							for i, b := range kept {
								if b != nil {
									b.Release()
									kept[i] = nil
								}
							}
						}
						turn()
						before := got
						const runs = 50
						if n := testing.AllocsPerRun(runs, turn); n != 0 {
							t.Errorf("%v allocations for 40 datagrams", n)
						}
						if got-before != 40*(runs+1) {
							t.Errorf("received %d, want %d", got-before, 40*(runs+1))
						}
					})
				}
			}
		}
	}
}

// Every Buffer that a Handler keeps is its own and has all its headroom.
func TestKeptBuffers(t *testing.T) {
	for _, offload := range []bool{false, true} {
		for _, size := range []int{100, 1200, 1953, 9000} {
			t.Run(fmt.Sprintf("offload=%v/%d", offload, size), func(t *testing.T) {
				var kept []*buf.Buffer
				l := idle(t, nil)
				to := listen(t, l, any4, Options{Offload: offload, RecvBuffer: 1 << 22}, func(_ *Conn, msgs []Message) {
					for i := range msgs {
						kept = append(kept, msgs[i].Buf)
						msgs[i].Buf = nil
					}
				})
				from := listen(t, l, any4, Options{Offload: offload}, func(*Conn, []Message) {})
				w := NewWriter()
				const n = 70
				for i := range n {
					w.Add(from, to.LocalAddr(), 0, payload(size, i))
				}
				w.Flush()
				drain(l)
				if len(kept) != n {
					t.Fatalf("kept %d, want %d", len(kept), n)
				}
				for i, b := range kept {
					whole := b.Prepend(buf.Headroom)
					for j := range whole[:buf.Headroom] {
						whole[j] = 0xff
					}
					if !bytes.Equal(whole[buf.Headroom:], payload(size, i)) {
						t.Fatalf("datagram %d was overwritten", i)
					}
				}
				for _, b := range kept {
					b.Release()
				}
			})
		}
	}
}

// An idle socket costs its Conn and a place in two tables.
func TestIdleSocketsHoldNoBuffers(t *testing.T) {
	l := idle(t, nil)
	const sockets = 1000
	nothing := func(*Conn, []Message) {}
	conns := make([]*Conn, 0, sockets)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range sockets {
		c, err := l.Listen(any4, Options{Offload: true, TOS: true}, nothing)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if each := int64(after.HeapAlloc-before.HeapAlloc) / sockets; each > 512 {
		t.Errorf("%d bytes of heap per idle socket, want <= 512", each)
	}
	for _, c := range conns {
		c.Close()
	}
}
