package mux

import (
	"cmp"
	"sync"
	"unsafe"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/carrier"
	"github.com/mpsocks/mpsocks/mux/engine"
	"github.com/mpsocks/mpsocks/mux/mptcp"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// The way in: a subflow's reader takes as many records as are there, reads
// options until the bytes end, enters the mappings into the receive space and
// hands what is new to the handler, as views of the carrier's own memory.

// readMost is how much is read at once, and jointSize holds that behind a frame that did not
// come whole: that is more than a packet of any size. mostPackets ends it, too, and so do
// mostRecords, whatever is in them: either is work for a part of a millisecond, for which others
// may have to wait. So are mostCommands, options without data, after which others have their
// turn: there may be a thousand in one record, each with an HMAC.
const (
	readMost     = carrier.MostRead
	jointSize    = readMost + 6*recordSize
	mostPackets  = 512
	mostRecords  = 512
	mostCommands = 64
)

var jointPool = sync.Pool{New: func() any { return new([jointSize]byte) }}

// A received is one mapping of a chunk: the packet is borrowed from the carrier, of the
// chunk's joint, or of one of its rooms.
type received struct {
	dsn  uint64
	pkt  []byte
	room int // number of the room that it alone is in, to its end; 0 = none
}

// ackEvery is how many bytes may be received before a Data ACK goes out on its
// own: far less than the send window, and seldom enough to cost nothing.
const ackEvery = 256 << 10

// An inlet is what readLoop remembers between two chunks: the start of a frame that is not
// whole, which holds no more than itself.
type inlet struct{ kept *buf.Buffer }

func (f *subflow) readLoop() error {
	var r inlet
	err := f.carrier.Receive(func() error { return f.work(&r) }, f.s.hands.Free)
	if r.kept != nil {
		r.kept.Release()
	}
	return err
}

// work is chunk, in the turn of the session's client.
func (f *subflow) work(r *inlet) error {
	f.turn = f.s.hands.Take()
	defer func() { f.turn.Give() }()
	return f.chunk(r)
}

// A joint is where frames are put together that lie in two records or more, which peers other
// than ours make.
type joint struct {
	b        *[jointSize]byte // nil before the first
	from, to int              // what was not parsed
}

func (j *joint) add(p []byte) {
	if j.b == nil {
		j.b = jointPool.Get().(*[jointSize]byte)
	}
	j.to += copy(j.b[j.to:], p)
}

// chunk reads what has come.
func (f *subflow) chunk(r *inlet) error {
	var j joint
	defer func() {
		if j.b != nil {
			jointPool.Put(j.b)
		}
		f.rooms.clear()
	}()
	if r.kept != nil {
		j.add(r.kept.Bytes())
		r.kept.Release()
		r.kept = nil
	}
	f.rxPkts, f.rxNews = f.rxPkts[:0], news{}
	var ended error
	for read, records := 0, 0; read < readMost && records < mostRecords && len(f.rxPkts) < mostPackets; records++ {
		v, room, err := f.rooms.next(f.carrier, f.inbox.Keeps())
		if err == carrier.ErrNotYet {
			break
		}
		if err != nil {
			ended = err // behind what has come
			break
		}
		read += len(v)
		if j.from < j.to {
			j.add(v)
			used, err := f.parse(j.b[j.from:j.to])
			if err != nil {
				return err
			}
			j.from += used
			continue
		}
		before := len(f.rxPkts)
		used, err := f.parse(v)
		if err != nil {
			return err
		}
		if used < len(v) {
			j.from = j.to
			j.add(v[used:])
		} else if r := f.rxPkts[before:]; len(r) == 1 && ends(v, r[0].pkt) {
			r[0].room = room
		}
	}
	if err := f.take(); err != nil || ended != nil {
		return cmp.Or(err, ended)
	}
	if j.from < j.to {
		r.kept = buf.Get(j.to - j.from)
		copy(r.kept.Bytes(), j.b[j.from:j.to])
	}
	return nil
}

// news is what the frames of a chunk say beside their packets.
type news struct {
	ack      uint64
	acks     bool // there is one
	halves   bool // the last mapping's DSN was a lower half
	fin      uint64
	fins     bool // there is a DATA_FIN, of that DSN
	commands int  // options without data
}

// parse reads all whole frames of b and returns how many bytes they are.
func (f *subflow) parse(b []byte) (used int, err error) {
	s, w := f.s, &f.rxNews
	o := &f.option
	for used < len(b) {
		n, err := o.Parse(b[used:], f.keys.checksum)
		if err == mptcp.ErrShort {
			break
		}
		if err != nil {
			return used, err
		}
		if o.Subtype != mptcp.MPDSS {
			if f.capture != nil {
				f.capture.Frame(false, b[used:used+n], nil)
			}
			used += n
			if err := f.command(o); err != nil {
				return used, err
			}
			if w.commands++; w.commands%mostCommands == 0 {
				f.turn.Give()
				f.turn = s.hands.Take()
			}
			continue
		}
		d := &o.DSS
		end := used + n + d.PayloadLen()
		if end > len(b) {
			break
		}
		if d.HasAck {
			a := f.rxAck.Read(d.Ack, d.Ack8, s.lastAck.Load())
			if !w.acks || int64(a-w.ack) > 0 {
				w.ack, w.acks = a, true
			}
		}
		if f.capture != nil {
			f.capture.Frame(false, b[used:used+n], b[used+n:end])
		}
		if d.HasMap {
			if err := f.mapping(d, b[used+n:end]); err != nil {
				return used, err
			}
			w.halves = !d.DSN8
		}
		used = end
	}
	return used, nil
}

// take does what the frames of a chunk say.
func (f *subflow) take() error {
	s, w := f.s, &f.rxNews
	now := s.core.now()
	f.lastRecv.Store(now)
	if w.acks {
		s.acked(f, w.ack)
	}
	defer s.monitor.pass(now)
	if len(f.rxPkts) > 0 {
		if w.halves != s.space.halves.Load() {
			s.space.halves.Store(w.halves)
		}
		if err := s.arrive(f, now); err != nil {
			return err
		}
	}
	if w.fins {
		s.end.dataFIN(f, w.fin)
	}
	return nil
}

// mapping checks one DSS with its bytes (RFC 8684, Section 3.3.1).
func (f *subflow) mapping(d *mptcp.DSS, pkt []byte) error {
	if d.Length == 0 {
		return protocolErrorf("infinite mapping")
	}
	if d.DataFIN && len(pkt) == 0 { // its SSN says nothing
		f.rxNews.fin, f.rxNews.fins = d.DSN, true
		if !d.DSN8 {
			f.rxNews.fin = mptcp.Expand(f.s.space.next.Load(), uint32(d.DSN))
		}
		return nil
	}
	if d.SSN != f.rxSSN {
		return protocolErrorf("subflow sequence number %d where %d belongs", d.SSN, f.rxSSN)
	}
	f.rxSSN += uint32(len(pkt))
	dsn := f.rxDSN.Read(d.DSN, d.DSN8, f.s.space.next.Load())
	if d.HasChecksum && mptcp.Checksum(dsn, d.SSN, d.Length, pkt) != d.Checksum {
		return f.checksumFailed(dsn)
	}
	if n, err := packet.Length(pkt); err != nil || n != len(pkt) {
		return protocolErrorf("mapping of %d bytes around a packet of %d", len(pkt), n)
	}
	f.rxPkts = append(f.rxPkts, received{dsn: dsn, pkt: pkt})
	if d.DataFIN { // behind its data (Section 3.3.3)
		f.rxNews.fin, f.rxNews.fins = dsn+uint64(len(pkt)), true
	}
	return nil
}

// arrive enters a chunk's mappings and delivers what is new.
func (s *Session) arrive(f *subflow, now int64) error {
	fresh, err := s.space.enter(f.keys.epoch, f.rxPkts)
	udp, octets := f.rxPkts[:0], 0
	for _, r := range fresh {
		if s.capture != nil {
			s.capture.Inner(false, r.pkt)
		}
		octets += len(r.pkt)
		if packet.Proto(r.pkt) == packet.ProtoTCP {
			f.inbox.Add(r.pkt, f.rooms.take(r.room))
			continue
		}
		udp = append(udp, r)
	}
	f.inbox.Flush()
	f.rxOctets.Add(uint64(octets))
	if len(udp) > 0 {
		held := false
		f.views, held = s.reseq.deliver(f.slot, udp, f.views[:0], now)
		if held && s.monitor.calm.Swap(false) {
			s.monitor.hurry()
		}
	}
	f.tidy(len(fresh))
	if s.space.pending.Load() >= ackEvery {
		f.sendAck()
	}
	s.pump() // what the handler answered, and what the acknowledgements let go
	return err
}

// maxScratch is how many places for the packets of a chunk are kept for the next ones,
// whatever these bring: a chunk of datagrams of a common length takes fewer.
const maxScratch = 1024

// tidy notes what memory there is for the packets of a chunk, which had so many. A chunk of
// the smallest ones has thousands: that goes when others come.
func (f *subflow) tidy(n int) {
	if cap(f.rxPkts) > maxScratch && n < cap(f.rxPkts)/8 {
		f.rxPkts = nil
	}
	if cap(f.views) > maxScratch && len(f.views) < cap(f.views)/8 {
		f.views = nil
	}
	held := int64(cap(f.rxPkts))*int64(unsafe.Sizeof(received{})) + int64(cap(f.views))*int64(unsafe.Sizeof([]byte(nil)))
	if held != f.scratch.Load() {
		f.scratch.Store(held)
	}
}

// acked applies a Data ACK that came on f.
func (s *Session) acked(f *subflow, ack uint64) {
	if ack == s.lastAck.Load() {
		return
	}
	s.enter(func(e *engine.Engine, _ int64) {
		if e.Acked(f.core, ack) {
			s.lastAck.Store(ack)
		}
	})
}

// sendAck queues a Data ACK of its own.
func (f *subflow) sendAck() {
	space := &f.s.space
	if space.pending.Swap(0) == 0 {
		return
	}
	space.ackAt.Store(f.s.core.now())
	d := mptcp.DSS{HasAck: true, Ack8: true, Ack: space.next.Load()}
	f.queue(d.Append(make([]byte, 0, mptcp.MaxDSSLen)))
}

// queue puts options in front of the next batch.
func (f *subflow) queue(options []byte) {
	f.s.enter(func(*engine.Engine, int64) { f.core.Control(options) })
}
