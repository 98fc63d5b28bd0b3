package engine

import (
	"encoding/binary"
	"math"
	"net/netip"

	"github.com/mpsocks/mpsocks/mux/packet"
)

// A manner is how a program sends datagrams that answers to what becomes of them.
type manner struct {
	name  string
	quic  bool // looks like QUIC
	paced bool
	// reorder is how many later ones have to be there for one to count as lost (RFC 9002,
	// Section 6.1.1); 0 = none, time alone tells (RFC 8985).
	reorder int
	ledbat  bool // yields to delay (RFC 6817)
}

var (
	quicTalk = manner{name: "quic", quic: true, paced: true, reorder: 3} // as quic-go: CUBIC with HyStart
	vpnTalk  = manner{name: "vpn"}                                       // TCP in datagrams, CUBIC
	utpTalk  = manner{name: "utp", paced: true, reorder: 3, ledbat: true}
)

const (
	talkSize   = 1252 // payload of a datagram,
	talkAck    = 60   // and of an acknowledgement
	talkDelay  = 25e6 // an acknowledgement waits so long at most
	talkBurst  = 10   // datagrams that a pause may save up
	ledbatMost = 100e6
)

// A talker is a program beside one host that sends to one beside another as much as it finds
// room for. What is lost is sent again as something new, so that what arrives counts.
type talker struct {
	manner
	w        *world
	from, to *host
	look     uint64
	port     uint16
	src      [2]Source
	ended    bool

	sent    []talked
	oldest  int // before it, all is settled
	largest int // of what is acknowledged
	recover int // what was sent before then is part of one loss
	flight  int
	cc      tcp // its congestion control and round trips alone
	sendAt  int64
	timer   bool
	lossAt  int64 // when something may be lost, 0 = never
	heardAt int64
	probes  int
	base    int64 // least time there

	got      []int // by the other program, in that order,
	seen     int   // of these, how many were acknowledged
	most     int   // the largest
	mostAt   int64
	owed     int
	waiting  bool
	acks     []talkedOf
	arrived  uint64 // bytes
	cuts     int
	spurious int // that were there in the end
}

type talked struct {
	at    int64
	state uint8
}

const (
	talkOut uint8 = iota
	talkThere
	talkLost
)

// A talkedOf is an acknowledgement: of all that had come by then.
type talkedOf struct {
	upTo, largest int
	delay, there  int64
}

// talkFrom begins one at that time, on ports of its own.
func talkFrom(kind manner, from, to *host, port uint16, at int64) *talker {
	t := &talker{manner: kind, w: from.w, from: from, to: to, port: port, largest: -1, most: -1}
	t.look = 0x0800_0000_0000_0000
	if kind.quic {
		t.look = 0xC300_0000_0100_0000
	}
	t.cc = tcp{w: t.w, cwnd: 32 * talkSize, ssthresh: math.MaxFloat64, cc: "cubic", ccNow: "cubic"}
	if !kind.quic {
		t.cc.cwnd = 10 * talkSize
	}
	t.base = math.MaxInt64
	from.listen(port, t.acked)
	to.listen(port+1, t.receive)
	t.w.at(at, func() { t.heardAt = t.w.now; t.push(); from.pump(); t.watch() })
	return t
}

// listen has what comes to a port given to a program.
func (h *host) listen(port uint16, do func(pkt []byte)) {
	if h.talks == nil {
		h.talks = map[uint16]func([]byte){}
	}
	h.talks[port] = do
}

// said hands a packet to the program that it is for.
func (h *host) said(pkt []byte) bool {
	if h.talks == nil {
		return false
	}
	var k packet.Key
	packet.KeyOf(pkt, &k)
	do := h.talks[k.DstPort]
	if do != nil {
		do(pkt)
	}
	return do != nil
}

// put sends a datagram from one of the ports to the other.
func (t *talker) put(h *host, src *Source, from, to uint16, n, size int) {
	a := netip.AddrPortFrom(packet.ClientHost4, from)
	h.e.Send(src, testPacket(a, netip.AddrPortFrom(packet.ClientHost4, to), t.look|uint64(n), size), t.w.now)
}

func (t *talker) numberOf(pkt []byte) int {
	return int((binary.BigEndian.Uint64(packet.UDPPayload(pkt)) &^ t.look) & 0xFF_FFFF)
}

// rate is what it paces itself with.
func (t *talker) rate() float64 {
	if !t.paced || t.cc.srtt == 0 {
		return 0
	}
	return 1.25 * t.cc.cwnd / float64(t.cc.srtt)
}

// push sends what may be sent.
func (t *talker) push() {
	for !t.ended && t.flight+talkSize <= int(t.cc.cwnd) {
		if rate := t.rate(); rate > 0 {
			if t.sendAt > t.w.now {
				if !t.timer {
					t.timer = true
					t.w.at(t.sendAt, func() { t.timer = false; t.push(); t.from.pump() })
				}
				return
			}
			t.sendAt = max(t.sendAt, t.w.now-int64(talkBurst*talkSize/rate)) + int64(talkSize/rate)
		}
		t.emit()
	}
}

func (t *talker) emit() {
	t.put(t.from, &t.src[0], t.port, t.port+1, len(t.sent), talkSize)
	t.sent = append(t.sent, talked{at: t.w.now})
	t.flight += talkSize
	t.cc.next = uint64(len(t.sent))
}

// receive is the other program: every second datagram is acknowledged, and at once what comes
// out of turn (RFC 9000, Section 13.2).
func (t *talker) receive(pkt []byte) {
	n := t.numberOf(pkt)
	t.got = append(t.got, n)
	t.arrived += talkSize
	turn := n == t.most+1
	if n > t.most {
		t.most, t.mostAt = n, t.w.now
	}
	if t.owed++; t.owed >= 2 || !turn {
		t.acknowledge()
		return
	}
	if !t.waiting {
		t.waiting = true
		t.w.at(t.w.now+talkDelay, func() {
			if t.waiting = false; t.owed > 0 {
				t.acknowledge()
				t.to.pump()
			}
		})
	}
}

func (t *talker) acknowledge() {
	t.owed = 0
	t.acks = append(t.acks, talkedOf{len(t.got), t.most, t.w.now - t.mostAt, t.mostAt - t.sent[t.most].at})
	t.put(t.to, &t.src[1], t.port+1, t.port, len(t.acks)-1, talkAck)
}

// acked takes an acknowledgement.
func (t *talker) acked(pkt []byte) {
	a := t.acks[t.numberOf(pkt)]
	now, c, got := t.w.now, &t.cc, 0
	c.used = [2]int{t.flight + 3*talkSize, 0} // its own pace holds back a few
	for _, n := range t.got[min(t.seen, a.upTo):a.upTo] {
		s := &t.sent[n]
		switch s.state {
		case talkOut:
			t.flight -= talkSize
			if n >= t.recover {
				got += talkSize
			}
		case talkLost:
			t.spurious++
		}
		s.state = talkThere
	}
	t.seen = max(t.seen, a.upTo)
	t.heardAt, t.probes = now, 0
	if a.largest > t.largest {
		t.largest = a.largest
		t.measure(now - t.sent[a.largest].at - a.delay)
	}
	t.base = min(t.base, a.there)
	t.lose()
	switch {
	case got == 0:
	case t.ledbat && c.cwnd >= c.ssthresh:
		off := float64(ledbatMost-(a.there-t.base)) / ledbatMost
		c.cwnd = max(c.cwnd+2*off*float64(got)*talkSize/c.cwnd, 2*talkSize)
	case t.ledbat && a.there-t.base > ledbatMost/2:
		c.ssthresh = c.cwnd
	default:
		c.cubic.acked(c, got)
	}
	t.push()
}

func (t *talker) measure(rtt int64) {
	c := &t.cc
	if c.srtt == 0 {
		c.srtt, c.vari, c.minRTT = rtt, rtt/2, rtt
	}
	d := max(c.srtt-rtt, rtt-c.srtt)
	c.vari += (d - c.vari) / 4
	c.srtt += (rtt - c.srtt) / 8
	c.minRTT = min(c.minRTT, rtt)
	c.una = uint64(t.largest)
	c.cubic.hystart(c, rtt)
}

// lose finds what is lost, and has it looked for again when more may be.
func (t *talker) lose() {
	now, c := t.w.now, &t.cc
	wait := c.srtt * 9 / 8
	if t.reorder == 0 {
		wait = c.srtt + c.minRTT/4
	}
	t.lossAt = 0
	for i := t.oldest; i < t.largest; i++ {
		s := &t.sent[i]
		switch {
		case s.state != talkOut:
			if i == t.oldest {
				t.oldest++
			}
		case t.reorder > 0 && i+t.reorder <= t.largest || now-s.at >= wait:
			s.state = talkLost
			t.flight -= talkSize
			t.cut(i)
		case t.lossAt == 0:
			t.lossAt = s.at + wait
		}
	}
}

// cut makes the window smaller, once for all that was sent before.
func (t *talker) cut(n int) {
	if n < t.recover {
		return
	}
	t.recover = len(t.sent)
	t.cuts++
	c := &t.cc
	if t.ledbat {
		c.ssthresh = max(c.cwnd/2, 2*talkSize)
	} else {
		c.cubic.lost(c)
	}
	c.cwnd = c.ssthresh
}

// watch looks for losses in time, and probes where nothing comes back (RFC 9002, Section 6.2).
func (t *talker) watch() {
	if t.ended {
		return
	}
	now, c := t.w.now, &t.cc
	if t.lossAt != 0 && now >= t.lossAt {
		t.lose()
		t.push()
		t.from.pump()
	}
	wait := (max(c.srtt, 1e6) + max(4*c.vari, 1e6) + talkDelay) << min(t.probes, 6)
	if c.srtt == 0 {
		wait = 1e9 << min(t.probes, 6)
	}
	if t.flight > 0 && now-t.heardAt > wait {
		t.heardAt = now
		t.probes++
		t.emit()
		t.emit()
		t.from.pump()
	}
	t.w.at(now+1e6, t.watch)
}
