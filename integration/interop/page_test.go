package interop

import (
	"fmt"
	"io"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
)

// network relays the tunnel's connections, and can go silent for one path.
type network struct {
	listener net.Listener
	target   string
	wg       sync.WaitGroup

	mu     sync.Mutex
	moved  *sync.Cond
	silent string // address of the path that carries nothing
	done   bool
	open   []net.Conn
}

func openNetwork(t *testing.T, target string) *network {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &network{listener: l, target: target}
	n.moved = sync.NewCond(&n.mu)
	n.wg.Go(n.accept)
	t.Cleanup(func() {
		l.Close()
		n.mu.Lock()
		n.done = true
		n.moved.Broadcast()
		for _, c := range n.open {
			c.Close()
		}
		n.mu.Unlock()
		n.wg.Wait()
	})
	return n
}

func (n *network) accept() {
	for {
		in, err := n.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", n.target)
		if err != nil {
			in.Close()
			continue
		}
		host, _, _ := net.SplitHostPort(in.RemoteAddr().String())
		n.mu.Lock()
		n.open = append(n.open, in, out)
		n.mu.Unlock()
		for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
			n.wg.Go(func() {
				defer way[0].Close()
				defer way[1].Close()
				b := make([]byte, 64<<10)
				for {
					k, err := way[0].Read(b)
					n.mu.Lock()
					for n.silent == host && !n.done {
						n.moved.Wait()
					}
					n.mu.Unlock()
					if err != nil {
						return
					}
					if _, err := way[1].Write(b[:k]); err != nil {
						return
					}
				}
			})
		}
	}
}

func (n *network) silence(host string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.silent = host
	n.moved.Broadcast()
}

// pagePair is a pair of its own, with two paths through a network that can be
// silenced, a metered third, and a cap.
func pagePair(t *testing.T) (*halves.Pair, *network) {
	t.Helper()
	free, err := halves.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	n := openNetwork(t, free[0].String())
	p, err := halves.Start(mpsocks, halves.Config{
		Dir: t.TempDir(), Tunnel: free[0], Reach: []string{n.listener.Addr().String()}, Allow: loopback, Admin: true,
		Client: "paths:\n  - {name: dsl, bind: 127.0.0.1, subflows: 2}\n  - {name: wifi, bind: 127.0.0.2, subflows: 2}\n" +
			"  - {name: lte, bind: 127.0.0.3, subflows: 2, metered: true, monthly_cap: 10GiB, billing_day: 5}\n",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p, n
}

// download keeps a curl at a trickle through the proxy until the test ends.
func download(t *testing.T, p *halves.Pair) {
	t.Helper()
	curl := need(t, "curl")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() { // ends with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				go io.Copy(io.Discard, c) // ends with the connection
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n")
				for {
					if _, err := c.Write(make([]byte, 50_000)); err != nil {
						return
					}
					time.Sleep(20 * time.Millisecond)
				}
			}()
		}
	}()
	cmd := exec.Command(curl, "-s", "-H", "Expect:", "-T", "-", "-o", "/dev/null", "--socks5-hostname", p.Proxy(), "http://"+l.Addr().String()+"/file")
	upload, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the program
		for {
			if _, err := upload.Write(make([]byte, 20_000)); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
}

// TestPage looks at the client's page as a person would, on a desk and on a phone,
// while a path dies and returns, and acts on it.
func TestPage(t *testing.T) {
	b := openBrowser(t)
	p, n := pagePair(t)
	download(t, p)
	token, err := p.Token()
	if err != nil {
		t.Fatal(err)
	}
	b.resize(1280, 1400)
	b.call("Page.navigate", map[string]any{"url": "http://" + p.ClientAdmin + "/"})
	b.until(20*time.Second, "without the token the page says how to get in", `Boolean(document.body) && document.body.innerText.includes("status --web")`)
	b.call("Page.navigate", map[string]any{"url": "http://" + p.ClientAdmin + "/?token=old"})
	b.until(20*time.Second, "with another one it says that", `Boolean(document.body) && document.body.innerText.includes("an old one")`)
	b.call("Page.navigate", map[string]any{"url": "http://" + p.ClientAdmin + "/?token=" + token})
	text := func(s string) string {
		return fmt.Sprintf("Boolean(document.body) && document.body.innerText.includes(%q)", s)
	}
	card := func(path, s string) string {
		return fmt.Sprintf(`(document.querySelector('[aria-label="Path %s"]')||{innerText:""}).innerText.includes(%q)`, path, s)
	}
	b.until(20*time.Second, "three paths", `document.querySelectorAll(".card").length === 3`)
	b.until(20*time.Second, "the metered path rests, and why", card("lte", "metered, and not needed"))
	b.until(20*time.Second, "what its cap has left", card("lte", "left"))
	b.until(20*time.Second, "the program by its name", text("curl"))
	b.until(20*time.Second, "why it is where it is", text("not lte: metered"))
	if url := b.eval("location.href"); strings.Contains(url, token) {
		t.Errorf("the token stays in the address: %s", url)
	}
	time.Sleep(6 * time.Second) // of curves
	b.shot("client-1280")

	n.silence("127.0.0.2")
	b.until(20*time.Second, "the silent path is dead, with its cause", card("wifi", "no answer"))
	b.until(60*time.Second, "the event says who took over", text("path wifi died: no answer; dsl took over"))
	b.shot("client-1280-death")
	b.resize(360, 780)
	time.Sleep(time.Second)
	if b.eval("document.documentElement.scrollWidth <= innerWidth") != "true" {
		t.Errorf("a phone has to scroll sideways: %s", b.eval("document.documentElement.scrollWidth"))
	}
	b.shot("client-360-death")
	n.silence("")
	b.until(30*time.Second, "it is back", card("wifi", "up"))
	b.until(60*time.Second, "and that is said", text("path wifi is back after"))

	// With the keyboard: every control has a name and can be reached.
	if bad := b.eval(`[...document.querySelectorAll("button,select,a,meter,svg")].filter(e => !e.hidden && !(e.innerText||e.getAttribute("aria-label")||"").trim() && !(e.labels&&e.labels.length)).length`); bad != "0" {
		t.Errorf("%s controls have no name", bad)
	}
	b.eval(`[...document.querySelectorAll('[aria-label="Path wifi"] button')].find(x => x.innerText === "Pause").focus()`)
	for _, k := range []string{"keyDown", "keyUp"} {
		b.call("Input.dispatchKeyEvent", map[string]any{"type": k, "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"})
	}
	b.until(20*time.Second, "a question before anything changes", `document.getElementById("ask").open && document.getElementById("ask").innerText.includes("Pause wifi")`)
	b.shot("client-360-ask")
	b.eval(`document.querySelector("#ask .do").click()`)
	b.until(30*time.Second, "the path is paused", card("wifi", "by hand"))
	b.eval(`[...document.querySelectorAll('[aria-label="Path wifi"] button')].find(x => x.innerText === "Resume").click()`)
	b.eval(`document.querySelector("#ask .do").click()`)
	b.until(20*time.Second, "and back", card("wifi", "up"))

	yes := func() { b.eval(`document.querySelector("#ask .do").click()`) }
	b.eval(`document.getElementById("capture").click()`)
	yes()
	b.until(30*time.Second, "a capture runs", `document.getElementById("capture").innerText === "Stop the capture"`)
	time.Sleep(time.Second)
	b.eval(`document.getElementById("capture").click()`)
	yes()
	b.until(30*time.Second, "and ends", `document.getElementById("capture").innerText === "Start a capture" && !document.getElementById("download").hidden`)
	resp, err := p.Get(p.ClientAdmin, "/capture")
	if err != nil {
		t.Fatal(err)
	}
	file, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if len(file) < 10_000 || string(file[:4]) != "\n\r\r\n" || !strings.Contains(resp.Header.Get("Content-Disposition"), ".pcapng") {
		t.Errorf("the capture has %d bytes, %v", len(file), resp.Header)
	}
	level := b.eval(`document.getElementById("level").value`)
	b.eval(`(() => { const l = document.getElementById("level"); l.focus(); l.value = "trace"; l.dispatchEvent(new Event("change")); })()`)
	b.eval(`document.querySelector("#ask button[value=no]").click()`)
	b.until(20*time.Second, "a level that was not set is not shown as the one that holds", `document.getElementById("level").value === `+strconv.Quote(level))
	b.eval(`(() => { const l = document.getElementById("level"); l.value = "debug"; l.dispatchEvent(new Event("change")); })()`)
	yes()
	for end := time.Now().Add(20 * time.Second); !strings.Contains(p.Client.Output(), "the log level was changed by hand"); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the log level stays as it was")
		}
	}

	b.resize(1280, 1000)
	b.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": "dark"}}})
	b.call("Page.navigate", map[string]any{"url": "http://" + p.ServerAdmin + "/?token=" + token})
	b.until(20*time.Second, "the server's page has the client", `(document.querySelector("#clients tbody")||{innerText:""}).innerText.includes("here")`)
	b.until(30*time.Second, "and the destination that it asked for", text("tcp 127.0.0.1:"))
	time.Sleep(3 * time.Second)
	b.shot("server-1280-dark")
}
