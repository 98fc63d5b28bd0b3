package server

import (
	"bufio"
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mpsocks/mpsocks/mux/tcpio"
)

// streamIdle ends a connection on which nothing has moved, open or half-closed: the
// least that RFC 5382 REQ-5 lets a NAT choose for an established one. Peers that
// vanished are found by TCP keep-alive in minutes.
const streamIdle = 2*time.Hour + 4*time.Minute

// sentTime is how long a target may take to acknowledge what was written to it
// before the application's reset is passed on.
const sentTime = 10 * time.Second

// sentPause is how soon a target is asked again whether it has, at first, and rarer how soon
// then: a client may have thousands of targets that never do.
const sentPause, sentPauseMost = 5 * time.Millisecond, 250 * time.Millisecond

// flightMost is as much of the stream as is read with the request.
const flightMost = 1 << 10

func rarer(pause time.Duration) time.Duration { return min(pause+pause/4, sentPauseMost) }

// An exit is one CONNECT: a stream inside, a TCP connection outside. armon's part ends with the reply:
// it would start a goroutine for each direction and wait for both. One direction, up, is the stream's to pour,
// and the other one, down, has the stream's goroutine. The failure of one direction never discards what the other has
// read: data first, then its end, or the reset. A failure is never passed on as an end.
type exit struct {
	ctx    context.Context // of the session
	peer   *peer
	client *client
	stream stream
	target atomic.Pointer[tcpio.Socket]
	asked  atomic.Pointer[string] // host:port that the client asked for
	killed atomic.Bool

	in      *bufio.Reader // what armon reads of the stream: no byte behind the request
	reached bool          // the request's destination; of the stream's goroutine

	// armon has answered the offer of methods, and that waits for what comes next.
	reply   sync.Mutex // guards both, and the order of what is written
	offered bool
	method  []byte

	upErr  atomic.Pointer[error] // the target took no more
	upDone chan struct{}         // closed when nothing goes to the target any more
	lost   atomic.Bool           // the stream has failed

	ending sync.Mutex  // guards both
	over   bool        // finish has been called
	last   *time.Timer // kills it when its stream has failed, or nil

	// active says that bytes moved since the sweeper last looked, where the
	// system does not tell; moved is when they did, and the sweeper's own.
	active atomic.Bool
	moved  int64

	// What the kernel held when it was last asked, and where it stands in the table; guarded by
	// the table's mu.
	kernel int64
	place  int
}

func newExit(ctx context.Context, p *peer, c *client, st stream) *exit {
	return &exit{ctx: ctx, peer: p, client: c, stream: st, in: bufio.NewReaderSize(st, flightMost), upDone: make(chan struct{})}
}

// connected notes the connection; false if the session has ended meanwhile, and
// then the connection is closed.
func (e *exit) connected(c tcpio.Socket) bool {
	e.target.Store(&c)
	if e.killed.Load() {
		c.Close()
		return false
	}
	return true
}

// kill ends both sides at once, from any goroutine.
func (e *exit) kill() {
	e.killed.Store(true)
	c := e.conn()
	if c != nil {
		_ = c.SetLinger(0) // before anybody closes it
	}
	e.stream.Reset()
	if c != nil {
		c.Close()
	}
}

// fail notes that the stream has failed: the target may take what was written to it, but not
// for ever.
func (e *exit) fail() {
	e.ending.Lock()
	defer e.ending.Unlock()
	if !e.over && e.last == nil {
		e.last = time.AfterFunc(sentTime, e.kill)
	}
}

// carry copies both ways until both have ended.
func (e *exit) carry() {
	e.up()
	e.down()
	<-e.upDone
}

// up has what the stream brings copied to the target. The stream moves the data by itself,
// many segments with one system call; what came with the request goes first, which a connection
// takes that has just been made.
func (e *exit) up() {
	if early, _ := e.in.Peek(e.in.Buffered()); len(early) > 0 {
		_, err := e.conn().Write(early)
		e.touch()
		if err != nil {
			e.upErr.Store(&err)
			close(e.upDone)
			return
		}
	}
	e.in = nil
	e.stream.Pour(e.client.out.writer(e.ctx, e.socket()), nil, e.upEnded)
}

// upEnded passes the end of up on. It waits only for a stream that has failed.
func (e *exit) upEnded(_ int64, err error) {
	defer close(e.upDone)
	c := e.conn()
	switch {
	case err == nil:
		_ = c.CloseWrite()
	case ofSocket(err):
		e.upErr.Store(&err) // its answer may be there all the same
	default:
		// Either the application has reset the stream, or down has closed it and
		// is through.
		e.lost.Store(true)
		e.awaitSent(c)
		_ = c.SetReadDeadline(time.Unix(1, 0))
	}
}

// down copies from the target to the stream.
func (e *exit) down() {
	_, err := e.stream.ReadFrom(e.client.in.reader(e.ctx, e.socket()))
	switch {
	case err == nil && !e.cut():
		_ = e.stream.CloseWrite()
	case err == nil || ofSocket(err) && !e.lost.Load():
		e.stream.CloseReset()
	case !ofSocket(err):
		e.lost.Store(true) // up has heard of it, or is through
	}
}

// awaitSent waits until the target has acknowledged what was written to it, so that
// a reset does not discard it.
func (e *exit) awaitSent(c tcpio.Socket) {
	pause := sentPause
	for end := time.Now().Add(sentTime); !e.killed.Load() && unsent(c) > 0 && time.Now().Before(end); pause = rarer(pause) {
		time.Sleep(pause)
	}
}

// cut says whether the end that was read is that of a connection that was reset.
// The kernel tells of a reset once: if that was when something was written, what is
// read behind the data looks like an end. After a target's real end the write fails
// otherwise.
func (e *exit) cut() bool {
	if reset(e.conn()) {
		select { // the write that has heard of it is about to return
		case <-e.upDone:
		case <-time.After(50 * time.Millisecond):
		}
	}
	err := e.upErr.Load()
	return err != nil && !errors.Is(*err, syscall.EPIPE)
}

// answer sends what was kept for the client.
func (e *exit) answer() error {
	e.reply.Lock()
	defer e.reply.Unlock()
	return e.send()
}

// send is answer; the caller holds reply.
func (e *exit) send() error {
	if len(e.method) == 0 {
		return nil
	}
	b := e.method
	e.method = nil
	_, err := e.stream.Write(b)
	return err
}

// finish ends both sides, when both directions have ended or neither began. A session that ends
// ends all of its CONNECTs: each has its turn.
func (e *exit) finish() {
	e.stream.Begin()
	defer e.rest()
	_ = e.answer() // a refusal of what was offered
	c := e.conn()
	if c == nil {
		e.stream.Close()
		return
	}
	if e.lost.Load() {
		_ = c.SetLinger(0)
	}
	c.Close()
	e.stream.Close()
}

// rest lets go of the timer that would kill it.
func (e *exit) rest() {
	e.ending.Lock()
	defer e.ending.Unlock()
	if e.over = true; e.last != nil {
		e.last.Stop()
	}
}

// ofSocket says whether an error of copying is the target's; everything else is
// the stream's.
func ofSocket(err error) bool {
	switch err.(type) { // not errors.As: a stream's error may wrap one of these
	case *net.OpError, syscall.Errno:
		return true
	}
	return false
}

// errCarried ends armon's part when all is over.
var errCarried = errors.New("carried")

// inside is the stream as armon sees it. Its end is finish's.
type inside struct{ *exit }

// Write keeps the answer to the offer of methods, armon's first, until the reply goes with it
// or more of the client is waited for: the client is woken once.
func (c inside) Write(b []byte) (int, error) {
	if err := c.say(b); err != nil {
		return 0, err
	}
	if c.reached { // that was the reply
		c.carry()
		return 0, errCarried
	}
	return len(b), nil
}

// say is Write of armon's answers.
func (e *exit) say(b []byte) error {
	e.reply.Lock()
	defer e.reply.Unlock()
	if !e.offered || len(e.method) > 0 {
		e.method = append(e.method, b...)
		if e.offered {
			return e.send()
		}
		e.offered = true
		return nil
	}
	_, err := e.stream.Write(b)
	return err
}

// Read gives armon, which reads ahead, a byte at a time: what follows the request is the target's.
func (c inside) Read(b []byte) (int, error) {
	if c.in.Buffered() == 0 {
		if err := c.answer(); err != nil {
			return 0, err
		}
	}
	return c.in.Read(b[:min(1, len(b))])
}

func (c inside) LocalAddr() net.Addr                { return c.stream.LocalAddr() }
func (c inside) RemoteAddr() net.Addr               { return c.stream.RemoteAddr() }
func (c inside) SetDeadline(t time.Time) error      { return c.stream.SetDeadline(t) }
func (c inside) SetReadDeadline(t time.Time) error  { return c.stream.SetReadDeadline(t) }
func (c inside) SetWriteDeadline(t time.Time) error { return c.stream.SetWriteDeadline(t) }
func (c inside) Close() error                       { return nil }

// outside is the TCP connection as armon sees it. Its LocalAddr is a
// *net.TCPAddr, without which armon panics.
type outside struct{ exit *exit }

func (c outside) Read(b []byte) (int, error)        { return c.exit.conn().Read(b) }
func (c outside) LocalAddr() net.Addr               { return c.exit.conn().LocalAddr() }
func (c outside) RemoteAddr() net.Addr              { return c.exit.conn().RemoteAddr() }
func (c outside) SetDeadline(t time.Time) error     { return c.exit.conn().SetDeadline(t) }
func (c outside) SetReadDeadline(t time.Time) error { return c.exit.conn().SetReadDeadline(t) }

func (c outside) SetWriteDeadline(t time.Time) error { return c.exit.conn().SetWriteDeadline(t) }
func (c outside) Close() error                       { return nil }

func (c outside) Write(b []byte) (int, error) { return c.exit.conn().Write(b) }

// touch notes that bytes have moved, without writing to a shared cache line
// each time.
func (e *exit) touch() {
	if !e.active.Load() {
		e.active.Store(true)
	}
}
