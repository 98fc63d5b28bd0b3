package interop

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
)

const monitoring = "../../packaging"

// TestAlertRules has Prometheus' own tool check the rules and run their tests.
func TestAlertRules(t *testing.T) {
	t.Parallel()
	promtool := need(t, "promtool")
	for _, args := range [][]string{{"check", "rules", "alerts.yaml"}, {"test", "rules", "alerts_test.yaml"}} {
		cmd := exec.Command(promtool, args...)
		cmd.Dir = filepath.Join(monitoring, "prometheus")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}

// TestDashboard (docs/recipes/prometheus.md) runs every query of the dashboard against a Prometheus that scrapes
// both halves, and loads the alert rules. A query may be empty only where nothing of
// the kind is there.
func TestDashboard(t *testing.T) {
	t.Parallel()
	prometheus := need(t, "prometheus")
	p, _ := pagePair(t)
	download(t, p)
	rules, err := filepath.Abs(filepath.Join(monitoring, "prometheus", "alerts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := fmt.Sprintf("global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [%q]\nscrape_configs:\n"+
		"  - {job_name: mpsocks-client, static_configs: [{targets: [%q]}]}\n  - {job_name: mpsocks-server, static_configs: [{targets: [%q]}]}\n",
		rules, p.ClientAdmin, p.ServerAdmin)
	if err := os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	free, err := halves.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(prometheus, "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+dir, "--web.listen-address="+free[0].String())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	query := func(q string) (results int, err error) {
		resp, err := client.Get("http://" + free[0].String() + "/api/v1/query?query=" + url.QueryEscape(q))
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		var answer struct {
			Status, Error string
			Data          struct{ Result []json.RawMessage }
		}
		if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
			return 0, err
		}
		if answer.Status != "success" {
			return 0, fmt.Errorf("%s: %s", q, answer.Error)
		}
		return len(answer.Data.Result), nil
	}
	for end := time.Now().Add(40 * time.Second); ; time.Sleep(500 * time.Millisecond) {
		if n, _ := query("count_over_time(mpsocks_ready[1m]) > 5"); n == 2 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("prometheus does not scrape both halves")
		}
	}
	for half, admin := range map[string]string{"client": p.ClientAdmin, "server": p.ServerAdmin} {
		resp, err := client.Get("http://" + admin + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		check := exec.Command(need(t, "promtool"), "check", "metrics")
		check.Stdin = resp.Body
		out, err := check.CombinedOutput()
		resp.Body.Close()
		if err != nil || len(out) > 0 {
			t.Errorf("promtool check metrics of the %s under load: %v\n%s", half, err, out)
		}
	}
	raw, err := os.ReadFile(filepath.Join(monitoring, "grafana", "mpsocks.json"))
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(raw, &board); err != nil {
		t.Fatal(err)
	}
	queries := 0
	for _, panel := range board.Panels {
		for _, target := range panel.Targets {
			queries++
			n, err := query(strings.ReplaceAll(target.Expr, "$__rate_interval", "30s"))
			if err != nil || n == 0 {
				t.Errorf("%s: %s: %d series (%v)", panel.Title, target.Expr, n, err)
			}
		}
	}
	if queries < 15 {
		t.Errorf("%d queries only", queries)
	}
	before, err := query(`{__name__=~"mpsocks_.*"}`)
	if err != nil || before == 0 {
		t.Error(before, err)
	}
	t.Logf("%d queries, %d series of both halves", queries, before)
	if n, err := query(`ALERTS{alertname="MpsocksDown"}`); n != 0 || err != nil {
		t.Errorf("an alert without a reason: %d (%v)", n, err)
	}
}

// TestScrapeConfig has promtool check the configurations of docs/recipes/prometheus.md, with both
// halves in it, and has Prometheus scrape a half at another address than a loopback one with
// the token.
func TestScrapeConfig(t *testing.T) {
	t.Parallel()
	p := cookbook(t, "prometheus.md")
	promtool, prometheus := need(t, "promtool"), need(t, "prometheus")
	config := p.block("prometheus.yml")
	for _, target := range []string{"127.0.0.1:9081", "127.0.0.1:9082"} { // as init writes them
		if !strings.Contains(config, target) {
			t.Errorf("the recipe does not scrape %s", target)
		}
	}
	rules, err := filepath.Abs(filepath.Join(monitoring, "prometheus", "alerts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	output(t, 20*time.Second, promtool, "check", "config", file(t, "prometheus.yml", config+p.block("rules.yml", "/etc/prometheus/mpsocks-alerts.yaml", rules)))

	address := ""
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			address = n.IP.String()
		}
	}
	if address == "" {
		t.Skip("this machine has no address but loopback ones")
	}
	free, err := halves.FreePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	at := fmt.Sprintf("%s:%d", address, free[0].Port())
	q, err := halves.Start(mpsocks, halves.Config{Dir: t.TempDir(), Paths: halves.TwoPaths(), Allow: loopback, Admin: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(q.Kill)
	text, err := os.ReadFile(q.ServerFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(q.ServerFile, []byte(strings.Replace(string(text), "admin: ", "admin: [\""+at+"\"] # ", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	// It is told so at its old address.
	output(t, 20*time.Second, mpsocks, "reload", "-c", q.ServerFile)
	token, err := q.Token()
	if err != nil {
		t.Fatal(err)
	}
	far := p.block("far.yml", "192.0.2.1:9082", at, "/etc/prometheus/mpsocks.token", file(t, "mpsocks.token", token+"\n"))
	path := file(t, "far.yml", "global: {scrape_interval: 1s}\n"+far)
	output(t, 20*time.Second, promtool, "check", "config", path)
	cmd := exec.Command(prometheus, "--config.file="+path, "--storage.tsdb.path="+t.TempDir(), "--web.listen-address="+free[1].String())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(300 * time.Millisecond) {
		resp, err := client.Get("http://" + free[1].String() + "/api/v1/query?query=" + url.QueryEscape(`mpsocks_ready{half="server"}`))
		if err == nil {
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if strings.Contains(string(body), `"1"`) {
				break
			}
		}
		if time.Now().After(end) {
			t.Fatal("prometheus does not scrape the half with its token")
		}
	}
}
