package cli

import (
	"fmt"
	"strings"

	"github.com/mpsocks/mpsocks/client"
	"github.com/mpsocks/mpsocks/conf"
)

// lacking writes what a setting does not find on this machine, for `check`: that may be
// another machine than the one that the file is for.
func lacking(list []client.Lack) string {
	if len(list) == 0 {
		return ""
	}
	words := make([]string, len(list))
	for i, l := range list {
		words[i] = l.What
	}
	return fmt.Sprintf(" (not here now: %s)", strings.Join(words, "; "))
}

// sayTUN checks what a device for this machine's programs needs, and what goes around it.
func sayTUN(d *doctor, c *conf.Client) {
	if left := client.RoutingLeft(); len(left) > 0 {
		d.say(broken, "tun", "the client's next start removes them, or: ip rule flush protocol 109; ip -6 rule flush protocol 109",
			"a client that was killed has left %s behind, which refuse what it took", strings.Join(left, " and "))
	}
	if c.TUN.Device == "" {
		return
	}
	list := client.TUNLacks(&c.TUN)
	for _, l := range list {
		d.say(broken, "tun", l.Remedy, "%s", l.What)
	}
	doubts := client.TUNDoubts(&c.TUN)
	for _, l := range doubts {
		d.say(doubt, "tun", l.Remedy, "%s", l.What)
	}
	if len(list)+len(doubts) == 0 {
		d.say(fine, "tun", "", "what %s needs of this machine is there, and names are asked in the tunnel", c.TUN.Device)
	}
}

// sayLacks checks what the client's doors for programs without SOCKS need of this machine.
func sayLacks(d *doctor, c *conf.Client) {
	sayTUN(d, c)
	if len(c.Redirect.Listen) == 0 {
		return
	}
	list := client.RedirectLacks(c.Redirect.Listen)
	for _, l := range list {
		d.say(broken, "redirect", l.Remedy, "%s", l.What)
	}
	if len(list) == 0 {
		d.say(fine, "redirect", "", "what it needs of the firewall, the rules and the routes is there")
	}
}
