// Package zones has the numbers and the names of IPv6 addresses' zones (RFC 4007, Section 11): of an
// address that is a link's, the interface by which it is meant.
package zones

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
)

// Index is the number of a zone, which is an interface's name or its number; that of "" is 0. It
// fails for what is neither.
func Index(name string) (uint32, error) {
	if name == "" {
		return 0, nil
	}
	i, err := net.InterfaceByName(name)
	if err == nil {
		return uint32(i.Index), nil
	}
	if n, nan := strconv.ParseUint(name, 10, 32); nan == nil {
		return uint32(n), nil
	}
	return 0, fmt.Errorf("zone %s: %w", name, err)
}

// Name is the name of the interface with that number, or the number itself where there is none; that
// of 0 is "".
func Name(index uint32) string {
	if index == 0 {
		return ""
	}
	if i, err := net.InterfaceByIndex(int(index)); err == nil {
		return i.Name
	}
	return strconv.FormatUint(uint64(index), 10)
}

// Named is the address with an interface's name for its zone, as Name writes it, whoever has written
// it before.
func Named(a netip.Addr) netip.Addr {
	if index, err := Index(a.Zone()); err == nil && index != 0 {
		return a.WithZone(Name(index))
	}
	return a
}

// A Memory knows the zones that were last asked for, because to ask the system for one takes several
// calls. It belongs to one goroutine. It has four: few hosts have more links with peers of theirs.
type Memory struct {
	known [4]known
	next  int
}

// known is a zone that was asked for.
type known struct {
	index uint32
	name  string
	own   bool // it is what Name says: one interface may be asked for by several names
}

// Name is as the function.
func (m *Memory) Name(index uint32) string {
	for i := range m.known {
		if k := &m.known[i]; k.own && k.index == index {
			return k.name
		}
	}
	name := Name(index)
	m.keep(known{index, name, true})
	return name
}

// Index is as the function, and 0 where that fails.
func (m *Memory) Index(name string) uint32 {
	for i := range m.known {
		if m.known[i].name == name {
			return m.known[i].index
		}
	}
	index, err := Index(name)
	if err == nil && index != 0 {
		m.keep(known{index, name, false})
	}
	return index
}

// Forget has the system asked again: an interface may have been replaced.
func (m *Memory) Forget() { *m = Memory{} }

func (m *Memory) keep(k known) {
	m.known[m.next] = k
	m.next = (m.next + 1) % len(m.known)
}
