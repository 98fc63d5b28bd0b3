package client

import "github.com/mpsocks/mpsocks/mux/tcpio"

// admit serves a connection at a TCP forward.
func (f *forward) admit(conn tcpio.Socket) { f.client.crowd.Serve(conn, f.connect) }

// connect asks the exit for the forward's destination.
func (f *forward) connect(conn tcpio.Socket) error {
	t := f.target.Load()
	flight := exitRequest(string(t.host), t.to.Addr(), t.to.Port())
	k, err := newCall(f.client, conn, "", flight)
	if err != nil {
		return err
	}
	defer k.end()
	return k.lead(flight, func() {})
}
