package paths

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

func TestFollower(t *testing.T) {
	a1, a2, b1 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("198.51.100.1")
	var told []string
	s := &follower{
		find:   func(bind string) string { return bind },
		redial: func(names []string) { told = append(told, "redial "+strings.Join(names, "+")) },
		all:    Of([]conf.Path{{Name: "a", Bind: "eth0"}, {Name: "b", Bind: "wwan0"}}),
		log:    zerolog.Nop(),
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

// Of the addresses of an interface those count from which the server is reached: others come
// and go, as IPv6's temporary ones do every day; and where the system chooses another one,
// as the prefix is deprecated, the subflows move to it.
func TestAddressesThatAreNotUsed(t *testing.T) {
	used, other, next := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("192.0.2.7")
	var chosen []netip.Addr
	redials := 0
	s := &follower{
		find: func(bind string) string { return bind },
		hops: func(*mux.Path) map[netip.Addr]hop {
			out := make(map[netip.Addr]hop)
			for i, a := range chosen {
				out[netip.AddrFrom4([4]byte{203, 0, 113, byte(i)})] = hop{from: a, link: 2}
			}
			return out
		},
		redial: func([]string) { redials++ }, set: func([]mux.Path) {},
		all: Of([]conf.Path{{Name: "a", Bind: "eth0"}}), log: zerolog.Nop(),
	}
	for _, step := range []struct {
		what   string
		all    []netip.Addr
		chosen []netip.Addr
		want   int
	}{
		{"at the start, before the server's name is known", []netip.Addr{used, other}, nil, 0},
		{"it is known", []netip.Addr{used, other}, []netip.Addr{used}, 0},
		{"one that is not used goes", []netip.Addr{used}, []netip.Addr{used}, 0},
		{"and another one comes", []netip.Addr{used, other, next}, []netip.Addr{used}, 0},
		{"the system chooses another one", []netip.Addr{used, other, next}, []netip.Addr{next}, 1},
		{"nobody can tell for a moment", []netip.Addr{used, other, next}, nil, 0},
		{"one goes meanwhile", []netip.Addr{other, next}, nil, 1},
		{"all go", nil, nil, 0},
		{"it is back", []netip.Addr{next}, []netip.Addr{next}, 1},
		{"another one is in its place", []netip.Addr{used}, []netip.Addr{used}, 1},
	} {
		chosen, redials = step.chosen, 0
		if s.update(links{"eth0": step.all}); redials != step.want {
			t.Errorf("%s: %d times made anew, want %d", step.what, redials, step.want)
		}
	}
}

// A path that leads by another router from now on, or by another interface, is made anew though its address
// is the same one, as networks give each of their first guests the same; where the route is only
// away for a while, or another address of the server's comes, it is not; attempts begin anew when a route comes.
func TestRouterChanges(t *testing.T) {
	own := netip.MustParseAddr("192.168.1.2")
	four, six := netip.MustParseAddr("203.0.113.5"), netip.MustParseAddr("2001:db8::5")
	one, two, far := netip.MustParseAddr("192.168.1.1"), netip.MustParseAddr("192.168.1.254"), netip.MustParseAddr("fe80::1")
	for _, bind := range []string{"eth0", ""} {
		var now map[netip.Addr]hop
		redials, retries := 0, 0
		s := &follower{
			find: func(bind string) string { return bind }, hops: func(*mux.Path) map[netip.Addr]hop { return now },
			redial: func([]string) { redials++ }, retry: func([]string) { retries++ }, set: func([]mux.Path) {}, log: zerolog.Nop(),
		}
		if bind != "" {
			s.all = []mux.Path{{Name: "a", Interface: bind}}
		}
		for _, step := range []struct {
			what  string
			hops  map[netip.Addr]hop
			want  int
			again int
		}{
			{"at the start", map[netip.Addr]hop{four: {from: own}}, 0, 0},
			{"a route comes", map[netip.Addr]hop{four: {own, one, 2}}, 0, 1},
			{"the same", map[netip.Addr]hop{four: {own, one, 2}}, 0, 0},
			{"the route goes", map[netip.Addr]hop{four: {from: own}}, 0, 0},
			{"it is back", map[netip.Addr]hop{four: {own, one, 2}}, 0, 1},
			{"by another router", map[netip.Addr]hop{four: {own, two, 2}}, 1, 0},
			{"nobody can tell for a moment", nil, 0, 0},
			{"by the first one again", map[netip.Addr]hop{four: {own, one, 2}}, 1, 0},
			{"the server has another address", map[netip.Addr]hop{four: {own, one, 2}, six: {router: far, link: 2}}, 0, 0},
			{"the first one goes", map[netip.Addr]hop{six: {router: far, link: 2}}, 0, 0},
			{"by another interface", map[netip.Addr]hop{six: {router: far, link: 3}}, 1, 0},
		} {
			redials, retries, now = 0, 0, step.hops
			if s.update(links{bind: {own}}); redials != step.want || retries != step.again {
				t.Errorf("bound to %q, %s: %d times made anew and %d tried again, want %d, %d", bind, step.what, redials, retries, step.want, step.again)
			}
		}
	}
}

func TestOf(t *testing.T) {
	got := Of([]conf.Path{
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
func TestCheckWarns(t *testing.T) {
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
		Check([]conf.Path{{Name: "p", Bind: bind}}, zerolog.New(&said))
		if want == "" && said.Len() > 0 || !strings.Contains(said.String(), want) {
			t.Errorf("%s: said %q, want %q", bind, &said, want)
		}
	}
}

// Of two paths that lead by the same interface or address, as copied lines do, the second is said to.
func TestCheckWarnsOfTwins(t *testing.T) {
	for _, bind := range []string{"lo", "127.0.0.9", ""} {
		var said strings.Builder
		Check([]conf.Path{{Name: "dsl", Bind: bind}, {Name: "lte", Bind: bind}, {Name: "sat", Bind: "127.0.0.8"}}, zerolog.New(&said))
		if got := said.String(); strings.Count(got, "leads by the same way as path dsl") != 1 || !strings.Contains(got, `"path":"lte"`) {
			t.Errorf("%q twice: said %q", bind, got)
		}
	}
}

// A binding finds its interface by name, by a glob of names and by hardware address.
func TestFind(t *testing.T) {
	list, err := net.Interfaces()
	if err != nil || len(list) == 0 {
		t.Skip("no interface can be listed here")
	}
	for _, i := range list {
		if got := Find(i.Name); got != i.Name {
			t.Errorf("%s: found %q", i.Name, got)
		}
		if got := Find(i.Name[:1] + "*"); got == "" || got[0] != i.Name[0] {
			t.Errorf("%s*: found %q", i.Name[:1], got)
		}
		if mac := i.HardwareAddr.String(); mac != "" && mac != "00:00:00:00:00:00" {
			if got := Find(mac); got == "" {
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
	s := &follower{
		log: zerolog.Nop(), find: func(bind string) string { return bind },
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
