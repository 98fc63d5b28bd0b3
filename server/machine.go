package server

import (
	"fmt"
	"math"
	"runtime/debug"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/gate"
)

// What the machine has, and how much of it the limits may promise.

const (
	// memoryShare is which part of the machine's memory limits.memory: auto is.
	memoryShare = 4
	// memoryUnknown stands for a machine that does not tell.
	memoryUnknown = 2 << 30
	// memoryLeast is what it is at least, as far as half of the machine's goes: with less
	// one client's part is too small for a few downloads.
	memoryLeast = 32 << 20
	// reserveLeast and reserveMost bound the descriptors that are kept for accepting
	// clients, for control and for names: a quarter of all between these.
	reserveLeast = 24
	reserveMost  = 4096
)

// memoryLimit is what limits.memory means here, bytes.
func memoryLimit(set int64) int64 {
	n, _ := memoryOf(set)
	return n
}

// memoryOf is the same, and how it comes about.
func memoryOf(set int64) (n int64, how string) {
	if set > 0 {
		return set, "set"
	}
	n, whose := machineMemory()
	if n <= 0 {
		return memoryUnknown / memoryShare, "this machine does not say how much it has"
	}
	if n < memoryShare*memoryLeast {
		return min(n/2, memoryLeast), fmt.Sprintf("of %s %d MiB", whose, n>>20)
	}
	return n / memoryShare, "a quarter of " + whose
}

// Memory says in words what limits.memory means on this machine.
func Memory(cfg *conf.Server) string {
	n, how := memoryOf(int64(cfg.Limits.Memory))
	return fmt.Sprintf("%d MiB for what sessions hold (%s), a client a quarter of it", n>>20, how)
}

// A heap is what the collector of the language is told. Whoever uses it makes its calls
// one after the other.
type heap struct{ told int64 }

// mind has the collector work harder before the process is much larger than what it may
// hold, or than what the machine lets it have, unless the environment (GOMEMLIMIT) says
// something else.
func (h *heap) mind(limit, machine int64) {
	if old := debug.SetMemoryLimit(-1); old != h.told && old < math.MaxInt64 {
		return
	}
	h.told = limit + limit/8 + max(0, 64<<20-limit/4) // the program itself needs some
	if machine > 0 {
		h.told = min(h.told, machine-machine/8)
	}
	debug.SetMemoryLimit(h.told)
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
	files := gate.Files()
	all, each := descriptors(files)
	l := &cfg.Limits
	if all > 0 && l.Mappings+l.Streams > all {
		warnings = append(warnings, fmt.Sprintf(
			"limits.mappings and limits.streams are %d sockets, and this process may open %d files: %d in all, %d for one client, are used (ulimit -n, LimitNOFILE=)",
			l.Mappings+l.Streams, files, all, each))
	}
	return warnings
}
