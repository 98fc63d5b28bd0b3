package wild

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
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
	c.place("lan")
	c.ip("lan", "link add lan type bridge")
	c.ip("lan", "link set lan up")
	for i, end := range []string{"w1 mtu 1500 gso_max_segs 1 netns " + c.prefix + "cli", "lan netns " + c.prefix + "r1", "lan netns " + c.prefix + "r2"} {
		c.sh(fmt.Sprintf("ip link add p%d netns %slan type veth peer name %s", i, c.prefix, end))
		c.ip("lan", fmt.Sprintf("link set p%d master lan up", i))
	}
	for r, address := range map[string]string{"r1": "192.168.1.1", "r2": "192.168.1.254"} {
		c.ip(r, "addr add "+address+"/24 dev lan")
		c.ip(r, "link set lan up")
	}
	c.ip("cli", "addr add 192.168.1.2/24 dev w1")
	c.ip("cli", "link set w1 up")
	c.ip("cli", "route add default via 192.168.1.1 dev w1 metric 100")
}
