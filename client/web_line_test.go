package client

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestHTTPLoneSigns: an origin gets the % of a path as its program wrote it, also where it
// begins no escape, by the first request of a connection and by those behind it.
func TestHTTPLoneSigns(t *testing.T) {
	c := start(t, &fakeTunnel{exit: armonExit(t)}, nil)
	host := rawOrigin(t, func(conn net.Conn, head string, r *bufio.Reader) {
		line, _, _ := strings.Cut(head, "\r\n")
		if strings.Contains(head, "Content-Length: 9\r\n") {
			b := make([]byte, 9)
			io.ReadFull(r, b)
			line += " " + string(b)
		}
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(line), line)
	})
	conn := dial(t, c)
	conn.SetDeadline(time.Now().Add(20 * time.Second)) // far from how long it takes
	br := bufio.NewReader(conn)
	for _, tt := range []struct{ method, target, rest, body string }{
		{"GET", "/100%?q=%zz", "\r\n", ""},
		{"GET", "/100%?q=%zz", "\r\n", ""},
		{"GET", "/50%-off%2F%a%", "X-A: 5%\r\n\r\n", ""},
		{"GET", "/100%", "\r\n", ""},
		{"GET", "/100%25", "\r\n", ""},
		{"POST", "/%zz", "Content-Length: 9\r\n\r\n", "100% http"},
		{"POST", "/", "Content-Length: 9\r\n\r\n", "a %zz\n%zz"[:9]},
	} {
		fmt.Fprintf(conn, "%s http://%s%s HTTP/1.1\r\nHost: x\r\n%s%s", tt.method, host, tt.target, tt.rest, tt.body)
		want := strings.TrimSuffix(fmt.Sprintf("%s %s HTTP/1.1 %s", tt.method, tt.target, tt.body), " ")
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatalf("%.40s: %v", tt.target, err)
		}
		if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 200 || string(body) != want {
			t.Errorf("%.40s: %d %q, %v; want %q", tt.target, resp.StatusCode, body, err, want)
		}
	}
}

// FuzzSpellOut: what is spelled out says the same, is spelled out once, and only a line changes.
func FuzzSpellOut(f *testing.F) {
	f.Add([]byte("GET http://a/100%?b=%zz HTTP/1.1\r\nHost: a%\r\n\r\n"))
	f.Add([]byte("GET http://a%/%41%4 HTTP/1.0\n"))
	f.Add([]byte("GET HTTP://a/% HTTP/1.1"))
	f.Fuzz(func(t *testing.T, came []byte) {
		out, target := spellOut(came)
		if target == "" {
			if out != nil {
				t.Fatalf("%q without a target", out)
			}
			return
		}
		if more := len(out) - len(came); more <= 0 || more%2 != 0 || strings.ReplaceAll(string(out), "%25", "%") != strings.ReplaceAll(string(came), "%25", "%") {
			t.Fatalf("%q of %q", out, came)
		}
		if again, _ := spellOut(out); again != nil {
			t.Fatalf("%q, and then %q", out, again)
		}
		if spelledOut(target) == target {
			t.Fatalf("%q is as it was", target)
		}
	})
}
