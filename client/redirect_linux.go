package client

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// makeTransparent has a listening socket take connections to addresses that are not
// this machine's, and the accepted ones have the mark.
var makeTransparent = func(raw syscall.RawConn, v6 bool, mark uint32) error {
	var err error
	set := func(fd uintptr) {
		if v6 {
			err = os.NewSyscallError("setsockopt IPV6_TRANSPARENT", unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_TRANSPARENT, 1))
		} else {
			err = os.NewSyscallError("setsockopt IP_TRANSPARENT", unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TRANSPARENT, 1))
		}
		if err == nil && mark != 0 {
			err = os.NewSyscallError("setsockopt SO_MARK", unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(mark)))
		}
	}
	return errors.Join(raw.Control(set), err)
}
