package client

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// The longest datagrams there are: from 65,480 bytes on, IPv6 ones take two
// packets in the tunnel.
var longSizes = []int{65479, 65480, 65507, 65519, 65520, 65527}

func noise(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

// TestForwardLongDatagrams sends them out and back, also while the name of the
// destination is being asked for.
func TestForwardLongDatagrams(t *testing.T) {
	z := &zone{ttl: 300, addrs: map[string][]string{"six.test": {"2001:db8::51"}}}
	for _, to := range []string{"[2001:db8::50]:51820", "six.test:51820"} {
		t.Run(to, func(t *testing.T) {
			f := &fakeTunnel{answer: z.answer}
			c := start(t, f, func(cfg *conf.Client) {
				cfg.Forwards = []conf.Forward{{Listen: conf.EndpointOf(netip.MustParseAddrPort("[::1]:0")), To: to}}
			})
			a := newApp(t, "::1", c.front.forwards()[0].conn.LocalAddr())
			got := make([]byte, 1<<16)
			for _, size := range append([]int{65527}, longSizes...) {
				want := noise(size)
				a.send(t, want)
				a.SetReadDeadline(time.Now().Add(20 * time.Second))
				n, _, err := a.ReadFromUDPAddrPort(got)
				if err != nil || !bytes.Equal(got[:n], want) {
					t.Fatalf("%d bytes came back as %d: %v", size, n, err)
				}
			}
			if n := c.loops[0].sent.Load(); n != uint64(len(longSizes)) && n != uint64(len(longSizes)+1) {
				t.Errorf("%d datagrams counted", n) // one may have waited for the name
			}
			// The Identification joins fragments whatever the ports: it never
			// comes twice.
			seen := map[uint32]bool{}
			f.mu.Lock()
			defer f.mu.Unlock()
			for _, id := range f.joined {
				if seen[id] {
					t.Errorf("Identification %d twice", id)
				}
				seen[id] = true
			}
			if len(seen) != len(longSizes) { // all but 65,479 bytes, and the first
				t.Errorf("%d datagrams in fragments", len(seen))
			}
		})
	}
}

// TestAssociationLongDatagrams: what fits beside the SOCKS header goes both
// ways; more can only be sent, in fragments of RFC 1928.
func TestAssociationLongDatagrams(t *testing.T) {
	c := start(t, &fakeTunnel{answer: echo}, func(cfg *conf.Client) {
		cfg.Listen = []netip.AddrPort{netip.MustParseAddrPort("[::1]:0")}
	})
	conn := dial(t, c)
	reply := talk(t, conn, []byte{5, 1, 0, 5, 3, 0, 1, 0, 0, 0, 0, 0, 0}, 24)
	var h header
	if _, err := parseHeader(reply[2:], &h); err != nil || reply[3] != 0 {
		t.Fatalf("reply % x: %v", reply, err)
	}
	a := newApp(t, "::1", h.to)
	for _, size := range []int{65479, 65480, 65527 - headerLen6} {
		a.echoes(t, "[2001:db8::1]:7", noise(size))
	}
	if d := c.drops.snapshot(); len(d) != 0 {
		t.Errorf("drops %v", d)
	}

	var got []byte
	b := bare(t, &fakeTunnel{answer: func(_ packet.UDP, payload []byte) [][]byte {
		got = bytes.Clone(payload)
		return nil
	}})
	defer b.client.fragmentsStop()
	for _, size := range longSizes {
		want := noise(size)
		b.hand(datagram(1, "[2001:db8::1]:7", want[:40000]))
		b.hand(datagram(0x82, "[2001:db8::1]:7", want[40000:]))
		if !bytes.Equal(got, want) {
			t.Errorf("%d bytes were sent as %d", size, len(got))
		}
	}
	if n := b.loop.sent.Load(); n != uint64(len(longSizes)) {
		t.Errorf("%d datagrams counted", n)
	}
}

// TestDeliverHalves brings fragments on several goroutines at once, as readers
// of subflows do, halves of each datagram in either order.
func TestDeliverHalves(t *testing.T) {
	a := bare(t, &fakeTunnel{})
	a.client.ports = newPorts()
	k := &keeper{inner: &a.inner, got: make(map[string]int)}
	if err := a.client.ports.take(&a.innerPort, k); err != nil {
		t.Fatal(err)
	}
	const readers, each = 4, 16
	var wg sync.WaitGroup
	for i := range readers {
		wg.Go(func() {
			for j := range each {
				id := uint32(i*each + j)
				halves := echo(packet.UDP{
					Src: a.innerPort.source(netip.IPv6Unspecified()), Dst: netip.MustParseAddrPort("[2001:db8::1]:7"), TTL: 64, ID: id,
				}, bytes.Repeat([]byte(fmt.Sprintf("%08d", id)), 65504/8))
				if j%2 == 0 {
					halves[0], halves[1] = halves[1], halves[0]
				}
				a.client.downlink.Deliver(halves[:1])
				a.client.downlink.Deliver(halves[1:])
			}
		})
	}
	wg.Wait()
	if len(k.got) != readers*each {
		t.Errorf("%d of %d datagrams came", len(k.got), readers*each)
	}
	// Fragments of IPv4, which nobody makes, are no packets.
	four := respond(packet.UDP{Src: a.innerPort.source(netip.IPv4Unspecified()), Dst: netip.MustParseAddrPort("192.0.2.1:7")}, nil)
	four[6] |= 0x20
	a.client.downlink.Deliver([][]byte{four})
	if n := a.client.drops[dropPacket].Load(); n != 1 {
		t.Errorf("%d packets dropped", n)
	}
}

// A keeper is an owner that counts what it receives by its first bytes.
type keeper struct {
	*inner
	mu  sync.Mutex
	got map[string]int
}

func (k *keeper) receive(_ *delivery, pkt, payload []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(pkt)-len(payload) < headerLen6 || len(payload) != 65504 || !bytes.Equal(payload, bytes.Repeat(payload[:8], 65504/8)) {
		return
	}
	k.got[string(payload[:8])]++
}
