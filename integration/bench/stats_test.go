//go:build linux

package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSamples(t *testing.T) {
	for _, tc := range []struct {
		name string
		got  string
		want string
	}{
		{"none", samples{}.String(), "-"},
		{"one", samples{1234}.String(), "1234"},
		{"odd", samples{3, 1, 2}.String(), "2.00 (1.00-3.00)"},
		{"even", samples{4, 1, 2, 3}.String(), "2.50 (1.00-4.00)"},
		{"pairs", samples{2, 9}.over(samples{1, 3}).String(), "2.50 (2.00-3.00)"},
		{"pairs without a base", samples{2, 9}.over(samples{0, 3}).String(), "3.00"},
		{"the larger ones", samples{1, 20}.most(samples{10, 2}).String(), "15.0 (10.0-20.0)"},
		{"sum", samples{1, 2}.plus(samples{10, 20}).String(), "16.5 (11.0-22.0)"},
	} {
		if diff := cmp.Diff(tc.want, tc.got); diff != "" {
			t.Errorf("%s: %s", tc.name, diff)
		}
	}
}

// TestJudge gives figures on both sides of a bar and none at all.
func TestJudge(t *testing.T) {
	good := &Result{Name: "flood-16x32-1200"}
	good.add(ours, cpuClient, 2.1)
	good.add(ours, cpuServer, 2.3)
	good.add(ours, kpps, 60)
	good.add(direct, kpps, 100)
	got := map[string]string{}
	for _, bar := range judge([]*Result{good}, ten) {
		if bar.Verdict != notMeasured {
			got[bar.What] = bar.Verdict
		}
	}
	want := map[string]string{
		"CPU-s per million datagrams carried, 16 associations, 1,200 B, client": "pass",
		"CPU-s per million datagrams carried, 16 associations, 1,200 B, server": "MISS",
		"goodput over direct UDP, 16 x 32, 1,200 B":                             "pass",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestBarsHaveMeasurements judges results in which everything was measured:
// a bar whose name fits no measurement would never be.
func TestBarsHaveMeasurements(t *testing.T) {
	systems := []string{ours, direct, plain, tlsCopy, tlsOne, singBox2022, singBoxNone}
	for _, n := range []int{16, 512, ten} {
		systems = append(systems, scaleRow(ours, n, 1), scaleRow(ours, n, 32), memoryRow(ours, n, true), memoryRow(ours, n, false))
	}
	var all []*Result
	for _, m := range measurements() {
		r := &Result{Name: m.name}
		for _, system := range systems {
			for _, metric := range m.metrics {
				r.add(system, metric, 1)
			}
		}
		all = append(all, r)
	}
	for _, bar := range judge(all, ten) {
		if bar.Verdict == notMeasured {
			t.Errorf("%q is never measured", bar.What)
		}
	}
	report := (&Report{Bars: judge(all, ten), Results: all}).markdown()
	if lines := strings.Count(report, "\n| "); lines < len(all) {
		t.Errorf("%d table lines for %d results", lines, len(all))
	}
}
