package interop

import (
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
)

// The recipes of docs/recipes, with the programs of Debian.

// recipe returns the text of one, which a test has to follow.
func recipe(t *testing.T, file string, parts ...string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "recipes", file))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range parts {
		if !strings.Contains(string(text), p) {
			t.Errorf("docs/recipes/%s does not say %q", file, p)
		}
	}
}

// freePort is one that nobody has.
func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	free, err := halves.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	return free[0]
}

// file writes one into a fresh directory and returns its name.
func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// daemon runs a program until the test ends, and waits until its TCP port answers.
func daemon(t *testing.T, address, program string, args ...string) *halves.Process {
	t.Helper()
	p, err := halves.Run(program, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("%s said:\n%s", program, p.Output())
		}
	})
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
			return p
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not start: %v", program, err)
		}
	}
}

// TestGit clones over HTTP through the proxy.
func TestGit(t *testing.T) {
	git := need(t, "git")
	recipe(t, "command-line.md", "http.proxy socks5h://")
	work, bare := t.TempDir(), filepath.Join(t.TempDir(), "repo.git")
	body := make([]byte, 300_000)
	_, _ = rand.Read(body) // does not fail
	if err := os.WriteFile(filepath.Join(work, "file"), body, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"-C", work, "init", "-q"},
		{"-C", work, "add", "file"},
		{"-C", work, "-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-q", "-m", "one"},
		{"clone", "-q", "--bare", work, bare},
		{"-C", bare, "update-server-info"},
	} {
		output(t, 20*time.Second, git, args...)
	}
	s := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(bare))))
	t.Cleanup(s.Close)
	clone := filepath.Join(t.TempDir(), "clone")
	output(t, 60*time.Second, git, "-c", "http.proxy=socks5h://"+pair.Proxy(), "clone", "-q", s.URL+"/repo.git", clone)
	got, err := os.ReadFile(filepath.Join(clone, "file"))
	if err != nil || string(got) != string(body) {
		t.Errorf("the clone differs (%v)", err)
	}
}

// TestSSH logs in through the proxy, as in the recipe, and runs a command.
func TestSSH(t *testing.T) {
	ssh, keygen := need(t, "ssh"), need(t, "ssh-keygen")
	sshd, nc := need(t, "/usr/sbin/sshd"), need(t, "nc")
	recipe(t, "command-line.md", "ProxyCommand nc -X 5 -x 127.0.0.1:1080 %h %p")
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"host", "mine"} {
		output(t, 10*time.Second, keygen, "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, name))
	}
	if os.Geteuid() == 0 {
		_ = os.MkdirAll("/run/sshd", 0o755) // sshd of root wants it; where it cannot be, it says so
	}
	at := freePort(t)
	config := file(t, "sshd_config", fmt.Sprintf("Port %d\nListenAddress 127.0.0.1\nHostKey %s\nAuthorizedKeysFile %s\nStrictModes no\nUsePAM no\nPidFile none\n",
		at.Port(), filepath.Join(dir, "host"), filepath.Join(dir, "mine.pub")))
	daemon(t, at.String(), sshd, "-D", "-e", "-f", config)
	out := output(t, 30*time.Second, ssh, "-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
		"-o", "IdentitiesOnly=yes", "-i", filepath.Join(dir, "mine"), "-o", fmt.Sprintf("ProxyCommand=%s -X 5 -x %s %%h %%p", nc, pair.Proxy()),
		"-p", fmt.Sprint(at.Port()), me.Username+"@127.0.0.1", "echo $SSH_CONNECTION and through")
	if !strings.Contains(string(out), "and through") {
		t.Errorf("ssh says %q", out)
	}
}

// TestHAProxy has the session begin at a balancer and all further subflows go to the
// server itself; nothing is lost when the balancer goes.
func TestHAProxy(t *testing.T) {
	haproxy := need(t, "/usr/sbin/haproxy")
	recipe(t, "haproxy.md", "mode tcp", "behind_load_balancer: true", "balance source")
	front, tunnel := freePort(t), freePort(t)
	config := file(t, "haproxy.cfg", fmt.Sprintf(`defaults
    timeout connect 5s
    timeout client 1h
    timeout server 1h
frontend tunnel
    mode tcp
    bind %s
    default_backend mpsocks
backend mpsocks
    mode tcp
    balance source
    server one %s
`, front, tunnel))
	balancer := daemon(t, front.String(), haproxy, "-db", "-f", config)
	p, err := halves.Start(mpsocks, halves.Config{
		Dir: t.TempDir(), Paths: halves.TwoPaths(), Allow: loopback, Tunnel: tunnel, Reach: []string{front.String()},
		Server: fmt.Sprintf("behind_load_balancer: true\nadvertise: [%q]\n", tunnel),
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, balancer.Output())
	}
	t.Cleanup(p.Kill)
	time.Sleep(3 * time.Second) // the address is told, and the second path joins there
	balancer.Kill()
	if err := p.Ready(20 * time.Second); err != nil {
		t.Errorf("after the balancer's death: %v\nclient said:\n%s", err, p.Client.Output())
	}
}

// TestExportedProxy has curl find the proxy in the environment.
func TestExportedProxy(t *testing.T) {
	curl := need(t, "curl")
	recipe(t, "command-line.md", "export ALL_PROXY=socks5h://127.0.0.1:1080")
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "through") }))
	t.Cleanup(s.Close)
	cmd := exec.Command(curl, "-q", "-sS", "--max-time", "20", "--noproxy", "", s.URL)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "ALL_PROXY=socks5h://" + pair.Proxy()}
	out, err := cmd.CombinedOutput()
	if err != nil || string(out) != "through" {
		t.Errorf("%v: %s", err, out)
	}
}
