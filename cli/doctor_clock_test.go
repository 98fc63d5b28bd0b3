package cli

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestDoctorNamesTheClock has a client whose date is two days off, or not, find a web server in
// the server's place, as it is behind a cover.
func TestDoctorNamesTheClock(t *testing.T) {
	for off, want := range map[time.Duration]string{
		48*time.Hour + time.Minute:  "this machine is 2 days behind",
		-49*time.Hour - time.Minute: "this machine is 2 days ahead",
		time.Hour:                   "",
	} {
		t.Run(off.String(), func(t *testing.T) {
			t.Parallel()
			web := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Date", time.Now().Add(off).UTC().Format(http.TimeFormat))
			}))
			defer web.Close()
			dir := t.TempDir()
			at := netip.MustParseAddrPort(web.Listener.Addr().String())
			if _, stderr, code := command(t, "init", "--server", at.String(), "--dir", dir); code != 0 {
				t.Fatal(stderr)
			}
			file := filepath.Join(dir, "client.yaml")
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			quiet := strings.NewReplacer("127.0.0.1:9081", "127.0.0.1:1", "127.0.0.1:1080", "127.0.0.1:0").Replace(string(text))
			if err := os.WriteFile(file, []byte(quiet), 0o600); err != nil {
				t.Fatal(err)
			}
			texts, code := diagnose(t, file)
			if said := texts["clock"]; code != 2 || want == "" && strings.Contains(said, "this machine is") || !strings.Contains(said, want) {
				t.Errorf("code %d: %v", code, texts)
			}
		})
	}
}
