package stream

import (
	"io"
	"net"
	"reflect"
	"syscall"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/hands"
	"github.com/mpsocks/mpsocks/mux/tcpio"
)

// A source reads an application's connection into Buffers, for one
// ReadFrom. want follows how much a read brings: 1 buffer for a trickle, up to
// writeRun for bulk.
type source struct {
	r     io.Reader
	fills filler          // set: r, which fills the buffers itself
	raw   syscall.RawConn // set: read the socket itself
	tap   tap
	read1 func(fd uintptr) bool
	room  int
	want  int
	n     int
	run   [writeRun]*buf.Buffer
	err   error
	last  int // bytes of the last plain read

	hands *hands.Hands
	hand  *hands.Hand // until done
}

// A filler is a reader of whatever package that fills many Buffers at once.
type filler interface {
	// Fill waits until there is something to read and puts it into Buffers of that size,
	// up to len(run) of them, which are then the caller's. It returns how many.
	Fill(run []*buf.Buffer, size int) (int, error)
}

// newStreamSource looks whether r is a TCP or Unix socket of package net
// itself. Types that wrap one may count or limit in their Read, so they are
// read through it. io.Copy hands over an unexported type of net, hence the
// look at the package's name.
func newStreamSource(r io.Reader, h *hands.Hands) *source {
	s := &source{r: r, hands: h, want: 1}
	s.read1 = s.readable
	if f, ok := r.(filler); ok {
		s.fills = f
		return s
	}
	sc, ok := r.(interface {
		syscall.Conn
		LocalAddr() net.Addr
	})
	if !ok || !vectored {
		return s
	}
	t := reflect.TypeOf(r)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.PkgPath() != "net" && !tcpio.Is(r) {
		return s
	}
	switch sc.LocalAddr().(type) {
	case *net.TCPAddr, *net.UnixAddr:
		if raw, err := sc.SyscallConn(); err == nil {
			s.raw = raw
		}
	}
	return s
}

// read returns buffers with up to about room bytes of data, which the caller
// owns until the next call, and what ended r, if anything.
func (s *source) read(room int) ([]*buf.Buffer, error) {
	s.room, s.n, s.err = room, 0, nil
	if s.fills != nil {
		s.n, s.err = s.fills.Fill(s.run[:min(max(1, room/payloadOf), writeRun)], payloadOf)
		s.work()
		return s.run[:s.n], s.err
	}
	if s.raw == nil {
		s.plain()
		s.work()
		return s.run[:s.n], s.err
	}
	if err := s.raw.Read(s.read1); err != nil {
		for _, b := range s.run[:s.n] { // it was closed meanwhile
			b.Release()
		}
		return nil, err
	}
	return s.run[:s.n], s.err
}

// work waits for a hand for what read brings, and done gives it back.
func (s *source) work() { s.hand = s.hands.Take() }

func (s *source) done() {
	s.hand.Give()
	s.hand = nil
}

// plain reads through r. A reader that trickles holds a small buffer only.
func (s *source) plain() {
	size := buf.SmallSize
	if s.last >= buf.SmallSize {
		size = payloadOf
	}
	b := buf.Get(size)
	n, err := s.r.Read(b.Bytes())
	s.last, s.err = n, err
	if n > 0 {
		b.Resize(n)
		s.run[0], s.n = b, 1
		return
	}
	b.Release()
}

// readable is called with a socket that may have data; false waits for more.
func (s *source) readable(fd uintptr) bool {
	s.work()
	k := min(s.want, max(1, s.room/payloadOf))
	for i := range k {
		s.run[i] = buf.Get(payloadOf)
	}
	n, err := s.tap.read(fd, s.run[:k])
	s.n = 0
	for i := range k {
		m := min(max(n, 0), payloadOf)
		n -= m
		if m == 0 {
			s.run[i].Release()
			s.run[i] = nil
			continue
		}
		s.run[i].Resize(m)
		s.n = i + 1
	}
	switch {
	case err == syscall.EAGAIN:
		s.want = 1
		s.done()
		return false
	case err != nil:
		s.err = err
	case s.n == 0:
		s.err = io.EOF
	case s.n == k && s.run[k-1].Len() == payloadOf:
		s.want = min(s.want*2, writeRun)
	case s.n < k:
		s.want = max(1, s.n)
	}
	return true
}
