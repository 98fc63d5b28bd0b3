//go:build linux

package load

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/integration/bench/mmsg"
	"github.com/mpsocks/mpsocks/integration/bench/socks"
)

// opened counts calls of openAll: each has a source address of its own, for the
// ports of closed control connections rest for a minute.
var opened atomic.Uint32

// nextSource is an address that no other socket of the run uses, so that its
// ports are not taken from theirs.
func nextSource() netip.Addr {
	return netip.AddrFrom4([4]byte{127, 0, 2, byte(opened.Add(1)%250 + 1)})
}

// latePort lets connect choose the port, by the four-tuple: a port chosen at
// bind is lost to everyone else on the machine.
func latePort(_, _ string, c syscall.RawConn) (err error) {
	if e := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	}); e != nil {
		return e
	}
	return err
}

const (
	// firstPort and lastPort are the generator's UDP ports, below the kernel's
	// ephemeral ones: ten thousand associations need ten thousand of those for
	// the client's relays and as many for the server's mappings.
	firstPort, lastPort = 2048, 32767
	// openers is how many associations are set up at once.
	openers = 8
)

// An association is one UDP socket and, through a proxy, its control
// connection.
type association struct {
	fd      int
	control *net.TCPConn // nil without a proxy
}

// opener hands out the generator's ports.
type opener struct {
	source netip.Addr
	mu     sync.Mutex
	port   int
}

// openAll sets n associations up; a blocking socket gives a wait up after
// timeout. proxy empty means that the sockets go straight to the target.
func openAll(n int, proxy string, target netip.AddrPort, blocking bool, timeout time.Duration) ([]association, error) {
	all := make([]association, n)
	errs := make([]error, openers)
	o := &opener{source: nextSource(), port: firstPort}
	var wg sync.WaitGroup
	for w := range openers {
		wg.Go(func() {
			for i := w; i < n && errs[w] == nil; i += openers {
				all[i], errs[w] = o.open(proxy, target, blocking, timeout)
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			closeAll(all)
			return nil, err
		}
	}
	return all, nil
}

func (o *opener) open(proxy string, target netip.AddrPort, blocking bool, timeout time.Duration) (a association, err error) {
	peer := target
	if proxy != "" {
		d := socks.Dialer{Proxy: proxy, Local: o.source, Control: latePort}
		if a.control, peer, err = d.Associate(); err != nil {
			return a, err
		}
	}
	for {
		o.mu.Lock()
		port := o.port
		o.port++
		o.mu.Unlock()
		if port > lastPort {
			return a, fmt.Errorf("no UDP ports left on %s", o.source)
		}
		fd, _, err := mmsg.Listen(netip.AddrPortFrom(o.source, uint16(port)), blocking, timeout)
		if err != nil {
			continue // taken
		}
		a.fd = fd
		return a, mmsg.Connect(fd, peer)
	}
}

func closeAll(all []association) {
	for _, a := range all {
		if a.fd > 0 {
			_ = unix.Close(a.fd)
		}
		if a.control != nil {
			_ = a.control.Close()
		}
	}
}
