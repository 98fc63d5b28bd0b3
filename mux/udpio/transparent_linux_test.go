//go:build linux && !mpsocks_portable

package udpio

import (
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A transparent socket has the address of another machine, and says of each datagram
// where it was sent to and with which time to live, also of each of a train.
func TestTransparent(t *testing.T) {
	for _, tt := range []struct{ here, other netip.AddrPort }{
		{any4, netip.MustParseAddrPort("203.0.113.77:4077")},
		{any6, netip.MustParseAddrPort("[2001:db8::77]:4077")},
	} {
		t.Run(tt.here.Addr().String(), func(t *testing.T) {
			l := startLoop(t, nil)
			var mu sync.Mutex
			var got []Message
			keep := func(_ *Conn, msgs []Message) {
				mu.Lock()
				defer mu.Unlock()
				for _, m := range msgs {
					got = append(got, Message{Addr: m.Addr, To: m.To, TTL: m.TTL, TOS: m.TOS})
				}
			}
			here, err := l.Listen(tt.here, Options{Transparent: true, TOS: true, Offload: true}, keep)
			if errors.Is(err, unix.EPERM) {
				t.Skip("needs CAP_NET_ADMIN, for transparent sockets")
			}
			if err != nil {
				t.Fatal(err)
			}
			other, err := l.Listen(tt.other, Options{Transparent: true, Offload: true}, keep)
			if err != nil {
				t.Fatal(err)
			}
			if other.LocalAddr() != tt.other {
				t.Errorf("bound to %s", other.LocalAddr())
			}
			const want = 5
			w := NewWriter()
			for range want {
				w.Add(other, here.LocalAddr(), 0xb8, payload(700, 1))
			}
			if sent, _ := w.Flush(); sent != want {
				t.Fatalf("sent %d", sent)
			}
			for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
				mu.Lock()
				n := len(got)
				mu.Unlock()
				if n == want {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("%d came", n)
				}
			}
			for _, m := range got {
				if m.Addr != tt.other || m.To != here.LocalAddr() || m.TTL == 0 || m.TOS != 0xb8 {
					t.Errorf("%+v", m)
				}
			}
		})
	}
}
