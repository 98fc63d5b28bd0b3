//go:build linux

package load

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/mmsg"
)

// HoldSpec asks for associations that stay open and silent.
type HoldSpec struct {
	Proxy        string
	Target       netip.AddrPort
	Associations int
	Used         bool // each has one datagram echoed first
}

// HoldResult says how long it took.
type HoldResult struct{ Seconds float64 }

// Hold opens the associations and returns; they stay open until release is
// called or the process ends.
func Hold(spec HoldSpec) (r HoldResult, release func(), err error) {
	start := time.Now()
	all, err := openAll(spec.Associations, spec.Proxy, spec.Target, true, lossTimeout)
	if err != nil {
		return r, nil, err
	}
	release = func() { closeAll(all) }
	if !spec.Used {
		return HoldResult{time.Since(start).Seconds()}, release, nil
	}
	shape, err := newShape(spec.Proxy != "", spec.Target, 64)
	if err != nil {
		return r, release, err
	}
	receive, send := mmsg.NewReceiver(receiveSize, false), mmsg.NewSender()
	for i, a := range all {
		back := false
		for try := uint32(1); try <= 5 && !back; try++ {
			send.Add(shape.write(0, uint32(i), 0, try), netip.AddrPort{})
			send.Flush(a.fd)
			back = answer(a.fd, receive, &shape, try)
		}
		if !back {
			return r, release, fmt.Errorf("association %d of %d carries nothing", i, len(all))
		}
	}
	return HoldResult{time.Since(start).Seconds()}, release, nil
}
