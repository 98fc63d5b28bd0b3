package mux

import (
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

const (
	// recordEvery is how often what was recorded is written.
	recordEvery = 100 * time.Millisecond
	// recordMost is how much may wait to be written, bytes: a disk that is slower than
	// that ends the record.
	recordMost = 64 << 20
)

// A recording takes the record of a session's engine (engine.Replay) under the session's
// lock, and writes it to a file outside of it.
type recording struct {
	file *os.File
	log  zerolog.Logger

	mu      sync.Mutex // guards the rest; taken within the session's lock
	waiting []byte
	over    bool
}

// newRecording makes the file, for its owner only.
func newRecording(path string, log zerolog.Logger) (*recording, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	return &recording{file: f, log: log}, nil
}

// add takes one line.
func (r *recording) add(line []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return
	}
	if r.waiting = append(r.waiting, line...); len(r.waiting) > recordMost {
		r.over = true
	}
}

// run writes until done is closed, and then the rest; it closes the file.
func (r *recording) run(done <-chan struct{}) {
	tick := time.NewTicker(recordEvery)
	defer tick.Stop()
	var err error
	for running := true; running && err == nil; {
		select {
		case <-tick.C:
		case <-done:
			running = false
		}
		r.mu.Lock()
		b, over := r.waiting, r.over
		r.waiting, r.over = nil, over || !running
		r.mu.Unlock()
		if _, err = r.file.Write(b); err == nil && over {
			err = fmt.Errorf("more than %d bytes wait to be written", recordMost)
		}
	}
	r.mu.Lock()
	r.over, r.waiting = true, nil
	r.mu.Unlock()
	if e := r.file.Close(); err == nil {
		err = e
	}
	if err != nil {
		r.log.Warn().Err(err).Msg("the record of the session ends here")
	}
}
