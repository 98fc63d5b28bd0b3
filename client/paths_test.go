package client

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux"
)

func TestPathState(t *testing.T) {
	a1, a2, b1 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("198.51.100.1")
	var told []string
	s := &pathState{
		all: muxPaths([]conf.Path{{Name: "a", Bind: "eth0"}, {Name: "b", Bind: "wwan0"}}),
		log: nopLog,
		set: func(paths []mux.Path) {
			var names []string
			for _, p := range paths {
				names = append(names, p.Name)
			}
			told = append(told, strings.Join(names, "+"))
		},
	}
	for _, step := range []struct {
		what string
		now  links
		want []string
	}{
		{"at the start", links{"eth0": {a1}}, []string{"a"}},
		{"nothing new", links{"eth0": {a1}}, nil},
		{"another interface of no path", links{"eth0": {a1}, "docker0": {a2}}, nil},
		{"up without an address", links{"eth0": {a1}, "wwan0": {}}, nil},
		{"b appears", links{"eth0": {a1}, "wwan0": {b1}}, []string{"a+b"}},
		{"a gains an address", links{"eth0": {a1, a2}, "wwan0": {b1}}, nil},
		{"a loses one: its connections are dead", links{"eth0": {a2}, "wwan0": {b1}}, []string{"b", "a+b"}},
		{"b goes", links{"eth0": {a2}}, []string{"a"}},
		{"none is left: all are tried", links{}, []string{"a+b"}},
		{"a is back", links{"eth0": {a1}}, []string{"a"}},
	} {
		told = nil
		s.update(step.now)
		if diff := cmp.Diff(step.want, told); diff != "" {
			t.Errorf("%s: %s", step.what, diff)
		}
	}
}

func TestMuxPath(t *testing.T) {
	got := muxPaths([]conf.Path{
		{Name: "lte", Bind: "wwan0", Subflows: 2, Backup: true, Metered: true, KernelMPTCP: true, Weight: 3, DailyCap: 4, MonthlyCap: 5, BillingDay: 6},
		{Name: "dsl", Bind: "192.0.2.1"},
		{Name: "any"},
	})
	want := []mux.Path{
		{Name: "lte", Interface: "wwan0", Subflows: 2, Backup: true, Metered: true, KernelMPTCP: true, Weight: 3, DailyCap: 4, MonthlyCap: 5, BillingDay: 6},
		{Name: "dsl", Local: netip.MustParseAddr("192.0.2.1")},
		{Name: "any"},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

func TestCheckPaths(t *testing.T) {
	for _, tt := range []struct {
		bind string
		err  string
	}{
		{"lo", ""},
		{"127.0.0.9", ""},
		{"192.0.2.77", ""}, // may come
		{"wwan7", ""},      // may come
		{"eht0", `path p: unknown interface "eht0"; this machine has lo`},
	} {
		if _, err := readLinks(); err != nil {
			t.Fatal(err)
		}
		err := checkPaths([]conf.Path{{Name: "p", Bind: tt.bind}}, nopLog)
		switch {
		case tt.err == "" && err != nil:
			if tt.bind == "lo" && strings.Contains(err.Error(), "lo0") {
				continue // not Linux
			}
			t.Errorf("%s: %v", tt.bind, err)
		case tt.err != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.err)):
			t.Errorf("%s: %v", tt.bind, err)
		}
	}
}
