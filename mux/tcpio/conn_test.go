package tcpio

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// pair returns both ends of a connection.
func pair(t *testing.T) (a, b *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	d, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); d.Close() })
	return c.(*net.TCPConn), d.(*net.TCPConn)
}

// More than the kernel takes at once goes through, and the end is one.
func TestReadsAndWrites(t *testing.T) {
	a, b := pair(t)
	w, r := New(a), New(b)
	defer w.Free()
	defer r.Free()
	sent := bytes.Repeat([]byte("mpsocks "), 2<<20)
	failed := make(chan error, 1)
	go func() {
		n, err := w.Write(sent)
		if err == nil && n != len(sent) {
			err = io.ErrShortWrite
		}
		failed <- errors.Join(err, CloseWrite(a))
	}()
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d of %d bytes, %v", len(got), len(sent), err)
	}
	if err := <-failed; err != nil {
		t.Error(err)
	}
	if _, err := b.Write([]byte("x")); err != nil {
		t.Errorf("the other direction: %v", err)
	}
}

// Deadlines, resets and the end of the connection are heard of.
func TestFails(t *testing.T) {
	a, b := pair(t)
	r := New(a)
	defer r.Free()
	_ = a.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if n, err := r.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a deadline: %d, %v", n, err)
	}
	_ = a.SetReadDeadline(time.Time{})
	_ = b.SetLinger(0)
	b.Close()
	var op *net.OpError
	if n, err := r.Read(make([]byte, 1)); n != 0 || !errors.As(err, &op) {
		t.Errorf("a reset: %d, %v", n, err)
	}
	if n, err := r.Write([]byte("x")); n != 0 || !errors.As(err, &op) {
		t.Errorf("written after a reset: %d, %v", n, err)
	}
	a.Close()
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a closed connection: %v", err)
	}
	closed := New(a)
	defer closed.Free()
	if _, err := closed.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("one that was closed before: %v", err)
	}
	if CloseWrite(a) == nil {
		t.Error("a closed connection's direction was ended")
	}
}

// A connection that was begun from Control is one, with both families, and a refusal is heard
// of as such.
func TestConnect(t *testing.T) {
	for _, at := range []string{"127.0.0.1:0", "[::1]:0"} {
		ln, err := net.Listen("tcp", at)
		if err != nil {
			t.Logf("%s: %v", at, err)
			continue
		}
		to := ln.Addr().(*net.TCPAddr).AddrPort()
		d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
			Connect(raw, to)
			return nil
		}}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		c, err := d.DialContext(ctx, "tcp", to.String())
		if err != nil {
			t.Fatal(err)
		}
		s, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if c.LocalAddr().String() != s.RemoteAddr().String() || c.RemoteAddr().String() != to.String() {
			t.Errorf("from %s to %s, accepted from %s", c.LocalAddr(), c.RemoteAddr(), s.RemoteAddr())
		}
		_, _ = c.Write([]byte("hello"))
		c.Close()
		if got, err := io.ReadAll(s); err != nil || string(got) != "hello" {
			t.Errorf("%q, %v", got, err)
		}
		s.Close()
		ln.Close()
		if c, err := d.DialContext(ctx, "tcp", to.String()); err == nil {
			c.Close()
			t.Error("nobody listens, and there is a connection")
		} else if runtime.GOOS == "linux" && !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("nobody listens: %v", err)
		}
		cancel()
	}
}
