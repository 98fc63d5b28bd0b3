package loads

import (
	"math"
	"slices"
	"time"
)

// Percentiles sums up a set of durations, in milliseconds.
type Percentiles struct {
	Count int     `json:"count"`
	Min   float64 `json:"min"`
	Mean  float64 `json:"mean"`
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P99   float64 `json:"p99"`
	P999  float64 `json:"p99.9"`
	Max   float64 `json:"max"`
}

// ms is a duration in nanoseconds as milliseconds, to the microsecond.
func ms(ns int64) float64 { return math.Round(float64(ns)/1e3) / 1e3 }

// percentilesOf sorts the durations in place.
func percentilesOf(ns []int64) Percentiles {
	if len(ns) == 0 {
		return Percentiles{}
	}
	slices.Sort(ns)
	sum := int64(0)
	for _, d := range ns {
		sum += d
	}
	at := func(q float64) float64 { return ms(ns[int(math.Ceil(q*float64(len(ns))))-1]) }
	return Percentiles{
		Count: len(ns), Min: ms(ns[0]), Mean: ms(sum / int64(len(ns))),
		P50: at(.5), P90: at(.9), P99: at(.99), P999: at(.999), Max: ms(ns[len(ns)-1]),
	}
}

// cdf picks 101 points of the distribution of the durations, denser towards the tail: pairs of milliseconds and share.
func cdf(sorted []int64) [][2]float64 {
	if len(sorted) == 0 {
		return nil
	}
	var out [][2]float64
	for i := range 101 {
		q := 1 - math.Pow(10, -float64(i)/25) // 0 to 0.9999
		n := min(int(q*float64(len(sorted))), len(sorted)-1)
		out = append(out, [2]float64{ms(sorted[n]), q})
	}
	return out
}

// Point is one slice of time in a run.
type Point struct {
	At   float64 `json:"at"`             // seconds since the run began
	Mid  float64 `json:"mid,omitempty"`  // median latency of the datagrams sent in it, ms
	Max  float64 `json:"max,omitempty"`  // longest
	Mbit float64 `json:"mbit,omitempty"` // payload that arrived in it, Mbit/s
	Lost int     `json:"lost,omitempty"` // datagrams sent in it that never arrived
}

// slot is the length of a Point's slice.
const slot = 50 * time.Millisecond
