package durable

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// recordEvery is how often a Record is written, if it says something new: so much a crash
// forgets.
const recordEvery = 15 * time.Second

// A Record is a JSON file in which a half keeps over restarts what it counts. It is for one
// goroutine at a time.
type Record struct {
	Path  string // "" = nothing is kept
	Limit int64  // on its length, bytes

	last   string // as it was written
	next   time.Time
	failed bool // the last Keep has
}

// Load reads the file into a value, which stays as it is where there is none. Its error names
// the file; the value may be a part of it then.
func (r *Record) Load(into any) error {
	if r.Path == "" {
		return nil
	}
	body, err := Read(r.Path, r.Limit)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("%s: %w", r.Path, err)
	}
	return nil
}

// Due says that it is time to keep it, and when it is time again; now has it be time.
func (r *Record) Due(now bool) bool {
	at := time.Now()
	if r.Path == "" || !now && at.Before(r.next) {
		return false
	}
	r.next = at.Add(recordEvery)
	return true
}

// Keep writes a value, if it is another one than was written last. Of failures that follow each
// other it returns the first alone, which is to be said.
func (r *Record) Keep(value any) error {
	body, err := json.MarshalIndent(value, "", "  ")
	if r.Path == "" || err == nil && string(body) == r.last {
		return err
	}
	if err == nil {
		err = Replace(r.Path, append(body, '\n'), 0o600)
	}
	if err == nil {
		r.last, r.failed = string(body), false
		return nil
	}
	if r.failed {
		return nil
	}
	r.failed = true
	return err
}
