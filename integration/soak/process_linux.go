package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// A footprint is what a process holds.
type footprint struct {
	memory int // resident, MiB
	fds    int
}

func (f footprint) String() string { return fmt.Sprintf("%d MiB, %d descriptors", f.memory, f.fds) }

func footprintOf(pid int) (f footprint) {
	proc := fmt.Sprintf("/proc/%d/", pid)
	b, err := os.ReadFile(proc + "status")
	if err != nil {
		return f
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kB, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")))
			if err == nil {
				f.memory = kB >> 10
			}
		}
	}
	fds, err := os.ReadDir(proc + "fd")
	if err == nil {
		f.fds = len(fds)
	}
	return f
}

// flat compares what a process holds at rest before and after.
func flat(before, after footprint) bool {
	// A path that was used has all its subflows for a while; what the collector keeps, it
	// gives back late.
	return after.fds <= before.fds+2*maxSubflows && after.memory <= 2*before.memory+moreMemory
}

const (
	maxSubflows = 18
	moreMemory  = 48
)
