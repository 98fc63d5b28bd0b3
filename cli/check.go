package cli

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"reflect"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mpsocks/mpsocks/client"
	"github.com/mpsocks/mpsocks/client/paths"
	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/server"
)

// newCheck is `mpsocks check`: a configuration in words, or its problems.
func newCheck() *cobra.Command {
	var file string
	var strict bool
	cmd := &cobra.Command{
		Use:        "check -c FILE",
		SuggestFor: []string{"validate", "verify", "test", "config"},
		Short:      "Validate a configuration and say what it means",
		Long: `Validate a client's or a server's configuration, with the environment's MPSOCKS_
variables on top as at start, and say what it means. Every problem is listed,
with the file, the key and the reason; the exit code is 1 if there are any.

A mistake in a file of the server's clients_dir concerns that client alone: it is said,
and is no error but with --strict. So is an address that this machine does not have, with
which nothing starts here: the file may be meant for another machine.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := conf.Load(file)
			if err != nil {
				return err
			}
			doubts := hindrances(cfg)
			if s, ok := cfg.(*conf.Server); ok {
				doubts = append(doubts, s.Doubts()...)
			}
			if strict && len(doubts) > 0 {
				return errors.New(strings.Join(doubts, "\n"))
			}
			w := &words{w: cmd.OutOrStdout()}
			switch c := cfg.(type) {
			case *conf.Client:
				w.linef("%s is a client's configuration, and valid.", file)
				w.client(c)
			case *conf.Server:
				w.linef("%s is a server's configuration, and valid.", file)
				w.server(c)
			}
			for _, d := range doubts {
				w.itemf("warning", "%s", d)
			}
			return w.err
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "configuration file")
	cmd.Flags().BoolVar(&strict, "strict", false, "count warnings as errors")
	cmd.MarkFlagRequired("config")
	return cmd
}

// words writes lines and keeps the first error.
type words struct {
	w   io.Writer
	err error
}

func (w *words) linef(format string, args ...any) {
	if w.err == nil {
		_, w.err = fmt.Fprintf(w.w, format+"\n", args...)
	}
}

// itemf is a line of a topic.
func (w *words) itemf(topic, format string, args ...any) {
	w.linef("  %-10s "+format, append([]any{topic}, args...)...)
}

func (w *words) client(c *conf.Client) {
	who := "no password asked"
	if len(c.Users) > 0 {
		who = "for " + count(len(c.Users), "user") + " with a password"
	}
	w.itemf("listen", "SOCKS5 at %s, %s", joinAddrs(c.Listen), who)
	w.itemf("identity", "public key %s, which the server's clients list needs", c.PrivateKey.Public())
	w.itemf("server", "%s, with the key %s and no other", strings.Join(c.Server.Addresses, ", "), joinKeys(c.Server.Keys()))
	if len(c.Paths) == 0 {
		w.itemf("paths", "one, by the default route")
	}
	for i, p := range c.Paths {
		note := ""
		if twin := paths.Twin(c.Paths, i); twin != "" {
			note = fmt.Sprintf(" (the same way as path %s: the two die together, and add up to one)", twin)
		}
		w.itemf("path", "%s%s", describePath(p), note)
	}
	w.mode(c.Mode, c.Rules)
	for _, f := range c.Forwards {
		for _, r := range f.Routes() {
			w.itemf("forward", "%s at %s to %s", strings.ToUpper(string(r.Proto)), r.Listen, r.To())
		}
	}
	for _, f := range c.Publish {
		for _, r := range f.Routes() {
			w.itemf("publish", "%s port %d of the server to %s", strings.ToUpper(string(r.Proto)), r.Listen.Port(), r.To())
		}
	}
	if len(c.Redirect.Listen) > 0 {
		w.itemf("redirect", "what nftables' TPROXY gives it at %s, UDP and TCP%s", joinAddrs(c.Redirect.Listen), lacking(client.RedirectLacks(c.Redirect.Listen)))
	}
	w.tun(&c.TUN)
	if m := c.SocketMark(); m != 0 {
		w.itemf("mark", "%d on the sockets of the subflows, for rules of routing", m)
	}
	udp := "relay ports as the system gives them"
	if !c.UDP.Ports.IsZero() {
		udp = fmt.Sprintf("relay ports %s, so %d associations for each listening address at most", c.UDP.Ports, c.UDP.Ports.Len())
	}
	if len(c.UDP.PublicAddress) > 0 {
		udp += fmt.Sprintf(", announced as %v", c.UDP.PublicAddress)
	}
	w.itemf("udp", "%s; offload %s", udp, c.UDP.Offload)
	w.itemf("limits", "%d associations%s, %d streams%s", c.Limits.Associations, share(c.Limits.AssociationsPerUser, "user"),
		c.Limits.Streams, share(c.Limits.StreamsPerUser, "user"))
	w.itemf("session", "given up after %v without a subflow, then begun anew", c.SessionTimeout)
	w.rest(c.Admin, c.Log)
}

// tun says what a device takes.
func (w *words) tun(t *conf.TUN) {
	if t.Device == "" {
		if !reflect.DeepEqual(*t, conf.DefaultClient().TUN) {
			w.itemf("tun", "off: without tun.device, such as mps0, nothing of its settings holds")
		}
		return
	}
	w.itemf("tun", "%s, with %s, takes what this machine's programs send to %s%s", t.Device, list(t.Addresses), list(t.Routes), lacking(client.TUNLacks(t)))
	stay := make([]string, 0, 3)
	if t.LAN && t.Everything() {
		stay = append(stay, "the local networks")
	}
	if len(t.Exclude) > 0 {
		stay = append(stay, list(t.Exclude))
	}
	if len(stay) > 0 {
		w.itemf("tun", "not %s", strings.Join(stay, ", "))
	}
	if t.Everything() {
		names := "names are asked where the system asks them, which may be outside"
		if t.DNS {
			names = "names are asked in the tunnel, whichever server is asked"
		}
		w.itemf("tun", "%s; without a session the traffic is to %s", names, t.WhenDown)
	}
	for _, l := range client.TUNDoubts(t) {
		w.itemf("tun", "%s: %s", l.What, l.Remedy)
	}
}

// list writes values.
func list[T fmt.Stringer](values []T) string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = v.String()
	}
	return strings.Join(out, ", ")
}

func (w *words) server(s *conf.Server) {
	for _, l := range s.Listen {
		kernel := ""
		if l.KernelMPTCP {
			kernel = ", as kernel MPTCP"
		}
		w.itemf("listen", "subflows at %s%s", l.Address, kernel)
	}
	if len(s.Advertise) > 0 {
		w.itemf("advertise", "%s, told to connected clients", joinAddrs(s.Advertise))
	}
	if s.BehindLoadBalancer {
		w.itemf("balancer", "clients add subflows at the advertised addresses only")
	}
	w.itemf("identity", "public key %s, which the clients' server.public_key needs", s.PrivateKey.Public())
	for _, c := range s.Clients {
		w.itemf("client", "%s, with the key %s%s", c.Name, joinKeys(c.Keys()), granted(&c))
	}
	from := "the address that the routing table gives"
	if s.Relay.Bind != "" {
		from = s.Relay.Bind + bindNote(s.Relay.Bind)
	}
	w.itemf("relay", "leaves by %s; mappings end after %v without a datagram out; filtering is %s; offload %s",
		from, s.Relay.IdleTimeout, s.Relay.Filtering, s.Relay.Offload)
	for _, a := range s.Relay.Allow {
		w.itemf("allow", "%s", a)
	}
	for _, d := range s.Relay.Deny {
		w.itemf("deny", "%s", d)
	}
	w.mode(s.Mode, s.Rules)
	l := s.Limits
	w.itemf("limits", "%d sessions%s, of %d subflows; %d mappings%s; %d streams%s",
		l.Sessions, share(l.SessionsPerClient, "client"), l.SubflowsPerSession,
		l.Mappings, share(l.MappingsPerClient, "client"), l.Streams, share(l.StreamsPerClient, "client"))
	w.itemf("memory", "%s", server.Memory(s))
	for _, warn := range server.Fits(s) {
		w.itemf("descriptors", "%s", warn)
	}
	if s.Drain > 0 {
		w.itemf("drain", "at its end it goes on with what is under way for %v at most", s.Drain)
	}
	w.itemf("session", "held for %v without a subflow", s.SessionTimeout)
	w.rest(s.Admin, s.Log)
}

func (w *words) mode(mode conf.Mode, rules []conf.Rule) {
	meaning := map[conf.Mode]string{
		conf.ModeAuto:      "each flow is treated by what it does",
		conf.ModeAggregate: "every flow uses all paths",
		conf.ModeRedundant: "copies go over several paths",
		conf.ModeLatency:   "every flow takes the fastest path",
	}
	w.itemf("mode", "%s: %s", mode, meaning[mode])
	for _, r := range rules {
		w.itemf("rule", "%s", describeRule(r))
	}
}

func (w *words) rest(admin []conf.Admin, log conf.Log) {
	if len(admin) == 0 {
		w.itemf("admin", "off")
	}
	for _, a := range admin {
		switch {
		case a.Path != "":
			w.itemf("admin", "%s, for this user and root", a)
		case a.Addr.Addr().IsLoopback():
			w.itemf("admin", "http://%s/: health and metrics for everybody here, the rest with the token (mpsocks status --web)", a)
		default:
			w.itemf("admin", "http://%s/: for who has the token; it is not encrypted", a)
		}
	}
	w.itemf("log", "%s and above, format %s", log.Level, log.Format)
}

func describePath(p conf.Path) string {
	from := "any interface"
	if p.Bind != "" {
		from = p.Bind + pathNote(p.Bind)
	}
	out := fmt.Sprintf("%s, from %s, subflows %s", p.Name, from, p.Subflows)
	if p.Backup {
		out += ", only when no other path works"
	}
	if p.Metered {
		out += ", metered: only when needed"
	}
	if p.KernelMPTCP {
		out += ", kernel MPTCP sockets"
	}
	if p.Weight > 0 {
		out += fmt.Sprintf(", weight %d", p.Weight)
	}
	if p.DailyCap > 0 {
		out += fmt.Sprintf(", at most %v a day", p.DailyCap)
	}
	if p.MonthlyCap > 0 {
		out += fmt.Sprintf(", at most %v a month", p.MonthlyCap)
		if p.BillingDay > 1 {
			out += fmt.Sprintf(" from day %d on", p.BillingDay)
		}
	}
	return out
}

// pathNote says which interface a path's binding means now, where it does not name it, and
// warns as bindNote does where there is none.
func pathNote(bind string) string {
	switch name := paths.Find(bind); name {
	case "", bind:
		return bindNote(bind)
	default:
		return fmt.Sprintf(" (%s now)", name)
	}
}

// bindNote warns of an interface or address that is not there now. That is no
// error: it may come later.
func bindNote(bind string) string {
	if a, err := netip.ParseAddr(bind); err == nil {
		if a.IsLoopback() {
			return ""
		}
		addrs, err := net.InterfaceAddrs()
		for _, i := range addrs {
			if n, ok := i.(*net.IPNet); ok {
				if b, ok := netip.AddrFromSlice(n.IP); ok && b.Unmap() == a.Unmap() {
					return ""
				}
			}
		}
		if err == nil {
			return " (no interface here has this address now)"
		}
		return ""
	}
	if _, err := net.InterfaceByName(bind); err == nil {
		return ""
	}
	return fmt.Sprintf(" (there is no such interface now; there are %s)", strings.Join(interfaces(), ", "))
}

// interfaces are the names of those that this machine has.
func interfaces() (names []string) {
	all, _ := net.Interfaces()
	for _, i := range all {
		names = append(names, i.Name)
	}
	return names
}

func describeRule(r conf.Rule) string {
	var when []string
	if r.User != "" {
		when = append(when, "of "+r.User)
	}
	if r.To.IsValid() {
		when = append(when, "to "+r.To.String())
	}
	if !r.Ports.IsZero() {
		when = append(when, "to port "+r.Ports.String())
	}
	if v := r.DSCP.Value(); v >= 0 {
		when = append(when, fmt.Sprintf("with DSCP %d", v))
	}
	if len(when) == 0 {
		return fmt.Sprintf("every flow is %s", r.Class)
	}
	return fmt.Sprintf("flows %s are %s", strings.Join(when, " "), r.Class)
}

// granted is what a client of the server may have, as far as the server's file says.
func granted(c *conf.Peer) (out string) {
	if c.Quota != 0 {
		out += fmt.Sprintf("; %s a month", c.Quota)
	}
	if c.Rate != 0 {
		out += fmt.Sprintf("; %s each way", c.Rate)
	}
	if c.Streams != 0 {
		out += fmt.Sprintf("; %d CONNECTs at once", c.Streams)
	}
	if ports := texts(c.Publish); len(ports) > 0 {
		out += "; may publish " + strings.Join(ports, ", ")
	}
	return out
}

// share is a limit for each user or client in brackets; 0 is none.
func share(n int, of string) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" (%d for one %s)", n, of)
}

func joinAddrs(addrs []netip.AddrPort) string { return strings.Join(texts(addrs), ", ") }

// joinKeys writes keys, any of which will do.
func joinKeys(keys []conf.PublicKey) string {
	out := make([]string, len(keys))
	for i, k := range keys {
		out[i] = k.String()
	}
	return strings.Join(out, " or ")
}
