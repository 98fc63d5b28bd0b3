package mux

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/mux/handshake"
)

// Who was refused and why is said, a few lines a minute however many there are, and all
// are counted.
func TestRefusalsAreSaid(t *testing.T) {
	var out strings.Builder
	log := zerolog.New(&out)
	var r refusals
	now := time.Now()
	for i := range 1000 {
		from := &net.TCPAddr{IP: net.IPv4(192, 0, 2, byte(i%200)), Port: 1000 + i}
		err := error(&handshake.UnknownKeyError{Key: "x"})
		if i%2 == 1 {
			err = fmt.Errorf("handshake: %w", os.ErrDeadlineExceeded)
		}
		r.note(&log, from, err, now)
	}
	lines := strings.Count(out.String(), "\n")
	if lines == 0 || lines > refusalsMost || !strings.Contains(out.String(), `"from":"192.0.2.0","reason":"unknown_key","key":"x"`) || !strings.Contains(out.String(), "clients add") {
		t.Errorf("%d lines:\n%s", lines, out.String())
	}
	if c := r.list(); c[refusedKey] != 500 || c[refusedSilent] != 500 || len(c) != len(refusalWords) {
		t.Errorf("%v", c)
	}
	now = now.Add(2 * refusalEvery)
	out.Reset()
	r.note(&log, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}, errTooMany, now)
	if !strings.Contains(out.String(), fmt.Sprintf(`"more":%d`, 1000-lines)) || !strings.Contains(out.String(), `"reason":"limit"`) {
		t.Errorf("a minute later: %s", out.String())
	}
	for _, limit := range []string{limitPerClient, limitSubflows} {
		out.Reset()
		r.note(&log, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}, errors.Join(&limitError{"laptop", limit}), now)
		if text := out.String(); !strings.Contains(text, `"client":"laptop","limit":"`+limit+`"`) || !strings.Contains(text, limit+" is reached") {
			t.Errorf("of a limit it says %s", text)
		}
	}
}

// A client whose date is too far from the server's is a stranger where that has a cover, and cannot
// know why: the server says it.
func TestClockThatIsOffIsSaid(t *testing.T) {
	n := covered(t, Cover{Silent: true})
	g, err := handshake.NewGreeter(n.key, Cover{ALPN: []string{"h2", "http/1.1"}, ServerName: "www.example.org"}, n.serverKey.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", n.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cfg, _ := g.Config(time.Now().AddDate(0, 0, -31))
	c.SetDeadline(time.Now().Add(200 * time.Millisecond))
	if err := tls.Client(c, cfg).Handshake(); err == nil {
		t.Error("it is taken")
	}
	eventually(t, "it is counted", func() bool { return n.listener.Refusals()[refusedClock] == 1 })
	var out strings.Builder
	log := zerolog.New(&out)
	var r refusals
	r.note(&log, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}, &clockError{"laptop", -31 * 24 * time.Hour}, time.Now())
	if !strings.Contains(out.String(), "client laptop is 31 days behind") {
		t.Errorf("it says %s", out.String())
	}
}

// However the refusals come, there are no more than four lines in 40 s.
func TestRefusalsAreFew(t *testing.T) {
	var out strings.Builder
	log := zerolog.New(&out)
	var r refusals
	now := time.Now()
	var at []time.Time
	for i := range 3000 {
		before := out.Len()
		r.note(&log, &net.TCPAddr{IP: net.IPv4(192, 0, byte(i/7), byte(i%5))}, errTooMany, now)
		if out.Len() > before {
			at = append(at, now)
		}
		if n := len(at); n > 4 && at[n-1].Sub(at[n-5]) < 40*time.Second {
			t.Fatalf("five lines in %s", at[n-1].Sub(at[n-5]))
		}
		now = now.Add(time.Duration(i%13) * 100 * time.Millisecond)
	}
	if len(at) < 20 {
		t.Errorf("%d lines in all", len(at))
	}
}

// The reason is found by what an error is, not by its words.
func TestRefusalReasons(t *testing.T) {
	inTLS := func(err error) error { return fmt.Errorf("handshake: %w", &tlsError{err}) }
	for _, c := range []struct {
		err  error
		want string
	}{
		{errRevoked, refusedRevoked},
		{fmt.Errorf("%w: another connection got its place", errTooMany), refusedCaps},
		{errors.Join(&limitError{"laptop", limitSessions}, io.ErrClosedPipe), refusedCaps},
		{inTLS(&handshake.UnknownKeyError{Key: "x"}), refusedKey},
		{errors.Join(unknownSessionError(7), nil), refusedSession},
		{inTLS(os.ErrDeadlineExceeded), refusedSilent},
		{inTLS(io.EOF), refusedLeft},
		{inTLS(fmt.Errorf("read: %w", syscall.ECONNRESET)), refusedLeft},
		{inTLS(errors.New("tls: client didn't provide a certificate")), refusedNoKey},
		{inTLS(tls.RecordHeaderError{Msg: "not a handshake"}), refusedTLS},
		{errStranger, refusedTLS},
		{protocolError("subflow starts with neither"), refusedOther},
		{errors.New("it says tls: and no session with token"), refusedOther},
	} {
		if got := refusalReason(c.err); got != c.want {
			t.Errorf("%v is %q, want %q", c.err, got, c.want)
		}
	}
}

// Which limit refuses a client is said on the server's side and told to the client, which
// reports it; the next session is taken when there is room.
func TestLimitIsNamed(t *testing.T) {
	var out logLines
	n := newLoopTunnel(t, 1, 1, func(_ *ClientConfig, l *ListenerConfig) {
		l.MaxSessionsPerClient, l.Log = 1, zerolog.New(&out)
	})
	second := n.another()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- second.Run(ctx) }()
	defer func() { stop(); <-done }()
	eventually(t, "the client knows the limit", func() bool {
		r := second.Reports()
		return len(r) == 1 && strings.Contains(r[0].Error, "the server refuses: limits.sessions_per_client is reached")
	})
	eventually(t, "the server's log does", func() bool {
		return strings.Contains(out.String(), `"limit":"limits.sessions_per_client"`)
	})
}

// Who it was that was refused is told apart: what only looks at the port, a browser, and a
// client that takes this server for another one. What goes away without a word from an address
// that has proved a key is a client's own, which dials more than it needs: nobody is refused.
func TestStrangersAreToldApart(t *testing.T) {
	var out logLines
	n := newLoopTunnel(t, 1, 1, func(_ *ClientConfig, l *ListenerConfig) { l.Log = zerolog.New(&out).Level(zerolog.DebugLevel) }) // from 127.0.0.1
	look := func(from byte) {
		t.Helper()
		c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, from)}}).DialContext(t.Context(), "tcp", n.addr.String())
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	look(1)
	eventually(t, "that a client has gone", func() bool { return strings.Contains(out.String(), "a client has gone before it was let in") })
	if k := n.listener.Refusals()[refusedLeft]; k != 0 || strings.Contains(out.String(), "it went away") {
		t.Errorf("%d refusals: %s", k, out.String())
	}
	look(2)
	browser, err := net.Dial("tcp", n.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer browser.Close()
	_ = browser.SetDeadline(time.Now().Add(20 * time.Second))
	c := tls.Client(browser, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
	_ = c.Handshake()
	_, _ = c.Read(make([]byte, 1))
	eventually(t, "both are named", func() bool {
		return strings.Contains(out.String(), "something that looks whether the port answers") && strings.Contains(out.String(), "it proves no key")
	})
}

// logLines is a log that any goroutine may write and read.
type logLines struct {
	mu  sync.Mutex
	out strings.Builder
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Write(p)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.String()
}
