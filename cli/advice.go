package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"syscall"

	"github.com/mpsocks/mpsocks/mux/errno"
)

// advise adds what to do to the errors that a user can cause, unless they say that themselves. The
// text of the error itself names the address or the file already.
func advise(err error) error {
	number, system := errors.AsType[syscall.Errno](err)
	_, advised := errors.AsType[*errno.Advised](err)
	_, socket := errors.AsType[*net.OpError](err)
	switch {
	case !system || advised:
	case socket, number == errno.AddrInUse, number == errno.AddrNotAvail:
		return errno.AdviseBind(err)
	case errors.Is(err, fs.ErrPermission), number == errno.Access:
		return fmt.Errorf("%w: run as the file's owner, or as root", err)
	}
	return err
}
