package dialer

import (
	"errors"
	"net"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// bindInterface makes a socket use one interface.
func bindInterface(raw syscall.RawConn, network, name string) error {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	level, option := unix.IPPROTO_IP, unix.IP_BOUND_IF
	if strings.HasSuffix(network, "6") {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_BOUND_IF
	}
	if e := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), level, option, i.Index) }); e != nil {
		return e
	}
	return err
}

// bindLater is not here: bind chooses the port.
func bindLater(syscall.RawConn) {}

// clamp is not here: a path that loses large packets is not found out.
func clamp(syscall.RawConn, int) {}

func setMark(syscall.RawConn, uint32) error { return errors.ErrUnsupported }
