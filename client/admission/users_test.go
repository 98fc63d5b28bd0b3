package admission

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/tcpio"
)

// A stranger is a connection from another machine.
type stranger struct {
	tcpio.Socket
	from netip.Addr
}

func (s stranger) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(s.from, 1))
}

func (s stranger) LocalAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1080} }

// TestWrongPasswordsAreSlow: an attempt of somebody who has guessed waits, and the right one gets
// in all the same.
func TestWrongPasswordsAreSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(t.Context(), nopLog, []conf.User{{Name: "ann", Password: "secret"}}, 0)
		conn := stranger{from: netip.MustParseAddr("198.51.100.1")}
		begin := time.Now()
		for range guessFree + 3 {
			if c.Login(conn, []byte("ann"), []byte("guess")) {
				t.Error("a guess got in")
			}
		}
		if d := time.Since(begin); d < 300*time.Millisecond {
			t.Errorf("%d guesses took %v", guessFree+3, d)
		}
		if wrong, unread := c.Guesses(); wrong != guessFree+3 || unread != 0 {
			t.Errorf("%d counted, %d unread", wrong, unread)
		}
		if !c.Login(conn, []byte("ann"), []byte("secret")) {
			t.Error("the right one did not get in")
		}
	})
}

// TestLongNamesAreNotKept: HTTP has people send names of any length, of which thousands are
// remembered when they were wrong.
func TestLongNamesAreNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(t.Context(), nopLog, []conf.User{{Name: "ann", Password: "secret"}}, 0)
		conn := stranger{from: netip.MustParseAddr("198.51.100.1")}
		if c.Login(conn, []byte("ann"+strings.Repeat("\x00", 48<<10)), []byte("secret")) {
			t.Error("a long name is somebody's")
		}
		for l := range c.guesses.lines {
			if len(l.user) > maxName {
				t.Errorf("a name of %d bytes is kept", len(l.user))
			}
		}
		if wrong, _ := c.Guesses(); wrong != 1 {
			t.Errorf("%d counted", wrong)
		}
	})
}
