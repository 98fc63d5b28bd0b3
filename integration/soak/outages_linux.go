package main

import (
	"sync"
	"time"
)

// A span is a time in which something was not there.
type span struct {
	kind     string
	from, to time.Time // to is zero while it lasts
}

// outages are the times in which losses and resets are nobody's fault.
type outages struct {
	mu    sync.Mutex // guards spans
	spans []*span
}

func (o *outages) begin(kind string) *span { return o.add(span{kind: kind, from: time.Now()}) }

func (o *outages) add(s span) *span {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.spans = append(o.spans, &s)
	return &s
}

func (o *outages) end(s *span) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s.to = time.Now()
}

// during says whether a span of a kind that match accepts lies between the two times,
// or reaches into it.
func (o *outages) during(from, to time.Time, match func(kind string) bool) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range o.spans {
		if match(s.kind) && !to.Before(s.from) && (s.to.IsZero() || !from.After(s.to)) {
			return true
		}
	}
	return false
}

// endsSession says whether the server forgets its sessions by it.
func endsSession(kind string) bool { return kind == restart || kind == leave }
