package fq

import "github.com/mpsocks/mpsocks/mux/packet"

// Behaviour thresholds, per window of 100 ms.
const (
	windowLen = 100e6 // ns; the thresholds below are bytes in it

	// A flow above 5 Mbit/s is more than any game or call sends: it becomes
	// bulk at once, in the window in which it happens.
	bulkWindow = 64 << 10
	// Below 2.5 Mbit/s for a second, smallWindows, it is small again; the gap is
	// hysteresis.
	smallWindow  = 32 << 10
	smallWindows = 10
	// Copies are for flows below 2 Mbit/s.
	copyWindow = 25 << 10
)

// A Behaviour is what a flow's class is recognised from.
type Behaviour struct {
	start int64 // of the current window, ns
	bytes int   // in it
	rate  int   // bytes of the last whole window, scaled to 100 ms
	calm  uint8 // whole windows below smallWindow in a row
	QUIC  bool  // one of the first payloads was QUIC's, see packet.IsQUIC
}

// Note counts n bytes at now and reports whether the flow is large.
func (b *Behaviour) Note(now int64, n int, large bool) bool {
	if d := now - b.start; d >= windowLen {
		b.rate = int(int64(b.bytes) * windowLen / d)
		idle := d / windowLen
		if b.rate < smallWindow {
			b.calm = uint8(min(int64(b.calm)+idle, 255))
		} else {
			b.calm = 0
		}
		b.start, b.bytes = now, 0
		if large && b.calm >= smallWindows {
			large = false
		}
	}
	b.bytes += n
	return large || b.bytes > bulkWindow
}

// See looks at one of the first payloads of a flow.
func (b *Behaviour) See(payload []byte) { b.QUIC = b.QUIC || packet.IsQUIC(payload) }

// Copied says that the flow is small enough for copies.
func (b *Behaviour) Copied() bool { return b.rate < copyWindow }
