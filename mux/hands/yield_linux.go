package hands

import "golang.org/x/sys/unix"

// Yield lets others that wait for this processor have it (sched_yield(2)), and costs next to
// nothing where none do. It skips the scheduler's bookkeeping of calls that wait, which would
// wake another thread of this process to go on with its work.
func Yield() { unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) } //nolint:errcheck // it has none
