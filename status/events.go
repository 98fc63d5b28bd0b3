package status

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// eventTime is how long an event is kept, and eventMost how many are.
	eventTime = time.Hour
	eventMost = 256
)

// Event is something that happened, as the log says it.
type Event struct {
	Time  time.Time `json:"time"`
	Level string    `json:"level"`
	Text  string    `json:"text"`
	Path  string    `json:"path,omitempty"`
	Who   string    `json:"client,omitempty"`
}

// Events remembers the log's lines at info and above of the last hour. It is a
// writer of zerolog's JSON lines, so that what is shown is what is logged. Any
// goroutine may use it.
type Events struct {
	mu   sync.Mutex // guards ring
	ring []Event    // oldest first

	// Now is time.Now but in tests.
	Now func() time.Time
}

// Write takes one line of the log.
func (e *Events) Write(line []byte) (int, error) {
	var fields map[string]any
	if json.Unmarshal(line, &fields) != nil {
		return len(line), nil // no line of ours
	}
	level, _ := fields["level"].(string)
	switch level {
	case "info", "warn", "error", "fatal":
	default:
		return len(line), nil
	}
	event := Event{Time: e.now(), Level: level}
	event.Text, _ = fields["message"].(string)
	event.Path, _ = fields["path"].(string)
	event.Who, _ = fields["client"].(string)
	var keys []string
	for k := range fields {
		switch k {
		case "level", "message", "path", "client", "time":
		default:
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	var more []string
	for _, k := range keys {
		v := fields[k]
		name, millis := strings.CutSuffix(k, "_ms")
		switch {
		case k == "error" || k == "why" || k == "cause":
			more = append(more, Explain(fmt.Sprint(v)))
		case millis:
			more = append(more, fmt.Sprintf("%s %v ms", name, v))
		default:
			more = append(more, fmt.Sprintf("%s %v", k, v))
		}
	}
	if event.Path != "" && !strings.Contains(event.Text, event.Path) {
		event.Text = event.Path + ": " + event.Text
	}
	if len(more) > 0 {
		event.Text += " (" + strings.Join(more, ", ") + ")"
	}
	event.Text = Plain(event.Text)
	if len(event.Text) > 300 {
		event.Text = strings.ToValidUTF8(event.Text[:300], "") + "…"
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.ring) >= eventMost {
		e.ring = slices.Delete(e.ring, 0, len(e.ring)-eventMost+1)
	}
	e.ring = append(e.ring, event)
	return len(line), nil
}

func (e *Events) now() time.Time {
	if e.Now != nil {
		return e.Now()
	}
	return time.Now()
}

// List returns the events of the last hour, the newest first. A nil Events has
// none.
func (e *Events) List() []Event {
	out := []Event{}
	if e == nil {
		return out
	}
	old := e.now().Add(-eventTime)
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, v := range slices.Backward(e.ring) {
		if v.Time.Before(old) {
			break
		}
		out = append(out, v)
	}
	return out
}
