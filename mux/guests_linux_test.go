package mux

import (
	"io"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"
)

// guestsAt has a web server that is given each stranger's connection, and the strangers.
func guestsAt(t *testing.T, n int, serve func(i int, c net.Conn)) (strangers []net.Conn) {
	t.Helper()
	web, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { web.Close() })
	tunnel := covered(t, Cover{Upstream: web.Addr().String()})
	for i := range n {
		c, err := net.Dial("tcp", tunnel.addr.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_, _ = io.WriteString(c, "GET / HTTP/1.0\r\n\r\n")
		up, err := web.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { up.Close() })
		serve(i, up)
		strangers = append(strangers, c)
	}
	return strangers
}

// TestAGuestHasTwoDescriptors: its own and that to the web server; there are two more here, the
// stranger's and the web server's.
func TestAGuestHasTwoDescriptors(t *testing.T) {
	open := func() int {
		all, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip(err)
		}
		return len(all)
	}
	const guests = 12
	var before int
	guestsAt(t, guests+1, func(i int, c net.Conn) {
		b := make([]byte, 64)
		if _, err := c.Read(b); err != nil {
			t.Fatal(err)
		}
		if i == 0 { // all that the first one needs is there
			before = open()
		}
	})
	time.Sleep(50 * time.Millisecond) // until all wait for more
	if n := open() - before; n > 4*guests+8 {
		t.Errorf("%d strangers have %d descriptors with both ends", guests, n)
	}
}

// TestGuestsHoldLittle: strangers who read nothing of an endless answer hold the kernel's buffers
// of a share, however many they are.
func TestGuestsHoldLittle(t *testing.T) {
	var sent [guestsFree + 16]atomic.Int64
	guestsAt(t, len(sent), func(i int, c net.Conn) {
		_ = c.(*net.TCPConn).SetWriteBuffer(16 << 10)
		go func() {
			for b := make([]byte, 64<<10); ; {
				n, err := c.Write(b)
				if sent[i].Add(int64(n)); err != nil {
					return
				}
			}
		}()
	})
	sum := func() (n int64) {
		for i := range sent[guestsFree:] {
			n += sent[guestsFree+i].Load()
		}
		return n
	}
	for last := int64(-1); last != sum(); time.Sleep(200 * time.Millisecond) {
		last = sum()
	}
	if each := sum() / int64(len(sent)-guestsFree); each > 1<<20 {
		t.Errorf("strangers who read nothing are sent %d KiB each", each>>10)
	}
}
