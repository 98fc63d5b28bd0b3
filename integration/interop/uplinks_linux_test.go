package interop

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Two uplinks of one laptop (docs/recipes/uplinks.md): eth0 has the only default route.

// shown is what status has of a path.
type shown struct {
	Name, State, Cause string
	Up                 float64 `json:"sent_bytes"`
}

// paths asks the laptop's client.
func (h *house) paths() map[string]shown {
	h.t.Helper()
	var s struct {
		Session struct{ Paths []shown }
	}
	out := h.sh(h.laptop, "mpsocks status --json -c "+filepath.Join(h.dir, "client.yaml"))
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		h.t.Fatalf("%v: %s", err, out)
	}
	all := map[string]shown{}
	for _, p := range s.Session.Paths {
		all[p.Name] = p
	}
	return all
}

// uplinks starts the client of the recipe; its second path has no route yet.
func uplinks(t *testing.T) (*house, *cookbookPage) {
	t.Helper()
	p := cookbook(t, "uplinks.md")
	h := newHouse(t)
	h.sh(h.world, "sysctl -q net.ipv4.conf.all.arp_ignore=1") // nobody out there is a neighbour
	h.serve()
	h.connect(p.block("client.yaml"))
	h.until(20*time.Second, "lte has no route", func() bool { s := h.paths()["lte"]; return s.State == "dead" && s.Cause != "" })
	return h, p
}

// works waits for lte, and has all go by it when dsl's cable is pulled.
func (h *house) works() {
	h.t.Helper()
	h.until(60*time.Second, "lte is ready", func() bool { s := h.paths()["lte"].State; return s == "up" || s == "resting" })
	h.ip(h.laptop, "link set eth0 down")
	h.until(20*time.Second, "the site comes by lte alone", func() bool {
		return h.try(`test "$(curl -q -sS -m 3 --socks5-hostname 127.0.0.1:1080 http://www.example.com/)" = "the site"`) == nil
	})
	h.until(20*time.Second, "status says so", func() bool { p := h.paths(); return p["lte"].State == "up" && p["dsl"].State != "up" })
}

// TestUplinks has doctor name the commands that are missing, which are those of the recipe;
// with them the second path works.
func TestUplinks(t *testing.T) {
	t.Parallel()
	h, p := uplinks(t)
	doctor := exec.Command("ip", "netns", "exec", h.laptop, mpsocks, "doctor", "-c", filepath.Join(h.dir, "client.yaml"))
	out, _ := doctor.CombinedOutput() // it has something to say, so it does not end with 0
	said := strings.Join(strings.Fields(string(out)), " ")
	for line := range strings.Lines(p.block("routes.sh", "via 192.168.8.1", "via GATEWAY")) {
		command, _, _ := strings.Cut(line, "#")
		if command = strings.TrimSpace(command); !strings.Contains(said, command) {
			t.Errorf("doctor does not say %q:\n%s", command, out)
		}
	}
	h.sh(h.laptop, p.block("routes.sh"))
	out, _ = exec.Command("ip", "netns", "exec", h.laptop, mpsocks, "doctor", "-c", filepath.Join(h.dir, "client.yaml")).CombinedOutput()
	if strings.Contains(string(out), "table 102") {
		t.Errorf("doctor is not content with the recipe:\n%s", out)
	}
	h.works()
}

// TestUplinksByMetric has a second default route do, where answers are not filtered.
func TestUplinksByMetric(t *testing.T) {
	t.Parallel()
	h, p := uplinks(t)
	if page := cookbookText(t, "uplinks.md"); !strings.Contains(page, "sysctl net.ipv4.conf.all.rp_filter=2") {
		t.Fatal("the recipe does not loosen rp_filter")
	}
	h.sh(h.laptop, "sysctl -q net.ipv4.conf.all.rp_filter=2\n"+p.block("metric.sh"))
	h.works()
}

// TestCommandLine runs what the recipe has for curl and git (docs/recipes/command-line.md) as it stands.
func TestCommandLine(t *testing.T) {
	t.Parallel()
	git := need(t, "git")
	p := cookbook(t, "command-line.md")
	h := newHouse(t)
	h.serve()
	h.connect("")
	shell := p.block("curl.sh", "https://example.com", "http://example.com") // the site of a test has no certificate
	if got := h.sh(h.laptop, "alias curl='curl -q -sS -m 10'\n"+shell+"curl http://www.example.com/"); got != "the sitethe site" {
		t.Errorf("curl says %q", got)
	}
	h.sh(h.laptop, p.block("git.sh"))
	if got := h.sh(h.laptop, git+" config --global --get http.proxy"); strings.TrimSpace(got) != "socks5h://127.0.0.1:1080" {
		t.Errorf("git has the proxy %q", got)
	}
	// It is the proxy that is asked, by the name.
	if out, _ := h.script(h.laptop, "GIT_CURL_VERBOSE=1 git ls-remote http://www.example.com/repo.git"); !strings.Contains(out, "127.0.0.1:1080") || !strings.Contains(out, "SOCKS5 connect to www.example.com:80 (remotely resolved)") {
		t.Errorf("git does not ask the proxy: %s", out)
	}
	if got := h.sh(h.laptop, "ssh -G -F "+file(t, "config", p.block("ssh_config"))+" host.example.com | grep -i proxycommand"); !strings.Contains(got, "nc -X 5 -x 127.0.0.1:1080 ") {
		t.Errorf("ssh has %q", got)
	}
}
