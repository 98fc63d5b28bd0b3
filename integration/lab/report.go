//go:build linux

package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mpsocks/mpsocks/integration/loads"
)

// line is a measurement in one line, such as
//
//	loss_1 game mpsocks: 0/5000 lost, rtt p50 21.20 p99 26.04 p99.9 40.18 max 61.00 ms, gap 43 ms, 0 dup 0 reord | a ↑2.0 ↓2.1 b ↑1.0 ↓0.9 Mbit/s, 103 lost 0 full | cpu c12 s10 net8 % late 0.2 ms
//
// where "lost" after the paths is what the links lost and "full" what their queues dropped, the processor percentages are
// of one core, for client, server and emulator, and "late" is the p99 of the emulator's own error.
func (m *measurement) line() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s: ", m.Profile, m.Load, m.Subject)
	if m.Error != "" {
		fmt.Fprintf(&b, "ERROR %s; ", m.Error)
	}
	for _, d := range m.summary() {
		b.WriteString(d)
		b.WriteString(" | ")
	}
	for _, p := range m.Paths {
		fmt.Fprintf(&b, "%s ↑%.1f ↓%.1f ", p.Name, p.Up, p.Down)
	}
	if len(m.Paths) > 0 {
		lost, full := uint64(0), uint64(0)
		for _, p := range m.Paths {
			lost += p.Lost
			full += p.Overflow
		}
		fmt.Fprintf(&b, "Mbit/s, %d lost %d full | cpu c%.0f s%.0f net%.0f %% late %.1f ms", lost, full, m.CPU.Client, m.CPU.Server, m.CPU.Emulator, m.late())
		for i, c := range m.Cost {
			fmt.Fprintf(&b, ", %s %.1f us %.2f calls %.2f switches a datagram", []string{"client", "server"}[i], c.Micros, c.Calls, c.Switches)
		}
		if m.Copied > 0 {
			fmt.Fprintf(&b, ", copies %.1f %%", m.Copied)
		}
	}
	return b.String()
}

// summary has one text per flow; many small flows are put together.
func (m *measurement) summary() []string {
	var out []string
	shown, small := m.Datagrams, []*loads.DatagramResult(nil)
	if len(shown) > 8 {
		shown = nil
		for _, d := range m.Datagrams {
			if strings.HasPrefix(d.Name, "small") {
				small = append(small, d)
			} else {
				shown = append(shown, d)
			}
		}
		sent, lost, worst, mid := 0, 0, 0.0, 0.0
		for _, d := range small {
			sent, lost, worst, mid = sent+d.Sent, lost+d.Lost, max(worst, d.RTT.P99), max(mid, d.RTT.P50)
		}
		out = append(out, fmt.Sprintf("%d small flows: %d/%d lost, worst rtt p50 %.2f p99 %.2f ms", len(small), lost, sent, mid, worst))
	}
	for _, d := range shown {
		out = append(out, datagramText(d))
	}
	for _, s := range m.Streams {
		out = append(out, fmt.Sprintf("%s %.1f Mbit/s (whole %.1f)", s.Name, s.Goodput, s.Whole))
	}
	return out
}

func datagramText(d *loads.DatagramResult) string {
	p, kind := d.Latency(), "one way"
	if d.RTT.Count > 0 {
		kind = "rtt"
	}
	text := fmt.Sprintf("%d/%d lost, %s p50 %.2f p99 %.2f p99.9 %.2f max %.2f ms, gap %.0f ms, %d dup %d reord", d.Lost, d.Sent, kind, p.P50, p.P99, p.P999, p.Max, d.LongestGap, d.Duplicates, d.Reordered)
	if d.Offered > 2 {
		text = fmt.Sprintf("%.1f of %.1f Mbit/s, %s", d.Goodput, d.Offered, text)
	}
	if d.SenderLate.P99 > 1 {
		text += fmt.Sprintf(", sender late %.1f ms", d.SenderLate.P99)
	}
	return d.Name + " " + text
}

// timeline prints the first flow over time, a line per quarter of a second; of
// several like it the worst latency.
func (m *measurement) timeline() string {
	var points []loads.Point
	switch {
	case len(m.Datagrams) > 0:
		points = slices.Clone(m.Datagrams[0].Points)
		for _, d := range m.Datagrams[1:] {
			if d.Direction() != m.Datagrams[0].Direction() {
				continue
			}
			for i, q := range d.Points[:min(len(d.Points), len(points))] {
				p := &points[i]
				p.Mid, p.Max = max(p.Mid, q.Mid), max(p.Max, q.Max)
			}
		}
	case len(m.Streams) > 0:
		points = m.Streams[0].Points
	}
	var b strings.Builder
	for i := 0; i < len(points); i += 5 {
		q := points[i:min(i+5, len(points))]
		mid, high, mbit, lost := 0.0, 0.0, 0.0, 0
		for _, p := range q {
			mid, high, mbit, lost = max(mid, p.Mid), max(high, p.Max), mbit+p.Mbit/float64(len(q)), lost+p.Lost
		}
		fmt.Fprintf(&b, "  %5.2f s  mid %7.2f  max %8.2f ms  %7.2f Mbit/s  lost %d\n", q[0].At, mid, high, mbit, lost)
	}
	return b.String()
}
