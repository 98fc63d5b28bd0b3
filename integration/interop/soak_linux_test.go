package interop

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/integration/netlab"
)

// TestSoak is one minute of `make soak`, always the same one: all that goes wrong there
// happens at least once.
func TestSoak(t *testing.T) {
	if err := netlab.Available(); err != nil {
		t.Skip(err)
	}
	need(t, "ip")
	soak := filepath.Join(t.TempDir(), "soak")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	build := exec.CommandContext(ctx, "go", "build", "-o", soak, "../soak")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	logs := filepath.Join(t.TempDir(), "logs")
	cmd := exec.CommandContext(ctx, soak, "-mpsocks", mpsocks, "-for", "1m", "-seed", "11", "-logs", logs)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		said, _ := os.ReadFile(logs)
		t.Errorf("%v\n%s", err, said)
	}
}
