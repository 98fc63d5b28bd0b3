package interop

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
)

// TestChromium loads a page with its style sheet, scripts and a request of the
// script's own (docs/recipes/browsers.md). A second run through a proxy that is not there shows that the
// browser does not go around it.
func TestChromium(t *testing.T) {
	chromium := need(t, "chromium")
	var requests atomic.Int32
	mux := http.NewServeMux()
	serve := func(path, kind, body string) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			requests.Add(1)
			w.Header().Set("Content-Type", kind)
			fmt.Fprint(w, body)
		})
	}
	filler := strings.Repeat("/* a script of some size */\n", 20000)
	serve("/{$}", "text/html", `<!doctype html><title>page</title><link rel=stylesheet href=/style.css>
<p id=first>before</p><p id=second>before</p><script src=/large.js></script>`)
	serve("/style.css", "text/css", "p { color: green }")
	serve("/large.js", "text/javascript", filler+`
document.getElementById("first").textContent = "script ran";
const r = new XMLHttpRequest();
r.open("GET", "/data", false);
r.send();
document.getElementById("second").textContent = r.responseText;`)
	serve("/data", "text/plain", "data came")
	s := httptest.NewServer(mux)
	defer s.Close()
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())

	browse := func(proxy string) string {
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
			"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
			"--disable-dev-shm-usage", "--user-data-dir="+t.TempDir(),
			"--proxy-server=socks5://"+proxy, "--proxy-bypass-list=<-loopback>", "--dump-dom", "http://localhost:"+port+"/")
		cmd.WaitDelay = 5 * time.Second // its children may hold the output
		out, err := cmd.Output()
		if err != nil {
			t.Logf("chromium: %v", err)
		}
		return string(out)
	}
	page := browse(pair.Proxy())
	for _, want := range []string{`id="first">script ran<`, `id="second">data came<`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %q:\n%s", want, page)
		}
	}
	if n := requests.Load(); n < 4 {
		t.Errorf("the server saw %d requests", n)
	}

	free, err := halves.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	nobody := free[0].String()
	before := requests.Load()
	if page := browse(nobody); strings.Contains(page, "script ran") || requests.Load() != before {
		t.Error("chromium reached the page without the proxy")
	}
}

// TestPAC has the rules of the client's PAC file worked out as browsers do (docs/recipes/browsers.md):
// by Debian's pacparser, name by name.
func TestPAC(t *testing.T) {
	page := cookbookText(t, "browsers.md")
	if !strings.Contains(page, "--proxy-pac-url=http://127.0.0.1:9081/proxy.pac") {
		t.Error("the recipe does not have the file's URL")
	}
	if _, err := os.Stat("/usr/lib/python3/dist-packages/pacparser"); err != nil {
		t.Skip("python3-pacparser is not installed: make interop installs it from Debian where it may")
	}
	p, err := halves.Start(mpsocks, halves.Config{Dir: t.TempDir(), Paths: halves.TwoPaths(), Allow: loopback, Admin: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	resp, err := http.Get("http://" + p.ClientAdmin + "/proxy.pac")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	pac, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	hosts := []string{"example.com", "www.example.com", "8.8.8.8", "172.15.0.1", "172.32.0.1", "11.0.0.1", "10.example.com", "10.1.2.example.com", "printer", "printer.local", "nas.lan", "127.0.0.1", "10.1.2.3", "192.168.1.1", "172.16.0.1", "172.31.255.1", "169.254.1.1"}
	script := "import sys, pacparser\npacparser.init()\npacparser.parse_pac_file(sys.argv[1])\nfor h in sys.argv[2:]: print(pacparser.find_proxy('http://' + h + '/', h))\n"
	out := output(t, 20*time.Second, python, append([]string{"-W", "ignore", "-c", script, file(t, "proxy.pac", string(pac))}, hosts...)...)
	got := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(got) != len(hosts) {
		t.Fatalf("%q", got)
	}
	for i, host := range hosts {
		want := "DIRECT"
		if i < 8 {
			want = "SOCKS5 " + p.Proxy() + "; SOCKS " + p.Proxy()
		}
		if got[i] != want {
			t.Errorf("%s goes by %q", host, got[i])
		}
	}
}
