package stream

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/mux/packet"
)

// noise writes n pseudo-random bytes in writes of random size and returns
// their sum.
func noise(w io.Writer, seed uint64, n int) ([32]byte, error) {
	r := rand.New(rand.NewPCG(seed, 1))
	h := sha256.New()
	p := make([]byte, 200<<10)
	for n > 0 {
		k := min(n, 1+r.IntN(40))
		switch r.IntN(4) {
		case 0:
			k = min(n, 1+r.IntN(len(p)))
		case 1:
			k = min(n, 1+r.IntN(20000))
		}
		for i := 0; i < k; i += 8 {
			v := r.Uint64()
			for j := i; j < min(i+8, k); j++ {
				p[j] = byte(v)
				v >>= 8
			}
		}
		h.Write(p[:k])
		if _, err := w.Write(p[:k]); err != nil {
			return [32]byte{}, err
		}
		n -= k
	}
	return [32]byte(h.Sum(nil)), nil
}

func TestStreamBulkBothWays(t *testing.T) {
	p := newPipe(t, true, 10)
	p.inspect = func(_ bool, pkt []byte) {
		var h packet.TCP
		if _, err := packet.ParseTCP(pkt, &h); err != nil || len(pkt) > 16<<10-28 {
			t.Errorf("packet of %d bytes: %v", len(pkt), err)
		}
	}
	c, s := p.pair()
	const size = 24 << 20
	var wg sync.WaitGroup
	for i, end := range []*Stream{c, s} {
		other := [...]*Stream{s, c}[i]
		sums := make(chan [32]byte, 1)
		wg.Go(func() {
			sum, err := noise(end, uint64(i), size)
			if err != nil {
				t.Errorf("write: %v", err)
			}
			sums <- sum
			if err := end.CloseWrite(); err != nil {
				t.Errorf("close write: %v", err)
			}
		})
		wg.Go(func() {
			h := sha256.New()
			var n int64
			var err error
			if i == 0 {
				n, err = other.WriteTo(h)
			} else {
				n, err = io.Copy(h, struct{ io.Reader }{other})
			}
			if err != nil || n != size {
				t.Errorf("read %d bytes: %v", n, err)
			}
			if want := <-sums; [32]byte(h.Sum(nil)) != want {
				t.Error("data came out different")
			}
		})
	}
	wg.Wait()
	c.Close()
	s.Close()
	p.empty()
}

func TestStreamSockets(t *testing.T) {
	p := newPipe(t, true, 10)
	c, s := p.pair()
	appIn, appOut := sockets(t)
	farIn, farOut := sockets(t)
	const size = 32 << 20
	var wg sync.WaitGroup
	var want [32]byte
	wg.Go(func() {
		want, _ = noise(appIn, 7, size)
		appIn.CloseWrite()
	})
	wg.Go(func() { // as io.Copy does it: through an unexported type of net
		if n, err := io.Copy(c, appOut); err != nil || n != size {
			t.Errorf("copied %d from the socket: %v", n, err)
		}
		c.CloseWrite()
	})
	wg.Go(func() {
		if n, err := io.Copy(farIn, s); err != nil || n != size {
			t.Errorf("copied %d to the socket: %v", n, err)
		}
		farIn.CloseWrite()
	})
	h := sha256.New()
	if n, err := io.Copy(h, farOut); err != nil || n != size {
		t.Fatalf("read %d bytes: %v", n, err)
	}
	wg.Wait()
	if [32]byte(h.Sum(nil)) != want {
		t.Error("data came out different")
	}
	s.Close()
	c.Close()
	p.empty()
}

func TestStreamSourceReadsSocketsItself(t *testing.T) {
	a, b := sockets(t)
	if vectored && newStreamSource(a, nil).raw == nil {
		t.Error("a *net.TCPConn is read through Read")
	}
	type metered struct{ *net.TCPConn }
	if newStreamSource(metered{b}, nil).raw != nil {
		t.Error("the Read of a wrapper is bypassed")
	}
}

func sockets(t testing.TB) (a, b *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	x, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	y, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close(); y.Close() })
	return x.(*net.TCPConn), y.(*net.TCPConn)
}

// TestStreamFirstFlight checks that the SYN carries the first bytes, and that
// more than a window of round trips is not needed to open and answer.
func TestStreamFirstFlight(t *testing.T) {
	p := newPipe(t, false, 10)
	var mu sync.Mutex
	var seen []string
	p.inspect = func(client bool, pkt []byte) {
		var h packet.TCP
		payload, _ := packet.ParseTCP(pkt, &h)
		mu.Lock()
		seen = append(seen, fmt.Sprintf("%v %#x %d", client, h.Flags, len(payload)))
		mu.Unlock()
	}
	c := p.dial()
	c.Write([]byte("request"))
	s := p.take()
	b := make([]byte, 100)
	n, err := s.Read(b)
	if err != nil || string(b[:n]) != "request" {
		t.Fatalf("%q, %v", b[:n], err)
	}
	s.Write([]byte("reply"))
	if n, err = c.Read(b); err != nil || string(b[:n]) != "reply" {
		t.Fatalf("%q, %v", b[:n], err)
	}
	mu.Lock()
	defer mu.Unlock()
	if got, want := fmt.Sprint(seen), "[true 0xa 7 false 0x1a 5]"; got != want {
		t.Errorf("packets %s, want %s", got, want)
	}
	if _, ok := s.RemoteAddr().(*net.TCPAddr); !ok || s.RemoteAddr().String() != c.LocalAddr().String() || s.LocalAddr().String() != c.RemoteAddr().String() {
		t.Errorf("addresses: client %v %v, server %v %v", c.LocalAddr(), c.RemoteAddr(), s.LocalAddr(), s.RemoteAddr())
	}
}

// TestStreamLastFlight checks that closing takes one packet from the end that
// closes first, and two from the other at most.
func TestStreamLastFlight(t *testing.T) {
	for _, first := range []string{"client", "server"} {
		p := newPipe(t, false, 10)
		c, s := p.pair()
		s.Write([]byte("!"))
		c.Read(make([]byte, 1))
		var packets atomic.Int32
		p.ends[0].mu.Lock()
		p.ends[1].mu.Lock()
		p.inspect = func(bool, []byte) { packets.Add(1) }
		p.ends[0].mu.Unlock()
		p.ends[1].mu.Unlock()
		if first == "server" {
			c, s = s, c
		}
		c.Close()
		if _, err := s.Read(make([]byte, 1)); err != io.EOF {
			t.Error(err)
		}
		s.Close()
		p.empty()
		if want := map[string]int32{"client": 2, "server": 3}[first]; packets.Load() != want {
			t.Errorf("%s first: %d packets, want %d", first, packets.Load(), want)
		}
	}
}

// TestStreamServerSpeaksFirst opens with Read, with tick, and with CloseWrite.
func TestStreamServerSpeaksFirst(t *testing.T) {
	p := newPipe(t, true, 10)
	for _, open := range []func(c *Stream){
		func(c *Stream) { c.SetReadDeadline(time.Now().Add(time.Millisecond)); c.Read(make([]byte, 1)) },
		func(c *Stream) {},
		func(c *Stream) { c.CloseWrite() },
	} {
		c := p.dial()
		open(c)
		s := p.take()
		s.Write([]byte("hello"))
		s.Close()
		c.SetReadDeadline(time.Time{})
		if got, err := io.ReadAll(c); err != nil || string(got) != "hello" {
			t.Errorf("%q, %v", got, err)
		}
		c.Close()
	}
	p.empty()
}

func TestStreamHalfClose(t *testing.T) {
	p := newPipe(t, true, 10)
	c, s := p.pair()
	c.Write([]byte("question"))
	c.CloseWrite()
	if got, err := io.ReadAll(s); err != nil || string(got) != "question" {
		t.Fatalf("%q, %v", got, err)
	}
	if _, err := c.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("write after CloseWrite: %v", err)
	}
	big := bytes.Repeat([]byte("answer"), 500000)
	go func() { s.Write(big); s.Close() }()
	if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, big) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	c.Close()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read after Close: %v", err)
	}
	p.empty()
}

func TestStreamReset(t *testing.T) {
	p := newPipe(t, true, 10)
	for range 50 {
		c, s := p.pair()
		go func() {
			time.Sleep(time.Duration(rand.IntN(1000)) * time.Microsecond)
			c.Reset()
		}()
		go s.Write(make([]byte, 1<<20)) // may block until the reset
		if _, err := io.Copy(io.Discard, s); !errors.Is(err, syscall.ECONNRESET) {
			t.Fatalf("the other end saw %v", err)
		}
		if _, err := s.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("write after reset: %v", err)
		}
		if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("write after own reset: %v", err)
		}
		s.Close()
	}
	p.empty()
}

// TestStreamResetBeforeHeard resets while SYN, data and RST overtake each other.
func TestStreamResetBeforeHeard(t *testing.T) {
	p := newPipe(t, true, 2000)
	for range 500 {
		c := p.dial()
		c.Write(make([]byte, 100<<10))
		c.Reset()
	}
	ended, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case s := <-p.accepted:
				s.Close()
			case <-done:
				return
			}
		}
	}()
	time.Sleep(500 * time.Millisecond) // some come in this time, and others later
	p.empty()
	close(done)
	<-ended
}

func TestStreamCloseWithUnread(t *testing.T) {
	p := newPipe(t, true, 10)
	c, s := p.pair()
	// The client's bytes are never read, yet the server's answer arrives.
	c.Write(make([]byte, 50000))
	s.Write([]byte("refused"))
	s.Close()
	if got, err := io.ReadAll(c); err != nil || string(got) != "refused" {
		t.Fatalf("%q, %v", got, err)
	}
	// Going on is answered by a reset, so that the writer stops.
	p.t.Log("writing on")
	deadline := time.Now().Add(20 * time.Second)
	for {
		if _, err := c.Write(make([]byte, 1000)); err != nil {
			if !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("write: %v", err)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("nobody tells the writer")
		}
		time.Sleep(time.Millisecond)
	}
	c.Close()
	p.empty()
}

func TestStreamDeadlines(t *testing.T) {
	p := newPipe(t, true, 10)
	c, s := p.pair()
	b := make([]byte, 10)
	start := time.Now()
	c.SetReadDeadline(start.Add(30 * time.Millisecond))
	_, err := c.Read(b)
	var ne net.Error
	if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &ne) || !ne.Timeout() || time.Since(start) < 30*time.Millisecond {
		t.Errorf("read: %v after %v", err, time.Since(start))
	}
	c.SetWriteDeadline(time.Now().Add(time.Second)) // long enough to begin with on a busy machine
	if n, err := c.Write(make([]byte, 4<<20)); !errors.Is(err, os.ErrDeadlineExceeded) || n == 0 {
		t.Errorf("write: %d, %v", n, err)
	}
	c.SetDeadline(time.Time{})
	s.Write([]byte("late"))
	if n, err := c.Read(b); err != nil || string(b[:n]) != "late" {
		t.Errorf("%q, %v", b[:n], err)
	}
	c.SetDeadline(time.Now().Add(-time.Second))
	if _, err := c.Write(b); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("write after the deadline: %v", err)
	}
	c.Reset()
	s.Reset()
}

func TestStreamUnblocks(t *testing.T) {
	for name, end := range map[string]func(c *Stream){
		"close":   func(c *Stream) { c.Close() },
		"reset":   func(c *Stream) { c.Reset() },
		"session": func(c *Stream) { c.table.CloseAll(errGone) },
	} {
		p := newPipe(t, true, 10)
		c, s := p.pair()
		errs := make(chan error, 2)
		go func() { _, err := c.Read(make([]byte, 1)); errs <- err }()
		go func() { _, err := c.Write(make([]byte, 1<<20)); errs <- err }()
		time.Sleep(20 * time.Millisecond)
		end(c)
		want := net.ErrClosed
		if name == "session" {
			want = errGone
		}
		for range 2 {
			if err := <-errs; !errors.Is(err, want) {
				t.Errorf("%s: %v", name, err)
			}
		}
		s.Reset()
		if _, err := p.client.Open(t.Context(), exitAddr, exitAddr); name == "session" && !errors.Is(err, errGone) {
			t.Errorf("open on an ended session: %v", err)
		}
	}
}

func TestStreamThousand(t *testing.T) {
	const streams = 1000
	p := newPipe(t, true, streams)
	var wg sync.WaitGroup
	wg.Go(func() {
		for range streams {
			s := p.take()
			wg.Go(func() {
				io.Copy(s, s)
				s.Close()
			})
		}
	})
	for i := range streams {
		wg.Go(func() {
			c := p.dial()
			defer c.Close()
			sums := make(chan [32]byte, 1)
			go func() {
				sum, err := noise(c, uint64(i), 40000)
				if err != nil {
					t.Errorf("write: %v", err)
				}
				c.CloseWrite()
				sums <- sum
			}()
			h := sha256.New()
			if n, err := io.Copy(h, c); n != 40000 || err != nil {
				t.Errorf("stream %d: %d bytes, %v", i, n, err)
			}
			if <-sums != [32]byte(h.Sum(nil)) {
				t.Errorf("stream %d: other data", i)
			}
		})
	}
	wg.Wait()
	p.empty()
}

// TestStreamNoHeadOfLineBlocking lets one stream stand still, with a full
// window and its reader asleep, while another one works.
func TestStreamNoHeadOfLineBlocking(t *testing.T) {
	p := newPipe(t, true, 10)
	stuck, _ := p.pair()
	go stuck.Write(make([]byte, 10<<20))
	time.Sleep(50 * time.Millisecond)
	c, s := p.pair()
	go func() {
		io.Copy(s, s)
		s.CloseWrite()
	}()
	go func() {
		noise(c, 1, 4<<20)
		c.CloseWrite()
	}()
	c.SetReadDeadline(time.Now().Add(time.Minute))
	if n, err := io.Copy(io.Discard, c); err != nil || n != 4<<20 {
		t.Errorf("%d, %v", n, err)
	}
	stuck.Reset()
}

func TestStreamSequenceWraps(t *testing.T) {
	p := newPipe(t, true, 10)
	c := p.dial()
	c.iss = ^uint32(0) - 100<<10 // wraps after 100 KiB
	var sum [32]byte
	go func() {
		sum, _ = noise(c, 5, 5<<20)
		c.CloseWrite()
	}()
	s := p.take()
	h := sha256.New()
	if n, err := io.Copy(h, s); err != nil || n != 5<<20 {
		t.Fatalf("%d, %v", n, err)
	}
	if [32]byte(h.Sum(nil)) != sum {
		t.Error("other data")
	}
	s.Close()
	c.Close()
	p.empty()
}
