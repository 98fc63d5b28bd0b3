package server

import (
	"math"
	"runtime/debug"
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

func TestMemoryIsSaid(t *testing.T) {
	cfg := conf.DefaultServer()
	cfg.Limits.Memory = 256 << 20
	if got := Memory(cfg); !strings.Contains(got, "256 MiB") {
		t.Error(got)
	}
}

// The collector is told less than the machine has, anew with every limit, and not where
// the environment has said something else.
func TestCollectorIsToldTheLimit(t *testing.T) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(math.MaxInt64))
	told := func() int64 { return debug.SetMemoryLimit(-1) >> 20 }
	var h heap
	h.mind(256<<20, 0)
	if got := told(); got != 288 {
		t.Errorf("of 256 MiB it is told %d", got)
	}
	h.mind(32<<20, 64<<20)
	if got := told(); got != 56 {
		t.Errorf("of 32 MiB in a group of 64 it is told %d MiB", got)
	}
	h.mind(512<<20, 8<<30)
	if got := told(); got != 576 {
		t.Errorf("of 512 MiB, after a reload, it is told %d", got)
	}
	debug.SetMemoryLimit(100 << 20)
	h.mind(512<<20, 8<<30)
	if got := told(); got != 100 {
		t.Errorf("somebody else has said 100 MiB, and it is told %d", got)
	}
}
