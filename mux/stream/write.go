package stream

import (
	"io"
	"os"

	"github.com/mpsocks/mpsocks/mux/buf"
)

// From the application into the send buffer. The one copy of the data lands
// behind the room for its headers: the buffers of the queue become the packets.

// writeRun is how many segments are filled before the session is woken: 256 KiB, what it
// gives the kernel at once.
const writeRun = 16

// Write queues p; it waits while the send buffer is full. Concurrent calls do
// not mix their data. Errors wrap os.ErrDeadlineExceeded, net.ErrClosed,
// io.ErrClosedPipe, syscall.ECONNRESET or what ended the session.
func (st *Stream) Write(p []byte) (n int, err error) {
	if err := st.claim(); err != nil {
		return 0, err
	}
	for len(p) > 0 {
		room, err := st.space()
		if err != nil {
			st.disclaim()
			return n, err
		}
		k := st.pack(p[:min(len(p), room)])
		n, p, room = n+k, p[k:], room-k
		if len(p) == 0 {
			break
		}
		// What is left gets buffers of its own, filled without the lock.
		st.mu.Unlock()
		var run [writeRun]*buf.Buffer
		for i := 0; i < writeRun && len(p) > 0 && room > 0; i++ {
			k := min(len(p), room, payloadOf)
			b := buf.Get(k)
			copy(b.Bytes(), p)
			n, p, room, run[i] = n+k, p[k:], room-k, b
		}
		st.mu.Lock()
		for _, b := range run {
			if b != nil {
				st.enqueue(b)
			}
		}
		st.unlock()
		st.mu.Lock()
	}
	st.disclaim()
	return n, nil
}

// ReadFrom sends what r gives until it ends, as io.ReaderFrom; it does not
// close the outgoing direction. A socket of package net is read straight into
// the buffers, and no buffer is held while it has nothing to give.
func (st *Stream) ReadFrom(r io.Reader) (n int64, err error) {
	src := newStreamSource(r, st.table.hands)
	st.Rest()
	for {
		st.mu.Lock()
		room, err := st.space()
		st.mu.Unlock()
		if err != nil {
			return n, err
		}
		run, err := src.read(room)
		st.mu.Lock()
		for _, b := range run {
			n += int64(b.Len())
			st.enqueue(b)
		}
		st.unlock()
		src.done()
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// claim waits for other writers and returns with the lock held, or an error.
func (st *Stream) claim() error {
	st.mu.Lock()
	for st.writing {
		if err := st.writeError(); err != nil {
			st.mu.Unlock()
			return err
		}
		st.writable.Wait()
	}
	if err := st.writeError(); err != nil {
		st.mu.Unlock()
		return err
	}
	st.writing = true
	return nil
}

// disclaim lets other writers in. The caller holds the lock, and does not afterwards.
func (st *Stream) disclaim() {
	st.writing = false
	st.writable.Broadcast()
	st.unlock()
}

// space waits until the send buffer has room and returns how much. The lock is
// held before and after.
func (st *Stream) space() (int, error) {
	for {
		if err := st.writeError(); err != nil {
			return 0, err
		}
		if room := st.table.room(st.sendLimit) - st.queued; room > 0 {
			return room, nil
		}
		st.Rest()
		st.waiting++
		st.writable.Wait()
		st.waiting--
	}
}

// writeError says why nothing more can be written, if so. The caller holds the lock.
func (st *Stream) writeError() error {
	switch {
	case st.closed:
		if st.err != nil && st.err != errClosed {
			return st.err
		}
		return errClosed
	case st.err != nil:
		return st.err
	case st.finDue:
		return errShut
	case st.writeDeadline.expired:
		return os.ErrDeadlineExceeded
	}
	return nil
}

// pack puts as much of p as fits behind the last waiting buffer, or into a new
// one when p is short. The lock is held.
func (st *Stream) pack(p []byte) int {
	b := st.queue.back()
	var k int
	if b != nil {
		k = min(len(p), payloadOf-b.Len(), b.Cap()-b.Len())
	}
	if k <= 0 {
		if len(p) > buf.SmallSize {
			return 0
		}
		k = len(p)
		class := k
		if b != nil { // a backlog: more is coming
			class = payloadOf
		}
		b = buf.Get(class)
		b.Resize(0)
		st.queue.push(b)
		st.charge(b.Held())
	}
	at := b.Len()
	b.Resize(at + k)
	copy(b.Bytes()[at:], p[:k])
	st.queued += k
	return k
}

// enqueue takes b into the send buffer; short ones are packed. The lock is held.
func (st *Stream) enqueue(b *buf.Buffer) {
	n := b.Len()
	if n == 0 || st.err != nil || st.finDue {
		b.Release()
		return
	}
	if n <= buf.SmallSize && b.Cap() > buf.SmallSize {
		for p := b.Bytes(); len(p) > 0; {
			p = p[st.pack(p):]
		}
		b.Release()
		return
	}
	st.queue.push(b)
	st.charge(b.Held())
	st.queued += n
}
