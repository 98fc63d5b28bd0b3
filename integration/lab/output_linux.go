package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mpsocks/mpsocks/integration/profiles"
)

// write puts the tables and plots of the run into a directory: results.json has everything, results.md what a reader
// wants first, the SVG files one plot each.
func (l *laboratory) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	all, err := profiles.All()
	if err != nil {
		return err
	}
	doc := struct {
		Command      string         `json:"command"`
		When         time.Time      `json:"when"`
		Verdicts     []verdict      `json:"verdicts,omitempty"`
		Measurements []*measurement `json:"measurements"`
		Dropped      []*measurement `json:"dropped,omitempty"` // taken again
	}{l.command, l.begin, l.finite(), l.done, l.dropped}
	b, err := json.Marshal(&doc)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "results.json"), b, 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "results.md"), []byte(l.markdown(all)), 0o644); err != nil {
		return err
	}
	for name, text := range l.plots(all) {
		if err := os.WriteFile(filepath.Join(dir, name+".svg"), []byte(text), 0o644); err != nil {
			return err
		}
	}
	fmt.Fprintf(os.Stderr, "tables and plots are in %s\n", dir)
	return nil
}

// finite are the verdicts as JSON can hold them: what could not be measured becomes -1.
func (l *laboratory) finite() []verdict {
	out := slices.Clone(l.verdicts)
	for i := range out {
		if math.IsNaN(out[i].Measured) || math.IsInf(out[i].Measured, 0) {
			out[i].Measured = -1
		}
	}
	return out
}

// markdown is the whole report: bars, then one table per profile with a row per load and subject, medians over the runs.
func (l *laboratory) markdown(all []profiles.Profile) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Measurements in emulated networks\n\n`%s`, %s, %v.\n\n", l.command, l.begin.UTC().Format("2006-01-02 15:04 UTC"), time.Since(l.begin).Round(time.Second))
	fmt.Fprintf(&b, "Medians of %d. Latency is the round trip of echoed flows and the one-way time of others, in ms. Goodput is payload, Mbit/s. `over sum` and `over best` relate goodput to the same program with each path alone. `late` is the emulator's own error (p99, the worst 100 ms), ms.", l.repeat)
	b.WriteString(l.retaken() + "\n\n")
	if len(l.verdicts) > 0 {
		b.WriteString("| bar | profile | what | measured | bar | | beside |\n|---|---|---|---|---|---|---|\n")
		for _, v := range l.verdicts {
			sign, word := "<=", "**miss**"
			if v.AtLeast {
				sign = ">="
			}
			if v.pass() {
				word = "pass"
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %.4g | %s %.4g | %s | %s |\n", v.Bar, v.Profile, v.What, v.Measured, sign, v.Limit, word, v.Beside)
		}
		b.WriteString("\n")
	}
	r := &l.results
	for i := range all {
		p := &all[i]
		rows := l.rows(p, r)
		if len(rows) == 0 {
			continue
		}
		fmt.Fprintf(&b, "## %s\n\n%s. *%s.*\n\n", p.Name, p.About, p.Origin)
		b.WriteString("| load | subject | goodput | over sum | over best | lost % | p50 | p99 | p99.9 | gap | dup | paths up/down Mbit/s | cpu % c/s | late | |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n")
		for _, row := range rows {
			b.WriteString(row)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// retaken says how many measurements were taken again, and how many are spoiled all the same.
func (l *laboratory) retaken() string {
	if l.tolerance <= 0 {
		return ""
	}
	spoiled := 0
	for _, m := range l.done {
		if l.spoiled(m) {
			spoiled++
		}
	}
	return fmt.Sprintf(" Of %d measurements %d attempts were dropped, as the emulator came later than %g ms; it did so in %d that are here.", len(l.done), len(l.dropped), l.tolerance, spoiled)
}

// rows are the table of one profile.
func (l *laboratory) rows(p *profiles.Profile, r *results) []string {
	var out []string
	seen := map[string]bool{}
	for _, w := range allLoads {
		for _, m := range l.done {
			key := m.Load + " " + m.Subject
			if m.Profile != p.Name || m.Load != w.name || seen[key] {
				continue
			}
			seen[key] = true
			med := func(f func(*measurement) float64) float64 { return r.median(p.Name, m.Subject, m.Load, f) }
			sum, best := r.alone(p, m.Load, goodput)
			good := med(goodput)
			over := func(x float64) string {
				if m.Subject != "mpsocks" || !(x > 0) {
					return ""
				}
				return fmt.Sprintf("%.2f", good/x)
			}
			lat := func(q string) string {
				if len(m.Datagrams) == 0 {
					return ""
				}
				return fmt.Sprintf("%.1f", med(latency(q)))
			}
			loss, gaps, dups := "", "", ""
			if len(m.Datagrams) > 0 {
				loss = fmt.Sprintf("%.2f", med(func(m *measurement) float64 { return 100 * (1 - delivered(m)) }))
				gaps = fmt.Sprintf("%.0f", med(gap))
				dups = fmt.Sprintf("%.0f", med(duplicates))
			}
			var paths []string
			for k, q := range m.Paths {
				paths = append(paths, fmt.Sprintf("%s %.1f/%.1f", q.Name, med(func(m *measurement) float64 { return m.Paths[k].Up }), med(func(m *measurement) float64 { return m.Paths[k].Down })))
			}
			cpu := ""
			if m.Subject != "raw" {
				cpu = fmt.Sprintf("%.0f/%.0f", med(func(m *measurement) float64 { return m.CPU.Client }), med(func(m *measurement) float64 { return m.CPU.Server }))
			}
			out = append(out, fmt.Sprintf("| %s | %s | %.1f | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %.1f | %s |\n",
				m.Load, m.Subject, good, over(sum), over(best), loss, lat("p50"), lat("p99"), lat("p99.9"), gaps, dups, strings.Join(paths, ", "), cpu, med((*measurement).late), strings.ReplaceAll(m.Error, "\n", " ")))
		}
	}
	return out
}
