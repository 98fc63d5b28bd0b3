//go:build linux

// Package target is the world that the bench's traffic goes to: a UDP echo and
// TCP services, each as cheap as the kernel allows, for they share the
// processors with the program under test. The bench runs them as child
// processes.
package target

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/integration/bench/mmsg"
)

// largest is room for the longest datagram of the bench, 1,200 bytes and what
// a proxy may put around them.
const largest = 2048

// UDP opens the echo socket and hands its address to ready, then serves until
// the process ends.
func UDP(ready func(netip.AddrPort)) error {
	fd, bound, err := mmsg.Listen(netip.MustParseAddrPort("127.0.0.1:0"), true, 0)
	if err != nil {
		return err
	}
	ready(bound)
	r := mmsg.NewReceiver(largest, true)
	for {
		n, err := r.Wait(fd)
		switch err {
		case nil:
			r.Echo(fd, n)
		case unix.EAGAIN, unix.ECONNREFUSED:
			// A peer is gone; its ICMP error says nothing about the others.
		default:
			return err
		}
	}
}
