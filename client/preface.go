package client

import (
	"io"
	"sync"
)

// preface reads what an application sends before a connection is an association
// or a stream: the method negotiation, the password, the request. It reads as
// much as there is, so that a handshake costs few system calls, and keeps all
// of it: what follows the request belongs to the stream.
type preface struct {
	conn io.Reader
	// The longest handshake has 257 + 513 + 262 bytes, so that there is always
	// room for more when more is needed.
	buf        [2048]byte
	start, end int // what is read but not used
}

var prefaces = sync.Pool{New: func() any { return new(preface) }}

func newPreface(conn io.Reader) *preface {
	p := prefaces.Get().(*preface)
	p.conn, p.start, p.end = conn, 0, 0
	return p
}

// release gives the preface back; its bytes may hold a password.
func (p *preface) release() {
	clear(p.buf[:p.end])
	p.conn = nil
	prefaces.Put(p)
}

// peek returns the first byte without using it.
func (p *preface) peek() (byte, error) {
	if p.start == p.end {
		n, err := p.conn.Read(p.buf[p.end:])
		if n == 0 {
			return 0, err
		}
		p.end += n
	}
	return p.buf[p.start], nil
}

// Read implements io.Reader.
func (p *preface) Read(b []byte) (int, error) {
	if _, err := p.peek(); err != nil {
		return 0, err
	}
	n := copy(b, p.buf[p.start:p.end])
	p.start += n
	return n, nil
}
