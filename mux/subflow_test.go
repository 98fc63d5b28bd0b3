package mux

import (
	"testing"

	"github.com/mpsocks/mpsocks/mux/buf"
)

// A Data ACK for what was sent again on another subflow frees the marks of the
// stalled one, but does not make it look alive where the kernel tells.
func TestDataACKIsNoProgress(t *testing.T) {
	for _, kernel := range []bool{false, true} {
		s := &Session{}
		f := &subflow{s: s}
		f.tx.kernel = kernel
		b := buf.Get(100)
		f.sentRing.push(sentMark{sn: s.inflight.push(b), end: 100, at: 1e9})
		f.acknowledge(2e9, 0)
		if f.age(2e9) != 1e9 || f.progress != 0 {
			t.Errorf("kernel %v: age %d, progress at %d before anything came", kernel, f.age(2e9), f.progress)
		}
		s.inflight.ack(100)
		f.acknowledge(3e9, 0)
		if alive := f.progress == 3e9; f.age(3e9) != 0 || alive == kernel {
			t.Errorf("kernel %v: age %d, progress at %d after the Data ACK", kernel, f.age(3e9), f.progress)
		}
		f.acknowledge(4e9, 100)
		if f.progress != 4e9 || f.proof != 4e9 {
			t.Errorf("kernel %v: progress at %d after the kernel's acknowledgement", kernel, f.progress)
		}
	}
}

// The first write of a subflow may be in the kernel before it is counted: no
// byte is acknowledged then, and not all that will ever be written.
func TestWriteUnderWay(t *testing.T) {
	for _, c := range []struct {
		written uint64
		out     int
		want    uint64
	}{{1000, 300, 700}, {1000, 1000, 0}, {1000, 4000, 0}, {0, 0, 0}} {
		if got := left(c.written, c.out); got != c.want {
			t.Errorf("%d written, %d outstanding: %d acknowledged, want %d", c.written, c.out, got, c.want)
		}
	}
}
