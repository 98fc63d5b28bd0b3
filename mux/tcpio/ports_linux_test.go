//go:build !mpsocks_portable

package tcpio

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// TestPortsOfBoundConnections: a connection from an address of choice takes a port for its
// destination alone, as one without does. Otherwise those that have ended keep theirs from
// everybody's for a minute (TIME_WAIT): 500 connections a second leave none.
func TestPortsOfBoundConnections(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error(err)
			return
		}
		if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
			t.Errorf("%s, %v", out, err)
			return
		}
		if err := os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("40000 40009"), 0); err != nil {
			t.Error(err)
			return
		}
		for _, local := range []string{"127.0.0.1", "::1"} {
			d := Dialer{Local: netip.MustParseAddr(local), Prepare: Inline}
			for port := uint16(7001); port <= 7003; port++ {
				to := netip.AddrPortFrom(d.Local, port)
				l, err := net.Listen("tcp", to.String())
				if err != nil {
					t.Error(err)
					return
				}
				defer l.Close()
				for i := range 8 {
					c, err := d.Dial(t.Context(), to)
					if err != nil {
						t.Errorf("connection %d to %v, of ten ports: %v", i, to, err)
						return
					}
					if a := c.LocalAddr().(*net.TCPAddr).AddrPort(); a.Addr() != d.Local {
						t.Errorf("it comes from %v", a)
					}
					c.Close() // this end first: it is in TIME_WAIT, or waits for the other's
				}
			}
		}
	}()
	<-done
}
