//go:build !linux

package tcpio

import "syscall"

// Inline does nothing here.
func Inline(syscall.RawConn) {}
