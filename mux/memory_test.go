package mux

import (
	"errors"
	"testing"
	"time"
)

func TestMemoryIsShared(t *testing.T) {
	m := newMemory()
	m.setLimit(400 << 20)
	greedy, second, honest := &Session{identity: [32]byte{1}}, &Session{identity: [32]byte{1}}, &Session{identity: [32]byte{2}}
	one, cut := m.hold(greedy, 1<<20)
	if cut || one != 50<<20 {
		t.Errorf("alone: a window of %d MiB, cut %v", one>>20, cut)
	}
	if w, _ := m.hold(second, 1<<20); w != 25<<20 {
		t.Errorf("with a second session: %d MiB", w>>20)
	}
	if _, cut := m.hold(honest, 1<<20); cut {
		t.Error("the honest one is cut")
	}
	m.hold(second, 60<<20)
	if _, cut := m.hold(greedy, 50<<20); cut {
		t.Error("over its share the client loses a session that is not its largest")
	}
	if _, cut := m.hold(second, 61<<20); !cut {
		t.Error("the largest session of a client over its share goes on")
	}
	m.drop(second)
	if _, cut := m.hold(greedy, 50<<20); cut {
		t.Error("it is cut when the other has gone")
	}
	m.drop(greedy)
	m.drop(greedy)
	m.drop(honest)
	if u := m.Use(); u.Held != 0 || len(m.clients) != 0 || u.Cut != 1 {
		t.Errorf("all have gone: %+v, %d clients", u, len(m.clients))
	}
}

// When all together hold too much, the largest client pays.
func TestTheLargestClientPays(t *testing.T) {
	m := newMemory()
	m.setLimit(100)
	for i := range byte(20) {
		if _, cut := m.hold(&Session{identity: [32]byte{i}}, 5); cut {
			t.Fatalf("client %d is cut at %d of 100", i, m.Use().Held)
		}
	}
	big := &Session{identity: [32]byte{200}}
	if _, cut := m.hold(big, 20); !cut {
		t.Error("the largest goes on")
	}
}

// Sessions are counted while they live, and not longer.
func TestSessionsAreCharged(t *testing.T) {
	n := newLoopTunnel(t, 1, 2, func(_ *ClientConfig, l *ListenerConfig) { l.MaxMemory = 64 << 20 })
	m := n.listener.memory
	wait := func(ok func(MemoryUse) bool) (u MemoryUse) {
		for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			if u = m.Use(); ok(u) {
				break
			}
		}
		return u
	}
	if u := wait(func(u MemoryUse) bool { return u.Held > 0 }); u.Held == 0 || u.Limit != 64<<20 || u.Cut != 0 {
		t.Errorf("a session with two subflows: %+v", u)
	}
	n.listener.Sessions()[0].Close(nil)
	if u := wait(func(u MemoryUse) bool { return u.Held == 0 }); u.Held != 0 && len(n.listener.Sessions()) == 0 {
		t.Errorf("it has ended: %+v", u)
	}
	s := &Session{done: make(chan struct{})}
	close(s.done)
	m.hold(s, 1<<20) // by a monitor that has not seen the end
	if m.clients[s.identity] != nil {
		t.Error("a session that has ended is counted")
	}
}

// TLS answers to KeyUpdates do not pile up for a peer that reads nothing.
func TestKeyUpdatesAreBounded(t *testing.T) {
	k := &carrier{gathering: true}
	var err error
	n := 0
	for ; err == nil && n < 1<<20; n++ {
		_, err = k.Write(make([]byte, keyUpdateSize))
	}
	if !errors.Is(err, errKeyUpdates) || len(k.pending()) > 64<<10 {
		t.Errorf("after %d answers: %v, %d bytes wait", n, err, len(k.pending()))
	}
}
