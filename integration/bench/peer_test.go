//go:build linux

package main

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"
)

// TestMain makes the test's program its own helpers, as main does.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == childArg {
		exit(runChild(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// TestPeers runs a little of what make bench-peers does, but for sing-box, which fails now
// and then; that is only started, where it is installed.
func TestPeers(t *testing.T) {
	runtime.LockOSThread() // the helpers die with the thread that started them
	o := &options{peers: true, rounds: 2, window: 300 * time.Millisecond, quick: true}
	b, err := o.prepare(o.usual())
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	b.progress = t.Logf
	if b.singbox, _ = filepath.Abs(filepath.Join("..", "..", "build", "tools", "sing-box")); exists(b.singbox) {
		for _, name := range []string{singBox2022, singBoxNone} {
			s, err := b.start(name)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			s.stop()
		}
	} else {
		t.Log("without sing-box: make bench-peers installs it")
	}
	wanted := map[string]string{"connects-4": rate, "upload-1": "CPU-s/GB", "paced-500-200": p50}
	var results []*Result
	for _, m := range measurements() {
		if wanted[m.name] == "" {
			continue
		}
		r := &Result{Name: m.name, Title: m.title, Metrics: m.metrics}
		if err := m.run(b, r); err != nil {
			t.Fatalf("%s: %v", m.name, err)
		}
		results = append(results, r)
	}
	all := ratios(results)
	for name, metric := range wanted {
		for _, over := range o.usual() {
			i := slices.IndexFunc(all, func(r Ratio) bool { return r.Name == name && r.Metric == metric && r.Over == over })
			none := over == ours || over == plain && name != "paced-500-200" || (over == direct || over == oursEarly) && name != "connects-4"
			if none != (i < 0) || i >= 0 && len(all[i].Figures) != o.rounds {
				t.Errorf("%s, %s over %q: %v", name, metric, over, all)
			}
		}
	}
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// Ratios are of one round each, and of the sum of both halves.
func TestRatios(t *testing.T) {
	r := &Result{Name: "upload-1", Metrics: []string{mbits, gbClient, gbServer, failed}}
	for _, figures := range []struct {
		system string
		round  [4]float64
	}{{ours, [4]float64{10, 1, 3, 0}}, {singBox2022, [4]float64{5, 4, 4, 7}}, {ours, [4]float64{30, 2, 2, 0}}, {singBox2022, [4]float64{10, 1, 1, 7}}} {
		for i, metric := range r.Metrics {
			r.add(figures.system, metric, figures.round[i])
		}
	}
	got := ratios([]*Result{r})
	if len(got) != 2 || got[0].Metric != mbits || !slices.Equal(got[0].Figures, samples{2, 3}) ||
		got[1].Metric != "CPU-s/GB" || !slices.Equal(got[1].Figures, samples{0.5, 2}) || got[1].Over != singBox2022 {
		t.Errorf("%+v", got)
	}
}

// TestSessions has several clients' streams go through one server.
func TestSessions(t *testing.T) {
	runtime.LockOSThread() // the helpers die with the thread that started them
	o := &options{rounds: 1, window: 100 * time.Millisecond, quick: true}
	b, err := o.prepare([]string{ours})
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	r := &Result{}
	for _, n := range []int{1, 3} {
		if err := b.crowd(r, n, 1); err != nil {
			t.Fatal(err)
		}
		for _, metric := range []string{upRate, downRate, upCPU, downCPU} {
			if s := r.get(sessionsRow(n, 1), metric); len(s) != 1 || s[0] <= 0 {
				t.Errorf("%d, %s: %v", n, metric, s)
			}
		}
	}
}
