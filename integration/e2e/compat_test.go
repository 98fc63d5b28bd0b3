package e2e

import (
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
)

// lastRelease is the program of the newest tag before this commit, or of E2E_OLD.
func lastRelease(t *testing.T) string {
	t.Helper()
	if bin := os.Getenv("E2E_OLD"); bin != "" {
		return bin
	}
	tag, err := exec.Command("git", "describe", "--tags", "--abbrev=0", "--match", "v*", "HEAD^").Output()
	if err != nil {
		t.Skip("there is no tag to be compatible with, or no git; E2E_OLD=PROGRAM names an older program")
	}
	root, err := exec.Command("git", "rev-parse", "--show-toplevel").Output()
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	archive := exec.Command("git", "-C", strings.TrimSpace(string(root)), "archive", strings.TrimSpace(string(tag)))
	unpack := exec.Command("tar", "-x", "-C", dir)
	if unpack.Stdin, err = archive.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := unpack.Start(); err != nil {
		t.Skip(err)
	}
	if err := archive.Run(); err != nil {
		t.Fatal(err)
	}
	if err := unpack.Wait(); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "mpsocks")
	build := exec.Command("go", "build", "-o", bin, ".")
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", tag, err, out)
	}
	return bin
}

// TestLastRelease joins each half to the other of the last release: datagrams and
// connections go through, and either end is an end in order.
func TestLastRelease(t *testing.T) {
	old := lastRelease(t)
	for name, bins := range map[string][2]string{"new client": {mpsocks, old}, "new server": {old, mpsocks}} {
		t.Run(name, func(t *testing.T) {
			// The files are the old program's: the new one has to read them.
			p := &halves.Pair{Bin: old, Config: halves.Config{
				Dir: t.TempDir(), Tunnel: ports(t, 1)[0], Socks: ports(t, 1), Paths: halves.TwoPaths(), Allow: []string{"127.0.0.0/8"},
			}}
			if err := p.Write(old); err != nil {
				t.Fatal(err)
			}
			var err error
			if p.Server, err = halves.Run(bins[1], "server", "-c", p.ServerFile); err != nil {
				t.Fatal(err)
			}
			if p.Client, err = halves.Run(bins[0], "client", "-c", p.ClientFile); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				p.Kill()
				if t.Failed() {
					t.Logf("client said:\n%s\nserver said:\n%s", p.Client.Output(), p.Server.Output())
				}
			})
			if err := p.Ready(10 * time.Second); err != nil {
				t.Fatal(err)
			}
			server := tcpServer(t, "127.0.0.1:0", func(c *net.TCPConn) { _, _ = io.Copy(c, c) })
			c := connect(t, p.Socks[0], server.String())
			if !echoes(c) {
				t.Error("nothing comes back over a CONNECT")
			}
			s := startStream(t, p, udpEcho(t, "127.0.0.1:0"))
			time.Sleep(500 * time.Millisecond)
			if sent, missing, _ := s.finish(3 * time.Second); missing > 0 {
				t.Errorf("%d of %d datagrams are missing", missing, sent)
			}
			if took, err := p.Client.Stop(); err != nil || took > 2*time.Second {
				t.Errorf("the client ends after %v with %v", took, err)
			}
			eventually(t, 3*time.Second, "the server hears of the end", func() bool { return strings.Contains(p.Server.Output(), "session ended") })
		})
	}
}
