package stream

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

var home = netip.AddrPortFrom(packet.ClientHost4, 2000)

// maxSegment builds a packet from the client.
func maxSegment(h packet.TCP, payload string) []byte {
	if !h.Src.IsValid() {
		h.Src, h.Dst = home, exitAddr
	}
	p := make([]byte, packet.TCPOverhead(h.Dst.Addr(), len(h.Options))+len(payload))
	copy(p[len(p)-len(payload):], payload)
	packet.PutTCP(p, &h)
	return p
}

// A quietTable is a server's table whose wakes are only noted.
type quietTable struct {
	*Table
	mu            sync.Mutex // several may write at once
	woken, opened []*Stream
}

func newQuietTable(most int) *quietTable {
	q := &quietTable{}
	q.Table = NewTable(false,
		func(st *Stream) {
			q.mu.Lock()
			defer q.mu.Unlock()
			q.woken = append(q.woken, st)
		},
		func(st *Stream) { q.opened = append(q.opened, st) }, most)
	return q
}

// sent pulls everything and describes it.
func (q *quietTable) sent(t *testing.T) (said []string) {
	t.Helper()
	for _, st := range q.woken {
		for b := st.Next(16384); b != nil; b = st.Next(16384) {
			var h packet.TCP
			payload, err := packet.ParseTCP(b.Bytes(), &h)
			if err != nil {
				t.Fatal(err)
			}
			said = append(said, flagsOf(h.Flags)+" "+string(payload))
			b.Release()
		}
	}
	q.woken = nil
	return said
}

func flagsOf(f uint8) (s string) {
	for i, c := range "FSRPA" {
		if f&(1<<i) != 0 {
			s += string(c)
		}
	}
	return s
}

const (
	syn = packet.FlagSYN
	ack = packet.FlagACK
	fin = packet.FlagFIN
	rst = packet.FlagRST
)

func TestStreamTableStrangers(t *testing.T) {
	type step struct {
		h       packet.TCP
		payload string
	}
	iss := ^uint32(1) // the sequence wraps within the first bytes
	for name, c := range map[string]struct {
		steps  []step
		said   []string
		opened int
		left   int
	}{
		"data overtakes the SYN": {
			steps:  []step{{packet.TCP{Seq: iss + 6}, "world"}, {packet.TCP{Seq: iss, Flags: syn}, "hello"}},
			opened: 1, left: 1,
		},
		"FIN overtakes all": {
			steps: []step{
				{packet.TCP{Seq: iss + 6, Flags: fin}, ""},
				{packet.TCP{Seq: iss + 1}, "hello"},
				{packet.TCP{Seq: iss, Flags: syn}, ""},
			},
			opened: 1, left: 1, // the ACK waits for a segment to go with
		},
		"RST overtakes the SYN": {
			steps: []step{{packet.TCP{Seq: iss + 6, Flags: rst}, ""}, {packet.TCP{Seq: iss, Flags: syn}, "hello"}},
			said:  []string{"RA "},
		},
		"RST overtakes the SYN but not the data": {
			steps: []step{
				{packet.TCP{Seq: iss + 1}, "hello"},
				{packet.TCP{Seq: iss + 6, Flags: rst}, ""},
				{packet.TCP{Seq: iss, Flags: syn}, ""},
			},
			said: []string{"RA "},
		},
		"late ACK":            {steps: []step{{packet.TCP{Seq: 1, Ack: 7, Flags: ack}, ""}}},
		"RST out of the blue": {steps: []step{{packet.TCP{Seq: 1, Flags: rst}, ""}}},
		"RST of an old stream": {
			steps:  []step{{packet.TCP{Seq: 1, Flags: syn}, ""}, {packet.TCP{Seq: 1 << 30, Flags: rst}, ""}},
			opened: 1, left: 1,
		},
		"RST": {
			steps:  []step{{packet.TCP{Seq: 1, Flags: syn}, ""}, {packet.TCP{Seq: 2, Flags: rst}, ""}},
			opened: 1,
		},
		"SYN-ACK to a server": {steps: []step{{packet.TCP{Seq: 1, Ack: 1, Flags: syn | ack}, ""}}, left: 1},
		"too many": {
			steps: []step{
				{packet.TCP{Seq: 1, Flags: syn}, ""},
				{packet.TCP{Src: netip.AddrPortFrom(packet.ClientHost4, 2001), Dst: exitAddr, Seq: 1, Flags: syn}, ""},
				{packet.TCP{Src: netip.AddrPortFrom(packet.ClientHost4, 2002), Dst: exitAddr, Seq: 1, Flags: syn}, "x"},
				{packet.TCP{Src: netip.AddrPortFrom(packet.ClientHost4, 2002), Dst: exitAddr, Seq: 9}, "late"},
			},
			said: []string{"RA "}, opened: 2, left: 2,
		},
		"over the window": {
			steps: []step{
				{packet.TCP{Seq: 0, Flags: syn}, ""},
				{packet.TCP{Seq: 1 + initialWindow - 4}, "12345"},
			},
			said: []string{"RA "}, opened: 1,
		},
		"up to the edge of the window": {
			steps: []step{
				{packet.TCP{Seq: 0, Flags: syn}, ""},
				{packet.TCP{Seq: 1 + initialWindow - 5}, "12345"},
			},
			opened: 1, left: 1,
		},
		"overlap": {
			steps: []step{
				{packet.TCP{Seq: 0, Flags: syn}, ""}, {packet.TCP{Seq: 11}, "12345"}, {packet.TCP{Seq: 8}, "12345"},
			},
			said: []string{"RA "}, opened: 1,
		},
		"the same twice": {
			steps: []step{
				{packet.TCP{Seq: 0, Flags: syn}, ""},
				{packet.TCP{Seq: 11}, "12345"},
				{packet.TCP{Seq: 11}, "12345"},
				{packet.TCP{Seq: 1}, "1234567890"},
				{packet.TCP{Seq: 1}, "1234567890"},
			},
			opened: 1, left: 1,
		},
		"data beyond FIN": {
			steps: []step{
				{packet.TCP{Seq: 0, Flags: syn}, ""}, {packet.TCP{Seq: 5, Flags: fin}, ""}, {packet.TCP{Seq: 5}, "x"},
			},
			said: []string{"RA "}, opened: 1,
		},
		"FIN before data": {
			steps: []step{
				{packet.TCP{Seq: 0, Flags: syn}, ""}, {packet.TCP{Seq: 5}, "x"}, {packet.TCP{Seq: 3, Flags: fin}, ""},
			},
			said: []string{"RA "}, opened: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			q := newQuietTable(2)
			for _, s := range c.steps {
				q.Input(maxSegment(s.h, s.payload))
			}
			if diff := cmp.Diff(c.said, q.sent(t)); diff != "" {
				t.Errorf("answers (-want +got):\n%s", diff)
			}
			if len(q.opened) != c.opened || q.Count() != c.left {
				t.Errorf("%d opened, %d left, want %d and %d", len(q.opened), q.Count(), c.opened, c.left)
			}
			q.CloseAll(net.ErrClosed)
			for _, st := range q.opened {
				st.Close()
			}
			if q.Count() != 0 || q.held.Load() != 0 {
				t.Errorf("%d streams and %d bytes are left at the end", q.Count(), q.held.Load())
			}
		})
	}
}

// TestStreamTableRefusesAFew floods with segments of no stream.
func TestStreamTableRefusesAFew(t *testing.T) {
	q := newQuietTable(1)
	for i := range 1000 {
		q.Input(maxSegment(packet.TCP{Src: netip.AddrPortFrom(packet.ClientHost4, uint16(1024+i)), Dst: exitAddr, Flags: syn}, ""))
	}
	if n := len(q.sent(t)); n != refusalsEach {
		t.Errorf("%d refusals", n)
	}
}

// TestStreamTableForgetsHalfOpen bounds streams whose SYN never comes, whose
// SYN is never answered, and closed ones whose peer says nothing.
func TestStreamTableForgetsHalfOpen(t *testing.T) {
	q := newQuietTable(10)
	q.Tick(1e9)
	q.Input(maxSegment(packet.TCP{Seq: 5}, "early"))
	q.Tick(2e9)
	if q.Count() != 1 || q.held.Load() == 0 {
		t.Fatal("the early data was not kept")
	}
	q.Tick(3e9 + int64(handshakeTime))
	if diff := cmp.Diff([]string{"RA "}, q.sent(t)); diff != "" || q.Count() != 0 || q.held.Load() != 0 {
		t.Errorf("%d streams, %d bytes; answers %s", q.Count(), q.held.Load(), diff)
	}

	p := NewTable(true, func(st *Stream) {
		for b := st.Next(16384); b != nil; b = st.Next(16384) {
			b.Release()
		}
	}, nil, 10)
	p.Tick(1e9)
	st, err := p.Open(t.Context(), exitAddr, exitAddr)
	if err != nil {
		t.Fatal(err)
	}
	st.Write([]byte("hello"))
	p.Tick(2e9)
	p.Tick(3e9 + int64(handshakeTime))
	if _, err := st.Read(make([]byte, 1)); !errors.Is(err, errTimeout) || p.Count() != 0 {
		t.Errorf("unanswered stream: %v, %d left", err, p.Count())
	}

	q = newQuietTable(10)
	q.Tick(1e9)
	q.Input(maxSegment(packet.TCP{Flags: syn}, "x"))
	q.opened[0].Close()
	q.sent(t)
	q.Tick(2e9)
	q.Tick(3e9 + int64(lingerTime))
	if q.Count() != 0 {
		t.Error("a closed stream waits for ever")
	}
}

func TestStreamPortsAreReusedLast(t *testing.T) {
	p := NewTable(true, func(*Stream) {}, nil, 1<<20)
	p.Tick(1e9)
	seen := map[netip.AddrPort]int{}
	const round = lastPort - firstPort + 1
	for i := range 2*round + 10 {
		st, err := p.Open(t.Context(), exitAddr, exitAddr)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := seen[st.local]; ok {
			t.Fatalf("%v again, as stream %d after %d", st.local, i, seen[st.local])
		}
		seen[st.local] = i
		st.Close()
	}
	p.Tick(1e9 + int64(5*guardTurn))
	p.Tick(1e9 + int64(10*guardTurn))
	p.ports.port = lastPort + 1
	if st, err := p.Open(t.Context(), exitAddr, exitAddr); err != nil || st.local != netip.AddrPortFrom(packet.ClientHost4, firstPort) {
		t.Errorf("after a rest: %v, %v", st.local, err)
	}
}

// TestStreamSegmentAllocs sends and receives segments in steady state.
func TestStreamSegmentAllocs(t *testing.T) {
	var c, s *Stream
	var there, back *Table
	var awake [2]bool
	there = NewTable(true, func(*Stream) { awake[0] = true }, nil, 1)
	back = NewTable(false, func(*Stream) { awake[1] = true }, func(st *Stream) { s = st }, 1)
	c, _ = there.Open(t.Context(), exitAddr, exitAddr)
	inboxes := map[*Table]*Inbox{there: there.Inbox(), back: back.Inbox()}
	pass := func(st *Stream, to *Table) {
		for b := st.Next(16384); b != nil; b = st.Next(16384) {
			inboxes[to].Add(b.Bytes(), nil)
			inboxes[to].Flush()
			b.Release()
		}
	}
	data, got := make([]byte, 40000), make([]byte, 50000)
	round := func() {
		c.Write(data)
		pass(c, back)
		for n := 0; n < len(data); {
			k, err := s.Read(got)
			if err != nil {
				t.Fatal(err)
			}
			n += k
		}
		pass(s, there)
	}
	for range 100 {
		round()
	}
	if n := testing.AllocsPerRun(200, round); n > 0.2 && !raceOn {
		t.Errorf("%v allocations for three segments", n)
	}
}

func TestStreamIdleHoldsNoBuffers(t *testing.T) {
	p := newPipe(t, true, 10)
	c, s := p.pair()
	noise(c, 1, 200000)
	c.CloseWrite()
	b := make([]byte, 1<<20)
	for {
		if _, err := s.Read(b); err != nil {
			break
		}
	}
	s.mu.Lock()
	if slices.ContainsFunc(s.ready.items, func(b *buf.Buffer) bool { return b != nil }) || len(s.pieces) > 0 || p.server.held.Load() != 0 {
		t.Errorf("held: %v, %v, %d bytes", s.ready, s.pieces, p.server.held.Load())
	}
	s.mu.Unlock()
	s.Close()
	c.Close()
	p.empty()
}

func FuzzStreamInput(f *testing.F) {
	for _, p := range [][]byte{
		maxSegment(packet.TCP{Seq: 1, Flags: syn, Options: synOptions}, "hello"),
		maxSegment(packet.TCP{Seq: 7, Ack: 1, Flags: ack, Window: 7}, "world"),
		maxSegment(packet.TCP{Seq: 12, Flags: fin | ack}, ""),
		maxSegment(packet.TCP{Seq: 12, Flags: rst}, ""),
	} {
		f.Add(p, p)
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		for _, client := range []bool{true, false} {
			var streams []*Stream
			table := NewTable(client, func(st *Stream) {
				for b := st.Next(16384); b != nil; b = st.Next(16384) {
					b.Release()
				}
			}, func(st *Stream) { streams = append(streams, st) }, 4)
			if client {
				st, _ := table.Open(t.Context(), exitAddr, exitAddr)
				streams = append(streams, st)
				st.iss = 0
				st.Write([]byte("hi"))
			}
			now := int64(1e9)
			// The bytes are a script: packets as they are, and pieces of them as
			// the variable fields of packets to the stream itself.
			for _, p := range [][]byte{a, b} {
				table.Input(p)
				for ; len(p) >= 12; p = p[12:] {
					h := packet.TCP{
						Src: home, Dst: exitAddr, Flags: p[0], Window: uint16(p[1]),
						Seq: uint32(int32(int8(p[2])) * int32(p[3])), Ack: uint32(p[4]), Options: p[5:9],
					}
					if client {
						h.Src, h.Dst = exitAddr, streams[0].local
					}
					table.Input(maxSegment(h, string(p[9:9+p[9]%4])))
					now += int64(p[10]) * int64(time.Second) / 4
					table.Tick(now)
				}
			}
			table.CloseAll(net.ErrClosed)
			for _, st := range streams {
				st.Close()
			}
			if n := table.held.Load(); n != 0 || table.Count() != 0 || table.grown.Load() != 0 {
				t.Fatalf("%d bytes, %d streams, %d grown are left", n, table.Count(), table.grown.Load())
			}
		}
	})
}
