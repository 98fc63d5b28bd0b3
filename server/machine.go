package server

import (
	"fmt"
	"runtime/debug"

	"github.com/mpsocks/mpsocks/conf"
)

// What the machine has, and how much of it the limits may promise.

const (
	// memoryShare is which part of the machine's memory limits.memory: auto is.
	memoryShare = 4
	// memoryUnknown stands for a machine that does not tell.
	memoryUnknown = 2 << 30
	// reserveLeast and reserveMost bound the descriptors that are kept for accepting
	// clients, for control and for names: a quarter of all between these.
	reserveLeast = 24
	reserveMost  = 4096
)

// memoryLimit is what limits.memory means here, bytes.
func memoryLimit(set int64) int64 {
	if set > 0 {
		return set
	}
	n := machineMemory()
	if n <= 0 {
		n = memoryUnknown
	}
	return n / memoryShare
}

// Memory says in words what limits.memory means on this machine.
func Memory(cfg *conf.Server) string {
	n := memoryLimit(int64(cfg.Limits.Memory))
	how := "set"
	if cfg.Limits.Memory == 0 {
		how = "a quarter of this machine's"
	}
	return fmt.Sprintf("%d MiB for what sessions hold (%s), a client a quarter of it", n>>20, how)
}

// mindMemory has the collector work harder before the process is much larger than
// what it may hold, unless the environment (GOMEMLIMIT) says something else.
func mindMemory(limit int64) {
	if old := debug.SetMemoryLimit(-1); old > 1<<60 {
		debug.SetMemoryLimit(limit + limit/8 + max(0, 64<<20-limit/4)) // the program itself needs some
	}
}

// descriptors returns how many sockets mappings and CONNECTs may have in all and for
// one client, given how many files the process may open (0 = nobody knows).
func descriptors(files int) (all, each int) {
	if files <= 0 {
		return 0, 0
	}
	all = max(files-min(max(files/4, reserveLeast), reserveMost), 8)
	return all, max(all/2, 4)
}

// Fits says, in words, which limits the process cannot keep: it may not open as many
// files.
func Fits(cfg *conf.Server) (warnings []string) {
	files := openFiles()
	all, each := descriptors(files)
	l := &cfg.Limits
	if all > 0 && l.Mappings+l.Streams > all {
		warnings = append(warnings, fmt.Sprintf(
			"limits.mappings and limits.streams are %d sockets, and this process may open %d files: %d in all, %d for one client, are used (ulimit -n, LimitNOFILE=)",
			l.Mappings+l.Streams, files, all, each))
	}
	return warnings
}
