package carrier

import (
	"encoding/binary"
	"time"
)

// figures are what a kernel says of a connection that says less than Linux: macOS by
// TCP_CONNECTION_INFO, Windows by SIO_TCP_INFO. Neither says at which rate it delivers.
type figures struct {
	srtt, rttvar, minRTT int64 // ns; minRTT 0 = it does not say
	cwnd, mss            int   // bytes
	sent, resent         uint64
	packets              uint64 // that came and went; 0 = it does not say
}

// connectionInfoSize and tcpInfoSize are the lengths of the two structures.
const (
	connectionInfoSize = 112
	tcpInfoSize        = 88
)

// parseConnectionInfo reads the tcp_connection_info of macOS (netinet/tcp.h): times in ms.
func parseConnectionInfo(b []byte) (f figures, ok bool) {
	if len(b) < connectionInfoSize {
		return f, false
	}
	e := binary.LittleEndian // as all of its machines are
	ms := func(at int) int64 { return int64(e.Uint32(b[at:])) * int64(time.Millisecond) }
	f = figures{
		srtt: ms(44), rttvar: ms(48), mss: int(e.Uint32(b[16:])), cwnd: int(e.Uint32(b[24:])),
		sent: e.Uint64(b[64:]), resent: e.Uint64(b[72:]), packets: e.Uint64(b[56:]) + e.Uint64(b[80:]),
	}
	// Less than a millisecond reads as none.
	f.srtt = max(f.srtt, int64(time.Millisecond)/2)
	return f, true
}

// parseTCPInfo reads the TCP_INFO_v0 of Windows (mstcpip.h): times in µs.
func parseTCPInfo(b []byte) (f figures, ok bool) {
	if len(b) < tcpInfoSize {
		return f, false
	}
	e := binary.LittleEndian
	us := func(at int) int64 { return int64(e.Uint32(b[at:])) * int64(time.Microsecond) }
	f = figures{
		srtt: us(20), minRTT: us(24), mss: int(e.Uint32(b[4:])), cwnd: int(e.Uint32(b[32:])),
		sent: e.Uint64(b[48:]), resent: uint64(e.Uint32(b[68:])),
	}
	f.rttvar = f.srtt / 4 // it does not say
	return f, true
}

// rateEvery is how much time a rate is taken over at least.
const rateEvery = 5 * time.Millisecond

// A past is what is remembered of a connection between two reports: what the kernel does
// not say. Its owner makes one call at a time.
type past struct {
	least int64 // the shortest round trip, ns
	acked uint64
	at    time.Time
	rate  uint64 // bytes a second
}

// report has what a kernel says be a Report, whose Sent and Outstanding are there.
func (p *past) report(f figures, now time.Time, r *Report) {
	if p.least == 0 || f.srtt > 0 && f.srtt < p.least {
		p.least = f.srtt
	}
	if f.minRTT > 0 {
		p.least = f.minRTT
	}
	if r.Outstanding >= 0 {
		acked := r.Sent - min(r.Sent, uint64(r.Outstanding))
		switch d := now.Sub(p.at); {
		case p.at.IsZero():
			p.acked, p.at = acked, now
		case d >= rateEvery && acked >= p.acked:
			// An application that has little to send shows no rate: the last one fades.
			p.rate = max(uint64(float64(acked-p.acked)/d.Seconds()), p.rate/8*7)
			p.acked, p.at = acked, now
		}
	}
	mss := uint64(max(f.mss, 1))
	r.Known = true
	r.Packets, r.Again = f.packets, f.resent
	r.Info = Info{
		SRTT: f.srtt, RTTVar: f.rttvar, MinRTT: p.least, CWND: f.cwnd, Rate: p.rate,
		Retrans: f.resent / mss, Segs: f.sent / mss,
	}
}
