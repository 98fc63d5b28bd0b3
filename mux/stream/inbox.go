package stream

import (
	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// An Inbox takes the packets that one reader has read at once. What comes in order for a
// stream whose WriteTo waits for it goes from the reader's own memory straight into
// WriteTo's socket, with one system call for all of it (outlet.go); readers of the rest are
// woken once. It is one goroutine's; several Inboxes of a table may be in use at once.
type Inbox struct {
	table *Table
	held  []*Stream // in order of their first packet: this Inbox writes what they have
	stir  []*Stream // somebody waits for what came
}

// Inbox makes an empty one.
func (t *Table) Inbox() *Inbox { return &Inbox{table: t} }

// Add takes one packet from the peer, which it borrows until Flush.
func (in *Inbox) Add(pkt []byte) {
	var h packet.TCP
	var k packet.Key
	t := in.table
	payload, err := packet.ParseTCP(pkt, &h)
	if err != nil || !packet.KeyOf(pkt, &k) {
		return
	}
	t.mu.RLock()
	st := t.streams[k]
	t.mu.RUnlock()
	if st == nil {
		if st = t.admit(&h, &k, payload); st == nil {
			return
		}
	}
	if st.input(in, &h, payload) {
		t.accept(st)
	}
	t.relieve()
}

// Flush delivers what came. It does not wait for anybody who reads.
func (in *Inbox) Flush() {
	for i, st := range in.held {
		st.pass()
		in.held[i] = nil
	}
	in.held = in.held[:0]
	for i, st := range in.stir {
		st.mu.Lock()
		st.stirred = false
		st.readable.Broadcast()
		st.mu.Unlock()
		in.stir[i] = nil
	}
	in.stir = in.stir[:0]
}

// Input takes one packet from the peer, which it borrows. Several goroutines may call it at
// once.
func (t *Table) Input(pkt []byte) {
	in := t.Inbox()
	in.Add(pkt)
	in.Flush()
}

// input takes one segment; h and payload are borrowed until the Inbox is flushed. It says
// whether the stream was opened by it, so that accept is called once.
func (st *Stream) input(in *Inbox, h *packet.TCP, payload []byte) (opened bool) {
	st.mu.Lock()
	var b *buf.Buffer
	if len(payload) > packBelow && !st.straight(in, h.Seq) {
		st.mu.Unlock()
		b = buf.Get(len(payload)) // filled without the lock
		copy(b.Bytes(), payload)
		st.mu.Lock()
	}
	st.by = in
	held := st.holder == in
	switch {
	case st.err != nil:
	case h.Flags&packet.FlagRST != 0:
		if st.believes(h) {
			st.resetArrived(h.Seq)
		}
	case h.Flags&packet.FlagSYN != 0:
		opened = st.synchronize(h, payload, b)
		b = nil
	case !st.peerSYN:
		st.hold(h, payload, b)
		b = nil
	default:
		st.segmentArrived(h.Seq, h.Ack, h.Window, h.Flags, payload, b)
		b = nil
	}
	st.by = nil
	if !held && st.holder == in {
		in.held = append(in.held, st)
	}
	if st.news && !st.stirred {
		st.stirred = true
		in.stir = append(in.stir, st)
	}
	st.news = false
	st.unlock()
	if b != nil {
		b.Release()
	}
	return opened
}

// straight says that the data of a segment would go straight to WriteTo's socket. The lock
// is held.
func (c *block) straight(in *Inbox, seq uint32) bool {
	return c.peerSYN && c.direct(in) && seq == c.irs+1+uint32(c.received)
}

// direct says the same of data in order.
func (c *block) direct(in *Inbox) bool {
	return in != nil && c.outlet != nil && c.ready.front() == nil && (c.holder == nil || c.holder == in) &&
		!c.closed && c.err == nil && !c.outlet.full()
}

// pass writes what the outlet has got, and leaves to WriteTo what its socket does not take
// now. It is called by the Inbox that is the stream's holder.
func (st *Stream) pass() {
	o := st.outlet // WriteTo takes it away only when there is no holder
	written, err := o.flush()
	left := o.rest(written)
	st.mu.Lock()
	st.holder = nil
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
	if st.ready.front() != nil || st.peerFIN || st.closed || st.err != nil || st.failure != nil || st.readDeadline.expired {
		st.readable.Broadcast()
	}
	st.unlock()
}
