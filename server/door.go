package server

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/mpsocks/mpsocks/mux/packet"
	"github.com/mpsocks/mpsocks/mux/tcpio"
)

// A door is one published TCP port. The streams of its client wait for the
// connections that come; more wait in the system's own queue.
type door struct {
	at      netip.AddrPort
	client  *client
	sockets *sockets // where its own is counted
	ln      *net.TCPListener
	closed  chan struct{}
	refs    int         // streams that wait; guarded by publishing.mu
	rest    *time.Timer // closes it, or nil; guarded by publishing.mu

	came    chan struct{} // has room for one: a stream waits
	mu      sync.Mutex    // guards the rest
	waiting []*waiter     // in order
}

// A waiter is a stream that waits at a door.
type waiter struct {
	peer  *peer
	visit chan *visit // has room for one
}

// wait has a stream wait.
func (d *door) wait(p *peer) *waiter {
	w := &waiter{p, make(chan *visit, 1)}
	d.mu.Lock()
	d.waiting = append(d.waiting, w)
	d.mu.Unlock()
	d.look()
	return w
}

// look has whoever has a connection look for a stream.
func (d *door) look() {
	select {
	case d.came <- struct{}{}:
	default:
	}
}

// quit takes a stream out that waits no more; false if a connection is on its way to it.
func (d *door) quit(w *waiter) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.Index(d.waiting, w)
	if i >= 0 {
		d.waiting = slices.Delete(d.waiting, i, i+1)
	}
	return i >= 0
}

// next takes out the stream that has waited for longest, of a session that has a subflow if there
// is one: what a client that was killed has left waits as long as its session does. nil is none.
func (d *door) next() (w *waiter) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.waiting) == 0 {
		return nil
	}
	i := max(slices.IndexFunc(d.waiting, func(w *waiter) bool { return w.peer.session.Up() }), 0)
	w = d.waiting[i]
	if d.waiting = slices.Delete(d.waiting, i, i+1); len(d.waiting) > 0 {
		d.look()
	}
	return w
}

// give gives a connection to a stream that waits, or ends it where none comes.
func (d *door) give(v *visit) {
	end := time.NewTimer(doorRest)
	defer end.Stop()
	for {
		if w := d.next(); w != nil {
			w.visit <- v // its stream gives the visit's place back
			return
		}
		select {
		case <-d.came:
			continue
		case <-end.C:
		case <-d.closed:
		}
		d.client.visits.leave(v)
		v.conn.Close()
		return
	}
}

// accept hands connections to the streams that wait, until the door is closed.
func (d *door) accept() {
	_ = tcpio.AcceptAll(context.Background(), d.ln.AcceptTCP, func(conn *net.TCPConn) {
		select {
		case <-d.closed:
			conn.Close()
			return
		default:
		}
		v := d.client.visits.enter(conn, conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr(), int(d.client.streams.max.Load()))
		if v == nil {
			d.client.wrong("a connection to its port " + d.at.String() + " was refused: it has as many as may come from there, or from outside")
			_ = conn.SetLinger(0)
			conn.Close()
			return
		}
		d.give(v)
	}, func(err error) {
		d.client.wrong("connections to its port " + d.at.String() + " cannot be accepted: " + err.Error())
	})
}

// await waits with a stream for a connection, and carries it; leave is called when the
// stream waits no more: what is carried does not keep a port open that nobody wants.
func await(p *peer, st stream, d *door, leave func()) {
	// The client says nothing before it has heard of a connection: what can be
	// read is the end.
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = st.Read(make([]byte, 1))
	}()
	w := d.wait(p)
	select {
	case v := <-w.visit:
		leave()
		select {
		case <-gone:
			d.give(v)
		default:
			receive(p, st, d, v, gone)
		}
		return
	case <-gone:
	case <-d.closed:
		st.Reset()
		<-gone
	}
	if !d.quit(w) {
		leave()
		d.give(<-w.visit)
	}
}

// receive carries a connection by the stream that has waited for it.
func receive(p *peer, st stream, d *door, v *visit, gone <-chan struct{}) {
	defer d.client.visits.leave(v)
	conn := v.conn
	if !p.server.sockets.take(&p.client.sockets, exitSocket) {
		p.server.connects.capped.Add(1)
		p.client.wrong("a connection to its port " + d.at.String() + " was refused: its share of file descriptors is used")
		_ = conn.SetLinger(0)
		conn.Close()
		st.Reset()
		<-gone
		return
	}
	defer p.server.sockets.give(&p.client.sockets, exitSocket)
	_ = st.SetReadDeadline(time.Unix(1, 0))
	<-gone
	_ = st.SetReadDeadline(time.Time{})
	from, to := conn.RemoteAddr().(*net.TCPAddr).AddrPort(), conn.LocalAddr().(*net.TCPAddr).AddrPort()
	if _, err := st.Write(packet.AppendVisitor(nil, from, to)); err != nil {
		_ = conn.SetLinger(0)
		conn.Close()
		return
	}
	s := p.server
	e := newExit(p.ctx, p, p.client, st)
	s.exits.clamp(p.client, conn)
	s.exits.add(e, s.now())
	defer s.exits.remove(e)
	stopFailure := st.AfterFailure(e.fail)
	defer stopFailure()
	defer e.finish()
	if e.connected(conn) {
		go e.up()
		e.down()
		<-e.upDone
	}
}
