package e2e

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
)

// TestPublish reaches programs at the client from outside, by ports of the server:
// UDP and TCP, while paths die and come back.
func TestPublish(t *testing.T) {
	free := ports(t, 4)
	door, headed, refused := free[0], free[1], free[2]
	tcp := tcpServer(t, free[3].String(), mirror)
	udp := udpEcho(t, tcp.String())
	p, c := beginCutWith(t, halves.Config{
		Admin:   true,
		Publish: []string{fmt.Sprint(door.Port()), fmt.Sprintf("%d-%d", headed.Port(), headed.Port())},
		Client: fmt.Sprintf(`publish:
  - {listen: ":%d", to: "localhost:%d"}
  - {listen: "127.0.0.1:%d", to: "127.0.0.1:%d", proto: tcp, proxy_protocol: true}
  - {listen: ":%d", to: "127.0.0.1:%d"}
`, door.Port(), udp.Port(), headed.Port(), udp.Port(), refused.Port(), udp.Port()),
	})
	eventually(t, 20*time.Second, "all four paths are up", c.allCarry)

	// UDP: two visitors, each of whom gets his own answers.
	visitors := []*net.UDPConn{dialUDP(t, door), dialUDP(t, door)}
	ask := func(v *net.UDPConn, text string, limit time.Duration) bool {
		_, _ = v.Write([]byte(text))
		_ = v.SetReadDeadline(time.Now().Add(limit))
		for b := make([]byte, 100); ; {
			n, err := v.Read(b)
			if err != nil || string(b[:n]) == text {
				return err == nil
			}
			if !strings.HasPrefix(string(b[:n]), "hello") { // which is asked until it comes back, and may do so later
				t.Errorf("%q came instead of %q", b[:n], text)
			}
		}
	}
	eventually(t, 20*time.Second, "the UDP port is published", func() bool { return ask(visitors[0], "hello", 200*time.Millisecond) })
	eventually(t, 20*time.Second, "status says which ports are open, and why one is not", func() bool {
		open, closed := 0, 0
		for _, q := range statusOf(t, p, p.ClientAdmin).Published {
			switch {
			case q.Problem == "":
				open++
			case strings.Contains(q.Problem, "does not allow it") && q.Listen == fmt.Sprintf("[::]:%d", refused.Port()):
				closed++
			}
		}
		return open == 3 && closed == 2
	})
	for i := range 50 {
		for j, v := range visitors {
			if text := fmt.Sprint("visitor ", j, " datagram ", i); !ask(v, text, patience) {
				t.Fatalf("%q did not come back", text)
			}
		}
	}

	// TCP: more connections at once than wait at the server, and a megabyte.
	dial := func(at netip.AddrPort) *net.TCPConn {
		conn, err := net.DialTimeout("tcp", at.String(), 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		return conn.(*net.TCPConn)
	}
	eventually(t, 20*time.Second, "the TCP port is published", func() bool {
		conn, err := net.Dial("tcp", door.String())
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	var conns []*net.TCPConn
	for range 30 {
		conns = append(conns, dial(door))
	}
	for i, conn := range conns {
		text := fmt.Sprint("connection ", i)
		_, _ = io.WriteString(conn, text)
		got := make([]byte, len(text))
		if _, err := io.ReadFull(conn, got); err != nil || string(got) != text {
			t.Fatalf("%q, %v", got, err)
		}
	}

	// Through path death.
	data := make([]byte, 16<<20)
	_, _ = rand.Read(data)
	long := dial(door)
	_ = long.SetDeadline(time.Now().Add(time.Minute))
	go func() {
		_, _ = long.Write(data)
		_ = long.CloseWrite()
	}()
	go func() {
		for i := range wayCount {
			time.Sleep(100 * time.Millisecond)
			c.set(way(i), cut)
			time.Sleep(200 * time.Millisecond)
			c.set(way(i), healthy)
		}
	}()
	got, err := io.ReadAll(long)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d of %d bytes came back through path death, %v", len(got), len(data), err)
	}
	eventually(t, 20*time.Second, "UDP works after it", func() bool { return ask(visitors[0], "after", 200*time.Millisecond) })

	// The program can be told who it is.
	conn := dial(headed)
	head := make([]byte, 28)
	if _, err := io.ReadFull(conn, head); err != nil {
		t.Fatal(err)
	}
	me := conn.LocalAddr().(*net.TCPAddr).AddrPort()
	if want := "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"; string(head[:16]) != want {
		t.Errorf("% x", head)
	}
	if from := netip.AddrPortFrom(netip.AddrFrom4([4]byte(head[16:20])), uint16(head[24])<<8|uint16(head[25])); from != me {
		t.Errorf("from %s, want %s", from, me)
	}

	// What the server does not allow is not there, and both sides say so.
	if conn, err := net.Dial("tcp", refused.String()); err == nil {
		conn.Close()
		t.Error("a port is published that is not allowed")
	}
	eventually(t, 20*time.Second, "the client says why", func() bool { return strings.Contains(p.Client.Output(), "does not allow it") })
}

// TestPublishEnds takes the client away: its ports at the server close.
func TestPublishEnds(t *testing.T) {
	t.Parallel()
	door := ports(t, 1)[0]
	tcp := tcpServer(t, "127.0.0.1:0", func(c *net.TCPConn) { _, _ = io.WriteString(c, "hello") })
	p := begin(t, halves.Config{
		Publish: []string{fmt.Sprint(door.Port())},
		Client:  fmt.Sprintf("publish: [{listen: \":%d\", to: \"127.0.0.1:%d\"}]\n", door.Port(), tcp.Port()),
	})
	open := func() bool {
		conn, err := net.Dial("tcp", door.String())
		if err != nil {
			return false
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		all, _ := io.ReadAll(conn)
		return string(all) == "hello"
	}
	eventually(t, 20*time.Second, "the port is published", open)
	_, _ = p.Client.Stop()
	eventually(t, 20*time.Second, "the port is closed", func() bool {
		conn, err := net.Dial("tcp", door.String())
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	// The two ports close one after the other.
	eventually(t, 20*time.Second, "the UDP port is free", func() bool {
		u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(door))
		if err == nil {
			u.Close()
		}
		return err == nil
	})
}

// TestPublishReload adds, moves and takes away published ports while both halves run:
// what came through a port before goes on, and the server's permission counts at once.
func TestPublishReload(t *testing.T) {
	t.Parallel()
	free := ports(t, 4)
	first, second := free[0], free[1]
	echo := tcpServer(t, free[2].String(), mirror)
	udp := udpEcho(t, echo.String())
	other := tcpServer(t, free[3].String(), func(c *net.TCPConn) { _, _ = io.WriteString(c, "other") })
	loud, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(other))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { loud.Close() })
	go func() {
		b := make([]byte, 100)
		for {
			_, from, err := loud.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			_, _ = loud.WriteToUDPAddrPort([]byte("other"), from)
		}
	}()
	to := func(port, program netip.AddrPort) string {
		return fmt.Sprintf("  - {listen: \":%d\", to: \"127.0.0.1:%d\"}\n", port.Port(), program.Port())
	}
	p := begin(t, halves.Config{
		Admin:   true,
		Publish: []string{fmt.Sprint(first.Port()), fmt.Sprint(second.Port())},
		Client:  "publish:\n" + to(first, udp),
	})
	reload := func(file, before, after string) {
		t.Helper()
		text := read(t, file)
		if !strings.Contains(text, before) {
			t.Fatalf("no %q in %s", before, text)
		}
		if err := os.WriteFile(file, []byte(strings.Replace(text, before, after, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(mpsocks, "reload", "-c", file).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	udpSays := func(port netip.AddrPort, want string) bool {
		v := dialUDP(t, port)
		defer v.Close()
		_, _ = v.Write([]byte("hello"))
		_ = v.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		b := make([]byte, 100)
		n, err := v.Read(b)
		return err == nil && string(b[:n]) == want
	}
	tcpSays := func(port netip.AddrPort, want string) bool {
		conn, err := net.Dial("tcp", port.String())
		if err != nil {
			return false
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		_, _ = io.WriteString(conn, "hello")
		got := make([]byte, len("hello"))
		_, err = io.ReadFull(conn, got)
		return err == nil && string(got) == want
	}
	closed := func(port netip.AddrPort) bool {
		conn, err := net.Dial("tcp", port.String())
		if err == nil {
			conn.Close()
		}
		return err != nil && !udpSays(port, "hello") && !udpSays(port, "other")
	}
	eventually(t, 10*time.Second, "the port is published", func() bool { return tcpSays(first, "hello") && udpSays(first, "hello") })
	long, err := net.Dial("tcp", first.String())
	if err != nil {
		t.Fatal(err)
	}
	defer long.Close()
	lives := func(when string) {
		t.Helper()
		_ = long.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = io.WriteString(long, "still")
		got := make([]byte, len("still"))
		if _, err := io.ReadFull(long, got); err != nil || string(got) != "still" {
			t.Fatalf("%s a connection that was there before says %q, %v", when, got, err)
		}
	}
	lives("at first")

	reload(p.ClientFile, to(first, udp), to(first, other)+to(second, udp))
	eventually(t, 10*time.Second, "the port leads to another program", func() bool { return tcpSays(first, "other") && udpSays(first, "other") })
	eventually(t, 10*time.Second, "a second port is published", func() bool { return tcpSays(second, "hello") && udpSays(second, "hello") })
	lives("when its port leads elsewhere")

	reload(p.ClientFile, to(first, other), "")
	eventually(t, 30*time.Second, "the first port is closed", func() bool { return closed(first) })
	lives("when its port is gone")
	eventually(t, 10*time.Second, "the second port works when the first is gone", func() bool {
		return tcpSays(second, "hello") && udpSays(second, "hello")
	})

	reload(p.ServerFile, fmt.Sprint(second.Port()), fmt.Sprint(first.Port()))
	eventually(t, 10*time.Second, "the second port is closed", func() bool { return closed(second) })
	eventually(t, 10*time.Second, "status says why", func() bool {
		list := statusOf(t, p, p.ClientAdmin).Published
		return len(list) == 2 && strings.Contains(list[0].Problem, "does not allow it") && strings.Contains(list[1].Problem, "does not allow it")
	})
	lives("when the server allows its client another port")

	// By then the client has asked twice for each, and rests.
	eventually(t, 20*time.Second, "the client rests", func() bool {
		return strings.Count(p.Server.Output(), "wants to publish a port that it may not") >= 4
	})
	reload(p.ServerFile, fmt.Sprint("publish: [", first.Port()), fmt.Sprint("publish: [", second.Port()))
	eventually(t, 10*time.Second, "the port is published as soon as the server allows it", func() bool {
		return tcpSays(second, "hello") && udpSays(second, "hello")
	})
}
