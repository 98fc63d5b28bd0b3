package mux

import (
	"bytes"
	"errors"
	"testing"

	"github.com/mpsocks/mpsocks/mux/carrier"
	"github.com/mpsocks/mpsocks/mux/muxtest/pipe"
)

// Long records have rooms of their own where such are wanted, which stay as they are when they were taken;
// short ones, and all where none are wanted, have not.
func TestRooms(t *testing.T) {
	a, b := pipe.New(1<<20, 16384)
	a.Start()
	b.Start()
	long := func(x byte) []byte { return bytes.Repeat([]byte{x}, a.LargestFrame()) }
	var r rooms
	send := func(p []byte, wanted bool) (got []byte, number int) {
		t.Helper()
		if _, err := a.Write(p); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Flush(); err != nil {
			t.Fatal(err)
		}
		got, number, err := r.next(b, wanted)
		if err != nil || !bytes.Equal(got, p) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		return got, number
	}
	if _, n := send(long(1), false); n != 0 || r.take(0) != nil {
		t.Errorf("not wanted, and in room %d", n)
	}
	if _, n := send([]byte("short"), true); n != 0 {
		t.Errorf("a short one is in room %d", n)
	}
	p, n := send(long(2), true)
	_, m := send(long(3), true)
	if n != 1 || m != 2 {
		t.Fatalf("in rooms %d and %d", n, m)
	}
	if _, k, err := r.next(b, true); k != 0 || !errors.Is(err, carrier.ErrNotYet) {
		t.Errorf("nothing has come, room %d, %v", k, err)
	}
	kept := r.take(n)
	r.clear()
	for x := range byte(8) { // in those that were given back
		send(long(4+x), true)
	}
	r.clear()
	if !bytes.Equal(p, long(2)) || !bytes.Equal(kept.Bytes(), p) || len(r.used) != 0 || r.spare != nil {
		t.Error("what was taken has changed, or something is left")
	}
	if !ends(p, p[10:]) || ends(p, p[10:20]) || ends(p, nil) || ends(p[1:], p) {
		t.Error("what ends what is not known")
	}
}
