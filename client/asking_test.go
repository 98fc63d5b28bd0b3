package client

import (
	"bytes"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mpsocks/mpsocks/client/admission"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// asker is an association of somebody's, without a socket.
func (c *Client) asker(t *testing.T, user string) *association {
	t.Helper()
	a := &association{loop: &loop{}, app: packet.ServerHost4}
	a.client, a.holder = c, admission.Holder{User: user}
	if err := c.ports.take(&a.innerPort, a); err != nil {
		t.Fatal(err)
	}
	return a
}

// One user asks for names that nobody answers, as many as he can: no more are under way than
// the server takes, another user's name is answered at once, and all have an end.
func TestNamesAreAskedForInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &zone{ttl: 300, addrs: map[string][]string{"good.test": {"192.0.2.4"}}}
		f := &fakeTunnel{answer: func(h packet.UDP, payload []byte) [][]byte {
			if h.Dst != resolver { // nobody reads an echo here
				return nil
			}
			out := z.answerAs(h, payload)
			if !bytes.Contains(payload, []byte("good")) {
				return nil
			}
			return out
		}}
		c := bare(t, f).client
		f.client = c
		var greedy *association
		for i := range 4 * maxQuestions {
			if i%maxWaitingEach == 0 {
				greedy = c.asker(t, "greedy")
			}
			greedy.hand(datagram(0, fmt.Sprintf("n%d.test:7", i), []byte("x")))
		}
		f.Flush()
		z.mu.Lock()
		asked := len(z.asked)
		z.mu.Unlock()
		if asked != underWayEach {
			t.Errorf("%d names are asked for at once", asked)
		}
		if n := c.names.asking.of(admission.Holder{User: "greedy"}).names; n != maxQuestions/2 {
			t.Errorf("one user has %d questions", n)
		}
		modest := c.asker(t, "modest")
		modest.hand(datagram(0, "good.test:7", []byte("y")))
		f.Flush()
		f.Flush()
		sent := false
		for _, h := range f.sent() {
			sent = sent || h.Dst.String() == "192.0.2.4:7"
		}
		if !sent {
			t.Error("another user's datagram waits for his name")
		}
		time.Sleep(questionTime + questionTick)
		synctest.Wait()
		c.names.mu.Lock()
		late := len(questionTypes) * underWayEach
		if k := &c.names.asking; k.under != 0 || k.waits != 0 || len(k.by) != 0 || len(k.turn) != 0 || c.names.bytes != 0 || len(c.names.open) > late {
			t.Errorf("%+v, %d bytes and %d questions stay", k, c.names.bytes, len(c.names.open))
		}
		c.names.mu.Unlock()
		time.Sleep(lateTime - questionTime)
		synctest.Wait()
		c.names.mu.Lock()
		if len(c.names.open) != 0 || c.names.ticking {
			t.Errorf("%d questions stay for good", len(c.names.open))
		}
		c.names.mu.Unlock()
		c.names.stop()
	})
}

// Names wait for their turn, and get it as others are answered.
func TestNamesGetTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 100
		z := &zone{ttl: 300, addrs: map[string][]string{}}
		for i := range n {
			z.addrs[fmt.Sprintf("n%d.test", i)] = []string{fmt.Sprintf("192.0.2.%d", i)}
		}
		f := &fakeTunnel{answer: func(h packet.UDP, payload []byte) [][]byte {
			if h.Dst != resolver {
				return nil
			}
			return z.answerAs(h, payload)
		}}
		c := bare(t, f).client
		f.client = c
		var a *association
		for i := range n {
			if i%maxWaitingEach == 0 {
				a = c.asker(t, "ann")
			}
			a.hand(datagram(0, fmt.Sprintf("n%d.test:7", i), []byte("x")))
		}
		f.Flush()
		synctest.Wait()
		got := make(map[string]bool)
		for _, h := range f.sent() {
			if h.Dst.Port() == 7 {
				got[h.Dst.String()] = true
			}
		}
		if len(got) != n || c.names.asking.under != 0 {
			t.Errorf("%d of %d datagrams are out, %d are asked for", len(got), n, c.names.asking.under)
		}
		c.names.stop()
	})
}

// Who asks for another name all the time does not put off that a lost question is asked
// again, or given up.
func TestQuestionsAreAskedAgainBesideOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &zone{ttl: 300}
		z.mute.Store(true)
		f := &fakeTunnel{answer: func(h packet.UDP, payload []byte) [][]byte {
			if h.Dst != resolver {
				return nil
			}
			return z.answerAs(h, payload)
		}}
		c := bare(t, f).client
		f.client = c
		c.asker(t, "modest").hand(datagram(0, "lost.test:7", []byte("x")))
		first := c.names.find([]byte("lost.test"))
		other := c.asker(t, "other")
		for i := range 60 { // 6 s
			time.Sleep(100 * time.Millisecond)
			other.hand(datagram(0, fmt.Sprintf("n%d.test:7", i), []byte("x")))
			f.Flush()
		}
		synctest.Wait()
		c.names.mu.Lock()
		asking := first.asking
		c.names.mu.Unlock()
		if n := z.count("lost.test"); n != 3 || asking {
			t.Errorf("asked %d times, still asking: %v", n, asking)
		}
		c.names.stop()
	})
}
