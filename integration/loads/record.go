package loads

import (
	"slices"
	"time"
)

// record is the receiver's account of one flow in one direction, made ready for every datagram that can come. It
// belongs to the receiving goroutine until the flow is over.
type record struct {
	size    int     // payload bytes of each datagram
	sent    []int64 // by number, Unix ns; 0 is not arrived
	echoed  []int64 // when the world turned it round, 0 for one way
	arrived []int64 // first arrival

	duplicates int
	reordered  int // arrived after one with a higher number
	corrupt    int
	highest    int
}

func newRecord(n, size int) *record {
	return &record{size: size, sent: make([]int64, n), echoed: make([]int64, n), arrived: make([]int64, n), highest: -1}
}

// note takes one arrived datagram into the account and says whether it is a new one.
func (r *record) note(p payload, at int64) bool {
	n := int(p.number())
	if n < 0 || n >= len(r.sent) || len(p) != r.size {
		r.corrupt++
		return false
	}
	if r.arrived[n] != 0 {
		r.duplicates++
		return false
	}
	r.sent[n], r.echoed[n], r.arrived[n] = p.sent(), p.echoed(), at
	if n < r.highest {
		r.reordered++
	}
	r.highest = max(r.highest, n)
	return true
}

// DatagramResult is what became of one flow of datagrams. Loss and latency are of the datagrams sent after the
// warm-up; goodput is of what arrived after it.
type DatagramResult struct {
	Name       string       `json:"name"`
	Sent       int          `json:"sent"`
	Received   int          `json:"received"`
	Lost       int          `json:"lost"`
	Duplicates int          `json:"duplicates"`
	Reordered  int          `json:"reordered"`
	Corrupt    int          `json:"corrupt"`
	Offered    float64      `json:"offered_mbit"`
	Goodput    float64      `json:"goodput_mbit"`     // payload
	RTT        Percentiles  `json:"rtt_ms,omitzero"`  // of echoed flows
	Up         Percentiles  `json:"up_ms,omitzero"`   // one way, client to world
	Down       Percentiles  `json:"down_ms,omitzero"` // one way, world to client
	Jitter     float64      `json:"jitter_ms"`        // mean difference between the latencies of successive datagrams
	LongestGap float64      `json:"longest_gap_ms"`   // between two first arrivals
	SenderLate Percentiles  `json:"sender_late_ms"`   // how late the load itself was: a large value spoils the run
	Points     []Point      `json:"points,omitempty"` // over time
	CDF        [][2]float64 `json:"cdf,omitempty"`    // of the round trip, or of the one way
}

// Latency is the round trip of an echoed flow, the one-way latency of any other.
func (d *DatagramResult) Latency() *Percentiles {
	switch {
	case d.RTT.Count > 0:
		return &d.RTT
	case d.Up.Count > 0:
		return &d.Up
	}
	return &d.Down
}

// Direction is which way the flow went.
func (d *DatagramResult) Direction() Direction {
	switch {
	case d.RTT.Count > 0:
		return Echo
	case d.Up.Count > 0:
		return Up
	}
	return Down
}

// judge turns the account into a result. left has the times at which the datagrams of the flow were sent; begin
// is the origin of the points' times.
func (r *record) judge(s *Datagrams, left []int64, begin time.Time) *DatagramResult {
	d := &DatagramResult{Name: s.Name, Duplicates: r.duplicates, Reordered: r.reordered, Corrupt: r.corrupt}
	if len(left) == 0 {
		return d
	}
	from := left[0] + int64(s.Warmup)
	end := left[len(left)-1]
	window := max(float64(end-from)/1e9, 1e-9)
	var rtt, up, down, arrivals []int64
	slots := make([]struct {
		lat   []int64
		bytes int
		lost  int
	}, int((end-begin.UnixNano())/int64(slot))+1)
	at := func(t int64) int { return min(max(int((t-begin.UnixNano())/int64(slot)), 0), len(slots)-1) }
	bytes, last, steps := 0, int64(-1), int64(0)
	for n, t := range left {
		came := r.arrived[n] != 0
		if came {
			slots[at(r.arrived[n])].bytes += r.size
			slots[at(t)].lat = append(slots[at(t)].lat, r.arrived[n]-t)
			if r.arrived[n] >= from && r.arrived[n] <= end {
				bytes += r.size
			}
		} else {
			slots[at(t)].lost++
		}
		if t < from {
			continue
		}
		d.Sent++
		if !came {
			d.Lost++
			continue
		}
		d.Received++
		arrivals = append(arrivals, r.arrived[n])
		lat := r.arrived[n] - t
		if last >= 0 {
			steps += max(lat-last, last-lat)
		}
		last = lat
		switch {
		case s.Direction == Echo:
			rtt, up, down = append(rtt, lat), append(up, r.echoed[n]-t), append(down, r.arrived[n]-r.echoed[n])
		case s.Direction == Up:
			up = append(up, lat)
		default:
			down = append(down, lat)
		}
	}
	d.RTT, d.Up, d.Down = percentilesOf(rtt), percentilesOf(up), percentilesOf(down)
	switch s.Direction { // each is sorted by now
	case Echo:
		d.CDF = cdf(rtt)
	case Up:
		d.CDF = cdf(up)
	default:
		d.CDF = cdf(down)
	}
	if d.Received > 1 {
		d.Jitter = ms(steps / int64(d.Received-1))
	}
	slices.Sort(arrivals)
	for i := 1; i < len(arrivals); i++ {
		d.LongestGap = max(d.LongestGap, ms(arrivals[i]-arrivals[i-1]))
	}
	if n := len(arrivals); n > 0 && end > arrivals[n-1] {
		d.LongestGap = max(d.LongestGap, ms(end-arrivals[n-1])) // nothing any more until the end
	}
	d.Offered = float64(d.Sent*r.size) * 8 / window / 1e6
	d.Goodput = float64(bytes) * 8 / window / 1e6
	for i, s := range slots {
		p := percentilesOf(s.lat)
		d.Points = append(d.Points, Point{At: float64(i) * slot.Seconds(), Mid: p.P50, Max: p.Max, Mbit: float64(s.bytes) * 8 / slot.Seconds() / 1e6, Lost: s.lost})
	}
	return d
}
