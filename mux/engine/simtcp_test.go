package engine

import (
	"math"
	"slices"
)

// mss is the payload of a TCP segment.
const mss = 1448

// A tcp is a connection's sending half: what Linux does, and says. Losses are found by
// what was sent later and has arrived (RFC 8985), the last ones by a probe, the rest by a
// timer (RFC 6298); what follows is a proportional reduction (RFC 6937). The congestion
// control is CUBIC with HyStart (RFC 9438, 9406) or BBR, paced by itself and by us.
type tcp struct {
	w         *world
	out, back *line
	dead      bool // renumbered: nothing of it arrives any more
	shaper    *shaper

	written  uint64 // bytes that the kernel has taken
	next     uint64 // the first that was never sent
	una      uint64
	lowat    int
	writable func() // there is room again
	waits    bool

	segs       []tcpSeg
	pipe       int
	sackedOut  int // segments
	lostOut    int
	cwnd       float64
	srtt, vari int64
	minRTT     int64
	rackAt     int64 // when what arrived of the last sent was sent,
	rackSeq    uint64

	recover    uint64 // until then, this is one loss
	recovering bool
	timedOut   bool
	stamps     bool       // RFC 7323: the round trips of what was sent again count, and timeouts in vain are seen
	timeoutAt  int64      // when, the first of several,
	before     [2]float64 // and cwnd and ssthresh then
	rto, rtoAt int64
	rtoSet     bool
	probed     bool    // a tail was sent again
	ssthresh   float64 // of CUBIC
	reduced    int     // under way when the reduction began,
	prrIn      int     // arrived since
	prrOut     int     // and sent

	delivered   uint64
	deliveredAt int64
	firstAt     int64 // when what has arrived last was sent
	limitedTo   uint64
	rate        float64 // of delivery, bytes a nanosecond
	round       uint64  // ends when this much has arrived
	used        [2]int  // most that was under way in this round, and the last one

	cc      string
	ccNow   string
	cubic   cubic
	bbr     bbr
	pace    float64 // SO_MAX_PACING_RATE
	sendAt  int64
	timer   bool
	retrans uint64
	sent    uint64
	sentAt  int64

	// The receiver's side.
	got   uint64
	early map[uint64]int
	ready func(upTo uint64)
}

type tcpSeg struct {
	seq         uint64
	n           int
	at          int64
	delivered   uint64
	deliveredAt int64
	firstAt     int64
	sacked      bool
	lost        bool
	again       bool
	limited     bool
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

// pacing is the rate that is sent at; 0 = without a bound.
func (t *tcp) pacing() float64 {
	own := 0.0
	switch {
	case t.ccNow == "bbr":
		own = t.bbr.pacing
	case t.srtt > 0 && t.cwnd < t.ssthresh/2:
		own = 2 * t.cwnd / float64(t.srtt)
	case t.srtt > 0:
		own = 1.2 * t.cwnd / float64(t.srtt)
	}
	if t.pace > 0 && (own == 0 || t.pace < own) {
		return t.pace
	}
	return own
}

// control follows what was asked for.
func (t *tcp) control() {
	if t.cc == t.ccNow {
		return
	}
	switch t.ccNow = t.cc; t.ccNow {
	case "bbr":
		t.ssthresh = math.MaxFloat64
		t.bbr = bbr{}
		if t.srtt > 0 {
			t.bbr.pacing = bbrHigh * t.cwnd / float64(max(t.srtt, 1e6))
		}
	default:
		t.cubic = cubic{}
	}
}

// push sends what the window and the pace allow.
func (t *tcp) push() {
	t.control()
	if len(t.segs) == 0 && t.next < t.written {
		if t.ccNow == "cubic" && t.sentAt != 0 && t.w.now-t.sentAt > t.rto { // RFC 5681, Section 4.1
			t.cwnd = min(t.cwnd, 10*mss)
		}
		t.firstAt, t.deliveredAt = t.w.now, t.w.now
	}
	for !t.dead {
		rate := t.pacing()
		lost := -1
		if t.lostOut > 0 && float64(t.pipe) < t.cwnd {
			lost = slices.IndexFunc(t.segs, func(s tcpSeg) bool { return s.lost })
		}
		if lost < 0 && t.next == t.written && t.lostOut == 0 && float64(t.pipe) < t.cwnd {
			t.limitedTo = max(t.delivered+uint64(t.pipe), 1)
		}
		if lost < 0 && (t.next == t.written || float64(t.pipe) >= t.cwnd) {
			return
		}
		if t.sendAt > t.w.now && rate > 0 {
			if !t.timer {
				t.timer = true
				t.w.at(t.sendAt, func() { t.timer = false; t.push() })
			}
			return
		}
		t.emit(lost, rate)
	}
}

// emit sends a segment again, or with lost < 0 the next one.
func (t *tcp) emit(lost int, rate float64) {
	var s *tcpSeg
	if lost >= 0 {
		s = &t.segs[lost]
		if s.lost {
			s.lost = false
			t.lostOut--
			t.pipe += s.n
		}
		s.again = true
		t.retrans++
		if lost == 0 {
			t.rtoAt = t.w.now + t.rto
		}
	} else {
		n := int(min(t.written-t.next, mss))
		t.segs = append(t.segs, tcpSeg{seq: t.next, n: n})
		s = &t.segs[len(t.segs)-1]
		t.next += uint64(n)
		t.pipe += n
		if t.waits && 2*t.unsent() < t.lowat {
			t.waits = false
			t.w.at(t.w.now, t.writable)
		}
	}
	t.sent++
	t.prrOut += s.n
	t.used[0] = max(t.used[0], t.pipe)
	t.sentAt = t.w.now
	s.at, s.delivered, s.deliveredAt, s.firstAt, s.limited = t.w.now, t.delivered, t.deliveredAt, t.firstAt, t.limitedTo > 0
	if rate > 0 {
		t.sendAt = max(t.sendAt, t.w.now-1e6) + int64(float64(s.n)/rate)
	}
	seq, n, at := s.seq, s.n, s.at
	t.carry(t.out, n+52, func() { t.arrive(seq, n, at) })
	if !t.rtoSet {
		t.rtoSet, t.rtoAt = true, t.w.now+t.rto
		t.watch()
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
	t.carry(t.back, 26, func() { t.acked(cum, seq, at) }) // one of 52 bytes tells of two segments (RFC 5681, Section 4.2)
}

// acked takes an acknowledgement: cumulative, and of the segment that caused it.
func (t *tcp) acked(cum, seq uint64, at int64) {
	if t.dead {
		return
	}
	t.control()
	before, lostBefore := t.delivered, t.lostOut
	var last *tcpSeg
	take := func(s *tcpSeg) {
		if s.sacked {
			return
		}
		s.sacked = true
		t.sackedOut++
		if s.lost {
			t.lostOut--
			s.lost = false
		} else {
			t.pipe -= s.n
		}
		t.delivered += uint64(s.n)
		t.deliveredAt = t.w.now
		if s.seq == seq && s.at == at {
			last = s
		}
		if s.at > t.rackAt || s.at == t.rackAt && s.seq > t.rackSeq {
			t.rackAt, t.rackSeq = s.at, s.seq
		}
	}
	k := 0
	for k < len(t.segs) && t.segs[k].seq < cum {
		take(&t.segs[k])
		t.sackedOut--
		k++
	}
	if i, ok := slices.BinarySearchFunc(t.segs, seq, func(s tcpSeg, q uint64) int {
		switch {
		case s.seq < q:
			return -1
		case s.seq > q:
			return 1
		}
		return 0
	}); ok && i >= k {
		take(&t.segs[i])
	}
	n := int(t.delivered - before)
	if t.stamps && n > 0 && last == nil { // its timestamp tells of the one that came (RFC 7323, Section 4.1)
		t.smooth(t.w.now - at)
	}
	if t.stamps && t.timedOut && at < t.timeoutAt {
		t.undo()
	}
	newRound := false
	if last != nil {
		newRound = t.measure(last)
	}
	t.segs = t.segs[:copy(t.segs, t.segs[k:])]
	if cum > t.una {
		t.una = cum
		t.rto = max(t.srtt+max(4*t.vari, 200e6), 200e6)
		t.rtoAt = t.w.now + t.rto
		t.probed = false
	}
	if t.recovering && t.una >= t.recover {
		t.recovering, t.timedOut = false, false
		if t.ccNow == "bbr" {
			t.cwnd = max(t.cwnd, t.bbr.prior)
			t.bbr.conserve = false
		} else {
			t.cwnd = min(t.cwnd, t.ssthresh)
		}
	}
	t.lose()
	t.prrIn += n
	switch {
	case t.ccNow == "bbr":
		t.bbr.acked(t, n, max(t.lostOut-lostBefore, 0)*mss, newRound)
	case t.recovering && !t.timedOut:
		t.reduce(n)
	case n > 0:
		t.cubic.acked(t, n)
	}
	t.push()
}

// measure takes a round trip and a sample of the rate; it reports whether a round ended.
func (t *tcp) measure(s *tcpSeg) (newRound bool) {
	if !s.again {
		rtt := t.w.now - s.at
		t.smooth(rtt)
		t.cubic.hystart(t, rtt)
	}
	if t.delivered > t.limitedTo {
		t.limitedTo = 0
	}
	t.firstAt = s.at
	took := max(s.at-s.firstAt, t.w.now-s.deliveredAt)
	if newRound = s.delivered >= t.round; newRound {
		t.round = t.delivered
		t.used = [2]int{t.pipe, t.used[0]}
	}
	if took < t.minRTT || took == 0 { // RFC draft-cheng-iccrg-delivery-rate-estimation
		return newRound
	}
	rate := float64(t.delivered-s.delivered) / float64(took)
	if !s.limited || rate > t.rate {
		t.rate = rate
	}
	if t.ccNow == "bbr" && (!s.limited || rate >= t.bbr.bw()) {
		t.bbr.sample(rate)
	}
	t.bbr.limited = s.limited
	return newRound
}

// smooth takes a round trip (RFC 6298, Section 2).
func (t *tcp) smooth(rtt int64) {
	if t.srtt == 0 {
		t.srtt, t.vari, t.minRTT = rtt, rtt/2, rtt
	}
	d := max(t.srtt-rtt, rtt-t.srtt)
	t.vari += (d - t.vari) / 4
	t.srtt += (rtt - t.srtt) / 8
	t.minRTT = min(t.minRTT, rtt)
}

// undo is for a timeout that what was sent before it shows to have been in vain: nothing is lost
// (RFC 4015).
func (t *tcp) undo() {
	for i := range t.segs {
		if s := &t.segs[i]; s.lost {
			s.lost = false
			t.lostOut--
			t.pipe += s.n
		}
	}
	t.recovering, t.timedOut = false, false
	t.cwnd, t.ssthresh = t.before[0], t.before[1]
}

// report is what the kernel says; honest.
func (t *tcp) report(full bool) Report {
	r := Report{Written: t.written, Outstanding: int(t.written - t.una), Full: full, Known: full}
	sacked := 0
	if t.sackedOut > 0 {
		for i := range t.segs {
			if t.segs[i].sacked {
				sacked += t.segs[i].n
			}
		}
	}
	r.Info = Info{
		SRTT: t.srtt, RTTVar: t.vari, MinRTT: t.minRTT, CWND: int(t.cwnd), Rate: uint64(t.rate * 1e9),
		Retrans: t.retrans, Segs: t.sent, Sacked: uint64(sacked),
	}
	return r
}
