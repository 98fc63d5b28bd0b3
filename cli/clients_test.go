package cli

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/status"
)

// aServer writes a server's and a client's file and returns the directory.
func aServer(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if _, stderr, code := command(t, "init", "--server", "203.0.113.5:7443", "--dir", dir); code != 0 {
		t.Fatal(stderr)
	}
	// No server runs, and none of this machine's shall be asked.
	text, err := os.ReadFile(filepath.Join(dir, "server.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	text = []byte(strings.Replace(string(text), defaultAdmins[status.Server].String(), "127.0.0.1:1", 1))
	if err := os.WriteFile(filepath.Join(dir, "server.yaml"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// run is command that has to succeed.
func run(t *testing.T, args ...string) string {
	t.Helper()
	stdout, stderr, code := command(t, args...)
	if code != 0 {
		t.Fatalf("%v: %s", args, stderr)
	}
	return stdout
}

// A client's life: it is added with a file and with a link, listed, gets another key, and
// is revoked; the file that a person wrote stays as it is.
func TestClients(t *testing.T) {
	dir := aServer(t)
	file := filepath.Join(dir, "server.yaml")
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	load := func() map[string][]conf.PublicKey {
		s, err := conf.LoadServer(file)
		if err != nil {
			t.Fatal(err)
		}
		out := map[string][]conf.PublicKey{}
		for _, c := range s.Clients {
			out[c.Name] = c.Keys()
		}
		return out
	}
	phone := filepath.Join(dir, "phone-client.yaml")
	run(t, "clients", "add", "phone", "-c", file, "--out", phone)
	c, err := conf.LoadClient(phone)
	if err != nil {
		t.Fatal(err)
	}
	if got := load()["phone"]; len(got) != 1 || got[0].String() != c.PrivateKey.Public().String() || c.Server.Addresses[0] != "203.0.113.5:7443" {
		t.Errorf("%v %+v", got, c.Server)
	}

	out := run(t, "clients", "add", "tablet 2", "-c", file, "--link", "--server", "[2001:db8::1]:443,t.example.com:7443")
	link, _, _ := strings.Cut(out, "\n")
	there := filepath.Join(t.TempDir(), "new")
	run(t, "init", "--link", link, "--dir", there)
	c, err = conf.LoadClient(filepath.Join(there, "client.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if got := load()["tablet 2"]; len(got) != 1 || got[0].String() != c.PrivateKey.Public().String() || len(c.Server.Addresses) != 2 {
		t.Errorf("%v %+v", got, c.Server)
	}

	if _, stderr, code := command(t, "clients", "add", "pad", "-c", file, "--server", "here"); code != 1 || !strings.HasPrefix(stderr, `mpsocks: --server "here" is not HOST:PORT`) {
		t.Errorf("a server without a port: %d %s", code, stderr)
	}

	run(t, "clients", "rotate", "phone", "-c", file, "--out", phone, "--force")
	c, err = conf.LoadClient(phone)
	if err != nil {
		t.Fatal(err)
	}
	if got := load()["phone"]; len(got) != 2 || got[0].String() != c.PrivateKey.Public().String() {
		t.Errorf("after rotate: %v", got)
	}
	if out := run(t, "clients", "list", "-c", file); !strings.Contains(out, "laptop") || strings.Count(out, "\n") != 5 {
		t.Error(out)
	}
	run(t, "clients", "rotate", "phone", "--finish", "-c", file)
	if got := load()["phone"]; len(got) != 1 || got[0].String() != c.PrivateKey.Public().String() {
		t.Errorf("after --finish: %v", got)
	}
	run(t, "clients", "revoke", "tablet 2", "-c", file)
	if _, there := load()["tablet 2"]; there {
		t.Error("it is still there")
	}
	if after, _ := os.ReadFile(file); string(after) != string(before) {
		t.Error("a program has changed the person's file")
	}
}

// A QR code has its three corners, dark in a light border.
func TestQR(t *testing.T) {
	var b strings.Builder
	if err := writeQR(&b, "mpsocks://x@y:1"); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
	if len(lines) < 14 || len([]rune(lines[0])) < 2*len(lines)-1 {
		t.Fatalf("%d lines of %d", len(lines), len([]rune(lines[0])))
	}
	if lines[0] != strings.Repeat("█", len([]rune(lines[0]))) {
		t.Errorf("the border is %q", lines[0])
	}
	// 7 dark modules, 5 light ones inside.
	if got := string([]rune(lines[2])[4:11]); got != " ▄▄▄▄▄ " {
		t.Errorf("the corner begins with %q", got)
	}
}

// A client that does not get its file is not added, and one that does not get its new key
// keeps the old one.
func TestClientWithoutItsFile(t *testing.T) {
	dir := aServer(t)
	file := filepath.Join(dir, "server.yaml")
	out := filepath.Join(dir, "phone.yaml")
	run(t, "clients", "add", "phone", "-c", file, "--out", out)
	added := filepath.Join(dir, "clients.d", "phone.yaml")
	before, err := os.ReadFile(added)
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"clients", "add", "tv", "-c", file, "--out", out},
		{"clients", "rotate", "phone", "-c", file, "--out", out},
		{"clients", "add", "tv", "-c", file, "--out", filepath.Join(dir, "nowhere", "tv.yaml")},
	} {
		if _, stderr, code := command(t, args...); code != 1 || stderr == "" {
			t.Errorf("%v ends with %d: %s", args, code, stderr)
		}
	}
	after, err := os.ReadFile(added)
	if err != nil || string(after) != string(before) {
		t.Errorf("the key that the client has is gone (%v): %s", err, after)
	}
	if list := run(t, "clients", "list", "-c", file); strings.Contains(list, "\ntv ") {
		t.Errorf("a client without a file was added:\n%s", list)
	}
	// Nobody gets a link that the server knows nothing of.
	if err := os.Rename(filepath.Join(dir, "clients.d"), filepath.Join(dir, "moved")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "clients.d"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if stdout, _, code := command(t, "clients", "add", "tv", "--link", "-c", file); code != 1 || stdout != "" {
		t.Errorf("it ends with %d and %q", code, stdout)
	}
}

// A file with a mistake keeps nobody from adding and revoking others; its own client can be
// revoked, with all copies of its file, and a key that stays in under another name is said.
func TestClientsBesideMistakes(t *testing.T) {
	dir := aServer(t)
	file := filepath.Join(dir, "server.yaml")
	in := func(name string) string { return filepath.Join(dir, "clients.d", name) }
	for _, name := range []string{"phone", "tv", "tablet"} {
		run(t, "clients", "add", name, "-c", file, "--out", filepath.Join(dir, name+"-client.yaml"))
	}
	phone, err := os.ReadFile(in("phone.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	tv, err := os.ReadFile(in("tv.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"tablet.yaml": "name: tablet\npublic_key: abc\n", "phone old.yaml": string(phone), "television.yaml": strings.Replace(string(tv), `"tv"`, `"television"`, 1),
	} {
		if err := os.WriteFile(in(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out := run(t, "check", "-c", file); strings.Count(out, "this client is left out") != 4 {
		t.Errorf("check says\n%s", out)
	}
	if _, stderr, code := command(t, "check", "--strict", "-c", file); code != 1 || strings.Count(stderr, "this client is left out") != 4 {
		t.Errorf("check --strict ends with %d and says\n%s", code, stderr)
	}
	if out := run(t, "clients", "list", "-c", file); !strings.Contains(out, "tablet      (a mistake)") || !strings.Contains(out, "tablet.yaml: public_key: is not base64") {
		t.Errorf("list says\n%s", out)
	}
	if _, stderr, code := command(t, "clients", "add", "tablet", "-c", file); code != 1 || !strings.Contains(stderr, "there is a file for \"tablet\" already") {
		t.Errorf("add over a broken file ends with %d: %s", code, stderr)
	}
	if _, stderr, code := command(t, "clients", "rotate", "tablet", "-c", file); code != 1 || !strings.Contains(stderr, "tablet.yaml: public_key: is not base64") {
		t.Errorf("rotate of a broken file ends with %d: %s", code, stderr)
	}
	run(t, "clients", "add", "car", "-c", file, "--out", filepath.Join(dir, "car-client.yaml"))
	run(t, "clients", "revoke", "car", "-c", file)
	run(t, "clients", "revoke", "phone", "-c", file)
	run(t, "clients", "revoke", "tablet", "-c", file)
	for _, name := range []string{"phone.yaml", "phone old.yaml", "tablet.yaml", "car.yaml"} {
		if _, err := os.Stat(in(name)); err == nil {
			t.Errorf("%s is still there", name)
		}
	}
	if _, stderr, code := command(t, "clients", "revoke", "tv", "-c", file); code != 1 || !strings.Contains(stderr, "the key of tv is that of television too") {
		t.Errorf("revoke of a key that is there twice ends with %d: %s", code, stderr)
	}
	run(t, "clients", "revoke", "television", "-c", file)
	if out := run(t, "clients", "list", "-c", file); strings.Count(out, "\n") != 2 {
		t.Errorf("list says\n%s", out)
	}
}

// closedOutput takes nothing, as a pipe that nobody reads.
type closedOutput struct{}

func (closedOutput) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// A client whose link cannot be written is not one.
func TestClientWithoutItsLink(t *testing.T) {
	dir := aServer(t)
	file := filepath.Join(dir, "server.yaml")
	for _, how := range []string{"--link", "--qr"} {
		var stderr strings.Builder
		if code := execute(t.Context(), []string{"clients", "add", "phone", how, "-c", file}, closedOutput{}, &stderr); code == 0 {
			t.Errorf("%s: it went well", how)
		}
		s, err := conf.LoadServer(file)
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Clients) != 1 {
			t.Errorf("%s: %d clients (%s)", how, len(s.Clients), &stderr)
		}
	}
}
