package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
)

// does runs one command of the program, which has to succeed.
func does(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(mpsocks, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("mpsocks %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestBrokenClientFile breaks one client's file while it has a connection: others are added
// and revoked at once, it goes on, also with a new session, and everybody is told which
// file it is; then it is revoked itself.
func TestBrokenClientFile(t *testing.T) {
	t.Parallel()
	p := &halves.Pair{Config: halves.Config{
		Dir: t.TempDir(), Tunnel: ports(t, 1)[0], Socks: ports(t, 1), Paths: halves.TwoPaths(), Allow: []string{"127.0.0.0/8"}, Admin: true,
	}}
	if err := p.Write(mpsocks); err != nil {
		t.Fatal(err)
	}
	w := &workshop{Config: p.Config, t: t}
	dir := filepath.Join(p.Dir, "clients.d")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	_, key, _ := strings.Cut(lineOf(t, p.ServerFile, "  - {name: here"), "public_key: ")
	key, _, _ = strings.Cut(key, ",")
	here := filepath.Join(dir, "here.yaml")
	w.edit(here, func(string) string { return "name: here\npublic_key: " + key + "\n" })
	w.edit(p.ServerFile, func(s string) string {
		s = replaceLine(s, "  - {name: here", "")
		return replaceLine(s, "clients:", "clients: []\nrules: [{user: other, class: bulk}, {user: here, class: bulk}]")
	})
	does(t, "clients", "add", "other", "-c", p.ServerFile, "--server", p.Tunnel.String(), "--out", filepath.Join(p.Dir, "other.yaml"))
	said := w.server()
	client, err := halves.Run(mpsocks, "client", "-c", p.ClientFile)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Kill() })
	server := tcpServer(t, "127.0.0.1:0", mirror)
	eventually(t, 10*time.Second, "the session is up", func() bool { return strings.Contains(said(), "session established") })
	c := connect(t, p.Socks[0], server.String())
	if !echoes(c) {
		t.Fatal("nothing comes back")
	}

	w.edit(here, func(s string) string { return strings.Replace(s, "public_key: ", "public_key: abc", 1) })
	out := does(t, "clients", "revoke", "other", "-c", p.ServerFile)
	for _, want := range []string{"clients[other] is gone", "here.yaml: public_key: is not base64", "this client keeps what it had", "there is no client \"other\""} {
		if !strings.Contains(out, want) {
			t.Errorf("revoke does not say %q:\n%s", want, out)
		}
	}
	if !echoes(c) {
		t.Error("the connection of the client with the broken file is cut")
	}
	eventually(t, 20*time.Second, "status says it", func() bool {
		out := strings.Join(strings.Fields(does(t, "status", "-c", p.ServerFile)), " ")
		return strings.Contains(out, "! "+here[:10]) && strings.Contains(out, "public_key: is not base64")
	})
	if out := does(t, "reload", "-c", p.ServerFile); strings.Contains(out, "is the same") || !strings.Contains(out, "here.yaml") {
		t.Errorf("a second reload says\n%s", out)
	}
	// A new session of the same client.
	c.Close()
	if _, err := client.Stop(); err != nil {
		t.Fatal(err)
	}
	again, err := halves.Run(mpsocks, "client", "-c", p.ClientFile)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { again.Kill() })
	eventually(t, 10*time.Second, "the client is back", func() bool {
		c, err := try(p.Socks[0], server.String())
		if err != nil {
			return false
		}
		defer c.Close()
		return echoes(c)
	})
	if out := does(t, "clients", "revoke", "here", "-c", p.ServerFile); !strings.Contains(out, "clients[here] is gone") {
		t.Errorf("revoke says\n%s", out)
	}
	eventually(t, 20*time.Second, "its session ends", func() bool { return strings.Contains(again.Output(), "does not know this client's key") })
}

// TestReloadOfAMovedAdmin has `mpsocks reload -c` find the half by where it says that it is,
// when its file names another admin address by now; of another half with the same state_dir
// it asks nothing.
func TestReloadOfAMovedAdmin(t *testing.T) {
	t.Parallel()
	p := begin(t, halves.Config{Admin: true})
	w := &workshop{Config: p.Config, t: t}
	fresh := ports(t, 1)[0].String()
	w.edit(p.ServerFile, func(s string) string { return replaceLine(s, "admin:", "admin: "+fresh) })
	if out := does(t, "reload", "-c", p.ServerFile); !strings.Contains(out, "admin "+p.ServerAdmin+" -> "+fresh) && !strings.Contains(out, fresh) {
		t.Errorf("reload says\n%s", out)
	}
	if st := statusOf(t, p, fresh); st.Config != p.ServerFile || st.Half != "server" {
		t.Errorf("at the new address there is a %s of %s", st.Half, st.Config)
	}
	other := filepath.Join(p.Dir, "other.yaml")
	w.edit(other, func(string) string {
		return replaceLine(read(t, p.ServerFile), "admin:", "admin: "+ports(t, 1)[0].String())
	})
	if out, err := exec.Command(mpsocks, "drain", "-c", other).CombinedOutput(); err == nil {
		t.Errorf("drain with the file of a half that does not run: %s", out)
	}
	if strings.Contains(p.Server.Output(), "draining") {
		t.Error("another half was told to drain")
	}
}
