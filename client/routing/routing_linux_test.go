package routing

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/resolvconf"
)

// A place is a network namespace with an uplink, eth0, and a device to lead to.
type place struct{ t *testing.T }

func newPlace(t *testing.T) place {
	t.Helper()
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("ip is not installed (Debian: iproute2)")
	}
	runtime.LockOSThread() // it is thrown away with its namespace
	if _, err := netns.New(); err != nil {
		t.Skip("a network namespace takes root: ", err)
	}
	p := place{t}
	p.ip("link set lo up")
	p.ip("link add eth0 type veth peer name far0")
	p.ip("addr add 192.168.1.2/24 dev eth0")
	p.ip("addr add 2001:db8:1::2/64 dev eth0 nodad")
	p.ip("link set eth0 up")
	p.ip("link set far0 up")
	p.ip("route add default via 192.168.1.1 dev eth0")
	p.ip("-6 route add default via 2001:db8:1::1 dev eth0")
	p.device()
	return p
}

// device makes one that has a carrier, as a TUN device with its program has.
func (p place) device() {
	p.t.Helper()
	p.ip("link add mps0 type veth peer name peer0")
	p.ip("link set peer0 up")
}

func (p place) ip(args string) string {
	p.t.Helper()
	out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput()
	if err != nil {
		p.t.Fatalf("ip %s: %s", args, out)
	}
	return string(out)
}

// way is the device by which the kernel would send, or why it would not.
func (p place) way(to string) string {
	p.t.Helper()
	out, err := exec.Command("ip", strings.Fields("route get "+to)...).CombinedOutput()
	if err != nil {
		return "refused"
	}
	_, after, _ := strings.Cut(string(out), " dev ")
	device, _, _ := strings.Cut(after, " ")
	return device
}

func (p place) ways(want map[string]string) {
	p.t.Helper()
	for to, device := range want {
		if got := p.way(to); got != device {
			p.t.Errorf("%s by %s, want %s\n%s", to, got, device, p.ip("rule"))
		}
	}
}

const mark = 77

// settings are those of a file that says no more than this.
func settings(change func(*conf.TUN)) Settings {
	s := Settings{TUN: conf.DefaultClient().TUN, Mark: mark}
	s.Device = "mps0"
	if change != nil {
		change(&s.TUN)
	}
	return s
}

func exclusions(t *testing.T, texts ...string) (out []conf.Exclusion) {
	t.Helper()
	for _, text := range texts {
		var e conf.Exclusion
		if err := e.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

func mustSet(t *testing.T, m *Machine, s Settings) {
	t.Helper()
	if err := m.Set(s); err != nil {
		t.Fatal(err)
	}
}

func (p place) nothingLeft() {
	p.t.Helper()
	for _, line := range []string{"rule", "-6 rule", "route show table 10951", "route show table 10952", "-6 route show table 10951", "-6 route show table 10952"} {
		// A table that nobody has used is an error.
		if out, _ := exec.Command("ip", strings.Fields(line)...).Output(); strings.Contains(string(out), "109") || strings.Contains(string(out), "mps0") {
			p.t.Errorf("ip %s: %s", line, out)
		}
	}
}

// mapped says whether a user namespace has all of the test's users.
func mapped() bool {
	b, _ := os.ReadFile("/proc/self/uid_map")
	return strings.Contains(string(b), "4294967295")
}

// Everything but what is near, is the tunnel's own, or is excluded goes to the device, and
// comes back where it was.
func TestSetAndUndo(t *testing.T) {
	p := newPlace(t)
	m := New("mps0")
	before := map[string]string{"9.9.9.9": "eth0", "2001:db8:99::1": "eth0"}
	p.ways(before)
	excluded := exclusions(t, "198.51.100.0/24", "tcp:22", "udp:123-125", "port:7000", "service:25565", "2001:db8:5::/48")
	mustSet(t, m, settings(func(c *conf.TUN) { c.Exclude = append(exclusions(t, "from:192.168.1.2"), excluded...) }))
	p.ways(map[string]string{"9.9.9.9 from 192.168.1.2": "eth0"})
	mustSet(t, m, settings(func(c *conf.TUN) { c.Exclude = excluded }))
	p.ways(map[string]string{
		"9.9.9.9":                                          "mps0",
		"9.9.9.9 mark 77":                                  "eth0",
		"9.9.9.9 mark 78":                                  "mps0",
		"192.168.1.9":                                      "eth0", // near
		"192.168.1.9 ipproto udp dport 53":                 "mps0", // but for names
		"192.168.1.9 ipproto tcp dport 53":                 "mps0",
		"198.51.100.9":                                     "eth0",
		"198.51.101.9":                                     "mps0",
		"9.9.9.9 ipproto tcp dport 22":                     "eth0",
		"9.9.9.9 ipproto udp dport 22":                     "mps0",
		"9.9.9.9 ipproto udp dport 124":                    "eth0",
		"9.9.9.9 ipproto tcp dport 7000":                   "eth0",
		"9.9.9.9 ipproto udp dport 7000":                   "eth0",
		"9.9.9.9 from 192.168.1.2 ipproto tcp sport 25565": "eth0",
		"9.9.9.9 from 192.168.1.2":                         "mps0",
		"239.255.255.250":                                  "eth0",
		"2001:db8:99::1":                                   "mps0",
		"2001:db8:99::1 mark 77":                           "eth0",
		"2001:db8:1::9":                                    "eth0",
		"2001:db8:5::9":                                    "eth0",
		"2001:db8:99::1 ipproto tcp dport 22":              "eth0",
		"2001:db8:1::9 ipproto udp dport 53":               "mps0",
		"2001:db8:99::1 ipproto tcp sport 25565 dport 999": "eth0",
	})
	s := settings(func(c *conf.TUN) { c.Exclude = append(exclusions(t, "user:1000-1999"), excluded...) })
	if err := m.Set(s); mapped() {
		p.ways(map[string]string{"9.9.9.9 uid 1500": "eth0", "9.9.9.9 uid 2000": "mps0", "2001:db8:99::1 uid 1000 ipproto tcp sport 1 dport 1": "eth0"})
	} else if err == nil || !strings.Contains(err.Error(), "users 1000 to 1999 are unknown") {
		t.Errorf("users of no namespace: %v", err)
	}
	if out := p.ip("route get 9.9.9.9"); !strings.Contains(out, "src 198.18.255.2") {
		t.Error(out)
	}
	if left, err := Left(); len(left) > 0 || err != nil {
		t.Errorf("what is in use was left behind: %v, %v", left, err)
	}
	if err := m.Undo(); err != nil {
		t.Fatal(err)
	}
	p.ways(before)
	p.nothingLeft()
}

// Without the local network what the routing table has besides its default routes is the
// device's, too: half the internet, say, that a DHCP server has handed out a route for.
func TestWithoutLAN(t *testing.T) {
	p := newPlace(t)
	p.ip("route add 9.0.0.0/8 via 192.168.1.66 dev eth0")
	m := New("mps0")
	mustSet(t, m, settings(nil))
	p.ways(map[string]string{"9.9.9.9": "eth0"})
	mustSet(t, m, settings(func(c *conf.TUN) { c.LAN, c.Exclude = false, exclusions(t, "192.168.1.0/24") }))
	p.ways(map[string]string{
		"9.9.9.9": "mps0", "9.9.9.9 mark 77": "eth0", "192.168.1.9": "eth0", "239.255.255.250": "mps0",
		"2001:db8:1::9": "mps0", "fe80::9 oif eth0": "eth0",
	})
}

// A change adds and removes what differs, and nothing else moves.
func TestSetAgain(t *testing.T) {
	p := newPlace(t)
	m := New("mps0")
	mustSet(t, m, settings(nil))
	rules, err := ownRules(unix.AF_INET)
	if err != nil {
		t.Fatal(err)
	}
	mustSet(t, m, settings(func(c *conf.TUN) { c.Exclude = exclusions(t, "tcp:22") }))
	now, err := ownRules(unix.AF_INET)
	if err != nil || len(now) != len(rules)+1 {
		t.Errorf("%d rules after %d, %v", len(now), len(rules), err)
	}
	// What somebody else has removed comes back.
	p.ip("rule flush protocol 109")
	p.ip("route flush table 10952")
	mustSet(t, m, settings(nil))
	if now, err = ownRules(unix.AF_INET); err != nil || !slices.Equal(now, rules) {
		t.Errorf("%+v\nafter\n%+v, %v", now, rules, err)
	}
	p.ways(map[string]string{"9.9.9.9": "mps0", "9.9.9.9 ipproto tcp dport 22": "mps0"})
	// Chosen destinations only.
	mustSet(t, m, settings(func(c *conf.TUN) {
		c.Routes = []netip.Prefix{netip.MustParsePrefix("9.9.9.0/24"), netip.MustParsePrefix("192.168.1.64/26")}
		c.Addresses = []netip.Addr{netip.MustParseAddr("172.19.0.1")}
		c.MTU = 1400
	}))
	p.ways(map[string]string{"9.9.9.9": "mps0", "192.168.1.65": "mps0", "192.168.1.9": "eth0", "1.1.1.1": "eth0", "1.1.1.1 ipproto udp dport 53": "eth0", "2001:db8:99::1": "eth0"})
	if out := p.ip("addr show dev mps0"); strings.Contains(out, "198.18") || !strings.Contains(out, "172.19.0.1/32") || !strings.Contains(out, "mtu 1400") {
		t.Error(out)
	}
	// And addresses of the other family again, whose default was refused.
	mustSet(t, m, settings(func(c *conf.TUN) { c.Routes = c.Routes[:1] }))
	p.ways(map[string]string{"9.9.9.9": "mps0", "2001:db8:99::1": "refused"})
	mustSet(t, m, settings(nil))
	p.ways(map[string]string{"9.9.9.9": "mps0", "2001:db8:99::1": "mps0"})
	if err := m.Undo(); err != nil {
		t.Fatal(err)
	}
	p.nothingLeft()
}

// With a default of one family the other has no way around, unless it is left out.
func TestOtherFamily(t *testing.T) {
	four, six := netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")
	for _, c := range []struct {
		name        string
		change      func(*conf.TUN)
		want4, want string
	}{
		{"no address", func(c *conf.TUN) { c.Addresses = c.Addresses[:1] }, "mps0", "refused"},
		{"no route", func(c *conf.TUN) { c.Routes = []netip.Prefix{four} }, "mps0", "refused"},
		{"no route of IPv4", func(c *conf.TUN) { c.Routes = []netip.Prefix{six} }, "refused", "mps0"},
		{"left out", func(c *conf.TUN) { c.Routes, c.Exclude = []netip.Prefix{four}, exclusions(t, "::/0") }, "mps0", "eth0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlace(t)
			m := New("mps0")
			mustSet(t, m, settings(c.change))
			p.ways(map[string]string{"9.9.9.9": c.want4, "2001:db8:99::1": c.want, "2001:db8:99::1 mark 77": "eth0", "192.168.1.9": "eth0", "2001:db8:1::9": "eth0"})
			if err := m.Undo(); err != nil {
				t.Fatal(err)
			}
			p.nothingLeft()
		})
	}
}

// A machine whose IPv6 is switched off, for the device or at all, is none whose IPv4 fails.
func TestWithoutIPv6(t *testing.T) {
	p := newPlace(t)
	for _, name := range []string{"all", "mps0"} {
		if out, err := exec.Command("sysctl", "-qw", "net.ipv6.conf."+name+".disable_ipv6=1").CombinedOutput(); err != nil {
			t.Skipf("sysctl: %s", out)
		}
	}
	m := New("mps0")
	mustSet(t, m, settings(nil))
	p.ways(map[string]string{"9.9.9.9": "mps0", "2001:db8:99::1": "refused"})
	if err := m.Undo(); err != nil {
		t.Fatal(err)
	}
	p.nothingLeft()
}

// When a client is killed the kernel takes the device, and nothing goes around it until the
// next start, which cleans, or doctor's advice is followed; unless it may go around.
func TestKilled(t *testing.T) {
	p := newPlace(t)
	mustSet(t, New("mps0"), settings(nil))
	p.ip("link del mps0")
	p.ways(map[string]string{"9.9.9.9": "refused", "2001:db8:99::1": "refused", "9.9.9.9 mark 77": "eth0", "192.168.1.9": "eth0"})
	left, err := Left()
	if err != nil || len(left) != 2 || !strings.Contains(left[0], "rules of routing (ip rule)") {
		t.Errorf("left behind are %q, %v", left, err)
	}
	p.device() // the next start
	mustSet(t, New("mps0"), settings(nil))
	p.ways(map[string]string{"9.9.9.9": "mps0", "2001:db8:99::1": "mps0"})
	p.ip("link del mps0")
	if err := Clean(); err != nil {
		t.Fatal(err)
	}
	p.nothingLeft()
	p.ways(map[string]string{"9.9.9.9": "eth0"})
	if left, err := Left(); len(left) > 0 || err != nil {
		t.Errorf("left behind are %q, %v", left, err)
	}
	p.device()
	mustSet(t, New("mps0"), settings(func(c *conf.TUN) { c.WhenDown = conf.WhenDownAround }))
	p.ways(map[string]string{"9.9.9.9": "mps0"})
	p.ip("link del mps0")
	p.ways(map[string]string{"9.9.9.9": "eth0", "2001:db8:99::1": "eth0"})
}

// Two clients cannot both have a machine.
func TestTwoDevices(t *testing.T) {
	p := newPlace(t)
	mustSet(t, New("mps0"), settings(nil))
	p.ip("link add mps1 type veth peer name peer1")
	if err := New("mps1").Set(settings(nil)); err == nil || !strings.Contains(err.Error(), "mps0") {
		t.Errorf("a second client: %v", err)
	}
	p.ways(map[string]string{"9.9.9.9": "mps0"})
}

// A kernel that drops what would not be answered the same way asks without marks: the
// server is left out by its address.
func TestStrictFiltering(t *testing.T) {
	p := newPlace(t)
	if out, err := exec.Command("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1").CombinedOutput(); err != nil {
		t.Skipf("sysctl: %s", out)
	}
	if got := Strict("mps0"); got != "eth0" && got != "far0" {
		t.Errorf("strict is %q", got)
	}
	s := settings(nil)
	s.Servers = []netip.Addr{netip.MustParseAddr("203.0.113.5")}
	mustSet(t, New("mps0"), s)
	p.ways(map[string]string{"203.0.113.5 ipproto tcp dport 7443": "eth0", "203.0.113.5 ipproto udp dport 7443": "mps0", "203.0.113.6 ipproto tcp dport 7443": "mps0"})
	exec.Command("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=2").Run()
	if got := Strict("mps0"); got != "" {
		t.Errorf("loose is strict: %q", got)
	}
}

// What a machine is part of and what leads to the device all the same is said.
func TestCovers(t *testing.T) {
	newPlace(t)
	for _, c := range []struct {
		change func(*conf.TUN)
		want   string
	}{
		{nil, "[]"},
		{func(c *conf.TUN) { c.LAN = false }, "[192.168.1.0/24 2001:db8:1::/64]"},
		{func(c *conf.TUN) { c.LAN, c.Exclude = false, exclusions(t, "192.168.0.0/16") }, "[2001:db8:1::/64]"},
		{func(c *conf.TUN) { c.Routes = []netip.Prefix{netip.MustParsePrefix("192.168.0.0/16")} }, "[192.168.1.0/24]"},
	} {
		s := settings(c.change)
		if got := fmt.Sprint(Covers(&s.TUN)); got != c.want {
			t.Errorf("%+v covers %s, want %s", s.TUN, got, c.want)
		}
	}
}

// While the server's name is looked for by a resolver of this machine's, questions go around,
// and nothing else.
func TestAsking(t *testing.T) {
	p := newPlace(t)
	m := New("mps0")
	s := settings(nil)
	s.Asking = true
	mustSet(t, m, s)
	p.ways(map[string]string{
		"9.9.9.9 ipproto udp dport 53": "eth0", "9.9.9.9 ipproto tcp dport 53": "eth0", "9.9.9.9 ipproto tcp dport 853": "eth0",
		"2001:db8:9::9 ipproto udp dport 53": "eth0", "9.9.9.9 ipproto udp dport 853": "mps0", "9.9.9.9": "mps0", "2001:db8:9::9": "mps0",
	})
	s.Asking = false
	mustSet(t, m, s)
	p.ways(map[string]string{"9.9.9.9 ipproto udp dport 53": "mps0", "9.9.9.9 ipproto tcp dport 853": "mps0", "2001:db8:9::9 ipproto udp dport 53": "mps0"})
	// Nothing is lost on the way to a device, and nothing there has a rate.
	if out := p.ip("route show table 10952"); !strings.Contains(out, "congctl cubic") {
		t.Errorf("the route has no congestion control of its own: %s", out)
	}
	if err := m.Undo(); err != nil {
		t.Fatal(err)
	}
	p.nothingLeft()
}

// Which name servers a resolv.conf(5) has.
func TestHasServer(t *testing.T) {
	for _, c := range []struct {
		text         string
		local, there bool
	}{
		{"nameserver 127.0.0.1\n", true, false},
		{"# nameserver 127.0.0.1\nnameserver 9.9.9.9\nsearch lan\n", false, true},
		{"nameserver ::1\nnameserver 192.168.1.1\n", true, true},
		{"nameserver 198.18.0.1\nnameserver fd6d:7073::1\n", false, false},
		{"nameserver\nnameserver nonsense\n", false, false},
	} {
		if got := hasServer([]byte(c.text), netip.Addr.IsLoopback); got != c.local {
			t.Errorf("%q: one of this machine's: %v", c.text, got)
		}
		if got := hasServer([]byte(c.text), resolvconf.Beyond); got != c.there {
			t.Errorf("%q: one beyond: %v", c.text, got)
		}
	}
}

// In every plan what leaves the tunnel's own packets out is put in before what leads
// anything to the device.
func TestPlanOrder(t *testing.T) {
	s := settings(func(c *conf.TUN) { c.Exclude = exclusions(t, "tcp:22", "user:5", "9.9.9.9") })
	plans, err := s.plans()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range plans {
		led := false
		for i, r := range p.rules {
			led = led || r.action == toTable
			if r.action != toTable && led {
				t.Errorf("family %d: rule %d comes after one that leads to a table: %+v", p.family, i, r)
			}
			if r.action == goTo && (r.target != ruleEnd || r.target <= r.priority) {
				t.Errorf("it goes to %d: %+v", r.target, r)
			}
		}
		if p.rules[0].action != nop || p.rules[1].mark != mark {
			t.Errorf("family %d begins with %+v", p.family, p.rules[:2])
		}
	}
	if _, err := (&Settings{TUN: conf.TUN{Exclude: exclusions(t, "user:nobody-has-this-name")}}).plans(); err == nil {
		t.Error("a user that there is not is excluded")
	}
}

// FuzzParseRule holds that no message of the kernel's, or of who pretends to be it, does more
// than be none of ours, and that ours read back as they were.
func FuzzParseRule(f *testing.F) {
	s := settings(func(c *conf.TUN) {
		var e conf.Exclusion
		for _, text := range []string{"tcp:22-23", "user:5", "9.9.9.0/24", "from:fd00::/8", "service:7"} {
			if e.UnmarshalText([]byte(text)) == nil {
				c.Exclude = append(c.Exclude, e)
			}
		}
	})
	plans, err := s.plans()
	if err != nil {
		f.Fatal(err)
	}
	for _, p := range plans {
		for _, r := range p.rules {
			m := r.request(unix.RTM_NEWRULE, 0).Serialize()[unix.SizeofNlMsghdr:]
			if got, ours := parseRule(m); !ours || got != r {
				f.Errorf("%+v reads as %+v, %v", r, got, ours)
			}
			f.Add(m)
		}
	}
	f.Fuzz(func(t *testing.T, m []byte) {
		r, ours := parseRule(m)
		if !ours || !r.to.IsValid() && r.from.IsValid() {
			return
		}
		_ = r.request(unix.RTM_DELRULE, 0).Serialize()
	})
}
