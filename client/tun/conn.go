package tun

import (
	"errors"
	"io"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/mpsocks/mpsocks/mux/buf"
)

// A conn is a program's end of a connection in the stack, for splice: many Buffers are
// filled at once from what the stack has received, and many are given to it. One goroutine
// reads and one writes.
type conn struct {
	end   tcpip.Endpoint
	queue *waiter.Queue

	readable, writable             waiter.Entry
	becameReadable, becameWritable chan struct{}

	into buffers // of Fill
	from views   // of WriteViews
}

func newConn(end tcpip.Endpoint, queue *waiter.Queue) *conn {
	c := &conn{end: end, queue: queue}
	c.readable, c.becameReadable = waiter.NewChannelEntry(waiter.ReadableEvents)
	c.writable, c.becameWritable = waiter.NewChannelEntry(waiter.WritableEvents)
	queue.EventRegister(&c.readable)
	queue.EventRegister(&c.writable)
	return c
}

// Close lets the connection go; what was written is still delivered.
func (c *conn) Close() {
	c.queue.EventUnregister(&c.readable)
	c.queue.EventUnregister(&c.writable)
	c.end.Close()
}

// CloseWrite ends the direction to the program.
func (c *conn) CloseWrite() error {
	if fault := c.end.Shutdown(tcpip.ShutdownWrite); fault != nil {
		return errors.New(fault.String())
	}
	return nil
}

// Read implements io.Reader.
func (c *conn) Read(b []byte) (int, error) {
	w := tcpip.SliceWriter(b)
	return c.read(&w)
}

// Fill waits until there is something to read, and puts it into Buffers of that size, as
// many as run has room for at most. They are the caller's. It is what a stream of the tunnel
// looks for in an io.Reader.
func (c *conn) Fill(run []*buf.Buffer, size int) (n int, err error) {
	c.into = buffers{run: run, size: size}
	_, err = c.read(&c.into)
	n = c.into.end()
	c.into = buffers{}
	return n, err
}

func (c *conn) read(w io.Writer) (int, error) {
	for {
		r, fault := c.end.Read(w, tcpip.ReadOptions{})
		switch fault.(type) {
		case nil:
			return r.Count, nil
		case *tcpip.ErrWouldBlock:
			<-c.becameReadable // also by the connection's end, however it comes
		case *tcpip.ErrClosedForReceive:
			return 0, io.EOF
		default:
			return 0, errors.New(fault.String())
		}
	}
}

// Write implements io.Writer.
func (c *conn) Write(b []byte) (int, error) {
	n, err := c.WriteViews([][]byte{b})
	return int(n), err
}

// WriteViews writes all of several pieces, which are borrowed, or fails. It is what a stream
// of the tunnel looks for in an io.Writer.
func (c *conn) WriteViews(pieces [][]byte) (n int64, err error) {
	c.from = views{pieces: pieces}
	for _, p := range pieces {
		c.from.left += len(p)
	}
	defer func() { c.from = views{} }()
	for c.from.left > 0 {
		k, fault := c.end.Write(&c.from, tcpip.WriteOptions{})
		n += k
		switch fault.(type) {
		case nil:
		case *tcpip.ErrWouldBlock:
			<-c.becameWritable
		default:
			return n, errors.New(fault.String())
		}
	}
	return n, nil
}

// buffers are filled by what is written.
type buffers struct {
	run  []*buf.Buffer
	size int
	n    int    // of run that have been taken
	left []byte // the room in the last of them
}

// Write implements io.Writer; it is short when the room is used up.
func (b *buffers) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		if len(b.left) == 0 {
			if b.n == len(b.run) {
				return n, io.ErrShortWrite
			}
			b.run[b.n] = buf.Get(b.size)
			b.left = b.run[b.n].Bytes()
			b.n++
		}
		k := copy(b.left, p)
		b.left, p, n = b.left[k:], p[k:], n+k
	}
	return n, nil
}

// end returns how many Buffers have something, after the last Write.
func (b *buffers) end() int {
	if b.n > 0 {
		b.run[b.n-1].Resize(b.size - len(b.left))
	}
	return b.n
}

// views are pieces that are read one behind the other.
type views struct {
	pieces [][]byte
	left   int
}

// Len implements tcpip.Payloader.
func (v *views) Len() int { return v.left }

// Read implements io.Reader.
func (v *views) Read(b []byte) (n int, err error) {
	for n < len(b) && v.left > 0 {
		k := copy(b[n:], v.pieces[0])
		n, v.left = n+k, v.left-k
		if v.pieces[0] = v.pieces[0][k:]; len(v.pieces[0]) == 0 {
			v.pieces = v.pieces[1:]
		}
	}
	if n == 0 && len(b) > 0 {
		return 0, io.EOF
	}
	return n, nil
}
