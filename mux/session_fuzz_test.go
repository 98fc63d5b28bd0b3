package mux

import (
	"encoding/binary"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mpsocks/mpsocks/mux/packet"
)

// A counting is an end that counts how often each datagram comes, and reads a little of
// every stream and lets it end.
type counting struct {
	mu   sync.Mutex // guards seen
	seen map[uint64]int
}

func (c *counting) Deliver(pkts [][]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, pkt := range pkts {
		var h packet.UDP
		if payload, err := packet.ParseUDP(pkt, &h); err == nil && h.Dst.Port() == 9 && len(payload) >= 8 {
			c.seen[binary.BigEndian.Uint64(payload)]++
		}
	}
}

func (c *counting) Stream(st *Stream) { c.serve(st, 64) }

// serve writes so many bytes, and reads some.
func (c *counting) serve(st *Stream, n int) {
	_ = st.SetDeadline(time.Now().Add(20 * time.Millisecond))
	var b [64]byte
	_, _ = st.Write(make([]byte, n))
	_, _ = st.Read(b[:])
	st.Close()
}

func (c *counting) Closed(error) {}

// FuzzSession feeds a script to a whole session, a client's or a server's, in virtual time:
// whatever comes, it does not panic, says nothing but options and whole packets, delivers
// nothing twice, ends when it is told to, and holds nothing afterwards.
func FuzzSession(f *testing.F) {
	for i := range byte(16) {
		for kind := range byte(4) {
			f.Add(kind, []byte{i, 3, 5, 0, 0, 40, 9, 1, 32, 7, 7, 7, 3, 1, packet.FlagSYN, 0})
			f.Add(kind, []byte{0, 9, 9, 9, i, 3, 5, 2, i | 32, 200, 1, 7, 7, 1, 0, 0})
			f.Add(kind, []byte{0x10, 9, 0, 3, i | 0x10, 3, 5, 2, 0x16, 200, 1, 0, 0x13, 0, 0, 0, i, 3, 200, 255, i | 0x10, 2, 3, 4})
			// A stream of the session's, and one of the peer's; the answers come, and some
			// are lost.
			f.Add(kind, []byte{
				0x12, 100, 5, 0, 0x16, 5, 1, 0, 5, 40, packet.FlagSYN | packet.FlagACK, 0, 0x13, 0, 0, 0,
				3, 20, packet.FlagSYN, 7, 3, 20, packet.FlagACK, 8, i | 0x10, 1, 1, 0, 5, 9, packet.FlagACK, 1, 3, 20, packet.FlagFIN | packet.FlagACK, 8,
			})
			// Subflows that go deaf, die and come back under load, with copies.
			f.Add(kind, []byte{
				0x10, 200, 0, 7, 0x18, 0, 0, 0, 0x10, 200, 1, 7, 0x16, 90, 2, 0, 0, 60, 50, 0, 0x35, 0, 0, 0, i | 0x30, 2, 0, 0,
				0x1A, 1, 0, 0, 0x59, 0, 0, 0, 0x1A, 2, 0, 0, 2, 30, 50, 3, 0x55, 0, 0, 0, 0x16, 90, 2, 0, 0x13, 3, 2, 0,
			})
		}
	}
	f.Fuzz(func(t *testing.T, kind byte, script []byte) {
		if len(script) > 512 {
			return
		}
		synctest.Test(t, func(t *testing.T) {
			p := newScripted(t, kind&1 != 0, kind&2 != 0)
			for ; len(script) >= 4; script = script[4:] {
				p.step(script[0], script[1], script[2], script[3])
			}
			if len(script) == 0 { // usually the peer goes first
				p.leave()
			}
			ended := make(chan struct{})
			go func() { p.s.Close(nil); close(ended) }()
			select {
			case <-ended:
			case <-time.After(20 * time.Second):
				t.Error("the session does not end")
			}
			p.leave()
			p.tasks.Wait()
			synctest.Wait()
			p.judge()
		})
	})
}

// judge holds what has to be so when all has ended.
func (p *scripted) judge() {
	p.t.Helper()
	if n := p.s.streams.Count(); n != 0 {
		p.t.Errorf("%d streams stay", n)
	}
	if n := p.s.streams.Held(); n != 0 {
		p.t.Errorf("streams hold %d bytes", n)
	}
	if u := p.memory.Use(); u.Held != 0 {
		p.t.Errorf("%d bytes are charged", u.Held)
	}
	if n := len(p.servers.announced()); n > maxLearned {
		p.t.Errorf("%d addresses were learnt", n)
	}
	for number, n := range p.from.seen {
		if !p.altered && (n > 1 || number >= p.number) {
			p.t.Errorf("datagram %d of %d came %d times", number, p.number, n)
		}
	}
}
