package mux

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/fq"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// longDatagram is a datagram in two packets.
func longDatagram(id uint32, payload []byte) (first, second *buf.Buffer) {
	first, second = buf.Get(packet.UDP6Overhead+len(payload)), buf.Get(packet.MaxTail)
	copy(first.Bytes()[packet.UDP6Overhead:], payload)
	n, m := packet.SplitUDP(first.Bytes(), second.Bytes(), &packet.UDP{
		Src: netip.AddrPortFrom(packet.ClientHost6, 5000), Dst: netip.MustParseAddrPort("[2001:db8::1]:9"), TTL: 64, ID: id,
	})
	first.Resize(n)
	second.Resize(m)
	return first, second
}

// TestFragmentsKeepTheirIdentification: they stay together in the queue of
// their flow, are not renumbered, and do not count among the flow's packets.
func TestFragmentsKeepTheirIdentification(t *testing.T) {
	s := newSession(sessionConfig{handler: newCollector(), mode: ModeAuto})
	s.establish(1, 2, false)
	src := &Source{}
	from, to := netip.AddrPortFrom(packet.ClientHost6, 5000), netip.MustParseAddrPort("[2001:db8::1]:9")
	other := netip.MustParseAddrPort("[2001:db8::2]:9")
	for i := range 2 {
		first, second := longDatagram(uint32(1000+i), make([]byte, 65500))
		s.Send(src, []*buf.Buffer{testPacket(from, to, 0, 100), testPacket(from, other, 0, 100), first, second})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.flows) != 2 {
		t.Errorf("%d flows, want 2", len(s.flows))
	}
	var got []uint32
	for band := range fq.Classes {
		for f, p := s.queue.Pop(band, s.now(), segmentSize); p != nil; f, p = s.queue.Pop(band, s.now(), segmentSize) {
			sn := s.commit(f, p, s.now())
			if f.Key.Dst == to.Addr().As16() {
				got = append(got, packet.ID(s.inflight.At(sn).P.Bytes()))
			}
		}
	}
	if want := []uint32{0, 1000, 1000, 1, 1001, 1001}; !slices.Equal(got, want) {
		t.Errorf("Identifications %v, want %v", got, want)
	}
}

// A joiner puts datagrams together, as both ends do.
type joiner struct {
	halves packet.Reassembler
	got    chan []byte
}

func (j *joiner) Deliver(pkts [][]byte) {
	for _, p := range pkts {
		var h packet.UDP
		payload, err := packet.ParseUDP(p, &h)
		if err == packet.ErrFragment {
			var whole bool
			if payload, whole = j.halves.Add(p, &h); !whole {
				continue
			}
		} else if err != nil {
			panic(err)
		}
		j.got <- bytes.Clone(payload)
	}
}
func (j *joiner) Stream(st *Stream) { st.Close() }
func (j *joiner) Closed(error)      {}

// TestLongDatagrams sends them through a tunnel of two paths.
func TestLongDatagrams(t *testing.T) {
	j := &joiner{got: make(chan []byte, 64)}
	n := newLoopTunnel(t, 2, 2, func(_ *ClientConfig, lc *ListenerConfig) {
		lc.Accept = func(*Session) (Handler, error) { return j, nil }
	})
	s, src := n.client.Session(), &Source{}
	const count = 40
	for i := range count {
		first, second := longDatagram(uint32(i), bytes.Repeat([]byte{byte(i)}, 65527))
		s.Send(src, []*buf.Buffer{first, second})
		s.Flush()
		time.Sleep(2 * time.Millisecond)
	}
	came := map[byte]bool{}
	timeout := time.After(5 * time.Second)
	for len(came) < count {
		select {
		case p := <-j.got:
			if len(p) != 65527 || !bytes.Equal(p, bytes.Repeat(p[:1], 65527)) {
				t.Fatalf("%d bytes came, or of two datagrams", len(p))
			}
			came[p[0]] = true
		case <-timeout:
			t.Fatalf("%d of %d datagrams came: %+v", len(came), count, s.Snapshot().Drops)
		}
	}
}
