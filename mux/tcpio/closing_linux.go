//go:build !mpsocks_portable

package tcpio

import (
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// closeMost is how many descriptors of ended connections there may be, about, less than the reserves that both halves
	// keep of theirs; and closeTime how long.
	closeMost = 32
	closeTime = 50 * time.Millisecond
)

// closing are the descriptors of connections that are over. A descriptor that was in Go's poller can be
// closed only by a call that wakes the scheduler's watcher: one for many costs nothing.
var closing descriptors

type descriptors struct {
	mu    sync.Mutex // guards the rest
	files []*os.File
	due   bool // flush comes
}

// add has a descriptor closed soon.
func (d *descriptors) add(f *os.File) {
	d.mu.Lock()
	d.files = append(d.files, f)
	full := len(d.files) >= closeMost
	if !d.due && !full {
		d.due = true
		time.AfterFunc(closeTime, func() {
			d.mu.Lock()
			d.due = false
			d.mu.Unlock()
			d.flush()
		})
	}
	d.mu.Unlock()
	if full {
		go d.flush() // it waits for whoever is within a call
	}
}

// helps closes all where a call has found no descriptor left, and says whether there were any.
func (d *descriptors) helps(e unix.Errno) bool {
	return (e == unix.EMFILE || e == unix.ENFILE) && d.flush() > 0
}

// flush closes all, and says how many.
func (d *descriptors) flush() int {
	d.mu.Lock()
	all := d.files
	d.files = nil
	d.mu.Unlock()
	for _, f := range all {
		f.Close()
	}
	return len(all)
}
