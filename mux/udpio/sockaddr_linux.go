//go:build linux && !mpsocks_portable

package udpio

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/mux/zones"
)

// A sockaddr is room for a kernel socket address of either family.
type sockaddr = unix.RawSockaddrInet6

// addrPort reads a socket address that the kernel wrote. IPv4-mapped
// addresses come out as IPv4.
func addrPort(sa *sockaddr, z *zones.Memory) netip.AddrPort {
	switch sa.Family {
	case unix.AF_INET:
		sa4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(sa4.Addr), bigEndian(&sa4.Port))
	case unix.AF_INET6:
		a := netip.AddrFrom16(sa.Addr)
		if sa.Scope_id != 0 && a.Is6() {
			a = a.WithZone(z.Name(sa.Scope_id))
		}
		return netip.AddrPortFrom(a.Unmap(), bigEndian(&sa.Port))
	}
	return netip.AddrPort{}
}

// putSockaddr writes ap for a socket of the given family and returns the
// length of the socket address, 0 if such a socket cannot reach ap.
func putSockaddr(sa *sockaddr, ap netip.AddrPort, v6 bool, z *zones.Memory) uint32 {
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
	sa.Scope_id = z.Index(a.Zone())
	putBigEndian(&sa.Port, ap.Port())
	return unix.SizeofSockaddrInet6
}

func bigEndian(port *uint16) uint16 {
	return binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(port))[:])
}

func putBigEndian(port *uint16, v uint16) {
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(port))[:], v)
}
