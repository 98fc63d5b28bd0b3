package mux

import (
	"fmt"
	"math"
	"net/netip"
	"runtime/debug"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// A counter is a Handler that allocates nothing.
type counter struct{ n atomic.Int64 }

func (c *counter) Deliver(pkts [][]byte) { c.n.Add(int64(len(pkts))) }
func (c *counter) Stream(st *Stream)     { st.Close() }
func (c *counter) Closed(error)          {}

// A datagram costs no allocation on its way: Send, queue, record, subflow,
// parse, Deliver, Data ACK. Many go with each Send, and the few allocations of Data ACKs and the
// monitor are told from one of each datagram, or of every eighth.
func TestDatagramsDoNotAllocate(t *testing.T) {
	if raceOn {
		t.Skip("the race detector makes pools drop Buffers")
	}
	const batch, size = 64, 200
	client, remote := netip.AddrPortFrom(packet.ClientHost4, 5000), netip.MustParseAddrPort("192.0.2.1:9")
	for _, tt := range []struct {
		paths int
		first uint64 // the first eight bytes of payloads, but for a count
	}{{1, 0}, {2, 0}, {2, 0xC0<<56 | 1<<24}} { // the last one's begin as QUIC's do: it is put in order
		for _, up := range []bool{true, false} {
			t.Run(fmt.Sprintf("paths=%d/quic=%v/up=%v", tt.paths, tt.first != 0, up), func(t *testing.T) {
				var got counter
				server := make(chan *Session, 1)
				n := newLoopTunnel(t, tt.paths, 2, func(c *ClientConfig, l *ListenerConfig) {
					c.Handler = &got
					l.Accept = func(s *Session) (Handler, error) {
						server <- s
						return &got, nil
					}
				})
				s, from, to := n.client.Session(), client, remote
				if other := <-server; !up {
					s, from, to = other, remote, client
				}
				var src Source
				var sent int64
				pkts := make([]*buf.Buffer, batch)
				end := time.Now().Add(time.Minute)
				send := func() {
					for i := range pkts {
						pkts[i] = testPacket(from, to, tt.first+uint64(sent), size)
						sent++
					}
					s.Send(&src, pkts)
					s.Flush()
					for got.n.Load() < sent {
						if time.Now().After(end) {
							t.Fatalf("%d datagrams of %d were delivered", got.n.Load(), sent)
						}
						time.Sleep(20 * time.Microsecond)
					}
				}
				// A collection empties the pools, and filling them again is no
				// datagram's fault.
				defer debug.SetGCPercent(debug.SetGCPercent(-1))
				for range 200 {
					send()
				}
				// On a busy machine the monitor and others have more turns in one round of
				// this than in another; what a datagram costs is in the least of them.
				least := math.MaxFloat64
				for range 5 {
					if least = min(least, testing.AllocsPerRun(500, send)); least < batch/8 {
						t.Logf("%v allocations for %d datagrams", least, batch)
						return
					}
				}
				t.Errorf("%v allocations for %d datagrams", least, batch)
			})
		}
	}
}
