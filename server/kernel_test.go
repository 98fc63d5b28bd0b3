package server

import "testing"

// However many connections a client has, what the kernel may hold for them stays
// within a few shares.
func TestKernelBuffersAreShared(t *testing.T) {
	for _, most := range []int{16, 150, 1000} {
		sum := 0
		for n := 1; n <= most; n++ {
			size := kernelBuffer(n)
			if size == 0 {
				size = 6 << 20 // tcp_rmem's usual end
			}
			sum += size
		}
		if sum > 6*kernelShare {
			t.Errorf("%d connections may hold %d MiB", most, sum>>20)
		}
	}
	if kernelBuffer(1) != 0 || kernelBuffer(1<<20) != kernelLeast {
		t.Error("a single one is clamped, or many hold less than anything needs")
	}
}
