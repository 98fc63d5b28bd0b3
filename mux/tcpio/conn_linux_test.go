//go:build !mpsocks_portable

package tcpio

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A target that does not answer is waited for until its time is over.
func TestDialWaits(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	to := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(name.(*unix.SockaddrInet4).Port))
	d := &Dialer{Prepare: Inline}
	for range 4 { // its queue is full after one or two
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		c, err := d.Dial(ctx, to)
		cancel()
		if err == nil {
			defer c.Close()
			continue
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("its time is over: %v", err)
		}
		// It is there as soon as there is room.
		done := make(chan error, 1)
		go func() {
			c, err := d.Dial(t.Context(), to)
			if err == nil {
				c.Close()
			}
			done <- err
		}()
		for {
			if n, _, err := unix.Accept(fd); err == nil {
				unix.Close(n)
			}
			select {
			case err := <-done:
				if err != nil {
					t.Error(err)
				}
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	t.Error("its queue is never full")
}

// Descriptors of connections that are over are closed soon.
func TestDescriptorsGo(t *testing.T) {
	l := listener(t, "127.0.0.1:0")
	d := &Dialer{Prepare: Inline}
	count := func() int {
		all, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip(err)
		}
		return len(all)
	}
	before := count()
	for range 3 * closeMost {
		a, b := join(t, l, d)
		a.Close()
		b.Close()
	}
	for end := time.Now().Add(20 * time.Second); count() > before; time.Sleep(closeTime) {
		if time.Now().After(end) {
			t.Fatalf("%d descriptors are left", count()-before)
		}
	}
}

// However many connections end at once, few descriptors are left over, and fewer where the process may have few:
// there were as many as ended before somebody came to close them.
func TestDescriptorsOfManyEnds(t *testing.T) {
	for _, most := range []int{1, 4, closeMost} {
		var all []*os.File
		for range 8 * closeMost {
			f, err := os.Open(os.DevNull)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, f)
		}
		d := &descriptors{most: func() int { return most }}
		for _, f := range all {
			d.add(f)
		}
		left := 0
		for _, f := range all {
			if _, err := f.Stat(); err == nil {
				left++
			}
		}
		if left > most {
			t.Errorf("%d are open, of %d at most", left, most)
		}
		d.flush()
	}
}

// Where the process may have few descriptors, those of connections that are over do not keep others
// from being made.
func TestDescriptorsMakeRoom(t *testing.T) {
	l := listener(t, "127.0.0.1:0")
	d := &Dialer{Prepare: Inline}
	a, b := join(t, l, d)
	highest := max(fdOf(t, a), fdOf(t, b))
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	few := was
	few.Cur = uint64(highest) + 8
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &was)
	for range 3 * closeMost {
		a, b := join(t, l, d)
		a.Close()
		b.Close()
	}
}

func fdOf(t *testing.T, s Socket) (fd int) {
	t.Helper()
	raw, err := s.SyscallConn()
	if err == nil {
		err = raw.Control(func(is uintptr) { fd = int(is) })
	}
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// Many pieces are written as they are, whatever a call takes of them.
func TestWritesViews(t *testing.T) {
	a, b := pair(t)
	var pieces [][]byte
	var all []byte
	for i := range 200 {
		p := bytes.Repeat([]byte{byte(i)}, i*i%40000)
		pieces, all = append(pieces, p), append(all, p...)
	}
	failed := make(chan error, 1)
	go func() {
		n, err := a.(*Conn).WriteViews(pieces)
		if err == nil && n != int64(len(all)) {
			err = io.ErrShortWrite
		}
		failed <- errors.Join(err, a.CloseWrite())
	}()
	got, err := io.ReadAll(b)
	if err = errors.Join(err, <-failed); err != nil || !bytes.Equal(got, all) {
		t.Errorf("%d of %d bytes, %v", len(got), len(all), err)
	}
	b.Close()
	for err = nil; err == nil; {
		_, err = a.(*Conn).WriteViews(pieces)
	}
	if errors.Is(err, net.ErrClosed) {
		t.Errorf("written to a closed connection: %v", err)
	}
}

// Who is accepted sends at once, as who dials does.
func TestNoDelay(t *testing.T) {
	a, b := pair(t)
	for _, s := range []Socket{a, b} {
		raw, err := s.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		v := 0
		if cerr := raw.Control(func(fd uintptr) { v, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NODELAY) }); cerr != nil || err != nil || v == 0 {
			t.Errorf("TCP_NODELAY is %d: %v, %v", v, cerr, err)
		}
	}
}

// What comes after the connection was closed here is answered with a reset, as by any
// connection that is closed.
func TestClosedHearsNothing(t *testing.T) {
	a, b := pair(t)
	a.Close()
	_ = b.SetDeadline(time.Now().Add(20 * time.Second))
	_, err := b.Write([]byte("x"))
	for err == nil {
		time.Sleep(time.Millisecond)
		_, err = b.Write([]byte("x"))
	}
	var op *net.OpError
	if !errors.As(err, &op) || !errors.Is(err, unix.EPIPE) && !errors.Is(err, unix.ECONNRESET) {
		t.Error(fmt.Errorf("written to a closed connection: %w", err))
	}
}

// An address of a link is that of one link: its zone says of which.
func TestZones(t *testing.T) {
	lo, err := net.InterfaceByIndex(1)
	if err != nil {
		t.Skip(err)
	}
	for zone, want := range map[string]uint32{"": 0, lo.Name: 1, "1": 1, "7": 7} {
		var s sockaddr
		if _, err := s.put(netip.AddrPortFrom(netip.MustParseAddr("fe80::1").WithZone(zone), 1)); err != nil || s.Scope_id != want {
			t.Errorf("zone %q is %d: %v", zone, s.Scope_id, err)
		}
	}
	d := &Dialer{Prepare: Inline}
	if _, err := d.Dial(t.Context(), netip.MustParseAddrPort("[fe80::1%nosuch]:1")); err == nil || !strings.Contains(err.Error(), "nosuch") {
		t.Errorf("a zone that is none: %v", err)
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		n, ok := a.(*net.IPNet)
		if !ok || n.IP.To4() != nil || !n.IP.IsLinkLocalUnicast() {
			continue
		}
		each, _ := net.Interfaces()
		for _, i := range each {
			l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: n.IP, Zone: i.Name})
			if err != nil {
				continue // it is another one's
			}
			own, err := Listen(l)
			if err != nil {
				t.Fatal(err)
			}
			defer own.Close()
			d.Local = netip.AddrFrom16([16]byte(n.IP.To16())).WithZone(i.Name)
			c, err := d.Dial(t.Context(), netip.AddrPortFrom(d.Local, where(l.Addr()).Port()))
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
			return
		}
	}
	t.Log("no interface has an address of its link")
}
