//go:build !linux

package paths

import (
	"errors"
	"syscall"
)

// markSocket is not here: marks are Linux's.
func markSocket(_ syscall.RawConn, mark uint32) error {
	if mark == 0 {
		return nil
	}
	return errors.ErrUnsupported
}
