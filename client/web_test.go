package client

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/muxtest"
)

func itoa(port uint16) string { return strconv.Itoa(int(port)) }

// browser is an HTTP client that uses a client as its proxy.
func browser(t *testing.T, c *Client, user *url.Userinfo) *http.Client {
	t.Helper()
	tr := http.DefaultTransport.(*http.Transport).Clone()
	tr.Proxy = http.ProxyURL(&url.URL{Scheme: "http", User: user, Host: c.Addrs()[0].String()})
	tr.TLSClientConfig = testTLS(t)
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 5 * time.Second}
}

func fetch(t *testing.T, b *http.Client, method, u string, body io.Reader) (int, string) {
	t.Helper()
	r, err := http.NewRequest(method, u, body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := b.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(all)
}

func TestHTTPProxy(t *testing.T) {
	c := start(t, &fakeTunnel{exit: armonExit(t)}, nil)
	big := make([]byte, 1<<20)
	rand.Read(big)
	conns := map[string]bool{}
	origin := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		conns[r.RemoteAddr] = true
		for _, name := range []string{"Proxy-Authorization", "Proxy-Connection", "Via"} {
			if r.Header.Get(name) != "" {
				t.Errorf("the origin sees %s", name)
			}
		}
		if r.Header.Get("X-Forwarded-For") != "the application's" || r.Header.Get("User-Agent") != "test" {
			t.Errorf("the origin sees %v", r.Header)
		}
		switch r.URL.Path {
		case "/big":
			rw.Write(big)
		case "/early":
			http.Error(rw, "too large", http.StatusRequestEntityTooLarge)
		default:
			body, _ := io.ReadAll(r.Body)
			fmt.Fprintf(rw, "%s %s %s %d", r.Method, r.Host, r.RequestURI, len(body))
		}
	}))
	defer origin.Close()
	b := browser(t, c, nil)
	get := func(method, path string, body io.Reader) (int, string) {
		r, err := http.NewRequest(method, origin.URL+path, body)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Forwarded-For", "the application's")
		r.Header.Set("User-Agent", "test")
		resp, err := b.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		all, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(all)
	}
	host := strings.TrimPrefix(origin.URL, "http://")
	for range 3 {
		if code, got := get("GET", "/a?x=1;y=%zz", nil); code != 200 || got != "GET "+host+" /a?x=1;y=%zz 0" {
			t.Errorf("%d %q", code, got)
		}
		if code, got := get("POST", "/b", bytes.NewReader(big)); code != 200 || got != fmt.Sprintf("POST %s /b %d", host, len(big)) {
			t.Errorf("%d %q", code, got)
		}
		if code, got := get("GET", "/big", nil); code != 200 || got != string(big) {
			t.Errorf("%d, %d bytes", code, len(got))
		}
	}
	if len(conns) != 1 {
		t.Errorf("%d connections to the origin, want one that is kept", len(conns))
	}
	eventually(t, "only the idle connection is left", func() bool {
		s := c.Status()
		return s.Streams == 1 && s.Pending == 1
	})
	c.calls.mu.Lock()
	for _, p := range c.calls.by {
		if p.to != host || !p.app.IsValid() || p.proxy != c.Addrs()[0] {
			t.Errorf("status takes the stream for %+v", p)
		}
	}
	if n := len(c.calls.by); n != 1 {
		t.Errorf("status knows %d streams", n)
	}
	c.calls.mu.Unlock()
	b.CloseIdleConnections()
	eventually(t, "nothing is left", func() bool {
		s := c.Status()
		return s.Streams == 0 && s.Pending == 0
	})
	c.calls.mu.Lock()
	defer c.calls.mu.Unlock()
	if n := len(c.calls.by); n != 0 {
		t.Errorf("status knows %d streams that have ended", n)
	}
}

func TestHTTPConnect(t *testing.T) {
	c := start(t, &fakeTunnel{exit: armonExit(t)}, func(cfg *conf.Client) { cfg.Users = oneUser })
	origin := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { io.WriteString(rw, "secure") }))
	defer origin.Close()
	if code, got := fetch(t, browser(t, c, url.UserPassword("ann", "secret")), "GET", origin.URL, nil); code != 200 || got != "secure" {
		t.Errorf("%d %q", code, got)
	}
	if _, err := browser(t, c, nil).Get(origin.URL); err == nil || !strings.Contains(err.Error(), "Proxy Authentication Required") {
		t.Errorf("without a password: %v", err)
	}
	// A browser asks without one first, and again on the same connection.
	conn := dial(t, c)
	br := bufio.NewReader(conn)
	host := strings.TrimPrefix(origin.URL, "https://")
	fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", host, host)
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != 407 || !strings.HasPrefix(resp.Header.Get("Proxy-Authenticate"), "Basic ") {
		t.Fatalf("%v, %v", resp, err)
	}
	io.Copy(io.Discard, resp.Body)
	fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\nProxy-Authorization: Basic YW5uOnNlY3JldA==\r\n\r\n", host, host)
	if line, err := br.ReadString('\n'); err != nil || line != "HTTP/1.1 200 Connection established\r\n" {
		t.Errorf("%q, %v", line, err)
	}
}

// TestHTTPConnectEarlyData sends data behind the request without waiting, and
// half-closes.
func TestHTTPConnectEarlyData(t *testing.T) {
	c := start(t, &fakeTunnel{exit: armonExit(t)}, nil)
	request := tcpServer(t, func(conn *net.TCPConn) { io.Copy(conn, conn) })
	port := uint16(request[len(request)-2])<<8 | uint16(request[len(request)-1])
	data := make([]byte, 1<<20)
	rand.Read(data)
	conn := dial(t, c)
	go func() {
		fmt.Fprintf(conn, "CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\n%s", port, data)
		conn.CloseWrite()
	}()
	all, err := io.ReadAll(conn)
	if want := "HTTP/1.1 200 Connection established\r\n\r\n" + string(data); err != nil || string(all) != want {
		t.Errorf("%d bytes, %v", len(all), err)
	}
	eventually(t, "nothing is left", func() bool { return c.Status().Streams == 0 })
}

// TestHTTPUpgrade switches protocols behind a plain request, as WebSocket does.
func TestHTTPUpgrade(t *testing.T) {
	c := start(t, &fakeTunnel{exit: armonExit(t)}, nil)
	origin := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		conn, buffered, _ := http.NewResponseController(rw).Hijack()
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		io.Copy(conn, buffered)
	}))
	defer origin.Close()
	conn := dial(t, c)
	fmt.Fprintf(conn, "GET %s/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n", origin.URL)
	br := bufio.NewReader(conn)
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != 101 {
		t.Fatalf("%v, %v", resp, err)
	}
	got := make([]byte, 5)
	conn.Write([]byte("hello"))
	if _, err := io.ReadFull(br, got); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	conn.Close()
	eventually(t, "nothing is left", func() bool { return c.Status().Streams == 0 })
}

func TestHTTPRefusals(t *testing.T) {
	port, err := muxtest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	nobody := fmt.Sprintf("127.0.0.1:%d", port)
	c := start(t, &fakeTunnel{exit: armonExit(t)}, nil)
	for _, tt := range []struct {
		request string
		want    int
	}{
		{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 200},
		{"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", 200},
		{"GET /admin HTTP/1.1\r\nHost: x\r\n\r\n", 404},
		{"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 405},
		{"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 405},
		{"GET http://" + nobody + "/ HTTP/1.1\r\nHost: x\r\n\r\n", 502},
		{"CONNECT " + nobody + " HTTP/1.1\r\nHost: x\r\n\r\n", 502},
		{"GET https://" + nobody + "/ HTTP/1.1\r\nHost: x\r\n\r\n", 501},
		{"GET ftp://" + nobody + "/ HTTP/1.1\r\nHost: x\r\n\r\n", 501},
		{"CONNECT nowhere HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"CONNECT nowhere:0 HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"CONNECT /path HTTP/1.1\r\nHost: " + nobody + "\r\n\r\n", 400}, // not to its Host
		{"CONNECT " + strings.Repeat("n", 256) + ":80 HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"GET http://x/ HTTP/1.1\r\n\r\n", 400}, // no Host
		{"NONSENSE\r\n\r\n", 400},
		{"GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 2*maxWebHeader) + "\r\n\r\n", 431},
	} {
		conn := dial(t, c)
		go io.WriteString(conn, tt.request)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || resp.StatusCode != tt.want {
			t.Errorf("%.50q: %v, %v, want %d", tt.request, resp, err, tt.want)
			continue
		}
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
		if tt.want == 200 && tt.request[0] == 'G' && !strings.Contains(string(body), "socks5://"+c.Addrs()[0].String()) {
			t.Errorf("the page says %q", body)
		}
		if tt.want == 502 && !strings.Contains(string(body), "refused there") {
			t.Errorf("what failed is said as %q", body)
		}
		conn.Close()
	}
	// It is counted when the program has its answer.
	eventually(t, "two are refused by the exit", func() bool { return c.Status().Refused["exit"] == 2 })
}

// TestHTTPPAC: whoever reaches the port gets a PAC file that leads there, by the address that
// was asked at, and without a password: it says no more than who asks knows. Pages of other
// sites cannot run it.
func TestHTTPPAC(t *testing.T) {
	c := start(t, &fakeTunnel{}, func(cfg *conf.Client) { cfg.Users = oneUser })
	own := c.Addrs()[0].String()
	for host, want := range map[string]string{
		own: own, "192.168.1.5:1080": "192.168.1.5:1080", "[fd00::5]:1080": "[fd00::5]:1080",
		"proxy.lan:1080": own, "192.168.1.5": own, "[fe80::1%;SOCKS5.evil.example:1;x]:80": "[fe80::1]:80",
	} {
		conn := dial(t, c)
		fmt.Fprintf(conn, "GET /proxy.pac HTTP/1.1\r\nHost: %s\r\n\r\n", host)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/x-ns-proxy-autoconfig" || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v, %v", host, resp, err)
			continue
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || !strings.Contains(string(body), fmt.Sprintf(`return "SOCKS5 %s; SOCKS %[1]s";`, want)) {
			t.Errorf("%s: %s, %v", host, body, err)
		}
		conn.Close()
	}
}

// TestHTTPWrongPassword counts guesses like those of SOCKS.
func TestHTTPWrongPassword(t *testing.T) {
	c := start(t, &fakeTunnel{}, func(cfg *conf.Client) { cfg.Users = oneUser })
	for _, credentials := range []string{"Basic YW5uOndyb25n", "Basic", "Basic !!!", "Bearer x", "Basic YW5u"} {
		conn := dial(t, c)
		fmt.Fprintf(conn, "GET http://192.0.2.1/ HTTP/1.1\r\nHost: x\r\nProxy-Authorization: %s\r\n\r\n", credentials)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || resp.StatusCode != 407 {
			t.Errorf("%s: %v, %v", credentials, resp, err)
		}
	}
	if n := c.Status().Refused["password"]; n != 1 {
		t.Errorf("%d wrong passwords counted", n)
	}
}

// TestHTTPShutdown ends a client with an idle connection, one in the middle of a
// request, and one whose request is not complete.
func TestHTTPShutdown(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.WriteHeader(200)
		http.NewResponseController(rw).Flush()
		<-r.Context().Done()
	}))
	t.Cleanup(origin.Close)
	c := start(t, &fakeTunnel{exit: armonExit(t)}, nil)
	conn := dial(t, c)
	fmt.Fprintf(conn, "GET %s/ HTTP/1.1\r\nHost: x\r\n\r\n", origin.URL)
	if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || resp.StatusCode != 200 {
		t.Fatalf("%v, %v", resp, err)
	}
	io.WriteString(dial(t, c), "GET /")
	talk(t, dial(t, c), []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), 100)
}

func testTLS(t *testing.T) *tls.Config {
	t.Helper()
	return &tls.Config{InsecureSkipVerify: true}
}
