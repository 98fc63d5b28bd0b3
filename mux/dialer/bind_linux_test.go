package dialer

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// A way that is bound to an address has connections to several places by one port, as one that is bound to none:
// otherwise a machine with many connections of other programs has no port left for it.
func TestPortsOfBoundWays(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and the thread ends with the goroutine
		done <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return err
			}
			if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
				return fmt.Errorf("%s, %w", out, err)
			}
			if err := os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("40000 40009"), 0); err != nil {
				return err
			}
			for _, local := range []string{"127.0.0.1", "::1"} {
				way := Way{Local: netip.MustParseAddr(local)}
				for port := uint16(7001); port <= 7003; port++ {
					to := netip.AddrPortFrom(way.Local, port).String()
					l, err := net.Listen("tcp", to)
					if err != nil {
						return err
					}
					defer l.Close()
					for i := range 8 {
						c, err := way.Dialer(0, nil).DialContext(t.Context(), "tcp", to)
						if err != nil {
							return fmt.Errorf("connection %d to %s, of ten ports: %w", i, to, err)
						}
						defer c.Close()
					}
				}
			}
			return nil
		}()
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
