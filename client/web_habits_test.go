package client

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestHTTPHabits has requests as programs of all ages make them, on one connection each: what
// the origin sees of them, and what they see of its answer.
func TestHTTPHabits(t *testing.T) {
	c := start(t, &fakeTunnel{exit: armonExit(t)}, nil)
	origin := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/hints":
			rw.Header().Set("Link", "</x>; rel=preload")
			rw.WriteHeader(http.StatusEarlyHints)
		case "/trailer":
			rw.Header().Set("Trailer", "X-Sum")
			io.WriteString(rw, "body")
			rw.Header().Set("X-Sum", "7")
			return
		case "/empty":
			rw.WriteHeader(http.StatusNoContent)
			return
		}
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(rw, "%s %s %s %q", r.Method, r.Host, r.RequestURI, body)
	}))
	defer origin.Close()
	six, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skip(err)
	}
	other := &httptest.Server{Listener: six, Config: &http.Server{Handler: origin.Config.Handler}}
	other.Start()
	defer other.Close()
	host, host6 := strings.TrimPrefix(origin.URL, "http://"), strings.TrimPrefix(other.URL, "http://")
	long := strings.Repeat("x", 30_000)
	for _, tt := range []struct {
		name     string
		requests []string
		want     []string // of each answer: its status, then its body
	}{
		{"two hosts in turns", []string{
			"GET " + origin.URL + "/1 HTTP/1.1\r\nHost: " + host + "\r\n\r\n",
			"GET " + other.URL + "/2 HTTP/1.1\r\nHost: " + host6 + "\r\n\r\n",
			"GET " + origin.URL + "/3 HTTP/1.1\r\nHost: wrong.example\r\n\r\n",
		}, []string{"200 GET " + host + ` /1 ""`, "200 GET " + host6 + ` /2 ""`, "200 GET " + host + ` /3 ""`}},
		{"in pieces", []string{
			"POST " + origin.URL + "/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nX-Trailer: y\r\n\r\n",
			"GET " + origin.URL + "/next HTTP/1.1\r\nHost: x\r\n\r\n",
		}, []string{"200 POST " + host + ` / "abcde"`, "200 GET " + host + ` /next ""`}},
		{"HTTP/1.0", []string{"GET " + origin.URL + "/old HTTP/1.0\r\n\r\n"}, []string{"200 GET " + host + ` /old ""`}},
		{"HTTP/1.0 that stays", []string{
			"GET " + origin.URL + "/old HTTP/1.0\r\nProxy-Connection: keep-alive\r\nConnection: keep-alive\r\n\r\n",
			"GET " + origin.URL + "/more HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
		}, []string{"200 GET " + host + ` /old ""`, "200 GET " + host + ` /more ""`}},
		{"pipelined", []string{
			"GET " + origin.URL + "/1 HTTP/1.1\r\nHost: x\r\n\r\nGET " + origin.URL + "/2 HTTP/1.1\r\nHost: x\r\n\r\n", "",
		}, []string{"200 GET " + host + ` /1 ""`, "200 GET " + host + ` /2 ""`}},
		{"a path as it is written", []string{
			"GET " + origin.URL + "/a|b{c}^\xc3\xa9%7c%2F'\"?q=|%zz HTTP/1.1\r\nHost: x\r\n\r\n",
			"GET " + origin.URL + "?q HTTP/1.1\r\nHost: x\r\n\r\n",
			"GET " + origin.URL + "//twice HTTP/1.1\r\nHost: x\r\n\r\n",
			"GET HTTP://" + host + "/upper HTTP/1.1\r\nHost: x\r\n\r\n",
			"GET http://user:secret@" + host + "/mine HTTP/1.1\r\nHost: x\r\n\r\n",
		}, []string{
			"200 GET " + host + " /a|b{c}^\xc3\xa9%7c%2F'\"?q=|%zz " + `""`, "200 GET " + host + ` /?q ""`,
			"200 GET " + host + ` //twice ""`, "200 GET " + host + ` /upper ""`, "200 GET " + host + ` /mine ""`,
		}},
		{"an empty line before", []string{"\r\n\r\nGET " + origin.URL + "/blank HTTP/1.1\r\nHost: x\r\n\r\n"}, []string{"200 GET " + host + ` /blank ""`}},
		{"a long one", []string{"GET " + origin.URL + "/" + long + " HTTP/1.1\r\nHost: x\r\n\r\n"}, []string{"200 GET " + host + " /" + long + ` ""`}},
		{"methods of others", []string{
			"PROPFIND " + origin.URL + "/dav HTTP/1.1\r\nHost: x\r\nDepth: 1\r\n\r\n",
			"M-SEARCH " + origin.URL + "/ HTTP/1.1\r\nHost: x\r\n\r\n",
			"OPTIONS " + origin.URL + "/ HTTP/1.1\r\nHost: x\r\n\r\n",
			"HEAD " + origin.URL + "/head HTTP/1.1\r\nHost: x\r\n\r\n",
			"DELETE " + origin.URL + "/it HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
		}, []string{
			"200 PROPFIND " + host + ` /dav ""`, "200 M-SEARCH " + host + ` / ""`, "200 OPTIONS " + host + ` / ""`,
			"200 ", "200 DELETE " + host + ` /it "abc"`,
		}},
		{"answers of other kinds", []string{
			"GET " + origin.URL + "/empty HTTP/1.1\r\nHost: x\r\n\r\n",
			"GET " + origin.URL + "/trailer HTTP/1.1\r\nHost: x\r\nTE: trailers\r\n\r\n",
			"GET " + origin.URL + "/hints HTTP/1.1\r\nHost: x\r\n\r\n",
		}, []string{"204 ", "200 body X-Sum: 7", "103 Link, then 200 GET " + host + ` /hints ""`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn := dial(t, c)
			conn.SetDeadline(time.Now().Add(20 * time.Second)) // far from how long it takes
			br := bufio.NewReader(conn)
			for i, want := range tt.want {
				if _, err := io.WriteString(conn, tt.requests[i]); err != nil {
					t.Fatal(err)
				}
				method, _, _ := strings.Cut(tt.requests[i], " ")
				got := ""
				for {
					resp, err := http.ReadResponse(br, &http.Request{Method: method})
					if err != nil {
						t.Fatalf("answer %d: %v", i, err)
					}
					body, err := io.ReadAll(resp.Body)
					if err != nil {
						t.Fatalf("answer %d: %v", i, err)
					}
					if resp.StatusCode == http.StatusEarlyHints && resp.Header.Get("Link") != "" {
						got = "103 Link, then "
						continue
					}
					got += fmt.Sprintf("%d %s", resp.StatusCode, body)
					for name, v := range resp.Trailer {
						got += fmt.Sprintf(" %s: %s", name, v[0])
					}
					break
				}
				if got != want {
					t.Errorf("answer %d: %.300q, want %.300q", i, got, want)
				}
			}
		})
	}
}

// TestHTTPExpect: an origin that does not want a body says so before it is sent, and one that
// wants it gets it.
func TestHTTPExpect(t *testing.T) {
	c := start(t, &fakeTunnel{exit: armonExit(t)}, nil)
	origin := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			http.Error(rw, "no", http.StatusRequestEntityTooLarge)
			return
		}
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(rw, "%q", body)
	}))
	defer origin.Close()
	keeps := rawOrigin(t, func(conn net.Conn, head string, r *bufio.Reader) {
		io.WriteString(conn, "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")
		r.ReadByte() // it keeps the connection for another request
	})
	ask := func(path string) (*net.TCPConn, *bufio.Reader, *http.Response) {
		conn := dial(t, c)
		conn.SetDeadline(time.Now().Add(20 * time.Second)) // far from how long it takes
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n", path)
		br := bufio.NewReader(conn)
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		return conn, br, resp
	}
	began := time.Now()
	for path, want := range map[string]int{
		origin.URL + "/no":      http.StatusRequestEntityTooLarge,
		"http://" + keeps + "/": http.StatusExpectationFailed,
	} {
		if _, _, resp := ask(path); resp.StatusCode != want && time.Since(began) < webContinue {
			t.Errorf("%d to a body that nobody wants, not %d", resp.StatusCode, want)
		}
	}
	conn, br, resp := ask(origin.URL + "/yes")
	if resp.StatusCode != http.StatusContinue {
		t.Fatalf("%d to one that is wanted", resp.StatusCode)
	}
	io.WriteString(conn, "abc")
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 200 || string(body) != `"abc"` {
		t.Errorf("%d %q %v", resp.StatusCode, body, err)
	}
}
