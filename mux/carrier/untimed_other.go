//go:build !linux

package carrier

import "syscall"

// Untimed does nothing here.
func Untimed(syscall.RawConn) {}

func deferSilent(syscall.RawConn) {}

func keepAlive(syscall.RawConn) {}
