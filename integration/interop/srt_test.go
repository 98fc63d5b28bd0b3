package interop

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
)

// forwarded starts a pair whose client leads an address to another one.
func forwarded(t *testing.T) (from, to netip.AddrPort) {
	t.Helper()
	free, err := halves.FreePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	from, to = free[0], free[1]
	p, err := halves.Start(mpsocks, halves.Config{
		Dir: t.TempDir(), Paths: halves.TwoPaths(), Allow: loopback,
		Client: fmt.Sprintf("forwards:\n  - {listen: %q, to: %q}\n", from, to),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return from, to
}

// TestSRT streams over SRT behind a forward, with Debian's srt-live-transmit.
func TestSRT(t *testing.T) {
	srt := need(t, "srt-live-transmit")
	recipe(t, "forwards.md", "srt://127.0.0.1:9000")
	from, to := forwarded(t)
	out, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	in := freePort(t)
	for _, args := range [][]string{
		{fmt.Sprintf("srt://%s?mode=listener", to), "udp://" + out.LocalAddr().String()},
		{"udp://" + in.String(), fmt.Sprintf("srt://%s?mode=caller&latency=200", from)},
	} {
		p, err := halves.Run(srt, args...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			p.Kill()
			if t.Failed() {
				t.Logf("%v said:\n%s", args, p.Output())
			}
		})
	}
	source, err := net.Dial("udp4", in.String())
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	// A packet of MPEG-TS is 188 bytes, and seven make a datagram. SRT drops what comes
	// too early, so the stream begins when the first one is there.
	packet := func(i int) []byte { return bytes.Repeat([]byte{0x47, byte(i >> 8), byte(i), 1}, 7*188/4) }
	started := false
	for end := time.Now().Add(15 * time.Second); !started; {
		if time.Now().After(end) {
			t.Fatal("no stream")
		}
		_, _ = source.Write(packet(0xffff)) // nobody may listen yet
		_ = out.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		n, _, err := out.ReadFrom(make([]byte, 2000))
		started = err == nil && n == 7*188
	}
	const most = 500
	done := make(chan error, 1)
	go func() {
		for i := range most {
			if _, err := source.Write(packet(i)); err != nil {
				done <- err
				return
			}
			time.Sleep(2 * time.Millisecond)
		}
		done <- nil
	}()
	next, b := 0, make([]byte, 2000)
	for next < most {
		_ = out.SetReadDeadline(time.Now().Add(5 * time.Second))
		n, _, err := out.ReadFrom(b)
		if err != nil {
			t.Fatalf("after %d of %d packets: %v", next, most, err)
		}
		switch {
		case bytes.Equal(b[:n], packet(0xffff)):
		case bytes.Equal(b[:n], packet(next)):
			next++
		default:
			t.Fatalf("packet %d is another one, or out of order", next)
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
