package carrier

import (
	"context"
	"crypto/tls"
	"net"
	"sync/atomic"
	"time"
)

// maxRecord is the largest TLS plaintext record (RFC 8446, Section 5.1).
const maxRecord = 16384

// TLS is the carrier of TLS 1.3 over TCP: each frame is one record. A TLS is begun by
// NewTLS and Client or Server.
type TLS struct {
	sock *socket
	conn *tls.Conn // since the handshake began
	hush hush      // see Hush

	kernel atomic.Int64 // bytes that were outstanding when the kernel was last asked
}

// NewTLS sets the options of a TCP connection, as best effort, and makes a carrier of it.
// lowat is how many bytes the kernel may hold that it has not sent, until Tune.
func NewTLS(tcp net.Conn, lowat int) *TLS {
	tune(tcp, lowat)
	return &TLS{sock: newSocket(tcp)}
}

// Client does the handshake of the end that connected.
func (t *TLS) Client(ctx context.Context, cfg *tls.Config) error {
	t.conn = tls.Client(t.sock, cfg)
	return t.conn.HandshakeContext(ctx)
}

// Server does the handshake of the end that was connected to.
func (t *TLS) Server(ctx context.Context, cfg *tls.Config) error {
	if t.hush.on {
		t.hush.socket = t.sock
		t.conn = tls.Server(&t.hush, cfg)
	} else {
		t.conn = tls.Server(t.sock, cfg)
	}
	return t.conn.HandshakeContext(ctx)
}

// State is what TLS knows of the other end, since Client or Server.
func (t *TLS) State() tls.ConnectionState { return t.conn.ConnectionState() }

// TCP is the connection under TLS, for the time until the handshake.
func (t *TLS) TCP() net.Conn { return t.sock.Conn }

// SetDeadline bounds the time of the handshakes, as of a net.Conn.
func (t *TLS) SetDeadline(at time.Time) error { return t.sock.SetDeadline(at) }

// Start implements Carrier.
func (t *TLS) Start() { t.sock.gathering = true }

// Write implements Carrier; before Start it writes through.
func (t *TLS) Write(p []byte) (int, error) { return t.conn.Write(p) }

// Flush implements Carrier.
func (t *TLS) Flush() (blocked bool, err error) { return t.sock.flush() }

// Drain implements Carrier.
func (t *TLS) Drain() error { return t.sock.drain() }

// LargestFrame implements Carrier: what one record holds. A frame of two can be read only
// when the second one is there.
func (t *TLS) LargestFrame() int { return maxRecord }

// Receive implements Carrier.
func (t *TLS) Receive(handle func() error) error { return t.sock.receive(handle) }

// Read implements Carrier; before Start it waits.
func (t *TLS) Read(p []byte) (int, error) { return t.conn.Read(p) }

// Whole implements Carrier: the next record is here as a whole.
func (t *TLS) Whole() bool { return t.sock.recordBuffered() }

// Idle implements Carrier.
func (t *TLS) Idle() bool { return t.sock.idle() }

// Carried implements Carrier: TCP's bytes, so with all of TLS.
func (t *TLS) Carried() (sent, received uint64) {
	return t.sock.written.Load(), t.sock.received.Load()
}

// Committed implements Carrier.
func (t *TLS) Committed() uint64 { return t.sock.written.Load() + uint64(len(t.sock.pending())) }

// Held implements Carrier: records that wait for the kernel, and what the kernel has of
// them that its peer has not acknowledged, as of the last Report.
func (t *TLS) Held() int { return t.sock.gathered() + int(t.kernel.Load()) }

// Report implements Carrier.
func (t *TLS) Report(full bool) (r Report) {
	r.Sent, r.Outstanding = t.sock.written.Load(), -1
	if out, ok := t.sock.outstanding(); ok {
		r.Outstanding = out
		t.kernel.Store(int64(out))
	}
	if full {
		r.Known = t.sock.info(&r)
	}
	return r
}

// Tune implements Carrier.
func (t *TLS) Tune(k Knob, v Setting) {
	switch k {
	case Lowat:
		t.sock.setLowat(v.Bytes)
	case Pace:
		t.sock.setPace(v.Rate)
	case Congestion:
		t.sock.setCongestion(v.Name)
	}
}

// LocalAddr implements Carrier.
func (t *TLS) LocalAddr() net.Addr { return t.sock.LocalAddr() }

// RemoteAddr implements Carrier.
func (t *TLS) RemoteAddr() net.Addr { return t.sock.RemoteAddr() }

// CloseWrite implements Carrier: FIN goes behind the last bytes.
func (t *TLS) CloseWrite() {
	if c, ok := t.sock.Conn.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
}

// Close implements Carrier.
func (t *TLS) Close() { t.sock.close() }

// Abort implements Carrier: TCP resets the connection.
func (t *TLS) Abort() {
	if tcp, ok := t.sock.Conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	t.Close()
}
