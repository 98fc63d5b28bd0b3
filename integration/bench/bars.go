//go:build linux

package main

import (
	"fmt"
	"math"
)

// A Bar is one line of what the fast path must reach.
type Bar struct {
	What    string
	Limit   string // for people
	Figures samples
	Verdict string // pass, miss, or not measured
	Peers   string // what others reach in the same kind of run
}

// noAllocation is what counts as none: below one in a hundred datagrams only
// timers allocate.
const noAllocation = 0.01

// judge compares the results with every bar.
func judge(results []*Result, many int) []Bar {
	get := func(name, system, metric string) samples {
		for _, r := range results {
			if r.Name == name {
				return r.get(system, metric)
			}
		}
		return nil
	}
	ratio := func(name, metric, base string) samples {
		return get(name, ours, metric).over(get(name, base, metric))
	}
	both := func(name, row string) samples {
		return get(name, row, cpuClient).plus(get(name, row, cpuServer))
	}
	var bars []Bar
	most := func(what string, limit float64, s samples, shown, peers string) {
		bars = append(bars, verdict(Bar{what, "<= " + shown, s, "", peers}, s.median() <= limit))
	}
	least := func(what string, limit float64, s samples, shown, peers string) {
		bars = append(bars, verdict(Bar{what, ">= " + shown, s, "", peers}, s.median() >= limit))
	}
	const million = "CPU-s per million datagrams carried, 16 associations, "
	most(million+"1,200 B, client", 2.2, get("flood-16x32-1200", ours, cpuClient), "2.2", "11.1, 14.6, 22.4; plain TCP relay 3.2")
	most(million+"1,200 B, server", 2.2, get("flood-16x32-1200", ours, cpuServer), "2.2", "10.3, 11.4, 20.9; plain TCP relay 3.3")
	most(million+"64 B, client", 1.8, get("flood-16x32-64", ours, cpuClient), "1.8", "10.7, 12.8, 18.1; plain TCP relay 3.1")
	most(million+"64 B, server", 1.8, get("flood-16x32-64", ours, cpuServer), "1.8", "10.0, 10.2, 17.6; plain TCP relay 3.1")
	least("goodput over direct UDP, 16 x 32, 1,200 B", 0.58, ratio("flood-16x32-1200", kpps, direct), "0.58", "0.22, 0.17, 0.12; 0.50")
	least("goodput over direct UDP, 1 x 64, 1,200 B", 0.45, ratio("flood-1x64-1200", kpps, direct), "0.45", "0.15, 0.13, 0.09; 0.36")
	most("quiet round trip over direct UDP, 1,200 B, p50", 2.1, ratio("quiet-1200", p50, direct), "2.1", "2.7, 4.2, 4.1; 2.2")
	most("quiet round trip over direct UDP, 1,200 B, p99", 2.3, ratio("quiet-1200", p99, direct), "2.3", "2.5, 4.8, 3.5; 2.2")
	most("quiet round trip over direct UDP, 64 B, p50", 2.1, ratio("quiet-64", p50, direct), "2.1", "2.8, 3.6, 4.0; 2.7")
	most("quiet round trip over direct UDP, 64 B, p99", 2.3, ratio("quiet-64", p99, direct), "2.3", "2.8, 3.0, 3.5; 2.6")
	most("allocations per datagram in steady state, client", noAllocation, get("allocations", ours, allocClient), "0", "")
	most("allocations per datagram in steady state, server", noAllocation, get("allocations", ours, allocServer), "0", "")
	most("KiB resident per idle association at 10,000, both halves, never used", 16, get("memory", memoryRow(ours, many, false), memBoth), "16", "")
	most("the same after one datagram each", 16, get("memory", memoryRow(ours, many, true), memBoth), "16", "")
	scaled := func(few, window int) samples {
		return both("scale", scaleRow(ours, many, window)).over(both("scale", scaleRow(ours, few, window)))
	}
	most("processor time per datagram at 10,000 associations over 16, in turns of 32", 1.3, scaled(16, 32), "1.3", "")
	most("the same for single datagrams, 10,000 over 512", 1.3, scaled(512, 1), "1.3", "")
	least("associations set up and torn down per second", 4000, get("associations", ours, rate), "4,000", "")
	for _, way := range []string{"upload", "download"} {
		least("CONNECT "+way+", 1 stream over one TLS connection with io.Copy", 0.9, ratio(way+"-1", mbits, tlsCopy), "0.9", "")
		least("CONNECT "+way+", 4 streams over one TLS connection with io.Copy", 1.0, ratio(way+"-4", mbits, tlsOne), "1.0", "")
	}
	for _, workers := range []int{1, 4, 32} {
		name := fmt.Sprintf("connects-%d", workers)
		if best := get(name, singBox2022, rate).most(get(name, singBoxNone, rate)); len(best) > 0 {
			what := fmt.Sprintf("CONNECTs a second, %d at once, over the better sing-box of the round", workers)
			least(what, 1.3, get(name, ours, rate).over(best), "1.3", "")
			if early := get(name, oursEarly, rate); len(early) > 0 {
				least(what+", answered as early as there", 1.3, early.over(best), "1.3", "")
			}
		}
	}
	for way, goal := range []float64{1.3, 1.5} {
		for _, streams := range []int{1, 4} {
			way := []string{"upload", "download"}[way]
			name := fmt.Sprintf("%s-%d", way, streams)
			if len(get(name, singBox2022, mbits)) == 0 {
				continue
			}
			what := fmt.Sprintf("CONNECT %s, %d stream(s), over sing-box with encryption", way, streams)
			least(what, goal, ratio(name, mbits, singBox2022), fmt.Sprint(goal), "")
			cpu := func(system string) samples { return get(name, system, gbClient).plus(get(name, system, gbServer)) }
			most(what+": processor time", 0.7, cpu(ours).over(cpu(singBox2022)), "0.7", "")
		}
	}
	return bars
}

const notMeasured = "not measured"

func verdict(b Bar, pass bool) Bar {
	switch {
	case math.IsNaN(b.Figures.median()):
		b.Verdict = notMeasured
	case pass:
		b.Verdict = "pass"
	default:
		b.Verdict = "MISS"
	}
	return b
}
