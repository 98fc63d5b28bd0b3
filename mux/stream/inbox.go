package stream

import (
	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// keepsFor is how many times more an Inbox is flushed until it says that nothing is kept.
const keepsFor = 16

// An Inbox takes the packets that one reader has read at once. What comes in order for a
// stream whose WriteTo waits for it, or that is poured, goes from the reader's own memory straight into
// the socket, with one system call for all of it (outlet.go); readers of the rest are
// woken once. It is one goroutine's; several Inboxes of a table may be in use at once.
type Inbox struct {
	table *Table
	held  []*Stream // in order of their first packet: this Inbox writes what they have
	stir  []*Stream // somebody waits for what came
	way   uint64    // the bit of the subflow that the reader reads
	keeps int       // see Keeps
}

// Inbox makes an empty one.
func (t *Table) Inbox() *Inbox { return &Inbox{table: t} }

// By says which subflow the reader reads, 0 to 63; see Table.Received.
func (in *Inbox) By(slot int) { in.way = 1 << slot }

// Keeps says that long segments did not go straight to a socket lately, but are kept: who
// has them in Buffers spares them a copy.
func (in *Inbox) Keeps() bool { return in.keeps > 0 }

// Add takes one packet from the peer, which it borrows until Flush, unless it is the end of
// what b carries: then b is the Inbox's. b may be nil.
func (in *Inbox) Add(pkt []byte, b *buf.Buffer) {
	var h packet.TCP
	var k packet.Key
	t := in.table
	payload, err := packet.ParseTCP(pkt, &h)
	var st *Stream
	if err == nil && packet.KeyOf(pkt, &k) {
		t.mu.RLock()
		st = t.streams[k]
		t.mu.RUnlock()
		if st == nil {
			st = t.admit(&h, &k, payload)
		}
	}
	if b != nil && (st == nil || len(payload) == 0) {
		b.Release()
		b = nil
	}
	if st == nil {
		return
	}
	if b != nil {
		b.Trim(b.Len() - len(payload))
	}
	if st.input(in, &h, payload, b) {
		t.accept(st)
	}
	t.relieve()
}

// Flush delivers what came. It does not wait for anybody who reads.
func (in *Inbox) Flush() {
	in.keeps = max(in.keeps-1, 0)
	for i, st := range in.held {
		if st.pass() {
			in.keeps = keepsFor
		}
		in.held[i] = nil
	}
	in.held = in.held[:0]
	for i, st := range in.stir {
		st.mu.Lock()
		st.stirred = false
		ended := st.through()
		st.mu.Unlock()
		if ended != nil {
			ended()
		}
		in.stir[i] = nil
	}
	in.stir = in.stir[:0]
}
