package carrier

import (
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/mux/muxtest"
)

// A resting is one end of a connection whose records are read, and the other.
type resting struct {
	k      *socket
	seals  *protection
	peer   net.Conn
	got    atomic.Int64
	rested atomic.Bool
	ended  chan error
	sent   int64
}

func newResting(t *testing.T) *resting { return newRestingWith(t, nil, nil) }

// newRestingWith is newResting with what handle does first, and what says whether it will wait.
func newRestingWith(t *testing.T, first func(r *resting), ready func() bool) *resting {
	near, far := muxtest.Sockets(t)
	tune(far, 16<<10)
	r := &resting{k: newSocket(far), peer: near, ended: make(chan error, 1)}
	secret := make([]byte, 32)
	r.seals, _ = newProtection(tls.TLS_AES_128_GCM_SHA256, secret, 0)
	opens, _ := newProtection(tls.TLS_AES_128_GCM_SHA256, secret, 0)
	r.k.start(nil, opens, nil)
	r.k.far.Store(true)
	go func() {
		r.ended <- r.k.receive(func() error {
			if first != nil {
				first(r)
			}
			for {
				p, _, err := r.k.intake.next(nil)
				if err == ErrNotYet {
					break
				}
				if err != nil {
					return err
				}
				r.got.Add(int64(len(p)))
			}
			if r.k.rest.Rests() {
				r.rested.Store(true)
			}
			return nil
		}, ready)
	}()
	return r
}

// send sends one record.
func (r *resting) send(t *testing.T) {
	t.Helper()
	said := make([]byte, 80)
	if _, err := r.peer.Write(r.seals.seal(nil, kindData, said, false)); err != nil {
		t.Fatal(err)
	}
	r.sent += int64(len(said))
}

// flow sends records one by one until the reader rests.
func (r *resting) flow(t *testing.T) {
	t.Helper()
	r.rested.Store(false)
	for end := time.Now().Add(20 * time.Second); !r.rested.Load(); {
		if time.Now().After(end) {
			t.Fatal("the reader does not rest")
		}
		r.send(t)
		for next := time.Now().Add(100 * time.Microsecond); time.Now().Before(next); {
		}
	}
}

// wait waits until something is so.
func (r *resting) wait(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s does not come to pass: %d of %d bytes", what, r.got.Load(), r.sent)
		}
	}
}

// least is how many bytes have to be there for the kernel to tell.
func (r *resting) least(t *testing.T) (n int) {
	t.Helper()
	if err := r.k.raw.Control(func(fd uintptr) { n, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVLOWAT) }); err != nil {
		t.Fatal(err)
	}
	return n
}

// A reader to which records come one by one and often rests between two looks, and has all
// that came; when nothing comes any more, the next record is heard of at once again.
func TestReaderRests(t *testing.T) {
	r := newResting(t)
	r.flow(t)
	r.wait(t, "all of it", func() bool { return r.got.Load() == r.sent })
	r.wait(t, "the end of the rest", func() bool { return r.least(t) == 1 })
	r.send(t)
	r.wait(t, "a lone record", func() bool { return r.got.Load() == r.sent })
	r.k.far.Store(false) // a nearer way was found
	r.send(t)
	r.wait(t, "another one", func() bool { return r.got.Load() == r.sent })
	if n := r.least(t); n != 1 {
		t.Errorf("the kernel tells of %d bytes and more", n)
	}
	r.k.close()
	if err := <-r.ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("receive ended with %v", err)
	}
}

// Whoever rests hears of the end, the peer's and the socket's own.
func TestEndWhileReaderRests(t *testing.T) {
	r := newResting(t)
	r.flow(t)
	r.peer.Close()
	if err := <-r.ended; err == nil {
		t.Error("receive ended without an error")
	}
	if r.got.Load() != r.sent {
		t.Errorf("%d of %d bytes", r.got.Load(), r.sent)
	}
	r = newResting(t)
	r.flow(t)
	r.k.close()
	if err := <-r.ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("receive ended with %v", err)
	}
}

// Who looks for all that rest is not held up by one whose handle would wait: that one's own
// goroutine does, and the others have what they get.
func TestRestersDoNotWaitForOne(t *testing.T) {
	var busy atomic.Bool
	over := make(chan struct{})
	end := sync.OnceFunc(func() { close(over) })
	defer end()
	other := newResting(t)
	one := newRestingWith(t, func(*resting) {
		if busy.Load() {
			<-over
		}
	}, func() bool { return !busy.Load() })
	both := func() {
		one.send(t)
		other.send(t)
		for next := time.Now().Add(100 * time.Microsecond); time.Now().Before(next); {
		}
	}
	for late := time.Now().Add(20 * time.Second); !one.rested.Load() || !other.rested.Load(); both() {
		if time.Now().After(late) {
			t.Fatal("the readers do not rest")
		}
	}
	busy.Store(true)
	for range 50 {
		both()
	}
	other.wait(t, "all of the other's", func() bool { return other.got.Load() == other.sent })
	busy.Store(false)
	end()
	one.wait(t, "all of the one's", func() bool { return one.got.Load() == one.sent })
}

// One to which much comes at once rests no more: it is read by its own goroutine from the next
// piece on, for whoever looks for all would go on with it.
func TestFloodEndsRest(t *testing.T) {
	var got int64
	rested, again := false, false // of the reader
	r := newRestingWith(t, func(r *resting) {
		now := r.got.Load()
		resting := r.least(t) == restBytes
		again = again || rested && resting && now-got >= restBytes
		rested, got = resting, now
	}, nil)
	_ = r.k.Conn.(*net.TCPConn).SetReadBuffer(4 << 20) // there is much at once
	_ = r.peer.(*net.TCPConn).SetWriteBuffer(4 << 20)
	r.flow(t)
	said := make([]byte, maxRecord)
	var flood []byte
	for range 4 << 20 / maxRecord {
		flood = r.seals.seal(flood, kindData, said, false)
		r.sent += maxRecord
	}
	if _, err := r.peer.Write(flood); err != nil {
		t.Fatal(err)
	}
	r.wait(t, "all of it", func() bool { return r.got.Load() == r.sent })
	r.k.close()
	if <-r.ended; again {
		t.Error("who looks for all has gone on with one")
	}
}
