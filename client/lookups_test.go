package client

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mpsocks/mpsocks/client/admission"
	"github.com/mpsocks/mpsocks/conf"
)

// One holder has so many CONNECTs' names asked for at once; its others wait in their order,
// for so long, and another holder's do not wait for them.
func TestLookupsWaitForTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLookups()
		greedy, modest := admission.Holder{User: "greedy"}, admission.Holder{User: "modest"}
		for range lookupsEach {
			if err := l.enter(t.Context(), greedy); err != nil {
				t.Fatal(err)
			}
		}
		var got []int
		var done sync.WaitGroup
		begin := time.Now()
		for i := range 4 {
			done.Go(func() {
				if err := l.enter(t.Context(), greedy); err == nil {
					got = append(got, i)
				} else if !errors.Is(err, errTooManyLookups) || time.Since(begin) != lookupTime {
					t.Errorf("after %v: %v", time.Since(begin), err)
				}
			})
			synctest.Wait() // in their order
		}
		if err := l.enter(t.Context(), modest); err != nil || time.Since(begin) > 0 {
			t.Errorf("another holder's waited %v: %v", time.Since(begin), err)
		}
		l.leave(modest)
		time.Sleep(lookupTime / 2)
		for range 2 {
			l.leave(greedy)
			synctest.Wait()
		}
		done.Wait()
		if len(got) != 2 || got[0] != 0 || got[1] != 1 {
			t.Errorf("the turns of %v came", got)
		}
		if n := l.refused(); n != 2 {
			t.Errorf("%d waited in vain", n)
		}
		for range lookupsEach {
			l.leave(greedy)
		}
		if len(l.by) != 0 {
			t.Errorf("%d holders of nothing", len(l.by))
		}
	})
}

// A user whose CONNECTs to names get no answer takes a part of what the server asks for at
// once, and no more, by every door; when a name is known the next one's turn comes.
func TestLookupsOfConnectsAreShared(t *testing.T) {
	var asked, known atomic.Int32
	release := make(chan struct{})
	f := &fakeTunnel{exit: func(conn net.Conn) {
		b := make([]byte, 256)
		n, _ := conn.Read(b)
		if !bytes.Contains(b[:n], []byte("silent.test")) {
			conn.Write([]byte{5, 0, 5, 0, 0, 1, 127, 0, 0, 1, 0, 80})
			return
		}
		asked.Add(1)
		<-release
		known.Add(1)
		conn.Write([]byte{5, 0})
		io.Copy(io.Discard, conn) // nobody answers there
	}}
	c := start(t, f, func(cfg *conf.Client) {
		cfg.Users = []conf.User{{Name: "greedy", Password: "g"}, {Name: "modest", Password: "m"}}
	})
	request := func(user, host string) []byte {
		b := []byte{5, 1, 2, 1, byte(len(user))}
		b = append(append(b, user...), 1, user[0], 5, 1, 0, 3, byte(len(host)))
		return append(append(b, host...), 0, 80)
	}
	const more = 8
	for i := range lookupsEach + more {
		conn := dial(t, c)
		if i%2 == 0 {
			conn.Write(request("greedy", "silent.test"))
		} else {
			conn.Write([]byte("CONNECT silent.test:80 HTTP/1.1\r\nHost: silent.test\r\nProxy-Authorization: Basic Z3JlZWR5Omc=\r\n\r\n"))
		}
	}
	waiting := func() (n int) {
		c.lookups.mu.Lock()
		defer c.lookups.mu.Unlock()
		if k := c.lookups.by[admission.Holder{User: "greedy"}]; k != nil {
			n = c.lookups.places.Waiting(&k.Holder)
		}
		return n
	}
	eventually(t, "the rest waits", func() bool { return waiting() == more && asked.Load() == lookupsEach })
	out := talk(t, dial(t, c), request("modest", "other.test"), 2+2+10)
	if out[5] != 0 {
		t.Errorf("another user's CONNECT to a name: reply %d", out[5])
	}
	// Literals are no names.
	lit := append([]byte{5, 1, 2, 1, 6}, "greedy\x01g\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50"...)
	if out := talk(t, dial(t, c), lit, 2+2+10); out[5] != 0 {
		t.Errorf("the same user's to an address: reply %d", out[5])
	}
	close(release)
	eventually(t, "the names of all are known", func() bool { return known.Load() == lookupsEach+more })
	eventually(t, "no turn is held", func() bool {
		c.lookups.mu.Lock()
		defer c.lookups.mu.Unlock()
		return len(c.lookups.by) == 0
	})
}

// What asks for a name is told from what does not.
func TestAsksName(t *testing.T) {
	addr := netip.MustParseAddr("192.0.2.1")
	for _, c := range []struct {
		flight []byte
		want   bool
	}{
		{exitRequest("name.test", netip.Addr{}, 80), true},
		{exitRequest("", addr, 80), false},
		{exitRequest("", netip.MustParseAddr("2001:db8::1"), 80), false},
		{greeting, false},
		{nil, false},
	} {
		if got := asksName(c.flight); got != c.want {
			t.Errorf("% x: %v", c.flight, got)
		}
	}
}
