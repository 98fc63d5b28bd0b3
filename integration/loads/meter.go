package loads

import (
	"sync"
	"time"
)

// Streams describes one TCP transfer that goes on for a time.
type Streams struct {
	Name       string
	Direction  Direction // Up or Down
	Congestion string    // the sender's congestion control; empty is the host's (direct connections only)
	Warmup     time.Duration
	Duration   time.Duration
	Begin      time.Time
}

// StreamResult is what a transfer reached, counted where the bytes arrive.
type StreamResult struct {
	Name    string  `json:"name"`
	Bytes   int64   `json:"bytes"`        // in all
	Goodput float64 `json:"goodput_mbit"` // after the warm-up
	Whole   float64 `json:"whole_mbit"`   // from the request on, connection set-up and slow start included
	Points  []Point `json:"points,omitempty"`
}

// counter adds up the bytes of a transfer by slots of time.
type counter struct {
	mu    sync.Mutex
	begin time.Time
	slots []int64
}

func (c *counter) add(n int) {
	i := int(time.Since(c.begin) / slot)
	c.mu.Lock()
	for len(c.slots) <= i {
		c.slots = append(c.slots, 0)
	}
	c.slots[i] += int64(n)
	c.mu.Unlock()
}

// judge turns the slots into a result; from is when the transfer was asked for.
func (c *counter) judge(name string, from time.Time, warmup, duration time.Duration) *StreamResult {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := &StreamResult{Name: name}
	first, end := int(from.Add(warmup).Sub(c.begin)/slot), int(from.Add(duration).Sub(c.begin)/slot)
	after := int64(0)
	for i, n := range c.slots {
		if i >= end {
			break
		}
		r.Bytes += n
		if i >= first {
			after += n
		}
		r.Points = append(r.Points, Point{At: float64(i) * slot.Seconds(), Mbit: float64(n) * 8 / slot.Seconds() / 1e6})
	}
	r.Goodput = float64(after) * 8 / (time.Duration(end-first) * slot).Seconds() / 1e6
	r.Whole = float64(r.Bytes) * 8 / duration.Seconds() / 1e6
	return r
}

// Meter counts the bytes of a transfer for packages that bring protocols of their own. Safe for concurrent use.
type Meter struct{ counter }

// NewMeter begins at the origin of the points' times.
func NewMeter(begin time.Time) *Meter { return &Meter{counter{begin: begin}} }

// Add counts n bytes that have just arrived.
func (m *Meter) Add(n int) { m.add(n) }

// Result is what was counted between from, when the transfer was asked for, and the end of the duration.
func (m *Meter) Result(name string, from time.Time, warmup, duration time.Duration) *StreamResult {
	return m.judge(name, from, warmup, duration)
}
