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

	"github.com/mpsocks/mpsocks/conf"
)

// rawOrigin is a server that says what it is told to, and not what net/http would make of it: answer
// gets a request's head, and what has come behind it.
func rawOrigin(t *testing.T, answer func(conn net.Conn, head string, r *bufio.Reader)) (host string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				r := bufio.NewReader(conn)
				head, line := "", ""
				for line != "\r\n" {
					if line, err = r.ReadString('\n'); err != nil {
						return
					}
					head += line
				}
				answer(conn, head, r)
			}()
		}
	}()
	return ln.Addr().String()
}

// asked sends a request and returns the answer; end has the program end its direction behind it.
func asked(t *testing.T, c *Client, request string, end bool) (*http.Response, string) {
	t.Helper()
	conn := dial(t, c)
	conn.SetDeadline(time.Now().Add(20 * time.Second)) // far from how long it takes
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	if end {
		if err := conn.CloseWrite(); err != nil {
			t.Fatal(err)
		}
	}
	method, _, _ := strings.Cut(request, " ")
	r := bufio.NewReader(conn)
	for {
		resp, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			t.Fatalf("%.60q: %v", request, err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatalf("%.60q: %v", request, err)
		}
		if resp.StatusCode >= 200 {
			return resp, string(body)
		}
	}
}

// TestHTTPAnswersAsTheyCome: what an origin has not said is not said in its place, and radio stations
// are heard.
func TestHTTPAnswersAsTheyCome(t *testing.T) {
	c := start(t, &fakeTunnel{exit: armonExit(t)}, nil)
	const page = "<html>no type</html>"
	for _, tt := range []struct{ name, answer, typ, body string }{
		{"no type", "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n" + page, "", page},
		{"no type, to the end", "HTTP/1.0 200 OK\r\n\r\n" + page, "", page},
		{"no type behind a hint", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n" + page, "", page},
		{"a type", "HTTP/1.1 404 Not Found\r\nContent-Type: a/b\r\nContent-Length: 20\r\n\r\n" + page, "a/b", page},
		{"a radio station", "ICY 200 OK\r\nicy-name: x\r\nContent-Type: audio/mpeg\r\n\r\nmusic", "audio/mpeg", "music"},
	} {
		host := rawOrigin(t, func(conn net.Conn, _ string, _ *bufio.Reader) { io.WriteString(conn, tt.answer) })
		resp, body := asked(t, c, "GET http://"+host+"/ HTTP/1.1\r\nHost: x\r\n\r\n", false)
		types, said := resp.Header["Content-Type"]
		if body != tt.body || said != (tt.typ != "") || said && types[0] != tt.typ {
			t.Errorf("%s: %s, type %q, %q", tt.name, resp.Status, types, body)
		}
	}
	host := rawOrigin(t, func(conn net.Conn, _ string, _ *bufio.Reader) { io.WriteString(conn, "ICX 200 OK\r\n\r\n") })
	if resp, _ := asked(t, c, "GET http://"+host+"/ HTTP/1.1\r\nHost: x\r\n\r\n", false); resp.StatusCode != http.StatusBadGateway {
		t.Errorf("nonsense is %s", resp.Status)
	}
}

// TestHTTPEndBehindTheRequest: a program that ends its direction waits for its answer, and one that has
// gone is waited for no more.
func TestHTTPEndBehindTheRequest(t *testing.T) {
	c := start(t, &fakeTunnel{exit: armonExit(t)}, nil)
	come, leave := make(chan struct{}, 1), make(chan struct{})
	host := rawOrigin(t, func(conn net.Conn, head string, r *bufio.Reader) {
		come <- struct{}{}
		if strings.HasPrefix(head, "GET /forever ") {
			io.Copy(io.Discard, r)
			close(leave)
			return
		}
		time.Sleep(3 * openFirst) // the end has come long before
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	})
	for _, request := range []string{
		"GET http://" + host + "/ HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET http://" + host + "/ HTTP/1.0\r\n\r\n",
		"POST http://" + host + "/ HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
	} {
		if resp, body := asked(t, c, request, true); resp.StatusCode != 200 || body != "ok" {
			t.Errorf("%.30q: %s, %q", request, resp.Status, body)
		}
		<-come
	}
	conn := dial(t, c)
	fmt.Fprintf(conn, "GET http://%s/forever HTTP/1.1\r\nHost: x\r\n\r\n", host)
	<-come
	conn.Close()
	select {
	case <-leave:
	case <-time.After(webEnded / 2):
		t.Error("a program that has gone is waited for")
	}
	eventually(t, "nothing is left", func() bool { return c.Status().Streams == 0 })
}

// TestHTTPKeptConnectionsEnd: an origin that closes a connection which was kept for it as the next request comes is asked by
// another one, and what cannot be asked twice goes by none that may have been closed.
func TestHTTPKeptConnectionsEnd(t *testing.T) {
	t.Parallel()
	c := start(t, &fakeTunnel{exit: armonExit(t)}, nil)
	origin := func() string { // which answers one request by each connection
		return rawOrigin(t, func(conn net.Conn, _ string, r *bufio.Reader) {
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			r.ReadByte() // what comes as it closes is lost
		})
	}
	one, other := origin(), origin()
	get, post := "GET http://%s/ HTTP/1.1\r\nHost: x\r\n\r\n", "POST http://%s/ HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
	for name, requests := range map[string][]string{
		"GET":                   {fmt.Sprintf(get, one), "", fmt.Sprintf(get, one)},
		"POST":                  {fmt.Sprintf(get, one), "", fmt.Sprintf(post, one)},
		"POST behind another's": {fmt.Sprintf(get, one), "", fmt.Sprintf(get, other), fmt.Sprintf(post, one)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := dial(t, c)
			conn.SetDeadline(time.Now().Add(20 * time.Second)) // far from how long it takes
			r := bufio.NewReader(conn)
			for _, request := range requests {
				if request == "" {
					time.Sleep(webFresh + 100*time.Millisecond)
					continue
				}
				io.WriteString(conn, request)
				resp, err := http.ReadResponse(r, nil)
				if err != nil {
					t.Fatal(err)
				}
				if body, _ := io.ReadAll(resp.Body); string(body) != "ok" {
					t.Errorf("%.20q: %s, %q", request, resp.Status, body)
				}
			}
		})
	}
}

// TestHTTPHops: how far a request goes, what of it an origin sees, and what can be no target.
func TestHTTPHops(t *testing.T) {
	c := start(t, &fakeTunnel{exit: armonExit(t)}, func(cfg *conf.Client) { cfg.Users = oneUser })
	heads := make(chan string, 1)
	host := rawOrigin(t, func(conn net.Conn, head string, r *bufio.Reader) {
		if strings.Contains(head, "chunked") {
			for line := ""; line != "\r\n"; head += line {
				line, _ = r.ReadString('\n')
			}
		}
		heads <- head
		io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
	})
	const login = " HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic YW5uOnNlY3JldA==\r\n"
	for _, tt := range []struct {
		request string
		status  int
		sees    string // what the origin does; "" = nothing
	}{
		{"TRACE http://" + host + "/t" + login + "Max-Forwards: 0\r\nCookie: a\r\nX-Mine: b\r\n\r\n", 200, ""},
		{"OPTIONS http://" + host + "/t" + login + "Max-Forwards: 0\r\n\r\n", 200, ""},
		{"OPTIONS http://" + host + "/t" + login + "Max-Forwards: 3\r\n\r\n", 204, "Max-Forwards: 2\r\n"},
		{"TRACE http://" + host + "/t" + login + "Max-Forwards: x\r\n\r\n", 204, "Max-Forwards: x\r\n"},
		{"GET http://" + host + "/t" + login + "Max-Forwards: 0\r\n\r\n", 204, "Max-Forwards: 0\r\n"},
		{"OPTIONS http://" + host + login + "\r\n", 204, "OPTIONS * HTTP/1.1\r\n"},
		{"OPTIONS http://" + host + "/" + login + "\r\n", 204, "OPTIONS / HTTP/1.1\r\n"},
		{"POST http://" + host + "/" + login + "Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n", 204, "abc\r\n0\r\nX-Sum: 7\r\n"},
		{"GET http://192.0.2.1:65536/" + login + "\r\n", 400, ""},
		{"GET http://192.0.2.1:0/" + login + "\r\n", 400, ""},
		{"GET http://[fe80::1%25eth0]/" + login + "\r\n", 400, ""},
		{"CONNECT [fe80::1%25eth0]:443" + login + "\r\n", 400, ""},
	} {
		resp, body := asked(t, c, tt.request, false)
		if resp.StatusCode != tt.status {
			t.Errorf("%.60q: %s", tt.request, resp.Status)
		}
		head := ""
		select {
		case head = <-heads:
		default:
		}
		if (head == "") != (tt.sees == "") || !strings.Contains(head, tt.sees) || strings.Contains(head, "Proxy-") {
			t.Errorf("%.60q: the origin sees %q, want %q", tt.request, head, tt.sees)
		}
		if strings.HasPrefix(tt.request, "TRACE") && tt.status == 200 &&
			(resp.Header.Get("Content-Type") != "message/http" || !strings.Contains(body, "X-Mine: b\r\n") ||
				strings.Contains(body, "Cookie") || strings.Contains(body, "Proxy-Authorization")) {
			t.Errorf("TRACE says %q", body)
		}
	}
}

// TestHTTPBothWays has an origin answer each part of a body when that has come, and the program send the
// next one when it has the answer.
func TestHTTPBothWays(t *testing.T) {
	c := start(t, &fakeTunnel{exit: armonExit(t)}, nil)
	host := rawOrigin(t, func(conn net.Conn, _ string, r *bufio.Reader) {
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		io.Copy(conn, r) // the same pieces
	})
	conn := dial(t, c)
	conn.SetDeadline(time.Now().Add(20 * time.Second)) // far from how long it takes
	fmt.Fprintf(conn, "POST http://%s/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", host)
	var body io.Reader
	for i := range 5 {
		part := strings.Repeat(string(rune('a'+i)), 1000)
		fmt.Fprintf(conn, "%x\r\n%s\r\n", len(part), part)
		if body == nil {
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil || resp.StatusCode != 200 {
				t.Fatalf("%v, %v", resp, err)
			}
			body = resp.Body
		}
		got := make([]byte, len(part))
		if _, err := io.ReadFull(body, got); err != nil || string(got) != part {
			t.Fatalf("part %d: %.20q, %v", i, got, err)
		}
	}
	io.WriteString(conn, "0\r\n\r\n")
	if rest, err := io.ReadAll(body); err != nil || len(rest) > 0 {
		t.Errorf("%q, %v", rest, err)
	}
}
