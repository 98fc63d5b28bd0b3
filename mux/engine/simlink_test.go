package engine

import (
	"container/heap"
	"math"
	"math/rand/v2"
)

// A world is virtual time: what happens is called in order, and a seed decides all
// chance, so that a run is repeatable to the byte.
type world struct {
	now  int64
	seq  uint64
	todo todo
	rnd  *rand.Rand
}

type happening struct {
	at  int64
	seq uint64
	do  func()
}

type todo []happening

func (q todo) Len() int { return len(q) }
func (q todo) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].seq < q[j].seq
}
func (q todo) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *todo) Push(x any)   { *q = append(*q, x.(happening)) }
func (q *todo) Pop() any {
	n := len(*q) - 1
	x := (*q)[n]
	(*q)[n] = happening{}
	*q = (*q)[:n]
	return x
}

// at has something done at a time; what is due at the same time is done in order.
func (w *world) at(when int64, do func()) {
	w.seq++
	heap.Push(&w.todo, happening{max(when, w.now), w.seq, do})
}

// run lets time pass up to then.
func (w *world) run(until int64) {
	for len(w.todo) > 0 && w.todo[0].at <= until {
		h := heap.Pop(&w.todo).(happening)
		w.now = h.at
		h.do()
	}
	w.now = until
}

// A line is one direction of a path, as the laboratory makes it: a rate, a delay, a
// drop-tail queue, loss by chance and in bursts, and smooth jitter that reorders nothing.
type line struct {
	w      *world
	rate   float64 // bytes a nanosecond
	delay  int64
	queue  int64 // ns
	loss   float64
	enter  float64 // of the bad state of a burst, a packet,
	leave  float64
	lost   float64 // and the loss in it
	jitter int64   // ± ns
	dead   bool
	count  int // packets that were sent

	bad   bool
	free  int64 // when what was sent has left
	last  int64 // the last arrival
	phase float64
}

// send carries n bytes, or loses them.
func (l *line) send(n int, arrive func()) {
	w := l.w
	l.count++
	if l.dead || l.free-w.now > l.queue {
		return
	}
	l.free = max(l.free, w.now) + int64(float64(n)/l.rate)
	if l.enter > 0 {
		if p := w.rnd.Float64(); l.bad && p < l.leave || !l.bad && p < l.enter {
			l.bad = !l.bad
		}
		if l.bad && w.rnd.Float64() < l.lost {
			return
		}
	}
	if l.loss > 0 && w.rnd.Float64() < l.loss {
		return
	}
	at := l.free + l.delay
	if l.jitter > 0 { // as a scheduler's: it wanders with a period of about half a second
		at += int64(float64(l.jitter) * (math.Sin(float64(w.now)/80e6+l.phase) + math.Sin(float64(w.now)/31e6+2*l.phase)) / 2)
	}
	l.last = max(l.last, at)
	w.at(l.last, func() {
		if !l.dead {
			arrive()
		}
	})
}

// mss is the payload of a TCP segment.
const mss = 1448

// A tcp is the sending half of a connection: what its kernel does, and says. SACK finds
// losses (RFC 6675), an RTO the rest (RFC 6298); it has CUBIC (RFC 9438) and a BBR that
// follows the rate of delivery.
type tcp struct {
	w         *world
	out, back *line
	dead      bool // renumbered: nothing of it arrives any more

	written  uint64 // bytes that the kernel has taken
	next     uint64 // the first that was never sent
	una      uint64
	lowat    int
	writable func() // there is room again
	waits    bool

	segs        []tcpSeg
	pipe        int
	cwnd        float64
	ssthresh    float64
	recover     uint64
	wMax        float64
	epoch       int64
	srtt, vari  int64
	minRTT      int64
	rto         int64
	rtoAt       int64
	rtoSet      bool
	delivered   uint64
	rate        float64 // of delivery, bytes a nanosecond
	bw, bwLast  float64
	bwTurn      int64
	full        int
	fullBW      float64
	round       int64
	cc          string
	wary        bool // BBR takes no rate from what was limited by what there was to send
	pace        float64
	sendAt      int64
	timer       bool
	retrans     uint64
	sent        uint64
	sackHighest uint64

	// The receiver's side.
	got   uint64
	early map[uint64]int
	ready func(upTo uint64)
}

type tcpSeg struct {
	seq       uint64
	n         int
	at        int64
	delivered uint64
	sacked    bool
	lost      bool
	again     bool
	limited   bool // nothing waited behind it: it says little about the rate
}

func newTCP(w *world, out, back *line) *tcp {
	return &tcp{
		w: w, out: out, back: back, lowat: MinLowat, cwnd: 10 * mss, ssthresh: math.MaxFloat64, rto: 1e9,
		cc: "bbr", early: map[uint64]int{},
	}
}

// unsent is what the kernel holds and has not sent.
func (t *tcp) unsent() int { return int(t.written - t.next) }

// write gives n bytes to the kernel and returns how many it takes.
func (t *tcp) write(n int) int {
	took := 0
	for n > took && t.unsent() < t.lowat {
		k := min(n-took, mss)
		t.written += uint64(k)
		took += k
	}
	t.waits = took < n
	t.push()
	return took
}

func (t *tcp) window() float64 {
	if t.cc == "bbr" && t.full >= 3 {
		return max(2*t.bw*float64(t.minRTT), 4*mss)
	}
	return t.cwnd
}

// push sends what the window and the pace allow.
func (t *tcp) push() {
	for !t.dead {
		rate := t.pace
		if t.cc == "bbr" && t.bw > 0 {
			gain := 2.89
			if t.full >= 3 {
				gain = [8]float64{1.25, 0.75, 1, 1, 1, 1, 1, 1}[(t.w.now/max(t.minRTT, 1))%8]
			}
			if t.wary && t.full < 3 { // it begins with its first window
				gain = max(gain, 29*mss/(t.bw*float64(max(t.srtt, 1))))
			}
			if r := gain * t.bw; rate == 0 || r < rate {
				rate = r
			}
		}
		lost := -1
		if len(t.segs) > 0 && float64(t.pipe) < t.window() {
			for i := range t.segs {
				if t.segs[i].lost {
					lost = i
					break
				}
				if t.segs[i].seq > t.sackHighest {
					break
				}
			}
		}
		if lost < 0 && (t.next == t.written || float64(t.pipe) >= t.window()) {
			return
		}
		if t.sendAt > t.w.now && rate > 0 {
			if !t.timer {
				t.timer = true
				t.w.at(t.sendAt, func() { t.timer = false; t.push() })
			}
			return
		}
		var s *tcpSeg
		if lost >= 0 {
			s = &t.segs[lost]
			s.lost, s.again = false, true
			t.retrans++
		} else {
			n := int(min(t.written-t.next, mss))
			t.segs = append(t.segs, tcpSeg{seq: t.next, n: n})
			s = &t.segs[len(t.segs)-1]
			t.next += uint64(n)
			if t.waits && 2*t.unsent() < t.lowat {
				t.waits = false
				t.w.at(t.w.now, t.writable)
			}
		}
		t.sent++
		s.at, s.delivered, s.limited = t.w.now, t.delivered, lost < 0 && t.next == t.written
		t.pipe += s.n
		if rate > 0 {
			t.sendAt = max(t.sendAt, t.w.now-1e6) + int64(float64(s.n)/rate)
		}
		seq, n, at := s.seq, s.n, s.at
		t.out.send(n+52, func() { t.arrive(seq, n, at) })
		if !t.rtoSet {
			t.rtoSet, t.rtoAt = true, t.w.now+t.rto
			t.w.at(t.rtoAt, t.expire)
		}
	}
}

// arrive is the receiver: it acknowledges every segment.
func (t *tcp) arrive(seq uint64, n int, at int64) {
	if t.dead {
		return
	}
	switch {
	case seq == t.got:
		t.got += uint64(n)
		for {
			k, ok := t.early[t.got]
			if !ok {
				break
			}
			delete(t.early, t.got)
			t.got += uint64(k)
		}
		t.ready(t.got)
	case seq > t.got:
		t.early[seq] = n
	}
	cum := t.got
	t.back.send(60, func() { t.acked(cum, seq, at) })
}

func (t *tcp) acked(cum, seq uint64, at int64) {
	if t.dead {
		return
	}
	for i := range t.segs {
		s := &t.segs[i]
		if s.seq != seq && s.seq >= cum {
			if s.seq > seq {
				break
			}
			continue
		}
		if s.sacked {
			continue
		}
		s.sacked = true
		if !s.lost {
			t.pipe -= s.n
		}
		s.lost = false
		t.delivered += uint64(s.n)
		if s.seq == seq && s.at == at {
			t.measure(s)
		}
		t.sackHighest = max(t.sackHighest, s.seq)
		t.grow(s.n)
	}
	before := t.una
	t.una = max(t.una, cum)
	k := 0
	for k < len(t.segs) && t.segs[k].seq < t.una {
		k++
	}
	t.segs = t.segs[:copy(t.segs, t.segs[k:])]
	if t.una > before {
		t.rto = max(t.srtt+4*t.vari, 200e6)
		t.rtoAt = t.w.now + t.rto
	}
	t.lose()
	t.push()
}

func (t *tcp) measure(s *tcpSeg) {
	rtt := t.w.now - s.at
	if !s.again {
		if t.srtt == 0 {
			t.srtt, t.vari, t.minRTT = rtt, rtt/2, rtt
		}
		d := max(t.srtt-rtt, rtt-t.srtt)
		t.vari += (d - t.vari) / 4
		t.srtt += (rtt - t.srtt) / 8
		t.minRTT = min(t.minRTT, rtt)
	}
	t.rate = float64(t.delivered-s.delivered) / float64(max(rtt, 1))
	if t.wary && s.limited && t.rate < t.bw {
		return
	}
	if t.w.now-t.bwTurn > 10*t.srtt {
		t.bwTurn, t.bwLast = t.w.now, 0
	}
	t.bwLast = max(t.bwLast, t.rate)
	if t.bw < t.bwLast || t.w.now-t.bwTurn > 8*t.srtt {
		t.bw = t.bwLast
	}
	if t.full < 3 && t.w.now-t.round > t.srtt {
		t.round = t.w.now
		if t.bw > 1.25*t.fullBW {
			t.fullBW, t.full = t.bw, 0
		} else if t.unsent() > 0 {
			t.full++
		}
	}
}

// grow opens the window.
func (t *tcp) grow(n int) {
	switch {
	case float64(t.pipe+n) < t.cwnd/2: // not used
	case t.cwnd < t.ssthresh:
		t.cwnd += float64(n)
	default:
		if t.epoch == 0 {
			t.epoch = t.w.now
		}
		k := math.Cbrt(t.wMax / mss * 0.3 / 0.4)
		x := float64(t.w.now-t.epoch)/1e9 - k
		target := (0.4*x*x*x)*mss + t.wMax
		t.cwnd += max(min((target-t.cwnd)/t.cwnd, 0.5), 0.3*mss/t.cwnd) * float64(n)
	}
}

// lose marks what three later segments have overtaken.
func (t *tcp) lose() {
	for i := range t.segs {
		s := &t.segs[i]
		if s.seq+3*mss > t.sackHighest {
			return
		}
		if s.sacked || s.lost || s.again && t.w.now-s.at < t.srtt+t.srtt/4 {
			continue
		}
		s.lost = true
		t.pipe -= s.n
		if s.seq >= t.recover {
			t.recover = t.next
			t.wMax, t.epoch = t.cwnd, 0
			t.cwnd = max(0.7*t.cwnd, 2*mss)
			t.ssthresh = t.cwnd
		}
	}
}

// expire is the retransmission timer.
func (t *tcp) expire() {
	switch {
	case t.dead || len(t.segs) == 0:
		t.rtoSet = false
		return
	case t.w.now < t.rtoAt:
		t.w.at(t.rtoAt, t.expire)
		return
	}
	for i := range t.segs {
		if s := &t.segs[i]; !s.sacked && !s.lost {
			s.lost = true
			t.pipe -= s.n
		}
	}
	t.sackHighest = t.next
	t.wMax, t.epoch, t.ssthresh, t.cwnd, t.recover = t.cwnd, 0, max(t.cwnd/2, 2*mss), 2*mss, t.next
	t.sendAt = 0
	t.rto = min(2*t.rto, 60e9)
	t.rtoAt = t.w.now + t.rto
	t.w.at(t.rtoAt, t.expire)
	t.push()
}

// report is what the kernel says; honest.
func (t *tcp) report(full bool) Report {
	r := Report{Written: t.written, Outstanding: int(t.written - t.una), Full: full, Known: full}
	sacked := 0
	for i := range t.segs {
		if t.segs[i].sacked {
			sacked += t.segs[i].n
		}
	}
	r.Info = Info{
		SRTT: t.srtt, RTTVar: t.vari, MinRTT: t.minRTT, CWND: int(t.window()), Rate: uint64(t.rate * 1e9),
		Retrans: t.retrans, Segs: t.sent, Sacked: uint64(sacked),
	}
	return r
}
