//go:build linux

package main

import (
	"fmt"
	"math"
	"slices"
)

// samples are the figures of one thing, one per round.
type samples []float64

// median returns NaN without samples.
func (s samples) median() float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(s))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// over divides pair by pair: the figures of one round were taken within
// seconds, while the machine's mood changes over minutes.
func (s samples) over(base samples) samples {
	var r samples
	for i := range min(len(s), len(base)) {
		if base[i] != 0 {
			r = append(r, s[i]/base[i])
		}
	}
	return r
}

// plus adds pair by pair.
func (s samples) plus(other samples) samples {
	var r samples
	for i := range min(len(s), len(other)) {
		r = append(r, s[i]+other[i])
	}
	return r
}

// most takes the larger one, pair by pair.
func (s samples) most(other samples) samples {
	var r samples
	for i := range min(len(s), len(other)) {
		r = append(r, max(s[i], other[i]))
	}
	return r
}

// String is the median and, where there is one, the spread.
func (s samples) String() string {
	switch len(s) {
	case 0:
		return "-"
	case 1:
		return number(s[0])
	}
	return fmt.Sprintf("%s (%s-%s)", number(s.median()), number(slices.Min(s)), number(slices.Max(s)))
}

// number shows three or four significant digits, which is more than a noisy
// machine gives.
func number(v float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v):
		return "-"
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	case a == 0:
		return "0"
	default:
		return fmt.Sprintf("%.2f", v)
	}
}
