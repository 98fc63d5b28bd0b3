package loads

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mpsocks/mpsocks/integration/netlab"
)

// World is the far end of all loads.
type World struct {
	Addr  netip.Addr
	place Place
	udp   *socket
	tcp   net.Listener

	stop atomic.Bool
	wg   sync.WaitGroup
	next atomic.Uint32

	mu      sync.RWMutex // guards the following fields
	flows   map[uint32]*arrival
	streams map[uint64]*counter
	open    map[net.Conn]bool
}

// arrival is the world's view of one flow of datagrams.
type arrival struct {
	mode   Direction
	record *record // of an upload
	peer   name    // where datagrams of the flow come from
	heard  chan struct{}
	once   sync.Once
}

// NewWorld listens on the address, in the place. The caller closes it.
func NewWorld(place Place, addr netip.Addr) (*World, error) {
	w := &World{Addr: addr, place: place, flows: map[uint32]*arrival{}, streams: map[uint64]*counter{}, open: map[net.Conn]bool{}}
	err := place.Do(func() (err error) {
		if w.udp, err = openSocket(netip.AddrPortFrom(addr, DatagramPort), netip.AddrPort{}); err != nil {
			return err
		}
		var lc net.ListenConfig
		lc.SetMultipathTCP(false)
		w.tcp, err = lc.Listen(context.Background(), "tcp", netip.AddrPortFrom(addr, StreamPort).String())
		return err
	})
	if err != nil {
		if w.udp != nil {
			w.udp.close()
		}
		return nil, fmt.Errorf("world: %w", err)
	}
	w.wg.Go(w.serveDatagrams)
	w.wg.Go(w.serveStreams)
	return w, nil
}

// Close ends the world and everything that its loads still do.
func (w *World) Close() error {
	w.stop.Store(true)
	err := w.tcp.Close()
	w.mu.Lock()
	for c := range w.open {
		c.Close()
	}
	w.mu.Unlock()
	w.wg.Wait()
	w.udp.close()
	return err
}

// serveDatagrams receives and echoes until Close. Started by NewWorld.
func (w *World) serveDatagrams() {
	restore := netlab.Realtime(netlab.PriorityLoad)
	defer restore()
	in, out := newMessages(65536), newMessages(65536)
	lens := make([]int, 0, batch)
	for !w.stop.Load() {
		n, err := w.udp.receive(in)
		if err != nil {
			return
		}
		if n == 0 {
			continue
		}
		lens = lens[:0]
		w.mu.RLock()
		for i := range n {
			p, at := w.udp.at(in, i)
			if !p.valid() {
				continue
			}
			f := w.flows[p.flow()]
			if f == nil {
				continue
			}
			f.once.Do(func() {
				f.peer = in.names[i]
				close(f.heard)
			})
			switch f.mode {
			case Up:
				f.record.note(p, at)
			case Echo:
				p.setEchoed(at)
				// The buffers change hands: the echo leaves from the one it came in.
				k := len(lens)
				in.bufs[i], out.bufs[k] = out.bufs[k], in.bufs[i]
				out.names[k] = in.names[i]
				lens = append(lens, len(p))
			}
		}
		w.mu.RUnlock()
		if len(lens) > 0 {
			w.udp.send(out, lens, true)
		}
	}
}

// Datagrams runs one flow to its end and says what became of it.
func (w *World) Datagrams(ctx context.Context, r Route, d Datagrams) (*DatagramResult, error) {
	if err := d.validate(); err != nil {
		return nil, err
	}
	s, release, err := r.openDatagrams(ctx, netip.AddrPortFrom(w.Addr, DatagramPort))
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", d.Name, err)
	}
	defer release()
	if d.Begin.IsZero() {
		d.Begin = time.Now()
	}
	// Room for every datagram of the flow, and the hellos of a download.
	rec := newRecord(int(d.Rate*d.Duration.Seconds())+1, d.Size)
	id := w.next.Add(1)
	far := &arrival{mode: d.Direction, record: rec, heard: make(chan struct{})}
	w.mu.Lock()
	w.flows[id] = far
	w.mu.Unlock()

	var got, total atomic.Int64 // unique arrivals at the client; datagrams sent, once known
	total.Store(-1)
	done, end := make(chan struct{}), make(chan struct{})
	go func() { // the client's receiver; ended by done or by the last datagram
		defer close(end)
		in := newMessages(65536)
		for {
			select {
			case <-done:
				return
			default:
			}
			n, err := s.receive(in)
			if err != nil {
				return
			}
			for i := range n {
				p, at := s.at(in, i)
				if p.valid() && p.flow() == id && d.Direction != Up && rec.note(p, at) {
					got.Add(1)
				}
			}
			if t := total.Load(); t >= 0 && got.Load() >= t {
				return
			}
		}
	}()
	var left, late []int64
	if d.Direction == Down {
		if err = s.hello(ctx, id, far.heard); err == nil {
			left, late = w.udp.sendFlow(ctx, &d, id, &far.peer)
		}
	} else {
		left, late = s.sendFlow(ctx, &d, id, nil)
	}
	if d.Direction == Up {
		settle(ctx, end, func() int {
			w.mu.Lock() // keeps the world from noting meanwhile
			defer w.mu.Unlock()
			return rec.highest
		})
	} else {
		total.Store(int64(len(left)))
		settle(ctx, end, func() int { return int(got.Load()) })
	}
	close(done)
	<-end
	w.mu.Lock()
	delete(w.flows, id)
	w.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", d.Name, err)
	}
	res := rec.judge(&d, left, d.Begin)
	res.SenderLate = percentilesOf(late)
	return res, ctx.Err()
}

// settle waits for stragglers: until everything is there, or nothing new has come for a second.
func settle(ctx context.Context, end <-chan struct{}, progress func() int) {
	const patience = time.Second
	last, since := progress(), time.Now()
	for time.Since(since) < patience {
		select {
		case <-end:
			return
		case <-ctx.Done():
			return
		case <-time.After(50 * time.Millisecond):
		}
		if n := progress(); n != last {
			last, since = n, time.Now()
		}
	}
}

// hello tells the world where a download should go, until it has heard.
func (s *socket) hello(ctx context.Context, flow uint32, heard <-chan struct{}) error {
	m := newMessages(payloadSize)
	for range 50 {
		payload(m.bufs[0]).fill(flow, 1<<62, wallClock())
		s.send(m, []int{payloadSize}, false)
		select {
		case <-heard:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	return errors.New("the world heard nothing for five seconds")
}

// openDatagrams makes the application's socket for one destination, inside an association if there is a proxy.
func (r Route) openDatagrams(ctx context.Context, to netip.AddrPort) (s *socket, release func(), err error) {
	if !r.Proxy.IsValid() {
		err = r.Place.Do(func() (err error) {
			var bind netip.AddrPort
			if r.Source.IsValid() {
				bind = netip.AddrPortFrom(r.Source, 0)
			}
			s, err = openSocket(bind, to)
			return err
		})
		if err != nil {
			return nil, nil, err
		}
		return s, s.close, nil
	}
	control, relay, err := r.associate(ctx)
	if err != nil {
		return nil, nil, err
	}
	err = r.Place.Do(func() (err error) {
		s, err = openSocket(netip.AddrPort{}, relay)
		return err
	})
	if err != nil {
		control.Close()
		return nil, nil, err
	}
	s.prefix = datagramHeader(to)
	return s, func() { s.close(); control.Close() }, nil
}
