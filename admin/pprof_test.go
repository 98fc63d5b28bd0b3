package admin

import (
	"compress/gzip"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// contend has two goroutines wait for each other's mutex until stop is closed.
func contend(stop <-chan struct{}) *sync.WaitGroup {
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				mu.Lock()
				time.Sleep(time.Millisecond)
				mu.Unlock()
			}
		})
	}
	return &wg
}

// A mutex that goroutines wait for is in both profiles when they are asked for
// a time, and nothing is watched before and after.
func TestContendedMutexIsProfiled(t *testing.T) {
	if runtime.SetMutexProfileFraction(-1) != 0 {
		t.Skip("this test run is itself profiled")
	}
	server := start(t, func(c *Config) { c.Pprof = true })
	stop := make(chan struct{})
	defer contend(stop).Wait()
	defer close(stop)

	var wg sync.WaitGroup
	for _, name := range []string{"mutex", "block"} {
		wg.Go(func() {
			resp, err := server.ask("GET", "/debug/pprof/"+name+"?seconds=1", "", server.bearer())
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			z, err := gzip.NewReader(resp.Body)
			if err != nil {
				t.Errorf("%s: %s: %v", name, resp.Status, err)
				return
			}
			// The names of functions stand in the profile as they are.
			profile, err := io.ReadAll(z)
			if err != nil || !strings.Contains(string(profile), "admin.contend.") {
				t.Errorf("%s: the function that waits is not there (%v)", name, err)
			}
		})
	}
	wg.Wait()
	if n := runtime.SetMutexProfileFraction(-1); n != 0 {
		t.Errorf("mutexes are watched afterwards, one in %d", n)
	}
}

// Two who ask at once: the first to end does not switch off what the other
// still wants.
func TestWatchedWhileAnybodyAsks(t *testing.T) {
	var on bool
	p := watched{name: "mutex", set: func(o bool) { on = o }}
	for _, step := range []struct {
		add  int
		want bool
	}{{1, true}, {1, true}, {-1, true}, {-1, false}} {
		if p.add(step.add); on != step.want {
			t.Errorf("%+d request: watched is %v", step.add, on)
		}
	}
}

// Without a time the profile would be empty: that is an error, not an answer.
func TestWatchedNeedsATime(t *testing.T) {
	server := start(t, func(c *Config) { c.Pprof = true })
	for _, name := range []string{"mutex", "block"} {
		code, body := server.get("/debug/pprof/"+name+"?debug=1", server.bearer())
		if code != http.StatusBadRequest || !strings.Contains(body, name+"?seconds=N") {
			t.Errorf("%s: %d %s", name, code, body)
		}
	}
}
