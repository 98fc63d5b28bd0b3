//go:build linux

package load

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// CPU returns the processor time, user and system, that each process has used
// so far, in seconds. It reads the process's own clock (clock_getcpuclockid of
// POSIX), which counts nanoseconds where /proc counts hundredths of a second.
func CPU(pids []int) ([]float64, error) {
	used := make([]float64, len(pids))
	for i, pid := range pids {
		// The kernel's encoding: the complement of the number, and 2 for the
		// scheduler's exact clock.
		clock := int32(^uint32(pid)<<3 | 2)
		var t unix.Timespec
		if err := unix.ClockGettime(clock, &t); err != nil {
			return nil, fmt.Errorf("processor time of process %d: %w", pid, err)
		}
		used[i] = float64(t.Nano()) / 1e9
	}
	return used, nil
}

// since returns what was used after start.
func since(pids []int, start []float64) ([]float64, error) {
	now, err := CPU(pids)
	for i := range now {
		now[i] -= start[i]
	}
	return now, err
}

// Switches returns how often the threads of each process have been switched to another
// or to none so far (proc_pid_status).
func Switches(pids []int) ([]float64, error) {
	total := make([]float64, len(pids))
	for i, pid := range pids {
		files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
		if err != nil || len(files) == 0 {
			return nil, fmt.Errorf("process %d has no threads: %w", pid, err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				continue // the thread has ended
			}
			for line := range strings.Lines(string(text)) {
				var n float64
				if _, after, ok := strings.Cut(line, "voluntary_ctxt_switches:"); ok { // and nonvoluntary
					if _, err := fmt.Sscan(after, &n); err == nil {
						total[i] += n
					}
				}
			}
		}
	}
	return total, nil
}
