package admin

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/mpsocks/mpsocks/conf"
)

// A program that listens where a half could be is not told the token: neither when it knows
// nothing, nor when it passes the question on to a half that is elsewhere.
func TestTokenIsNotToldToOthers(t *testing.T) {
	half := start(t, nil)
	token := half.porter.token
	for name, answer := range map[string]func(w http.ResponseWriter, r *http.Request){
		"it knows nothing":  func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "{}") },
		"it is not there":   func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) },
		"it wants it first": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) },
		"it sends on": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://"+half.Addrs()[0].String()+r.URL.String(), http.StatusTemporaryRedirect)
		},
		"it passes on": func(w http.ResponseWriter, r *http.Request) {
			resp, err := http.Get("http://" + half.Addrs()[0].String() + r.URL.String())
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			w.WriteHeader(resp.StatusCode)
			io.Copy(w, resp.Body)
		},
	} {
		var mu sync.Mutex
		told := ""
		squatter := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			told += r.URL.String() + r.Header.Get("Authorization") + r.Header.Get("Cookie")
			mu.Unlock()
			answer(w, r)
		}))
		c := NewClient(conf.Admin{Addr: netip.MustParseAddrPort(squatter.Listener.Addr().String())}, token)
		_, err := c.Status(t.Context())
		if !errors.Is(err, ErrProof) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := c.Control(t.Context(), "/reload"); !errors.Is(err, ErrProof) {
			t.Errorf("%s: %v", name, err)
		}
		squatter.Close()
		if told == "" || strings.Contains(told, token) {
			t.Errorf("%s: it was told %q", name, told)
		}
	}
	// The half itself proves it, once; and by a port that leads there, if a person says so.
	if _, err := NewClient(half.Addrs()[0], token).Status(t.Context()); err != nil {
		t.Error(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for conn, err := ln.Accept(); err == nil; conn, err = ln.Accept() {
			there, err := net.Dial("tcp", half.Addrs()[0].String())
			if err != nil {
				conn.Close()
				continue
			}
			go func() { io.Copy(there, conn); there.(*net.TCPConn).CloseWrite() }()
			go func() { io.Copy(conn, there); conn.Close(); there.Close() }()
		}
	}()
	mapped := NewClient(conf.Admin{Addr: netip.MustParseAddrPort(ln.Addr().String())}, token)
	if _, err := mapped.Status(t.Context()); !errors.Is(err, ErrProof) {
		t.Errorf("by another port: %v", err)
	}
	mapped.Mapped = true
	if _, err := mapped.Status(t.Context()); err != nil {
		t.Errorf("by another port that a person has given: %v", err)
	}
	// A half of another state directory is none of ours.
	if _, err := NewClient(start(t, nil).Addrs()[0], token).Status(t.Context()); !errors.Is(err, ErrProof) {
		t.Errorf("another half: %v", err)
	}
}

// Nor when the half that it passes the question on to has the same port, at another of the
// machine's addresses; a half that is asked by any of its addresses proves it.
func TestProofIsOfTheAddress(t *testing.T) {
	half := start(t, func(c *Config) { c.Addrs = []conf.Admin{{Addr: netip.MustParseAddrPort("127.0.0.1:0")}} })
	at := half.Addrs()[0].Addr
	ln, err := net.Listen("tcp", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), at.Port()).String())
	if err != nil {
		t.Skip(err) // not every system has all of 127.0.0.0/8
	}
	passesOn := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: at.String()})
	passesOn.Transport = &http.Transport{DisableKeepAlives: true}
	squatter := &http.Server{Handler: passesOn}
	go squatter.Serve(ln)
	defer squatter.Close()
	c := NewClient(conf.Admin{Addr: netip.MustParseAddrPort(ln.Addr().String())}, half.porter.token)
	if _, err := c.Status(t.Context()); !errors.Is(err, ErrProof) {
		t.Errorf("it was told: %v", err)
	}
	everywhere := start(t, func(c *Config) { c.Addrs = []conf.Admin{{Addr: netip.MustParseAddrPort("[::]:0")}} })
	for _, host := range []string{"::", "0.0.0.0", "127.0.0.1", "127.0.0.3"} {
		a := netip.AddrPortFrom(netip.MustParseAddr(host), everywhere.Addrs()[0].Addr.Port())
		if _, err := NewClient(conf.Admin{Addr: a}, everywhere.porter.token).Status(t.Context()); err != nil {
			t.Errorf("at %v: %v", a, err)
		}
	}
}

// A Unix socket is its owner's: it is told no token, for its directory may be anybody's.
func TestTokenIsNotToldToSockets(t *testing.T) {
	path := t.TempDir() + "/s"
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan string, 1)
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		told <- r.Header.Get("Authorization")
		io.WriteString(w, "{}")
	})}
	go s.Serve(ln)
	defer s.Close()
	if _, err := NewClient(conf.Admin{Path: path}, "secret").Raw(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := <-told; got != "" {
		t.Errorf("it was told %q", got)
	}
}

// Who has no token, or asks in another form, gets no proof.
func TestProofIsForChallenges(t *testing.T) {
	s := start(t, nil)
	at := "http://" + s.Addrs()[0].String() + "/proof"
	for _, query := range []string{"", "?challenge=", "?challenge=00", "?challenge=zz000000000000000000000000000000", "?challenge=" + strings.Repeat("00", 17)} {
		resp, err := http.Get(at + query)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusNotFound {
			t.Errorf("%q: %s", query, resp.Status)
		}
	}
}
