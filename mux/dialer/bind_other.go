//go:build !linux && !darwin && !windows

package dialer

import (
	"errors"
	"syscall"
)

var errNoInterface = errors.New("binding to an interface by name is not known here; give its address instead")

func bindInterface(syscall.RawConn, string, string) error { return errNoInterface }

// bindLater is not here: bind chooses the port.
func bindLater(syscall.RawConn) {}

// clamp is not here: a path that loses large packets is not found out.
func clamp(syscall.RawConn, int) {}

func setMark(syscall.RawConn, uint32) error { return errors.ErrUnsupported }
