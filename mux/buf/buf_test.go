package buf

import (
	"bytes"
	"runtime"
	"sync"
	"testing"
	"unsafe"
)

// Each length comes from the smallest class that holds it, with the whole
// headroom in front.
func TestSizes(t *testing.T) {
	for _, tt := range []struct{ n, room int }{
		{0, SmallSize},
		{1, SmallSize},
		{SmallSize, SmallSize},
		{SmallSize + 1, PageSize},
		{PageSize, PageSize},
		{PageSize + 1, MediumSize},
		{MediumSize, MediumSize},
		{MediumSize + 1, MaxSize},
		{MaxSize, MaxSize},
	} {
		b := Get(tt.n)
		if b.Len() != tt.n || len(b.Bytes()) != tt.n || b.Cap() != tt.room || b.off != Headroom || b.Next != nil {
			t.Errorf("Get(%d): %d bytes (Len %d), room for %d, %d in front, next %p", tt.n, len(b.Bytes()), b.Len(), b.Cap(), b.off, b.Next)
		}
		b.Release()
	}
}

// Headers go into the headroom and come off again without the data moving.
func TestHeadroom(t *testing.T) {
	b := Get(100)
	defer b.Release()
	data := bytes.Repeat([]byte{7}, 100)
	copy(b.Bytes(), data)
	at := unsafe.SliceData(b.Bytes())
	for _, n := range []int{28, 40, Headroom - 68} {
		whole := b.Prepend(n)
		if len(whole) != b.Len() || unsafe.SliceData(whole) != unsafe.SliceData(b.Bytes()) {
			t.Fatalf("Prepend(%d) returns %d bytes of %d", n, len(whole), b.Len())
		}
		clear(whole[:n])
	}
	if b.Len() != 100+Headroom || b.Cap() != Headroom+SmallSize {
		t.Errorf("%d bytes, room for %d with the headroom used up", b.Len(), b.Cap())
	}
	b.Trim(Headroom)
	if !bytes.Equal(b.Bytes(), data) || unsafe.SliceData(b.Bytes()) != at {
		t.Error("the data moved or changed under its headers")
	}
	b.Trim(100)
	if b.Len() != 0 {
		t.Errorf("%d bytes after all were trimmed", b.Len())
	}
}

// The room before the data can be used without the Buffer changing, as far as it goes.
func TestFronted(t *testing.T) {
	b := Get(100)
	defer b.Release()
	b.Prepend(Headroom - 28)
	whole, at := b.Len(), unsafe.SliceData(b.Bytes())
	f := b.Fronted(28)
	if len(f) != 28+whole || unsafe.SliceData(f[28:]) != at || b.Len() != whole || unsafe.SliceData(b.Bytes()) != at {
		t.Errorf("%d bytes in front of %d, and the data of %d", len(f), whole, b.Len())
	}
	if b.Fronted(29) != nil {
		t.Error("there is more room than there is")
	}
}

// Resize keeps the start, down to nothing and up to all the room, also of a
// Buffer whose front was trimmed.
func TestResize(t *testing.T) {
	b := Get(10)
	defer b.Release()
	copy(b.Bytes(), "0123456789")
	b.Trim(4)
	for _, n := range []int{3, 0, SmallSize - 4, 6} {
		b.Resize(n)
		if b.Len() != n {
			t.Errorf("Resize(%d): %d bytes", n, b.Len())
		}
	}
	if got := string(b.Bytes()); got != "456789" || b.Cap() != SmallSize-4 {
		t.Errorf("%q, room for %d", got, b.Cap())
	}
}

// What would reach beyond the memory ends the program rather than corrupting
// somebody's datagram.
func TestBounds(t *testing.T) {
	for name, do := range map[string]func(b *Buffer){
		"Get beyond every class":       func(*Buffer) { Get(MaxSize + 1) },
		"Prepend beyond the headroom":  func(b *Buffer) { b.Prepend(Headroom + 1) },
		"Prepend when it is used up":   func(b *Buffer) { b.Prepend(Headroom); b.Prepend(1) },
		"Trim beyond the data":         func(b *Buffer) { b.Trim(11) },
		"Resize beyond the room":       func(b *Buffer) { b.Resize(SmallSize + 1) },
		"Resize beyond what Trim left": func(b *Buffer) { b.Trim(5); b.Resize(SmallSize - 4) },
		"Resize to less than nothing":  func(b *Buffer) { b.Resize(-Headroom - 1); b.Bytes() },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			do(Get(10)) // not released: it may be left in any state
		}()
	}
}

// A Buffer that comes out of the pool again is as a fresh one, whatever its
// last owner did, and goes to nobody who asks for more than it holds.
func TestReuse(t *testing.T) {
	for _, n := range []int{10, SmallSize + 10, MediumSize + 10} {
		reused := false
		for range 100 {
			b := Get(n)
			room := b.Cap()
			b.Next = b
			b.Prepend(50)
			b.Resize(3)
			b.Release()
			c := Get(n)
			if c.Len() != n || c.Cap() != room || c.off != Headroom || c.Next != nil {
				t.Fatalf("%d bytes of %d, room for %d of %d, %d in front, next %p", c.Len(), n, c.Cap(), room, c.off, c.Next)
			}
			reused = reused || c == b
			c.Release()
		}
		if !reused {
			t.Errorf("of 100 Buffers of %d bytes none was used again", n)
		}
	}
}

func TestGetDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes pools drop Buffers")
	}
	for _, n := range []int{10, SmallSize + 10, MediumSize + 10} {
		if a := testing.AllocsPerRun(100, func() { Get(n).Release() }); a != 0 {
			t.Errorf("%d bytes: %v allocations", n, a)
		}
	}
}

// Buffers pass from goroutine to goroutine, and what one wrote nobody else
// writes over before it is released.
func TestOneOwner(t *testing.T) {
	var wg sync.WaitGroup
	handed := make(chan *Buffer, 16)
	for i := range byte(4) {
		wg.Go(func() {
			for range 2000 {
				b := Get(64)
				for j := range b.Bytes() {
					b.Bytes()[j] = i
				}
				b.Stamp = int64(i)
				handed <- b
				runtime.Gosched()
			}
		})
	}
	go func() {
		wg.Wait()
		close(handed)
	}()
	for b := range handed {
		for _, c := range b.Bytes() {
			if c != byte(b.Stamp) {
				t.Fatalf("a byte of owner %d says %d", b.Stamp, c)
			}
		}
		b.Release()
	}
}
