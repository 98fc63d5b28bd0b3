//go:build unix

package e2e

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
)

// twin starts a second server with the key, the clients and the rules of a pair's,
// at another address.
func twin(t *testing.T, dir string, from, at netip.AddrPort) *halves.Process {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "server.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "server.yaml")
	text := strings.ReplaceAll(string(b), from.String(), at.String())
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := halves.Run(mpsocks, "server", "-c", file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	eventually(t, 20*time.Second, "the second server listens", func() bool {
		conn, err := net.Dial("tcp", at.String())
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return p
}

// works says that a datagram is echoed through a fresh association.
func works(t *testing.T, p *halves.Pair, echo netip.AddrPort) func() bool {
	f := associate(t, p.Socks[0])
	return func() bool {
		f.send(t, echo.String(), []byte("are you there"))
		_, _, ok := f.receive(t, 50*time.Millisecond)
		return ok
	}
}

// pair writes and starts a client with two addresses and the server at the second.
func pair(t *testing.T, first netip.AddrPort) *halves.Pair {
	t.Helper()
	free := ports(t, 2)
	c := halves.Config{
		Dir: t.TempDir(), Tunnel: free[0], Socks: free[1:], Paths: sixes[:1], Allow: []string{"127.0.0.0/8"},
		Reach: []string{first.String(), free[0].String()},
	}
	if err := c.Write(mpsocks); err != nil {
		t.Fatal(err)
	}
	p := &halves.Pair{Config: c, Bin: mpsocks}
	if err := p.StartServer(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Server.Kill)
	var err error
	if p.Client, err = halves.Run(mpsocks, "client", "-c", p.ClientFile); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Client.Kill()
		if t.Failed() {
			t.Logf("client said:\n%s", p.Client.Output())
		}
	})
	eventually(t, 20*time.Second, "the client listens", func() bool {
		conn, err := net.Dial("tcp", p.Proxy())
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return p
}

// An address that takes connections and does not prove the key keeps nobody from
// the next one: it says nothing, hangs up, or speaks something else.
func TestSecondAddress(t *testing.T) {
	t.Parallel()
	for name, serve := range map[string]func(net.Conn){
		"says nothing": func(c net.Conn) { _, _ = io.Copy(io.Discard, c); c.Close() },
		"hangs up":     func(c net.Conn) { c.Close() },
		"speaks HTTP": func(c net.Conn) {
			b := make([]byte, 4096)
			_, _ = c.Read(b)
			fmt.Fprint(c, "HTTP/1.1 302 Found\r\nLocation: http://portal/\r\nConnection: close\r\n\r\n")
			c.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			// The client, which is ended first, hangs up: so everything here ends with the test.
			var tasks sync.WaitGroup
			t.Cleanup(func() { l.Close(); tasks.Wait() })
			tasks.Go(func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					tasks.Go(func() { serve(c) })
				}
			})
			echo := udpEcho(t, "127.0.0.1:0")
			if took := soonest(2*time.Second, func() time.Duration {
				p := pair(t, l.Addr().(*net.TCPAddr).AddrPort())
				return eventually(t, 10*time.Second, "works", works(t, p, echo))
			}); took > 2*time.Second {
				t.Errorf("works after %v, more than 2 s", took)
			}
		})
	}
}

// When a session's server is lost, killed or silent, the next one has the client
// within a second; half of one more is for a machine that runs other tests beside.
func TestServerIsLost(t *testing.T) {
	for name, lose := range map[string]func(*halves.Process){
		"killed": func(p *halves.Process) { p.Kill() },
		"silent": func(p *halves.Process) { _ = syscall.Kill(p.PID(), syscall.SIGSTOP) },
	} {
		t.Run(name, func(t *testing.T) {
			echo := udpEcho(t, "127.0.0.1:0")
			if took := soonest(1500*time.Millisecond, func() time.Duration {
				dead := ports(t, 1)[0]
				p := pair(t, dead) // nobody is there, at first
				ok := works(t, p, echo)
				eventually(t, 10*time.Second, "works", ok)
				twin(t, p.Dir, p.Tunnel, dead)
				time.Sleep(time.Second)
				lose(p.Server)
				return eventually(t, 10*time.Second, "works again", ok)
			}); took > 1500*time.Millisecond {
				t.Errorf("works again after %v, more than 1.5 s", took)
			}
		})
	}
}
