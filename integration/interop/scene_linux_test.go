package interop

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/admin"
	"github.com/mpsocks/mpsocks/integration/bench/halves"
	"github.com/mpsocks/mpsocks/integration/netlab"
)

// A scene is a van with three uplinks, over emulated paths, in which a download, a call
// and a game run; the pages and the terminal show it.
type scene struct {
	t                     *testing.T
	lab                   *netlab.Lab
	dir                   string
	client, server        string // where the admin pages are found from here
	clientHalf, otherHalf *halves.Process
}

// Where things are in a scene.
const (
	sceneSocks  = "1080"
	sceneTunnel = 7443
	sceneWeb    = 80
	sceneCall   = 3478
	sceneGame   = 27015
)

// link is a path as providers sell them: a round trip, and a rate each way.
func link(trip time.Duration, up, down float64) netlab.PathSpec {
	return netlab.PathSpec{
		Up:   netlab.Link{Delay: trip / 2, Rate: netlab.Mbit(up), QueueTime: 100 * time.Millisecond},
		Down: netlab.Link{Delay: trip / 2, Rate: netlab.Mbit(down), QueueTime: 100 * time.Millisecond},
	}
}

// newScene starts everything but the programs.
func newScene(t *testing.T) *scene {
	t.Helper()
	if err := netlab.Available(); err != nil {
		t.Skip(err)
	}
	need(t, python)
	dsl, wifi, lte := link(18*time.Millisecond, 10, 30), link(35*time.Millisecond, 8, 20), link(60*time.Millisecond, 10, 30)
	dsl.Name, wifi.Name, lte.Name = "dsl", "wifi", "lte"
	lab, err := netlab.New(dsl, wifi, lte)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lab.Close() })
	s := &scene{t: t, lab: lab, dir: t.TempDir()}
	s.destinations()

	s.run("init", "--server", netip.AddrPortFrom(netlab.Server, sceneTunnel).String(), "--dir", s.dir)
	for half, settings := range map[string]string{
		"client": "state_dir: " + s.dir + "/state-client\nrun_socket: \"off\"\n" + `paths:
  - {name: dsl, bind: dsl}
  - {name: wifi, bind: wifi}
  - {name: lte, bind: lte, metered: true, monthly_cap: 10GiB, billing_day: 5}
`,
		"server": "state_dir: " + s.dir + "/state-server\nrelay: {allow: [" + netlab.World.String() + "]}\n",
	} {
		s.merge(half+".yaml", settings)
	}
	s.otherHalf = s.half(lab.World, "server")
	s.clientHalf = s.half(lab.Client, "client")
	s.client, s.server = s.door(lab.Client, "127.0.0.1:9081"), s.door(lab.World, "127.0.0.1:9082")
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		resp, err := http.Get("http://" + s.client + "/readyz")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				break
			}
		}
		if time.Now().After(end) {
			t.Fatalf("the client is not ready: %v\n%s", err, s.clientHalf.Output())
		}
	}
	return s
}

func (s *scene) run(args ...string) {
	s.t.Helper()
	if out, err := exec.Command(mpsocks, args...).CombinedOutput(); err != nil {
		s.t.Fatalf("mpsocks %q: %v: %s", args, err, out)
	}
}

// merge puts settings into a half's file, in place of those of the same names.
func (s *scene) merge(name, settings string) {
	s.t.Helper()
	(&house{t: s.t, dir: s.dir}).merge(name, settings)
}

// half starts one half in its namespace.
func (s *scene) half(n *netlab.Namespace, name string) *halves.Process {
	s.t.Helper()
	p, err := halves.Run("ip", "netns", "exec", n.Name, mpsocks, name, "-c", filepath.Join(s.dir, name+".yaml"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { p.Kill() })
	return p
}

// tokenOf is what a half's page asks for.
func (s *scene) tokenOf(half string) string {
	s.t.Helper()
	token, err := admin.ReadToken(filepath.Join(s.dir, "state-"+half))
	if err != nil {
		s.t.Fatal(err)
	}
	return token
}

// door leads from a loopback port here to one in a namespace, for the browser.
func (s *scene) door(n *netlab.Namespace, to string) string {
	s.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { l.Close() })
	go func() { // ends with the listener
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := n.Dial(context.Background(), "tcp", netip.Addr{}, netip.MustParseAddrPort(to))
			if err != nil {
				in.Close()
				continue
			}
			go func() { // ends with either connection
				defer in.Close()
				defer out.Close()
				_, _ = io.Copy(out, in)
			}()
			go func() {
				defer in.Close()
				defer out.Close()
				_, _ = io.Copy(in, out)
			}()
		}
	}()
	return l.Addr().String()
}

// destinations are a web server without an end to its file, and those who echo.
func (s *scene) destinations() {
	s.t.Helper()
	web, err := s.lab.World.Listen(netip.AddrPortFrom(netlab.World, sceneWeb))
	if err != nil {
		s.t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		b := make([]byte, 64<<10)
		for {
			if _, err := w.Write(b); err != nil {
				return
			}
		}
	})}
	go server.Serve(web) // ends with its listener
	s.t.Cleanup(func() { server.Close() })
	for _, port := range []uint16{sceneCall, sceneGame} {
		c, err := s.lab.World.ListenUDP(netip.AddrPortFrom(netlab.World, port))
		if err != nil {
			s.t.Fatal(err)
		}
		go echoDatagrams(c) // ends with its socket
		s.t.Cleanup(func() { c.Close() })
	}
}

// program starts one under a name of its own, which status shows.
func (s *scene) program(name, binary string, args ...string) {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.Symlink(binary, path); err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir}
	if err := s.lab.Client.Start(cmd); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
}

// play starts the three programs.
func (s *scene) play() {
	s.t.Helper()
	talk, err := filepath.Abs("testdata/talk.py")
	if err != nil {
		s.t.Fatal(err)
	}
	world := netlab.World.String()
	s.program("download", need(s.t, "curl"), "-q", "-s", "-o", "/dev/null", "--socks5-hostname", "127.0.0.1:"+sceneSocks, "http://"+world+"/film.iso")
	s.program("call", python, talk, sceneSocks, world, fmt.Sprint(sceneCall), "50", "160")
	s.program("game", python, talk, sceneSocks, world, fmt.Sprint(sceneGame), "30", "90")
}

// die makes a path swallow everything, or brings it back.
func (s *scene) die(path string, dead bool) {
	s.t.Helper()
	if err := s.lab.Path(path).SetBlackHole(dead); err != nil {
		s.t.Fatal(err)
	}
}

// TestScene looks at both pages and at the terminal while a path dies and returns below a
// download, a call and a game: which program goes where, why not elsewhere, what the cap has
// left, and what died when.
func TestScene(t *testing.T) {
	tmux := need(t, "tmux")
	s := newScene(t)
	b := openBrowser(t)
	term := openTerminal(t, tmux, 80, 24)
	s.play()
	row := func(who, what string) string {
		return fmt.Sprintf(`[...document.querySelectorAll("#programs li")].some(r => r.innerText.includes(%q) && r.innerText.includes(%q))`, who, what)
	}
	card := func(path, what string) string {
		return fmt.Sprintf(`(document.querySelector('[aria-label="Path %s"]')||{innerText:""}).innerText.includes(%q)`, path, what)
	}
	summary := func(what string) string {
		return fmt.Sprintf(`document.getElementById("summary").innerText.includes(%q)`, what)
	}
	token := s.tokenOf("client")
	b.resize(1280, 900)
	b.call("Page.navigate", map[string]any{"url": "http://" + s.client + "/?token=" + token})
	b.until(30*time.Second, "the page", `Boolean(document.getElementById("news"))`)
	for _, who := range []string{"call", "game"} {
		b.until(30*time.Second, "the "+who+" and its class", row(who, "latency"))
		b.until(30*time.Second, "why it is not over lte", row(who, "not lte: metered"))
	}
	b.until(30*time.Second, "that the download comes over both that cost nothing", `[...document.querySelectorAll("#programs li")].some(r => r.innerText.includes("download") && /over (dsl \+ wifi|wifi \+ dsl)/.test(r.innerText))`)
	b.until(30*time.Second, "what is left of the cap, and until when", card("lte", "10 GiB left until 5 "))
	b.until(30*time.Second, "all of it in a line", summary("lte resting: metered, and not needed"))
	time.Sleep(5 * time.Second) // of curves
	b.shot("scene-1280")
	live := fmt.Sprintf("clear; ip netns exec %s %s status -w -c %s", s.lab.Client.Name, mpsocks, filepath.Join(s.dir, "client.yaml"))
	term.run("send-keys", live, "Enter")
	term.keep("scene-80x24", term.until(30*time.Second, "the live view", "PATHS", "PROGRAMS", "download", "call", "game", "10 GiB left"))

	s.die("dsl", true)
	b.until(30*time.Second, "dsl is dead, and why", card("dsl", "no answer"))
	b.until(30*time.Second, "in the line on top", summary("dsl dead for"))
	b.until(30*time.Second, "that it has no round trip", `[...document.querySelectorAll('[aria-label="Path dsl"] .figures div')].some(e => e.innerText.startsWith("Round trip") && e.innerText.includes("–"))`)
	b.until(30*time.Second, "what died, and who took over", `[...document.querySelectorAll("#events li")].some(e => /^\d\d:\d\d:\d\d\s+path dsl died: no answer; .*wifi.* took over/.test(e.innerText))`)
	for _, who := range []string{"download", "call", "game"} {
		b.until(30*time.Second, "why the "+who+" is not over dsl", row(who, "not dsl: dead, no answer"))
	}
	b.until(30*time.Second, "over what the download goes on", `[...document.querySelectorAll("#programs li")].some(r => r.innerText.includes("download") && r.innerText.includes("over wifi") && /↓ [1-9].* Mbit/.test(r.innerText))`)
	b.shot("scene-1280-death")
	term.keep("scene-80x24-death", term.until(30*time.Second, "the death", "dead for", "path dsl died: no answer"))
	b.resize(360, 740)
	b.call("Page.reload", nil)
	b.until(30*time.Second, "the same on a phone", row("download", "not dsl: dead, no answer"))
	if out := b.eval(offscreen); out != "" {
		t.Errorf("outside a phone's screen: %s", out)
	}
	b.shot("scene-360-death")

	s.sizes(term)
	s.die("dsl", false)
	b.until(60*time.Second, "it is back", `[...document.querySelectorAll("#events li")].some(e => e.innerText.includes("path dsl is back after"))`)
	b.until(60*time.Second, "the download over both again", `[...document.querySelectorAll("#programs li")].some(r => r.innerText.includes("download") && /over (dsl \+ wifi|wifi \+ dsl)/.test(r.innerText))`)
	term.keep("scene-80x24-return", term.until(30*time.Second, "the return", "path dsl is back after"))
	b.media("dark")
	b.shot("scene-360-dark")
	b.resize(1280, 900)
	b.call("Page.navigate", map[string]any{"url": "http://" + s.server + "/?token=" + s.tokenOf("server")})
	b.until(30*time.Second, "the server's page", `Boolean(document.getElementById("news")) && document.getElementById("clients").innerText.includes("laptop")`)
	b.until(30*time.Second, "the download there, and its class", row("tcp "+netlab.World.String()+":80", "bulk"))
	b.until(30*time.Second, "what died there", `document.getElementById("events").innerText.includes("died: its flows moved to others")`)
	time.Sleep(2 * time.Second)
	b.shot("scene-server-1280-dark")
	b.resize(360, 740)
	b.call("Page.reload", nil)
	b.until(30*time.Second, "on a phone", row("tcp "+netlab.World.String()+":80", "bulk"))
	if out := b.eval(offscreen); out != "" {
		t.Errorf("outside a phone's screen: %s", out)
	}
	b.shot("scene-server-360-dark")
}

// sizes has the live view in other terminals, and while the one that it is in changes: what
// it shows fits, always.
func (s *scene) sizes(term *terminal) {
	s.t.Helper()
	for _, size := range [][2]int{{120, 40}, {60, 20}, {40, 12}, {80, 24}} {
		term.run("resize-window", "-x", fmt.Sprint(size[0]), "-y", fmt.Sprint(size[1]))
		want := []string{"mpsocks client", "PATHS", "dead for", "q quit"}
		if size[1] >= 20 {
			want = append(want, "PROGRAMS", "EVENTS", "download")
		}
		if size[0] >= 120 {
			want = append(want, "call", "game", "not dsl: dead, no answer", "path dsl died: no answer; ")
		}
		// The terminal has its size before the view has drawn itself anew.
		var screen string
		fits := func() bool {
			screen = term.until(20*time.Second, fmt.Sprint("the view in ", size), want...)
			lines := strings.Split(strings.TrimRight(screen, "\n"), "\n")
			return strings.HasPrefix(lines[0], "mpsocks client") && strings.HasPrefix(lines[len(lines)-1], "q quit") && len(lines) == size[1]
		}
		for end := time.Now().Add(20 * time.Second); !fits(); time.Sleep(100 * time.Millisecond) {
			if time.Now().After(end) {
				s.t.Fatalf("the view does not fit %v:\n%s", size, screen)
			}
		}
		term.keep(fmt.Sprintf("scene-%dx%d", size[0], size[1]), screen)
	}
}
