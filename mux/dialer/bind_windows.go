package dialer

import (
	"errors"
	"math/bits"
	"net"
	"strings"
	"syscall"

	"golang.org/x/sys/windows"
)

// IP_UNICAST_IF and IPV6_UNICAST_IF (ws2ipdef.h) have one number.
const unicastInterface = 31

// bindInterface makes a socket use one interface.
func bindInterface(raw syscall.RawConn, network, name string) error {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	// Of IPv4 the index is in network byte order, of IPv6 in the machine's: Windows runs
	// on little-endian ones only.
	level, index := windows.IPPROTO_IP, bits.ReverseBytes32(uint32(i.Index))
	if strings.HasSuffix(network, "6") {
		level, index = windows.IPPROTO_IPV6, uint32(i.Index)
	}
	if e := raw.Control(func(fd uintptr) {
		err = windows.SetsockoptInt(windows.Handle(fd), level, unicastInterface, int(int32(index)))
	}); e != nil {
		return e
	}
	return err
}

// bindLater is not here: bind chooses the port.
func bindLater(syscall.RawConn) {}

// clamp is not here: a path that loses large packets is not found out.
func clamp(syscall.RawConn, int) {}

func setMark(syscall.RawConn, uint32) error { return errors.ErrUnsupported }
