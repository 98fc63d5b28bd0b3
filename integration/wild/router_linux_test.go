package wild

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/status"
)

// homeRouter is what a router at home does: it has one address outside for all that is behind it, and
// passes on nothing of connections that it has not seen begin.
const homeRouter = `
table ip home {
	chain out { type nat hook postrouting priority 100; oifname "wan" masquerade random; }
	chain through { type filter hook forward priority 0; ct state invalid drop; }
}
`

// guarded has a router of c.router's be such a one; the server knows nothing of what is behind it.
func (c *country) guarded(k int) {
	c.t.Helper()
	nft, err := exec.LookPath("nft")
	if err != nil {
		c.t.Skip("nft is not installed (Debian: nftables)")
	}
	rules := filepath.Join(c.dir, "home.nft")
	if err := os.WriteFile(rules, []byte(homeRouter), 0o644); err != nil {
		c.t.Fatal(err)
	}
	r := fmt.Sprintf("%sr%d", c.prefix, k)
	if out, err := exec.Command("ip", "netns", "exec", r, nft, "-f", rules).CombinedOutput(); err != nil {
		c.t.Skipf("this kernel translates no addresses: %s", out)
	}
	c.within(fmt.Sprint("r", k), func() error {
		return os.WriteFile("/proc/sys/net/netfilter/nf_conntrack_tcp_loose", []byte("0"), 0)
	})
	c.ip("srv", fmt.Sprintf("route del 192.168.%d.0/24 via 10.%d.0.2", k, k))
}

// The client is in another network from now on and has the same address as before, as it is the first
// guest of both: by one card whose router is another one, or by another card. What goes on soon,
// though neither network lets the connections of the other one through.
func TestSameAddressElsewhere(t *testing.T) {
	t.Parallel()
	for name, scene := range map[string]struct {
		paths  string
		router string // of the second network
		change string
	}{
		"another router":                   {onePath, "192.168.1.254", "route replace default via 192.168.1.254 dev w1 metric 100"},
		"another router, by default route": {"", "192.168.1.254", "route replace default via 192.168.1.254 dev w1 metric 100"},
		"another card, by default route":   {"", "192.168.1.1", "route add default via 192.168.1.1 dev w2 metric 10"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			soonest(t, 250*time.Millisecond, func(t *testing.T) time.Duration {
				c := newCountry(t)
				c.router(1, 1500, "w1")
				c.router(2, 1500, "w2")
				c.guarded(1)
				c.guarded(2)
				c.ip("r2", "addr del 192.168.2.1/24 dev lan")
				c.ip("r2", "addr add "+scene.router+"/24 dev lan")
				c.ip("cli", "addr del 192.168.2.2/24 dev w2")
				if scene.router != "192.168.1.1" {
					c.bridged()
				} else {
					c.ip("cli", "addr add 192.168.1.2/24 dev w2")
				}
				client, server := c.keys("", scene.paths)
				c.start("srv", "server", "server", server)
				c.echo("srv")
				c.client = c.start("cli", "client", "client", client)
				c.works(30*time.Second, far)
				f := c.flow(far)
				time.Sleep(500 * time.Millisecond)
				c.ip("cli", scene.change)
				time.Sleep(3 * time.Second)
				gap := f.longest(t)
				t.Logf("a gap of %v", gap)
				return gap
			})
		})
	}
}

// bridged joins the second router to the network of the first one.
func (c *country) bridged() {
	c.t.Helper()
	c.ip("cli", "link del w2")
	c.ip("cli", "link del w1")
	c.joined("w1 cli", "lan r1", "lan r2")
	for r, address := range map[string]string{"r1": "192.168.1.1", "r2": "192.168.1.254"} {
		c.ip(r, "addr add "+address+"/24 dev lan")
		c.ip(r, "link set lan up")
	}
	c.ip("cli", "addr add 192.168.1.2/24 dev w1")
	c.ip("cli", "link set w1 up")
	c.ip("cli", "route add default via 192.168.1.1 dev w1 metric 100")
}

// joined makes a network of devices, each of a place.
func (c *country) joined(devices ...string) {
	c.t.Helper()
	c.place("lan")
	c.ip("lan", "link add lan type bridge")
	c.ip("lan", "link set lan up")
	for i, d := range devices {
		name, place, _ := strings.Cut(d, " ")
		c.sh(fmt.Sprintf("ip link add p%d netns %slan type veth peer name %s mtu 1500 gso_max_segs 1 netns %s%s", i, c.prefix, name, c.prefix, place))
		c.ip("lan", fmt.Sprintf("link set p%d master lan up", i))
	}
}

// Two cards in one network, a cable and Wi-Fi of the same router, which learns the wrong one for an address: status says
// why nothing comes by that path, and with what it says against it both work.
func TestTwoCardsInOneNetwork(t *testing.T) {
	t.Parallel()
	c := newCountry(t)
	c.router(1, 1500, "w1")
	c.ip("cli", "link del w1")
	c.joined("w1 cli", "w2 cli", "lan r1")
	c.ip("r1", "addr add 192.168.1.1/24 dev lan")
	c.ip("r1", "link set lan up")
	c.ip("cli", "link set w1 address 02:00:00:00:00:01")
	c.ip("cli", "link set w2 address 02:00:00:00:00:02")
	for i := 1; i <= 2; i++ {
		c.ip("cli", fmt.Sprintf("addr add 192.168.1.%d/24 dev w%d", i+1, i))
		c.ip("cli", fmt.Sprintf("link set w%d up", i))
		c.ip("cli", fmt.Sprintf("route add default via 192.168.1.1 dev w%d metric %d", i, 100*i))
	}
	client, server := c.keys("", `paths: [{name: cable, bind: "w1"}, {name: wifi, bind: "w2"}]`)
	c.start("srv", "server", "server", server)
	c.echo("srv")
	c.client = c.start("cli", "client", "client", client)
	c.works(30*time.Second, far)
	wifi := func(state status.State) func() bool { return func() bool { return c.path("wifi").State == state } }
	c.until(20*time.Second, "both paths are up", func() bool { return wifi(status.Up)() && c.path("cable").State == status.Up })
	c.ip("r1", "neigh replace 192.168.1.3 lladdr 02:00:00:00:00:01 dev lan nud permanent") // as it is when that card's answer is first
	c.until(20*time.Second, "status says why nothing comes", func() bool {
		return strings.HasPrefix(c.path("wifi").Cause, "w2 is in one network with w1,")
	})
	for set := range strings.FieldsSeq(strings.TrimPrefix(c.path("wifi").Remedy, "sysctl -w ")) {
		key, value, _ := strings.Cut(set, "=")
		c.within("cli", func() error { return os.WriteFile("/proc/sys/"+strings.ReplaceAll(key, ".", "/"), []byte(value), 0) })
	}
	c.ip("r1", "neigh del 192.168.1.3 dev lan")
	t.Logf("in use after %v", c.until(20*time.Second, "the path is up", wifi(status.Up)))
	for range 5 { // the router asks anew
		c.ip("r1", "neigh flush dev lan")
		time.Sleep(300 * time.Millisecond)
	}
	c.works(5*time.Second, far)
	if p := c.path("wifi"); p.State != status.Up {
		t.Errorf("it is %s then: %s", p.State, p.Cause)
	}
}
