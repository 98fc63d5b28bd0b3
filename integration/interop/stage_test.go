package interop

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/status"
)

// A stage serves the files of the admin page with a model of the test's own, so that the
// page can be seen in states that take weeks, or many machines, to come about.
type stage struct {
	*httptest.Server
	mu     sync.Mutex
	model  *status.Status
	silent bool // no model comes, and the connection stays
	ended  chan struct{}
}

func newStage(t *testing.T, model *status.Status) *stage {
	t.Helper()
	s := &stage{model: model, ended: make(chan struct{})}
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServerFS(os.DirFS("../../admin/page")))
	mux.HandleFunc("/history", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "[]") })
	mux.HandleFunc("/events", s.events)
	s.Server = httptest.NewServer(mux)
	t.Cleanup(func() {
		close(s.ended)
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

// events sends the model ten times a second.
func (s *stage) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	for r.Context().Err() == nil {
		s.mu.Lock()
		s.model.Time = time.Now()
		body, err := json.Marshal(s.model)
		silent := s.silent
		s.mu.Unlock()
		if err != nil {
			return
		}
		if !silent {
			if _, err := fmt.Fprintf(w, "data: %s\n\n", body); err != nil {
				return
			}
			http.NewResponseController(w).Flush()
		}
		select {
		case <-s.ended:
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (s *stage) set(f func(m *status.Status)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s.model)
}

// stagePath is a path with figures; state, cause and more are the caller's.
func stagePath(name string, state status.State, cause string) status.Path {
	return status.Path{
		Name: name, State: state, Cause: cause, Since: time.Now().Add(-12 * time.Second), Bind: "enx0c5b8f279a64", UpBPS: 123_456_789, DownBPS: 987_654_321,
		Share: .333, RTT: .0123, Jitter: .0012, Loss: .0001, Queued: 123_456, Subflows: 6, Usage: &status.Usage{Today: 3 << 30, Month: 123 << 30},
	}
}

// crowdedClient has sixteen paths in every state, and sixty programs with the longest names
// and with names that want to be HTML.
func crowdedClient() *status.Status {
	long := strings.Repeat("averylongname", 12)
	m := &status.Status{
		Half: status.Client, Version: "v1.2.3-45-gabcdef01234", Started: time.Now().Add(-100 * time.Hour), Ready: true, Reasons: []string{}, LogLevel: "debug",
		Listen: []string{"127.0.0.1:1080", "[::1]:1080"}, Warnings: []string{"the server is release v1.3.0 and this half v1.2.3: they work together; upgrade the older one when there is time"},
		Drops: map[string]uint64{"queue_full": 12345678, "no_session": 3}, Refused: map[string]uint64{"password": 4},
		Session: &status.Session{ID: "390b9dd1", Up: true, Server: "[2001:db8:1234:5678:9abc:def0:1234:5678]:7443", Mode: "auto", Drops: map[string]uint64{}},
		Events: []status.Event{
			{Time: time.Now(), Level: "warn", Text: "path dsl died: no answer; wifi took over, flows moved in 17 ms", Path: "dsl"},
			{Time: time.Now().Add(-time.Minute), Level: "info", Text: "<img src=x onerror=\"document.body.dataset.broken=1\">" + long},
		},
	}
	states := []status.State{status.Up, status.Resting, status.Stalled, status.Dead, status.Joining, status.Capped, status.Paused, status.Absent}
	for i := range 16 {
		p := stagePath(fmt.Sprintf("path%d", i), states[i%len(states)], "TLS: the server's key differs")
		if i == 1 {
			p.Name, p.Metered, p.Backup = long[:40], true, true
			p.Usage.MonthlyCap, p.Usage.DailyCap, p.Usage.Renews = 124<<30, 4<<30, time.Now().AddDate(0, 0, 9)
		}
		if i > 2 && i < 3+len(names) {
			p.Name = names[i-3]
		}
		m.Session.Paths = append(m.Session.Paths, p)
	}
	for i := range 60 {
		p := status.Program{
			Session: "390b9dd1", Key: fmt.Sprint(i), Name: fmt.Sprintf("program%d", i), User: "ann", Proto: []string{"udp", "tcp"}[i%2], To: fmt.Sprintf("198.51.100.%d:443", i),
			Class: "latency", Why: "little traffic: fastest path, copies; not lte: metered", Paths: []string{"path0", "path1"}, BPS: int64(60-i) * 1_000_000, RecvBPS: 1_000_000_000, Bytes: 1 << 40, Received: 1 << 41, Copies: 1 << 20, Dropped: 7,
		}
		switch i {
		case 0:
			p.Name, p.To = long, long+".example.com:443"
		case 1:
			p.Name, p.To = `<b onmouseover="x">bold</b>`, "<script>document.body.dataset.broken=1</script>:1"
		case 2:
			p.Came = []string{"path2", "path3"}
		case 3, 4, 5:
			p.Name, p.Paths = names[i-3], []string{names[i-3], "path0"}
			p.Why = "little traffic: fastest path, copies; not " + names[i-3] + ": metered"
		}
		m.Programs = append(m.Programs, p)
	}
	return m
}

// names that a page has to bear: of 200 letters without a blank, from right to left, of
// pictures.
var names = []string{strings.Repeat("longname", 25), "הטלפון של דנה 12", "📱👍 téléphone 電話"}

// crowdedServer has forty clients with three paths each.
func crowdedServer() *status.Status {
	m := &status.Status{
		Half: status.Server, Version: "v1.2.3", Started: time.Now().Add(-time.Hour), Ready: true, Reasons: []string{}, Listen: []string{"[::]:7443"}, LogLevel: "info",
		Drops: map[string]uint64{}, Refused: map[string]uint64{"unknown_key": 9}, Events: []status.Event{}, Programs: []status.Program{},
	}
	for i := range 40 {
		c := status.Peer{Name: fmt.Sprintf("client-number-%d", i), Sessions: 1, Sent: 123 << 30, Received: 12 << 30, SentBPS: 45_000_000, RecvBPS: 109_000, Quota: 500 << 30, Used: 135 << 30, Version: "v1.2.3"}
		if i == 3 {
			c.Error, c.ErrorAt = "the server refuses: limits.sessions_per_client is reached, and this is a long sentence about it that has to go somewhere", time.Now()
		}
		if i < len(names) {
			c.Name = names[i]
		}
		m.Clients = append(m.Clients, c)
		s := status.Session{ID: fmt.Sprintf("%08x", i), Peer: c.Name, Up: true, Mode: "auto"}
		for j := range 3 {
			s.Paths = append(s.Paths, stagePath(fmt.Sprintf("2001:db8:1234:5678:9abc:def0:%d:%d", i, j), []status.State{status.Up, status.Up, status.Dead}[j], ""))
		}
		m.Sessions = append(m.Sessions, s)
	}
	return m
}

// contrast lists the texts whose contrast with what is behind them is less than 4.5 (WCAG
// 2.2, 1.4.3), where both may be faded towards the page's ground.
const contrast = `(() => {
  const parts = c => c.match(/[\d.]+/g).map(Number), ground = parts(getComputedStyle(document.body).backgroundColor);
  const light = (c, shown) => { const [r, g, b] = parts(c).map((v, i) => v * shown + ground[i] * (1 - shown)).map(v => { v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; }); return .2126 * r + .7152 * g + .0722 * b; };
  const behind = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if ((parts(c)[3] ?? 1) === 1) return c; } return "rgb(255,255,255)"; };
  const shown = e => { let o = 1; for (; e; e = e.parentElement) o *= getComputedStyle(e).opacity; return o; };
  const bad = [];
  for (const e of document.querySelectorAll("body *")) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) || !e.checkVisibility() || e.closest(".unseen, .skip")) continue;
    const [a, b] = [light(getComputedStyle(e).color, shown(e)), light(behind(e), shown(e))], ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) bad.push(e.tagName + "." + e.className + " " + ratio.toFixed(2) + ": " + e.textContent.slice(0, 30));
  }
  return [...new Set(bad)].join("; ");
})()`

// offscreen lists what is wider than the screen, or cut off at its side.
const offscreen = `[...document.querySelectorAll("body *")].filter(e => e.checkVisibility() && !e.closest(".unseen, .skip") && (e.getBoundingClientRect().right > innerWidth + 1 || e.getBoundingClientRect().left < -1))
  .map(e => e.tagName + "." + e.className + " " + e.textContent.slice(0, 30)).slice(0, 5).join("; ")`

// press is a key.
func (b *browser) press(key string, code int) {
	for _, kind := range []string{"rawKeyDown", "keyUp"} {
		b.call("Input.dispatchKeyEvent", map[string]any{"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code})
	}
}

// media sets what the person likes: "light" or "dark".
func (b *browser) media(scheme string) {
	b.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}})
}

// TestPageCrowded looks at both pages with more than fits, at three widths, light and dark:
// nothing leaves the screen, every text can be read, and no name becomes HTML.
func TestPageCrowded(t *testing.T) {
	b := openBrowser(t)
	for _, half := range []struct {
		name  string
		model *status.Status
	}{{"client", crowdedClient()}, {"server", crowdedServer()}} {
		s := newStage(t, half.model)
		for _, width := range []int{360, 768, 1280} {
			for _, scheme := range []string{"light", "dark"} {
				b.resize(width, 780)
				b.media(scheme)
				b.call("Page.navigate", map[string]any{"url": s.URL})
				b.until(10*time.Second, "the page", `document.querySelectorAll(".card").length >= 16`)
				time.Sleep(300 * time.Millisecond)
				name := fmt.Sprintf("crowded-%s-%d-%s", half.name, width, scheme)
				b.shot(name)
				if out := b.eval(offscreen); out != "" {
					t.Errorf("%s: outside the screen: %s", name, out)
				}
				if bad := b.eval(contrast); bad != "" {
					t.Errorf("%s: hard to read: %s", name, bad)
				}
				if b.eval(`Boolean(document.body.dataset.broken || document.querySelector("main img, main script, main b"))`) != "false" {
					t.Errorf("%s: a name became HTML", name)
				}
			}
		}
		if half.name == "client" {
			if n := b.eval(`document.querySelectorAll("#programs li").length`); n != "12" {
				t.Errorf("%s programs are shown at first", n)
			}
			b.eval(`document.getElementById("more").click()`)
			b.until(20*time.Second, "all programs", `document.querySelectorAll("#programs li").length === 60`)
			if n := b.eval(`document.getElementById("level").value`); n != "debug" {
				t.Errorf("the log level is said to be %q", n)
			}
		} else if open := b.eval(`document.querySelectorAll(".group[open]").length`); open != "0" {
			t.Errorf("%s of 40 clients' paths are unfolded", open)
		}
	}
}

// TestPageByKeyboard goes through the page with Tab: everything that can be used is
// reached in the order in which it stands, and shows that it is.
func TestPageByKeyboard(t *testing.T) {
	b := openBrowser(t)
	s := newStage(t, crowdedClient())
	b.resize(1280, 900)
	b.call("Page.navigate", map[string]any{"url": s.URL})
	b.until(10*time.Second, "the page", `document.querySelectorAll(".card").length === 16`)
	b.eval(`document.querySelectorAll(".card details").forEach(d => { d.open = true; })`)
	b.eval(`window.order = [...document.querySelectorAll("a, button, select, summary")].filter(e => e.checkVisibility()); order.length`)
	last := -1
	for range 200 {
		b.press("Tab", 9)
		var at int
		fmt.Sscan(b.eval(`order.indexOf(document.activeElement)`), &at)
		if at < 0 {
			break // it has left the page, or begins again
		}
		if at != last+1 {
			t.Fatalf("Tab goes from the %dth control to the %dth", last, at)
		}
		if b.eval(`(s => s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2)(getComputedStyle(document.activeElement))`) != "true" {
			t.Errorf("nothing shows that %s has the focus", b.eval("document.activeElement.outerHTML"))
		}
		last = at
	}
	if n := b.eval("order.length"); n != fmt.Sprint(last+1) {
		t.Errorf("Tab reaches %d of %s controls", last+1, n)
	}
	// The names that a screen reader says: of all controls, and none twice for different things.
	if bad := b.eval(`[...document.querySelectorAll("button, select, summary, meter, svg[role=img], article, table")].filter(e => e.checkVisibility() && !(e.getAttribute("aria-label") || e.innerText || (e.labels && e.labels.length))).map(e => e.outerHTML).join("; ")`); bad != "" {
		t.Errorf("without a name: %s", bad)
	}
	if twice := b.eval(`(() => { const seen = new Map(), out = []; for (const e of document.querySelectorAll("main button, main select, main summary")) { if (!e.checkVisibility()) continue; const n = e.getAttribute("aria-label") || e.innerText; if (seen.has(n)) out.push(n); seen.set(n, e); } return out.join("; "); })()`); twice != "" {
		t.Errorf("several controls are called the same: %s", twice)
	}
	// A question has the focus, and Escape is No.
	b.eval(`document.querySelector('.card button').focus()`)
	b.call("Input.dispatchKeyEvent", map[string]any{"type": "keyDown", "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"})
	b.call("Input.dispatchKeyEvent", map[string]any{"type": "keyUp", "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13})
	b.until(20*time.Second, "a question, with the focus", `document.getElementById("ask").open && document.getElementById("ask").contains(document.activeElement)`)
	b.press("Escape", 27)
	b.until(20*time.Second, "the focus again where it was", `!document.getElementById("ask").open && document.activeElement.innerText === "Pause"`)
}

// TestPageWithoutAnswer is a half that hangs from the start, has nothing, has no session, hangs, dies, and comes
// back: the page says so, and what it still shows is seen to be old.
func TestPageWithoutAnswer(t *testing.T) {
	b := openBrowser(t)
	b.quiet = true // lost connections are what this is about
	empty := &status.Status{
		Half: status.Client, Version: "v1", Started: time.Now(), Listen: []string{"127.0.0.1:1080"}, Events: []status.Event{}, Programs: []status.Program{},
		Reasons: []string{"no session with the server", "default: dead for 12 s: no answer"},
		Session: &status.Session{Mode: "auto", Paths: []status.Path{{Name: "default", State: status.Dead, Cause: "no answer", Remedy: "look at its modem", Since: time.Now().Add(-12 * time.Second)}}},
	}
	s := newStage(t, empty)
	s.set(func(*status.Status) { s.silent = true })
	b.resize(360, 740)
	b.call("Page.navigate", map[string]any{"url": s.URL})
	b.until(10*time.Second, "the page", `Boolean(document.getElementById("news"))`)
	b.until(3*time.Second, "that it is being asked, and nothing of what it does", `document.getElementById("ready").innerText.includes("is asked what it does") && !document.getElementById("main").checkVisibility()`)
	b.until(15*time.Second, "that there is no answer, and since when", `/no answer.*has not answered since \d+:\d+:\d+ \(\d+ s\)/s.test(document.getElementById("ready").innerText) && !document.getElementById("main").checkVisibility()`)
	s.set(func(*status.Status) { s.silent = false })
	b.until(10*time.Second, "it is not ready, and why", `document.getElementById("ready").innerText.includes("not ready") && document.getElementById("ready").innerText.includes("no session with the server; default: dead for")`)
	b.until(10*time.Second, "what helps", `document.querySelector(".card .help").checkVisibility() && document.querySelector(".card").innerText.includes("look at its modem")`)
	b.until(20*time.Second, "that there is no traffic", `document.querySelector("#programs .empty").checkVisibility() && document.querySelector("#events").innerText.includes("Nothing happened")`)
	if title := b.eval("document.title"); !strings.HasPrefix(title, "(!)") {
		t.Errorf("the tab is called %q", title)
	}
	b.shot("unreachable-360")
	s.set(func(m *status.Status) {
		m.Events = []status.Event{{Time: time.Now(), Level: "warn", Text: "path default died: no answer"}}
	})
	b.until(20*time.Second, "who listens is told what is new", `document.getElementById("news").textContent === "path default died: no answer"`)

	s.set(func(*status.Status) { s.silent = true })
	b.until(15*time.Second, "a half that hangs", `document.getElementById("ready").innerText.includes("connection lost")`)
	s.set(func(*status.Status) { s.silent = false })
	b.until(20*time.Second, "it goes on", `!document.body.classList.contains("lost") && document.getElementById("ready").innerText.includes("not ready")`)
	address := s.Listener.Addr().String()
	s.Listener.Close() // nobody new gets in
	s.CloseClientConnections()
	b.until(15*time.Second, "a half that has died", `document.getElementById("ready").innerText.includes("connection lost") && document.getElementById("ready").innerText.includes("what is shown is of") && Number(getComputedStyle(document.querySelector("main")).opacity) < 1`)
	b.shot("lost-360")
	if bad := b.eval(contrast); bad != "" {
		t.Errorf("what is old is hard to read: %s", bad)
	}
	again := &http.Server{Addr: address, Handler: s.Config.Handler}
	go again.ListenAndServe() // ends with Close
	defer again.Close()
	b.until(20*time.Second, "it is back", `!document.body.classList.contains("lost") && document.getElementById("ready").innerText.includes("not ready")`)
}
