//go:build linux

package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// chart is a small SVG plot: lines over a linear or logarithmic axis, or groups of bars.
type chart struct {
	title, x, y string
	logX, logY  bool
	series      []series
	marks       []mark   // vertical lines with a word
	groups      []string // of a bar chart: each series then has one value per group
}

type series struct {
	name   string
	points [][2]float64
}

type mark struct {
	at   float64
	text string
}

// The frame of all charts, in pixels.
const (
	chartWidth, chartHeight  = 900, 420
	left, right, top, bottom = 70, 200, 40, 60
	plotWidth, plotHeight    = chartWidth - left - right, chartHeight - top - bottom
	silence                  = 0.25 // seconds without a value that break a line over time
	smallestLog              = 0.1  // what a logarithmic axis begins with at least
	colours                  = "#1b6ca8 #c8553d #588b8b #8a5a9e #b08900 #4f772d #7a7a7a #d65db1"
)

// svg draws the chart.
func (c *chart) svg() string {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`, chartWidth, chartHeight)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="white"/><text x="%d" y="22" font-size="15">%s</text>`, left, html.EscapeString(c.title))
	if len(c.groups) > 0 {
		c.bars(&b)
	} else {
		c.lines(&b)
	}
	for i, s := range c.series {
		y := top + 14 + 18*i
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="12" height="12" fill="%s"/><text x="%d" y="%d">%s</text>`, chartWidth-right+12, y-10, colour(i), chartWidth-right+30, y, html.EscapeString(s.name))
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">%s</text>`, left+plotWidth/2, chartHeight-12, html.EscapeString(c.x))
	fmt.Fprintf(&b, `<text x="16" y="%d" text-anchor="middle" transform="rotate(-90 16 %d)">%s</text></svg>`, top+plotHeight/2, top+plotHeight/2, html.EscapeString(c.y))
	return b.String()
}

func colour(i int) string { all := strings.Fields(colours); return all[i%len(all)] }

// axis maps values to pixels and names its ticks.
type axis struct {
	low, high float64
	log       bool
	length    float64
}

func (a *axis) at(v float64) float64 {
	if a.log {
		return a.length * (math.Log10(max(v, a.low)) - math.Log10(a.low)) / (math.Log10(a.high) - math.Log10(a.low))
	}
	return a.length * (v - a.low) / (a.high - a.low)
}

func (a *axis) ticks() []float64 {
	var out []float64
	if a.log {
		for v := a.low; v <= a.high*1.0001; v *= 10 {
			out = append(out, v)
		}
		return out
	}
	step := math.Pow(10, math.Floor(math.Log10((a.high-a.low)/4)))
	for _, k := range []float64{5, 2} {
		if (a.high-a.low)/(step*k) >= 4 {
			step *= k
			break
		}
	}
	for v := math.Ceil(a.low/step) * step; v <= a.high+step/1e6; v += step {
		out = append(out, v)
	}
	return out
}

// span makes the axis that holds all values of one coordinate.
func (c *chart) span(k int, log bool, length float64) *axis {
	a := &axis{low: math.Inf(1), high: math.Inf(-1), log: log, length: length}
	for _, s := range c.series {
		for _, p := range s.points {
			a.low, a.high = min(a.low, p[k]), max(a.high, p[k])
		}
	}
	if math.IsInf(a.low, 0) {
		a.low, a.high = 0, 1
	}
	if log {
		a.low = math.Pow(10, math.Floor(math.Log10(max(a.low, smallestLog))))
		a.high = math.Pow(10, math.Ceil(math.Log10(max(a.high, a.low*10))))
		return a
	}
	a.low = min(a.low, 0)
	a.high = max(a.high*1.05, a.low+1e-9)
	return a
}

func (c *chart) lines(b *strings.Builder) {
	x, y := c.span(0, c.logX, plotWidth), c.span(1, c.logY, plotHeight)
	c.grid(b, y)
	for _, v := range x.ticks() {
		fmt.Fprintf(b, `<text x="%.1f" y="%d" text-anchor="middle">%.4g</text>`, left+x.at(v), top+plotHeight+18, v)
	}
	for _, m := range c.marks {
		if m.at > x.high {
			continue
		}
		px := left + x.at(m.at)
		fmt.Fprintf(b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#999" stroke-dasharray="4 3"/><text x="%.1f" y="%d" fill="#666" font-size="10">%s</text>`, px, top, px, top+plotHeight, px+2, top+10, html.EscapeString(m.text))
	}
	for i, s := range c.series {
		var d strings.Builder
		for k, p := range s.points {
			op := 'L'
			if k == 0 || c.logY && p[0]-s.points[k-1][0] > silence {
				op = 'M' // nothing arrived in between: no line
			}
			fmt.Fprintf(&d, "%c%.1f,%.1f ", op, left+x.at(p[0]), top+plotHeight-y.at(p[1]))
		}
		fmt.Fprintf(b, `<path d="%s" fill="none" stroke="%s" stroke-width="1.3"/>`, d.String(), colour(i))
	}
}

func (c *chart) bars(b *strings.Builder) {
	y := c.span(1, false, plotHeight)
	c.grid(b, y)
	group := float64(plotWidth) / float64(len(c.groups))
	width := group * 0.8 / float64(len(c.series))
	for g, name := range c.groups {
		px := left + group*(float64(g)+0.5)
		fmt.Fprintf(b, `<text x="%.1f" y="%d" text-anchor="end" font-size="10" transform="rotate(-30 %.1f %d)">%s</text>`, px+8, top+plotHeight+14, px+8, top+plotHeight+14, html.EscapeString(name))
	}
	for i, s := range c.series {
		for _, p := range s.points {
			h := y.at(p[1])
			px := left + group*(p[0]+0.1) + width*float64(i)
			fmt.Fprintf(b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"><title>%s %.1f</title></rect>`, px, top+plotHeight-h, width, h, colour(i), html.EscapeString(s.name), p[1])
		}
	}
}

// grid draws the horizontal lines and their values.
func (c *chart) grid(b *strings.Builder, y *axis) {
	for _, v := range y.ticks() {
		py := top + plotHeight - y.at(v)
		fmt.Fprintf(b, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="#e4e4e4"/><text x="%d" y="%.1f" text-anchor="end">%.4g</text>`, left, py, left+plotWidth, py, left-6, py+4, v)
	}
}
