package mux

import (
	"bytes"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

// TestStreamResetBehindData: what was written before CloseReset is read before the
// reset, though packets overtake each other.
func TestStreamResetBehindData(t *testing.T) {
	p := newStreamPipe(t, true, 10)
	for _, size := range []int{0, 1, 150_000, 3 << 20} {
		for range 10 {
			c, s := p.pair()
			answer := bytes.Repeat([]byte("x"), size)
			go c.Write(make([]byte, 1<<20)) // is never read
			go func() {
				s.Write(answer)
				s.CloseReset()
			}()
			got, err := io.ReadAll(c)
			if !errors.Is(err, syscall.ECONNRESET) || !bytes.Equal(got, answer) {
				t.Fatalf("%d of %d bytes, then %v", len(got), size, err)
			}
			if _, err := s.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
				t.Errorf("read after CloseReset: %v", err)
			}
			c.Close()
		}
	}
	p.empty()
}

// TestStreamFailed: the channel closes with a reset of the other end, also when
// nobody reads, and not with an end in order.
func TestStreamFailed(t *testing.T) {
	p := newStreamPipe(t, true, 10)
	c, s := p.pair()
	c.CloseWrite()
	if _, err := io.ReadAll(s); err != nil {
		t.Fatal(err)
	}
	failed := s.Failed()
	select {
	case <-failed:
		t.Error("an end in order is no failure")
	case <-time.After(20 * time.Millisecond):
	}
	c.Write([]byte("unread"))
	c.Reset()
	select {
	case <-failed:
	case <-time.After(5 * time.Second):
		t.Error("not told of the reset")
	}
	<-s.Failed() // who asks later hears it too
	p.empty()
}
