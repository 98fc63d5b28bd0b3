//go:build linux && !mpsocks_portable

package udpio

import (
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A closed port is told of, with where it was sent to, and what is sent and received
// beside goes on without a loss.
func TestFailures(t *testing.T) {
	for _, local := range []netip.AddrPort{any4, any6} {
		l := startLoop(t, nil)
		var k collector
		open := listen(t, l, local, Options{}, k.handle)
		gone := listen(t, l, local, Options{}, k.handle)
		closed := gone.LocalAddr()
		gone.Close()
		told := make(chan Failure, 64)
		from := listen(t, l, local, Options{Offload: true, Failed: func(_ *Conn, f *Failure) { told <- *f }}, k.handle)
		w := NewWriter()
		const each = 50
		for range each {
			w.Add(from, closed, 0, payload(10, 1))
			w.Add(from, open.LocalAddr(), 0, payload(700, 1))
			if sent, dropped := w.Flush(); sent != 2 || dropped != 0 {
				t.Fatalf("sent %d, dropped %d", sent, dropped)
			}
		}
		k.wait(t, each)
		var f Failure
		until(t, "a word of the closed port", func() bool { // the system bounds how many it says in a second
			select {
			case f = <-told:
				return true
			case <-time.After(100 * time.Millisecond):
				w.Add(from, closed, 0, payload(10, 1))
				w.Flush()
				return false
			}
		})
		want := [2]uint8{3, 3}
		if local == any6 {
			want = [2]uint8{1, 4}
		}
		if f.To != closed || f.From != closed.Addr() || [2]uint8{f.Type, f.Code} != want {
			t.Errorf("told %+v of %s", f, closed)
		}
		// Nothing is left in the queue that would wake the Loop for ever.
		deadline := time.Now().Add(20 * time.Second)
		for quiet := false; !quiet; {
			p := []unix.PollFd{{Fd: int32(from.fd)}}
			if _, err := unix.Poll(p, 0); err == nil && p[0].Revents == 0 {
				quiet = true
			} else if time.Now().After(deadline) {
				t.Fatalf("events %#x stay", p[0].Revents)
			}
			time.Sleep(time.Millisecond)
		}
	}
}

// The time to live travels both ways, with trains too: a train has one.
func TestTTL(t *testing.T) {
	for _, local := range []netip.AddrPort{any4, any6} {
		for _, offload := range []bool{false, true} {
			l := startLoop(t, nil)
			var mu sync.Mutex
			var got []uint8
			var tos []uint8
			to := listen(t, l, local, Options{TTL: true, TOS: true, Offload: offload}, func(_ *Conn, msgs []Message) {
				mu.Lock()
				defer mu.Unlock()
				for _, m := range msgs {
					got, tos = append(got, m.TTL), append(tos, m.TOS)
				}
			})
			from := listen(t, l, local, Options{Offload: offload}, func(*Conn, []Message) {})
			w := NewWriter()
			want := []uint8{1, 7, 7, 7, 255, 0, 0, 9}
			for _, ttl := range want {
				w.AddTTL(from, to.LocalAddr(), 0xb8, ttl, payload(700, 1))
			}
			if sent, dropped := w.Flush(); sent != len(want) || dropped != 0 {
				t.Fatalf("sent %d, dropped %d", sent, dropped)
			}
			for i := range want {
				if want[i] == 0 {
					want[i] = 64 // the system's
				}
			}
			deadline := time.Now().Add(20 * time.Second)
			for done := false; !done; time.Sleep(time.Millisecond) {
				mu.Lock()
				done = len(got) >= len(want) || time.Now().After(deadline)
				mu.Unlock()
			}
			mu.Lock()
			if !slices.Equal(got, want) || slices.ContainsFunc(tos, func(x uint8) bool { return x != 0xb8 }) {
				t.Errorf("%s offload=%v: TTL %v, want %v; TOS %#x", local, offload, got, want, tos)
			}
			mu.Unlock()
		}
	}
}

// Control messages with errors are the kernel's; whatever they are, nothing beyond is read.
func FuzzFailure(f *testing.F) {
	var b [unix.SizeofCmsghdr + extendedError + unix.SizeofSockaddrInet4]byte
	b[0], b[8], b[12] = byte(len(b)), unix.IPPROTO_IP, unix.IP_RECVERR
	b[16+4], b[16+5], b[16+6], b[32] = unix.SO_EE_ORIGIN_ICMP, 3, 3, unix.AF_INET
	f.Add(b[:])
	f.Fuzz(func(t *testing.T, b []byte) {
		var g Failure
		if g.parse(slices.Clone(b)) && !g.From.IsValid() {
			t.Error("an error that nobody says")
		}
	})
}

// Where there is one socket epoll is hardly asked. A failure is told all the same when a send has
// heard of it first, and datagrams come one by one meanwhile.
func TestFailureOfOneSocket(t *testing.T) {
	l := idle(t, nil)
	got, told := 0, 0
	c := listen(t, l, any4, Options{Failed: func(*Conn, *Failure) { told++ }}, func(_ *Conn, msgs []Message) { got += len(msgs) })
	u, gone := plain(t, any4), plain(t, any4)
	closed := addrOf(gone)
	gone.Close()
	w := NewWriter()
	w.Add(c, closed, 0, []byte("x"))
	w.Flush()
	w.Add(c, addrOf(u), 0, []byte("x"))
	w.Flush()
	const each = 2 * singleMost
	for range each {
		u.WriteToUDPAddrPort([]byte("x"), c.LocalAddr())
		if l.step(0) {
			t.Fatal("the Loop has ended")
		}
	}
	if got != each || told != 1 {
		t.Errorf("%d datagrams of %d, told %d times of a failure", got, each, told)
	}
}

// What comes is read whether there is one socket or two, and whichever of them is closed.
func TestOneSocketOrTwo(t *testing.T) {
	l := idle(t, nil)
	var got [2]int
	u := plain(t, any4)
	each := [2]*Conn{}
	open := func(i int) {
		each[i] = listen(t, l, any4, Options{}, func(_ *Conn, msgs []Message) { got[i] += len(msgs) })
	}
	want := [2]int{}
	say := func(i, n int) {
		t.Helper()
		want[i] += n
		for range n {
			u.WriteToUDPAddrPort([]byte("x"), each[i].LocalAddr())
		}
		if l.step(0); got != want {
			t.Errorf("%v of %v datagrams", got, want)
		}
	}
	open(0)
	for _, n := range []int{1, 2, 1, 40, 1, 0, 1} {
		say(0, n)
	}
	open(1)
	say(1, 1)
	say(0, 1)
	each[0].Close()
	say(1, 1)
	say(1, 3)
	open(0)
	say(0, 2)
	each[1].Close()
	say(0, 1)
	each[0].Close()
	l.step(0)
	open(1)
	say(1, 1)
}
