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

// Both ends of a connection begin without BBR's timer, whatever the system's own congestion
// control is: what has once had it keeps it.
func TestUntimed(t *testing.T) {
	allowed, err := os.ReadFile("/proc/sys/net/ipv4/tcp_allowed_congestion_control")
	if err != nil || !slices.Contains(strings.Fields(string(allowed)), "cubic") && os.Geteuid() != 0 {
		t.Skip("this system does not let us choose CUBIC")
	}
	doors, err := Bind([]ListenAddr{{Addr: netip.MustParseAddrPort("127.0.0.1:0")}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer CloseDoors(doors)
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		Untimed(raw)
		return nil
	}}
	c, err := d.Dial("tcp", doors[0].Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte{1}); err != nil { // who says nothing is not accepted for a while
		t.Fatal(err)
	}
	s, err := doors[0].Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, end := range []net.Conn{c, s} {
		raw, err := end.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var name string
		_ = raw.Control(func(fd uintptr) { name, err = unix.GetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION) })
		if err != nil || name != "cubic" {
			t.Errorf("an end has %q, %v", name, err)
		}
	}
}

// Who connects and says nothing stays with the kernel for a while.
func TestSilentConnectionsStayWithTheKernel(t *testing.T) {
	doors, err := Bind([]ListenAddr{{Addr: netip.MustParseAddrPort("127.0.0.1:0")}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer CloseDoors(doors)
	raw, err := doors[0].Listener.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	seconds := 0
	_ = raw.Control(func(fd uintptr) {
		seconds, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT)
	})
	if err != nil || seconds < silentTime {
		t.Errorf("they stay %d s of %d, %v", seconds, silentTime, err)
	}
}
