package wild

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/status"
)

// In a network of IPv6 alone an interface's address cannot be used until nobody else is known to have it
// (RFC 4862, Section 5.4), a second or two; until then the system leaves from one that leads nowhere. The path
// works as soon as it can.
func TestAddressIsTentative(t *testing.T) {
	t.Parallel()
	for name, path := range map[string]string{"bound": `paths: [{name: default, bind: "wlan7"}]`, "by the default route": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			soonest(t, 400*time.Millisecond, func(t *testing.T) time.Duration {
				const server, own = "2001:db8:99::1", "2001:db8:1::2"
				c := newCountry(t)
				c.router(1, 1500, "w1")
				c.ip("r1", "addr add 2001:db8:f::2/64 dev wan nodad")
				c.ip("srv", "addr add 2001:db8:f::1/64 dev u1 nodad")
				c.ip("srv", "addr add "+server+"/128 dev lo nodad")
				c.ip("srv", "-6 route add 2001:db8:1::/64 via 2001:db8:f::2")
				c.within("r1", func() error { return os.WriteFile("/proc/sys/net/ipv6/conf/all/forwarding", []byte("1"), 0) })
				c.ip("r1", "-6 route add default via 2001:db8:f::1")
				c.ip("cli", "link del w1")
				client, file := c.keys(`["[`+server+`]:7443"]`, path)
				b, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				c.start("srv", "server", "server", c.file("six.yaml", strings.Replace(string(b), `"0.0.0.0:7443"`, `"[::]:7443"`, 1)))
				c.client = c.start("cli", "client", "client", client)
				time.Sleep(time.Second)
				c.sh(fmt.Sprintf("ip link add lan netns %sr1 type veth peer name wlan7 netns %scli", c.prefix, c.prefix))
				c.ip("r1", "addr add 2001:db8:1::1/64 dev lan nodad")
				c.ip("r1", "link set lan up")
				c.ip("cli", "link set wlan7 up")
				c.until(10*time.Second, "the interface has an address of its own", func() bool { return c.usable("scope link") })
				c.ip("cli", "addr add "+own+"/64 dev wlan7")
				c.ip("cli", "-6 route add default via 2001:db8:1::1 dev wlan7")
				c.until(10*time.Second, "the address can be used", func() bool { return c.usable("scope global") })
				took := c.until(20*time.Second, "the path is up", func() bool { return c.path("default").State == status.Up })
				t.Logf("in use %v after it could be", took)
				return took
			})
		})
	}
}

// usable says that wlan7 has an IPv6 address of that scope, and none that is tentative.
func (c *country) usable(scope string) bool {
	list := func(which ...string) string {
		out, err := exec.Command("ip", append([]string{"-n", c.prefix + "cli", "-6", "-o", "addr", "show", "dev", "wlan7"}, which...)...).Output()
		if err != nil {
			c.t.Fatal(err)
		}
		return string(out)
	}
	return strings.Contains(list(), scope) && list("tentative") == ""
}
