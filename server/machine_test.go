package server

import (
	"strings"
	"testing"

	"github.com/mpsocks/mpsocks/conf"
)

func TestDescriptorsLeaveAReserve(t *testing.T) {
	for _, files := range []int{64, 128, 1024, 65536, 1 << 20} {
		all, each := descriptors(files)
		if rest := files - all; rest < reserveLeast || rest > reserveMost {
			t.Errorf("of %d files %d are for sockets: %d are left", files, all, rest)
		}
		if each > all/2 {
			t.Errorf("of %d sockets one client may have %d", all, each)
		}
	}
	if all, each := descriptors(0); all != 0 || each != 0 {
		t.Errorf("without a limit: %d, %d", all, each)
	}
}

// One client cannot take what another needs.
func TestSocketsOfAClientAreItsShare(t *testing.T) {
	var all, one, other quota
	all.max.Store(10)
	one.max.Store(5)
	other.max.Store(5)
	greedy, honest := &peer{sockets: pair{&one, &all}}, &peer{sockets: pair{&other, &all}}
	n := 0
	for greedy.sockets.take() {
		n++
	}
	if n != 5 || !honest.sockets.take() {
		t.Errorf("the greedy one has %d of 10, and the honest one gets none", n)
	}
	greedy.sockets.give()
	if !greedy.sockets.take() || greedy.sockets.take() {
		t.Error("what was given back cannot be had, or more than that")
	}
}

func TestMemoryIsSaid(t *testing.T) {
	cfg := conf.DefaultServer()
	if got := Memory(cfg); !strings.Contains(got, "a quarter of this machine's") {
		t.Error(got)
	}
	cfg.Limits.Memory = 256 << 20
	if got := Memory(cfg); !strings.Contains(got, "256 MiB") {
		t.Error(got)
	}
	if n := machineMemory(); n < 0 || n > 0 && n < 16<<20 {
		t.Errorf("the machine has %d bytes", n)
	}
}
