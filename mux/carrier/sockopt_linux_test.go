package carrier

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// doors are one that was bound here and one that somebody else has bound.
func doors(t *testing.T) map[string]Door {
	t.Helper()
	bound, err := Bind([]ListenAddr{{Addr: netip.MustParseAddrPort("127.0.0.1:0")}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	handed, _, _ := Adopt([]net.Listener{ln}, []ListenAddr{{Addr: AddrPort(ln.Addr())}})
	if len(handed) != 1 {
		t.Fatal("a listener that was handed over is not taken")
	}
	t.Cleanup(func() { CloseDoors(append(bound, handed...)) })
	return map[string]Door{"bound": bound[0], "handed over": handed[0]}
}

// connected returns both ends of a connection to a door.
func connected(t *testing.T, d Door) (c, s net.Conn) {
	t.Helper()
	dial := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		Untimed(raw)
		return nil
	}}
	c, err := dial.Dial("tcp", d.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := c.Write([]byte{1}); err != nil { // who says nothing is not accepted for a while
		t.Fatal(err)
	}
	if s, err = d.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return c, s
}

// option is an option of a socket with a number.
func option(t *testing.T, of any, level, name int) (n int) {
	t.Helper()
	raw, err := of.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if e := raw.Control(func(fd uintptr) { n, err = unix.GetsockoptInt(int(fd), level, name) }); e != nil || err != nil {
		t.Fatal(e, err)
	}
	return n
}

// Both ends of a connection begin without BBR's timer, whatever the system's own congestion
// control is: what has once had it keeps it.
func TestUntimed(t *testing.T) {
	allowed, err := os.ReadFile("/proc/sys/net/ipv4/tcp_allowed_congestion_control")
	if err != nil || !slices.Contains(strings.Fields(string(allowed)), "cubic") && os.Geteuid() != 0 {
		t.Skip("this system does not let us choose CUBIC")
	}
	for by, door := range doors(t) {
		c, s := connected(t, door)
		for _, end := range []net.Conn{c, s} {
			raw, err := end.(syscall.Conn).SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			var name string
			_ = raw.Control(func(fd uintptr) { name, err = unix.GetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION) })
			if err != nil || name != "cubic" {
				t.Errorf("%s: an end has %q, %v", by, name, err)
			}
		}
	}
}

// The kernel asks on a silent connection every hour and no sooner, whoever has bound the door:
// each of its questions wakes a telephone at the other end.
func TestSilentConnectionsAreLeftAlone(t *testing.T) {
	for by, door := range doors(t) {
		_, s := connected(t, door)
		on, idle := option(t, s, unix.SOL_SOCKET, unix.SO_KEEPALIVE), option(t, s, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE)
		if on != 1 || idle != 3600 {
			t.Errorf("%s: keep-alive %d after %d s", by, on, idle)
		}
	}
}

// Who connects and says nothing stays with the kernel for a while.
func TestSilentConnectionsStayWithTheKernel(t *testing.T) {
	for by, door := range doors(t) {
		if seconds := option(t, door.Listener, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT); seconds < silentTime {
			t.Errorf("%s: they stay %d s of %d", by, seconds, silentTime)
		}
	}
}
