package e2e

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
	"github.com/mpsocks/mpsocks/integration/bench/socks"
)

func dialUDP(t *testing.T, to netip.AddrPort) *net.UDPConn {
	t.Helper()
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// tcpServer serves each connection until the test ends.
func tcpServer(t *testing.T, listen string, serve func(*net.TCPConn)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", listen)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { // ends when the listener is closed
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { // ends with its connection, or at the deadline
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(20 * time.Second))
				serve(c.(*net.TCPConn))
			}()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// mirror answers what comes with itself, as it comes, for as long as the connection lasts.
func mirror(c *net.TCPConn) {
	_ = c.SetDeadline(time.Time{})
	_, _ = io.Copy(c, c)
}

// digest reads to the end and only then answers, with the hash of what it
// got: this needs a half-close.
func digest(c *net.TCPConn) {
	h := sha256.New()
	if _, err := io.Copy(h, c); err != nil {
		return
	}
	_, _ = c.Write(h.Sum(nil)) // a lost answer fails the test on the other side
}

func connect(t *testing.T, proxy netip.AddrPort, dst string) *net.TCPConn {
	t.Helper()
	return connectBy(t, &socks.Dialer{Proxy: proxy.String()}, dst)
}

// connectBy is connect as somebody.
func connectBy(t *testing.T, d *socks.Dialer, dst string) *net.TCPConn {
	t.Helper()
	c, err := d.Connect(dst)
	if err != nil {
		t.Fatalf("CONNECT %s: %v", dst, err)
	}
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestConnectHalfClose sends, closes its half, and reads the answer that only
// then comes.
func TestConnectHalfClose(t *testing.T) {
	p := dual(t)
	four := tcpServer(t, ports(t, 1)[0].String(), digest)
	six := tcpServer(t, fmt.Sprintf("[::1]:%d", four.Port()), digest)
	for _, dst := range []string{four.String(), six.String(), fmt.Sprintf("localhost:%d", four.Port())} {
		for _, size := range []int{0, 1, 16 << 10, 5_000_000} {
			for _, proxy := range p.Socks {
				c := connect(t, proxy, dst)
				data := make([]byte, size)
				r := rand.NewChaCha8([32]byte{byte(size)})
				_, _ = r.Read(data) // never fails
				if _, err := c.Write(data); err != nil {
					t.Fatal(err)
				}
				if err := c.CloseWrite(); err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(c)
				want := sha256.Sum256(data)
				if err != nil || !bytes.Equal(got, want[:]) {
					t.Errorf("%d bytes to %s: the answer is % x, %v", size, dst, got, err)
				}
			}
		}
	}
}

// TestConnectServerCloses has the other side close first: everything that it
// has sent arrives, then the end.
func TestConnectServerCloses(t *testing.T) {
	p := begin(t, halves.Config{})
	data := bytes.Repeat([]byte("0123456789abcdef"), 200_000)
	server := tcpServer(t, "127.0.0.1:0", func(c *net.TCPConn) { _, _ = c.Write(data) })
	c := connect(t, p.Socks[0], server.String())
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("got %d bytes, %v, want %d", len(got), err, len(data))
	}
}

// TestConnectRefusedUpload has a server answer an upload that it does not read, and close:
// the application can finish sending, then reads the answer, and only then is reset.
func TestConnectRefusedUpload(t *testing.T) {
	p := begin(t, halves.Config{})
	const answer = "413 too large"
	server := tcpServer(t, "127.0.0.1:0", func(c *net.TCPConn) {
		_, _ = io.ReadFull(c, make([]byte, 10))
		_, _ = c.Write([]byte(answer))
	})
	for range 10 {
		c := connect(t, p.Socks[0], server.String())
		if _, err := c.Write(make([]byte, 6<<20)); err != nil {
			t.Errorf("the application is cut off while it sends: %v", err)
		}
		if got, err := io.ReadAll(c); string(got) != answer || err == nil {
			t.Errorf("the answer is %q, then %v", got, err)
		}
	}
}

// TestConnectNoHeadOfLine has one stream that nobody reads: others go on.
func TestConnectNoHeadOfLine(t *testing.T) {
	p := begin(t, halves.Config{})
	endless := tcpServer(t, "127.0.0.1:0", func(c *net.TCPConn) {
		b := make([]byte, 1<<16)
		for {
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	})
	hash := tcpServer(t, "127.0.0.1:0", digest)
	stuck := connect(t, p.Socks[0], endless.String())
	time.Sleep(500 * time.Millisecond) // until its windows are full
	start := time.Now()
	c := connect(t, p.Socks[0], hash.String())
	if _, err := c.Write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	_ = c.CloseWrite()
	if got, err := io.ReadAll(c); err != nil || len(got) != sha256.Size {
		t.Errorf("beside a stuck stream: %d bytes, %v", len(got), err)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("beside a stuck stream one mebibyte took %v", took)
	}
	_ = stuck.Close()
}

// TestReplies asks for what cannot be had and wants the right code.
func TestReplies(t *testing.T) {
	p := begin(t, halves.Config{Allow: []string{"127.0.0.0/8"}})
	closed := ports(t, 1)[0]
	for _, tc := range []struct {
		name    string
		command byte
		dst     string
		want    error
	}{
		{"refused", socks.CommandConnect, closed.String(), socks.Reply(5)},
		{"denied private", socks.CommandConnect, "10.1.2.3:80", socks.Reply(2)},
		{"denied metadata", socks.CommandConnect, "169.254.169.254:80", socks.Reply(2)},
		{"denied v6 loopback", socks.CommandConnect, "[::1]:80", socks.Reply(2)},
		{"denied mapped", socks.CommandConnect, "[::ffff:10.1.2.3]:80", socks.Reply(2)},
		{"no such name", socks.CommandConnect, "no-such-host.invalid:80", socks.Reply(4)},
		{"bind", socks.CommandBind, "127.0.0.1:80", socks.Reply(7)},
		{"unknown command", 9, "127.0.0.1:80", socks.Reply(7)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := socks.Dialer{Proxy: p.Proxy()}
			c, err := d.Open()
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := socks.Request(c, tc.command, tc.dst); !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
		})
	}
	t.Run("unknown address type", func(t *testing.T) {
		d := socks.Dialer{Proxy: p.Proxy()}
		c, err := d.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte{5, 1, 0, 9, 1, 2, 3, 4, 0, 80}); err != nil {
			t.Fatal(err)
		}
		if _, err := socks.ReadReply(c); !errors.Is(err, socks.Reply(8)) {
			t.Errorf("got %v, want %v", err, socks.Reply(8))
		}
	})
}

// TestUsers asks with and without the right name and password.
func TestUsers(t *testing.T) {
	t.Parallel()
	// The negotiation is the client's own: no server is needed.
	c := halves.Config{Dir: t.TempDir(), Socks: ports(t, 1), Tunnel: ports(t, 1)[0], Client: "users:\n  - {name: ann, password: secret}\n"}
	if err := c.Write(mpsocks); err != nil {
		t.Fatal(err)
	}
	client, err := halves.Run(mpsocks, "client", "-c", c.ClientFile)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Kill()
	proxy := c.Socks[0].String()
	eventually(t, 20*time.Second, "the client listens", func() bool {
		conn, err := net.Dial("tcp", proxy)
		if err != nil {
			return false
		}
		_ = conn.Close()
		return true
	})
	for _, tc := range []struct {
		user, password string
		want           error
	}{
		{"ann", "secret", nil},
		{"ann", "wrong", socks.ErrAuth},
		{"bob", "secret", socks.ErrAuth},
		{"", "", socks.ErrMethod},
	} {
		d := socks.Dialer{Proxy: proxy, User: tc.user, Password: tc.password}
		conn, err := d.Open()
		if err == nil {
			_ = conn.Close()
		}
		if !errors.Is(err, tc.want) {
			t.Errorf("user %q, password %q: got %v, want %v", tc.user, tc.password, err, tc.want)
		}
	}
}
