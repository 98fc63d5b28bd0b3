package stream

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// exitAddr is where test streams go.
var exitAddr = netip.AddrPortFrom(packet.ServerHost4, packet.ExitPort)

// A pipe joins two tables as a session does, in memory: every packet arrives
// once, in random order, on several goroutines.
type pipe struct {
	t              testing.TB
	client, server *Table
	accepted       chan *Stream
	ends           [2]*pipeEnd
	wg             sync.WaitGroup
	inspect        func(fromClient bool, pkt []byte) // or nil; called by one goroutine an end
}

// A pipeEnd pulls from the streams of one table and delivers to the other.
type pipeEnd struct {
	mu      sync.Mutex
	cond    sync.Cond
	active  []*Stream
	flight  []flying
	delay   time.Duration // one way; needs reorder off
	closed  bool
	reorder bool
}

// flying is a packet on its way.
type flying struct {
	b   *buf.Buffer
	due time.Time
}

func newPipe(t testing.TB, reorder bool, most int) *pipe {
	p := &pipe{t: t, accepted: make(chan *Stream, most)}
	for i := range p.ends {
		p.ends[i] = &pipeEnd{reorder: reorder}
		p.ends[i].cond.L = &p.ends[i].mu
	}
	p.client = NewTable(true, p.ends[0].wake, func(*Stream) { panic("the client accepts nothing") }, most)
	p.server = NewTable(false, p.ends[1].wake, func(st *Stream) { p.accepted <- st }, most)
	for i, e := range p.ends {
		p.wg.Go(func() { p.pull(e, i == 0) })
		to := p.server
		if i == 1 {
			to = p.client
		}
		n := 3
		if !reorder {
			n = 1
		}
		for range n {
			p.wg.Go(func() { e.deliver(to) })
		}
	}
	stop, start := make(chan struct{}), time.Now()
	p.wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			case now := <-time.After(100 * time.Millisecond):
				p.client.Tick(int64(now.Sub(start)))
				p.server.Tick(int64(now.Sub(start)))
			}
		}
	})
	t.Cleanup(func() {
		close(stop)
		p.client.CloseAll(net.ErrClosed)
		p.server.CloseAll(net.ErrClosed)
		for _, e := range p.ends {
			e.mu.Lock()
			e.closed = true
			e.cond.Broadcast()
			e.mu.Unlock()
		}
		p.wg.Wait()
	})
	return p
}

func (e *pipeEnd) wake(st *Stream) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.active = append(e.active, st)
	e.cond.Broadcast()
}

// pull takes one segment of each active stream in turn.
func (p *pipe) pull(e *pipeEnd, client bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for {
		for (len(e.active) == 0 || len(e.flight) > 64 && e.delay == 0) && !e.closed {
			e.cond.Wait()
		}
		if e.closed {
			return
		}
		st := e.active[0]
		e.active = e.active[1:]
		b := st.Next(16 << 10)
		if b == nil {
			continue
		}
		if p.inspect != nil {
			p.inspect(client, b.Bytes())
		}
		e.active = append(e.active, st)
		e.flight = append(e.flight, flying{b, time.Now().Add(e.delay)})
		e.cond.Broadcast()
	}
}

func (e *pipeEnd) deliver(to *Table) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for {
		for len(e.flight) == 0 && !e.closed {
			e.cond.Wait()
		}
		if e.closed {
			return
		}
		last := len(e.flight) - 1
		b := e.flight[0].b
		if e.reorder {
			i := rand.IntN(last + 1)
			b = e.flight[i].b
			e.flight[i] = e.flight[last]
		} else {
			if wait := time.Until(e.flight[0].due); wait > 0 {
				e.mu.Unlock()
				time.Sleep(wait)
				e.mu.Lock()
				continue
			}
			copy(e.flight, e.flight[1:])
		}
		e.flight = e.flight[:last]
		e.cond.Broadcast()
		e.mu.Unlock()
		to.Input(b.Bytes())
		b.Release()
		e.mu.Lock()
	}
}

// dial opens a stream; the SYN is not sent yet.
func (p *pipe) dial() *Stream {
	p.t.Helper()
	st, err := p.client.Open(context.Background(), netip.MustParseAddrPort("127.0.0.1:5000"), exitAddr)
	if err != nil {
		p.t.Fatal(err)
	}
	return st
}

// take returns the next stream that the server accepted.
func (p *pipe) take() *Stream {
	p.t.Helper()
	select {
	case st := <-p.accepted:
		return st
	case <-time.After(20 * time.Second):
		p.t.Fatal("no stream was accepted")
		return nil
	}
}

// pair opens a stream and returns both ends; both SYNs are on their way.
func (p *pipe) pair() (client, server *Stream) {
	p.t.Helper()
	client = p.dial()
	if _, err := client.Write([]byte("!")); err != nil {
		p.t.Fatal(err)
	}
	server = p.take()
	var b [1]byte
	if _, err := server.Read(b[:]); err != nil || b[0] != '!' {
		p.t.Fatalf("first byte: %q, %v", b, err)
	}
	return client, server
}

// empty waits until both tables have forgotten all streams and all memory.
func (p *pipe) empty() {
	p.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		n, m := p.client.Count(), p.server.Count()
		held := p.client.held.Load() + p.server.held.Load()
		grown := p.client.grown.Load() + p.server.grown.Load()
		if n+m == 0 && held == 0 && grown == 0 {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("left over: %d client streams, %d server streams, %d bytes held, %d grown", n, m, held, grown)
		}
	}
}

// errGone is the end of a session that had no subflow for too long.
var errGone = errors.New("no subflow came back in time")

// Input takes one packet from the peer, which it borrows. Several goroutines may call it at
// once.
func (t *Table) Input(pkt []byte) {
	in := t.Inbox()
	in.Add(pkt, nil)
	in.Flush()
}
