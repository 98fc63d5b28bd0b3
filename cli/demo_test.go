package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain makes the test binary answer as mpsocks itself when `demo` starts
// its two halves from it.
func TestMain(m *testing.M) {
	// What halves keep is kept apart from this machine's own, and goes with the tests.
	ours := ""
	if os.Getenv("STATE_DIRECTORY") == "" {
		var err error
		if ours, err = os.MkdirTemp("", "mpsocks-state"); err != nil {
			panic(err)
		}
		os.Setenv("STATE_DIRECTORY", ours)
	}
	if len(os.Args) > 1 && (os.Args[1] == "server" || os.Args[1] == "client") {
		os.Exit(Main("", os.Args[1:], os.Stdout, os.Stderr))
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if ours != "" {
			os.RemoveAll(ours)
		}
		os.Exit(code)
	}))
}

// lockedBuffer is a buffer that is read while others write.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestDemo is `make run` from an empty directory: both halves as processes, a
// passed self-check, and an end within two seconds of the signal.
func TestDemo(t *testing.T) {
	for range 5 {
		if demonstrate(t) {
			return
		}
	}
	t.Error("another program takes the ports each time")
}

// TestDemoWithoutHome is the same for a user who has no place for what halves keep.
func TestDemoWithoutHome(t *testing.T) {
	nowhere := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(nowhere, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("STATE_DIRECTORY", filepath.Join(nowhere, "state"))
	for range 5 {
		if demonstrate(t) {
			return
		}
	}
	t.Error("another program takes the ports each time")
}

// demonstrate returns false if another program has taken a port between the demo's look
// and its halves' own.
func demonstrate(t *testing.T) bool {
	t.Helper()
	var out, log lockedBuffer
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	code := make(chan int, 1)
	go func() { code <- execute(ctx, []string{"demo", "--dir", t.TempDir()}, &out, &log) }()

	deadline := time.After(20 * time.Second)
	for !strings.Contains(out.String(), "self-check passed") {
		select {
		case c := <-code:
			if strings.Contains(out.String()+log.String(), "address already in use") {
				return false
			}
			t.Fatalf("it ends with %d:\n%s%s", c, out.String(), log.String())
		case <-deadline:
			t.Fatalf("no passed self-check:\n%s%s", out.String(), log.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
	if !strings.Contains(out.String(), "over 2 subflows") {
		t.Errorf("not over two subflows: %s", out.String())
	}
	for _, half := range []string{"client", "server"} {
		if !strings.Contains(out.String(), "page of the "+half+": http://") {
			t.Errorf("it does not say where the page of the %s is: %s", half, out.String())
		}
	}
	stop()
	select {
	case c := <-code:
		if c != 0 { // also where its end takes longer than shutdownLimit
			t.Errorf("it ends with %d:\n%s", c, log.String())
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it does not end")
	}
	return true
}
