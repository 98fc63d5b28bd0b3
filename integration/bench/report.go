//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A Report is the whole outcome of a run; its JSON form has every sample.
type Report struct {
	Command string
	Kernel  string
	CPUs    int
	Go      string
	Rounds  int
	Window  string
	Busy    string // load averages of the machine before the run
	Many    int    // associations where ten thousand were asked for
	Bars    []Bar
	Results []*Result
	Ratios  []Ratio `json:",omitempty"` // with -peers
}

func newReport(b *bench, results []*Result) *Report {
	var name unix.Utsname
	_ = unix.Uname(&name) // an unknown kernel is only a missing word
	return &Report{
		Command: "go run ./integration/bench " + strings.Join(os.Args[1:], " "),
		Kernel:  unix.ByteSliceToString(name.Sysname[:]) + " " + unix.ByteSliceToString(name.Release[:]),
		CPUs:    runtime.NumCPU(),
		Go:      runtime.Version(),
		Rounds:  b.rounds,
		Window:  b.window.String(),
		Busy:    b.busy,
		Many:    b.many,
		Bars:    judge(results, b.many),
		Results: results,
	}
}

// markdown is the report for people.
func (r *Report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Bench\n\n`%s`\n\n", strings.TrimSpace(r.Command))
	fmt.Fprintf(&b, "%d processors, %s, %s; %d rounds, windows of %s, systems interleaved. "+
		"Figures are medians with (smallest-largest); ratios are taken round by round. "+
		"Client, server, generator and echo are separate processes on the same machine. "+
		"CPU-s/M: processor seconds per million datagrams carried, an echo counts two. "+
		"Load averages before the run: %s; round trips mean something on an otherwise idle machine only.\n\n", r.CPUs, r.Kernel, r.Go, r.Rounds, r.Window, r.Busy)
	if len(r.Bars) > 0 {
		b.WriteString("## Bars\n\n| what | bar | figure | verdict | peers, same kind of run |\n|---|---|---|---|---|\n")
	}
	for _, bar := range r.Bars {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", bar.What, bar.Limit, bar.Figures, bar.Verdict, bar.Peers)
	}
	for _, result := range r.Results {
		result.markdown(&b)
	}
	if len(r.Ratios) > 0 {
		b.WriteString("\n## Ours over others, round by round\n\n| what | metric | over | ratio |\n|---|---|---|---|\n")
	}
	for _, ratio := range r.Ratios {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", ratio.Name, ratio.Metric, ratio.Over, ratio.Figures)
	}
	return b.String()
}

func (r *Result) markdown(b *strings.Builder) {
	fmt.Fprintf(b, "\n## %s (`%s`)\n\n", r.Title, r.Name)
	if r.Error != "" {
		fmt.Fprintf(b, "Not finished: %s\n\n", r.Error)
	}
	if len(r.Rows) == 0 {
		return
	}
	fmt.Fprintf(b, "| | %s |\n|---|%s\n", strings.Join(r.Metrics, " | "), strings.Repeat("---|", len(r.Metrics)))
	for _, row := range r.Rows {
		fmt.Fprintf(b, "| %s |", row.System)
		for _, metric := range r.Metrics {
			fmt.Fprintf(b, " %s |", row.Samples[metric])
		}
		b.WriteString("\n")
	}
}

// write saves the report where asked.
func (r *Report) write(markdown, asJSON string) error {
	if markdown != "" {
		if err := writeFile(markdown, []byte(r.markdown())); err != nil {
			return err
		}
	}
	if asJSON == "" {
		return nil
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(asJSON, append(b, '\n'))
}

func writeFile(name string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, b, 0o644)
}

// progress says on standard error what is going on, one line each.
func progress() func(string, ...any) {
	start := time.Now()
	return func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "%5.0fs  %s\n", time.Since(start).Seconds(), fmt.Sprintf(format, args...))
	}
}
