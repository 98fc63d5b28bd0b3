package engine

import (
	"fmt"
	"net/netip"

	"github.com/mpsocks/mpsocks/mux/fq"
)

// Mode is the policy for all flows that no rule names.
type Mode uint8

// The modes of the configuration.
const (
	ModeAuto      Mode = iota // classes by behaviour
	ModeAggregate             // every flow is bulk or ordered, no copies
	ModeRedundant             // every packet on two paths while they have room
	ModeLatency               // every packet on the subflow where it arrives first, no copies
)

// A policy is what is decided of a mode: all of it, in one row.
type policy struct {
	name      string
	pinned    bool // every flow is of class latency, whatever it does, unless a rule says otherwise
	aggregate bool // small flows are bulk as well
	nearest   bool // bulk goes where it arrives first
	budgeted  bool // small flows have copies while there is room
	always    bool // everything has one copy
}

var policies = [...]policy{
	ModeAuto:      {name: "auto", budgeted: true},
	ModeAggregate: {name: "aggregate", aggregate: true},
	ModeRedundant: {name: "redundant", always: true},
	ModeLatency:   {name: "latency", pinned: true, nearest: true},
}

// policy returns the row of the mode.
func (m Mode) policy() *policy { return &policies[m] }

func (m Mode) String() string { return policies[m].name }

// ParseMode returns the mode of that name.
func ParseMode(name string) (Mode, error) {
	names := ""
	for i := range policies {
		if policies[i].name == name {
			return Mode(i), nil
		}
		names += ", " + policies[i].name
	}
	return 0, fmt.Errorf("mode %q is none of %s", name, names[2:])
}

// Source says whom packets are from, for rules and for the "why" of a flow.
// One association owns it; the session keeps the flow it used last in it.
type Source struct {
	User string

	last *fq.Flow
}

// Rule overrides the class of the flows it matches; the first match wins.
// Empty fields match everything.
type Rule struct {
	User  string
	To    netip.Prefix
	Ports [2]uint16 // first and last; 0, 0 = any
	DSCP  int       // -1 = any
	Class fq.Class
}

// match judges a new flow. remote and port are the far end's: the destination
// on the client, the source on the server.
func (r *Rule) match(user string, remote [16]byte, port uint16, tos uint8) bool {
	if r.User != "" && r.User != user {
		return false
	}
	if r.To.IsValid() && !r.To.Contains(netip.AddrFrom16(remote).Unmap()) {
		return false
	}
	if r.Ports[1] != 0 && (port < r.Ports[0] || port > r.Ports[1]) {
		return false
	}
	return r.DSCP < 0 || int(tos>>2) == r.DSCP
}

// Ruled returns the class that the first rule which matches gives to what user exchanges
// with a far end.
func Ruled(rules []Rule, user string, remote [16]byte, port uint16, tos uint8) (fq.Class, bool) {
	for i := range rules {
		if r := &rules[i]; r.match(user, remote, port, tos) {
			return r.Class, true
		}
	}
	return 0, false
}
