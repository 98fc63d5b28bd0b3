package cli

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/mpsocks/mpsocks/admin"
	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/durable"
	"github.com/mpsocks/mpsocks/mux/amount"
	"github.com/mpsocks/mpsocks/mux/errno"
	"github.com/mpsocks/mpsocks/mux/gate"
	"github.com/mpsocks/mpsocks/status"
)

const (
	// oldest is a year that no clock of today shows.
	oldest = 2026
	// lookupTime is how long a name server may take.
	lookupTime = 5 * time.Second
)

// machine checks what both halves need of the system.
func (d *doctor) machine() {
	now := time.Now()
	switch synced, known := clockSynced(); {
	case now.Year() < oldest:
		d.say(broken, "clock", "set the clock: caps and log lines go by it", "it shows %s", now.Format("2 January 2006"))
	case known && !synced:
		d.say(doubt, "clock", "let the system keep the time (systemd-timesyncd, chrony): caps go by the date", "nothing keeps it in time")
	default:
		d.say(fine, "clock", "", "%s", now.Format("2 January 2006, 15:04:05 MST"))
	}
	if n := gate.Files(); n > 0 {
		if n < 4096 {
			d.say(doubt, "descriptors", "raise the limit: LimitNOFILE= in the unit, or ulimit -n", "the system gives a program %d, and every association and CONNECT takes one or two", n)
		} else {
			d.say(fine, "descriptors", "", "%d for a program", n)
		}
	}
	if dir, err := conf.DefaultStateDir(); err != nil {
		d.say(doubt, "state", "set state_dir", "there is no place for what must survive a restart: %v", err)
	} else if err := durable.Trusted(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.say(doubt, "state", "change that, or set state_dir", "nothing that is in %s counts: %v", dir, err)
	} else {
		d.say(fine, "state", "", "what must survive a restart is in %s, unless state_dir says another place", dir)
	}
}

// elsewhere says that a server's configuration is that of another machine's: `mpsocks init` writes both
// files, and one of them is carried there. It was found beside a client's that leads to it, at addresses that
// this machine does not have, and no server answers here.
func (d *doctor) elsewhere(c *conf.Server) bool {
	own := c.PrivateKey.Public()
	if d.file != "" || d.beside == nil || !slices.ContainsFunc(d.beside.Server.Keys(), func(k conf.PublicKey) bool { return bytes.Equal(k, own) }) {
		return false
	}
	for _, a := range d.beside.Server.Addresses {
		host, _, _ := net.SplitHostPort(a) // conf has validated it
		addrs := []netip.Addr{}
		if at, err := netip.ParseAddr(host); err == nil {
			addrs = append(addrs, at)
		} else if addrs, err = lookup(d.ctx, host); err != nil {
			continue
		}
		if slices.ContainsFunc(addrs, func(a netip.Addr) bool { return here(a.Unmap()) }) {
			return false
		}
	}
	all, err := new(locator).find(status.Server)
	if err != nil {
		return true
	}
	_, states, _ := answering(d.ctx, all)
	return !slices.ContainsFunc(states, func(s *status.Status) bool { return s.Half == status.Server })
}

// server checks a server's configuration against this machine.
func (d *doctor) server(c *conf.Server) {
	d.say(fine, "key", "", "the clients' server.public_key has to be %s", c.PrivateKey.Public())
	if len(c.Clients) == 0 {
		d.say(doubt, "clients", "`mpsocks clients add NAME` adds one", "nobody may connect")
	} else {
		d.say(fine, "clients", "", "%d may connect", len(c.Clients))
	}
	for _, w := range c.Doubts() {
		d.say(doubt, "clients", "mend it, then mpsocks reload", "%s", w)
	}
	for _, l := range c.Listen {
		d.door(l.Address, status.Server)
	}
	if note := bindNote(c.Relay.Bind); c.Relay.Bind != "" && note != "" {
		d.say(broken, "relay", "set relay.bind to an interface or address of this machine", "it shall leave by %s%s", c.Relay.Bind, note)
	}
	start := time.Now()
	if _, err := lookup(d.ctx, "example.com"); err != nil {
		d.say(broken, "names", "look at /etc/resolv.conf: clients' names are asked for here", "names cannot be asked for: %v", err)
	} else {
		d.say(fine, "names", "", "a name is answered in %d ms", time.Since(start).Milliseconds())
	}
	for _, family := range []string{"udp4", "udp6"} {
		host := map[string]string{"udp4": "192.0.2.1:9", "udp6": "[2001:db8::1]:9"}[family]
		// No packet is sent: the system only chooses a route.
		conn, err := net.Dial(family, host)
		switch {
		case err == nil:
			d.say(fine, "exit", "", "%s leaves from %s", family[:3]+"/IPv"+family[3:], conn.LocalAddr().(*net.UDPAddr).IP)
			conn.Close()
		case family == "udp4":
			d.say(broken, "exit", "the machine needs a default route", "no way to the internet by IPv4: %v", err)
		default:
			d.say(doubt, "exit", "destinations with IPv6 addresses only cannot be reached", "no way to the internet by IPv6")
		}
	}
}

// door checks an address that a half listens at, or is to.
func (d *doctor) door(a netip.AddrPort, half string) {
	l, err := net.Listen("tcp", a.String())
	switch {
	case err == nil:
		l.Close()
		d.say(fine, "listen", "", "%s is free", a)
	case !errors.Is(err, errno.AddrInUse):
		d.say(broken, "listen", "choose an address of this machine; a port below 1024 takes a privilege", "%v", err)
	case d.holds(a, half):
		d.say(fine, "listen", "", "%s is in use, by the running %s", a, half)
	default:
		d.say(doubt, "listen", fmt.Sprintf("`ss -ltnp sport = :%d`, as root, says which program it is", a.Port()), "%s is in use, and no %s that answers here says that it is it", a, half)
	}
}

// holds says whether the running half listens at the address.
func (d *doctor) holds(a netip.AddrPort, half string) bool {
	at := locator{file: d.file}
	all, err := at.find(half)
	if err != nil {
		return false
	}
	_, states, _ := answering(d.ctx, all)
	for _, s := range states {
		for _, text := range s.Listen {
			if b, err := netip.ParseAddrPort(text); err == nil && s.Half == half && b.Port() == a.Port() && (a.Addr() == b.Addr() || b.Addr().IsUnspecified()) {
				return true
			}
		}
	}
	return false
}

// running asks the halves of this machine.
func (d *doctor) running() {
	at := locator{file: d.file}
	all, err := at.find(status.Client, status.Server)
	switch _, bad := errors.AsType[conf.Errors](err); {
	case bad: // that was said
		return
	case err != nil:
		d.say(doubt, "running", "set admin: 127.0.0.1:9081 to see what it does", "%v", err)
		return
	}
	_, states, err := answering(d.ctx, all)
	if err != nil {
		remedy := "start it: mpsocks client -c client.yaml, or `mpsocks service install client`"
		if errors.Is(err, admin.ErrToken) || errors.Is(err, admin.ErrProof) {
			remedy = "run doctor as root, or as the user of the half that runs"
		}
		d.say(doubt, "running", remedy, "%v", err)
		return
	}
	for _, s := range states {
		if !s.Ready {
			remedy := "see the paths above"
			if s.Half == status.Server {
				remedy = "see its log"
			}
			d.say(broken, "running "+s.Half, remedy, "it cannot do its work: %s", strings.Join(s.Reasons, "; "))
		} else {
			d.say(fine, "running "+s.Half, "", "version %s, for %s, ready", s.Version, amount.Duration(time.Since(s.Started)))
		}
		if s.Version != version() {
			d.say(doubt, "running "+s.Half, "restart it to run the newer one", "it is version %s, and this program %s", s.Version, version())
		}
		for _, w := range s.Warnings {
			if strings.Contains(w, " is release ") {
				d.say(doubt, "releases", "docs/operations.md says for how long halves of different releases work together", "%s", w)
				continue
			}
			d.say(doubt, "running "+s.Half, "mend it, then mpsocks reload", "%s", w)
		}
		if text, remedy := strayed(s); text != "" {
			d.say(doubt, "running "+s.Half, remedy, "%s", text)
		}
		if s.Session == nil {
			continue
		}
		for _, p := range s.Published {
			if p.Problem != "" {
				d.say(doubt, "running publish", "mpsocks check on the server says what it lets clients publish", "%s %s does not lead to %s: %s", p.Proto, p.Listen, p.To, p.Problem)
			}
		}
		for i := range s.Session.Paths {
			p := &s.Session.Paths[i]
			level, remedy := judgePath(p)
			d.say(level, "running path "+p.Name, remedy, "%s", p.Words(time.Now()))
			if left, _ := p.Usage.Left(); p.Usage.Low() {
				d.say(doubt, "running path "+p.Name, "it stops at the cap", "%s of its cap left", amount.Bytes(left))
			}
		}
	}
}

// strayed says what became of datagrams that came from another place than the connection that
// asked for their association: "" where none did.
func strayed(s *status.Status) (text, remedy string) {
	n := s.Drops["source"]
	if n == 0 || s.Half != status.Client { // it means another thing at a server
		return "", ""
	}
	return fmt.Sprintf("%s came from where no association was asked for, and went no further", count(int(n), "datagram")),
		"a program behind a NAT, in a container or of another user than its connection: let it send UDP over TCP (docs/recipes/tun.md), or use a client of its own"
}

// judgePath says what a running path's state is to a person, and what helps.
func judgePath(p *status.Path) (level severity, remedy string) {
	switch p.State {
	case status.Dead, status.Absent, status.Stalled:
		return doubt, cmp.Or(p.Remedy, "its own check above says more")
	case status.Capped:
		return doubt, "it is used again then; a larger cap is in the configuration"
	}
	if p.Remedy != "" { // it works, and something is the matter all the same
		return doubt, p.Remedy
	}
	return fine, ""
}

// localOf is the address that a path is bound to in the family of remote: its own, or
// the interface's.
func localOf(bind string, remote netip.Addr) (netip.Addr, error) {
	if bind == "" {
		return netip.Addr{}, nil
	}
	if a, err := netip.ParseAddr(bind); err == nil {
		if a = a.Unmap(); a.Is4() != remote.Is4() {
			return netip.Addr{}, noFamilyError(fmt.Sprintf("%s is no %s address", bind, family(remote)))
		}
		return a, nil
	}
	i, err := net.InterfaceByName(bind)
	if err != nil {
		return netip.Addr{}, err
	}
	if i.Flags&net.FlagUp == 0 {
		return netip.Addr{}, errors.New(bind + " is down")
	}
	addrs, err := i.Addrs()
	if err != nil {
		return netip.Addr{}, err
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok && ip.Unmap().Is4() == remote.Is4() && !ip.IsLinkLocalUnicast() {
				return ip.Unmap(), nil
			}
		}
	}
	return netip.Addr{}, noFamilyError(fmt.Sprintf("%s has no %s address", bind, family(remote)))
}

// noFamilyError says that a path has no address of a server's family.
type noFamilyError string

func (e noFamilyError) Error() string { return string(e) }

// family is IPv4 or IPv6.
func family(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}
