package admin

import (
	"bytes"
	"context"
	"io"
	"log"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A hall is a listener in memory.
type hall struct {
	come   chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (h *hall) Accept() (net.Conn, error) {
	select {
	case c := <-h.come:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}
func (h *hall) Close() error   { h.once.Do(func() { close(h.closed) }); return nil }
func (h *hall) Addr() net.Addr { return &net.TCPAddr{} }

// at is a connection at an address.
type at struct {
	net.Conn
	local net.Addr
}

func (c at) LocalAddr() net.Addr { return c.local }

// FuzzAdmin says anything to the admin listener, by a Unix socket, on loopback and from
// elsewhere: nothing panics, every connection ends, and who has not shown the token learns
// nothing of anybody's and changes nothing.
func FuzzAdmin(f *testing.F) {
	const token = "0123456789abcdef0123456789abcdef"
	for _, s := range []string{
		"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", "GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
		"GET /metrics HTTP/1.1\r\nHost: localhost:1\r\nConnection: close\r\n\r\n", "GET /healthz HTTP/1.0\r\n\r\n",
		"GET /readyz HTTP/1.1\r\nHost: [::1]\r\n\r\nGET /proxy.pac HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
		"GET /history HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", "GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", "GET /stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
		"POST /actions/pause HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 24\r\n\r\n{\"path\":\"dsl\",\"on\":true}",
		"POST /actions/class HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
		"POST /reload HTTP/1.1\r\nHost: 127.0.0.1\r\nMpsocks-Control: yes\r\nContent-Length: 0\r\n\r\n",
		"GET /?token=" + strings.Repeat("0", 32) + " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
		"GET /debug/pprof/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", "GET /capture HTTP/1.1\r\nHost: 127.0.0.1\r\nRange: bytes=0-1\r\n\r\n",
		"GET //status HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: mpsocks_80=x\r\nAuthorization: Bearer x\r\n\r\n",
		"GET http://127.0.0.1/status HTTP/1.1\r\nHost: x\r\nOrigin: http://x\r\nSec-Fetch-Site: none\r\n\r\n",
		"POST /status HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n", "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nExpect: another\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	} {
		for kind := range byte(3) {
			f.Add(kind, []byte(s))
		}
	}
	f.Fuzz(func(t *testing.T, kind byte, said []byte) {
		if bytes.Contains(said, []byte(token)) {
			return
		}
		synctest.Test(t, func(t *testing.T) { speak(t, kind%3, said, token) })
	})
}

// speak says one thing to a server of its own.
func speak(t *testing.T, kind byte, said []byte, token string) {
	var changes atomic.Int64
	note := func() error { changes.Add(1); return nil }
	by := func(string, bool) error { return note() }
	s, err := Listen(Config{Half: "client", Version: "v1", Status: aStatus, Pprof: kind == 1, Controls: Controls{
		Reload: func() ([]string, error) { return []string{"x"}, note() }, Drain: note, PausePath: by, SetBackup: by, SetMetered: by,
		ClassFlow: func(netip.AddrPort, string) error { return note() }, LogLevel: func(string) error { return note() },
		Capture: func(bool) error { return note() }, CaptureFile: func() (string, bool) { return "", false },
	}})
	if err != nil {
		t.Fatal(err)
	}
	s.porter.token = token
	var faults bytes.Buffer
	s.server.ErrorLog, s.server.IdleTimeout = log.New(&faults, "", 0), time.Second
	s.server.ReadHeaderTimeout, s.server.ReadTimeout = time.Second, min(s.server.ReadTimeout, time.Second)
	ctx, cancel := context.WithCancel(t.Context())
	var tasks sync.WaitGroup
	tasks.Go(func() { s.recorder.run(ctx) })
	h := &hall{come: make(chan net.Conn), closed: make(chan struct{})}
	tasks.Go(func() { _ = s.server.Serve(limit(h, s.foreign)) })

	near, far := net.Pipe()
	local := []net.Addr{&net.UnixAddr{Name: "x", Net: "unix"}, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80}, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 80}}[kind]
	h.come <- at{far, local}
	heard := make(chan []byte, 1)
	tasks.Go(func() {
		b, _ := io.ReadAll(near)
		heard <- b
	})
	tasks.Go(func() { _, _ = near.Write(said) })
	// A stream of events lasts as long as who reads it; all else has an end.
	time.Sleep(4 * time.Second)
	synctest.Wait()
	lasts := false
	select {
	case b := <-heard:
		heard <- b
	default:
		lasts = true
	}
	near.Close()
	answer := <-heard
	if lasts && kind != 0 && !bytes.Contains(answer, []byte("text/event-stream")) {
		t.Errorf("%q lasts", said)
	}
	if kind != 0 {
		if n := changes.Load(); n > 0 {
			t.Errorf("%q: %d things were changed", said, n)
		}
		for _, secret := range []string{`"ann"`, "example.com:443", "192.0.2.7:40000", token, cookieValue(token), pageKey(token)} {
			if bytes.Contains(answer, []byte(secret)) {
				t.Errorf("%q is told %q", said, secret)
			}
		}
	}
	cancel()
	_ = s.server.Close()
	tasks.Wait()
	s.Close()
	synctest.Wait()
	if strings.Contains(faults.String(), "panic") {
		t.Error(faults.String())
	}
}
