package cli

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/mpsocks/mpsocks/mux"
)

// capturing is the capture of a half: from its start to a file of the command line, or
// while a person wants it, to a file in the state directory.
type capturing struct {
	*mux.Capture
	dir, half string

	mu   sync.Mutex // guards the rest
	file string     // of the capture that runs, or ran last
	on   bool
}

// openCapture begins a capture to a file, or with the empty name prepares for one.
func openCapture(path, half string) (*capturing, error) {
	c := &capturing{Capture: new(mux.Capture), half: half, file: path, on: path != ""}
	if path == "" {
		return c, nil
	}
	return c, c.Begin(path)
}

// turn begins a capture, or ends the one that runs.
func (c *capturing) turn(on bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if on && c.on && c.Failed() { // that one can be no more than ended
		_ = c.Close()
		c.on = false
	}
	if on == c.on {
		return nil
	}
	if !on {
		c.on = false
		return c.Close()
	}
	if c.dir == "" {
		return errors.New("there is no state_dir to capture into")
	}
	name := fmt.Sprintf("capture-%s-%s.pcapng", c.half, time.Now().Format("20060102-150405"))
	if err := c.Begin(filepath.Join(c.dir, name)); err != nil {
		return err
	}
	c.file, c.on = filepath.Join(c.dir, name), true
	return nil
}

// state is the file of the capture that runs or ran last, and whether it runs.
func (c *capturing) state() (file string, on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.file, c.on && !c.Failed()
}
