package client

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux"
)

func TestPathState(t *testing.T) {
	a1, a2, b1 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("198.51.100.1")
	var told []string
	s := &pathState{
		find:   func(bind string) string { return bind },
		redial: func(names []string) { told = append(told, "redial "+strings.Join(names, "+")) },
		all:    muxPaths([]conf.Path{{Name: "a", Bind: "eth0"}, {Name: "b", Bind: "wwan0"}}),
		log:    nopLog,
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
		{"a loses one: its connections are dead", links{"eth0": {a2}, "wwan0": {b1}}, []string{"redial a"}},
		{"b goes", links{"eth0": {a2}}, []string{"a"}},
		{"none is left: all are tried", links{}, []string{"a+b"}},
		{"a is back", links{"eth0": {a1}}, []string{"a", "redial a"}},
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

// Whatever the name of an interface that is not there, it may come: that is said,
// with those that there are, and nothing fails.
func TestCheckPathsWarns(t *testing.T) {
	for bind, want := range map[string]string{
		"127.0.0.9":         "",
		"192.0.2.77":        "no interface has this address yet",
		"wwan7":             "no such interface yet",
		"eth17":             "no such interface yet",
		"enp0s20f0u2":       "no such interface yet",
		"zz*":               "no such interface yet",
		"02:00:5e:00:53:01": "no such interface yet",
	} {
		var said strings.Builder
		checkPaths([]conf.Path{{Name: "p", Bind: bind}}, zerolog.New(&said))
		if want == "" && said.Len() > 0 || !strings.Contains(said.String(), want) {
			t.Errorf("%s: said %q, want %q", bind, &said, want)
		}
	}
}

// A binding finds its interface by name, by a glob of names and by hardware address.
func TestFindInterface(t *testing.T) {
	list, err := net.Interfaces()
	if err != nil || len(list) == 0 {
		t.Skip("no interface can be listed here")
	}
	for _, i := range list {
		if got := findInterface(i.Name); got != i.Name {
			t.Errorf("%s: found %q", i.Name, got)
		}
		if got := findInterface(i.Name[:1] + "*"); got == "" || got[0] != i.Name[0] {
			t.Errorf("%s*: found %q", i.Name[:1], got)
		}
		if mac := i.HardwareAddr.String(); mac != "" && mac != "00:00:00:00:00:00" {
			if got := findInterface(mac); got == "" {
				t.Errorf("%s of %s: not found", mac, i.Name)
			}
		}
	}
}

// The one path that there is without configuration is made anew when the routing
// table leads another way, and when there is a way again.
func TestDefaultRouteMoves(t *testing.T) {
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.1")
	var told []string
	s := &pathState{
		log: nopLog, find: func(bind string) string { return bind },
		set:    func(paths []mux.Path) { told = append(told, "set") },
		redial: func(names []string) { told = append(told, strings.Join(names, "+")) },
	}
	for _, step := range []struct {
		what string
		now  links
		want []string
	}{
		{"at the start", links{"": {a}}, nil},
		{"the same", links{"": {a}}, nil},
		{"another interface has it", links{"": {b}}, []string{"default"}},
		{"it is gone", links{}, nil},
		{"it is back", links{"": {b}}, []string{"default"}},
	} {
		told = nil
		s.update(step.now)
		if diff := cmp.Diff(step.want, told); diff != "" {
			t.Errorf("%s: %s", step.what, diff)
		}
	}
}
