//go:build unix

package gate

import (
	"math"
	"syscall"
)

// Files is how many files this process may open, of which whoever connects gets a share; Go
// has raised the soft limit to the hard one. 0 = as many as it likes.
func Files() int {
	var r syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r) != nil || uint64(r.Cur) > math.MaxInt32 {
		return 0
	}
	return int(r.Cur)
}
