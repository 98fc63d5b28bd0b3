package routing

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/conf"
)

// protocol marks rules and routes as ours (FRA_PROTOCOL, rtm_protocol).
const protocol = 109

// A rule is one of the kernel's policy rules, as far as we use them. It is comparable.
type rule struct {
	family   uint8
	priority uint32
	action   uint8  // FR_ACT_…
	table    uint32 // for FR_ACT_TO_TBL
	target   uint32 // for FR_ACT_GOTO: a priority
	mark     uint32 // 0 = any
	to, from netip.Prefix
	proto    uint8 // of IP; 0 = any
	sport    conf.PortRange
	dport    conf.PortRange
	users    bool // uids holds
	uids     [2]uint32
	specific bool // the table's default routes do not count
}

// What the kernel calls what a rule does (linux/fib_rules.h).
const (
	toTable = 1
	goTo    = 2
	nop     = 3
)

// request is a rule in a message.
func (r *rule) request(kind, flags int) *nl.NetlinkRequest {
	e := binary.NativeEndian
	u32 := func(v uint32) []byte { return e.AppendUint32(nil, v) }
	msg := nl.NewRtMsg() // has the form of a fib_rule_hdr
	msg.Family, msg.Protocol, msg.Scope, msg.Type, msg.Flags = r.family, 0, 0, r.action, 0
	msg.Table = 0
	attrs := []*nl.RtAttr{
		nl.NewRtAttr(unix.FRA_PRIORITY, u32(r.priority)),
		nl.NewRtAttr(unix.FRA_PROTOCOL, []byte{protocol}),
	}
	if r.to.IsValid() {
		msg.Dst_len = uint8(r.to.Bits())
		attrs = append(attrs, nl.NewRtAttr(unix.FRA_DST, r.to.Addr().AsSlice()))
	}
	if r.from.IsValid() {
		msg.Src_len = uint8(r.from.Bits())
		attrs = append(attrs, nl.NewRtAttr(unix.FRA_SRC, r.from.Addr().AsSlice()))
	}
	if r.action == toTable {
		attrs = append(attrs, nl.NewRtAttr(unix.FRA_TABLE, u32(r.table)))
	}
	if r.action == goTo {
		attrs = append(attrs, nl.NewRtAttr(unix.FRA_GOTO, u32(r.target)))
	}
	if r.mark != 0 {
		attrs = append(attrs, nl.NewRtAttr(unix.FRA_FWMARK, u32(r.mark)), nl.NewRtAttr(unix.FRA_FWMASK, u32(0xFFFFFFFF)))
	}
	if r.proto != 0 {
		attrs = append(attrs, nl.NewRtAttr(unix.FRA_IP_PROTO, []byte{r.proto}))
	}
	ports := func(kind int, p conf.PortRange) {
		if !p.IsZero() {
			attrs = append(attrs, nl.NewRtAttr(kind, e.AppendUint16(e.AppendUint16(nil, p.From), p.To)))
		}
	}
	ports(unix.FRA_SPORT_RANGE, r.sport)
	ports(unix.FRA_DPORT_RANGE, r.dport)
	if r.users {
		attrs = append(attrs, nl.NewRtAttr(unix.FRA_UID_RANGE, append(u32(r.uids[0]), u32(r.uids[1])...)))
	}
	if r.specific {
		attrs = append(attrs, nl.NewRtAttr(unix.FRA_SUPPRESS_PREFIXLEN, u32(0)))
	}
	req := nl.NewNetlinkRequest(kind, flags|unix.NLM_F_ACK)
	req.AddData(msg)
	for _, a := range attrs {
		req.AddData(a)
	}
	return req
}

// add puts the rule into the kernel; it may be there already.
func (r *rule) add() error {
	_, err := r.request(unix.RTM_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_EXCL).Execute(unix.NETLINK_ROUTE, 0)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	if r.users && errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("tun.exclude: users %d to %d are unknown in this user namespace", r.uids[0], r.uids[1])
	}
	if err != nil {
		return fmt.Errorf("rule of routing at priority %d: %w", r.priority, err)
	}
	return nil
}

// remove takes the rule out of the kernel; it may be gone already.
func (r *rule) remove() error {
	_, err := r.request(unix.RTM_DELRULE, 0).Execute(unix.NETLINK_ROUTE, 0)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return fmt.Errorf("remove a rule of routing: %w", err)
}

// ownRules lists the rules of a family that are ours, the first first.
func ownRules(family uint8) ([]rule, error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETRULE, unix.NLM_F_DUMP)
	req.AddData(nl.NewIfInfomsg(int(family)))
	msgs, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWRULE)
	if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil // a kernel without this family
	}
	if err != nil {
		return nil, fmt.Errorf("list the rules of routing: %w", err)
	}
	var out []rule
	for _, m := range msgs {
		if r, ours := parseRule(m); ours && r.family == family {
			out = append(out, r)
		}
	}
	return out, nil
}

// parseRule reads a rule as the kernel tells it, and says whether it is ours.
func parseRule(m []byte) (r rule, ours bool) {
	if len(m) < unix.SizeofRtMsg {
		return r, false
	}
	r.family, r.action = m[0], m[7]
	to, from := int(m[1]), int(m[2])
	e := binary.NativeEndian
	for b := m[unix.SizeofRtMsg:]; len(b) >= unix.SizeofRtAttr; {
		size := int(e.Uint16(b))
		if size < unix.SizeofRtAttr || size > len(b) {
			return r, false
		}
		kind, v := e.Uint16(b[2:]), b[unix.SizeofRtAttr:size]
		b = b[min((size+3)&^3, len(b)):]
		u32 := uint32(0)
		if len(v) >= 4 {
			u32 = e.Uint32(v)
		}
		switch kind {
		case unix.FRA_PROTOCOL:
			ours = len(v) == 1 && v[0] == protocol
		case unix.FRA_PRIORITY:
			r.priority = u32
		case unix.FRA_TABLE:
			if r.action == toTable {
				r.table = u32
			}
		case unix.FRA_GOTO:
			r.target = u32
		case unix.FRA_FWMARK:
			r.mark = u32
		case unix.FRA_DST:
			if a, ok := netip.AddrFromSlice(v); ok {
				r.to = netip.PrefixFrom(a, to)
			}
		case unix.FRA_SRC:
			if a, ok := netip.AddrFromSlice(v); ok {
				r.from = netip.PrefixFrom(a, from)
			}
		case unix.FRA_IP_PROTO:
			if len(v) > 0 {
				r.proto = v[0]
			}
		case unix.FRA_SPORT_RANGE:
			if len(v) >= 4 {
				r.sport = conf.PortRange{From: e.Uint16(v), To: e.Uint16(v[2:])}
			}
		case unix.FRA_DPORT_RANGE:
			if len(v) >= 4 {
				r.dport = conf.PortRange{From: e.Uint16(v), To: e.Uint16(v[2:])}
			}
		case unix.FRA_UID_RANGE:
			if len(v) >= 8 {
				r.users, r.uids = true, [2]uint32{u32, e.Uint32(v[4:])}
			}
		case unix.FRA_SUPPRESS_PREFIXLEN:
			r.specific = u32 == 0 && len(v) >= 4
		}
	}
	return r, ours
}
