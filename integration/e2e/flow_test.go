package e2e

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
	"github.com/mpsocks/mpsocks/integration/bench/socks"
)

// udpEcho serves until the test ends and returns its address.
func udpEcho(t *testing.T, listen string) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(listen)))
	if err != nil {
		t.Fatal(err)
	}
	buffers(t, conn)
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 1<<16)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			if _, err := conn.WriteToUDPAddrPort(b[:n], from); err != nil {
				t.Errorf("echo of %d bytes to %s: %v", n, from, err)
			}
		}
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-done
	})
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

func buffers(t *testing.T, conn *net.UDPConn) {
	t.Helper()
	// The test's own sockets must not be what loses datagrams.
	if err := conn.SetReadBuffer(4 << 20); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetWriteBuffer(4 << 20); err != nil {
		t.Fatal(err)
	}
}

// flow is one UDP association as an application has it.
type flow struct {
	control *net.TCPConn
	conn    *net.UDPConn
}

func associate(t *testing.T, proxy netip.AddrPort) *flow {
	t.Helper()
	return associateBy(t, &socks.Dialer{Proxy: proxy.String()})
}

// associateBy is associate as somebody.
func associateBy(t *testing.T, d *socks.Dialer) *flow {
	t.Helper()
	control, relay, err := d.Associate()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(relay))
	if err != nil {
		t.Fatal(err)
	}
	buffers(t, conn)
	f := &flow{control, conn}
	t.Cleanup(f.close)
	return f
}

// ended says whether the proxy has ended the association.
func (f *flow) ended() bool {
	_ = f.control.SetReadDeadline(time.Now())
	_, err := f.control.Read(make([]byte, 1))
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

func (f *flow) close() {
	_ = f.control.Close()
	_ = f.conn.Close()
}

// send sends a payload to host:port.
func (f *flow) send(t *testing.T, dst string, payload []byte) {
	t.Helper()
	datagram, err := socks.AppendDatagram(nil, dst, payload)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.conn.Write(datagram); err != nil {
		t.Fatalf("send %d bytes to %s: %v", len(payload), dst, err)
	}
}

// receive waits for one datagram; ok is false when none comes in time.
func (f *flow) receive(t *testing.T, limit time.Duration) (source netip.AddrPort, payload []byte, ok bool) {
	t.Helper()
	_ = f.conn.SetReadDeadline(time.Now().Add(limit))
	b := make([]byte, 1<<16)
	n, err := f.conn.Read(b)
	if err != nil {
		return source, nil, false
	}
	source, payload, err = socks.ParseDatagram(b[:n])
	if err != nil {
		t.Fatal(err)
	}
	return source, payload, true
}

// stream is a numbered flow at a constant rate, echoed.
type stream struct {
	mu     sync.Mutex
	sent   int
	seen   []int // how often each number came back
	stopC  chan struct{}
	wg     sync.WaitGroup
	f      *flow
	before []byte
}

// perMillisecond makes 2,000 datagrams a second.
const perMillisecond = 2

// startStream sends until finish or the end of the test.
func startStream(t *testing.T, p *halves.Pair, echo netip.AddrPort) *stream {
	t.Helper()
	s := &stream{f: associate(t, p.Socks[0]), stopC: make(chan struct{})}
	var err error
	if s.before, err = socks.AppendDatagram(nil, echo.String(), nil); err != nil {
		t.Fatal(err)
	}
	s.wg.Add(1)
	go s.write()
	received := make(chan struct{})
	go func() { // ends when the socket is closed
		defer close(received)
		s.read()
	}()
	t.Cleanup(func() {
		s.stop()
		s.f.close()
		<-received
	})
	return s
}

func (s *stream) write() {
	defer s.wg.Done()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	last, n := time.Now(), 0
	datagram := append(s.before, make([]byte, 200)...)
	for {
		select {
		case <-s.stopC:
			return
		case <-tick.C:
		}
		// A late tick is made up for, so that the rate holds on a busy machine;
		// but not a long pause, whose burst would only test queue limits.
		late := int(time.Since(last) / time.Millisecond)
		last = last.Add(time.Duration(late) * time.Millisecond)
		late = min(late, 20)
		for due := n + late*perMillisecond; n < due; n++ {
			s.mu.Lock()
			s.sent++
			s.seen = append(s.seen, 0)
			s.mu.Unlock()
			binary.BigEndian.PutUint64(datagram[len(s.before):], uint64(n))
			_, _ = s.f.conn.Write(datagram) // one that fails is missed later
		}
	}
}

func (s *stream) read() {
	_ = s.f.conn.SetReadDeadline(time.Time{})
	b := make([]byte, 2048)
	for {
		n, err := s.f.conn.Read(b)
		if err != nil {
			return
		}
		_, payload, err := socks.ParseDatagram(b[:n])
		if err != nil || len(payload) < 8 {
			continue
		}
		number := binary.BigEndian.Uint64(payload)
		s.mu.Lock()
		if number < uint64(len(s.seen)) {
			s.seen[number]++
		}
		s.mu.Unlock()
	}
}

// stop ends the sending; safe more than once, from one goroutine.
func (s *stream) stop() {
	select {
	case <-s.stopC:
	default:
		close(s.stopC)
	}
	s.wg.Wait()
}

// number is how many were sent so far.
func (s *stream) number() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent
}

// cameBack says whether anything sent from a number on has been echoed.
func (s *stream) cameBack(from int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.seen[min(from, len(s.seen)):] {
		if n > 0 {
			return true
		}
	}
	return false
}

// finish stops sending, waits until everything is back or the limit is over,
// and returns what is missing and what came more than once.
func (s *stream) finish(limit time.Duration) (sent, missing, repeated int) {
	s.stop()
	deadline := time.Now().Add(limit)
	for {
		s.mu.Lock()
		sent, missing, repeated = s.sent, 0, 0
		for _, n := range s.seen {
			if n == 0 {
				missing++
			}
			if n > 1 {
				repeated++
			}
		}
		s.mu.Unlock()
		if missing == 0 || time.Now().After(deadline) {
			return sent, missing, repeated
		}
		time.Sleep(10 * time.Millisecond)
	}
}
