// Package pipe is a carrier in memory, for tests: two ends that know each other, without
// a socket, TLS or a clock.
package pipe

import (
	"io"
	"net"
	"sync"

	"github.com/mpsocks/mpsocks/mux/carrier"
)

// An End is one end of a pipe.
type End struct {
	out, in *way
	name    net.Addr
	other   net.Addr
	frame   int

	started  bool
	gathered []byte

	mu    sync.Mutex // guards the rest
	tuned map[carrier.Knob]carrier.Setting
}

var _ carrier.Carrier = (*End)(nil)

// New returns both ends of a pipe that holds so many bytes each way, and whose frames are
// at most that long.
func New(holds, frame int) (a, b *End) {
	there, back := newWay(holds), newWay(holds)
	at := [2]net.Addr{&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 2), Port: 2}}
	a = &End{out: there, in: back, name: at[0], other: at[1], frame: frame, tuned: make(map[carrier.Knob]carrier.Setting)}
	b = &End{out: back, in: there, name: at[1], other: at[0], frame: frame, tuned: make(map[carrier.Knob]carrier.Setting)}
	return a, b
}

// A way is one direction.
type way struct {
	mu       sync.Mutex // guards the rest
	moved    sync.Cond  // bytes came or went, or it was closed
	bytes    []byte
	most     int
	closed   bool
	put, got uint64
}

func newWay(most int) *way {
	w := &way{most: most}
	w.moved.L = &w.mu
	return w
}

// add takes what there is room for; wait has it wait for room for the rest.
func (w *way) add(p []byte, wait bool) (n int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		if w.closed {
			return n, net.ErrClosed
		}
		k := min(len(p)-n, w.most-len(w.bytes))
		w.bytes = append(w.bytes, p[n:n+k]...)
		w.put += uint64(k)
		if n += k; k > 0 {
			w.moved.Broadcast()
		}
		if n == len(p) || !wait {
			return n, nil
		}
		w.moved.Wait()
	}
}

// await waits for bytes; io.EOF is the end.
func (w *way) await() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.bytes) == 0 && !w.closed {
		w.moved.Wait()
	}
	if len(w.bytes) == 0 {
		return io.EOF
	}
	return nil
}

func (w *way) take(p []byte) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := copy(p, w.bytes)
	w.bytes = append(w.bytes[:0], w.bytes[n:]...)
	w.got += uint64(n)
	w.moved.Broadcast()
	return n
}

func (w *way) count() (put, got uint64, here int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.put, w.got, len(w.bytes)
}

func (w *way) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.moved.Broadcast()
}

// drop closes it, and what is on the way is lost.
func (w *way) drop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bytes, w.closed = nil, true
	w.moved.Broadcast()
}

// Start implements carrier.Carrier.
func (e *End) Start() { e.started = true }

// Write implements carrier.Carrier; before Start it writes through.
func (e *End) Write(p []byte) (int, error) {
	if !e.started {
		return e.out.add(p, true)
	}
	e.gathered = append(e.gathered, p...)
	return len(p), nil
}

// WriteOver implements carrier.Carrier: what is behind p is gone.
func (e *End) WriteOver(p []byte) (int, error) {
	if cap(p) > len(p) {
		p[:len(p)+1][len(p)] = 0xAA
	}
	return e.Write(p)
}

// Flush implements carrier.Carrier.
func (e *End) Flush() (blocked bool, err error) {
	err = e.pass(false)
	return len(e.gathered) > 0, err
}

// Drain implements carrier.Carrier.
func (e *End) Drain() error { return e.pass(true) }

func (e *End) pass(wait bool) error {
	n, err := e.out.add(e.gathered, wait)
	e.gathered = append(e.gathered[:0], e.gathered[n:]...)
	return err
}

// LargestFrame implements carrier.Carrier.
func (e *End) LargestFrame() int { return e.frame }

// Receive implements carrier.Carrier.
func (e *End) Receive(handle func() error, _ func() bool) error {
	for {
		if err := e.in.await(); err != nil {
			return err
		}
		if err := handle(); err != nil {
			return err
		}
	}
}

// Read implements carrier.Carrier.
func (e *End) Read(p []byte) (int, error) {
	if err := e.in.await(); err != nil {
		return 0, err
	}
	return e.in.take(p), nil
}

// Next implements carrier.Carrier: what is here, in pieces of a frame's length at most.
func (e *End) Next() ([]byte, error) {
	p := make([]byte, e.frame)
	if p = p[:e.in.take(p)]; len(p) == 0 {
		return nil, carrier.ErrNotYet
	}
	return p, nil
}

// NextInto implements carrier.Carrier.
func (e *End) NextInto(room []byte) (p []byte, there bool, err error) {
	p, err = e.Next()
	if there = len(p) > len(room)/2 && len(p) <= len(room); there {
		p = room[:copy(room, p)]
	}
	return p, there, err
}

// Carried implements carrier.Carrier.
func (e *End) Carried() (sent, received uint64) {
	sent, _, _ = e.out.count()
	_, received, _ = e.in.count()
	return sent, received
}

// Committed implements carrier.Carrier.
func (e *End) Committed() uint64 {
	sent, _ := e.Carried()
	return sent + uint64(len(e.gathered))
}

// Held implements carrier.Carrier: what the other end has not read.
func (e *End) Held() int {
	_, _, here := e.out.count()
	return here
}

// Report implements carrier.Carrier. A pipe knows what was not read, and nothing of the
// way.
func (e *End) Report(bool) carrier.Report {
	sent, _, here := e.out.count()
	return carrier.Report{Sent: sent, Outstanding: here}
}

// Tune implements carrier.Carrier: it is kept for Tuned.
func (e *End) Tune(k carrier.Knob, v carrier.Setting) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.tuned[k] = v
}

// Tuned returns what a knob was set to last, and whether it ever was.
func (e *End) Tuned(k carrier.Knob) (v carrier.Setting, set bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	v, set = e.tuned[k]
	return v, set
}

// LocalAddr implements carrier.Carrier.
func (e *End) LocalAddr() net.Addr { return e.name }

// RemoteAddr implements carrier.Carrier.
func (e *End) RemoteAddr() net.Addr { return e.other }

// CloseWrite implements carrier.Carrier.
func (e *End) CloseWrite() { e.out.close() }

// Close implements carrier.Carrier.
func (e *End) Close() {
	e.out.close()
	e.in.close()
}

// Abort implements carrier.Carrier.
func (e *End) Abort() {
	e.out.drop()
	e.in.drop()
}
