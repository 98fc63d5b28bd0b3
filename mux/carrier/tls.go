package carrier

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/mpsocks/mpsocks/mux/tcpio"
)

// maxRecord is the largest TLS plaintext record (RFC 8446, Section 5.1).
const maxRecord = 16384

// TLS is the carrier of TLS 1.3 over TCP: each frame is one record. A TLS is begun by
// NewTLS and Client or Server. The handshakes are crypto/tls's; the records behind Start are
// made here, with its secrets: see protection.
type TLS struct {
	sock   *socket
	conn   *tls.Conn // while the handshakes run, and never after: both would use the same nonces
	server bool
	said   keyLog
	failed error // Start has
	hush   hush  // see Hush

	kernel atomic.Int64 // bytes that were outstanding when the kernel was last asked
}

// NewTLS sets the options of a TCP connection, as best effort, and makes a carrier of it.
// lowat is how many bytes the kernel may hold that it has not sent, until Tune.
func NewTLS(tcp net.Conn, lowat int) *TLS {
	tune(tcp, lowat)
	return &TLS{sock: newSocket(tcp)}
}

// Waits has f call what waits for the other end, in the goroutine of whoever does the handshakes, until
// Start.
func (t *TLS) Waits(f func(wait func())) { t.sock.waits = f }

// Client does the handshake of the end that connected.
func (t *TLS) Client(ctx context.Context, cfg *tls.Config) error {
	t.conn = tls.Client(t.sock, t.said.of(cfg))
	return t.handshake(ctx)
}

// Server does the handshake of the end that was connected to. The configuration has to have session
// tickets disabled, as they are records behind it.
func (t *TLS) Server(ctx context.Context, cfg *tls.Config) error {
	t.server = true
	t.sock.most = mostTalk
	cfg = t.said.of(cfg)
	if t.hush.on {
		t.hush.socket = t.sock
		t.conn = tls.Server(&t.hush, cfg)
	} else {
		t.conn = tls.Server(t.sock, cfg)
	}
	return t.handshake(ctx)
}

func (t *TLS) handshake(ctx context.Context) error {
	err := t.conn.HandshakeContext(ctx)
	t.sock.most = 0
	t.sock.counts = err == nil // from here on each record is one of the traffic secrets
	return err
}

// State is what TLS knows of the other end, from Client or Server to Start.
func (t *TLS) State() tls.ConnectionState { return t.conn.ConnectionState() }

// TCP is the connection under TLS, for the time until the handshake.
func (t *TLS) TCP() net.Conn { return t.sock.Conn }

// SetDeadline bounds the time of the handshakes, as of a net.Conn.
func (t *TLS) SetDeadline(at time.Time) error { return t.sock.SetDeadline(at) }

// Start implements Carrier.
func (t *TLS) Start() {
	t.failed = t.takeOver()
	t.conn, t.said, t.sock.waits = nil, keyLog{}, nil
}

var errWithin = errors.New("tls: the handshakes ended within a record")

// takeOver goes on behind the records of crypto/tls.
func (t *TLS) takeOver() error {
	k := t.sock
	if t.conn == nil || !k.counts {
		return errors.New("tls: there was no handshake")
	}
	if k.left > 0 || k.headN > 0 {
		return errWithin
	}
	k.handsOver = true
	var first []byte // what has been opened and not read
	var b [1024]byte
	for {
		n, err := t.conn.Read(b[:])
		first = append(first, b[:n]...)
		if err == ErrNotYet {
			break
		}
		if err != nil {
			return err
		}
	}
	mine, theirs := t.said.client, t.said.server
	if t.server {
		mine, theirs = theirs, mine
	}
	id := t.conn.ConnectionState().CipherSuite
	seals, err := newProtection(id, mine, k.wrote)
	if err != nil {
		return err
	}
	opens, err := newProtection(id, theirs, k.read)
	if err != nil {
		return err
	}
	k.start(seals, opens, first)
	return nil
}

// Write implements Carrier; before Start it writes through.
func (t *TLS) Write(p []byte) (int, error) { return t.write(p, false) }

// WriteOver implements Carrier.
func (t *TLS) WriteOver(p []byte) (int, error) {
	return t.write(p, len(p) <= maxRecord && cap(p) > len(p))
}

func (t *TLS) write(p []byte, over bool) (int, error) {
	switch {
	case t.failed != nil:
		return 0, t.failed
	case !t.sock.started:
		return t.conn.Write(p)
	}
	if err := t.sock.put(p, over); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Flush implements Carrier.
func (t *TLS) Flush() (blocked bool, err error) { return t.sock.flush() }

// Drain implements Carrier.
func (t *TLS) Drain() error { return t.sock.drain() }

// LargestFrame implements Carrier: what one record holds. A frame of two can be read only
// when the second one is there.
func (t *TLS) LargestFrame() int { return maxRecord }

// Receive implements Carrier.
func (t *TLS) Receive(handle func() error, ready func() bool) error {
	if t.failed != nil {
		return t.failed
	}
	return t.sock.receive(handle, ready)
}

// Read implements Carrier.
func (t *TLS) Read(p []byte) (int, error) { return t.conn.Read(p) }

// Next implements Carrier.
func (t *TLS) Next() ([]byte, error) {
	p, _, err := t.sock.intake.next(nil)
	return p, err
}

// NextInto implements Carrier.
func (t *TLS) NextInto(room []byte) (p []byte, there bool, err error) {
	return t.sock.intake.next(room)
}

// Carried implements Carrier: TCP's bytes, so with all of TLS.
func (t *TLS) Carried() (sent, received uint64) {
	return t.sock.written.Load(), t.sock.received.Load()
}

// Committed implements Carrier.
func (t *TLS) Committed() uint64 { return t.sock.written.Load() + uint64(len(t.sock.pending())) }

// Held implements Carrier: records that wait for the kernel, what the kernel has of them that its
// peer has not acknowledged, as of the last Report, and what was read and waits for its turn.
func (t *TLS) Held() int { return t.sock.gathered() + int(t.kernel.Load()) + t.sock.intake.held() }

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
	if tcp, ok := t.sock.Conn.(tcpio.Socket); ok {
		tcp.SetLinger(0)
	}
	t.Close()
}
