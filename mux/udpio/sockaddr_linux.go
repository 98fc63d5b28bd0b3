//go:build linux && !mpsocks_portable

package udpio

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A sockaddr is room for a kernel socket address of either family.
type sockaddr = unix.RawSockaddrInet6

// addrPort reads a socket address that the kernel wrote. IPv4-mapped
// addresses come out as IPv4.
func addrPort(sa *sockaddr, z *zones) netip.AddrPort {
	switch sa.Family {
	case unix.AF_INET:
		sa4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(sa4.Addr), bigEndian(&sa4.Port))
	case unix.AF_INET6:
		a := netip.AddrFrom16(sa.Addr)
		if sa.Scope_id != 0 && a.Is6() {
			a = a.WithZone(z.name(sa.Scope_id))
		}
		return netip.AddrPortFrom(a.Unmap(), bigEndian(&sa.Port))
	}
	return netip.AddrPort{}
}

// putSockaddr writes ap for a socket of the given family and returns the
// length of the socket address, 0 if such a socket cannot reach ap.
func putSockaddr(sa *sockaddr, ap netip.AddrPort, v6 bool, z *zones) uint32 {
	a := ap.Addr()
	if a.Is4In6() {
		a = a.Unmap()
	}
	if a.Is4() {
		if v6 {
			return 0
		}
		sa4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		sa4.Family = unix.AF_INET
		sa4.Addr = a.As4()
		putBigEndian(&sa4.Port, ap.Port())
		return unix.SizeofSockaddrInet4
	}
	if !v6 || !a.IsValid() {
		return 0
	}
	sa.Family = unix.AF_INET6
	sa.Addr = a.As16()
	sa.Flowinfo = 0
	sa.Scope_id = 0
	if zone := a.Zone(); zone != "" {
		sa.Scope_id = z.index(zone)
	}
	putBigEndian(&sa.Port, ap.Port())
	return unix.SizeofSockaddrInet6
}

func bigEndian(port *uint16) uint16 {
	return binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(port))[:])
}

func putBigEndian(port *uint16, v uint16) {
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(port))[:], v)
}

// zones remembers the interfaces that link-local peers were last seen on,
// because asking the system for one costs several calls. It belongs to one
// goroutine. Four entries: few hosts serve more links with link-local peers.
type zones struct {
	entries [4]struct {
		index uint32
		name  string
	}
	next int
}

// name returns the name of the interface with an index; the decimal index if
// there is none.
func (z *zones) name(index uint32) string {
	for i := range z.entries {
		if z.entries[i].index == index {
			return z.entries[i].name
		}
	}
	name := strconv.FormatUint(uint64(index), 10)
	if ifi, err := net.InterfaceByIndex(int(index)); err == nil {
		name = ifi.Name
	}
	z.put(index, name)
	return name
}

// index is the inverse of name; 0 if there is no such interface.
func (z *zones) index(name string) uint32 {
	for i := range z.entries {
		if z.entries[i].name == name {
			return z.entries[i].index
		}
	}
	var index uint32
	if ifi, err := net.InterfaceByName(name); err == nil {
		index = uint32(ifi.Index)
	} else if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		index = uint32(n)
	}
	if index != 0 {
		z.put(index, name)
	}
	return index
}

// forget makes the next lookups ask the system again; a Writer calls it when
// the kernel refused a destination, whose interface may have been replaced.
func (z *zones) forget() { *z = zones{} }

func (z *zones) put(index uint32, name string) {
	e := &z.entries[z.next]
	e.index, e.name = index, name
	z.next = (z.next + 1) % len(z.entries)
}
