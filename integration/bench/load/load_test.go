//go:build linux

package load

import (
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/target"
)

// window is short: these tests want figures, not good ones.
const window = 200 * time.Millisecond

func udp(t *testing.T) netip.AddrPort {
	t.Helper()
	ready := make(chan netip.AddrPort)
	go target.UDP(func(a netip.AddrPort) { ready <- a }) // ends with the test's process
	return <-ready
}

// TestFlood counts what comes back, with all associations at once, in turns and
// singly.
func TestFlood(t *testing.T) {
	echo := udp(t)
	for _, spec := range []FloodSpec{
		{Associations: 1, Window: 64, Size: 64},
		{Associations: 16, Window: 32, Size: 1200},
		{Associations: 200, Window: 32, Active: 16, Size: 512},
		{Associations: 16, Window: 32, Active: 16, Size: 512},
		{Associations: 300, Window: 1, Active: 50, Size: 20},
	} {
		spec.Target, spec.Warmup, spec.Duration, spec.PIDs = echo, window/2, window, []int{os.Getpid()}
		r, err := Flood(spec)
		if err != nil {
			t.Fatal(err)
		}
		if r.RoundTrips == 0 || r.Bad > 0 || r.Seconds < window.Seconds() || len(r.CPU) != 1 || r.CPU[0] <= 0 {
			t.Errorf("%+v: %+v", spec, r)
		}
	}
}

// TestFloodLoss floods a port that nobody reads from.
func TestFloodLoss(t *testing.T) {
	all, err := openAll(1, "", netip.MustParseAddrPort("127.0.0.1:9"), false, 0)
	if err != nil {
		t.Fatal(err)
	}
	closeAll(all)
	r, err := Flood(FloodSpec{Target: netip.MustParseAddrPort("127.0.0.1:9"), Associations: 2, Window: 4, Size: 64, Duration: lossTimeout + 3*sweepEvery})
	if err != nil {
		t.Fatal(err)
	}
	if r.RoundTrips != 0 || r.Lost < 8 || r.Wrong() == nil {
		t.Errorf("%+v, want eight lost, which is no measurement", r)
	}
}

func TestQuiet(t *testing.T) {
	r, err := Quiet(QuietSpec{Target: udp(t), Size: 64, Duration: window})
	if err != nil {
		t.Fatal(err)
	}
	if r.P50 <= 0 || r.P99 < r.P50 || r.Max < r.P99 || r.Count == 0 {
		t.Errorf("%+v", r)
	}
}

// TestPaced sends as many as were due, and counts what the process used meanwhile.
func TestPaced(t *testing.T) {
	r, err := Paced(PacedSpec{Target: udp(t), Size: 64, Rate: 200, Warmup: 50 * time.Millisecond, Duration: 500 * time.Millisecond, PIDs: []int{os.Getpid()}})
	if err != nil {
		t.Fatal(err)
	}
	if r.Count+r.Lost != 100 || r.Count == 0 || r.P50 <= 0 || r.P99 < r.P50 || r.CPU[0] <= 0 || r.Switches[0] <= 0 {
		t.Errorf("%+v", r)
	}
}

// TestTCP runs short connections and bulk streams against the targets.
func TestTCP(t *testing.T) {
	type pair struct{ bulk, echo netip.AddrPort }
	ready := make(chan pair)
	go target.TCP(func(bulk, echo netip.AddrPort) { ready <- pair{bulk, echo} }) // ends with the test's process
	at := <-ready
	c, err := Churn(ChurnSpec{Target: at.echo, Direct: true, Workers: 4, Duration: window})
	if err != nil || c.Count == 0 || c.Failed > 0 {
		t.Errorf("churn: %+v, %v", c, err)
	}
	for _, up := range []bool{true, false} {
		s, err := Stream(StreamSpec{Target: at.bulk, Streams: 2, Upload: up, Duration: window})
		if err != nil || s.Bytes == 0 {
			t.Errorf("upload %v: %+v, %v", up, s, err)
		}
	}
}

// TestSilentDownload: a download of which nothing comes is a failure; to divide by it would
// give a figure that no report can hold.
func TestSilentDownload(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // the kernel takes connections, and nobody answers
	s, err := Stream(StreamSpec{Target: netip.MustParseAddrPort(l.Addr().String()), Streams: 1, Duration: window})
	if err == nil || !strings.Contains(err.Error(), "not a byte") {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestShape accepts its own datagrams and nothing else.
func TestShape(t *testing.T) {
	s, err := newShape(true, netip.MustParseAddrPort("127.0.0.1:7"), 64)
	if err != nil {
		t.Fatal(err)
	}
	m := s.write(3, 1, 2, 3)
	if a, b, c, ok := s.read(m); a != 1 || b != 2 || c != 3 || !ok {
		t.Error(a, b, c, ok)
	}
	for i := range 14 { // the header and the mark
		bad := append([]byte(nil), m...)
		bad[i] ^= 0x40
		if _, _, _, ok := s.read(bad); ok {
			t.Errorf("a datagram with another byte %d is accepted", i)
		}
	}
	if _, _, _, ok := s.read(m[:len(m)-1]); ok {
		t.Error("a cut datagram is accepted")
	}
}
