package main

import (
	"slices"
	"strings"

	"github.com/mpsocks/mpsocks/integration/profiles"
)

// plots are the charts of the run by file name: goodput of each bulk load over all profiles, and latency over time and
// its distribution for each profile.
func (r *results) plots(all []profiles.Profile) map[string]string {
	out := map[string]string{}
	for _, load := range []string{"bulk_down", "bulk_up", "http3", "connect_down", "connect_up"} {
		if c := r.goodputChart(all, load); c != nil {
			out["goodput_"+load] = c.svg()
		}
	}
	for i := range all {
		for _, load := range []string{"game", "mixed", "crowded", "near", "steady"} {
			over, cdf := r.latencyCharts(&all[i], load)
			if len(over.series) > 0 {
				out["latency_"+all[i].Name+"_"+load] = over.svg()
				out["cdf_"+all[i].Name+"_"+load] = cdf.svg()
			}
		}
	}
	return out
}

// goodputChart sets every subject beside the sum of the paths alone.
func (r *results) goodputChart(all []profiles.Profile, load string) *chart {
	c := &chart{title: "Goodput: " + load + " (medians)", y: "Mbit/s"}
	bySubject := map[string]*series{}
	order := []string{"sum of paths alone", "best path alone", "mpsocks", "kernel", "raw"}
	for _, name := range order {
		bySubject[name] = &series{name: name}
	}
	for i := range all {
		p := &all[i]
		values := map[string]float64{}
		values["sum of paths alone"], values["best path alone"] = r.alone(p, load, goodput)
		for _, name := range order[2:] {
			values[name] = r.median(p.Name, name, load, goodput)
		}
		if !(values["mpsocks"] > 0) {
			continue
		}
		for name, v := range values {
			if v > 0 {
				s := bySubject[name]
				s.points = append(s.points, [2]float64{float64(len(c.groups)), v})
			}
		}
		c.groups = append(c.groups, p.Name)
	}
	for _, name := range order {
		if len(bySubject[name].points) > 0 {
			c.series = append(c.series, *bySubject[name])
		}
	}
	if len(c.groups) == 0 {
		return nil
	}
	return c
}

// latencyCharts draws the first flow of a load, of each subject's first run.
func (r *results) latencyCharts(p *profiles.Profile, load string) (over, cdf *chart) {
	over = &chart{title: "Latency over time: " + load + " on " + p.Name, x: "seconds", y: "longest in 50 ms, ms", logY: true}
	cdf = &chart{title: "Distribution of latency: " + load + " on " + p.Name, x: "ms", y: "share at most as late", logX: true}
	end := 0.0
	for _, m := range r.done {
		if m.Profile != p.Name || m.Load != load || m.Run != 1 || len(m.Datagrams) == 0 || strings.HasPrefix(m.Subject, "alone") {
			continue
		}
		d := m.Datagrams[0]
		line, dist := series{name: m.Subject}, series{name: m.Subject}
		for _, q := range d.Points {
			if q.Max > 0 {
				line.points = append(line.points, [2]float64{q.At, q.Max})
				end = max(end, q.At)
			}
		}
		dist.points = append(dist.points, d.CDF...)
		over.series, cdf.series = append(over.series, line), append(cdf.series, dist)
	}
	for _, e := range p.Events {
		for at := e.At.Seconds(); at <= end; at += e.Every.Seconds() {
			over.marks = append(over.marks, mark{at, e.Path + " " + strings.ReplaceAll(e.Do, "_", " ")})
			if e.Every == 0 {
				break
			}
		}
	}
	slices.SortFunc(over.marks, func(a, b mark) int { return int(1e3 * (a.at - b.at)) })
	return over, cdf
}
