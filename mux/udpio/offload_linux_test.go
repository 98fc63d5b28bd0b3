//go:build linux && !mpsocks_portable

package udpio

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A kernel that refuses GSO costs nothing but speed.
func TestRefusedTrainGoesSingly(t *testing.T) {
	if !probe().gso {
		t.Skip("this kernel has no GSO")
	}
	for _, tos := range []uint8{0, 2} {
		t.Run(fmt.Sprint("tos ", tos), func(t *testing.T) {
			l := startLoop(t, nil)
			var k collector
			to := listen(t, l, any4, Options{Offload: true, TOS: true}, k.handle)
			from := listen(t, l, any4, Options{Offload: true}, k.handle)
			// GSO needs checksums; without them the kernel answers EINVAL, as
			// it does for segments over the path MTU.
			if err := unix.SetsockoptInt(from.fd, unix.SOL_SOCKET, unix.SO_NO_CHECK, 1); err != nil {
				t.Fatal(err)
			}
			w := NewWriter()
			for range 2 {
				for i, n := range []int{900, 900, 900, 10, 77, 900, 900} {
					w.Add(from, to.LocalAddr(), tos, payload(n, i))
				}
				if sent, dropped := w.Flush(); sent != 7 || dropped != 0 {
					t.Fatalf("sent %d, dropped %d: %+v", sent, dropped, w.Stats())
				}
			}
			k.wait(t, 14)
			for i, n := range []int{900, 900, 900, 10, 77, 900, 900} {
				if !bytes.Equal(k.got[i], payload(n, i)) || k.tos[i] != tos {
					t.Errorf("datagram %d: %d bytes, tos %d", i, len(k.got[i]), k.tos[i])
				}
			}
			if s := w.Stats(); s.Fallbacks != 2 {
				t.Errorf("%d fallbacks, want 2: both trains of the first flush, none later", s.Fallbacks)
			}
			if got := from.gsoLimit.Load(); got != 900 {
				t.Errorf("limit %d, want 900", got)
			}
		})
	}
}

// What holds for every datagram holds for those of a refused train: the ICMP
// answer to one of them, which the kernel reports at the next, costs none, and
// where no TOS can be given they go without.
func TestRefusedTrainIsTriedAgain(t *testing.T) {
	if !probe().gso {
		t.Skip("this kernel has no GSO")
	}
	train := func(t *testing.T, l *Loop, to netip.AddrPort, tos uint8) (*Writer, *Conn) {
		from := listen(t, l, any4, Options{Offload: true}, func(*Conn, []Message) {})
		if err := errors.Join(from.Connect(to), unix.SetsockoptInt(from.fd, unix.SOL_SOCKET, unix.SO_NO_CHECK, 1)); err != nil {
			t.Fatal(err)
		}
		w := NewWriter()
		for range 5 {
			w.Add(from, netip.AddrPort{}, tos, payload(900, 1))
		}
		return w, from
	}
	t.Run("ICMP", func(t *testing.T) {
		u := plain(t, any4)
		u.Close()
		w, _ := train(t, idle(t, nil), addrOf(u), 0)
		if sent, dropped := w.Flush(); sent != 5 || dropped != 0 {
			t.Errorf("sent %d, dropped %d: %+v", sent, dropped, w.Stats())
		}
		if s := w.Stats(); s.Fallbacks != 1 {
			t.Errorf("%d fallbacks, want 1", s.Fallbacks)
		}
	})
	t.Run("TOS", func(t *testing.T) {
		var k collector
		l := startLoop(t, nil)
		to := listen(t, l, any4, Options{TOS: true}, k.handle)
		w, from := train(t, l, to.LocalAddr(), 2)
		r := &w.runs[0]
		w.stage(from, r, r.first, int(r.count))
		// No kernel takes this TOS, as some take none.
		*(*int32)(unsafe.Add(unsafe.Pointer(&w.out.control[0]), unix.CmsgLen(0))) = 256
		w.transmit(from)
		if w.sent != 5 || w.dropped != 0 {
			t.Errorf("sent %d, dropped %d: %+v", w.sent, w.dropped, w.Stats())
		}
		k.wait(t, w.sent)
	})
}

// A socket whose train was refused tries trains again after a while, and only
// then.
func TestRefusalEnds(t *testing.T) {
	if !probe().gso {
		t.Skip("this kernel has no GSO")
	}
	l := startLoop(t, nil)
	var k collector
	to := listen(t, l, any4, Options{}, k.handle)
	from := listen(t, l, any4, Options{Offload: true}, k.handle)
	w := NewWriter()
	refuses := func(refuse int, fallbacks uint64) {
		t.Helper()
		if err := unix.SetsockoptInt(from.fd, unix.SOL_SOCKET, unix.SO_NO_CHECK, refuse); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			for range 4 {
				w.Add(from, to.LocalAddr(), 0, payload(900, 1))
			}
			if sent, dropped := w.Flush(); sent != 4 || dropped != 0 {
				t.Fatalf("sent %d, dropped %d", sent, dropped)
			}
		}
		if s := w.Stats(); s.Fallbacks != fallbacks {
			t.Errorf("%d fallbacks, want %d", s.Fallbacks, fallbacks)
		}
	}
	refuses(1, 1)
	from.lowered.Add(-int64(gsoRest)) // a minute passes
	refuses(1, 2)
	from.lowered.Add(-int64(gsoRest))
	calls := w.Stats().Calls
	refuses(0, 2)
	if n := w.Stats().Calls - calls; n != 3 {
		t.Errorf("%d calls for 3 trains", n)
	}
	// What was never on stays off.
	never := listen(t, l, any4, Options{}, k.handle)
	if got := never.gso(); got != 0 {
		t.Errorf("limit %d without offload", got)
	}
}

func TestRefusalLimits(t *testing.T) {
	w := NewWriter()
	for _, tt := range []struct {
		errno unix.Errno
		from  int32
		want  int32
		taken bool
	}{
		{unix.EIO, 65528, 0, true},
		{unix.EINVAL, 65528, 1300, true},
		{unix.EMSGSIZE, 65528, 1300, true},
		{unix.EMSGSIZE, 1200, 1200, true},
		{unix.EINVAL, 0, 0, true},
		{unix.EAGAIN, 65528, 65528, false},
		{unix.ECONNREFUSED, 65528, 65528, false},
	} {
		var c Conn
		c.gsoLimit.Store(tt.from)
		iov := unix.Iovec{}
		iov.SetLen(1300)
		h := unix.Msghdr{Iov: &iov}
		if got := w.refused(&c, &h, tt.errno); got != tt.taken || c.gsoLimit.Load() != tt.want {
			t.Errorf("%v: %v, limit %d; want %v, %d", tt.errno, got, c.gsoLimit.Load(), tt.taken, tt.want)
		}
	}
}
