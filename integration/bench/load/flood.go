//go:build linux

package load

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/mmsg"
)

// FloodSpec asks for datagrams as fast as they come back.
type FloodSpec struct {
	Proxy        string         // host:port; empty: straight to the target
	Target       netip.AddrPort // a UDP echo
	Associations int
	Window       int // datagrams outstanding on each association
	// Active limits how many associations are used at a time, each for one
	// full window, then the next ones in turn; 0 uses all of them all the
	// time, a new datagram for each that comes back. With Active each
	// association gets one datagram before the warm-up, so that what is set
	// up on first use stands.
	Active   int
	Size     int // payload bytes, at least 20
	Warmup   time.Duration
	Duration time.Duration
	PIDs     []int // whose processor time is wanted
}

// FloodResult is what was counted between the end of the warm-up and the end.
type FloodResult struct {
	Seconds    float64
	RoundTrips int64
	Lost       int64     // not back within lossTimeout
	Late       int64     // back after all
	Bad        int64     // not ours, cut, or altered in its header
	CPU        []float64 // seconds, as PIDs
}

// Wrong says why the flood is no measurement.
func (r *FloodResult) Wrong() error {
	switch {
	case r.RoundTrips == 0:
		return fmt.Errorf("no datagram came back, %d were lost", r.Lost)
	case r.Bad > 0:
		return fmt.Errorf("%d of %d datagrams came back altered", r.Bad, r.RoundTrips)
	}
	return nil
}

const (
	// lossTimeout is when a datagram counts as lost. Loopback answers within
	// milliseconds, a full queue within some tens.
	lossTimeout = time.Second
	// sweepEvery is how often lost ones are looked for.
	sweepEvery = 100 * time.Millisecond
	// receiveSize is room for the longest datagram and its header.
	receiveSize = 2048
)

// flooder is the one loop of a flood.
type flooder struct {
	spec    FloodSpec
	all     []association
	flows   []flow
	next    int // whose turn is next
	turns   int // how many there were
	limit   int // slots used of a window: one until each association had a turn
	poller  *mmsg.Poller
	receive *mmsg.Receiver
	send    *mmsg.Sender
	shape   shape
	now     time.Duration // of this round, since the start
	result  FloodResult
}

// flow is an association's window.
type flow struct {
	slots   []slot
	missing int // outstanding
}

// slot is one datagram of a window.
type slot struct {
	sent       time.Duration
	generation uint32 // tells a late answer from the present one's
	out        bool
}

// Flood runs one flood.
func Flood(spec FloodSpec) (FloodResult, error) {
	all, err := openAll(spec.Associations, spec.Proxy, spec.Target, false, 0)
	if err != nil {
		return FloodResult{}, err
	}
	defer closeAll(all)
	f := &flooder{spec: spec, all: all, receive: mmsg.NewReceiver(receiveSize, false), send: mmsg.NewSender()}
	if f.shape, err = newShape(spec.Proxy != "", spec.Target, spec.Size); err != nil {
		return FloodResult{}, err
	}
	if f.poller, err = mmsg.NewPoller(); err != nil {
		return FloodResult{}, err
	}
	defer f.poller.Close()
	f.limit = spec.Window
	f.flows = make([]flow, len(all))
	for i := range all {
		f.flows[i].slots = make([]slot, spec.Window)
		if err := f.poller.Add(all[i].fd, int32(i)); err != nil {
			return FloodResult{}, fmt.Errorf("watch association %d: %w", i, err)
		}
	}
	return f.run()
}

func (f *flooder) run() (FloodResult, error) {
	if f.spec.Active == 0 {
		for i := range f.flows {
			f.fill(i)
		}
	}
	if f.spec.Active > 0 {
		f.limit = 1
		for range f.spec.Active {
			f.turn()
		}
	}
	var (
		begin     = time.Now()
		primed    = f.spec.Active == 0
		warm      = f.spec.Warmup // when the warm-up ends
		measured  time.Duration   // when it has ended
		used      []float64
		nextSweep = sweepEvery
		err       error
	)
	for {
		n, err := f.poller.Wait(10 * time.Millisecond)
		if err != nil {
			return f.result, err
		}
		f.now = time.Since(begin)
		for i := range n {
			f.drain(int(f.poller.Ready(i)))
		}
		if f.now > nextSweep {
			nextSweep = f.now + sweepEvery
			f.sweep()
		}
		if !primed && f.turns >= len(f.flows)+f.spec.Active {
			primed, f.limit, warm = true, f.spec.Window, f.now+f.spec.Warmup
		}
		if measured == 0 && primed && f.now >= warm {
			measured, f.result = f.now, FloodResult{}
			if used, err = CPU(f.spec.PIDs); err != nil {
				return f.result, err
			}
		}
		if measured != 0 && f.now >= measured+f.spec.Duration {
			break
		}
	}
	f.result.Seconds = (f.now - measured).Seconds()
	f.result.CPU, err = since(f.spec.PIDs, used)
	return f.result, err
}

// drain reads what has come back to an association and sends the next ones.
func (f *flooder) drain(i int) {
	fl := &f.flows[i]
	for {
		n, err := f.receive.Receive(f.all[i].fd)
		if err != nil {
			break // EAGAIN, or an ICMP error: the sweep will count it
		}
		for k := range n {
			id, at, generation, ok := f.shape.read(f.receive.Data(k))
			if !ok || id != uint32(i) || int(at) >= len(fl.slots) {
				f.result.Bad++
				continue
			}
			s := &fl.slots[at]
			if !s.out || s.generation != generation {
				f.result.Late++
				continue
			}
			s.out = false
			fl.missing--
			f.result.RoundTrips++
		}
		if n < mmsg.BatchSize {
			break
		}
	}
	f.advance(i)
}

// advance goes on after slots have become free: here, or with the next
// association whose turn it is.
func (f *flooder) advance(i int) {
	if f.spec.Active == 0 {
		f.fill(i)
	} else if f.flows[i].missing == 0 {
		f.turn()
	}
}

// turn lets the next association send its window.
func (f *flooder) turn() {
	for range f.flows {
		i := f.next
		f.next = (f.next + 1) % len(f.flows)
		if f.flows[i].missing == 0 {
			f.turns++
			f.fill(i)
			return
		}
	}
}

// fill sends every free slot of an association.
func (f *flooder) fill(i int) {
	fl := &f.flows[i]
	if fl.missing >= f.limit {
		return
	}
	for at := range fl.slots[:f.limit] {
		s := &fl.slots[at]
		if s.out {
			continue
		}
		s.generation++
		s.sent, s.out = f.now, true
		fl.missing++
		f.send.Add(f.shape.write(f.send.Len(), uint32(i), uint32(at), s.generation), netip.AddrPort{})
		if f.send.Full() {
			f.send.Flush(f.all[i].fd)
		}
	}
	f.send.Flush(f.all[i].fd) // what the kernel refuses is lost, and counted by the sweep
}

// sweep counts what did not come back in time, and goes on without it.
func (f *flooder) sweep() {
	for i := range f.flows {
		fl := &f.flows[i]
		if fl.missing == 0 {
			continue
		}
		lost := 0
		for at := range fl.slots {
			if s := &fl.slots[at]; s.out && f.now-s.sent > lossTimeout {
				s.out = false
				lost++
			}
		}
		if lost > 0 {
			fl.missing -= lost
			f.result.Lost += int64(lost)
			f.advance(i)
		}
	}
}
