package e2e

import (
	"bytes"
	"crypto/sha256"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
)

// releaseLine is a heading of CHANGELOG.md: a release and the commit that it is.
var releaseLine = regexp.MustCompile(`(?m)^## (v?\d+\.\d+\.\d+)\b.*commit ([0-9a-f]{40})`)

// lastRelease is the program of the release before this commit and its name: of the newest
// tag, or where this clone has none of the commit that CHANGELOG.md names; or E2E_OLD.
func lastRelease(t *testing.T) (bin, name string) {
	t.Helper()
	if bin := os.Getenv("E2E_OLD"); bin != "" {
		return bin, ""
	}
	top, err := exec.Command("git", "rev-parse", "--show-toplevel").Output()
	if err != nil {
		t.Skip("this is no clone of the repository, so there is no last release; E2E_OLD=PROGRAM names an older program")
	}
	root := strings.TrimSpace(string(top))
	git := func(args ...string) (string, error) {
		out, err := exec.Command("git", append([]string{"-C", root}, args...)...).Output()
		return strings.TrimSpace(string(out)), err
	}
	commit, err := git("describe", "--tags", "--abbrev=0", "--match", "v*", "HEAD^")
	if name = commit; err != nil {
		m := releaseLine.FindStringSubmatch(read(t, filepath.Join(root, "CHANGELOG.md")))
		if m == nil {
			t.Fatal("CHANGELOG.md names no release with its commit, and there is no tag")
		}
		name, commit = m[1], m[2]
		if _, err := git("cat-file", "-e", commit+"^{commit}"); err != nil {
			t.Skipf("this clone has not the history as far as %s, commit %s: git fetch --unshallow; E2E_OLD=PROGRAM names an older program", name, commit)
		}
	}
	dir := t.TempDir()
	archive := exec.Command("git", "-C", root, "archive", commit)
	unpack := exec.Command("tar", "-x", "-C", dir)
	if unpack.Stdin, err = archive.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := unpack.Start(); err != nil {
		t.Skipf("without tar the last release cannot be unpacked: %v", err)
	}
	if err := archive.Run(); err != nil {
		t.Fatal(err)
	}
	if err := unpack.Wait(); err != nil {
		t.Fatal(err)
	}
	bin = filepath.Join(dir, "mpsocks")
	// Without the folder's name in it, what was compiled is found again in the next run.
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-X main.release="+name, "-o", bin, ".")
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	return bin, name
}

// oldFile is what a person's file may have beside what halves.Config writes, as the first
// release knew it.
const oldFile = `mode: auto
rules: [{to: 192.0.2.0/24, ports: "27000-27100", class: latency}, {dscp: ef, class: latency}]
limits: {streams: 1000}
session_timeout: 2m
`

// TestLastRelease joins each half to the other of the last release, by files of that
// release: datagrams and connections go through, each half
// warns of the other's release, and either end is an end in order.
func TestLastRelease(t *testing.T) {
	t.Parallel()
	old, name := lastRelease(t)
	for which, bins := range map[string][2]string{"new client": {mpsocks, old}, "new server": {old, mpsocks}} {
		t.Run(which, func(t *testing.T) {
			// The files are the old program's: the new one has to read them.
			p := &halves.Pair{Bin: old, Config: halves.Config{
				Dir: t.TempDir(), Tunnel: ports(t, 1)[0], Socks: ports(t, 1), Paths: halves.TwoPaths(), Allow: []string{"127.0.0.0/8"},
				Admin: true, Client: oldFile, Server: "drain: 5s\n",
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
			if err := p.Ready(20 * time.Second); err != nil {
				t.Fatal(err)
			}
			const size = 3 << 20
			server := tcpServer(t, "127.0.0.1:0", digest)
			s := startStream(t, p, udpEcho(t, "127.0.0.1:0"))
			up := connect(t, p.Socks[0], server.String())
			payload := bytes.Repeat([]byte("0123456789abcdef"), size/16)
			go func() { // ends with the connection
				_, _ = up.Write(payload)
				_ = up.CloseWrite()
			}()
			got, err := io.ReadAll(up)
			if want := sha256.Sum256(payload); err != nil || !bytes.Equal(got, want[:]) {
				t.Errorf("an upload of %d bytes came as something else (%v)", size, err)
			}
			echo := connect(t, p.Socks[0], tcpServer(t, "127.0.0.1:0", mirror).String())
			if !echoes(echo) {
				t.Error("nothing comes back over a CONNECT")
			}
			if sent, missing, _ := s.finish(5 * time.Second); missing > 0 {
				t.Errorf("%d of %d datagrams are missing", missing, sent)
			}
			for half, admin := range map[string]string{"client": p.ClientAdmin, "server": p.ServerAdmin} {
				eventually(t, 20*time.Second, "the "+half+" warns of the other's release", func() bool {
					warnings := statusOf(t, p, admin).Warnings
					return name == "" || len(warnings) == 1 && strings.Contains(warnings[0], " is release ") && strings.Contains(warnings[0], name)
				})
			}
			echo.Close()
			if took, err := p.Client.Stop(); err != nil || took > 4*time.Second {
				t.Errorf("the client ends after %v with %v", took, err)
			}
			eventually(t, 20*time.Second, "the server hears of the end", func() bool { return strings.Contains(p.Server.Output(), "session ended") })
			if took, err := p.Server.Stop(); err != nil || took > 4*time.Second {
				t.Errorf("the server ends after %v with %v", took, err)
			}
		})
	}
}
