//go:build unix

package client

import (
	"math"

	"golang.org/x/sys/unix"
)

// descriptorLimit is how many descriptors the process may have; 0 is no limit.
// Go has raised it to the hard limit.
func descriptorLimit() int64 {
	var r unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &r) != nil || uint64(r.Cur) > math.MaxInt32 {
		return 0
	}
	return int64(r.Cur)
}
