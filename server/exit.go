package server

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// streamIdle ends a connection on which nothing has moved: the least that
	// RFC 5382 REQ-5 lets a NAT choose. Peers that vanished are found by TCP
	// keep-alive in minutes.
	streamIdle = 2*time.Hour + 4*time.Minute
	// halfClosedIdle is the same when one direction has ended: REQ-5's least
	// for transitory connections is four minutes.
	halfClosedIdle = 5 * time.Minute
)

// An exit is one CONNECT: a stream inside, a TCP connection outside. armon
// copies between its two faces, inside and outside, with a goroutine for each
// direction; they note what failed, so that a reset on one side becomes a reset
// on the other, and an end an end.
type exit struct {
	stream stream
	target atomic.Pointer[net.TCPConn]
	asked  atomic.Pointer[string] // host:port that the client asked for
	killed atomic.Bool

	streamFailed, targetFailed atomic.Bool
	halfClosed                 atomic.Bool

	// active says that bytes moved since the sweeper last looked, where the
	// system does not tell; moved is when they did, and the sweeper's own.
	active atomic.Bool
	moved  int64
}

// connected notes the connection; false if the session has ended meanwhile, and
// then the connection is closed.
func (e *exit) connected(c *net.TCPConn) bool {
	e.target.Store(c)
	if e.killed.Load() {
		c.Close()
		return false
	}
	return true
}

// kill ends both sides at once, from any goroutine.
func (e *exit) kill() {
	e.killed.Store(true)
	e.streamFailed.Store(true)
	c := e.target.Load()
	if c != nil {
		_ = c.SetLinger(0) // before anybody closes it
	}
	e.stream.Reset()
	if c != nil {
		c.Close()
	}
}

// inside is the stream as armon sees it.
type inside struct{ *exit }

func (c inside) Read(b []byte) (int, error)         { return c.stream.Read(b) }
func (c inside) Write(b []byte) (int, error)        { return c.stream.Write(b) }
func (c inside) LocalAddr() net.Addr                { return c.stream.LocalAddr() }
func (c inside) RemoteAddr() net.Addr               { return c.stream.RemoteAddr() }
func (c inside) SetDeadline(t time.Time) error      { return c.stream.SetDeadline(t) }
func (c inside) SetReadDeadline(t time.Time) error  { return c.stream.SetReadDeadline(t) }
func (c inside) SetWriteDeadline(t time.Time) error { return c.stream.SetWriteDeadline(t) }

// WriteTo is the direction out, which io.Copy calls with the outside. The stream
// moves the data by itself, many segments with one system call.
func (c inside) WriteTo(io.Writer) (int64, error) {
	n, err := c.stream.WriteTo(c.socket())
	c.blame(err)
	return n, err
}

// CloseWrite passes the target's end on, unless it was a failure.
func (c inside) CloseWrite() error {
	if c.targetFailed.Load() || c.killed.Load() {
		return nil
	}
	c.halfClosed.Store(true)
	return c.stream.CloseWrite()
}

// Close ends the stream as the target has ended: in order, or by a reset.
func (c inside) Close() error {
	if c.targetFailed.Load() || c.killed.Load() {
		c.stream.Reset()
		return nil
	}
	return c.stream.Close()
}

// blame notes which side an error of copying came from: those of a socket are
// of two types, and everything else is the stream's. A stream that failed
// resets the target.
func (e *exit) blame(err error) {
	if err == nil || e.killed.Load() {
		return
	}
	switch err.(type) { // not errors.As: a stream's error may wrap one of these
	case *net.OpError, syscall.Errno:
		e.targetFailed.Store(true)
		return
	}
	e.streamFailed.Store(true)
	if c := e.target.Load(); c != nil {
		_ = c.SetLinger(0)
	}
}

// outside is the TCP connection as armon sees it. Its LocalAddr is a
// *net.TCPAddr, without which armon panics.
type outside struct {
	*net.TCPConn
	exit *exit
}

func (c outside) Write(b []byte) (int, error) {
	n, err := c.TCPConn.Write(b)
	c.exit.touch()
	c.exit.blame(err)
	return n, err
}

// WriteTo is the direction in, which io.Copy calls with the inside.
func (c outside) WriteTo(io.Writer) (int64, error) {
	n, err := c.exit.stream.ReadFrom(c.exit.socket())
	c.exit.blame(err)
	return n, err
}

// CloseWrite passes the stream's end on, unless it was a failure.
func (c outside) CloseWrite() error {
	if c.exit.streamFailed.Load() {
		return nil
	}
	c.exit.halfClosed.Store(true)
	return c.TCPConn.CloseWrite()
}

// touch notes that bytes have moved, without writing to a shared cache line
// each time.
func (e *exit) touch() {
	if !e.active.Load() {
		e.active.Store(true)
	}
}

// exits is the table of all CONNECTs, for their idle timers.
type exits struct {
	idle, halfClosed time.Duration // streamIdle and halfClosedIdle

	mu  sync.Mutex // guards set
	set map[*exit]struct{}
}

func (t *exits) add(e *exit, now int64) {
	e.moved = now
	t.mu.Lock()
	t.set[e] = struct{}{}
	t.mu.Unlock()
}

func (t *exits) remove(e *exit) {
	t.mu.Lock()
	delete(t.set, e)
	t.mu.Unlock()
}

// expire ends the connections on which nothing has moved for too long. The
// sweeper calls it; the system is asked only about those that may be idle.
func (t *exits) expire(now int64) {
	var idle []*exit
	t.mu.Lock()
	for e := range t.set {
		if e.active.Swap(false) {
			e.moved = now
		}
		if now-e.moved > t.limit(e) {
			idle = append(idle, e)
		}
	}
	t.mu.Unlock()
	for _, e := range idle {
		c := e.target.Load()
		if c == nil {
			continue // the request and dialling have their own time limits
		}
		if quiet, ok := quietTime(c); ok {
			e.moved = max(e.moved, now-int64(quiet))
		}
		if now-e.moved > t.limit(e) {
			e.kill()
		}
	}
}

func (t *exits) limit(e *exit) int64 {
	if e.halfClosed.Load() {
		return int64(t.halfClosed)
	}
	return int64(t.idle)
}
