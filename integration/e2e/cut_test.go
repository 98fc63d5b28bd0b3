package e2e

import (
	"strings"
	"testing"
	"time"
)

// resumeLimit is how long a session may need after all its subflows were gone,
// or after its server was.
const resumeLimit = 3 * time.Second

// TestCutOne kills each of four subflows in turn in the middle of 2,000
// datagrams a second: none is lost, none comes twice.
func TestCutOne(t *testing.T) { testOneOfFour(t, cut) }

// TestSilenceOne lets each path in turn swallow bytes without a word, and
// deliver them late: again none is lost and none comes twice.
func TestSilenceOne(t *testing.T) { testOneOfFour(t, silent) }

func testOneOfFour(t *testing.T, fate state) {
	p, c := beginCut(t)
	echo := udpEcho(t, "127.0.0.1:0")
	for i := range wayCount {
		t.Run(way(i), func(t *testing.T) {
			eventually(t, 20*time.Second, "all four paths are up", c.allCarry)
			s := startStream(t, p, echo)
			time.Sleep(500 * time.Millisecond)
			c.set(way(i), fate)
			time.Sleep(time.Second)
			c.set(way(i), healthy)
			time.Sleep(500 * time.Millisecond)
			sent, missing, repeated := s.finish(patience)
			if missing > 0 || repeated > 0 {
				t.Errorf("of %d datagrams %d were lost and %d came twice", sent, missing, repeated)
			}
		})
	}
}

// TestCutAll takes every path away and lets them return: the same association
// goes on within three seconds.
func TestCutAll(t *testing.T) {
	p, c := beginCut(t)
	echo := udpEcho(t, "127.0.0.1:0")
	eventually(t, 20*time.Second, "all four paths are up", c.allCarry)
	s := startStream(t, p, echo)
	time.Sleep(time.Second)
	for i := range wayCount {
		c.set(way(i), cut)
	}
	time.Sleep(1500 * time.Millisecond)
	for i := range wayCount {
		c.set(way(i), healthy)
	}
	from := s.number()
	took := eventually(t, resumeLimit, "the session resumes", func() bool { return s.cameBack(from) })
	time.Sleep(500 * time.Millisecond)
	sent, missing, repeated := s.finish(3 * time.Second)
	t.Logf("resumed after %v; of %d datagrams %d were lost while no path was there", took, sent, missing)
	if repeated > 0 {
		t.Errorf("%d of %d datagrams came twice", repeated, sent)
	}
	// The gap is a second and a half of 2,000 a second; more than it and what
	// the resumption may take means that something else was lost.
	if most := int((1500*time.Millisecond + resumeLimit) / time.Millisecond * perMillisecond); missing > most {
		t.Errorf("%d datagrams are missing, the gap explains %d", missing, most)
	}
}

// TestServerRestart kills the server and starts it again: the client finds it
// by itself, and the same association goes on.
func TestServerRestart(t *testing.T) {
	p, _ := beginCut(t)
	echo := udpEcho(t, "127.0.0.1:0")
	s := startStream(t, p, echo)
	time.Sleep(500 * time.Millisecond)
	p.Server.Kill()
	time.Sleep(time.Second)
	if err := p.StartServer(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "the server has begun", func() bool { return strings.Contains(p.Server.Output(), "server started") })
	from := s.number()
	took := eventually(t, resumeLimit, "the restarted server is found", func() bool { return s.cameBack(from) })
	sent, missing, repeated := s.finish(3 * time.Second)
	t.Logf("found after %v; of %d datagrams %d were lost", took, sent, missing)
	if repeated > 0 {
		t.Errorf("%d of %d datagrams came twice", repeated, sent)
	}
}

// allCarry says whether every path has a connection.
func (c *cutter) allCarry() bool {
	for i := range wayCount {
		if !c.carries(way(i)) {
			return false
		}
	}
	return true
}
