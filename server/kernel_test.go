package server

import (
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/conf"
)

// The sizes of the buffers of all connections of a client stay within a few shares.
func TestKernelBufferSizes(t *testing.T) {
	for _, memory := range []int64{32 << 20, 256 << 20, 8 << 30} {
		share := int(kernelShare(memory))
		for _, most := range []int{2, 16, 150, 1000} {
			sum := 0
			for n := 1; n <= most; n++ {
				size := kernelBuffer(share, n)
				if size == 0 {
					size = 6 << 20 // tcp_rmem's usual end
				}
				sum += size
			}
			if least := most * kernelLeast; sum > 5*share+least {
				t.Errorf("of %d MiB %d connections may hold %d MiB", memory>>20, most, sum>>20)
			}
		}
	}
	if kernelBuffer(kernelMost, 1) != 0 || kernelBuffer(kernelMost, 1<<20) != kernelLeast {
		t.Error("a single one is clamped, or many hold less than anything needs")
	}
}

// Applications that do not read hold little of the kernel's memory, and the session is
// charged with what they hold.
func TestUnreadConnectsAreClampedAndCharged(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the kernel tells what it holds on Linux only")
	}
	s := testServer(t, func(c *conf.Server) { c.Limits.Memory = 32 << 20 }, nil)
	f := newFakeSession()
	p := newPeer(s, "laptop", f)
	target, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	go func() { // says more than anybody holds, to everybody
		for {
			c, err := target.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_ = c.SetWriteDeadline(time.Now().Add(30 * time.Second))
				_, _ = c.Write(make([]byte, 32<<20))
			}()
		}
	}()
	const streams = 20
	for range streams {
		connectTo(t, p, target, "")
	}
	share := int(kernelShare(32 << 20))
	held, still := int64(0), 0
	eventually(t, "it is full", func() bool { // nothing more comes
		was := held
		held = 0
		s.exits.mu.Lock()
		for _, e := range s.exits.all {
			if c := e.conn(); c != nil {
				held += kernelHolds(c)
			}
		}
		s.exits.mu.Unlock()
		if still++; held == 0 || held != was {
			still = 0
		}
		time.Sleep(10 * time.Millisecond)
		return still > 20
	})
	if most := int64(6*share + 2*streams*kernelLeast); held > most {
		t.Errorf("%d streams hold %d KiB in the kernel, of a share of %d KiB", streams, held>>10, share>>10)
	}
	eventually(t, "the session is charged with it", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.beside >= held/2+streams*exitMemory // the kernel may give a little back
	})
}
