package stream

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/mux/packet"
)

// A bowl is a stream that is poured into a socket.
type bowl struct {
	*sink
	near *net.TCPConn
	told atomic.Bool
}

func newBowl(t *testing.T) *bowl {
	t.Helper()
	if !vectored {
		t.Skip("what comes goes by a goroutine on this system")
	}
	near, far := sockets(t)
	_ = near.SetWriteBuffer(16 << 10) // less than the tests bring
	_ = far.SetReadBuffer(16 << 10)
	k := &bowl{sink: &sink{quietTable: newQuietTable(10), far: far, seq: 1, err: make(chan error, 1)}, near: near}
	k.Input(maxSegment(packet.TCP{Flags: packet.FlagSYN}, ""))
	k.st = k.opened[0]
	_, _ = k.st.Write([]byte("yes")) // who says nothing waits for a goroutine to say that it is there
	k.st.Next(1500).Release()
	return k
}

func (k *bowl) pour() {
	k.st.Pour(k.near, nil, func(n int64, err error) {
		k.n = n
		k.told.Store(true)
		k.err <- err
	})
}

// Who brings the end has told of it when it returns: nobody was woken for it.
func TestPour(t *testing.T) {
	for name, together := range map[string]bool{"the end alone": false, "behind data": true} {
		t.Run(name, func(t *testing.T) {
			k := newBowl(t)
			k.pour()
			in := k.Inbox()
			first, second, end := k.next([]byte("one "), 0), k.next([]byte("two"), packet.FlagPSH), k.next(nil, packet.FlagFIN)
			in.Add(second, nil)
			in.Flush()
			in.Add(first, nil)
			if !together {
				in.Flush()
			}
			if k.told.Load() {
				t.Fatal("an end was told of that had not come")
			}
			in.Add(end, nil)
			in.Flush()
			if !k.told.Load() {
				t.Fatal("the end is left to somebody else")
			}
			_ = k.near.CloseWrite()
			got, err := io.ReadAll(k.far)
			if werr := <-k.err; err != nil || werr != nil || string(got) != "one two" || k.n != 7 {
				t.Errorf("%q, %v; told %d, %v", got, err, k.n, werr)
			}
			k.st.mu.Lock()
			defer k.st.mu.Unlock()
			if k.st.outlet != nil || k.st.unread != 0 || k.held.Load() != 0 {
				t.Errorf("%d bytes are not read, %d held", k.st.unread, k.held.Load())
			}
		})
	}
}

// An end where a head was waited for is none that was told of.
func TestPourWithoutHead(t *testing.T) {
	k := newBowl(t)
	k.st.Pour(k.near, hello, func(n int64, err error) {
		k.n = n
		k.err <- err
	})
	in := k.Inbox()
	in.Add(k.next(nil, packet.FlagFIN), nil)
	in.Flush()
	if err := <-k.err; err != ErrHead || k.n != 0 {
		t.Errorf("told %d, %v", k.n, err)
	}
}

// What the socket does not take at once gets a goroutine, as does what came before.
func TestPourLeavesTheRest(t *testing.T) {
	for name, late := range map[string]bool{"at once": false, "begun late": true} {
		t.Run(name, func(t *testing.T) {
			k := newBowl(t)
			if !late {
				k.pour()
			}
			in := k.Inbox()
			var all []byte
			for i := range 12 {
				data := bytes.Repeat([]byte{byte(i)}, payloadOf)
				all = append(all, data...)
				in.Add(k.next(data, 0), nil)
				in.Flush()
			}
			in.Add(k.next(nil, packet.FlagFIN), nil)
			in.Flush()
			if late {
				k.pour()
			}
			got := make([]byte, len(all))
			if _, err := io.ReadFull(k.far, got); err != nil || !bytes.Equal(got, all) {
				t.Errorf("%d bytes that differ, %v", len(got), err)
			}
			if err := <-k.err; err != nil || k.n != int64(len(all)) {
				t.Errorf("told %d of %d, %v", k.n, len(all), err)
			}
			if n := k.held.Load(); n != 0 {
				t.Errorf("%d bytes of buffers are held", n)
			}
		})
	}
}

// Every other end is told of once, with what it is.
func TestPourFails(t *testing.T) {
	for name, end := range map[string]struct {
		by   func(k *bowl)
		want error
	}{
		"a reset": {func(k *bowl) {
			in := k.Inbox()
			in.Add(k.next(nil, packet.FlagRST), nil)
			in.Flush()
		}, errReset},
		"closed":         {func(k *bowl) { k.st.Close() }, errClosed},
		"reset":          {func(k *bowl) { k.st.Reset() }, errClosed},
		"closed by both": {func(k *bowl) { k.st.CloseReset() }, errClosed},
		"a deadline":     {func(k *bowl) { _ = k.st.SetReadDeadline(time.Now().Add(time.Millisecond)) }, os.ErrDeadlineExceeded},
		"the socket is closed": {func(k *bowl) {
			k.near.Close()
			in := k.Inbox()
			in.Add(k.next([]byte("x"), packet.FlagPSH), nil)
			in.Flush()
		}, net.ErrClosed},
	} {
		for when, late := range map[string]bool{"while it waits": false, "before": true} {
			t.Run(name+" "+when, func(t *testing.T) {
				k := newBowl(t)
				if !late {
					k.pour()
				}
				end.by(k)
				if late {
					k.pour()
				}
				if err := <-k.err; !errors.Is(err, end.want) || k.n != 0 {
					t.Errorf("told %d, %v", k.n, err)
				}
			})
		}
	}
}

// A copy that is ended by deadlines, also where it waits for room, has lost nothing: who goes on
// copies the rest.
func TestReadFromIsHandedOver(t *testing.T) {
	k := newBowl(t)
	k.st.mu.Lock()
	k.st.edge = 1 << 30
	k.st.mu.Unlock()
	sent := bytes.Repeat([]byte("mpsocks "), 128<<10)
	go func() {
		_, _ = k.far.Write(sent)
		_ = k.far.CloseWrite()
	}()
	type result struct {
		n   int64
		err error
	}
	over := make(chan result, 1)
	read := func() {
		n, err := k.st.ReadFrom(k.near)
		over <- result{n, err}
	}
	go read()
	for full := false; !full; time.Sleep(time.Millisecond) {
		k.st.mu.Lock()
		full = k.st.waiting > 0
		k.st.mu.Unlock()
	}
	_ = k.near.SetReadDeadline(time.Unix(1, 0))
	_ = k.st.SetWriteDeadline(time.Unix(1, 0))
	first := <-over
	if first.n == 0 || !errors.Is(first.err, os.ErrDeadlineExceeded) {
		t.Fatalf("copied %d, %v", first.n, first.err)
	}
	_ = k.near.SetReadDeadline(time.Time{})
	_ = k.st.SetWriteDeadline(time.Time{})
	go read()
	var got []byte
	for len(got) < len(sent) {
		b := k.st.Next(16384)
		if b == nil {
			time.Sleep(time.Millisecond)
			continue
		}
		var h packet.TCP
		payload, err := packet.ParseTCP(b.Bytes(), &h)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, payload...)
		b.Release()
	}
	if second := <-over; second.err != nil || first.n+second.n != int64(len(sent)) || !bytes.Equal(got, sent) {
		t.Errorf("copied %d and %d of %d, %v", first.n, second.n, len(sent), second.err)
	}
}
