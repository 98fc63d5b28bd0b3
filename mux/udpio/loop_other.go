//go:build !linux || mpsocks_portable

package udpio

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/mux/buf"
)

const (
	// maxDatagram is longer than any UDP payload.
	maxDatagram = 65535
	// maxErrors is how many errors in a row a socket may return on receipt
	// before its goroutine pauses for errorPause, lest it spins on a device
	// that is going away.
	maxErrors  = 8
	errorPause = 10 * time.Millisecond
)

// A Loop reads many sockets. This portable one has a goroutine for each, which
// holds a 64 KiB Buffer while it waits; handlers run one at a time.
type Loop struct {
	after func() // or nil
	stats counters

	// turn is held around every call of a Handler and of after.
	turn sync.Mutex

	// mu guards what follows. It is never held together with turn.
	mu      sync.Mutex
	conns   map[*Conn]struct{}
	running bool
	shut    bool
	readers sync.WaitGroup
}

// NewLoop returns a Loop without sockets. Its owner must call Run once, which
// also frees what Listen took. The after function, if not nil, is called after
// every Handler.
func NewLoop(_ zerolog.Logger, after func()) (*Loop, error) {
	return &Loop{after: after, conns: make(map[*Conn]struct{})}, nil
}

// Listen binds a socket that this Loop reads from now on, or from the start of
// Run. Any goroutine may call it. Errors: net.ErrClosed after Run,
// errors.ErrUnsupported for options of Linux, or the system's, wrapped with the
// address.
func (l *Loop) Listen(local netip.AddrPort, opt Options, h Handler) (*Conn, error) {
	c, err := open(local, opt)
	if err != nil {
		return nil, fmt.Errorf("listen udp %s: %w", local, err)
	}
	c.loop, c.handler = l, h
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shut {
		c.udp.Close()
		return nil, fmt.Errorf("listen udp %s: %w", local, net.ErrClosed)
	}
	l.conns[c] = struct{}{}
	if l.running {
		l.readers.Go(func() { l.read(c) })
	}
	return c, nil
}

// Run reads the sockets until ctx ends; then it closes all of them, waits for
// their goroutines and returns nil.
func (l *Loop) Run(ctx context.Context) error {
	l.mu.Lock()
	l.running = true
	for c := range l.conns {
		l.readers.Go(func() { l.read(c) })
	}
	l.mu.Unlock()
	<-ctx.Done()
	l.mu.Lock()
	l.shut = true
	open := make([]*Conn, 0, len(l.conns))
	for c := range l.conns {
		open = append(open, c)
	}
	l.mu.Unlock()
	for _, c := range open {
		c.Close()
	}
	l.readers.Wait()
	return nil
}

// read is the goroutine of one Conn; Close ends it.
func (l *Loop) read(c *Conn) {
	long := buf.Get(maxDatagram)
	defer long.Release()
	var msgs [1]Message
	for failed := 0; !c.closed.Load(); {
		n, from, err := c.udp.ReadFromUDPAddrPort(long.Bytes())
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// Most likely an ICMP error, which must not end a mapping.
			l.stats.errors.Add(1)
			if failed++; failed%maxErrors == 0 {
				time.Sleep(errorPause)
			}
			continue
		}
		failed = 0
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		if peer := c.peer.Load(); peer != nil && *peer != from {
			continue
		}
		msgs[0] = Message{Buf: buf.Get(n), Addr: from}
		copy(msgs[0].Buf.Bytes(), long.Bytes())
		l.stats.datagrams.Add(1)
		l.stats.calls.Add(1)
		l.hand(c, msgs[:])
	}
}

// hand gives messages to the Handler, unless the Conn was closed meanwhile.
func (l *Loop) hand(c *Conn, msgs []Message) {
	l.turn.Lock()
	defer l.turn.Unlock()
	if !c.closed.Load() {
		c.handler(c, msgs)
		if l.after != nil {
			l.after()
		}
	} else {
		l.stats.drops[DropClosed].Add(uint64(len(msgs)))
	}
	for i := range msgs {
		if b := msgs[i].Buf; b != nil {
			msgs[i].Buf = nil
			b.Release()
		}
	}
}

// Stats returns the counters of what this Loop received.
func (l *Loop) Stats() Stats { return l.stats.snapshot() }
