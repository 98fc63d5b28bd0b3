package mux

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Class says what a flow needs from the paths.
type Class uint8

// The classes, in the order in which the queue serves them.
const (
	ClassLatency Class = iota // small flows: games, voice, DNS; best subflows, copies while there is room
	ClassBulk                 // fills all paths, in order within each
	ClassOrdered              // fills all paths, the receiver restores order (QUIC)
	ClassMetered              // as bulk, and may use metered paths
	ClassBackup               // only what all others leave
	classes
)

var classNames = [classes]string{"latency", "bulk", "ordered", "metered", "backup"}

func (c Class) String() string { return classNames[c] }

// ParseClass returns the class of that name.
func ParseClass(name string) (Class, error) {
	for i, n := range classNames {
		if n == name {
			return Class(i), nil
		}
	}
	return 0, fmt.Errorf("class %q is none of latency, bulk, ordered, metered, backup", name)
}

// Mode is the policy for all flows that no rule names.
type Mode uint8

// The modes of the configuration.
const (
	ModeAuto      Mode = iota // classes by behaviour
	ModeAggregate             // every flow is bulk or ordered, no copies
	ModeRedundant             // every packet on two paths while they have room
	ModeLatency               // every packet on the subflow where it arrives first, no copies
)

var modeNames = [...]string{"auto", "aggregate", "redundant", "latency"}

func (m Mode) String() string { return modeNames[m] }

// ParseMode returns the mode of that name.
func ParseMode(name string) (Mode, error) {
	for i, n := range modeNames {
		if n == name {
			return Mode(i), nil
		}
	}
	return 0, fmt.Errorf("mode %q is none of auto, aggregate, redundant, latency", name)
}

// Source says whom packets are from, for rules and for the "why" of a flow.
// One association owns it; the session keeps the flow it used last in it.
type Source struct {
	User string

	last *flow // guarded by the session's lock
}

// Rule overrides the class of the flows it matches; the first match wins.
// Empty fields match everything.
type Rule struct {
	User  string
	To    netip.Prefix
	Ports [2]uint16 // first and last; 0, 0 = any
	DSCP  int       // -1 = any
	Class Class
}

// match judges a new flow. remote and port are the far end's: the destination
// on the client, the source on the server.
func (r *Rule) match(user string, remote [16]byte, port uint16, tos uint8) bool {
	if r.User != "" && r.User != user {
		return false
	}
	if r.To.IsValid() && !r.To.Contains(netip.AddrFrom16(remote).Unmap()) {
		return false
	}
	if r.Ports[1] != 0 && (port < r.Ports[0] || port > r.Ports[1]) {
		return false
	}
	return r.DSCP < 0 || int(tos>>2) == r.DSCP
}

// ruled returns the class that the rules give to what user exchanges with a far end.
func (s *Session) ruled(user string, remote [16]byte, port uint16, tos uint8) (Class, bool) {
	all := s.rules.Load()
	if all == nil {
		return 0, false
	}
	rules := *all
	for i := range rules {
		if r := &rules[i]; r.match(user, remote, port, tos) {
			return r.Class, true
		}
	}
	return 0, false
}

// Behaviour thresholds, per window of 100 ms.
const (
	windowLen = 100e6 // ns

	// A flow above 5 Mbit/s is more than any game or call sends: it becomes
	// bulk at once, in the window in which it happens.
	bulkWindow = 64 << 10
	// Below 2.5 Mbit/s for a second it is small again; the gap is hysteresis.
	smallWindow  = 32 << 10
	smallWindows = 10
	// Copies are for flows below 2 Mbit/s.
	copyWindow = 25 << 10
)

// A behaviour is what a flow's class is recognised from.
type behaviour struct {
	start int64 // of the current window, ns
	bytes int   // in it
	rate  int   // bytes of the last whole window, scaled to 100 ms
	calm  uint8 // whole windows below smallWindow in a row
	quic  bool  // one of the first payloads was QUIC's
}

// note counts n bytes at now and reports whether the flow is large.
func (b *behaviour) note(now int64, n int, large bool) bool {
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

// see looks at one of the first payloads of a flow. QUIC begins with long
// headers that name the version (RFC 8999, Section 5.1; RFC 9000, Section 15;
// RFC 9369, Section 3.1).
func (b *behaviour) see(payload []byte) {
	if len(payload) < 7 || payload[0]&0xC0 != 0xC0 {
		return
	}
	switch v := binary.BigEndian.Uint32(payload[1:]); {
	case v == 1, v == 0x6b3343cf, v>>8 == 0xff0000:
		b.quic = true
	}
}
