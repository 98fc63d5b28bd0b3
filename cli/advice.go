package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"syscall"
)

// advise adds what to do to the errors that a user can cause. The text of the
// error itself names the address or the file already.
func advise(err error) error {
	var errno syscall.Errno
	switch {
	case errors.As(err, &errno):
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w (`mpsocks init --server HOST:PORT` writes new files)", err)
	default:
		return err
	}
	switch {
	case errno == addrInUse && strings.Contains(err.Error(), "has this port"):
		return fmt.Errorf("%w; stop it, or choose another port in the configuration", err)
	case errno == addrInUse:
		return fmt.Errorf("%w: another program has this port; stop it, or choose another port in the configuration", err)
	case errno == addrNotAvail:
		return fmt.Errorf("%w: this machine does not have the address; `mpsocks check` shows where it is used", err)
	case errno == syscall.ENOENT:
		return fmt.Errorf("%w (`mpsocks init --server HOST:PORT` writes new files)", err)
	case errors.Is(err, fs.ErrPermission):
		_, bind := errors.AsType[*net.OpError](err)
		if !bind {
			return fmt.Errorf("%w: run as the file's owner, or as root", err)
		}
		return fmt.Errorf("%w: run as root or with CAP_NET_BIND_SERVICE, or choose another port", err)
	}
	return err
}
