//go:build linux && !mpsocks_portable

package client

import (
	"runtime"
	"testing"
)

// TestIdleAssociationMemory holds many associations and looks at what each
// costs this process, the application's end of the connection included. The
// portable Loop has a goroutine and a Buffer for each socket, which is more.
func TestIdleAssociationMemory(t *testing.T) {
	if raceEnabled || testing.Short() {
		t.Skip("needs many descriptors and an honest heap")
	}
	const n, bar = 1000, 8 << 10
	c := start(t, &fakeTunnel{}, nil)
	before := memory()
	for range n {
		associated(t, c, anywhere)
	}
	eventually(t, "handshakes have ended", func() bool { in, _ := c.crowd.Lobby.State(); return in == 0 })
	each := (memory() - before) / n
	t.Logf("%d bytes per idle association", each)
	if each > bar {
		t.Errorf("%d bytes per idle association, want at most %d", each, bar)
	}
}

func memory() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // pools give up their contents at the second
	runtime.ReadMemStats(&m)
	return int(m.HeapInuse + m.StackInuse)
}
