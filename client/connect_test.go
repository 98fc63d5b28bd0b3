package client

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"log"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/armon/go-socks5"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/muxtest"
)

// armonExit is the exit that the server has: one ServeConn per stream.
func armonExit(t *testing.T) func(net.Conn) {
	server, err := socks5.New(&socks5.Config{Logger: log.New(io.Discard, "", 0)})
	if err != nil {
		t.Fatal(err)
	}
	return func(conn net.Conn) { server.ServeConn(conn) }
}

// tcpServer runs a TCP server for one connection and returns a CONNECT request
// for it.
func tcpServer(t *testing.T, serve func(*net.TCPConn)) []byte {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		serve(conn.(*net.TCPConn))
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	port := ln.Addr().(*net.TCPAddr).Port
	return []byte{5, 1, 0, 1, 127, 0, 0, 1, byte(port >> 8), byte(port)}
}

func TestConnectHalfClose(t *testing.T) {
	c := start(t, &fakeTunnel{exit: armonExit(t)}, nil)
	request := tcpServer(t, func(conn *net.TCPConn) {
		all, _ := io.ReadAll(conn) // until the application has closed its half
		conn.Write(append([]byte("got "), all...))
	})
	conn := dial(t, c)
	out := talk(t, conn, append([]byte{5, 1, 0}, request...), 12)
	if !bytes.Equal(out[:6], []byte{5, 0, 5, 0, 0, 1}) || bytes.Equal(out[10:], []byte{0, 0}) {
		t.Fatalf("reply % x has no bound address of the exit", out)
	}
	conn.Write([]byte("a question"))
	conn.CloseWrite()
	answer, err := io.ReadAll(conn)
	if err != nil || string(answer) != "got a question" {
		t.Errorf("%q, %v", answer, err)
	}
	eventually(t, "the stream is counted as gone", func() bool { return c.Status().Streams == 0 })
	if up := c.streamUp.Load(); up != uint64(len("a question")) {
		t.Errorf("%d bytes up", up)
	}
}

func TestConnectTheOtherHalfFirst(t *testing.T) {
	c := start(t, &fakeTunnel{exit: armonExit(t)}, nil)
	got := make(chan []byte, 1)
	request := tcpServer(t, func(conn *net.TCPConn) {
		conn.Write([]byte("bye"))
		conn.CloseWrite()
		all, _ := io.ReadAll(conn)
		got <- all
	})
	conn := dial(t, c)
	talk(t, conn, append([]byte{5, 1, 0}, request...), 12)
	if all, err := io.ReadAll(conn); err != nil || string(all) != "bye" {
		t.Fatalf("%q, %v", all, err)
	}
	conn.Write([]byte("late"))
	conn.Close()
	if all := <-got; string(all) != "late" {
		t.Errorf("%q", all)
	}
}

// TestConnectOptimistic sends the request and data without waiting for any
// answer: nothing of it may be lost.
func TestConnectOptimistic(t *testing.T) {
	c := start(t, &fakeTunnel{exit: armonExit(t)}, nil)
	request := tcpServer(t, func(conn *net.TCPConn) { io.Copy(conn, conn) })
	data := make([]byte, 1<<20)
	rand.Read(data)
	conn := dial(t, c)
	go func() {
		conn.Write(append(append([]byte{5, 1, 0}, request...), data...))
		conn.CloseWrite()
	}()
	all, err := io.ReadAll(conn)
	if err != nil || len(all) != 12+len(data) || !bytes.Equal(all[12:], data) {
		t.Errorf("%d bytes of %d, %v", len(all), 12+len(data), err)
	}
}

func TestConnectRepliesAreTheExits(t *testing.T) {
	port, err := muxtest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	c := start(t, &fakeTunnel{exit: armonExit(t)}, nil)
	conn := dial(t, c)
	out := talk(t, conn, []byte{5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1, byte(port >> 8), byte(port)}, 12)
	if out[3] != 5 { // connection refused
		t.Errorf("% x", out)
	}
	if rest, err := io.ReadAll(conn); err != nil || len(rest) > 0 {
		t.Errorf("% x, %v", rest, err)
	}
}

// TestConnectReplyInPieces: what the application gets is the exit's reply and what follows, whole or in
// whatever pieces that comes, and a byte is counted once.
func TestConnectReplyInPieces(t *testing.T) {
	const data = "a greeting of the destination's"
	pieces := make(chan [2]string, 1) // what the exit says next
	c := start(t, &fakeTunnel{exit: func(conn net.Conn) {
		io.ReadFull(conn, make([]byte, 13))
		for i, p := range <-pieces {
			if i > 0 && p != "" {
				time.Sleep(2 * time.Millisecond)
			}
			io.WriteString(conn, p)
		}
		conn.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, conn)
	}}, nil)
	down := uint64(0)
	for name, reply := range map[string]string{
		"IPv4":    "\x05\x00\x00\x01\x01\x02\x03\x04\x05\x06",
		"IPv6":    "\x05\x00\x00\x04" + strings.Repeat("\x11", 16) + "\x05\x06",
		"a name":  "\x05\x00\x00\x03\x04name\x05\x06",
		"refused": "\x05\x05\x00\x01\x00\x00\x00\x00\x00\x00",
	} {
		all, want := "\x05\x00"+reply+data, reply+data
		if name == "refused" {
			want = reply
		}
		whole := len(all) - len(data)
		for _, cut := range []int{1, 2, 4, 7, whole - 1, whole, whole + 3, len(all)} {
			pieces <- [2]string{all[:cut], all[cut:]}
			conn := dial(t, c)
			if out := talk(t, conn, []byte("\x05\x01\x00\x05\x01\x00\x01\xc0\x00\x02\x01\x00\x50"), 2); string(out) != "\x05\x00" {
				t.Fatalf("%s: %q", name, out)
			}
			got, err := io.ReadAll(conn)
			conn.Close()
			if err != nil || string(got) != want {
				t.Errorf("%s, %d bytes first: %q, %v", name, cut, got, err)
			}
			eventually(t, "the stream is counted as gone", func() bool { return c.Status().Streams == 0 })
			if down += uint64(len(want) - len(reply)); c.streamDown.Load() != down {
				t.Errorf("%s, %d bytes first: %d bytes down of %d", name, cut, c.streamDown.Load(), down)
			}
		}
	}
}

func TestConnectFailures(t *testing.T) {
	request := []byte{5, 1, 0, 5, 1, 0, 1, 192, 0, 2, 1, 0, 80}
	for _, tt := range []struct {
		name string
		exit func(net.Conn)
		want byte
	}{
		{"the exit hangs up", func(conn net.Conn) {}, repFailure},
		{"the exit speaks something else", func(conn net.Conn) { io.WriteString(conn, strings.Repeat("no", 20)) }, repFailure},
		{"the exit hangs up within its reply", func(conn net.Conn) {
			io.ReadFull(conn, make([]byte, 13))
			conn.Write([]byte{5, 0, 5, 0, 0})
		}, repFailure},
		{"there is no exit", nil, repFailure},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := start(t, &fakeTunnel{exit: tt.exit}, nil)
			if out := talk(t, dial(t, c), request, 12); out[3] != tt.want {
				t.Errorf("% x, want %02x", out, tt.want)
			}
		})
	}
}

// TestConnectRefusedWhileItSends: an application hears the exit's no while it sends more than the
// stream takes.
func TestConnectRefusedWhileItSends(t *testing.T) {
	full := make(chan struct{})
	c := start(t, &fakeTunnel{exit: func(conn net.Conn) {
		io.ReadFull(conn, make([]byte, 13))
		<-full
		io.WriteString(conn, "\x05\x00\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00")
		<-t.Context().Done()
	}}, nil)
	conn := dial(t, c)
	go func() {
		conn.Write([]byte{5, 1, 0, 5, 1, 0, 1, 192, 0, 2, 1, 0, 80})
		conn.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		conn.Write(make([]byte, 64<<20))
		close(full)
	}()
	conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	out := make([]byte, 12)
	if _, err := io.ReadFull(conn, out); err != nil || out[3] != 2 {
		t.Errorf("% x, %v", out, err)
	}
}

func TestConnectWithoutPath(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for tunnelTime")
	}
	f := &fakeTunnel{exit: armonExit(t)}
	f.down.Store(true)
	c := start(t, f, nil)
	conn := dial(t, c)
	conn.SetDeadline(time.Now().Add(2 * tunnelTime))
	if out := talk(t, conn, []byte{5, 1, 0, 5, 1, 0, 1, 192, 0, 2, 1, 0, 80}, 12); out[3] != repNetwork {
		t.Errorf("% x", out)
	}
}

func TestConnectReset(t *testing.T) {
	c := start(t, &fakeTunnel{exit: armonExit(t)}, nil)
	request := tcpServer(t, func(conn *net.TCPConn) {
		io.ReadFull(conn, make([]byte, 2))
		conn.SetLinger(0) // and closed: a reset
	})
	conn := dial(t, c)
	talk(t, conn, append([]byte{5, 1, 0}, request...), 12)
	conn.Write([]byte("hi"))
	io.Copy(io.Discard, conn) // ends: the failure is passed on
	conn.Close()
	eventually(t, "nothing is left", func() bool { return c.Status().Streams == 0 })
}

// TestShutdownEndsStreams ends a client in the middle of an idle stream; the
// clean-up of start fails if Run does not return.
func TestShutdownEndsStreams(t *testing.T) {
	c := start(t, &fakeTunnel{exit: armonExit(t)}, nil)
	request := tcpServer(t, func(conn *net.TCPConn) { io.Copy(io.Discard, conn) })
	talk(t, dial(t, c), append([]byte{5, 1, 0}, request...), 12)
}

// TestEarlyReply has CONNECTs answered before the exit says anything, in each protocol: what the
// application sends meanwhile gets there, an end of its direction is one, and what the exit refuses, or
// does not say, is reset and never answered twice.
func TestEarlyReply(t *testing.T) {
	const webYes = "HTTP/1.1 200 Connection established\r\n\r\n"
	for name, p := range map[string]struct{ in, yes string }{
		"SOCKS5":  {"\x05\x01\x00\x05\x01\x00\x01\xc0\x00\x02\x01\x00\x50", "\x05\x00\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"},
		"SOCKS4":  {"\x04\x01\x00\x50\xc0\x00\x02\x01me\x00", "\x00\x5a\x00\x00\x00\x00\x00\x00"},
		"CONNECT": {"CONNECT 192.0.2.1:80 HTTP/1.1\r\nHost: 192.0.2.1:80\r\n\r\n", webYes},
	} {
		asked := make([]byte, 3+10)
		for how, exit := range map[string]func(conn net.Conn, data []byte){
			"reached": func(conn net.Conn, data []byte) {
				conn.Write([]byte{5, 0, 5, 0, 0, 1, 1, 2, 3, 4, 5, 6})
				conn.Write(append([]byte("got "), data...))
			},
			"refused": func(conn net.Conn, _ []byte) { conn.Write([]byte{5, 0, 5, 5, 0, 1, 0, 0, 0, 0, 0, 0}) },
			"silent":  func(net.Conn, []byte) {},
		} {
			t.Run(name+" "+how, func(t *testing.T) {
				c := start(t, &fakeTunnel{exit: func(conn net.Conn) {
					io.ReadFull(conn, asked)
					data, _ := io.ReadAll(conn) // nothing is said before the application's end has come
					exit(conn, data)
				}}, func(cfg *conf.Client) { cfg.EarlyReply = true })
				conn := dial(t, c)
				if out := talk(t, conn, []byte(p.in), len(p.yes)); string(out) != p.yes {
					t.Fatalf("%q", out)
				}
				conn.Write([]byte("a question"))
				conn.CloseWrite()
				answer, err := io.ReadAll(conn)
				if how == "reached" {
					if err != nil || string(answer) != "got a question" {
						t.Errorf("%q, %v", answer, err)
					}
				} else if !errors.Is(err, syscall.ECONNRESET) || len(answer) > 0 {
					t.Errorf("%q, %v", answer, err)
				}
				eventually(t, "the stream is counted as gone", func() bool { return c.Status().Streams == 0 })
			})
		}
	}
	t.Run("no path", func(t *testing.T) { // before anything is asked, there is a reply
		c := start(t, &fakeTunnel{}, func(cfg *conf.Client) { cfg.EarlyReply = true })
		if out := talk(t, dial(t, c), []byte{5, 1, 0, 5, 1, 0, 1, 192, 0, 2, 1, 0, 80}, 12); out[3] != repFailure {
			t.Errorf("% x", out)
		}
	})
}

// TestConnectToLiteralName asks for addresses where names stand: the exit gets
// them as addresses.
func TestConnectToLiteralName(t *testing.T) {
	for host, want := range map[string]string{
		"[2001:db8::1]":      "\x04\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01",
		"2001:db8::1":        "\x04\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01",
		"192.0.2.1":          "\x01\xc0\x00\x02\x01",
		"[::ffff:192.0.2.1]": "\x01\xc0\x00\x02\x01",
		"example.com":        "\x03\x0bexample.com",
		"[fe80::1%eth0]":     "\x03\x0e[fe80::1%eth0]",
	} {
		got := make(chan string, 1)
		c := start(t, &fakeTunnel{exit: func(conn net.Conn) {
			b := make([]byte, 3+3+len(want)+2+len("data"))
			io.ReadFull(conn, b)
			got <- string(b)
			conn.Write([]byte{5, 0, 5, 0, 0, 1, 1, 2, 3, 4, 5, 6})
		}}, nil)
		in := append([]byte{5, 1, 0, 5, 1, 0, 3, byte(len(host))}, host...)
		talk(t, dial(t, c), append(in, "\x00\x50data"...), 12)
		if all := <-got; all != "\x05\x01\x00\x05\x01\x00"+want+"\x00\x50data" {
			t.Errorf("%s: %q", host, all)
		}
	}
}

// TestConnectAbandoned closes applications while the exit is still trying: all
// that is theirs is free within a second.
func TestConnectAbandoned(t *testing.T) {
	ended := make(chan struct{}, 10)
	c := start(t, &fakeTunnel{exit: func(conn net.Conn) {
		io.Copy(io.Discard, conn) // until the stream is reset
		ended <- struct{}{}
	}}, nil)
	for _, how := range []func(*net.TCPConn){
		func(conn *net.TCPConn) { conn.Close() },
		func(conn *net.TCPConn) { conn.SetLinger(0); conn.Close() },
		func(conn *net.TCPConn) { conn.Write([]byte("early")); conn.SetLinger(0); conn.Close() },
	} {
		// What waits for somebody's time to be over does so each time; a machine is busy once.
		least := time.Minute
		for try := 0; try < 5 && least > time.Second; try++ {
			conn := dial(t, c)
			talk(t, conn, []byte{5, 1, 0, 5, 1, 0, 1, 192, 0, 2, 1, 0, 80}, 2)
			eventually(t, "the exit is asked", func() bool { return c.Status().Streams == 1 })
			how(conn)
			before := time.Now()
			<-ended
			eventually(t, "the client counts none", func() bool { return c.Status().Streams == 0 })
			least = min(least, time.Since(before))
		}
		if least > time.Second {
			t.Errorf("free after %v", least)
		}
	}
}
