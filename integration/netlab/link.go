package netlab

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Rate is a number of bits per second, counted over whole IP packets; zero is unlimited.
type Rate int64

// Mbit makes a Rate of so many 10^6 bit/s.
func Mbit(n float64) Rate { return Rate(n * 1e6) }

// Mbit is the rate in 10^6 bit/s.
func (r Rate) Mbit() float64 { return float64(r) / 1e6 }

// String gives the form that ParseRate reads: "50M", "256k", "unlimited".
func (r Rate) String() string {
	switch {
	case r == 0:
		return "unlimited"
	case r%1e6 == 0:
		return strconv.FormatInt(int64(r/1e6), 10) + "M"
	case r%1e3 == 0:
		return strconv.FormatInt(int64(r/1e3), 10) + "k"
	}
	return strconv.FormatInt(int64(r), 10)
}

// ParseRate reads bits per second with an optional k, M or G: "50M", "1.5M", "unlimited".
func ParseRate(s string) (Rate, error) {
	if s == "unlimited" {
		return 0, nil
	}
	unit, digits := 1.0, s
	for suffix, u := range map[string]float64{"k": 1e3, "M": 1e6, "G": 1e9} {
		if d, ok := strings.CutSuffix(s, suffix); ok {
			unit, digits = u, d
		}
	}
	n, err := strconv.ParseFloat(digits, 64)
	if err != nil || n < 0 || n*unit > 1e12 {
		return 0, fmt.Errorf("rate %q: want a number with k, M or G, in bit/s", s)
	}
	return Rate(n * unit), nil
}

// UnmarshalText lets profiles write rates as text.
func (r *Rate) UnmarshalText(b []byte) error {
	v, err := ParseRate(string(b))
	*r = v
	return err
}

// MarshalText is the mirror of UnmarshalText.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// DefaultQueue is the drop-tail queue of a link with a rate whose queue nobody set: 50 ms, what most of the public
// measurements of multipath transports use.
const DefaultQueue = 50 * time.Millisecond

// Link is one direction of a path. The zero value is a wire: no delay, no loss, no limit.
type Link struct {
	// Delay is the one-way delay.
	Delay time.Duration `json:"delay"`
	// Jitter moves the delay around within ±Jitter. Without Reorder it is a smooth wander that never lets a packet
	// overtake another; with Reorder every packet draws its own.
	Jitter  time.Duration `json:"jitter,omitempty"`
	Reorder bool          `json:"reorder,omitempty"`
	// Rate is the link's capacity; zero is unlimited.
	Rate Rate `json:"rate,omitempty"`
	// QueueTime and QueueBytes limit the drop-tail queue in front of the link: a packet that would wait longer, or
	// find more bytes waiting, is dropped. Both zero: DefaultQueue. Without a Rate there is no queue.
	QueueTime  time.Duration `json:"queue_time,omitempty"`
	QueueBytes int           `json:"queue_bytes,omitempty"`
	// Loss is the probability, 0 to 1, that a packet is lost on the link, each on its own.
	Loss float64 `json:"loss,omitempty"`
	// Burst is loss that comes in bursts, on top of Loss.
	Burst Burst `json:"burst,omitzero"`
	// BlackHole swallows everything, in flight or new, while the devices stay up.
	BlackHole bool `json:"black_hole,omitempty"`
}

// PathSpec describes one path. The name is also the name of its devices.
type PathSpec struct {
	Name string
	Up   Link // client to world
	Down Link // world to client
}

// Symmetric makes a path with the same link in both directions.
func Symmetric(name string, l Link) PathSpec { return PathSpec{Name: name, Up: l, Down: l} }

// Burst is the Gilbert-Elliott model, stepped once per packet: from the good state to the bad with probability Enter,
// back with probability Leave; in the bad state packets are lost with probability Loss. The mean loss is
// Loss·Enter/(Enter+Leave), the mean burst 1/Leave packets.
type Burst struct {
	Enter float64 `json:"enter,omitempty" yaml:"enter"`
	Leave float64 `json:"leave,omitempty" yaml:"leave"`
	Loss  float64 `json:"loss,omitempty" yaml:"loss"`
}

// Mean is the share of packets that the model loses in the long run.
func (b Burst) Mean() float64 {
	if b.Enter == 0 {
		return 0
	}
	return b.Loss * b.Enter / (b.Enter + b.Leave)
}

// Validate says what is wrong with the figures, all at once.
func (l *Link) Validate() error {
	var errs []error
	for _, d := range []struct {
		name string
		v    time.Duration
	}{{"delay", l.Delay}, {"jitter", l.Jitter}, {"queue_time", l.QueueTime}} {
		if d.v < 0 || d.v > time.Minute {
			errs = append(errs, fmt.Errorf("%s %v: want 0 to 1m", d.name, d.v))
		}
	}
	for _, p := range []struct {
		name string
		v    float64
	}{{"loss", l.Loss}, {"burst.enter", l.Burst.Enter}, {"burst.leave", l.Burst.Leave}, {"burst.loss", l.Burst.Loss}} {
		if !(p.v >= 0 && p.v <= 1) {
			errs = append(errs, fmt.Errorf("%s %v: want a probability", p.name, p.v))
		}
	}
	if l.Jitter > l.Delay {
		errs = append(errs, fmt.Errorf("jitter %v is more than the delay %v", l.Jitter, l.Delay))
	}
	if l.Rate != 0 && (l.Rate < 8000 || l.Rate > 1e12) {
		errs = append(errs, fmt.Errorf("rate %d: want 0 or 8k to 1T bit/s", l.Rate))
	}
	if l.QueueBytes < 0 {
		errs = append(errs, fmt.Errorf("queue_bytes %d is negative", l.QueueBytes))
	}
	return errors.Join(errs...)
}

// LinkStats counts what happened on one direction of a path since it was made; the lateness and the longest wait are
// those since the statistics were read last.
type LinkStats struct {
	Packets    uint64        `json:"packets"`         // that entered
	Bytes      uint64        `json:"bytes"`           // of those, IP headers included
	Delivered  uint64        `json:"delivered"`       // packets that left at the other end
	DeliveredB uint64        `json:"delivered_bytes"` // and their bytes
	Lost       uint64        `json:"lost"`            // by Loss or Burst
	Overflow   uint64        `json:"overflow"`        // dropped by the full queue
	Swallowed  uint64        `json:"swallowed"`       // by BlackHole
	Refused    uint64        `json:"refused"`         // the receiving device was down
	QueueMax   time.Duration `json:"queue_max"`       // longest wait in front of the link
	LateP50    time.Duration `json:"late_p50"`        // how long after its due time a packet left the emulator
	LateP99    time.Duration `json:"late_p99"`        //
	LateMax    time.Duration `json:"late_max"`        //
}
