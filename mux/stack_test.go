package mux

import (
	"runtime"
	"runtime/debug"
	"testing"
	"unsafe"
)

//go:noinline
func deep(i int) byte {
	var b [stackOf - 1<<10]byte
	return b[i]
}

// TestStackIsDeep: what a goroutine has on its stack is not moved any more.
func TestStackIsDeep(t *testing.T) {
	runtime.GC() // which makes stacks smaller
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	moved := make(chan bool)
	for range 100 {
		go func() {
			deepen(0)
			var here byte
			before := uintptr(unsafe.Pointer(&here))
			deep(0)
			moved <- uintptr(unsafe.Pointer(&here)) != before
		}()
		if <-moved {
			t.Fatal("it has grown")
		}
	}
}
