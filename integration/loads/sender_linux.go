package loads

import (
	"context"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/integration/netlab"
)

// nap is the shortest sleep of a sender: faster flows go out in bunches of what has come due meanwhile.
const nap = 200 * time.Microsecond

// monotonic is the clock that pacing goes by.
func monotonic() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return ts.Nano()
}

// sleepUntil sleeps in the thread itself.
func sleepUntil(t int64) {
	ts := unix.NsecToTimespec(t)
	for {
		_, _, errno := unix.Syscall6(unix.SYS_CLOCK_NANOSLEEP, unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
		if errno != unix.EINTR {
			return
		}
	}
}

// send sends the whole flow by absolute times and returns when each datagram left (Unix ns) and how late the batches
// were. Runs in the caller's goroutine, in the real-time class. peer is nil for a connected socket.
func (s *socket) sendFlow(ctx context.Context, d *Datagrams, flow uint32, peer *name) (left []int64, late []int64) {
	restore := netlab.Realtime(netlab.PriorityLoad)
	defer restore()
	total := int(d.Rate * d.Duration.Seconds())
	left, late = make([]int64, 0, total), make([]int64, 0, total)
	m := newMessages(d.Size)
	lens := make([]int, 0, batch)
	if peer != nil {
		for i := range m.names {
			m.names[i] = *peer
		}
	}
	every := 1e9 / d.Rate
	start := monotonic()
	for len(left) < total && ctx.Err() == nil {
		now := monotonic()
		due := start + int64(float64(len(left))*every)
		if now < due {
			sleepUntil(max(due, now+int64(nap)))
			continue
		}
		late = append(late, now-due)
		n := min(int(float64(now-start)/every)+1-len(left), total-len(left), batch)
		wall := wallClock()
		lens = lens[:0]
		for i := range n {
			payload(m.bufs[i]).fill(flow, uint64(len(left)), wall)
			left = append(left, wall)
			lens = append(lens, d.Size)
		}
		s.send(m, lens, peer != nil)
	}
	return left, late
}
