package admin

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/conf"
)

// Who may see what, over TCP on loopback.
func TestAccess(t *testing.T) {
	s := start(t, func(c *Config) {
		c.Pprof = true
		c.Controls.PausePath = func(string, bool) error { return nil }
		c.Controls.Reload = func() ([]string, error) { return nil, nil }
	})
	alone := headers{"Cookie", "mpsocks_" + s.base[strings.LastIndexByte(s.base, ':')+1:] + "=" + cookieValue(s.porter.token)}
	cookie := append(slices.Clone(alone), pageHeader, pageKey(s.porter.token))
	wrong := headers{"Authorization", "Bearer " + strings.Repeat("0", 32)}
	act := headers{"Content-Type", "application/json"}
	for _, tt := range []struct {
		method, path, body string
		h                  headers
		want               int
	}{
		{"GET", "/healthz", "", nil, 200},
		{"GET", "/readyz", "", nil, 200},
		{"GET", "/metrics", "", nil, 200},
		{"GET", "/", "", nil, 401},
		{"GET", "/status", "", nil, 401},
		{"GET", "/history", "", nil, 401},
		{"GET", "/events", "", nil, 401},
		{"GET", "/capture", "", nil, 401},
		{"GET", "/debug/pprof/", "", nil, 401},
		{"POST", "/reload", "", headers{controlHeader, "yes"}, 401},
		{"POST", "/actions/pause", `{"path":"dsl","on":true}`, act, 401},
		{"GET", "/status", "", wrong, 401},
		{"GET", "/status", "", headers{"Cookie", "mpsocks_1=" + cookieValue(s.porter.token)}, 401},
		{"GET", "/status", "", s.bearer(), 200},
		{"GET", "/status", "", cookie, 200},
		// What a program at another port gets of a browser opens nothing.
		{"GET", "/", "", alone, 200},
		{"GET", "/status", "", alone, 401},
		{"GET", "/events", "", alone, 401},
		{"GET", "/capture", "", append(slices.Clone(alone), pageHeader, cookieValue(s.porter.token)), 401},
		{"POST", "/actions/pause", `{"path":"dsl","on":true}`, append(slices.Clone(alone), act...), 401},
		{"GET", "/history?page=" + pageKey(s.porter.token), "", alone, 200},
		{"GET", "/history?page=" + pageKey(s.porter.token), "", nil, 401},
		{"GET", "/debug/pprof/", "", s.bearer(), 200},
		{"POST", "/reload", "", append(s.bearer(), controlHeader, "yes"), 200},
		{"POST", "/reload", "", s.bearer(), 403},
		{"POST", "/actions/pause", `{"path":"dsl","on":true}`, append(act, cookie...), 200},
		{"POST", "/actions/pause", `{"path":"dsl","on":true}`, append(headers{"Content-Type", "text/plain"}, cookie...), 415},
		{"GET", "/actions/pause", "", cookie, 405},
		{"POST", "/actions/explode", "{}", append(act, cookie...), 404},
		{"POST", "/actions/pause", strings.Repeat(" ", actionLimit+1) + "{}", append(act, cookie...), 400},
		// A browser says on whose behalf it asks; or, an old one, from where.
		{"GET", "/metrics", "", headers{"Sec-Fetch-Site", "cross-site"}, 403},
		{"GET", "/healthz", "", headers{"Sec-Fetch-Site", "same-site"}, 403},
		{"GET", "/status", "", append(cookie, "Sec-Fetch-Site", "same-origin"), 200},
		{"GET", "/status", "", append(cookie, "Sec-Fetch-Site", "none"), 200},
		{"POST", "/actions/pause", `{"path":"dsl"}`, append(append(act, cookie...), "Origin", "http://evil.example"), 403},
		{"POST", "/actions/pause", `{"path":"dsl"}`, append(append(act, cookie...), "Origin", "null"), 403},
		{"POST", "/actions/pause", `{"path":"dsl"}`, append(append(act, cookie...), "Origin", s.base), 200},
		// A name that was rebound to this address.
		{"GET", "/metrics", "", headers{"Host", "evil.example:80"}, 403},
	} {
		if code, body := s.send(tt.method, tt.path, tt.body, tt.h); code != tt.want {
			t.Errorf("%s %s %v: %d, want %d: %.200s", tt.method, tt.path, tt.h, code, tt.want, body)
		}
	}
}

// Without the token a status tells no more than the metrics do.
func TestStatusWithoutTheToken(t *testing.T) {
	s := start(t, nil)
	_, body := s.get("/status", nil)
	for _, secret := range []string{"ann", "curl", "example.com", "203.0.113.5", "192.0.2.7", s.porter.token} {
		if strings.Contains(body, secret) {
			t.Errorf("%q is in\n%s", secret, body)
		}
	}
	for _, open := range []string{`"dsl"`, "needs the token", `"sent_bytes": 1000`} {
		if !strings.Contains(body, open) {
			t.Errorf("%q is not in\n%s", open, body)
		}
	}
}

// The page's link leaves a cookie that other sites' pages cannot use, and a key for the page
// alone, and takes the token out of the address.
func TestLinkLeavesACookie(t *testing.T) {
	s := start(t, nil)
	resp, err := s.ask("GET", "/?token="+s.porter.token, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	c := resp.Cookies()
	if resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/#"+pageKey(s.porter.token) || len(c) != 1 ||
		c[0].SameSite != http.SameSiteStrictMode || !c[0].HttpOnly || strings.Contains(c[0].Value, s.porter.token) {
		t.Fatalf("%s %v %v", resp.Status, resp.Header, c)
	}
	code, body := s.get("/", headers{"Cookie", c[0].Name + "=" + c[0].Value})
	if code != 200 || !strings.Contains(body, "app.js") {
		t.Errorf("%d %.200s", code, body)
	}
	if code, body := s.get("/?token=wrong", nil); code != 401 || !strings.Contains(body, "status --web") {
		t.Errorf("a wrong token: %d %s", code, body)
	}
}

// Off loopback everything asks for the token.
func TestOffLoopback(t *testing.T) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	var at conf.Admin
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() && n.IP.To4() != nil {
			at.UnmarshalText([]byte(n.IP.String() + ":0"))
			break
		}
	}
	if !at.Addr.IsValid() {
		t.Skip("this machine has no address but loopback ones")
	}
	s := start(t, func(c *Config) { c.Addrs = []conf.Admin{at} })
	for _, path := range []string{"/metrics", "/healthz", "/readyz", "/status"} {
		if code, body := s.get(path, nil); code != 401 || strings.Contains(body, "dsl") {
			t.Errorf("%s: %d %s", path, code, body)
		}
		if code, _ := s.get(path, s.bearer()); code != 200 {
			t.Errorf("%s with the token: %d", path, code)
		}
	}
	// A loopback address that others of the network reach is none.
	near := start(t, nil)
	from := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(at.Addr.Addr(), 0))}
	near.http.Transport.(*http.Transport).DialContext = from.DialContext
	for _, path := range []string{"/metrics", "/status"} {
		resp, err := near.ask("GET", path, "", nil)
		if err != nil {
			t.Skip(err) // nor does this machine itself
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != 401 || strings.Contains(string(body), "dsl") {
			t.Errorf("%s from %v: %d %.99s, %v", path, at.Addr.Addr(), resp.StatusCode, body, err)
		}
	}
	if code, _ := near.get("/metrics", near.bearer()); code != 200 {
		t.Errorf("from there with the token: %d", code)
	}
}

// A Unix socket is its owner's alone, needs no token, and a dead one is no obstacle.
func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "admin.sock")
	s := start(t, func(c *Config) { c.Addrs = []conf.Admin{{Path: path}} })
	info, err := os.Stat(path)
	if err != nil || runtime.GOOS == "linux" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if code, _ := s.get("/status", nil); code != 200 {
		t.Errorf("%d by the socket", code)
	}
	if _, err := listen(conf.Admin{Path: path}); err == nil || !strings.Contains(err.Error(), "another program") {
		t.Errorf("a second one at the same path: %v", err)
	}
	dead := filepath.Join(t.TempDir(), "dead.sock")
	l, err := net.Listen("unix", dead)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	again, err := listen(conf.Admin{Path: dead})
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	file := filepath.Join(t.TempDir(), "file")
	os.WriteFile(file, []byte("mine"), 0o600)
	if l, err := listen(conf.Admin{Path: file}); err == nil {
		l.Close()
		t.Error("somebody's file was replaced")
	}
}

// The token stays the same over restarts, and one that others can read is refused.
func TestToken(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	first, err := loadToken(dir)
	if err != nil || len(first) != 2*tokenBytes {
		t.Fatal(first, err)
	}
	if again, err := loadToken(dir); again != first || err != nil {
		t.Errorf("%s, then %s (%v)", first, again, err)
	}
	if runtime.GOOS == "windows" {
		return
	}
	file := filepath.Join(dir, tokenFile)
	os.Chmod(file, 0o644)
	if token, err := loadToken(dir); err == nil {
		t.Errorf("%s is used, which everybody can read", token)
	}
	os.Remove(file)
	os.Symlink("/etc/hostname", file)
	if token, err := loadToken(dir); err == nil {
		t.Errorf("a link is followed: %s", token)
	}
	if os.Geteuid() != 0 {
		return // nobody else's file can be made
	}
	os.Remove(file)
	if first, err = loadToken(dir); err != nil {
		t.Fatal(err)
	}
	os.Chown(file, 12345, 12345)
	if token, err := loadToken(dir); err == nil {
		t.Errorf("%s is used, which somebody else has put there", token)
	}
	os.Chown(dir, 12345, 12345)
	if token, err := ReadToken(dir); token != first || err != nil {
		t.Errorf("a service's, which root asks: %s, %v", token, err)
	}
	if token, err := loadToken(dir); err == nil {
		t.Errorf("a half of root's uses %s, which somebody else has", token)
	}
	if err := announce(dir, "client", []conf.Admin{{Path: "/run/x"}}); err == nil {
		t.Error("it writes into somebody else's directory")
	}
	os.Chown(dir, 0, 0)
	os.Chown(file, 0, 0)
	os.Chmod(dir, 0o777)
	if token, err := ReadToken(dir); err == nil {
		t.Errorf("%s is told, which anybody can have put there", token)
	}
	if a := Announced(dir, "client"); a != nil {
		t.Errorf("%v is believed, which anybody can have put there", a)
	}
}

// Addresses change while it runs: requests at those that stay go on, and the state
// directory says where it is.
func TestChange(t *testing.T) {
	s := start(t, nil)
	was := s.Addrs()
	path := filepath.Join(t.TempDir(), "a.sock")
	if err := s.Change([]conf.Admin{s.cfg.Addrs[0], {Path: path}}); err != nil {
		t.Fatal(err)
	}
	if now := s.Addrs(); len(now) != 2 || now[0] != was[0] {
		t.Errorf("%v became %v", was, now)
	}
	if code, _ := s.get("/status", s.bearer()); code != 200 {
		t.Error(code)
	}
	if a := Announced(s.cfg.StateDir, "client"); len(a) != 2 || a[1].Path != path {
		t.Errorf("it says that it is at %v", a)
	}
	if _, err := NewClient(conf.Admin{Path: path}, "").Status(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.Change([]conf.Admin{{Path: "/dev/null/x"}}); err == nil {
		t.Error("an impossible address is taken")
	}
	if code, _ := s.get("/status", s.bearer()); code != 200 {
		t.Errorf("after a failed change: %d", code)
	}
}

// A flood of connections costs no more than so many descriptors, and keeps nobody out:
// neither those that say nothing, nor those whose requests do not end.
func TestManyConnections(t *testing.T) {
	for _, says := range []string{"", "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n", "GET /met"} {
		s := start(t, nil)
		s.get("/healthz", nil)
		var all []net.Conn
		for range 3 * mostConns {
			c, err := net.Dial("tcp", s.Addrs()[0].Addr.String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			io.WriteString(c, says)
			all = append(all, c)
		}
		fresh := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
		resp, err := fresh.Get(s.base + "/healthz")
		if err != nil {
			t.Fatalf("beside %d connections that say %q: %v", len(all), says, err)
		}
		resp.Body.Close()
		for _, c := range all[:2*mostConns] { // the oldest have gone
			c.SetReadDeadline(time.Now().Add(20 * time.Second))
			if _, err := io.Copy(io.Discard, c); err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("one of %d that say %q is held: %v", len(all), says, err)
			}
		}
		if code, _ := s.get("/healthz", nil); code != 200 {
			t.Error(code)
		}
	}
}

// Whoever has shown the token and asks for something goes for nobody.
func TestWhoHasTheTokenStays(t *testing.T) {
	s := start(t, nil)
	resp, err := s.ask("GET", "/events", "", s.bearer())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Fatal(resp.Status)
	}
	for range 3 * mostConns {
		c, err := net.Dial("tcp", s.Addrs()[0].Addr.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n")
	}
	if _, err := s.ask("GET", "/healthz", "", nil); err != nil {
		t.Fatal(err)
	}
	gone := make(chan error, 1)
	go func() { _, err := io.Copy(io.Discard, resp.Body); gone <- err }()
	select {
	case err := <-gone:
		t.Errorf("its events have ended: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
}

// An IPv4 address is for IPv4 alone, 0.0.0.0 too: who opens the page to one family does not
// open it to the other.
func TestWildcardIsOfItsFamily(t *testing.T) {
	l, err := listen(conf.Admin{Addr: netip.MustParseAddrPort("0.0.0.0:0")})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if c, err := net.Dial("tcp6", net.JoinHostPort("::1", port)); err == nil {
		c.Close()
		t.Error("it is open to IPv6")
	}
}
