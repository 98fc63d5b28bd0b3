package cli

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/mpsocks/mpsocks/admin"
	"github.com/mpsocks/mpsocks/status"
)

func TestCut(t *testing.T) {
	for _, tt := range []struct {
		in   string
		n    int
		want string
	}{
		{"phone", 5, "phone"},
		{"phone", 4, "pho…"},
		{"phone", 1, "…"},
		{"電話電話", 8, "電話電話"},
		{"電話電話", 7, "電話電…"},
		{"電話電話", 6, "電話…"},
		{"電話", 1, "…"},
		{"📱📱📱", 5, "📱📱…"},
		{"e\u0301e\u0301e\u0301", 2, "e\u0301…"},
		{"e\u0301e\u0301", 2, "e\u0301e\u0301"},
		{"a\x1b[31mb\u202ec\u200bd\n", 10, "a[31mbcd"},
		{"הטלפון", 4, "הטל…"},
	} {
		got := cut(tt.in, tt.n)
		if got != tt.want || cells(got) > tt.n {
			t.Errorf("%q in %d cells: %q of %d, want %q", tt.in, tt.n, got, cells(got), tt.want)
		}
		if padded := pad(tt.in, tt.n); cells(padded) != tt.n {
			t.Errorf("%q padded to %d cells has %d", tt.in, tt.n, cells(padded))
		}
	}
}

func TestFold(t *testing.T) {
	for _, tt := range []struct {
		in      string
		n, most int
		want    []string
	}{
		{"one two three", 20, 3, []string{"one two three"}},
		{"one two three", 9, 3, []string{"one two", "  three"}},
		{"one two three four", 9, 2, []string{"one two", "  three…"}},
		{"/etc/mpsocks/clients.d/phone.yaml: is not", 12, 4, []string{"/etc/mpsocks", "  /clients.d", "  /phone.yam", "  l: is not"}},
		{"電話 電話", 5, 3, []string{"電話", "  電", "  話"}},
		{"", 5, 3, nil},
	} {
		if got := fold(tt.in, tt.n, tt.most); strings.Join(got, "|") != strings.Join(tt.want, "|") {
			t.Errorf("%q in %d: %q, want %q", tt.in, tt.n, got, tt.want)
		}
	}
	for n := range 30 {
		for _, line := range fold("a long text with 電話 and averylongwordindeed, and more", n, 5) {
			if cells(line) > max(n, 3) {
				t.Errorf("%q has more than %d cells", line, n)
			}
		}
	}
}

func TestSpeaksUTF8(t *testing.T) {
	for _, tt := range []struct {
		env  map[string]string
		want bool
	}{
		{nil, true},
		{map[string]string{"LANG": "en_US.UTF-8"}, true},
		{map[string]string{"LANG": "C"}, false},
		{map[string]string{"LANG": "en_US.UTF-8", "LC_ALL": "C"}, false},
		{map[string]string{"LANG": "de_DE.ISO-8859-1", "LC_CTYPE": "C.utf8"}, true},
		{map[string]string{"LC_ALL": "", "LANG": "POSIX"}, false},
	} {
		if got := speaksUTF8(func(name string) string { return tt.env[name] }); got != tt.want {
			t.Errorf("%v: %v", tt.env, got)
		}
	}
}

// crowded is a half with more than fits, and names of every kind.
func crowded(half string) *status.Status {
	names := []string{strings.Repeat("longname", 25), "הטלפון של דנה", "📱👍 téléphone", "電話電話電話電話電話電話", "a"}
	s := &status.Status{
		Half: half, Version: "v1.2.3", Started: time.Now().Add(-time.Hour), Ready: true, LogLevel: "info", Listen: []string{"127.0.0.1:1080"},
		Warnings: []string{"/etc/mpsocks/clients.d/" + names[0] + ".yaml: public_key: is not base64; a key has 44 characters and ends in =: this client is left out", "two", "three", "four"},
		Events:   []status.Event{{Time: time.Now(), Level: "warn", Text: "path " + names[2] + " died: no answer", Who: names[3]}, {Time: time.Now(), Level: "info", Text: names[1]}},
	}
	sess := status.Session{ID: "390b9dd1", Up: true, Server: "[2001:db8:1234:5678:9abc:def0:1234:5678]:7443", Mode: "auto"}
	for i := range 8 {
		sess.Paths = append(sess.Paths, status.Path{
			Name: names[i%len(names)], State: status.Up, UpBPS: 123_456_789, DownBPS: 987_654_321, Share: .333, RTT: .0123, Jitter: .0012, Loss: .0001,
			Usage: &status.Usage{Today: 3 << 30, Month: 123 << 30, MonthlyCap: 124 << 30},
		})
	}
	for i := range 60 {
		s.Programs = append(s.Programs, status.Program{
			Name: names[i%len(names)], Proto: "udp", To: names[(i+1)%len(names)] + ".example.com:443", Class: "latency", Why: "little traffic: fastest path, copies; not " + names[1] + ": metered",
			Paths: []string{names[2], names[3]}, BPS: 1_000_000, RecvBPS: int64(i) * 1000, Copies: 1 << 20, Dropped: 7,
		})
	}
	if half == status.Client {
		s.Session = &sess
	} else {
		s.Sessions = []status.Session{sess}
		for i := range 40 {
			s.Clients = append(s.Clients, status.Peer{Name: fmt.Sprint(names[i%len(names)], i), Sessions: 1, SentBPS: int64(i), Sent: 123 << 30, Quota: 500 << 30, Used: 135 << 30, Error: "CONNECT to 198.51.100.1:443: " + names[0]})
		}
	}
	return s
}

// No line is wider and no view higher than the terminal, whatever is shown on however small
// a one; a client that moves most comes first.
func TestViewFits(t *testing.T) {
	for _, half := range []string{status.Client, status.Server} {
		full, empty := crowded(half), &status.Status{Half: half, Started: time.Now(), Reasons: []string{"no session"}}
		for _, size := range [][2]int{{80, 24}, {60, 20}, {40, 10}, {20, 5}, {200, 60}} {
			for what, s := range map[string]*status.Status{"crowded": full, "empty": empty} {
				lines := 0
				for _, part := range view(s, size[0], size[1]-1, time.Now(), nil) {
					if part.title != "" {
						lines++
					}
					lines += len(part.lines)
					for _, line := range part.lines {
						if n := cells(line); n > size[0] {
							t.Errorf("%s %s at %v: %d cells: %q", what, half, size, n, line)
						}
					}
				}
				if least := 3 + 2 + 2*mostWarnings; lines > max(size[1]-1, least) {
					t.Errorf("%s %s at %v: %d lines", what, half, size, lines)
				}
			}
		}
	}
	for _, part := range view(crowded(status.Server), 80, 24, time.Now(), nil) {
		if part.title == "CLIENTS" && !strings.Contains(part.lines[1], "a39") {
			t.Errorf("the first client is %q", part.lines[1])
		}
	}
}

// On a small terminal that a path is dead, and why, is to be seen whatever else there is.
func TestDeadPathIsSeen(t *testing.T) {
	for _, size := range [][2]int{{40, 12}, {60, 20}, {80, 24}, {200, 60}} {
		for _, warnings := range []int{0, 1, 4} {
			s := crowded(status.Client)
			s.Warnings = s.Warnings[:warnings]
			s.Session.Paths = s.Session.Paths[:3]
			s.Session.Paths[2] = status.Path{
				Name: "lte", State: status.Dead, Since: time.Now().Add(-12 * time.Second),
				Cause: "the server at 203.0.113.5:7443 does not answer", Remedy: "is its TCP port open in all firewalls? `mpsocks doctor` tries it",
			}
			lines := ""
			for _, part := range view(s, size[0], size[1]-1, time.Now(), nil) {
				lines += strings.Join(part.lines, " ") + " "
			}
			said := strings.Join(strings.Fields(lines), " ")
			if !strings.Contains(said, "lte") || !strings.Contains(said, "dead for 12 s: the server at 203.0.113.5:7443 does not answer") {
				t.Errorf("%v with %d warnings: %s", size, warnings, said)
			}
		}
	}
}

// Where there is no line for their figures the paths that work are named, and no head of a
// table stands alone.
func TestWorkingPathsAreNamed(t *testing.T) {
	s := crowded(status.Client)
	s.Warnings, s.Session.Paths = nil, s.Session.Paths[:3]
	for i, name := range []string{"dsl", "wifi", "lte"} {
		s.Session.Paths[i] = status.Path{Name: name, State: status.Up}
	}
	s.Session.Paths[2].State, s.Session.Paths[2].Cause = status.Dead, "203.0.113.5:7443 takes connections and does not answer"
	for _, size := range [][2]int{{40, 12}, {40, 24}} {
		for _, part := range view(s, size[0], size[1]-1, time.Now(), nil) {
			if part.title != "PATHS" {
				continue
			}
			said := strings.Join(part.lines, "\n")
			if !strings.Contains(said, "dsl") || !strings.Contains(said, "wifi") || strings.HasPrefix(part.lines[len(part.lines)-1], "path ") {
				t.Errorf("%v:\n%s", size, said)
			}
			if table := strings.Contains(said, "path "); table && !strings.Contains(said, "rtt") {
				t.Errorf("%v: no round trips:\n%s", size, said)
			}
		}
	}
}

// In a locale without UTF-8 all is ASCII, and as wide.
func TestViewInASCII(t *testing.T) {
	t.Setenv("LC_ALL", "C")
	var b strings.Builder
	if err := printStatus(&b, []*status.Status{crowded(status.Client), crowded(status.Server)}); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		for i := range len(line) {
			if line[i] >= utf8.RuneSelf {
				t.Fatalf("%q", line)
			}
		}
		if len(line) > viewWidth+1 {
			t.Errorf("%d characters: %q", len(line), line)
		}
	}
	if !strings.Contains(b.String(), "v 59 kbit/s") && !strings.Contains(b.String(), "^ 1.0 Mbit/s") {
		t.Errorf("no direction is shown:\n%s", b.String())
	}
	w, h := sizeQR("mpsocks://x@y:1")
	b.Reset()
	if err := writeQR(io.Writer(&b), "mpsocks://x@y:1"); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), "\n"); n != h || strings.Count(strings.SplitN(b.String(), "\n", 2)[0], "  ")*2 != w {
		t.Errorf("the code has %d lines, and %d x %d are asked for", n, w, h)
	}
}

// A live view bears every size and every key.
func TestWatchSmall(t *testing.T) {
	for _, half := range []string{status.Client, status.Server} {
		for height := range 30 {
			s := &screen{states: []*status.Status{crowded(half)}, errs: make([]error, 1), rates: []map[string][]int64{{}}, width: 60, height: height}
			for _, key := range []string{"p", "down", "down", "t", "j", "j", "e", "down", "a", "up"} {
				for range 50 {
					s.press(key)
				}
				lines := strings.Split(s.View().Content, "\n")
				if len(lines) > max(height, 1) {
					t.Fatalf("%s at %d lines after %s: %d lines", half, height, key, len(lines))
				}
			}
		}
	}
}

// A question is whole in a narrow terminal, whatever the path is called.
func TestQuestionOnASmallTerminal(t *testing.T) {
	st := &status.Status{Half: status.Client, Session: &status.Session{Paths: []status.Path{{Name: strings.Repeat("long", 20), Paused: true}}}}
	s := &screen{states: []*status.Status{st}, errs: make([]error, 1), rates: []map[string][]int64{{}}, width: 40, height: 15, clients: make([]*admin.Client, 1)}
	s.press("1")
	if foot := s.foot(); !strings.Contains(foot, "Resume path longlong") || !strings.Contains(foot, "? y / n") || cells(foot) > 40 {
		t.Errorf("%q", foot)
	}
}

// What went wrong is whole where a terminal is narrow; all else has a line.
func TestEventsOnASmallTerminal(t *testing.T) {
	s := &status.Status{Events: []status.Event{
		{Level: "warn", Text: "path lte died: no answer; dsl took over, flows moved in 17 ms"},
		{Level: "info", Text: "admin: the page, status, metrics and health"},
	}}
	lines := eventLines(s, 40, time.Now())
	if got := strings.Join(strings.Fields(strings.Join(lines, " ")), " "); !strings.Contains(got, s.Events[0].Text) {
		t.Errorf("%q", lines)
	}
	if len(lines) != 3 || cells(lines[1]) > 40 {
		t.Errorf("%d lines: %q", len(lines), lines)
	}
}
