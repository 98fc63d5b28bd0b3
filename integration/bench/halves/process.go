package halves

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Build compiles mpsocks of the module that the working directory is in and
// returns the binary's file name inside dir.
func Build(ctx context.Context, dir string) (string, error) {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	bin := filepath.Join(dir, "mpsocks")
	build := exec.CommandContext(ctx, "go", "build", "-o", bin, ".")
	build.Dir = strings.TrimSpace(string(root))
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build mpsocks: %w\n%s", err, out)
	}
	return bin, nil
}

// A Process is one running half, or any other program whose output matters.
type Process struct {
	cmd  *exec.Cmd
	name string
	out  output
	done chan struct{} // closed after the process has ended
	err  error         // how it ended; valid after done
}

// output collects what a process says; it is written by exec's own goroutine.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	// A program gone mad must not take the machine's memory: the first
	// mebibyte says what went wrong.
	if o.b.Len() < 1<<20 {
		o.b.Write(p)
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// environment is this process's own, without what mpsocks would take for
// configuration.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "MPSOCKS_") })
}

// Run starts a program; Stop or Kill ends it. Its goroutine ends with it.
func Run(bin string, args ...string) (*Process, error) {
	p := &Process{cmd: exec.Command(bin, args...), name: filepath.Base(bin), done: make(chan struct{})}
	if len(args) > 0 {
		p.name += " " + args[0]
	}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	p.cmd.Env = environment()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// PID is the process's number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Output is everything it said so far, standard output and error together.
func (p *Process) Output() string { return p.out.String() }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the end, at most for the given time.
func (p *Process) Wait(limit time.Duration) error {
	select {
	case <-p.done:
		return p.err
	case <-time.After(limit):
		return fmt.Errorf("%s still runs after %v: %w", p.name, limit, context.DeadlineExceeded)
	}
}

// Stop asks the process to end (SIGTERM) and returns how long that took. One
// that does not within ten seconds is killed, which is an error.
func (p *Process) Stop() (time.Duration, error) {
	start := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return 0, err
	}
	err := p.Wait(10 * time.Second)
	if errors.Is(err, context.DeadlineExceeded) {
		p.Kill()
	}
	return time.Since(start), err
}

// Kill ends the process at once and waits for it.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended by itself
	<-p.done
}
