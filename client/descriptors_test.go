package client

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/gate"
)

// TestDescriptorsKeepAReserve has applications take all that they may: a silent
// connection gives way, and what is free again is to be had.
func TestDescriptorsKeepAReserve(t *testing.T) {
	c := start(t, &fakeTunnel{answer: echo}, nil)
	c.crowd.descriptors.most.Store(4)
	one, _ := associated(t, c, anywhere) // a connection and a relay socket
	associated(t, c, anywhere)
	for range 3 {
		if n, err := dial(t, c).Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("over the bound: read %d, %v", n, err)
		}
	}
	if n := c.Status().Refused["descriptors"]; n != 3 {
		t.Errorf("%d counted", n)
	}
	one.Close()
	eventually(t, "there is room again", func() bool { return c.crowd.descriptors.used.Load() == 2 })
	silent := dial(t, c)
	eventually(t, "it is in", func() bool { return c.crowd.descriptors.used.Load() == 3 })
	dial(t, c)
	eventually(t, "it is in", func() bool { return c.crowd.descriptors.used.Load() == 4 })
	refused := dial(t, c) // but has made room for the next one
	refused.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := silent.Read(make([]byte, 1)); err == nil {
		t.Error("the oldest silent one is still there")
	}
	eventually(t, "there is room", func() bool { return c.crowd.descriptors.used.Load() == 3 })
	talk(t, dial(t, c), []byte{5, 1, 0}, 2)
}

// TestDescriptorsAreShared has one user open connections until it gets no more: another one's
// association and connection still work.
func TestDescriptorsAreShared(t *testing.T) {
	const most = 32
	c := start(t, &fakeTunnel{answer: echo, exit: func(conn net.Conn) {
		conn.Write([]byte{5, 0, 5, 0, 0, 1, 127, 0, 0, 1, 0, 80})
		io.Copy(io.Discard, conn)
	}}, func(cfg *conf.Client) {
		cfg.Users = []conf.User{{Name: "greedy", Password: "g"}, {Name: "modest", Password: "m"}}
	})
	c.crowd.descriptors.most.Store(most)
	c.crowd.descriptors.holders.set(most, 0)
	ask := func(user string, command byte) (reply byte) {
		t.Helper()
		b := append([]byte{5, 1, 2, 1, byte(len(user))}, user...)
		out := talk(t, dial(t, c), append(b, 1, user[0], 5, command, 0, 1, 127, 0, 0, 1, 0, 80), 2+2+10)
		return out[5]
	}
	n := 0
	for n < 2*most && ask("greedy", 1) == 0 {
		n++
	}
	if n != most-most/quotaReserve {
		t.Errorf("one user has %d of %d", n, most)
	}
	if got := c.Status().Refused["descriptors"]; got != 1 {
		t.Errorf("%d counted", got)
	}
	eventually(t, "the refused one has gone", func() bool { return c.crowd.descriptors.used.Load() == int64(n) })
	if code := ask("modest", 3); code != 0 {
		t.Errorf("another user's association: reply %d", code)
	}
	if code := ask("modest", 1); code != 0 {
		t.Errorf("another user's connection: reply %d", code)
	}
	if code := ask("greedy", 3); code == 0 {
		t.Error("the first one gets an association too")
	}
}

// TestRelayPortsAreShared: of a small range of relay ports one user leaves some to the others.
func TestRelayPortsAreShared(t *testing.T) {
	c := start(t, &fakeTunnel{answer: echo}, func(cfg *conf.Client) {
		cfg.UDP.Ports = conf.PortRange{From: 39500, To: 39515}
	})
	take := func(h holder) (n int) {
		for n < 20 && c.relays.shares.acquire(h) {
			n++
		}
		return n
	}
	greedy := holder{user: "greedy"}
	if n := take(greedy); n != 14 {
		t.Errorf("one user has %d of 16", n)
	}
	if n := take(holder{user: "modest"}); n < 2 {
		t.Errorf("another one gets %d", n)
	}
	for range 14 {
		c.relays.shares.release(greedy)
	}
	one, _ := associated(t, c, anywhere)
	eventually(t, "it is counted", func() bool { total, _ := c.relays.shares.state(); return total > 14 })
	one.Close()
	eventually(t, "and given back", func() bool { total, _ := c.relays.shares.state(); return total <= 14 })
}

// TestDescriptorsAreSaid: that programs are refused for want of them is a line of the log, and
// not one for each.
func TestDescriptorsAreSaid(t *testing.T) {
	if gate.Files() == 0 {
		t.Skip("there is no limit")
	}
	var log bytes.Buffer
	d := newDescriptors(zerolog.New(&log))
	d.most.Store(1)
	if !d.take(1) || log.Len() > 0 {
		t.Fatalf("the first: %s", &log)
	}
	for range 5 {
		d.take(1)
	}
	if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "ulimit -n") {
		t.Errorf("five that were refused: %q", text)
	}
}
