package server

import (
	"bytes"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mpsocks/mpsocks/conf"
)

// TestPace: what passes takes the time that the rate gives it, in either direction.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 10 << 20
		for _, back := range []bool{false, true} {
			var p pace
			p.set(80e6) // 10 MB a second, of which one at once
			start := time.Now()
			var n int64
			if from := bytes.NewReader(make([]byte, size)); back {
				n, _ = io.Copy(io.Discard, struct{ io.Reader }{p.reader(t.Context(), from)})
			} else {
				n, _ = io.Copy(p.writer(t.Context(), io.Discard), struct{ io.Reader }{from})
			}
			if took := time.Since(start); n != size || took < 900*time.Millisecond || took > 1100*time.Millisecond {
				t.Errorf("%d bytes took %v", n, took)
			}
		}
		var free pace
		free.set(0)
		if r := io.Reader(&bytes.Buffer{}); free.reader(t.Context(), r) != r {
			t.Error("paced without a bound")
		}
	})
}

// TestPaceChanges: a CONNECT that is under way under a rate gets another one at once, none as
// well, and one again.
func TestPaceChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pace
		p.set(80e6)
		r := p.reader(t.Context(), bytes.NewReader(make([]byte, 40<<20)))
		for _, step := range []struct {
			rate conf.Rate
			took time.Duration // for 8 MB
		}{{80e6, 800 * time.Millisecond}, {0, 0}, {160e6, 400 * time.Millisecond}, {16e6, 4 * time.Second}} {
			p.set(step.rate)
			start := time.Now()
			if _, err := io.CopyN(io.Discard, r, 8e6); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took < step.took*3/4 || took > step.took*5/4 {
				t.Errorf("at %d bits a second 8 MB took %v, not some %v", step.rate, took, step.took)
			}
		}
	})
}

// TestRateOfClient: datagrams beyond the client's rate are dropped and counted, those of
// another client are not.
func TestRateOfClient(t *testing.T) {
	s := testServer(t, func(c *conf.Server) { c.Clients = []conf.Peer{{Name: "laptop", Rate: 8e3}} }, nil)
	p, q := newPeer(s, "laptop", newFakeSession()), newPeer(s, "phone", newFakeSession())
	_, at := remoteUDP(t, "127.0.0.1")
	pkt := makePacket(inner4(7), at, 0, 0, make([]byte, 1000))
	for range 2 * paceBurst / 1000 {
		p.Deliver([][]byte{pkt})
		q.Deliver([][]byte{pkt})
	}
	if n := s.drops.snapshot()["rate"]; n < paceBurst/1000/2 || n > 2*paceBurst/1000 {
		t.Errorf("%d of %d dropped", n, 2*paceBurst/1000)
	}
}
