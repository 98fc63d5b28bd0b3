package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// A terminal is a screen of tmux with a shell.
type terminal struct {
	t            *testing.T
	tmux, socket string
}

// openTerminal starts one of so many columns and lines, which the test's end ends; env are
// further variables.
func openTerminal(t *testing.T, tmux string, columns, lines int, env ...string) *terminal {
	t.Helper()
	x := &terminal{t, tmux, fmt.Sprintf("mpsocks-test-%d", time.Now().UnixNano())}
	t.Cleanup(func() { exec.Command(tmux, "-L", x.socket, "kill-server").Run() })
	x.run(append(append([]string{"new-session", "-d", "-x", fmt.Sprint(columns), "-y", fmt.Sprint(lines), "env", "LANG=C.UTF-8"}, env...), "sh")...)
	return x
}

// run gives tmux a command.
func (x *terminal) run(args ...string) string {
	x.t.Helper()
	out, err := exec.Command(x.tmux, append([]string{"-L", x.socket, "-f", "/dev/null"}, args...)...).CombinedOutput()
	if err != nil {
		x.t.Fatalf("tmux %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// screen is what can be read there.
func (x *terminal) screen() string { return x.run("capture-pane", "-p", "-t", "0") }

// until waits until all the words are on the screen.
func (x *terminal) until(limit time.Duration, what string, words ...string) string {
	x.t.Helper()
	for end := time.Now().Add(limit); ; time.Sleep(100 * time.Millisecond) {
		s, all := x.screen(), true
		for _, w := range words {
			all = all && strings.Contains(s, w)
		}
		if all {
			return s
		}
		if time.Now().After(end) {
			x.t.Fatalf("not within %v: %s (%q)\n%s", limit, what, words, s)
		}
	}
}

// keep logs a screen, and keeps it beside the pictures of the pages.
func (x *terminal) keep(name, screen string) {
	x.t.Helper()
	x.t.Logf("%s:\n%s", name, screen)
	if err := os.WriteFile(filepath.Join(shotsIn(x.t), name+".txt"), []byte(screen), 0o600); err != nil {
		x.t.Fatal(err)
	}
}

// TestTerminal looks at what `mpsocks status` shows in a terminal of 80 by 24, plain and
// live, while a path dies.
func TestTerminal(t *testing.T) {
	tmux := need(t, "tmux")
	p, n := pagePair(t)
	download(t, p)
	x := openTerminal(t, tmux, 80, 24)
	run, until := x.run, x.until

	// Until the metered path counts as one that is not needed.
	run("send-keys", fmt.Sprintf("until %s status -c %s | grep -q resting; do sleep 0.2; done; clear; %s status -c %s", mpsocks, p.ClientFile, mpsocks, p.ClientFile), "Enter")
	s := until(30*time.Second, "the plain view", "PATHS", "EVENTS", "dsl", "lte", "metered, and not needed", "/10 GiB", "10 GiB left")
	t.Log("\n" + s)
	for line := range strings.Lines(s) {
		if utf8.RuneCountInString(strings.TrimRight(line, "\n")) > 80 {
			t.Errorf("wider than 80: %q", line)
		}
	}
	if !strings.Contains(s, "mpsocks client") {
		t.Error("the first line has left the screen")
	}

	run("send-keys", fmt.Sprintf("clear; %s status -w -c %s", mpsocks, p.ClientFile), "Enter")
	t.Log("\n" + until(30*time.Second, "the live view with its keys", "PATHS", "PROGRAMS", "EVENTS", "q quit", "curl"))
	n.silence("127.0.0.2")
	t.Log("\n" + until(20*time.Second, "the death as it happens", "no answer", "path wifi died"))
	n.silence("")
	until(60*time.Second, "the return", "path wifi is back after")
	run("send-keys", "e")
	until(5*time.Second, "the events alone", "client started")
	run("send-keys", "a")
	run("send-keys", "2")
	until(5*time.Second, "a question before a path is paused", "Pause path wifi? y / n")
	run("send-keys", "y")
	until(30*time.Second, "the path is paused", "paused: by hand")
	run("send-keys", "2")
	until(5*time.Second, "the way back", "Resume path wifi?")
	run("send-keys", "n")
	run("send-keys", "q")
	for end := time.Now().Add(10 * time.Second); strings.TrimSpace(run("display-message", "-p", "-t", "0", "#{pane_current_command}")) != "sh"; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("q does not end it")
		}
	}
	run("send-keys", "echo it is $((40+2))", "Enter")
	until(30*time.Second, "the shell again", "it is 42")

	plain, err := exec.Command(mpsocks, "status", "-w", "-c", p.ServerFile).Output()
	if err != nil || !strings.Contains(string(plain), "CLIENTS") || strings.Contains(string(plain), "\x1b") {
		t.Errorf("without a terminal -w prints once, plainly: %v\n%s", err, plain)
	}
}
