package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/client"
	"github.com/mpsocks/mpsocks/client/paths"
	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/amount"
	"github.com/mpsocks/mpsocks/mux/errno"
	"github.com/mpsocks/mpsocks/mux/lull"
	"github.com/mpsocks/mpsocks/status"
)

const (
	// connectTime is how long a TCP connection may take: a lost SYN is sent again.
	connectTime = 5 * time.Second
	// sessionTime is how long the handshakes may take after that.
	sessionTime = 8 * time.Second
	// echoes is how many datagrams go there and back.
	echoes = 10
)

// lookup asks this machine's name servers.
func lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}

// client checks a client's configuration: each path by itself.
func (d *doctor) client(c *conf.Client) {
	d.say(fine, "key", "", "the server's clients list needs %s", c.PrivateKey.Public())
	for _, a := range c.Listen {
		d.door(a, status.Client)
	}
	sayLacks(d, c)
	var targets []netip.AddrPort
	var unknown []string // what is wrong with names
	for _, a := range c.Server.Addresses {
		host, port, _ := net.SplitHostPort(a) // conf has validated it
		if at, err := netip.ParseAddrPort(a); err == nil {
			targets = append(targets, at)
			continue
		}
		start := time.Now()
		found, err := lookup(d.ctx, host)
		if err != nil {
			unknown = append(unknown, host+": "+status.Explain(err.Error()))
			continue
		}
		d.say(fine, "server name", "", "%s is %v, answered in %d ms", host, found, time.Since(start).Milliseconds())
		for _, f := range found {
			if at, err := netip.ParseAddrPort(net.JoinHostPort(f.Unmap().String(), port)); err == nil {
				targets = append(targets, at)
			}
		}
	}
	level := broken
	if len(targets) > 0 { // another address is known
		level = doubt
	}
	for _, why := range unknown {
		d.say(level, "server name", "look at /etc/resolv.conf, or give the server's address as a number", "%s", why)
	}
	paths := c.Paths
	if len(paths) == 0 {
		paths = []conf.Path{{Name: "default"}}
	}
	if !client.CanMark(c.SocketMark()) {
		d.say(doubt, "paths", "run doctor as root", "they are not tried: this user may not give sockets the mark %d", c.SocketMark())
		return
	}
	for _, p := range paths {
		if d.ctx.Err() != nil {
			return
		}
		d.path(c, p, targets)
	}
}

// path tries a path by itself.
func (d *doctor) path(c *conf.Client, p conf.Path, targets []netip.AddrPort) {
	if _, err := netip.ParseAddr(p.Bind); err != nil && p.Bind != "" { // a pattern, or a hardware address
		name := paths.Find(p.Bind)
		if name == "" {
			d.say(broken, "path "+p.Name, remedyPlug, "there is no interface %s; there are %s", p.Bind, strings.Join(interfaces(), ", "))
			return
		}
		p.Bind = name
	}
	switch reached, elsewhere := d.reach(p, targets, c.SocketMark()); {
	case reached:
		if !d.tunnel(c, p, "the server is reached, but there is no session") {
			d.date(c, p, targets)
		}
	case elsewhere:
		d.tunnel(c, p, "there is no session")
	}
}

// remedyPlug is for what is not there.
const remedyPlug = "plug it in, or bring it up: the path is used when it is there"

// A miss is an address that was not reached.
type miss struct {
	text, remedy string
	family       bool // for the path has no address of its family
}

// reach tries TCP to the server's addresses by one path, from sockets with a mark, and says whether one answers.
// One of a family that the path does not have matters only if there is no other one;
// elsewhere says that all are: the network's translator may lead to them.
func (d *doctor) reach(p conf.Path, targets []netip.AddrPort, mark uint32) (reached, elsewhere bool) {
	check := "path " + p.Name
	var missed []miss
	for _, to := range targets {
		m := d.knock(p, to, mark)
		if m == nil {
			reached = true
			continue
		}
		missed = append(missed, *m)
	}
	elsewhere = !reached && len(missed) > 0 && !slices.ContainsFunc(missed, func(m miss) bool { return !m.family })
	for _, m := range missed {
		switch {
		case reached && m.family:
			d.say(fine, check, "", "%s, and does not have to be reached: another address of the server is", m.text)
		case elsewhere: // what the tunnel says counts
		case reached:
			d.say(doubt, check, m.remedy, "%s", m.text)
		default:
			d.say(broken, check, m.remedy, "%s", m.text)
		}
	}
	return reached, elsewhere
}

// knock tries TCP to one address, and returns what went wrong, or nil.
func (d *doctor) knock(p conf.Path, to netip.AddrPort, mark uint32) *miss {
	check := "path " + p.Name
	local, err := localOf(p.Bind, to.Addr().Unmap())
	if err != nil {
		_, none := errors.AsType[noFamilyError](err)
		return &miss{fmt.Sprintf("%s is not tried: %v", to, err), remedyPlug, none}
	}
	if words, remedy := paths.RouteTrouble(p.Bind, local, to.Addr().Unmap(), mark); words != "" {
		d.say(doubt, check, remedy, "%s", words)
	}
	start := time.Now()
	conn, err := dialerOf(p, local, mark).DialContext(d.ctx, "tcp", to.String())
	if err != nil {
		cause := status.Diagnose(err.Error())
		if !errors.Is(err, errno.Refused) { // who refuses is reached
			if h := paths.Hindrance(p, []netip.Addr{to.Addr().Unmap()}, mark); h.Says != "" && (p.Bind != "" || cause.Says == paths.Unanswered) {
				cause = h
			}
		}
		words, remedy := cause.Says, cause.Remedy
		none := false
		if strings.Contains(words, "no route") {
			remedy = "the path needs a route to the server: `ip route get " + to.Addr().String() + by(local) + "` shows what the system thinks"
			none = !local.IsValid() // the machine has none of the family, as far as can be seen
		}
		return &miss{fmt.Sprintf("%s%s: %s", to, by(local), words), remedy, none}
	}
	segment := ""
	if n := maxSegment(conn); n > 0 {
		segment = fmt.Sprintf(", segments of %d bytes", n)
	}
	conn.Close()
	d.say(fine, check, "", "TCP to %s%s in %s%s", to, by(local), amount.Millis(time.Since(start).Seconds()), segment)
	return nil
}

// dialerOf dials by a path from an address of its, from sockets with a mark.
func dialerOf(p conf.Path, local netip.Addr, mark uint32) *net.Dialer {
	dialer := &net.Dialer{Timeout: connectTime, Control: bindControl(p.Bind, mark)}
	if local.IsValid() {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(local, 0))
	}
	return dialer
}

func by(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return " from " + a.String()
}

// tunnel makes a session by one path alone, and sends datagrams and a CONNECT through it.
// failed is what to say where none comes about: then it returns false.
func (d *doctor) tunnel(c *conf.Client, p conf.Path, failed string) (works bool) {
	check := "path " + p.Name
	one := *c
	one.Mark = int(c.SocketMark()) // that of a device, too, which is none of its own
	tunnelOnly(&one)
	one.Listen, one.Users, one.StateDir = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, nil, ""
	p.Subflows, p.Backup, p.Metered, p.DailyCap, p.MonthlyCap = 1, false, false, 0, 0
	one.Paths = []conf.Path{p}
	if p.Bind == "" && len(c.Paths) == 0 {
		one.Paths = nil
	}
	half, err := client.New(&one, zerolog.Nop(), nil)
	if err != nil {
		d.say(broken, check, "", "%v", err)
		return false
	}
	ctx, stop := context.WithCancel(d.ctx)
	ended := make(chan error, 1)
	go func() { ended <- half.Run(ctx) }()
	defer func() { stop(); <-ended }()

	start := time.Now()
	var s *status.Status
	for s = half.Status(); !s.Ready; s = half.Status() {
		if time.Since(start) > sessionTime {
			cause, remedy := "no answer to the handshake", ""
			if s.Session != nil && len(s.Session.Paths) > 0 && s.Session.Paths[0].Cause != "" {
				cause, remedy = s.Session.Paths[0].Cause, s.Session.Paths[0].Remedy
			}
			d.say(broken, check, handshakeRemedy(cause, remedy, c), "%s: %s", failed, cause)
			return false
		}
		if !lull.Pause(d.ctx, 50*time.Millisecond) {
			return true // nothing is known
		}
	}
	d.say(fine, check, "", "the server proves its key and knows ours: session %s in %s", s.Session.ID, amount.Millis(time.Since(start).Seconds()))
	proxy := socksProxy{address: half.Addrs()[0].String()}
	d.echo(check, proxy)
	d.exitName(check, proxy)
	d.nat(proxy)
	if d.bursts {
		d.rate(check, proxy)
	}
	return true
}

// date compares this machine's clock with that of the web server that strangers are led to, where
// one answers at the server's addresses. Anybody on the way could answer, so it is no more
// than a hint.
func (d *doctor) date(c *conf.Client, p conf.Path, targets []netip.AddrPort) {
	for _, to := range targets {
		local, err := localOf(p.Bind, to.Addr().Unmap())
		if err != nil {
			continue
		}
		there, err := webDate(d.ctx, dialerOf(p, local, c.SocketMark()), to, c.Server.Cover.ServerName)
		if err != nil {
			continue
		}
		if off := time.Until(there); off.Abs() > clockSlack {
			side := "behind"
			if off < 0 {
				side = "ahead"
			}
			d.say(broken, "clock", "set the clock of whichever is wrong: a server with a cover takes a client whose date is more than a day off for a stranger",
				"the web server at %s says that it is %s: this machine is %s %s", to, there.Format("2 January 2006, 15:04 MST"), amount.Duration(off.Abs()), side)
		}
		return
	}
}

// handshakeRemedy is what helps against a cause, for which status has that remedy.
func handshakeRemedy(cause, remedy string, c *conf.Client) string {
	switch {
	case strings.Contains(cause, "client's key"):
		return fmt.Sprintf("the server's clients list needs %s", c.PrivateKey.Public())
	case remedy != "":
		return remedy
	}
	return "is it an mpsocks server, does its clients list have this client's key, and is its clock right?"
}

// echo sends datagrams to the server's echo port inside the tunnel and back.
func (d *doctor) echo(check string, proxy socksProxy) {
	ctx, cancel := context.WithTimeout(d.ctx, connectTime)
	defer cancel()
	a, err := proxy.associate(ctx, tunnelEcho)
	if err != nil {
		d.say(broken, check, "", "no UDP association: %v", err)
		return
	}
	defer a.Close()
	var times []time.Duration
	for i := range echoes {
		payload, match := question(tunnelEcho, i)
		if rtt, err := a.exchange(payload, time.Second, match); err == nil {
			times = append(times, rtt)
		}
	}
	switch {
	case len(times) == 0:
		d.say(broken, check, "", "no datagram comes back through the tunnel")
	case len(times) < echoes:
		d.say(doubt, check, "the path loses packets, or is very slow", "UDP: %d of %d datagrams came back; round trip %s", len(times), echoes, spread(times))
	default:
		d.say(fine, check, "", "UDP: %d of %d datagrams came back; round trip %s", len(times), echoes, spread(times))
	}
}

// exitName asks the exit for a connection to a name, which it has to resolve.
func (d *doctor) exitName(check string, proxy socksProxy) {
	ctx, cancel := context.WithTimeout(d.ctx, 2*connectTime)
	defer cancel()
	start := time.Now()
	conn, err := proxy.connect(ctx, "example.com:443")
	if err != nil {
		d.say(doubt, check, "on the server, `mpsocks doctor` says whether names and the internet work there", "the exit does not reach example.com: %v", err)
		return
	}
	conn.Close()
	d.say(fine, check, "", "the exit resolves names and reaches the internet: example.com in %s", amount.Millis(time.Since(start).Seconds()))
}

// rate says what a burst tells of the path's rate.
func (d *doctor) rate(check string, proxy socksProxy) {
	ctx, cancel := context.WithTimeout(d.ctx, connectTime)
	defer cancel()
	a, err := proxy.associate(ctx, tunnelEcho)
	if err != nil {
		return // the echo has said so
	}
	defer a.Close()
	sent, back, best := a.burst(d.ctx)
	if back == 0 {
		d.say(doubt, check, "the path loses what comes fast", "burst: nothing of %s came back", amount.Bytes(uint64(sent)))
		return
	}
	d.say(fine, check, "", "burst: at least %s both ways (%s sent, %s came back)", amount.Rate(int64(best)), amount.Bytes(uint64(sent)), amount.Bytes(uint64(back)))
}
