package routing

import (
	"fmt"
	"net/netip"
	"os/user"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/conf"
)

// Priorities of our rules: the order in which the kernel asks. Those of other programs
// that lead marked packets somewhere are mostly below, main's is above.
const (
	firstRule    = 10900
	ruleMark     = firstRule
	ruleExclude  = firstRule + 1
	ruleNames    = firstRule + 10
	ruleNear     = firstRule + 20
	ruleChosen   = firstRule + 30
	ruleMain     = firstRule + 40
	ruleAll      = firstRule + 50
	ruleEnd      = firstRule + 90
	tableChosen  = 10951 // of chosen destinations
	tableAll     = 10952 // of everything
	lastResort   = 1<<31 - 1
	namePort     = 53
	secretPort   = 853 // DNS over TLS
	deviceMetric = 1
)

// A route of our tables: to the device, or to nowhere.
type route struct {
	to      netip.Prefix
	table   int
	refused bool // unreachable; else the device's
	metric  int
}

// A plan is what one family needs.
type plan struct {
	family uint8
	local  netip.Addr // of the device; invalid = it has none
	rules  []rule     // in the order in which they may be put in: nothing is led astray before what excludes it
	routes []route
}

// Settings are what a machine's routing is made from.
type Settings struct {
	conf.TUN
	Mark uint32 // of what never goes to the device
	// Servers are left out for TCP as well: where the kernel drops answers that would not go
	// back the way they came, it asks without a mark.
	Servers []netip.Addr
	// Asking says that the server is known by a name which nobody has found yet, and that it
	// takes a resolver of this machine to find it: what asks name servers goes around.
	Asking bool
}

// plans says what both families need.
func (s *Settings) plans() ([]plan, error) {
	uids, err := users(s.Exclude)
	if err != nil {
		return nil, err
	}
	var out []plan
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		out = append(out, s.plan(family, uids))
	}
	return out, nil
}

// plan is what a family needs; without any destination there are no rules.
func (s *Settings) plan(family uint8, uids [][2]uint32) plan {
	p := plan{family: family}
	six := family == unix.AF_INET6
	for _, a := range s.Addresses {
		if a.Is6() == six {
			p.local = a
		}
	}
	everything := false
	for _, r := range s.Routes {
		if r.Addr().Is6() != six {
			continue
		}
		table := tableChosen
		if r.Bits() == 0 {
			table, everything = tableAll, true
		}
		p.lead(r, table, s.WhenDown)
	}
	if !everything && s.Everything() {
		// The other family's default would lead around.
		everything = true
		p.routes = append(p.routes, route{to: all(six), table: tableAll, refused: true, metric: deviceMetric})
	}
	if len(p.routes) == 0 {
		return p
	}
	p.rules = append(p.rules, rule{priority: ruleEnd, action: nop}, rule{priority: ruleMark, action: goTo, mark: s.Mark})
	for _, a := range s.Servers {
		if a.Is6() == six {
			p.rules = append(p.rules, rule{priority: ruleMark, action: goTo, to: netip.PrefixFrom(a, a.BitLen()), proto: unix.IPPROTO_TCP})
		}
	}
	if s.Asking {
		for _, q := range []struct {
			proto uint8
			port  uint16
		}{{unix.IPPROTO_UDP, namePort}, {unix.IPPROTO_TCP, namePort}, {unix.IPPROTO_TCP, secretPort}} {
			p.rules = append(p.rules, rule{priority: ruleMark, action: goTo, proto: q.proto, dport: conf.PortRange{From: q.port, To: q.port}})
		}
	}
	for _, e := range s.Exclude {
		p.exclude(e)
	}
	for _, u := range uids {
		p.rules = append(p.rules, rule{priority: ruleExclude, action: goTo, users: true, uids: u})
	}
	if six {
		p.rules = append(p.rules, rule{priority: ruleNear, action: goTo, to: netip.MustParsePrefix("fe80::/10")})
	} else if s.LAN {
		for _, near := range []string{"224.0.0.0/4", "255.255.255.255/32", "169.254.0.0/16"} {
			p.rules = append(p.rules, rule{priority: ruleNear, action: goTo, to: netip.MustParsePrefix(near)})
		}
	}
	p.rules = append(p.rules, rule{priority: ruleChosen, action: toTable, table: tableChosen})
	if everything {
		if s.DNS {
			for _, proto := range []uint8{unix.IPPROTO_UDP, unix.IPPROTO_TCP} {
				p.rules = append(p.rules, rule{priority: ruleNames, action: toTable, table: tableAll, proto: proto, dport: conf.PortRange{From: namePort, To: namePort}})
			}
		}
		if s.LAN {
			p.rules = append(p.rules, rule{priority: ruleMain, action: toTable, table: unix.RT_TABLE_MAIN, specific: true})
		}
		p.rules = append(p.rules, rule{priority: ruleAll, action: toTable, table: tableAll})
	}
	for i := range p.rules {
		r := &p.rules[i]
		if r.family = family; r.action == goTo {
			r.target = ruleEnd
		}
	}
	return p
}

// lead adds the routes of one destination.
func (p *plan) lead(to netip.Prefix, table int, down conf.WhenDown) {
	carried := p.local.IsValid()
	if carried {
		p.routes = append(p.routes, route{to: to, table: table, metric: deviceMetric})
	}
	if !carried || down == conf.WhenDownStop {
		p.routes = append(p.routes, route{to: to, table: table, refused: true, metric: lastResort})
	}
}

// exclude adds the rules of an exclusion; those by user are not its own.
func (p *plan) exclude(e conf.Exclusion) {
	six := p.family == unix.AF_INET6
	r := rule{priority: ruleExclude, action: goTo}
	switch {
	case e.To.IsValid() && e.To.Addr().Is6() == six:
		if r.to = e.To; r.to.Bits() == 0 { // the kernel has no such thing as a rule to everything
			r.to = netip.Prefix{}
		}
		p.rules = append(p.rules, r)
	case e.From.IsValid() && e.From.Addr().Is6() == six:
		if r.from = e.From; r.from.Bits() == 0 {
			r.from = netip.Prefix{}
		}
		p.rules = append(p.rules, r)
	case !e.Ports.IsZero() || !e.Service.IsZero():
		r.dport, r.sport = e.Ports, e.Service
		for _, proto := range []struct {
			number uint8
			name   conf.Proto
		}{{unix.IPPROTO_TCP, conf.ProtoTCP}, {unix.IPPROTO_UDP, conf.ProtoUDP}} {
			if !e.Service.IsZero() || e.Proto == proto.name || e.Proto == conf.ProtoBoth {
				r.proto = proto.number
				p.rules = append(p.rules, r)
			}
		}
	}
}

// all is every address of a family.
func all(six bool) netip.Prefix {
	if six {
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
}

// users finds the numbers of the users that are excluded.
func users(list []conf.Exclusion) (out [][2]uint32, err error) {
	for _, e := range list {
		switch {
		case e.UIDs != nil:
			out = append(out, *e.UIDs)
		case e.User != "":
			u, err := user.Lookup(e.User)
			if err != nil {
				return nil, fmt.Errorf("tun.exclude: there is no user %q here", e.User)
			}
			n, err := strconv.ParseUint(u.Uid, 10, 32)
			if err != nil {
				return nil, fmt.Errorf("tun.exclude: user %q has the ID %q", e.User, u.Uid)
			}
			out = append(out, [2]uint32{uint32(n), uint32(n)})
		}
	}
	return out, nil
}
