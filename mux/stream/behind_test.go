package stream

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// hello is a head that is known.
func hello(first []byte) (skip int, ok bool) {
	return 3, bytes.HasPrefix(first, []byte("no hello "))
}

func behind(st *Stream, w io.Writer) (int64, error) {
	_ = st.SetReadDeadline(time.Now().Add(time.Minute))
	return poured(st, w, hello)
}

// poured waits for the end of Pour.
func poured(st *Stream, w io.Writer, says head) (n int64, err error) {
	over := make(chan struct{})
	st.Pour(w, says, func(k int64, e error) {
		n, err = k, e
		close(over)
	})
	<-over
	return n, err
}

// A head that comes in one piece is taken off, and the rest goes from the reader's memory, or a Buffer,
// into the socket, with what comes behind it; the deadline was the head's.
func TestPourBehind(t *testing.T) {
	for name, own := range map[string]bool{"borrowed": false, "a buffer": true} {
		t.Run(name, func(t *testing.T) {
			k := newSinkOf(t, behind)
			in := k.Inbox()
			first := k.next([]byte("no hello "), packet.FlagPSH)
			var b *buf.Buffer
			if own {
				b = buf.Get(len(first))
				copy(b.Bytes(), first)
				first = b.Bytes()
			}
			in.Add(first, b)
			in.Add(k.next([]byte("there"), packet.FlagPSH), nil)
			in.Flush()
			got := make([]byte, len("hello there"))
			if _, err := io.ReadFull(k.far, got); err != nil || string(got) != "hello there" {
				t.Fatalf("%q, %v", got, err)
			}
			k.st.mu.Lock()
			if k.st.readDeadline.timer != nil || k.st.unread != 0 {
				t.Errorf("there is a deadline, or %d bytes are not read", k.st.unread)
			}
			k.st.mu.Unlock()
			in.Add(k.next([]byte("no hello again"), packet.FlagPSH), nil) // is no head
			in.Add(k.next(nil, packet.FlagFIN), nil)
			in.Flush()
			rest, err := io.ReadAll(k.far)
			if werr := <-k.err; err != nil || werr != nil || string(rest) != "no hello again" || k.n != int64(len(got)+len(rest)) {
				t.Errorf("%q, %v; WriteTo counts %d, %v", rest, err, k.n, werr)
			}
			if n := k.held.Load(); n != 0 {
				t.Errorf("%d bytes of buffers are held", n)
			}
		})
	}
}

// A head of which nothing is written, and one alone.
func TestPourBehindAll(t *testing.T) {
	k := newSinkOf(t, func(st *Stream, w io.Writer) (int64, error) {
		return poured(st, w, func(first []byte) (int, bool) { return len(first), true })
	})
	in := k.Inbox()
	in.Add(k.next([]byte("head"), packet.FlagPSH), nil)
	in.Add(k.next([]byte("rest"), packet.FlagPSH), nil)
	in.Add(k.next(nil, packet.FlagFIN), nil)
	in.Flush()
	got, err := io.ReadAll(k.far)
	if werr := <-k.err; err != nil || werr != nil || string(got) != "rest" || k.n != 4 || k.st.unread != 0 {
		t.Errorf("%q, %v; WriteTo counts %d, %v; %d bytes are not read", got, err, k.n, werr, k.st.unread)
	}
}

// What is another head, or comes in pieces, is Read's, all of it; so are ends.
func TestPourBehindAnother(t *testing.T) {
	for name, bring := range map[string]struct {
		pieces []string
		fin    bool
		read   error
	}{
		"another":   {[]string{"yes hello", " there"}, true, io.EOF},
		"in pieces": {[]string{"no ", "hello ", "there"}, true, io.EOF},
		"the end":   {nil, true, io.EOF},
		"no time":   {nil, false, os.ErrDeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			k := newSinkOf(t, behind)
			in := k.Inbox()
			all := ""
			for _, p := range bring.pieces {
				in.Add(k.next([]byte(p), packet.FlagPSH), nil)
				all += p
			}
			if bring.fin {
				in.Add(k.next(nil, packet.FlagFIN), nil)
			} else {
				_ = k.st.SetReadDeadline(time.Now())
			}
			in.Flush()
			if err := <-k.err; err != ErrHead || k.n != 0 {
				t.Fatalf("%d bytes, %v", k.n, err)
			}
			got := make([]byte, len(all)+1)
			n, err := io.ReadFull(k.st, got)
			if string(got[:n]) != all || n == 0 && !errors.Is(err, bring.read) {
				t.Errorf("%q, %v", got[:n], err)
			}
			if n, _ := k.far.Read(got); n != 0 {
				t.Errorf("%q was written", got[:n])
			}
		})
	}
}

// What came before it was waited for is Read's, and so is what goes to no socket.
func TestPourBehindLate(t *testing.T) {
	_, far := sockets(t)
	for name, w := range map[string]io.Writer{"a socket": far, "none": new(bytes.Buffer)} {
		q := newQuietTable(10)
		q.Input(maxSegment(packet.TCP{Flags: packet.FlagSYN}, "no hello "))
		st := q.opened[0]
		if n, err := poured(st, w, hello); n != 0 || err != ErrHead {
			t.Fatalf("%s: %d bytes, %v", name, n, err)
		}
		got := make([]byte, 9)
		if _, err := io.ReadFull(st, got); err != nil || string(got) != "no hello " {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
