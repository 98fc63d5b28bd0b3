package main

import (
	"fmt"
	"slices"
	"time"
)

// figures are what was measured of a front in one round.
type figures struct {
	datagrams float64 // of 1,200 bytes, that arrived in a second
	lost      float64 // the share that did not
	overrun   float64 // that came to iperf3 in a second and found no room in its socket
	even      float64 // datagrams a second at which next to none are lost; 0 = not looked for
	stream    float64 // bit/s of one TCP connection
	cpu       float64 // microseconds a datagram that arrived, of the client and the front
	quiet     time.Duration
}

func (f figures) String() string {
	if f.datagrams == 0 {
		return fmt.Sprintf("quiet %v", f.quiet)
	}
	return fmt.Sprintf("%7.0f datagrams/s (%4.1f %% lost; %.0f/s for want of room at iperf3), %7.0f with next to none lost, %5.1f µs each; TCP %6.0f Mbit/s; quiet %v",
		f.datagrams, 100*f.lost, f.overrun, f.even, f.cpu, f.stream/1e6, f.quiet)
}

// report prints the ratio of each round's figures, and the medians beside the bars.
func report(r *rig) {
	ours, fronts := r.result["run"], []string{"tun2socks", "sing-box"}
	if len(ours) == 0 {
		return
	}
	rows := []struct {
		name  string
		bar   string
		of    func(round int) (float64, bool)
		holds func(v float64) bool
	}{
		{"datagrams a second, times the best front's", ">= 2", func(i int) (float64, bool) {
			best, ok := among(r, fronts, i, func(f figures) float64 { return f.datagrams }, slices.Max[[]float64])
			return ours[i].datagrams / best, ok
		}, func(v float64) bool { return v >= 2 }},
		{"the same with next to none lost", ">= 2", func(i int) (float64, bool) {
			best, ok := among(r, fronts, i, func(f figures) float64 { return f.even }, slices.Max[[]float64])
			return ours[i].even / best, ok && r.even
		}, func(v float64) bool { return v >= 2 }},
		{"TCP, times the best front's", ">= 1.5", func(i int) (float64, bool) {
			best, ok := among(r, fronts, i, func(f figures) float64 { return f.stream }, slices.Max[[]float64])
			return ours[i].stream / best, ok
		}, func(v float64) bool { return v >= 1.5 }},
		{"processor time a datagram, times the least front's", "<= 0.6", func(i int) (float64, bool) {
			least, ok := among(r, fronts, i, func(f figures) float64 { return f.cpu }, slices.Min[[]float64])
			return ours[i].cpu / least, ok
		}, func(v float64) bool { return v <= 0.6 }},
		{"round trip of a quiet flow, times SOCKS's", "<= 1.15", func(i int) (float64, bool) {
			direct, ok := among(r, []string{"socks"}, i, func(f figures) float64 { return f.quiet.Seconds() }, slices.Min[[]float64])
			return ours[i].quiet.Seconds() / direct, ok
		}, func(v float64) bool { return v <= 1.15 }},
	}
	for _, row := range rows {
		var all []float64
		for i := range ours {
			if v, ok := row.of(i); ok {
				all = append(all, v)
			}
		}
		if len(all) == 0 {
			fmt.Printf("%-52s not measured: nothing to compare with\n", row.name)
			continue
		}
		sorted := slices.Sorted(slices.Values(all))
		verdict := "MISSED"
		if median := sorted[len(sorted)/2]; row.holds(median) {
			verdict = "holds"
		}
		fmt.Printf("%-52s %.2f  (bar %s) %s; rounds %.2f\n", row.name, sorted[len(sorted)/2], row.bar, verdict, all)
	}
}

// among chooses of what some fronts have shown in a round.
func among(r *rig, names []string, round int, of func(figures) float64, choose func([]float64) float64) (float64, bool) {
	var all []float64
	for _, n := range names {
		if round < len(r.result[n]) {
			all = append(all, of(r.result[n][round]))
		}
	}
	if len(all) == 0 {
		return 0, false
	}
	return choose(all), true
}
