package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// What Linux says of a process.

func (p *process) proc(file string) string {
	return fmt.Sprintf("/proc/%d/%s", p.cmd.Process.Pid, file)
}

// rss is its memory, bytes.
func (p *process) rss() int64 {
	b, _ := os.ReadFile(p.proc("status"))
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return n << 10
		}
	}
	return 0
}

// cpu is the processor time that it has had.
func (p *process) cpu() time.Duration { return cpuOf(p.proc("stat")) }

// cpuOf reads the times of a stat file (proc(5)), in hundredths of a second.
func cpuOf(file string) time.Duration {
	b, _ := os.ReadFile(file)
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// descriptors is how many it has open.
func (p *process) descriptors() int {
	fds, _ := os.ReadDir(p.proc("fd"))
	return len(fds)
}

// state is memory and descriptors.
func (p *process) state() string {
	return fmt.Sprintf("%d MiB, %d descriptors", p.rss()>>20, p.descriptors())
}

// peak follows the memory of a process until stop, which returns the most.
func (p *process) peak() (stop func() int64) {
	var most atomic.Int64
	end, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			most.Store(max(most.Load(), p.rss()))
			select {
			case <-end:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	return func() int64 { close(end); <-done; return most.Load() }
}

// machineLoad is the load average of the last minute.
func machineLoad() string {
	b, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(b), " ")
	return first
}
