package netlab

import (
	"fmt"
	"os"
	"runtime"
	"time"
)

// Busy is the share of the processors of which others have so much that what is slow meanwhile says nothing.
const Busy = 0.2

// Others counts from now on what others than those whose processor time own says use; share is their part of all
// processors since then, 0 where nobody says.
func Others(own func() time.Duration) (share func() float64) {
	all, mine, start := machineCPU(), own(), time.Now()
	return func() float64 {
		others := machineCPU() - all
		if others == 0 {
			return 0
		}
		others -= own() - mine
		return others.Seconds() / time.Since(start).Seconds() / float64(runtime.NumCPU())
	}
}

// machineCPU is the time that all processors have worked so far, or were taken by the host; zero where nobody says.
func machineCPU() time.Duration {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	var user, nice, system, idle, iowait, irq, softirq, steal int64
	fmt.Sscanf(string(b), "cpu %d %d %d %d %d %d %d %d", &user, &nice, &system, &idle, &iowait, &irq, &softirq, &steal)
	return time.Duration(user+nice+system+irq+softirq+steal) * 10 * time.Millisecond
}
