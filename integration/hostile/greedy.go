package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mpsocks/mpsocks/mux/mptcp"
	"github.com/mpsocks/mpsocks/mux/muxtest"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// What one client can do to hold memory of the server's.

var exitAt = netip.AddrPortFrom(packet.ServerHost4, packet.ExitPort)

// segment is one of a stream from a port of the client's.
func segment(port int, seq uint32, flags uint8, payload []byte) []byte {
	h := packet.TCP{
		Src: netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, 0, 2}), uint16(port)), Dst: exitAt,
		Flags: flags, Seq: seq, TTL: 64, Bare: true, Window: 65535,
	}
	n := packet.TCPOverhead(exitAt.Addr(), 0)
	b := make([]byte, n+len(payload))
	copy(b[n:], payload)
	packet.PutTCP(b, &h)
	return b
}

// asked is a SOCKS request for a CONNECT, with its greeting.
func asked(to net.Addr) []byte {
	at := to.(*net.TCPAddr).AddrPort()
	b := append([]byte{5, 1, 0, 5, 1, 0, 1}, at.Addr().Unmap().AsSlice()...)
	return append(b, byte(at.Port()>>8), byte(at.Port()))
}

// begin opens a session whose answers are read and thrown away, so that TCP goes on; over
// is closed when the server ends it.
func (p *attacker) begin(until time.Time) (s *subflow, over chan struct{}, err error) {
	if s, err = p.open(); err != nil {
		return nil, nil, err
	}
	_ = s.SetDeadline(until)
	over = make(chan struct{})
	go func() {
		defer close(over)
		_, _ = io.Copy(io.Discard, s)
	}()
	return s, over, nil
}

// repeat opens sessions one after the other, as they are cut, and has f use each.
func (p *attacker) repeat(until time.Time, f func(s *subflow) error) (sessions int64) {
	for time.Now().Before(until) {
		s, over, err := p.begin(until)
		if err != nil {
			time.Sleep(50 * time.Millisecond)
			continue
		}
		sessions++
		if f(s) == nil {
			<-over
		}
		s.Close()
	}
	return sessions
}

// unread asks for CONNECTs to what speaks without end and to what does not read, and
// takes nothing of the one and fills the windows of the other.
func unread(p *attacker, until time.Time) (string, string) {
	var asks atomic.Int64
	n := p.repeat(until, func(s *subflow) error {
		for i := range 500 {
			if _, err := s.Write(s.frame(nil, segment(2000+2*i, 0, packet.FlagSYN, asked(p.source.Addr())))); err != nil {
				return err
			}
			out := asked(p.sink.Addr())
			if _, err := s.Write(s.frame(nil, segment(2001+2*i, 0, packet.FlagSYN, out))); err != nil {
				return err
			}
			asks.Add(2)
		}
		for i := range 500 {
			for seq := 0; seq < 200<<10; seq += 8 << 10 {
				if _, err := s.Write(s.frame(nil, segment(2001+2*i, uint32(1+17+seq), packet.FlagPSH, make([]byte, 8<<10)))); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return fmt.Sprintf("%d CONNECTs in %d sessions", asks.Load(), n), ""
}

// early says bare ACKs of streams whose SYN never comes, a few for each.
func early(p *attacker, until time.Time) (string, string) {
	var said atomic.Int64
	n := p.repeat(until, func(s *subflow) error {
		for i := range 16_000 {
			if _, err := s.Write(s.frame(nil, segment(1024+i, 5, packet.FlagPSH, []byte("x")))); err != nil {
				return err
			}
			for range 20 {
				if _, err := s.Write(s.frame(nil, segment(1024+i, 6, packet.FlagACK, nil))); err != nil {
					return err
				}
				said.Add(1)
			}
		}
		return nil
	})
	return fmt.Sprintf("%d ACKs in %d sessions", said.Load(), n), ""
}

// rekeys has the keys changed all the time, answered in turn or not, and reads no answer.
func rekeys(p *attacker, until time.Time) (string, string) {
	var said atomic.Int64
	cut := 0
	ack := (&mptcp.DSS{HasAck: true, Ack8: true, Ack: 1}).Append(nil)
	for time.Now().Before(until) {
		c, err := dial(p.at)
		if err != nil {
			time.Sleep(50 * time.Millisecond)
			continue
		}
		_ = c.SetDeadline(until)
		r := muxtest.NewRekeyer(c)
		r.Quiet = cut%2 == 1
		t, err := r.Client(p.asClient())
		if err == nil {
			s := &subflow{Conn: t}
			if err = s.capable(); err == nil {
				_ = c.SetDeadline(until)
				for err == nil && time.Now().Before(until) {
					_, err = r.Conn.Write(r.KeyUpdates(64, ack))
					said.Add(64)
				}
				cut++
			}
		}
		c.Close()
		if err != nil {
			time.Sleep(20 * time.Millisecond)
		}
	}
	broken := ""
	if cut < 2 {
		broken = "a session that only changes its keys goes on"
	}
	return fmt.Sprintf("%d KeyUpdates in %d sessions", said.Load(), cut), broken
}

// halves sends the first half of a TLS record on each of 120 subflows.
func halves(p *attacker, until time.Time) (string, string) {
	n := 0
	for range 2 {
		s, err := p.open()
		if err != nil {
			continue
		}
		all := []*subflow{s}
		for len(all) < 60 {
			t, err := p.joinTo(s, 1, false)
			if err != nil {
				break
			}
			all = append(all, t)
		}
		for _, t := range all {
			defer t.Close()
			_, _ = t.NetConn().Write(append([]byte{23, 3, 3, 0x40, 0}, make([]byte, 8<<10)...))
		}
		n += len(all)
	}
	time.Sleep(time.Until(until))
	return fmt.Sprintf("%d subflows", n), ""
}

// mix does all of it at once.
func mix(p *attacker, until time.Time) (got, broken string) {
	kinds := []func(*attacker, time.Time) (string, string){unread, early, rekeys, partial, halves, deaf, mappings}
	said := make([]string, len(kinds))
	var wg sync.WaitGroup
	for i, f := range kinds {
		wg.Go(func() {
			time.Sleep(rand.N(100 * time.Millisecond))
			said[i], _ = f(p, until)
		})
	}
	wg.Wait()
	for i, s := range said {
		if i > 0 {
			got += "; "
		}
		got += s
	}
	return got, ""
}

// lists sends flows of the smallest packets by two subflows, all but the second packet of each:
// the server holds them for some milliseconds, and has a list of thousands for every flow. Where
// they go to is refused, so that nothing comes of them outside.
func lists(p *attacker, until time.Time) (string, string) {
	const held = 2500 // in one read of the server's, about
	var flows atomic.Int64
	var wg sync.WaitGroup
	nowhere := netip.MustParseAddrPort("10.255.255.1:9")
	for range 8 {
		wg.Go(func() {
			flow := 0
			p.repeat(until, func(s *subflow) error {
				t, err := p.joinTo(s, 1, false)
				if err != nil {
					return err
				}
				defer t.Close()
				go func() { _, _ = io.Copy(io.Discard, t) }() // until it is closed
				for {
					flow++
					h := packet.UDP{Src: netip.AddrPortFrom(inside, uint16(1024+flow%32768)), Dst: nowhere, TTL: 64}
					b := make([]byte, h.Overhead(0))
					packet.PutUDP(b, &h)
					t.dsn = s.dsn
					if _, err := t.Write(t.frame(nil, b)); err != nil {
						return err
					}
					s.dsn = t.dsn
					var frames []byte
					for id := range uint32(held) {
						h.ID = id + 2
						packet.PutUDP(b, &h)
						frames = s.frame(frames, b)
					}
					if _, err := s.Write(frames); err != nil {
						return err
					}
					flows.Add(1)
				}
			})
		})
	}
	wg.Wait()
	return fmt.Sprintf("%d flows", flows.Load()), ""
}
