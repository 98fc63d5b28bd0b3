package e2e

import (
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
)

// echoes says whether a line comes back.
func echoes(c *net.TCPConn) bool {
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Write([]byte("still there?")); err != nil {
		return false
	}
	_, err := io.ReadFull(c, make([]byte, 12))
	return err == nil
}

// TestDrain ends a server by SIGTERM with drain set: what is under way goes on until it
// has ended, nothing new is taken, and then the server is gone, long before the deadline.
func TestDrain(t *testing.T) {
	t.Parallel()
	p := begin(t, halves.Config{Server: "drain: 20s\n"})
	server := tcpServer(t, "127.0.0.1:0", mirror)
	c := connect(t, p.Socks[0], server.String())
	if !echoes(c) {
		t.Fatal("nothing comes back")
	}
	ended := make(chan error, 1)
	start := time.Now()
	go func() { _, err := p.Server.Stop(); ended <- err }()
	eventually(t, 20*time.Second, "the server drains", func() bool { return strings.Contains(p.Server.Output(), "draining") })
	time.Sleep(500 * time.Millisecond)
	if !echoes(c) {
		t.Error("a connection that was under way is cut")
	}
	eventually(t, 20*time.Second, "it takes no new connections", func() bool {
		c, err := try(p.Socks[0], server.String())
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	c.Close()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("it ends with %v", err)
		}
		if took := time.Since(start); took > 8*time.Second {
			t.Errorf("it took %v", took)
		}
	case <-time.After(10 * time.Second):
		t.Error("it does not end when it is empty")
	}
	eventually(t, 20*time.Second, "the client says that it was told", func() bool { return strings.Contains(p.Client.Output(), "the server is about to end") })
}

// TestDrainTellsTheManager has a draining server tell systemd how long that may take, beyond
// its unit's TimeoutStopSec.
func TestDrainTellsTheManager(t *testing.T) {
	at := &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"}
	manager, err := net.ListenUnixgram("unixgram", at)
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	t.Setenv("NOTIFY_SOCKET", at.Name)
	p := begin(t, halves.Config{Server: "drain: 4m\n"})
	if _, err := p.Server.Stop(); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1024)
	for _ = manager.SetReadDeadline(time.Now().Add(10 * time.Second)); ; {
		n, err := manager.Read(b)
		if err != nil {
			t.Fatalf("systemd is not told: %v", err)
		}
		if string(b[:n]) == fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", (4*time.Minute+1900*time.Millisecond).Microseconds()) {
			return
		}
	}
}

// TestDrainPublished drains a server whose client has ports published that nobody is at:
// nothing is under way, so it is gone soon, and visitors find the ports closed at once.
func TestDrainPublished(t *testing.T) {
	t.Parallel()
	door := ports(t, 1)[0]
	program := tcpServer(t, "127.0.0.1:0", func(c *net.TCPConn) { _, _ = io.WriteString(c, "hello") })
	p := begin(t, halves.Config{
		Server:  "drain: 60s\n",
		Publish: []string{fmt.Sprint(door.Port())},
		Client:  fmt.Sprintf("publish: [{listen: \":%d\", to: \"127.0.0.1:%d\"}]\n", door.Port(), program.Port()),
	})
	says := func() string {
		conn, err := net.Dial("tcp", door.String())
		if err != nil {
			return ""
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		all, _ := io.ReadAll(conn)
		return string(all)
	}
	eventually(t, 10*time.Second, "the port is published", func() bool { return says() == "hello" })
	if took, err := p.Server.Stop(); err != nil {
		t.Errorf("it ends after %v with %v", took, err)
	}
	if says() != "" {
		t.Error("the port is still there")
	}
}

// TestDrainMoves has a client move to a second server before its first one ends, by
// `mpsocks drain` and by SIGTERM with drain set: no new connection fails meanwhile, and no
// datagram of an association is lost.
func TestDrainMoves(t *testing.T) {
	t.Run("mpsocks drain", func(t *testing.T) {
		testDrainMoves(t, "", false, func(p *halves.Pair) error {
			if out, err := exec.Command(mpsocks, "drain", "-c", p.ServerFile).CombinedOutput(); err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return p.Server.Wait(20 * time.Second)
		})
	})
	t.Run("SIGTERM", func(t *testing.T) {
		testDrainMoves(t, "drain: 20s\n", false, func(p *halves.Pair) error { _, err := p.Server.Stop(); return err })
	})
	// The client asks again for a second server that is only just being started.
	t.Run("late", func(t *testing.T) {
		testDrainMoves(t, "drain: 20s\n", true, func(p *halves.Pair) error { _, err := p.Server.Stop(); return err })
	})
}

// testDrainMoves wants a move without a fault, in three attempts. On a machine that is busy with
// something else the first server may be silent for so long that the client takes it for dead,
// what was under way may come later than the move waits for it, and each step later than its limit.
func testDrainMoves(t *testing.T, server string, late bool, end func(*halves.Pair) error) {
	var faults []string
	for range 3 {
		if faults = drainMoves(t, server, late, end); len(faults) == 0 {
			return
		}
		t.Logf("%q", faults)
	}
	t.Error("no move was without a fault")
}

// drainMoves has end end the first server, which waits for that. The second one comes late when
// the client knows already that there is none. It returns what was wrong.
func drainMoves(t *testing.T, server string, late bool, end func(*halves.Pair) error) (faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	tunnels := ports(t, 2)
	p := begin(t, halves.Config{Admin: true, Tunnel: tunnels[0], Server: server})
	second := halves.Config{Dir: t.TempDir(), Tunnel: tunnels[1], Socks: ports(t, 1), Allow: []string{"127.0.0.0/8"}}
	if err := second.Write(mpsocks); err != nil {
		t.Fatal(err)
	}
	w := &workshop{Config: second, t: t}
	// The second server knows the same client and has the same key.
	for _, name := range []string{"private_key:", "clients:", "  - {name: here"} {
		w.edit(second.ServerFile, func(s string) string { return replaceLine(s, name, lineOf(t, p.ServerFile, name)) })
	}
	other := func() string { return "" }
	if !late {
		other = w.server()
		eventually(t, 10*time.Second, "the second server is there", func() bool { return strings.Contains(other(), "server started") })
	}
	w.edit(p.ClientFile, func(s string) string {
		return replaceLine(s, "  addresses:", "  addresses: [\""+tunnels[0].String()+"\", \""+tunnels[1].String()+"\"]")
	})
	does(t, "reload", "-c", p.ClientFile)
	datagrams := startStream(t, p, udpEcho(t, "127.0.0.1:0"))
	echo := tcpServer(t, "127.0.0.1:0", mirror)
	idle := connect(t, p.Socks[0], echo.String())
	if !echoes(idle) {
		t.Fatal("nothing comes back")
	}
	moves := func() bool { // or the first server is held for dead
		said := p.Client.Output()
		return strings.Contains(said, "moving to another one") || strings.Contains(said, "the server does not know the session before any more")
	}
	ended := make(chan error, 1)
	go func() { ended <- end(p) }()
	soon := func(limit time.Duration, what string, ok func() bool) {
		if !within(limit, ok) {
			fault("%s: not within %v", what, limit)
		}
	}
	soon(20*time.Second, "the server drains", func() bool { return strings.Contains(p.Server.Output(), "draining") })
	if late {
		soon(10*time.Second, "the client finds no other server", func() bool { return strings.Contains(p.Client.Output(), "no other one answers") })
		other = w.server()
		soon(15*time.Second, "it has moved", moves)
	}
	time.Sleep(300 * time.Millisecond)
	for range 5 {
		c, err := try(p.Socks[0], echo.String())
		if err != nil {
			fault("a new connection fails: %v", err)
			continue
		}
		if !echoes(c) {
			fault("nothing comes back by the second server")
		}
		c.Close()
	}
	// What a half says comes by a pipe, and may come later than what it does.
	soon(20*time.Second, "the second server has the session", func() bool { return strings.Contains(other(), "session established") })
	if strings.Contains(other(), "refused") {
		fault("a client that looks whether the second server answers counts as refused:\n%s", other())
	}
	soon(20*time.Second, "the client says that it moves", moves)
	select {
	case err := <-ended:
		if err != nil {
			fault("the first server ends with %v", err)
		}
	case <-time.After(15 * time.Second):
		fault("the first server does not end")
	}
	if sent, missing, _ := datagrams.finish(5 * time.Second); missing > 0 {
		fault("%d of %d datagrams are lost by the move", missing, sent)
	}
	return faults
}

// lineOf is the line of a file that begins so.
func lineOf(t *testing.T, file, begin string) string {
	t.Helper()
	for l := range strings.Lines(read(t, file)) {
		if strings.HasPrefix(l, begin) {
			return strings.TrimSuffix(l, "\n")
		}
	}
	t.Fatalf("%s has no line %q", file, begin)
	return ""
}
