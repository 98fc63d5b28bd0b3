package tcpio

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// listener opens one on loopback, or returns nil where that address is none.
func listener(t *testing.T, at string) *Listener {
	t.Helper()
	ln, err := net.Listen("tcp", at)
	if err != nil {
		t.Logf("%s: %v", at, err)
		return nil
	}
	l, err := Listen(ln.(*net.TCPListener))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func where(a net.Addr) netip.AddrPort { return a.(*net.TCPAddr).AddrPort() }

// pair returns both ends of a connection: one that dialled, one that was accepted.
func pair(t *testing.T) (a, b Socket) {
	t.Helper()
	l := listener(t, "127.0.0.1:0")
	return join(t, l, &Dialer{Prepare: Inline})
}

func join(t *testing.T, l *Listener, d *Dialer) (a, b Socket) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	a, err := d.Dial(ctx, where(l.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return a, b
}

// More than the kernel takes at once goes through, and the end is one.
func TestReadsAndWrites(t *testing.T) {
	a, b := pair(t)
	sent := bytes.Repeat([]byte("mpsocks "), 2<<20)
	failed := make(chan error, 1)
	go func() {
		n, err := a.Write(sent)
		if err == nil && n != len(sent) {
			err = io.ErrShortWrite
		}
		failed <- errors.Join(err, a.CloseWrite())
	}()
	got, err := io.ReadAll(b)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d of %d bytes, %v", len(got), len(sent), err)
	}
	if err := <-failed; err != nil {
		t.Error(err)
	}
	if _, err := b.Write([]byte("x")); err != nil {
		t.Errorf("the other direction: %v", err)
	}
	if n, err := a.Read(make([]byte, 2)); n != 1 || err != nil {
		t.Errorf("the other direction: %d, %v", n, err)
	}
}

// Deadlines, resets and the end of the connection are heard of.
func TestFails(t *testing.T) {
	a, b := pair(t)
	_ = a.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	var timeout net.Error
	if n, err := a.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("a deadline: %d, %v", n, err)
	}
	_ = a.SetReadDeadline(time.Time{})
	_ = b.SetLinger(0)
	b.Close()
	var op *net.OpError
	if n, err := a.Read(make([]byte, 1)); n != 0 || !errors.As(err, &op) || errors.Is(err, net.ErrClosed) {
		t.Errorf("a reset: %d, %v", n, err)
	}
	if n, err := a.Write([]byte("x")); n != 0 || !errors.As(err, &op) {
		t.Errorf("written after a reset: %d, %v", n, err)
	}
	if err := a.Close(); err != nil {
		t.Errorf("closed: %v", err)
	}
	raw, err := a.SyscallConn()
	if err == nil {
		err = raw.Read(func(uintptr) bool { return true })
	}
	if !errors.As(err, &op) || !errors.Is(err, net.ErrClosed) {
		t.Errorf("read bare when it is closed: %v", err)
	}
	_, read := a.Read(make([]byte, 1))
	_, written := a.Write([]byte("x"))
	for what, err := range map[string]error{
		"read": read, "written": written, "closed again": a.Close(), "its direction ended": a.CloseWrite(), "a deadline": a.SetDeadline(time.Time{}),
	} {
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s when it is closed: %v", what, err)
		}
	}
}

// Who reads or writes hears at once that the connection was closed here, and so does the other end.
func TestCloses(t *testing.T) {
	a, b := pair(t)
	ended := make(chan error, 2)
	read := func(s Socket) {
		_, err := s.Read(make([]byte, 1))
		ended <- err
	}
	go read(a)
	go func() {
		_, err := io.Copy(onlyWriter{a}, zeros{}) // until it waits
		ended <- err
	}()
	time.Sleep(20 * time.Millisecond)
	a.Close()
	for range 2 {
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("here: %v", err)
		}
	}
	if _, err := io.Copy(io.Discard, b); err != nil {
		t.Errorf("there: %v", err)
	}
	l := listener(t, "127.0.0.1:0")
	go func() {
		_, err := l.Accept()
		ended <- err
	}()
	time.Sleep(20 * time.Millisecond)
	l.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("a listener: %v", err)
	}
}

// Who closes what has brought something that was not read resets it at once (RFC 2525, Section
// 2.17): an end would say that all was taken. What was read to its end is ended so.
func TestUnreadIsReset(t *testing.T) {
	for range 20 {
		a, b := pair(t)
		_, _ = b.Write([]byte("hello"))
		_, _ = a.Read(make([]byte, 1))
		a.Close()
		_ = b.SetReadDeadline(time.Now().Add(20 * time.Second))
		if n, err := b.Read(make([]byte, 1)); n != 0 || err == io.EOF || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("closed with something unread: %d, %v", n, err)
		}
	}
	a, b := pair(t)
	_, _ = b.Write([]byte("hello"))
	_ = b.CloseWrite()
	_, _ = io.ReadAll(a)
	a.Close()
	if n, err := b.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("closed when all was read: %d, %v", n, err)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

type onlyWriter struct{ io.Writer }

// Both ends know each other's address, in both families, from an address that was asked for, and
// what nobody listens to is a refusal.
func TestDials(t *testing.T) {
	for _, at := range []string{"127.0.0.1:0", "[::1]:0", "[::]:0"} {
		l := listener(t, at)
		if l == nil {
			continue
		}
		d := &Dialer{Alive: true, Prepare: Inline}
		to := where(l.Addr())
		if to.Addr().IsUnspecified() {
			to = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), to.Port())
			d.Local = netip.AddrFrom4([4]byte{127, 0, 0, 5})
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		c, err := d.Dial(ctx, to)
		if err != nil {
			t.Fatal(err)
		}
		s, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if c.LocalAddr().String() != s.RemoteAddr().String() || where(c.RemoteAddr()) != to || s.LocalAddr().String() != to.String() {
			t.Errorf("from %s to %s, accepted from %s at %s", c.LocalAddr(), c.RemoteAddr(), s.RemoteAddr(), s.LocalAddr())
		}
		if d.Local.IsValid() && where(c.LocalAddr()).Addr() != d.Local {
			t.Errorf("from %s", c.LocalAddr())
		}
		_, _ = c.Write([]byte("hello"))
		c.Close()
		if got, err := io.ReadAll(s); err != nil || string(got) != "hello" {
			t.Errorf("%q, %v", got, err)
		}
		s.Close()
		l.Close()
		if c, err := d.Dial(ctx, to); err == nil {
			c.Close()
			t.Error("nobody listens, and there is a connection")
		} else if runtime.GOOS == "linux" && !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("nobody listens: %v", err)
		}
		cancel()
		if _, err := d.Dial(ctx, to); !errors.Is(err, context.Canceled) && runtime.GOOS == "linux" {
			t.Errorf("cancelled: %v", err)
		}
	}
}
