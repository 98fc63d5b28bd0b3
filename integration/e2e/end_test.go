package e2e

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
)

// TestStop ends each half in the middle of traffic by SIGTERM: under two
// seconds, without complaint.
func TestStop(t *testing.T) {
	if took := soonest(2*time.Second, func() time.Duration { return stops(t) }); took >= 2*time.Second {
		t.Errorf("a half took %v to end", took)
	}
}

// stops ends both halves of a pair that has something to do, and returns how long the slower
// one took.
func stops(t *testing.T) (most time.Duration) {
	p := begin(t, halves.Config{})
	echo := udpEcho(t, "127.0.0.1:0")
	server := tcpServer(t, "127.0.0.1:0", mirror)
	c := connect(t, p.Socks[0], server.String())
	if _, err := c.Write([]byte("still open at the end")); err != nil {
		t.Fatal(err)
	}
	startStream(t, p, echo)
	time.Sleep(300 * time.Millisecond)
	for name, half := range map[string]*halves.Process{"client": p.Client, "server": p.Server} {
		took, err := half.Stop()
		if err != nil {
			t.Errorf("%s ended with %v", name, err)
		}
		most = max(most, took)
	}
	return most
}

// TestInitIsReady takes what init writes as it is: check accepts it, and the
// keys are readable by their owner alone.
func TestInitIsReady(t *testing.T) {
	t.Parallel()
	c := halves.Config{Dir: t.TempDir(), Tunnel: ports(t, 1)[0], Socks: ports(t, 1)}
	if err := c.Write(mpsocks); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{c.ClientFile, c.ServerFile} {
		check, err := halves.Run(mpsocks, "check", "-c", file)
		if err != nil {
			t.Fatal(err)
		}
		if err := check.Wait(20 * time.Second); err != nil {
			t.Errorf("check %s: %v: %s", file, err, check.Output())
		}
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", file, info.Mode())
		}
	}
}

// TestFatalErrors makes mistakes that end the program: one line that names the
// cause, and a status that is not 0.
func TestFatalErrors(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, tc := range []struct {
		name string
		half string
		file func(string) string // changes the file's text
		want []string            // each must be in the line
	}{
		{"client port in use", "client", func(s string) string {
			return replaceLine(s, "listen:", fmt.Sprintf("listen: [%q]", taken.Addr()))
		}, []string{taken.Addr().String(), "in use"}},
		{"server port in use", "server", func(s string) string {
			return replaceLine(s, "listen:", fmt.Sprintf("listen: [%q]", taken.Addr()))
		}, []string{taken.Addr().String(), "in use"}},
		{"misspelt key", "client", func(s string) string { return s + "foward: []\n" }, []string{"foward"}},
		{"misspelt nested key", "server", func(s string) string { return strings.Replace(s, "allow:", "alow:", 1) }, []string{"alow"}},
		{"broken key", "client", func(s string) string { return replaceLine(s, "private_key:", "private_key: abc") }, []string{"private_key"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := halves.Config{Dir: t.TempDir(), Tunnel: ports(t, 1)[0], Socks: ports(t, 1), Allow: []string{"127.0.0.0/8"}}
			if err := c.Write(mpsocks); err != nil {
				t.Fatal(err)
			}
			file := c.ClientFile
			if tc.half == "server" {
				file = c.ServerFile
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(tc.file(string(text))), 0o600); err != nil {
				t.Fatal(err)
			}
			oneLine(t, []string{tc.half, "-c", file}, tc.want)
		})
	}
	t.Run("no such file", func(t *testing.T) {
		oneLine(t, []string{"client", "-c", "/nonexistent/client.yaml"}, []string{"/nonexistent/client.yaml"})
	})
	t.Run("unknown command", func(t *testing.T) {
		oneLine(t, []string{"clinet"}, []string{"clinet"})
	})
}

// oneLine runs the program and wants it to fail with a single line.
func oneLine(t *testing.T, args, want []string) {
	t.Helper()
	p, err := halves.Run(mpsocks, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	if err := p.Wait(20 * time.Second); err == nil || strings.Contains(err.Error(), "still runs") {
		t.Fatalf("it did not fail: %v; it said: %s", err, p.Output())
	}
	said := strings.TrimSpace(p.Output())
	if strings.Count(said, "\n") > 0 {
		t.Errorf("more than one line:\n%s", said)
	}
	for _, w := range want {
		if !strings.Contains(said, w) {
			t.Errorf("%q does not name %q", said, w)
		}
	}
}

// TestLastingErrors makes mistakes that may pass by themselves: the client goes
// on trying and says in a line what is wrong.
func TestLastingErrors(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		config halves.Config
		server bool // whether one runs, with other keys
		want   []string
	}{
		{"unreachable server", halves.Config{Paths: halves.TwoPaths()}, false, []string{"refused"}},
		{"wrong key", halves.Config{Paths: halves.TwoPaths()}, true, []string{"key"}},
		{"unknown interface", halves.Config{Paths: []halves.Path{{Name: "lost", Bind: "nosuch0", Subflows: 1}}}, false, []string{"nosuch0"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := tc.config
			c.Dir, c.Tunnel, c.Socks = t.TempDir(), ports(t, 1)[0], ports(t, 1)
			if err := c.Write(mpsocks); err != nil {
				t.Fatal(err)
			}
			if tc.server {
				other := halves.Config{Dir: t.TempDir(), Tunnel: c.Tunnel, Socks: ports(t, 1)}
				if err := other.Write(mpsocks); err != nil {
					t.Fatal(err)
				}
				server, err := halves.Run(mpsocks, "server", "-c", other.ServerFile)
				if err != nil {
					t.Fatal(err)
				}
				defer server.Kill()
				time.Sleep(300 * time.Millisecond)
			}
			client, err := halves.Run(mpsocks, "client", "-c", c.ClientFile)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Kill()
			eventually(t, 20*time.Second, fmt.Sprintf("the client names %q", tc.want), func() bool {
				for _, w := range tc.want {
					if !strings.Contains(client.Output(), w) {
						return false
					}
				}
				return true
			})
			if out := client.Output(); strings.Contains(out, "goroutine ") || strings.Contains(out, "panic") {
				t.Errorf("the client broke down:\n%s", out)
			}
			// What goes on failing must not fill the disk.
			if lines := strings.Count(client.Output(), "\n"); lines > 20 {
				t.Errorf("%d lines in a few seconds:\n%s", lines, client.Output())
			}
		})
	}
}

// replaceLine exchanges the first line that begins so.
func replaceLine(text, begin, line string) string {
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, begin) {
			lines[i] = line
			break
		}
	}
	return strings.Join(lines, "\n")
}
