//go:build linux

package load

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/mmsg"
)

// PacedSpec asks for one flow at a rate, whatever comes back.
type PacedSpec struct {
	Proxy    string // host:port; empty: straight to the target
	Target   netip.AddrPort
	Size     int
	Rate     int // datagrams a second
	Warmup   time.Duration
	Duration time.Duration
	PIDs     []int // of the halves
}

// PacedResult holds what the measured time has shown. Times are in microseconds and
// count from when a datagram was due.
type PacedResult struct {
	P50, P99    float64
	Count, Lost int
	CPU         []float64 // seconds of each half
	Switches    []float64 // of contexts, of each half
}

// Paced sends datagrams at their times and takes the echoes in any order.
func Paced(spec PacedSpec) (PacedResult, error) {
	var r PacedResult
	all, err := openAll(1, spec.Proxy, spec.Target, true, lossTimeout)
	if err != nil {
		return r, err
	}
	defer closeAll(all)
	shape, err := newShape(spec.Proxy != "", spec.Target, spec.Size)
	if err != nil {
		return r, err
	}
	gap := time.Second / time.Duration(spec.Rate)
	before, n := int(spec.Warmup/gap), int((spec.Warmup+spec.Duration)/gap)
	begin := time.Now().Add(gap)
	due := func(i int) time.Time { return begin.Add(time.Duration(i) * gap) }
	times := make([]time.Duration, n)
	var done atomic.Bool
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		receive := mmsg.NewReceiver(receiveSize, false)
		for {
			got, err := receive.Wait(all[0].fd)
			if err != nil { // nothing for lossTimeout
				if done.Load() {
					return
				}
				continue
			}
			now := time.Now()
			for k := range got {
				if _, _, g, ok := shape.read(receive.Data(k)); ok && int(g) < n && times[g] == 0 {
					times[g] = now.Sub(due(int(g)))
				}
			}
		}
	}()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	send := mmsg.NewSender()
	var cpu, switches []float64
	for i := range n {
		time.Sleep(time.Until(due(i)))
		if i == before {
			if cpu, err = CPU(spec.PIDs); err != nil {
				break
			}
			if switches, err = Switches(spec.PIDs); err != nil {
				break
			}
		}
		send.Add(shape.write(0, 0, 0, uint32(i)), netip.AddrPort{})
		send.Flush(all[0].fd)
	}
	if err == nil {
		r.CPU, err = since(spec.PIDs, cpu)
	}
	if err == nil {
		r.Switches, err = Switches(spec.PIDs)
	}
	done.Store(true)
	<-ended
	if err != nil {
		return r, err
	}
	for i := range r.Switches {
		r.Switches[i] -= switches[i]
	}
	back := slices.DeleteFunc(slices.Clone(times[before:]), func(d time.Duration) bool { return d == 0 })
	r.Count, r.Lost = len(back), n-before-len(back)
	if r.Count == 0 {
		return r, fmt.Errorf("no datagram came back, %d were lost", r.Lost)
	}
	slices.Sort(back)
	r.P50, r.P99 = float64(back[r.Count/2])/1e3, float64(back[r.Count*99/100])/1e3
	return r, nil
}
