package client

import "net"

// admit starts the goroutine of a connection at a TCP forward.
func (f *forward) admit(conn *net.TCPConn) {
	if f.client.crowd.enter(conn) {
		go f.serve(conn)
	}
}

// serve makes the connection that the forward is for, and copies. It was started
// by admit; the end of either connection stops it.
func (f *forward) serve(conn *net.TCPConn) {
	c := f.client
	defer c.crowd.wg.Done() // counted by track
	defer c.crowd.forget(conn)
	defer conn.Close()
	if err := f.connect(conn); err != nil {
		c.log.Debug().Err(err).Stringer("app", conn.RemoteAddr()).Stringer("forward", f.listen).Msg("forwarded connection ended")
		conn.SetLinger(0) // refused is what the application should see
	}
}

// connect asks the exit for the forward's destination.
func (f *forward) connect(conn *net.TCPConn) error {
	t := f.target.Load()
	flight := exitRequest(string(t.host), t.to.Addr(), t.to.Port())
	k, err := newCall(f.client, conn, "", flight)
	if err != nil {
		return err
	}
	defer k.end()
	return k.lead(flight)
}
