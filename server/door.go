package server

import (
	"net"
	"net/netip"
	"time"

	"github.com/mpsocks/mpsocks/mux/packet"
)

// A door is one published TCP port. The streams of its client wait for the
// connections that come; more wait in the system's own queue.
type door struct {
	at      netip.AddrPort
	client  *client
	sockets *sockets // where its own is counted
	ln      *net.TCPListener
	visits  chan *visit // from accept to the streams that wait
	closed  chan struct{}
	refs    int         // streams that wait; guarded by publishing.mu
	rest    *time.Timer // closes it, or nil; guarded by publishing.mu
}

// accept hands connections to the streams that wait, until the door is closed.
func (d *door) accept() {
	for {
		conn, err := d.ln.AcceptTCP()
		select {
		case <-d.closed:
			if err == nil {
				conn.Close()
			}
			return
		default:
		}
		if err != nil {
			time.Sleep(acceptPause)
			continue
		}
		v := d.client.visits.enter(conn, conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr(), int(d.client.streams.max.Load()))
		if v == nil {
			d.client.wrong("a connection to its port " + d.at.String() + " was refused: it has as many as may come from there, or from outside")
			_ = conn.SetLinger(0)
			conn.Close()
			continue
		}
		select {
		case d.visits <- v: // whose stream gives its place back
			continue
		case <-time.After(doorRest):
		case <-d.closed:
		}
		d.client.visits.leave(v)
		conn.Close()
	}
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
	var v *visit
	select {
	case v = <-d.visits:
	case <-gone:
		return
	case <-d.closed:
		st.Reset()
		<-gone
		return
	}
	leave()
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
