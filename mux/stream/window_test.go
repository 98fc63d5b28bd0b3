package stream

import (
	"io"
	"testing"
	"testing/synctest"
	"time"
)

func TestStreamWindowStallsAndResumes(t *testing.T) {
	p := newPipe(t, true, 10)
	c, s := p.pair()
	const size = 3 << 20
	done := make(chan error, 1)
	go func() {
		_, err := noise(c, 3, size)
		c.CloseWrite()
		done <- err
	}()
	came := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.unread
	}
	for end := time.Now().Add(20 * time.Second); came() < initialWindow-payloadOf; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d bytes came, and the window takes %d", came(), initialWindow)
		}
	}
	select {
	case <-done:
		t.Fatal("3 MiB fit into a window that nobody reads")
	case <-time.After(100 * time.Millisecond):
	}
	if got := came(); got > initialWindow {
		t.Errorf("%d bytes came before anybody read", got)
	}
	if n, err := io.Copy(io.Discard, s); err != nil || n != size {
		t.Errorf("read %d, %v", n, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	s.Close()
	c.Close()
	p.empty()
}

// TestStreamWindowGrows gives a stream a long way and a fast reader, in virtual
// time: how busy the machine is does not matter.
func TestStreamWindowGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipe(t, false, 10)
		for _, e := range p.ends {
			e.mu.Lock()
			e.delay = 10 * time.Millisecond
			e.mu.Unlock()
		}
		c, s := p.pair()
		go func() {
			c.Write(make([]byte, 64<<20))
			c.CloseWrite()
		}()
		start := time.Now()
		n, err := io.Copy(io.Discard, s)
		took := time.Since(start)
		s.mu.Lock()
		limit := s.limit
		s.mu.Unlock()
		t.Logf("%d bytes in %v, %v; the limit is %d", n, took, err, limit)
		if limit < 8*initialWindow || took > 2*time.Second {
			t.Error("the window did not grow to what the way takes") // 5 s without growth
		}
		for _, e := range p.ends {
			e.mu.Lock()
			e.delay = 0
			e.mu.Unlock()
		}
		s.Close()
		c.Close()
		p.empty()
	})
}

// On a short way the windows of all streams together grow to what leaves the processor's caches, and no
// further, however much waits in it; on a long way each to the most.
func TestStreamLimitsOnAShortWay(t *testing.T) {
	p := newPipe(t, false, 10)
	var all []*Stream
	for range 4 {
		c, s := p.pair()
		defer c.Reset()
		defer s.Reset()
		all = append(all, s)
	}
	grow := func(s *Stream, rtt int64) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for range 8 { // as if the peer had come to each edge at once
			s.promised += uint64(s.limit)
			s.edges[0] = s.promised
			s.received, s.highest = s.promised, s.promised
			s.meter.product, s.meter.rtt = uint64(s.limit), rtt
			s.growWindow(s.stoppedAt(s.promised - 1))
		}
	}
	for _, s := range all {
		s.meter.least = shortWay
		grow(s, nearWay)
	}
	if n := p.server.grown.Load(); all[0].limit != 8*initialWindow || n > nearMost || n < nearMost/2 {
		t.Errorf("the first grew to %d, all by %d", all[0].limit, n)
	}
	grow(all[1], nearWay+1) // it has changed to a longer way
	all[2].meter.least = shortWay + 1
	grow(all[2], shortWay+1)
	if all[1].limit != maxWindow || all[2].limit != maxWindow || all[3].limit >= maxWindow {
		t.Errorf("on long ways %d and %d, on the short one %d", all[1].limit, all[2].limit, all[3].limit)
	}
}

func TestStreamLimitsGrowAndShrink(t *testing.T) {
	p := newPipe(t, false, 10)
	c, s := p.pair()
	s.mu.Lock()
	s.received, s.highest = s.promised, s.promised // as if the peer had come to the edge
	s.meter.product = initialWindow
	s.growWindow(s.stoppedAt(s.promised - payloadOf))
	if s.limit != initialWindow {
		t.Error("the window grew although the peer stopped before the edge")
	}
	s.growWindow(s.stoppedAt(s.promised - 1))
	limit := s.limit
	s.mu.Unlock()
	if limit != 2*initialWindow || p.server.grown.Load() != initialWindow {
		t.Errorf("limit %d, grown %d", limit, p.server.grown.Load())
	}
	p.server.Tick(1e12)
	p.server.Tick(1e12 + 6e9)
	s.mu.Lock()
	limit = s.limit
	s.mu.Unlock()
	if limit != initialWindow || p.server.grown.Load() != 0 {
		t.Errorf("after a rest: limit %d, grown %d", limit, p.server.grown.Load())
	}
	c.Reset()
	s.Reset()
}
