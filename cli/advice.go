package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"syscall"

	"github.com/mpsocks/mpsocks/mux/errno"
)

// advise adds what to do to the errors that a user can cause. The text of the
// error itself names the address or the file already.
func advise(err error) error {
	var number syscall.Errno
	if !errors.As(err, &number) {
		return err
	}
	switch {
	case number == errno.AddrInUse && strings.Contains(err.Error(), "has this port"):
		return fmt.Errorf("%w; stop it, or choose another port in the configuration", err)
	case number == errno.AddrInUse:
		return fmt.Errorf("%w: another program has this port; stop it, or choose another port in the configuration", err)
	case number == errno.AddrNotAvail:
		return fmt.Errorf("%w: this machine does not have the address; `mpsocks check` shows where it is used", err)
	case strings.Contains(err.Error(), "it takes root"): // and what else does
	case errors.Is(err, fs.ErrPermission), number == errno.Access:
		_, bind := errors.AsType[*net.OpError](err)
		if !bind {
			return fmt.Errorf("%w: run as the file's owner, or as root", err)
		}
		return fmt.Errorf("%w: run as root or with CAP_NET_BIND_SERVICE, or choose another port", err)
	}
	return err
}
