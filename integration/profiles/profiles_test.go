package profiles

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mpsocks/mpsocks/integration/netlab"
)

func TestAllProfilesOfTheIssueAreThere(t *testing.T) {
	all, err := All()
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	for _, p := range all {
		have[p.Name] = true
		if len(p.Paths) != 2 {
			t.Errorf("%s has %d paths, want 2", p.Name, len(p.Paths))
		}
	}
	for _, name := range strings.Fields(`baseline rtt_40 rtt_70 rtt_120 rtt_320 jit_5 jit_20 loss_05 loss_2 bw_4to1 bw_10to1
		dual_lte fiber_lte lte_starlink lte_geo congested silent_death flap metered`) {
		if !have[name] {
			t.Errorf("profile %s is missing", name)
		}
	}
}

func TestParse(t *testing.T) {
	p, err := Parse("x", []byte(`
about: a
origin: b
paths:
  - {name: a, rtt: 20ms, rate: 60M, queue: 100ms, up: {rate: 10M, loss: 0.01}}
  - {name: b, rtt: 50ms, jitter: 10ms, burst: {enter: 0.1, leave: 0.5, loss: 1}}
events:
  - {at: 1s, every: 3s, path: b, do: set, rtt: 80ms}
`))
	if err != nil {
		t.Fatal(err)
	}
	burst := netlab.Burst{Enter: 0.1, Leave: 0.5, Loss: 1}
	b := netlab.Link{Delay: 25 * time.Millisecond, Jitter: 5 * time.Millisecond, Burst: burst}
	want := []netlab.PathSpec{
		{
			Name: "a",
			Up:   netlab.Link{Delay: 10 * time.Millisecond, Rate: 10e6, QueueTime: 100 * time.Millisecond, Loss: 0.01},
			Down: netlab.Link{Delay: 10 * time.Millisecond, Rate: 60e6, QueueTime: 100 * time.Millisecond},
		},
		{Name: "b", Up: b, Down: b},
	}
	if d := cmp.Diff(want, p.Specs()); d != "" {
		t.Error(d)
	}
	if p.Lossless() || p.Spread() != 30*time.Millisecond || p.Best() != 0 {
		t.Errorf("lossless %v, spread %v, best %d", p.Lossless(), p.Spread(), p.Best())
	}
}

func TestParseRefuses(t *testing.T) {
	const head = "about: a\norigin: b\n"
	for name, text := range map[string]string{
		"no paths":       head,
		"unknown key":    head + "paths: [{name: a, rtt: 1ms, speed: 1M}]",
		"no rtt":         head + "paths: [{name: a}]",
		"same name":      head + "paths: [{name: a, rtt: 1ms}, {name: a, rtt: 1ms}]",
		"bad rate":       head + "paths: [{name: a, rtt: 1ms, rate: fast}]",
		"bad loss":       head + "paths: [{name: a, rtt: 1ms, loss: 5}]",
		"unknown action": head + "paths: [{name: a, rtt: 1ms}]\nevents: [{at: 1s, path: a, do: explode}]",
		"unknown path":   head + "paths: [{name: a, rtt: 1ms}]\nevents: [{at: 1s, path: b, do: down}]",
		"no origin":      "about: a\npaths: [{name: a, rtt: 1ms}]",
	} {
		if _, err := Parse("x", []byte(text)); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}
