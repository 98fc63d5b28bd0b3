package durable

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// What a program keeps decides what it does after its next start: a token that somebody else
// has put there lets him in, and a count of his opens a cap. So a directory is used only if
// nobody but this process's user and root can put another file, or another directory, into
// the place of theirs; and a file only if nobody else wrote it or can.

// Home makes a directory to keep things in, of this user alone, if there is none. The error
// says who else could change what is in the one that there is, and what to do about it.
func Home(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	_, err := safe(dir, false)
	return err
}

// Trusted says why what Read finds in a directory does not count, if it does not.
func Trusted(dir string) error {
	_, err := safe(dir, true)
	return err
}

// Read reads a file of a directory as Home wants it, of at most limit bytes. Root reads also
// what a user keeps in a directory of his own. It follows no link and waits for nobody.
func Read(path string, limit int64) ([]byte, error) { return read(path, limit, 0o022) }

// ReadSecret is Read for what nobody else may have seen either.
func ReadSecret(path string, limit int64) ([]byte, error) { return read(path, limit, 0o077) }

// read reads a file on which others have none of those rights.
func read(path string, limit int64, others fs.FileMode) ([]byte, error) {
	if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file of its own, but a link, a pipe or a device: remove it", path)
	}
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	shared, err := safe(filepath.Dir(path), true)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = kept(path, info, others, shared)
	}
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(body)) > limit {
		err = fmt.Errorf("%s is longer than %d bytes", path, limit)
	}
	if err != nil {
		return nil, err
	}
	return body, nil
}
