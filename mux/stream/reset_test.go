package stream

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
	p := newPipe(t, true, 10)
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

// TestStreamAfterFailure: a reset of the other end is told, also when nobody reads,
// and an end in order is not.
func TestStreamAfterFailure(t *testing.T) {
	p := newPipe(t, true, 10)
	c, s := p.pair()
	failed := make(chan struct{}, 2)
	tell := func() { failed <- struct{}{} }
	s.AfterFailure(tell)
	c.CloseWrite()
	if _, err := io.ReadAll(s); err != nil {
		t.Fatal(err)
	}
	select {
	case <-failed:
		t.Error("an end in order is no failure")
	case <-time.After(20 * time.Millisecond):
	}
	c.Reset()
	<-failed
	if stop := s.AfterFailure(tell); stop() {
		t.Error("stopped though it has failed before")
	}
	<-failed
	c, s = p.pair()
	if stop := s.AfterFailure(tell); !stop() || stop() {
		t.Error("stop does not say what it did")
	}
	c.Reset()
	if _, err := s.Read(make([]byte, 1)); err == nil {
		t.Error("no reset")
	}
	select {
	case <-failed:
		t.Error("told though stopped")
	case <-time.After(20 * time.Millisecond):
	}
	p.empty()
}
