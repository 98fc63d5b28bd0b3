package interop

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"
)

// A browser is a headless Chromium with one page, spoken to by the DevTools protocol.
type browser struct {
	t     *testing.T
	conn  *websocket.Conn
	last  int
	quiet bool // what the page complains of is expected
}

// openBrowser starts Chromium; the test's end ends it.
func openBrowser(t *testing.T) *browser {
	t.Helper()
	chromium := need(t, "chromium")
	home, err := os.MkdirTemp("", "mpsocks-chromium-")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-dev-shm-usage",
		"--remote-debugging-port=0", "--remote-allow-origins=*", "--user-data-dir="+home, "about:blank")
	cmd.Env = append(os.Environ(), "HOME="+home)
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		// Its children write until they are gone, which nobody tells.
		for range 50 {
			if os.RemoveAll(home) == nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
	address := make(chan string, 1)
	go func() { // ends with the program
		lines := bufio.NewScanner(said)
		for lines.Scan() {
			if _, rest, ok := strings.Cut(lines.Text(), "DevTools listening on ws://"); ok {
				host, _, _ := strings.Cut(rest, "/")
				address <- host
			}
		}
	}()
	select {
	case host := <-address:
		return (&browser{t: t}).attach(host)
	case <-time.After(60 * time.Second):
		t.Fatal("chromium does not say where its DevTools are")
	}
	return nil
}

// attach connects to a new page.
func (b *browser) attach(host string) *browser {
	req, _ := http.NewRequest(http.MethodPut, "http://"+host+"/json/new?about:blank", nil)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	var page struct {
		URL string `json:"webSocketDebuggerUrl"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&page); err != nil {
		b.t.Fatal(err)
	}
	if b.conn, err = websocket.Dial(page.URL, "", "http://localhost"); err != nil {
		b.t.Fatal(err)
	}
	b.conn.MaxPayloadBytes = 64 << 20
	b.t.Cleanup(func() { b.conn.Close() })
	b.call("Log.enable", nil)
	b.call("Runtime.enable", nil)
	return b
}

// call does one method and returns its result.
func (b *browser) call(method string, params any) json.RawMessage {
	b.t.Helper()
	b.last++
	msg := map[string]any{"id": b.last, "method": method}
	if params != nil {
		msg["params"] = params
	}
	if err := websocket.JSON.Send(b.conn, msg); err != nil {
		b.t.Fatal(err)
	}
	b.conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	for {
		var answer struct {
			ID     int             `json:"id"`
			Method string          `json:"method"`
			Params json.RawMessage `json:"params"`
			Result json.RawMessage `json:"result"`
			Error  *struct{ Message string }
		}
		if err := websocket.JSON.Receive(b.conn, &answer); err != nil {
			b.t.Fatalf("%s: %v", method, err)
		}
		if !b.quiet && answer.Method == "Log.entryAdded" && strings.Contains(string(answer.Params), `"level":"error"`) && !strings.Contains(string(answer.Params), "401") {
			b.t.Errorf("the page complains: %s", answer.Params)
		}
		if answer.Method == "Runtime.exceptionThrown" {
			b.t.Errorf("the page's script fails: %.600s", answer.Params)
		}
		if answer.ID != b.last {
			continue
		}
		if answer.Error != nil {
			b.t.Fatalf("%s: %s", method, answer.Error.Message)
		}
		return answer.Result
	}
}

// eval returns what an expression of JavaScript is, as text.
func (b *browser) eval(script string) string {
	b.t.Helper()
	var out struct {
		Result struct {
			Value any `json:"value"`
		} `json:"result"`
		Exception *struct {
			Text string `json:"text"`
			What struct {
				Description string `json:"description"`
			} `json:"exception"`
		} `json:"exceptionDetails"`
	}
	if err := json.Unmarshal(b.call("Runtime.evaluate", map[string]any{"expression": script, "awaitPromise": true}), &out); err != nil {
		b.t.Fatal(err)
	}
	if out.Exception != nil {
		b.t.Fatalf("%s: %s: %s", script, out.Exception.Text, out.Exception.What.Description)
	}
	return fmt.Sprint(out.Result.Value)
}

// until waits for an expression to be true.
func (b *browser) until(limit time.Duration, what, script string) {
	b.t.Helper()
	for end := time.Now().Add(limit); b.eval(script) != "true"; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			b.shot("failed")
			b.t.Fatalf("not within %v: %s\n%s", limit, what, b.eval("document.body ? document.body.innerText : location.href"))
		}
	}
}

// resize is a screen of so many pixels; a narrow one is a phone's.
func (b *browser) resize(width, height int) {
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500})
}

// shot keeps what the whole page looks like.
func (b *browser) shot(name string) {
	var out struct{ Data []byte }
	var raw struct {
		Data string `json:"data"`
	}
	if err := json.Unmarshal(b.call("Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": true}), &raw); err != nil {
		b.t.Fatal(err)
	}
	var err error
	if out.Data, err = base64.StdEncoding.DecodeString(raw.Data); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(shotsIn(b.t), name+".png"), out.Data, 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// shotsIn is where pictures and screens are kept: PAGE_SHOTS, or the test's artifacts.
func shotsIn(t *testing.T) string {
	if dir := os.Getenv("PAGE_SHOTS"); dir != "" {
		return dir
	}
	return t.ArtifactDir()
}
