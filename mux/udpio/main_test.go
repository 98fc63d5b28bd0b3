package udpio

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	any4 = netip.MustParseAddrPort("127.0.0.1:0")
	any6 = netip.MustParseAddrPort("[::1]:0")
)

// startLoop runs a Loop until the test ends.
func startLoop(t testing.TB, after func()) *Loop {
	t.Helper()
	l, err := NewLoop(zerolog.Nop(), after)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1) // Run's only result
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("Run did not end with its context")
		}
	})
	return l
}

// listen binds a Conn that is closed when the test ends.
func listen(t testing.TB, l *Loop, local netip.AddrPort, opt Options, h Handler) *Conn {
	t.Helper()
	c, err := l.Listen(local, opt, h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// plain returns an ordinary socket to test against.
func plain(t testing.TB, local netip.AddrPort) *net.UDPConn {
	t.Helper()
	u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(local))
	if err != nil {
		t.Fatal(err)
	}
	u.SetReadBuffer(1 << 22)
	u.SetDeadline(time.Now().Add(20 * time.Second))
	t.Cleanup(func() { u.Close() })
	return u
}

func addrOf(u *net.UDPConn) netip.AddrPort {
	ap := u.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// A collector is a Handler that keeps copies of what it got.
type collector struct {
	mu   sync.Mutex
	got  [][]byte
	from []netip.AddrPort
	tos  []uint8
}

func (k *collector) handle(_ *Conn, msgs []Message) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range msgs {
		k.got = append(k.got, bytes.Clone(msgs[i].Buf.Bytes()))
		k.from = append(k.from, msgs[i].Addr)
		k.tos = append(k.tos, msgs[i].TOS)
	}
}

// wait returns once n datagrams have come.
func (k *collector) wait(t testing.TB, n int) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		k.mu.Lock()
		have := len(k.got)
		k.mu.Unlock()
		if have >= n {
			return
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	t.Fatalf("got %d datagrams, want %d", len(k.got), n)
}

// payload returns n bytes that tell their length, number and position.
func payload(n, number int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8 + n + number*13)
	}
	return b
}
