package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
	"github.com/mpsocks/mpsocks/integration/bench/socks"
)

// hand starts a half as systemd does with a socket unit: the listener is file
// descriptor 3.
func hand(t *testing.T, l *net.TCPListener, half, file string, output *strings.Builder) *exec.Cmd {
	t.Helper()
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// LISTEN_PID is the program's own number, which only it knows before it begins.
	cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$@"`, "sh", mpsocks, half, "-c", file)
	cmd.Env = append(os.Environ(), "LISTEN_FDS=1")
	cmd.ExtraFiles = []*os.File{f}
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// TestHandedSockets has both halves get their ports from somebody who keeps them: while
// a half is started anew nobody is refused.
func TestHandedSockets(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("no sh here")
	}
	p := &halves.Pair{Bin: mpsocks, Config: halves.Config{Dir: t.TempDir(), Tunnel: ports(t, 1)[0], Socks: ports(t, 1), Allow: []string{"127.0.0.0/8"}}}
	if err := p.Write(mpsocks); err != nil {
		t.Fatal(err)
	}
	echo := tcpServer(t, "127.0.0.1:0", func(c *net.TCPConn) { digest(c) })
	listen := func(at string) *net.TCPListener {
		l, err := net.Listen("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l.(*net.TCPListener)
	}
	front, tunnel := listen(p.Socks[0].String()), listen(p.Tunnel.String())
	var said [2]strings.Builder
	// Nobody is there yet, and a connection waits.
	reached := make(chan error, 1)
	ask := func() {
		d := socks.Dialer{Proxy: p.Socks[0].String()}
		c, err := d.Connect(echo.String())
		if err == nil {
			c.Close()
		}
		reached <- err
	}
	go ask()
	time.Sleep(100 * time.Millisecond)
	server, client := hand(t, tunnel, "server", p.ServerFile, &said[0]), hand(t, front, "client", p.ClientFile, &said[1])
	stop := func(cmd *exec.Cmd) {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	}
	await := func(what string) {
		t.Helper()
		select {
		case err := <-reached:
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
		case <-time.After(20 * time.Second):
			t.Errorf("%s: no answer", what)
		}
	}
	await("at the first start")
	stop(client)
	go ask()
	time.Sleep(100 * time.Millisecond)
	client = hand(t, front, "client", p.ClientFile, &said[1])
	await("while the client was started anew")
	stop(client)
	stop(server)
	for i, s := range []string{said[0].String(), said[1].String()} {
		if t.Failed() || strings.Contains(s, "hands over") || strings.Contains(s, "panic") {
			t.Error(fmt.Sprint("half ", i, " said:\n", s))
		}
	}
}
