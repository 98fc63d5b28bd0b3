package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"syscall"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/socks"
	"github.com/mpsocks/mpsocks/integration/netlab"
)

// What the two ends of a CONNECT do.
const (
	download  = iota // the world sends
	upload           // the program sends, ends its half, and is told how much came
	chat             // questions and answers in turn
	slow             // a download that is read slowly
	abandoned        // a download that the program closes on the way
	cut              // a download that the world resets on the way
	early            // an upload that is answered and not read
	idle             // a connection in which nothing happens for a long time
	streamKinds
)

var streamNames = [streamKinds]string{"download", "upload", "chat", "slow download", "abandoned", "cut by the world", "refused upload", "idle"}

// The head of a stream says what the world shall do with it: identity, kind, size.
const streamHead = 8 + 1 + 8

const (
	chatBlock = 100
	earlySize = 300 // of the answer to an upload that is not read
	maxStream = 1 << 20
)

var (
	// errContent says that other bytes came than were sent.
	errContent = errors.New("the bytes are wrong")
	// errShort says that a transfer that was cut looks like a whole one.
	errShort = errors.New("an end as if that were all")
)

// A stream is one CONNECT.
type stream struct {
	id    uint64
	kind  int
	size  int
	dst   string
	named bool
	begun time.Time
}

// connects makes one CONNECT after the other until the end.
func (s *soak) connects(ctx context.Context, r *rand.Rand) {
	for ctx.Err() == nil {
		w := &stream{id: uint64(s.lastStream.Add(1)), kind: r.IntN(streamKinds), begun: time.Now()}
		// As many of a thousand bytes as of a million.
		w.size = int(math.Exp(r.Float64()*math.Log(maxStream/1000)) * 1000)
		switch r.IntN(4) {
		case 0:
			w.dst = net.JoinHostPort(netlab.World6.String(), streamPort)
		case 1:
			w.named, w.dst = true, fmt.Sprintf("n%d.%s:%s", w.id, zone, streamPort) // in no cache
		default:
			w.dst = net.JoinHostPort(netlab.World.String(), streamPort)
		}
		n, err := s.connect(ctx, w, r)
		s.judgeStream(ctx, w, n, err)
		pause(ctx, 300*time.Millisecond+jitter(r, 2*time.Second))
	}
}

// errRefused is of a CONNECT that was not made.
type errRefused struct{ error }

// connect makes one and does what its kind says; n is how many bytes came right.
func (s *soak) connect(ctx context.Context, w *stream, r *rand.Rand) (n int, err error) {
	c, err := s.dial()
	if err != nil {
		return 0, errRefused{err}
	}
	defer c.Close()
	if _, err := socks.Request(c, socks.CommandConnect, w.dst); err != nil {
		return 0, errRefused{err}
	}
	t := &patient{TCPConn: c, patience: s.patience()}
	head := binary.BigEndian.AppendUint64(nil, w.id)
	head = binary.BigEndian.AppendUint64(append(head, byte(w.kind)), uint64(w.size))
	if _, err := t.Write(head); err != nil {
		return 0, err
	}
	switch w.kind {
	case download, slow:
		return expect(t, w.id, w.size, func() {
			if w.kind == slow {
				pause(ctx, jitter(r, 100*time.Millisecond))
			}
		})
	case cut:
		n, err := expect(t, w.id, w.size, func() {})
		if n == w.size {
			return n, errors.New("a transfer that the world cut short came whole")
		}
		if wasReset(err) {
			return n, nil
		}
		return n, err
	case abandoned:
		b := make([]byte, 1+r.IntN(w.size))
		n, err := io.ReadFull(t, b)
		if !right(b[:n], w.id, 0) {
			return n, errContent
		}
		return n, err
	case upload:
		if err := supply(t, w.id, w.size); err != nil {
			return 0, err
		}
		if err := c.CloseWrite(); err != nil {
			return 0, err
		}
		var b [9]byte
		n, err := io.ReadFull(t, b[:])
		if n == 8 && errors.Is(err, io.ErrUnexpectedEOF) {
			if got := binary.BigEndian.Uint64(b[:]); got != uint64(w.size) {
				return 0, fmt.Errorf("the world has %d of %d bytes", got, w.size)
			}
			return w.size, nil
		}
		return 0, answerless(err)
	case early:
		sent := make(chan error, 1)
		go func() { sent <- supply(t, w.id, 16*maxStream) }() // nobody reads it; ends with the connection
		n, err := expect(t, w.id, earlySize, func() {})
		c.Close()
		err = ending(err, <-sent)
		if n == earlySize && wasReset(err) { // the answer whole, then the reset
			return n, nil
		}
		return n, err
	case idle:
		pause(ctx, s.pace.unit+jitter(r, 8*s.pace.unit))
		return turn(t, w.id, 0, 1)
	}
	for n < w.size/10 { // chat
		k, err := turn(t, w.id, uint64(n), chatBlock)
		if n += k; err != nil {
			return n, err
		}
		pause(ctx, jitter(r, 200*time.Millisecond))
		if ctx.Err() != nil {
			break
		}
	}
	if err := c.CloseWrite(); err != nil {
		return n, err
	}
	_, err = expect(t, w.id, 0, func() {})
	return n, err
}

// answerless is the error of a connection that ended without its answer.
func answerless(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return errors.New("an end without the answer")
	}
	return err
}

// turn sends a block and wants it back.
func turn(t *patient, id, offset uint64, size int) (int, error) {
	b := make([]byte, size)
	fill(b, id, offset)
	if _, err := t.Write(b); err != nil {
		return 0, err
	}
	n, err := io.ReadFull(t, b)
	if !right(b[:n], id, offset) {
		return n, errContent
	}
	return n, err
}

// supply writes what the stream has in this direction.
func supply(w io.Writer, id uint64, size int) error {
	b := make([]byte, 16<<10)
	for at := 0; at < size; {
		k := min(len(b), size-at)
		fill(b[:k], id, uint64(at))
		n, err := w.Write(b[:k])
		if at += n; err != nil {
			return err
		}
	}
	return nil
}

// expect reads to the end, and wants so many bytes, all right.
func expect(r io.Reader, id uint64, size int, between func()) (n int, err error) {
	b := make([]byte, 32<<10)
	for {
		k, err := r.Read(b)
		if !right(b[:k], id, uint64(n)) {
			return n, errContent
		}
		n += k
		switch {
		case errors.Is(err, io.EOF) && n == size:
			return n, nil
		case errors.Is(err, io.EOF):
			return n, fmt.Errorf("%w, after %d of %d bytes", errShort, n, size)
		case err != nil:
			return n, err
		case n > size:
			return n, errContent
		}
		between()
	}
}

// A patient connection gives up when nothing happens for too long.
type patient struct {
	*net.TCPConn
	patience time.Duration
}

func (p *patient) Read(b []byte) (int, error) {
	_ = p.SetReadDeadline(time.Now().Add(p.patience))
	return p.TCPConn.Read(b)
}

func (p *patient) Write(b []byte) (int, error) {
	_ = p.SetWriteDeadline(time.Now().Add(p.patience))
	return p.TCPConn.Write(b)
}

func wasReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// ending is how a connection ended of which one goroutine reads and another writes: the
// system tells of a reset once, and where the writer hears of it the reader sees an end.
func ending(read, written error) error {
	if errors.Is(read, errShort) && errors.Is(written, syscall.ECONNRESET) {
		return written
	}
	return read
}

// judgeStream counts a CONNECT, and says what must not have happened.
func (s *soak) judgeStream(ctx context.Context, w *stream, n int, err error) {
	var refused errRefused
	since := func(before time.Duration, match func(string) bool) bool {
		return s.outages.during(w.begun.Add(-before), time.Now(), match)
	}
	t := tally{begun: 1, came: n}
	switch {
	case err == nil:
	case errors.As(err, &refused) && (since(trail, nothingUp) || w.named && since(8*time.Second, noName)):
		t.refused = 1
	case wasReset(err) && since(trail, endsSession):
		t.reset = 1
	case ctx.Err() != nil && wasReset(err):
	default:
		s.report.fault("CONNECT %d, %s to %s, begun at %.1fs, %d of %d bytes: %v", w.id, streamNames[w.kind], w.dst, w.begun.Sub(s.report.begin).Seconds(), n, w.size, err)
	}
	s.report.count("stream "+streamNames[w.kind], func(all *tally) {
		all.begun += t.begun
		all.came += t.came
		all.refused += t.refused
		all.reset += t.reset
	})
}
