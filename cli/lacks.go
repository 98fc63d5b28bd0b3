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

// sayLacks checks what the client's doors for programs without SOCKS need of this machine.
func sayLacks(d *doctor, c *conf.Client) {
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
