package mux

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/mux/mptcp"
)

// testAlert is what crypto/tls has as an unexported type.
type testAlert uint8

func (testAlert) Error() string { return "tls: alert" }

// Only who answered and said no is asked less and less often.
func TestRefused(t *testing.T) {
	read := func(err error) error { return &net.OpError{Op: "read", Err: err} }
	reset := read(os.NewSyscallError("read", syscall.ECONNRESET))
	for _, c := range []struct {
		name           string
		err            error
		before, proved bool // refused, before and after the server has proved its key
	}{
		{"timeout", read(os.ErrDeadlineExceeded), false, false},
		{"end of the attempt", context.Canceled, false, false},
		{"reset", reset, false, true},
		{"end of the connection", io.EOF, false, true},
		{"alert", fmt.Errorf("explained (%w)", &net.OpError{Op: "remote error", Err: testAlert(42)}), true, true},
		{"our alert", &net.OpError{Op: "local error", Err: testAlert(20)}, true, true},
		{"another key", errors.New("server's key is a, expected b"), true, true},
		{"no TLS", tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}, true, true},
		{"session forgotten", fmt.Errorf("%w: %w", errForgotten, &ResetError{Reason: mptcp.ReasonMPTCP}), false, false},
		{"server full", &ResetError{Reason: mptcp.ReasonResources, Transient: true}, true, true},
		{"violation", errors.Join(protocolError("DSS where MP_JOIN belongs"), nil), true, true},
		{"session renewed meanwhile", ErrClosed, false, false},
	} {
		for proved, want := range map[bool]bool{false: c.before, true: c.proved} {
			if got := refused(fmt.Errorf("with the server: %w", c.err), proved); got != want {
				t.Errorf("%s, key proved %v: refused is %v", c.name, proved, got)
			}
		}
	}
}

func TestNextPause(t *testing.T) {
	no := fmt.Errorf("attempt: %w", judged(errors.New("no"), true))
	portal := fmt.Errorf("attempt: %w", judged(errors.New("first record does not look like a TLS handshake"), false))
	for _, c := range []struct {
		pause time.Duration
		err   error
		works bool
		want  time.Duration
	}{
		{backoffMin, io.EOF, false, 2 * backoffMin},
		{backoffMax, io.EOF, false, backoffMax},
		{backoffMin, no, false, 2 * backoffMin},
		{backoffMax, no, false, 2 * backoffMax},
		{backoffRefused, no, false, backoffRefused},
		{backoffStrange, portal, false, backoffStrange}, // who proves nothing is not believed
		{backoffRefused, io.EOF, false, backoffMax},     // the server restarts at last
		{backoffMax, io.EOF, true, 2 * backoffMax},      // others of the path work
		{backoffBeside, no, true, backoffBeside},
		{backoffBeside, io.EOF, false, backoffMax},
	} {
		if got := nextPause(c.pause, c.err, c.works); got != c.want {
			t.Errorf("after %v and %v: %v, want %v", c.pause, c.err, got, c.want)
		}
	}
}

// A path with a round trip of more than a second is reached by the second attempt, and by each
// once that is known; else attempts are short, but for one in four.
func TestDialTime(t *testing.T) {
	for tries, patient := range []bool{false, true, false, false, false, true, false} {
		if got := dialTime(tries, 100*time.Millisecond) == dialTimeout; got != patient {
			t.Errorf("attempt %d: patient is %v", tries, got)
		}
		if dialTime(tries, 4*time.Second) != dialTimeout {
			t.Errorf("attempt %d on a path where the last took 4 s is a short one", tries)
		}
	}
	for took, want := range map[time.Duration]time.Duration{12 * time.Second: 12 * time.Second, time.Minute: farTime} {
		if got := dialTime(0, took); got != want {
			t.Errorf("the first attempt where the last took %v: %v, want %v", took, got, want)
		}
		if dialTime(1, took) != dialTimeout {
			t.Errorf("the second attempt where the last took %v is a long one: the path may be gone", took)
		}
	}
}

func TestFollowWait(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		name   string
		works  bool
		trying time.Time
		want   time.Duration
	}{
		{"the path works", true, time.Time{}, 0},
		{"it works, and the leader dials", true, now, 0},
		{"the leader pauses", false, time.Time{}, followAfter},
		{"the leader dials", false, now.Add(-time.Second), followAfter - time.Second},
		{"for too long", false, now.Add(-6 * time.Second), 0},
	} {
		if got := followWait(c.works, c.trying, now); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// A path that does not answer is asked by one slot; when it does, the others
// are there at once.
func TestOthersFollow(t *testing.T) {
	n := newLoopTunnel(t, 1, 6, nil)
	n.stopL()
	<-n.listenerDone
	// While one of the path's subflows lives, for all that is known, the others are dialled
	// at once.
	eventually(t, "all subflows are gone", func() bool { return len(n.client.Session().Snapshot().Subflows) == 0 })
	// So do those that saw another one live when their own went: nobody listens yet, and they
	// are refused.
	time.Sleep(2 * backoffMin)
	mute, err := net.Listen("tcp", n.addr.String()) // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	var came atomic.Int64
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := mute.Accept()
			if err != nil {
				return
			}
			came.Add(1)
			defer conn.Close()
		}
	}()
	time.Sleep(1500 * time.Millisecond)
	// One after the other, with smaller segments each, in case the path loses large ones;
	// six slots that ask at once would be more.
	if got := came.Load(); got > 4 {
		t.Errorf("%d connections to a server that says nothing", got)
	}
	mute.Close()
	<-ended
	n.listen(n.listenerConfig())
	var first time.Time
	eventually(t, "all subflows are up", func() bool {
		up := len(n.client.Session().Snapshot().Subflows)
		if up > 0 && first.IsZero() {
			first = time.Now()
		}
		return up == 6
	})
	if d := time.Since(first); d > followAfter/2 { // and not when their own pause is over
		t.Errorf("the others came %v after the first", d)
	}
}

// A client whose key the server does not know knocks ever more seldom, and not
// once for each of its slots.
func TestUnknownKeyBacksOff(t *testing.T) {
	_, sk, _ := ed25519.GenerateKey(nil)
	_, ck, _ := ed25519.GenerateKey(nil)
	n := &loopTunnel{t: t, key: ck, serverKey: sk}
	var said words
	lc := ListenerConfig{
		Key: sk, Clients: map[[32]byte]string{}, Listen: []ListenAddr{{Addr: netip.MustParseAddrPort("127.0.0.1:0")}},
		Log: zerolog.New(&said).Level(zerolog.DebugLevel),
	}
	n.listen(lc)
	defer func() { n.stopL(); <-n.listenerDone }()
	c, err := NewClient(ClientConfig{
		Key: ck, ServerKey: sk.Public().(ed25519.PublicKey), Handler: newCollector(), Addresses: []string{n.addr.String()}, Log: zerolog.Nop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); c.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	time.Sleep(3 * time.Second)
	// Pauses of 50 to 100 ms, twice as much each time: six or seven attempts.
	if got := said.count("subflow refused"); got > 8 {
		t.Errorf("%d attempts in 3 s", got)
	}
	eventually(t, "three attempts", func() bool { return said.count("subflow refused") >= 3 })
}

// A server that hangs between its proof and the MPTCP handshake holds up the path for no
// longer than its way explains.
func TestJoinHasItsTime(t *testing.T) {
	for took, want := range map[time.Duration]time.Duration{
		2 * time.Millisecond: time.Second, 600 * time.Millisecond: 2400 * time.Millisecond, 4 * time.Second: handshakeTimeout,
		12 * time.Second: 12 * time.Second, time.Minute: farTime,
	} {
		if got := (&proven{took: took}).joins(); got != want {
			t.Errorf("after a proof of %v: %v, want %v", took, got, want)
		}
	}
}
