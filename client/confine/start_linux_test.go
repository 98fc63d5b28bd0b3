package confine

import (
	"os"
	"testing"
	"time"
)

// TestMain is also what Start runs: a process of the program's that ends before it has said
// anything.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == Command {
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// A process of the program's that ends before it has said anything, killed for want of memory
// for one, is an error, and not waited for.
func TestStartOfOneThatDies(t *testing.T) {
	done := make(chan error, 1)
	go func() {
		_, err := Start(Program{Path: "/bin/true", Args: []string{"true"}})
		done <- err
	}()
	select {
	case err := <-done:
		if err == nil {
			t.Error("it has begun")
		}
	case <-time.After(20 * time.Second):
		t.Error("it is waited for")
	}
}
