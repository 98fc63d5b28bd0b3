package paths

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// The interfaces of a route with several next hops are told, of both families, each once; neither one that has no carrier
// nor that of a route with one hop.
func TestForks(t *testing.T) {
	run := uplinks(t)
	for i, name := range []string{"dsl", "lte"} {
		run("link add " + name + " type veth peer name far" + name)
		run("link set " + name + " up")
		run("link set far" + name + " up")
		run(fmt.Sprintf("addr add 192.168.%d.2/24 dev %s", i+1, name))
		run(fmt.Sprintf("addr add 2001:db8:%d::2/64 dev %s nodad", i+1, name))
	}
	four, six := netip.MustParseAddr("203.0.113.5"), netip.MustParseAddr("2001:db8:99::5")
	want := func(what string, to netip.Addr, names ...string) {
		t.Helper()
		if got := Forks(0)(to); !slices.Equal(got, names) {
			t.Errorf("%s: %v, want %v", what, got, names)
		}
	}
	want("no route", four)
	run("route add default via 192.168.1.1 dev dsl")
	want("one", four)
	run("route replace default nexthop via 192.168.1.1 dev dsl nexthop via 192.168.2.1 dev lte")
	run("-6 route add default nexthop via 2001:db8:1::1 dev dsl nexthop via 2001:db8:2::1 dev lte")
	want("two", four, "dsl", "lte")
	want("two of IPv6", six, "dsl", "lte")
	run("link set farlte down")
	for range 200 { // the system notes that a little later
		if len(Forks(0)(four)) == 1 {
			break
		}
		time.Sleep(25 * time.Millisecond)
	}
	want("one without a carrier", four, "dsl")
	run("route replace default nexthop via 192.168.1.1 dev dsl nexthop via 192.168.1.254 dev dsl")
	want("two by one", four, "dsl")
}
