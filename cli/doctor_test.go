package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/muxtest"
	"github.com/mpsocks/mpsocks/status"
)

// diagnose runs doctor and returns what it finds, by check.
func diagnose(t *testing.T, file string, more ...string) (texts map[string]string, code int) {
	t.Helper()
	stdout, stderr, code := command(t, append([]string{"doctor", "--json", "--stun", "none", "-c", file}, more...)...)
	var out struct {
		Severity string
		Findings []struct{ Check, Severity, Text, Remedy string }
	}
	if err := json.Unmarshal([]byte(stdout), &out); err != nil {
		t.Fatalf("%v: %s%s", err, stdout, stderr)
	}
	texts = make(map[string]string)
	for _, f := range out.Findings {
		if f.Severity != "ok" && f.Remedy == "" && !strings.HasPrefix(f.Check, "path") {
			t.Errorf("%s: %s: no word of what to do", f.Check, f.Text)
		}
		texts[f.Check] += f.Severity + ": " + f.Text + " | " + f.Remedy + "\n"
	}
	return texts, code
}

// TestDoctor sees a server that works, then one with another key, one that does not know
// the client, one that is not there, a path whose interface is missing, and a bad file.
func TestDoctor(t *testing.T) {
	port, err := muxtest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	free := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
	dir := t.TempDir()
	if _, stderr, code := command(t, "init", "--server", free.String(), "--dir", dir); code != 0 {
		t.Fatal(stderr)
	}
	edit := func(name, as string, pairs ...string) string {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		out := strings.NewReplacer(append([]string{"127.0.0.1:9081", "127.0.0.1:1", "127.0.0.1:9082", "127.0.0.1:0", "127.0.0.1:1080", "127.0.0.1:0"}, pairs...)...).Replace(string(text))
		if err := os.WriteFile(filepath.Join(dir, as), []byte(out), 0o600); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(dir, as)
	}
	serverFile := edit("server.yaml", "s.yaml", "admin: 127.0.0.1:9082", `admin: ""`, "allow: []", "allow: [127.0.0.0/8]")
	server, err := conf.LoadServer(serverFile)
	if err != nil {
		t.Fatal(err)
	}
	client := edit("client.yaml", "c.yaml")
	texts, code := diagnose(t, client)
	if path := texts["path default"]; code != 2 || !strings.Contains(path, "refuses connections") || !strings.Contains(path, "start the server") {
		t.Errorf("without a server: %d %v", code, texts)
	}

	ctx, stop := context.WithCancel(t.Context())
	done := make(chan int, 1)
	var log lockedBuffer
	go func() { done <- execute(ctx, []string{"server", "-c", serverFile}, &log, &log) }()
	defer func() { stop(); <-done }()
	for end := time.Now().Add(10 * time.Second); !strings.Contains(log.String(), "server started"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(log.String())
		}
	}
	texts, code = diagnose(t, client)
	for _, want := range []string{"ok: TCP to " + free.String(), "the server proves its key and knows ours", "10 of 10 datagrams"} {
		if !strings.Contains(texts["path default"], want) {
			t.Errorf("%q is not in %s (exit code %d)\n%s", want, texts["path default"], code, log.String())
		}
	}

	one, two, three := stunServer(t, 0), stunServer(t, 0), stunServer(t, 1)
	texts, _ = diagnose(t, client, "--stun", one, "--stun", two, "--burst")
	if got := texts["exit NAT"]; !strings.HasPrefix(got, "ok") || !strings.Contains(got, "endpoint-independent mapping, endpoint-independent filtering") {
		t.Errorf("the exit's NAT: %q in %v", got, texts)
	}
	if got := texts["path default"]; !strings.Contains(got, "ok: burst: at least ") {
		t.Errorf("no burst in %q", got)
	}
	texts, _ = diagnose(t, client, "--stun", one, "--stun", three)
	if got := texts["exit NAT"]; !strings.HasPrefix(got, "warning: mapping depends on the destination") {
		t.Errorf("behind a symmetric NAT: %q", got)
	}
	texts, _ = diagnose(t, client, "--stun", free.String())
	if got := texts["exit NAT"]; !strings.HasPrefix(got, "warning: no STUN server answers") {
		t.Errorf("without a STUN server: %q", got)
	}

	other, err := conf.Generate()
	if err != nil {
		t.Fatal(err)
	}
	bad := edit("client.yaml", "k.yaml", server.PrivateKey.Public().String(), other.Public().String())
	if texts, code = diagnose(t, bad); code != 2 || !strings.Contains(texts["path default"], "server's key") || !strings.Contains(texts["path default"], "mpsocks check") {
		t.Errorf("another key of the server: %d %s", code, texts["path default"])
	}
	bad = edit("client.yaml", "p.yaml", "paths: []", "paths: [{name: lte, bind: wwan77}]")
	if texts, code = diagnose(t, bad); code != 2 || !strings.Contains(texts["path lte"], "there is no interface wwan77; there are lo") {
		t.Errorf("a missing interface: %d %v", code, texts)
	}
	// Paths are bound as the client binds them, and an address of a family that there is not, or
	// a server that is down, is no fault beside one that answers.
	down, err := freePort(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	several := fmt.Sprintf("addresses: [%q, %q, %q]", "[2001:db8::1]:7443", down, free)
	good := edit("client.yaml", "g.yaml", "paths: []", "paths: [{name: any, bind: \"l[o]*\"}, {name: one, bind: 127.0.0.1}]", fmt.Sprintf("addresses: [%q]", free), several)
	texts, _ = diagnose(t, good)
	for _, path := range []string{"path any", "path one"} {
		got := texts[path]
		if runtime.GOOS != "linux" && path == "path any" {
			continue
		}
		if strings.Contains(got, "failed: ") || path == "path one" && !strings.Contains(got, "ok: [2001:db8::1]:7443 is not tried") || !strings.Contains(got, "warning: "+down.String()) || !strings.Contains(got, "10 of 10 datagrams") {
			t.Errorf("%s: %s", path, got)
		}
	}
	texts, code = diagnose(t, filepath.Join(dir, "none.yaml"))
	if code != 2 || !strings.Contains(texts["configuration"], "none.yaml") {
		t.Errorf("no file: %d %v", code, texts)
	}
}

// A path that works and has something the matter is a warning, with what helps.
func TestDoctorJudgesPaths(t *testing.T) {
	for _, c := range []struct {
		path   status.Path
		level  severity
		remedy string
	}{
		{status.Path{State: status.Up}, fine, ""},
		{status.Path{State: status.Resting, Cause: "metered, and not needed: dsl is enough"}, fine, ""},
		{status.Path{State: status.Up, Cause: "its connections freeze", Remedy: "try another port"}, doubt, "try another port"},
		{status.Path{State: status.Dead, Cause: "no answer"}, doubt, "its own check above says more"},
	} {
		if level, remedy := judgePath(&c.path); level != c.level || remedy != c.remedy {
			t.Errorf("%+v: %v, %q", c.path, level, remedy)
		}
	}
}

// TestDoctorDoor tells an address that another program has from one of the running half's.
func TestDoctorDoor(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := aServer(t)
	file := filepath.Join(dir, "server.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(text), "0.0.0.0:7443", l.Addr().String(), 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	texts, _ := diagnose(t, file)
	if got := texts["listen"]; !strings.HasPrefix(got, "warning: "+l.Addr().String()+" is in use") || !strings.Contains(got, "ss -ltnp") {
		t.Errorf("another program's: %q", got)
	}
	l.Close()
	if texts, _ = diagnose(t, file); !strings.HasSuffix(texts["listen"], "is free | \n") {
		t.Errorf("nobody's: %q", texts["listen"])
	}
}

// Datagrams that no association takes are a doubt at a client, and of another kind at a server.
func TestDatagramsThatStrayed(t *testing.T) {
	drops := map[string]uint64{"source": 3}
	if text, remedy := strayed(&status.Status{Half: status.Client, Drops: drops}); !strings.HasPrefix(text, "3 datagrams came from") || !strings.Contains(remedy, "UDP over TCP") {
		t.Errorf("%q, %q", text, remedy)
	}
	for _, s := range []*status.Status{{Half: status.Server, Drops: drops}, {Half: status.Client}} {
		if text, _ := strayed(s); text != "" {
			t.Errorf("%+v: %q", s, text)
		}
	}
}
