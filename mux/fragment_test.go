package mux

import (
	"bytes"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/muxtest"
	"github.com/mpsocks/mpsocks/mux/packet"
	"github.com/mpsocks/mpsocks/mux/udpio"
)

// A joiner puts datagrams together, as both ends do.
type joiner struct {
	halves udpio.Reassembler
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
		first, second := muxtest.LongDatagram(uint32(i), bytes.Repeat([]byte{byte(i)}, 65527))
		s.Send(src, []*buf.Buffer{first, second})
		s.Flush()
		time.Sleep(2 * time.Millisecond)
	}
	came := map[byte]bool{}
	timeout := time.After(20 * time.Second)
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
