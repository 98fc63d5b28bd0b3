package client

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/conf"
)

// TestHTTPBodiesThatNeverCome has requests that were refused, or are of the port itself,
// announce a body: they are no user's, so that nothing of theirs may stay.
func TestHTTPBodiesThatNeverCome(t *testing.T) {
	c := startWith(t, &fakeTunnel{exit: armonExit(t)}, files(1000), func(cfg *conf.Client) { cfg.Users = oneUser })
	nobody := "POST http://192.0.2.1/ HTTP/1.1\r\nHost: x\r\n"
	requests := []string{
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc",
		"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
		nobody + "Content-Length: 100000\r\n\r\n",
		nobody + "Transfer-Encoding: chunked\r\n\r\nffff\r\n",
		nobody + "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: something else\r\n\r\n", // net/http answers by itself
		"GET https://192.0.2.1/ HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic YW5uOnNlY3JldA==\r\nContent-Length: 9\r\n\r\n",
		"CONNECT nowhere HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic YW5uOnNlY3JldA==\r\nTransfer-Encoding: chunked\r\n\r\n",
	}
	var conns []*net.TCPConn
	for _, request := range requests {
		conn := dial(t, c)
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	for i, conn := range conns {
		conn.SetReadDeadline(time.Now().Add(3 * handshakeTime)) // far from how long it takes
		if _, err := io.Copy(io.Discard, conn); err != nil {
			t.Errorf("%.60q is held: %v", requests[i], err)
		}
	}
	eventually(t, "nothing is left", func() bool { return spare(c) == c.crowd.Descriptors.Most() })
}

// TestHTTPSmuggling: an origin sees one request for each that the proxy has seen, or the
// request is refused; and the host that the proxy has judged.
func TestHTTPSmuggling(t *testing.T) {
	c := start(t, &fakeTunnel{exit: armonExit(t)}, nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var seen []string
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { // an origin that believes all it reads, as net/http does not
				defer conn.Close()
				r := bufio.NewReader(conn)
				for {
					line, err := r.ReadString('\n')
					if err != nil {
						return
					}
					head, length, chunked := line, 0, false
					for line != "\r\n" && err == nil {
						line, err = r.ReadString('\n')
						head += line
						low := strings.ToLower(line)
						fmt.Sscanf(low, "content-length: %d", &length)
						chunked = chunked || strings.Contains(low, "chunked")
					}
					for chunked {
						n := 0
						line, err = r.ReadString('\n')
						fmt.Sscanf(line, "%x", &n)
						if io.CopyN(io.Discard, r, int64(n)+2); n == 0 || err != nil {
							break
						}
					}
					io.CopyN(io.Discard, r, int64(length))
					mu.Lock()
					seen = append(seen, head)
					mu.Unlock()
					io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
				}
			}()
		}
	}()
	defer ln.Close()
	host := ln.Addr().String()
	inner := "GET /smuggled HTTP/1.1\r\nHost: " + host + "\r\n\r\n"
	headers := []string{
		"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner,
		"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + inner,
		"Content-Length: 0\r\nContent-Length: 60\r\n\r\n" + inner,
		"Content-Length: 0, 60\r\n\r\n" + inner,
		"Content-Length: +0\r\n\r\n" + inner,
		"Content-Length : 60\r\n\r\n" + inner,
		"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + inner,
		"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + inner,
		"Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n" + inner,
		"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + inner,
		"Transfer-Encoding:\vchunked\r\n\r\n0\r\n\r\n" + inner,
		"X: y\nContent-Length: 60\r\n\r\n" + inner,
		"X: y\r\n Content-Length: 60\r\n\r\n" + inner,
		"X: y\rContent-Length: 60\r\n\r\n" + inner,
		"X: y\x00\r\nContent-Length: 0\r\n\r\n" + inner,
		"Transfer-Encoding: chunked\r\n\r\n0;" + strings.Repeat("x", 8<<10) + "\r\n\r\n" + inner,
		"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n" + inner,
		"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n\r\n" + inner,
		"Connection: Content-Length\r\nContent-Length: 60\r\n\r\n" + inner,
		"Connection: Host, Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"Host: 198.51.100.1\r\n\r\n",
		"Trailer: Content-Length\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 60\r\n\r\n",
	}
	for i, header := range headers {
		conn := dial(t, c)
		fmt.Fprintf(conn, "POST http://%[1]s/%[2]d HTTP/1.1\r\nHost: %[1]s\r\n%[3]s", host, i, header)
		conn.CloseWrite()
		if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil {
			t.Errorf("%.80q: no answer: %v", header, err)
		} else {
			io.Copy(io.Discard, resp.Body)
		}
		conn.Close()
	}
	eventually(t, "all streams have ended", func() bool { return c.Status().Streams == 0 })
	mu.Lock()
	defer mu.Unlock()
	times := map[string]int{}
	for _, head := range seen {
		path := strings.Fields(head)[1]
		i, err := strconv.Atoi(strings.TrimPrefix(path, "/"))
		if err != nil || i >= len(headers) { // the one behind it is no request to a proxy, without an absolute URI
			t.Errorf("the origin sees %q", head)
			continue
		}
		if times[path]++; times[path] > 1 || !strings.HasPrefix(head, "POST ") || !strings.Contains(head, "\r\nHost: "+host+"\r\n") {
			t.Errorf("%.80q: the origin sees %q, time %d", headers[i], head, times[path])
		}
	}
	if len(seen) == 0 {
		t.Error("the origin has seen nothing")
	}
}

// TestDoorsThatDrip has each kind of first request come a byte at a time: it has the time
// of a handshake, and no longer.
func TestDoorsThatDrip(t *testing.T) {
	t.Parallel()
	c := start(t, &fakeTunnel{exit: armonExit(t)}, nil)
	uot := "\x05\x01\x00\x05\x01\x00\x03\x17" + uotHost + "\x00\x50"
	for _, says := range []string{
		"\x05\xff", "\x05\x01\x00\x05\x01\x00\x03\xff", "\x04\x01\x00\x50\x00\x00\x00\x01u\x00",
		"GET http://192.0.2.1/ HTTP/1.1\r\nX: ", "CONNECT ", uot + "\x01\x03\xff",
	} {
		t.Run(fmt.Sprintf("%.12q", says), func(t *testing.T) {
			t.Parallel()
			conn := dial(t, c)
			conn.SetDeadline(time.Time{}) // it is the client that ends it
			io.WriteString(conn, says)
			begin, ended := time.Now(), make(chan struct{})
			go func() { io.Copy(io.Discard, conn); close(ended) }()
			for {
				select {
				case <-ended:
					return
				case <-time.After(500 * time.Millisecond):
				}
				conn.Write([]byte("a"))
				if time.Since(begin) > 3*handshakeTime {
					t.Fatal("it is held")
				}
			}
		})
	}
}
