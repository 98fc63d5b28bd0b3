package wild

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	// A situation logs no more than so many lines in that time.
	saidMost = 4
	saidTime = 40 * time.Second
)

// opening are the words of what a half says of itself when it begins.
var opening = []string{"client started", "server started", "admin:", "limits.mappings and"}

// once is what is said once there, too: a session, of more of which a person reads.
const once = "session established"

// terse checks that a half did not say more than a person reads.
func terse(t *testing.T, name, log string) {
	t.Helper()
	var at []time.Time
	var lines []string
	seen := false
	for line := range strings.Lines(log) {
		var entry struct {
			Level, Message string
			Time           time.Time
		}
		begins := func(with string) bool { return strings.HasPrefix(entry.Message, with) }
		if json.Unmarshal([]byte(line), &entry) != nil || entry.Level == "debug" || slices.ContainsFunc(opening, begins) {
			continue
		}
		if !seen && begins(once) {
			seen = true
			continue
		}
		at, lines = append(at, entry.Time), append(lines, line)
	}
	for i := saidMost; i < len(at); i++ {
		if at[i].Sub(at[i-saidMost]) < saidTime {
			t.Errorf("%s says too much:\n%s", name, strings.Join(lines, ""))
			return
		}
	}
}
