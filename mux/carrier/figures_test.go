package carrier

import (
	"encoding/binary"
	"testing"
	"time"
)

// structure is one of a kernel's, little-endian, with these fields.
func structure(size int, four map[int]uint32, eight map[int]uint64) []byte {
	b := make([]byte, size)
	for at, v := range four {
		binary.LittleEndian.PutUint32(b[at:], v)
	}
	for at, v := range eight {
		binary.LittleEndian.PutUint64(b[at:], v)
	}
	return b
}

// What macOS and Windows say of a connection reads as it is meant.
func TestFigures(t *testing.T) {
	mac := structure(connectionInfoSize, map[int]uint32{16: 1448, 24: 65160, 32: 5000, 44: 31, 48: 4},
		map[int]uint64{56: 120, 64: 90_000, 72: 2896, 80: 80, 104: 2})
	got, ok := parseConnectionInfo(mac)
	want := figures{srtt: 31e6, rttvar: 4e6, mss: 1448, cwnd: 65160, sent: 90_000, resent: 2896, packets: 200}
	if !ok || got != want {
		t.Errorf("macOS: %+v, want %+v", got, want)
	}
	windows := structure(tcpInfoSize, map[int]uint32{0: 4, 4: 1460, 20: 20_500, 24: 18_000, 28: 2920, 32: 14_600, 68: 1460},
		map[int]uint64{8: 1000, 48: 50_000, 56: 700})
	got, ok = parseTCPInfo(windows)
	want = figures{srtt: 20_500_000, rttvar: 5_125_000, minRTT: 18e6, mss: 1460, cwnd: 14_600, sent: 50_000, resent: 1460}
	if !ok || got != want {
		t.Errorf("Windows: %+v, want %+v", got, want)
	}
	if _, ok := parseConnectionInfo(mac[:100]); ok {
		t.Error("half a structure of macOS is one")
	}
	if _, ok := parseTCPInfo(nil); ok {
		t.Error("nothing is a structure of Windows")
	}
	if f, _ := parseConnectionInfo(make([]byte, connectionInfoSize)); f.srtt <= 0 {
		t.Error("a round trip of less than a millisecond is none at all")
	}
}

// What these kernels do not say is made of what they have said before.
func TestFiguresReport(t *testing.T) {
	var p past
	at := time.Unix(1000, 0)
	r := Report{Sent: 1000, Outstanding: 1000}
	p.report(figures{srtt: 30e6, mss: 1000, cwnd: 10_000}, at, &r)
	if !r.Known || r.Info.MinRTT != 30e6 || r.Info.Rate != 0 {
		t.Errorf("at first: %+v", r)
	}
	at = at.Add(10 * time.Millisecond)
	r = Report{Sent: 12_000, Outstanding: 2000}
	p.report(figures{srtt: 25e6, mss: 1000, cwnd: 10_000, sent: 14_000, resent: 2000, packets: 20}, at, &r)
	if i := r.Info; i.MinRTT != 25e6 || i.Rate != 1_000_000 || i.Retrans != 2 || i.Segs != 14 || r.Again != 2000 || r.Packets != 20 {
		t.Errorf("10,000 bytes in 10 ms: %+v", r)
	}
	at = at.Add(10 * time.Millisecond) // nothing to send: the rate fades, the least stays
	p.report(figures{srtt: 40e6, mss: 1000}, at, &r)
	if r.Info.MinRTT != 25e6 || r.Info.Rate != 875_000 {
		t.Errorf("with nothing new: %+v", r)
	}
	r.Outstanding = -1
	p.report(figures{srtt: 40e6, minRTT: 11e6}, at, &r)
	if r.Info.MinRTT != 11e6 || r.Info.Rate != 875_000 {
		t.Errorf("a kernel that does not say what is under way: %+v", r)
	}
}
