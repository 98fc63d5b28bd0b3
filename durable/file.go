// Package durable writes files of which a crash, of the program or of the machine, leaves
// the old one or the new one, and never a part. It is a room at the top since
// configuration, tunnel, halves and command line all keep something: keys, lists of
// clients, what was used of a quota. Home and Read keep others' files out of that.
package durable

import (
	"io/fs"
	"os"
	"path/filepath"
)

// Replace puts a file in the place of the one that is there, if any, with that mode
// whatever the umask says. A reader meets the old one or the new one.
func Replace(path string, body []byte, mode fs.FileMode) error {
	// The dot has those who read a whole directory pass over it.
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*.new")
	if err != nil {
		return err
	}
	err = finish(f, body, mode)
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return err
	}
	settle(path)
	return nil
}

// Create writes a file that is not there; one that is there is an fs.ErrExist, also in a
// race.
func Create(path string, body []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	if err := finish(f, body, mode); err != nil {
		os.Remove(path) // half of it helps nobody
		return err
	}
	settle(path)
	return nil
}

// finish writes the whole of a new file to the disk and closes it.
func finish(f *os.File, body []byte, mode fs.FileMode) error {
	err := f.Chmod(mode)
	if err == nil {
		_, err = f.Write(body)
	}
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}

// settle has the name be on the disk, too, as best effort: not every system can.
func settle(path string) {
	if d, err := os.Open(filepath.Dir(path)); err == nil {
		_ = d.Sync()
		d.Close()
	}
}
