//go:build unix

package server

import (
	"math"
	"syscall"
)

// openFiles is how many files the process may open; Go has raised the soft limit to
// the hard one. 0 = as many as it likes.
func openFiles() int {
	var r syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r) != nil || uint64(r.Cur) > math.MaxInt32 {
		return 0
	}
	return int(r.Cur)
}
