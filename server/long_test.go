package server

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

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

// packetsOf is a datagram in as many packets as it takes; odd ones come with
// the second half first.
func packetsOf(src, dst netip.AddrPort, id uint32, payload []byte) [][]byte {
	if len(payload) <= packet.MaxWhole6 {
		return [][]byte{makePacket(src, dst, 0, id, payload)}
	}
	first, second := makeLong(src, dst, id, payload)
	if id%2 == 1 {
		return [][]byte{second, first}
	}
	return [][]byte{first, second}
}

// TestLongDatagrams sends them out and back, and to the echo port.
func TestLongDatagrams(t *testing.T) {
	s := testServer(t, nil, nil)
	sess := newFakeSession()
	p := newPeer(s, "laptop", sess)
	remote, at := remoteUDP(t, "::1")
	if err := remote.SetWriteBuffer(1 << 20); err != nil {
		t.Fatal(err)
	}
	echo := netip.AddrPortFrom(packet.ServerHost6, packet.EchoPort)
	seen := map[uint32]bool{}
	for i, size := range longSizes {
		payload := noise(size)
		for _, pkt := range packetsOf(inner6(4000), at, uint32(i), payload) {
			p.Deliver([][]byte{pkt})
		}
		text, from := read(t, remote)
		if text != string(payload) {
			t.Fatalf("%d bytes arrived as %d", size, len(text))
		}
		if _, err := remote.WriteToUDPAddrPort(payload, from); err != nil {
			t.Fatal(err)
		}
		back := sess.next(t)
		p.Deliver(packetsOf(inner6(4001), echo, uint32(i), payload))
		for _, tt := range []struct {
			src, dst netip.AddrPort
			got      got
		}{{at, inner6(4000), back}, {echo, inner6(4001), sess.next(t)}} {
			if tt.got.src != tt.src || tt.got.dst != tt.dst || !bytes.Equal(tt.got.payload, payload) {
				t.Fatalf("%d bytes came back as %d, %s to %s", size, len(tt.got.payload), tt.got.src, tt.got.dst)
			}
			if size > packet.MaxWhole6 {
				if seen[tt.got.id] {
					t.Errorf("Identification %d twice", tt.got.id)
				}
				seen[tt.got.id] = true
			}
		}
	}
	if st := s.status(); st.DatagramsUp != uint64(len(longSizes)) || st.DatagramsDown != uint64(len(longSizes)) || st.Mappings != 1 {
		t.Errorf("state %+v", st)
	}
	if diff := cmp.Diff(map[string]uint64{}, s.drops.snapshot()); diff != "" {
		t.Error(diff)
	}
}

// TestLongDatagramsObeyTheRules: what is put together is judged as what came
// whole.
func TestLongDatagramsObeyTheRules(t *testing.T) {
	s := testServer(t, nil, nil)
	p := newPeer(s, "laptop", newFakeSession())
	to := func(src netip.AddrPort, dst string) [][]byte {
		return packetsOf(src, netip.MustParseAddrPort(dst), 0, make([]byte, 65500))
	}
	p.Deliver(to(inner6(1), "[fc00::1]:9"))
	p.Deliver(to(inner6(1), "[2001:db8::1]:0"))
	p.Deliver(to(inner6(1), "[fd6d:7073::1]:80"))
	p.Deliver(to(netip.MustParseAddrPort("[2001:db8::2]:5"), "[::1]:9"))
	four := makePacket(inner4(1), netip.MustParseAddrPort("127.0.0.1:9"), 0, 0, nil)
	four[6] |= 0x20 // a fragment of IPv4, which nobody makes
	p.Deliver([][]byte{four})
	want := map[string]uint64{"refused": 1, "port": 1, "service": 1, "source": 1, "packet": 1}
	if diff := cmp.Diff(want, s.drops.snapshot()); diff != "" {
		t.Error(diff)
	}
	if n := p.nat.count(); n != 0 {
		t.Errorf("%d mappings", n)
	}
}

// TestDeliverHalves brings the halves on several goroutines at once, as readers
// of subflows do.
func TestDeliverHalves(t *testing.T) {
	s := testServer(t, nil, nil)
	sess := newFakeSession()
	p := newPeer(s, "laptop", sess)
	echo := netip.AddrPortFrom(packet.ServerHost6, packet.EchoPort)
	const readers, each = 4, 16
	var wg sync.WaitGroup
	for i := range readers {
		wg.Go(func() {
			for j := range each {
				id := uint32(i*each + j)
				for _, pkt := range packetsOf(inner6(1), echo, id, bytes.Repeat([]byte(fmt.Sprintf("%08d", id)), 65504/8)) {
					p.Deliver([][]byte{pkt})
				}
			}
		})
	}
	wg.Wait()
	came := map[string]bool{}
	for range readers * each {
		g := sess.next(t)
		if !bytes.Equal(g.payload, bytes.Repeat(g.payload[:8], 65504/8)) {
			t.Fatal("halves of two datagrams were joined")
		}
		came[string(g.payload[:8])] = true
	}
	if len(came) != readers*each {
		t.Errorf("%d of %d datagrams came", len(came), readers*each)
	}
}
