package paths

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// markSocket gives a socket a mark for rules of routing; 0 is none. It takes
// CAP_NET_ADMIN.
func markSocket(raw syscall.RawConn, mark uint32) (err error) {
	if mark == 0 {
		return nil
	}
	e := raw.Control(func(fd uintptr) {
		err = os.NewSyscallError("setsockopt SO_MARK", unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(mark)))
	})
	return errors.Join(e, err)
}
