package cli

import (
	"context"
	"encoding/binary"
	"time"
)

const (
	// burstTime is how long a burst takes, and burstSize the size of its datagrams.
	burstTime = 2 * time.Second
	burstSize = 1200
	// burstFirst and burstMost bound what is under way: it doubles each time that all of
	// a window has come back, as TCP's slow start does, and stays where some is lost.
	burstFirst, burstMost = 16, 4096
	// burstWait is how long a window's answers are waited for.
	burstWait = 300 * time.Millisecond
)

// burst sends as much as the path takes for two seconds to the server's echo port: bytes
// sent, bytes that came back, and the best rate of a window in bits a second, which is
// that of the slower direction.
func (a *association) burst(ctx context.Context) (sent, back int, best float64) {
	window, serial := burstFirst, uint32(0)
	msg := append(a.header[:len(a.header):len(a.header)], make([]byte, burstSize)...)
	for start := time.Now(); time.Since(start) < burstTime && ctx.Err() == nil; {
		began, first := time.Now(), serial
		for range window {
			binary.BigEndian.PutUint32(msg[len(a.header):], serial)
			serial++
			if _, err := a.udp.Write(msg); err != nil {
				break
			}
			sent += burstSize
		}
		got := 0
		a.udp.SetReadDeadline(time.Now().Add(burstWait))
		last := began
		for got < window {
			n, err := a.udp.Read(a.buf)
			if err != nil {
				break
			}
			if body, ok := datagramBody(a.buf[:n]); ok && len(body) == burstSize && binary.BigEndian.Uint32(body)-first < uint32(window) {
				got++
				last = time.Now()
			}
		}
		back += got * burstSize
		if passed := last.Sub(began).Seconds(); passed > 0 {
			best = max(best, float64(got*burstSize*8)/passed)
		}
		if got == window {
			window = min(2*window, burstMost)
		}
	}
	return sent, back, best
}
