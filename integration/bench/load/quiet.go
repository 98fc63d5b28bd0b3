//go:build linux

package load

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/mmsg"
)

// QuietSpec asks for one flow with one datagram outstanding.
type QuietSpec struct {
	Proxy    string // host:port; empty: straight to the target
	Target   netip.AddrPort
	Size     int
	Warmup   time.Duration
	Duration time.Duration
}

// QuietResult holds round-trip times in microseconds.
type QuietResult struct {
	P50, P99, Max float64
	Count, Lost   int
}

// Quiet sends a datagram, waits for its echo, and again.
func Quiet(spec QuietSpec) (QuietResult, error) {
	var r QuietResult
	all, err := openAll(1, spec.Proxy, spec.Target, true, lossTimeout)
	if err != nil {
		return r, err
	}
	defer closeAll(all)
	shape, err := newShape(spec.Proxy != "", spec.Target, spec.Size)
	if err != nil {
		return r, err
	}
	receive, send := mmsg.NewReceiver(receiveSize, false), mmsg.NewSender()
	times := make([]time.Duration, 0, 1<<20)
	begin := time.Now()
	for generation := uint32(1); ; generation++ {
		start := time.Now()
		if start.Sub(begin) >= spec.Warmup+spec.Duration {
			break
		}
		send.Add(shape.write(0, 0, 0, generation), netip.AddrPort{})
		send.Flush(all[0].fd)
		back := answer(all[0].fd, receive, &shape, generation)
		switch {
		case !back:
			r.Lost++
		case start.Sub(begin) < spec.Warmup:
		default:
			times = append(times, time.Since(start))
		}
	}
	if len(times) == 0 {
		return r, fmt.Errorf("no datagram came back, %d were lost", r.Lost)
	}
	slices.Sort(times)
	micro := func(d time.Duration) float64 { return float64(d) / 1e3 }
	r.Count = len(times)
	r.P50, r.P99, r.Max = micro(times[r.Count/2]), micro(times[r.Count*99/100]), micro(times[r.Count-1])
	return r, nil
}

// answer waits for one generation's echo; false after lossTimeout without.
func answer(fd int, receive *mmsg.Receiver, s *shape, generation uint32) bool {
	for {
		n, err := receive.Wait(fd)
		if err != nil {
			return false
		}
		for i := range n {
			if _, _, g, ok := s.read(receive.Data(i)); ok && g == generation {
				return true
			}
		}
	}
}
