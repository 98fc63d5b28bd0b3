//go:build !mpsocks_portable

package tcpio

import (
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// closeMost is how many descriptors of ended connections there may be, closePart which part of those that the
	// process may open at most, which is less than the reserves that both halves keep; and closeTime how long.
	closeMost, closePart = 32, 32
	closeTime            = 50 * time.Millisecond
)

// closing are the descriptors of connections that are over. A descriptor that was in Go's poller can be
// closed only by a call that wakes the scheduler's watcher: one for many costs nothing.
var closing = descriptors{most: sync.OnceValue(func() int {
	var r unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &r) != nil {
		return closeMost
	}
	return max(int(min(r.Cur/closePart, closeMost)), 1)
})}

type descriptors struct {
	most func() int

	mu    sync.Mutex // guards the rest
	open  int        // of files, and those that are just being closed
	files []*os.File
	due   bool // flush comes
}

// add has a descriptor closed soon, or closes it: there are no more open than most says, however many
// connections end at once.
func (d *descriptors) add(f *os.File) {
	d.mu.Lock()
	if d.open >= d.most() {
		d.mu.Unlock()
		f.Close()
		return
	}
	d.open++
	d.files = append(d.files, f)
	full := d.open >= d.most()
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
	d.mu.Lock()
	d.open -= len(all)
	d.mu.Unlock()
	return len(all)
}
