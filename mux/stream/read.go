package stream

import (
	"errors"
	"io"
	"net"
	"os"

	"github.com/mpsocks/mpsocks/mux/buf"
)

// From restored order to the application.

// readRun is how many Buffers WriteTo hands to one writev: 256 KiB.
const readRun = 16

// A viewWriter is a writer of whatever package that takes many pieces at once.
type viewWriter interface {
	// WriteViews writes all of the pieces, which it borrows, or fails.
	WriteViews(pieces [][]byte) (int64, error)
}

// Read returns what has come in order; it waits while there is nothing. It
// returns io.EOF behind the peer's last byte; other errors wrap those of
// Write.
func (st *Stream) Read(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	st.mu.Lock()
	if err := st.waitReady(); err != nil {
		st.unlock()
		return 0, err
	}
	for n < len(p) {
		b := st.ready.front()
		if b == nil {
			break
		}
		k := copy(p[n:], b.Bytes())
		n += k
		if k < b.Len() {
			b.Trim(k)
			break
		}
		st.ready.pop()
		st.charge(-b.Held())
		b.Release()
	}
	st.unread -= n
	st.unlock()
	return n, nil
}

// ErrHead says that what comes did not begin as Pour was told, or is yet to come.
var ErrHead = errors.New("stream: another head")

// A head says of the first bytes that come whether they are what was waited for, and how many
// of them are not to be written. It is called with the stream's lock held.
type head func(first []byte) (skip int, ok bool)

// behead takes the head off what came in order for the outlet; false leaves all of it to
// WriteTo. b is nil or carries the payload. The lock is held.
func behead(c *block, payload *[]byte, b *buf.Buffer) bool {
	if c.head == nil {
		return true
	}
	n, ok := c.head(*payload)
	if !ok {
		return false
	}
	c.head = nil
	c.readDeadline.stop()
	*payload = (*payload)[n:]
	if b != nil {
		b.Trim(n)
	}
	c.unread -= n
	return true
}

// WriteTo writes everything that comes to w, until the peer's end, as
// io.WriterTo. Buffers go to a socket as they are, many at a time (writev); the
// peer's window opens when w has taken them. While WriteTo waits for data, who brings it
// writes to the socket (see Inbox).
func (st *Stream) WriteTo(w io.Writer) (n int64, err error) {
	return st.writeTo(w, newOutlet(w))
}

// writeTo is WriteTo with the outlet of w, or nil.
func (st *Stream) writeTo(w io.Writer, out *outlet) (n int64, err error) {
	var run [readRun]*buf.Buffer
	var store [readRun][]byte
	var views net.Buffers
	many, _ := w.(viewWriter)
	for {
		st.mu.Lock()
		st.outlet = out
		err := st.waitReady()
		if st.outlet = nil; out != nil {
			n += out.taken
			out.taken = 0
		}
		if st.head != nil {
			st.head = nil
			st.unlock()
			return 0, ErrHead
		}
		if err != nil {
			st.unlock()
			if err == io.EOF {
				err = nil
			}
			return n, err
		}
		k := 0
		for ; k < readRun; k++ {
			b := st.ready.pop()
			if b == nil {
				break
			}
			run[k], store[k] = b, b.Bytes()
		}
		st.mu.Unlock()

		views = store[:k]
		var written int64
		if many != nil {
			written, err = many.WriteViews(store[:k])
		} else if k == 1 {
			var one int
			one, err = w.Write(store[0])
			written = int64(one)
		} else {
			written, err = views.WriteTo(w)
		}
		n += written
		taken, memory := 0, 0
		for i := range k {
			taken += run[i].Len()
			memory += run[i].Held()
			run[i].Release()
			run[i], store[i] = nil, nil
		}
		st.mu.Lock()
		if !st.writtenOff {
			st.unread -= taken
			st.charge(-memory)
		}
		st.unlock()
		if err != nil {
			return n, err
		}
	}
}

// Pour is WriteTo in nobody's goroutine: as long as w, a socket, takes what comes, and until the peer's end, whoever
// brings it does all there is to do. What else there is to do gets a goroutine then. ended is called
// once, and is not to wait if err is nil: others' data may be behind it.
//
// says is nil, or asked about a head that comes first, in the time of the read deadline, which ends with it: whoever
// brings it writes the rest. ErrHead leaves all that came to Read: the head did not come in one
// piece and in time, was another one, or w is not a socket.
func (st *Stream) Pour(w io.Writer, says func(first []byte) (skip int, ok bool), ended func(n int64, err error)) {
	out := newOutlet(w)
	flow := func() {
		ended(st.writeTo(w, out))
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.head = says
	if out == nil {
		go flow()
		return
	}
	st.outlet, st.flow, st.ended = out, flow, ended
	if st.ready.front() != nil || st.peerFIN || st.closed || st.err != nil || st.readDeadline.expired || !st.synSent {
		st.rouse()
	}
}

// passes is how often an Inbox writes at most, with what others have brought while it wrote.
const passes = 4

// pass writes what the outlet has got, and leaves to WriteTo what its socket does not take
// now, which it says. It is called by the Inbox that is the stream's holder.
func (st *Stream) pass() (leaves bool) {
	o := st.outlet // WriteTo takes it away only when there is no holder
	for round := 1; ; round++ {
		written, err := o.flush()
		left := o.rest(written)
		leaves = len(left) > 0
		st.mu.Lock()
		if err != nil && st.failure == nil {
			st.failure = err
		}
		o.taken += int64(written)
		if !st.writtenOff {
			st.unread -= written
		}
		for i := len(left) - 1; i >= 0; i-- {
			if b := left[i]; st.closed || st.writtenOff {
				if !st.writtenOff {
					st.unread -= b.Len()
				}
				b.Release()
			} else {
				st.ready.unpop(b)
				st.charge(b.Held())
			}
		}
		if round == passes || leaves || !st.goesOn() {
			break
		}
		st.unlock()
	}
	st.holder = nil
	var ended func()
	if st.ready.front() != nil || st.peerFIN || st.closed || st.err != nil || st.failure != nil || st.readDeadline.expired {
		ended = st.through()
	}
	st.unlock()
	if ended != nil {
		ended()
	}
	return leaves
}

// goesOn gives the outlet what other Inboxes brought while this one wrote, and says whether there
// was any: to wake WriteTo for it costs more. The lock is held.
func (st *Stream) goesOn() bool {
	if st.closed || st.err != nil || st.failure != nil || st.readDeadline.expired {
		return false
	}
	for b := st.ready.front(); b != nil && !st.outlet.full(); b = st.ready.front() {
		st.ready.pop()
		st.charge(-b.Held())
		st.outlet.add(b.Bytes(), b)
	}
	return len(st.outlet.views) > 0
}

// waitReady waits until there is something to read, or returns why there never
// will be. The lock is held before and after.
func (st *Stream) waitReady() error {
	for {
		switch {
		case st.holder != nil: // what came before is being written
		case st.closed:
			return errClosed
		case st.readDeadline.expired:
			return os.ErrDeadlineExceeded
		case st.failure != nil:
			return st.failure
		case st.ready.front() != nil:
			return nil
		case st.peerFIN:
			return io.EOF
		case st.err != nil:
			return st.err
		case !st.synSent && !st.synDue:
			// A server that speaks first: do not wait for data to go with the
			// SYN.
			st.synDue = true
			st.unlock()
			st.mu.Lock()
			continue
		}
		st.Rest()
		st.readable.Wait()
	}
}
