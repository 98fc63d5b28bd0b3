package interop

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// TestTerminal looks at what `mpsocks status` shows in a terminal of 80 by 24, plain and
// live, while a path dies.
func TestTerminal(t *testing.T) {
	tmux := need(t, "tmux")
	p, n := pagePair(t)
	download(t, p)
	socket := fmt.Sprintf("mpsocks-test-%d", time.Now().UnixNano())
	run := func(args ...string) string {
		t.Helper()
		out, err := exec.Command(tmux, append([]string{"-L", socket, "-f", "/dev/null"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("tmux %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	t.Cleanup(func() { exec.Command(tmux, "-L", socket, "kill-server").Run() })
	screen := func() string { return run("capture-pane", "-p", "-t", "0") }
	until := func(limit time.Duration, what string, words ...string) string {
		t.Helper()
		for end := time.Now().Add(limit); ; time.Sleep(100 * time.Millisecond) {
			s, all := screen(), true
			for _, w := range words {
				all = all && strings.Contains(s, w)
			}
			if all {
				return s
			}
			if time.Now().After(end) {
				t.Fatalf("not within %v: %s (%q)\n%s", limit, what, words, s)
			}
		}
	}

	run("new-session", "-d", "-x", "80", "-y", "24", "env", "LANG=C.UTF-8", "sh")
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
