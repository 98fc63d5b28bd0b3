package paths

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/status"
)

// uplinks has the test go on in a network namespace of its own, and returns what runs ip there.
func uplinks(t *testing.T) (run func(args string)) {
	t.Helper()
	ip, err := exec.LookPath("ip")
	if err != nil {
		t.Skip("ip is not installed (Debian: iproute2)")
	}
	runtime.LockOSThread() // it is thrown away with its namespace
	if _, err := netns.New(); err != nil {
		t.Skip("a network namespace takes root: ", err)
	}
	return func(args string) {
		t.Helper()
		if out, err := exec.Command(ip, strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Skipf("ip %s: %s", args, out)
		}
	}
}

// Of the cards that a glob means, and of the devices that have a card's hardware address, one that
// can carry something counts, whatever their names are: not one without a cable or an address.
func TestGlobMeansWhatWorks(t *testing.T) {
	run := uplinks(t)
	for i, name := range []string{"eno1", "enp3s0"} {
		run(fmt.Sprintf("link add %s address 02:00:00:00:00:0%d type veth peer name far%d", name, i+1, i))
		run("link set " + name + " up")
	}
	run("link set far1 up")
	run("addr add 192.168.1.2/24 dev enp3s0")
	run("link add card5 address 02:00:00:00:00:02 type veth peer name far2")
	want := func(bind, name string) {
		t.Helper()
		if got := Find(bind); got != name {
			t.Errorf("%s means %q, want %s", bind, got, name)
		}
	}
	want("en*", "enp3s0")
	want("02:00:00:00:00:02", "enp3s0")
	run("link set far0 up")
	want("en*", "enp3s0") // which has the address
	run("addr add 192.168.2.2/24 dev eno1")
	want("en*", "eno1")
	run("link set eno1 down")
	run("addr del 192.168.1.2/24 dev enp3s0")
	want("en*", "enp3s0")
}

// A router that is off, or in another network than the cable leads to, is named, whatever the path
// is bound to.
func TestRouterIsSilent(t *testing.T) {
	run := uplinks(t)
	run("link add dsl type veth peer name far")
	run("addr add 192.168.1.2/24 dev dsl")
	run("link set dsl up")
	run("link set far up")
	run("route add default via 192.168.1.1 dev dsl")
	server := netip.MustParseAddr("203.0.113.5")
	conn, err := net.Dial("udp", netip.AddrPortFrom(server, 9).String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("is anybody there?")); err != nil {
		t.Fatal(err)
	}
	for _, bind := range []string{"dsl", "192.168.1.2", ""} {
		if c := Hindrance(conf.Path{Bind: bind}, []netip.Addr{server}, 0); c.Says != "the router 192.168.1.1 does not answer on dsl" || c.Remedy == "" {
			t.Errorf("a path that is bound to %q is hindered by %+v", bind, c)
		}
	}
	run("neigh replace 192.168.1.1 lladdr 02:00:00:00:00:01 dev dsl nud reachable")
	if c := Hindrance(conf.Path{Bind: "dsl"}, []netip.Addr{server}, 0); c.Says != "" {
		t.Errorf("with a router that answers: %+v", c)
	}
	run("link set dsl down")
	if c := Hindrance(conf.Path{Bind: "dsl"}, []netip.Addr{server}, 0); c.Says != "dsl is down" || c.Remedy == "" {
		t.Errorf("with an interface that is down: %+v", c)
	}
}

// Two uplinks, of which only one has a route that counts; then each has a table.
func TestRouteTrouble(t *testing.T) {
	run := uplinks(t)
	for i, name := range []string{"dsl", "lte"} {
		run(fmt.Sprintf("link add %s type veth peer name far%d", name, i))
		run(fmt.Sprintf("addr add 192.168.%d.2/24 dev %s", i+1, name))
		run("link set " + name + " up")
		run(fmt.Sprintf("link set far%d up", i))
	}
	run("route add default via 192.168.1.1 dev dsl")
	server := netip.MustParseAddr("203.0.113.5")
	at := func(bind, local string) string {
		words, remedy := RouteTrouble(bind, netip.MustParseAddr(local), server, 0)
		if (words == "") != (remedy == "") {
			t.Errorf("%q, and what mends it is %q", words, remedy)
		}
		return words
	}
	if got := at("dsl", "192.168.1.2"); got != "" {
		t.Error(got)
	}
	if got := at("lte", "192.168.2.2"); !strings.Contains(got, "no route by lte has a gateway") {
		t.Errorf("bound to the interface: %q", got)
	}
	if got := at("192.168.2.2", "192.168.2.2"); !strings.Contains(got, "which is lte's, leave by dsl") {
		t.Errorf("bound to the address: %q", got)
	}
	run("route add default via 192.168.2.1 dev lte metric 700")
	if got := at("lte", "192.168.2.2"); got != "" && !strings.Contains(got, "rp_filter") {
		t.Errorf("with a second route: %q", got)
	}
	for _, name := range []string{"all", "lte"} {
		if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+name+"/rp_filter", []byte("1"), 0o644); err != nil {
			t.Skip(err)
		}
	}
	if c := Hindrance(conf.Path{Bind: "lte"}, []netip.Addr{server}, 0); !strings.Contains(c.Says, "rp_filter is strict") || !strings.Contains(c.Remedy, "rp_filter=2") {
		t.Errorf("a path whose answers are dropped is hindered by %+v", c)
	}
	run("route add default via 192.168.2.1 dev lte table 102")
	run("rule add from 192.168.2.2 lookup 102 priority 102")
	run("rule add oif lte lookup 102 priority 103")
	for _, bind := range []string{"lte", "192.168.2.2"} {
		if got := at(bind, "192.168.2.2"); got != "" {
			t.Errorf("bound to %s, with a table: %s", bind, got)
		}
		if c := Hindrance(conf.Path{Bind: bind}, []netip.Addr{server}, 0); c.Says != "" {
			t.Errorf("bound to %s, with a table, it is hindered by %+v", bind, c)
		}
	}
}

// Two cards in one network: the system answers for each one's address on the other too, unless it is told not to. Two
// networks with the same numbers are none of that.
func TestTwoCardsInOneNetwork(t *testing.T) {
	run := uplinks(t)
	for i, name := range []string{"eth0", "wlan0"} {
		run(fmt.Sprintf("link add %s type veth peer name far%d", name, i))
		run(fmt.Sprintf("addr add 192.168.1.%d/24 dev %s", i+2, name))
		run("link set " + name + " up")
		run(fmt.Sprintf("link set far%d up", i))
		run(fmt.Sprintf("route add default via 192.168.1.1 dev %s metric %d", name, 100*(i+1)))
		run("neigh replace 192.168.1.1 lladdr 02:00:00:00:00:01 nud reachable dev " + name)
	}
	set := func(key, value string) {
		t.Helper()
		if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+key, []byte(value), 0o644); err != nil {
			t.Skip(err)
		}
	}
	for _, name := range []string{"all", "eth0", "wlan0"} {
		set(name+"/rp_filter", "0")
	}
	check := func(what, want string) {
		t.Helper()
		c := Hindrance(conf.Path{Bind: "wlan0"}, []netip.Addr{netip.MustParseAddr("203.0.113.5")}, 0)
		if !strings.HasPrefix(c.Says, want) || want == "" && c.Says != "" || (c.Remedy == "") != (want == "") {
			t.Errorf("%s: %+v, want %q", what, c, want)
		}
	}
	const says = "wlan0 is in one network with eth0, where the system answers for its address too"
	check("as systems are", says)
	set("all/arp_ignore", "1")
	check("arp_ignore", "")
	set("all/arp_ignore", "0")
	check("as before", says)
	set("eth0/arp_filter", "1")
	check("arp_filter", "")
	set("eth0/arp_filter", "0")
	run("neigh replace 192.168.1.1 lladdr 02:00:00:00:00:02 nud reachable dev eth0")
	check("another router of the same numbers", "")
}

// Where another machine of the network has the interface's address already that is said, and nothing of the router, whom
// nobody can ask from there; not where there is another address, or one of IPv4 and a server that has one too.
func TestAddressIsAnothers(t *testing.T) {
	run := uplinks(t)
	run("link add dsl type veth peer name far")
	run("link set dsl up")
	run("link set far up")
	run("addr add 2001:db8:1::2/64 dev far nodad")
	run("addr add 2001:db8:1::2/64 dev dsl")
	run("-6 route add default via 2001:db8:1::1 dev dsl")
	four, six := netip.MustParseAddr("203.0.113.5"), netip.MustParseAddr("2001:db8:99::5")
	at := func(servers ...netip.Addr) status.Cause { return Hindrance(conf.Path{Bind: "dsl"}, servers, 0) }
	for range 200 {
		if duplicate("dsl").IsValid() {
			break
		}
		time.Sleep(25 * time.Millisecond)
	}
	if c := at(six); c.Says != "another machine has dsl's address 2001:db8:1::2" || c.Remedy == "" {
		t.Errorf("%+v", c)
	}
	if c := at(four, six); strings.Contains(c.Says, "another machine") {
		t.Errorf("with a server that has IPv4 too: %+v", c)
	}
	run("addr add 2001:db8:1::3/64 dev dsl nodad")
	if c := at(six); strings.Contains(c.Says, "another machine") {
		t.Errorf("with another address: %+v", c)
	}
}
