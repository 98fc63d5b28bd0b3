package conf

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// ReadKeyFile reads a private key from a file that nobody reads but those whom
// [openToOthers] admits.
func ReadKeyFile(path string) (PrivateKey, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if why := openToOthers(path, info); why != "" {
		return nil, fmt.Errorf("the key in %s: %s", path, why)
	}
	data, err := io.ReadAll(io.LimitReader(f, 1024)) // a key has 44 bytes
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	key, err := ParsePrivate(string(data))
	if err != nil {
		return nil, fmt.Errorf("the key in %s %w", path, err)
	}
	return key, nil
}

// WriteSecret writes a file of mode 0600, whatever the umask says. An existing
// file is an fs.ErrExist unless replace is set; then it is replaced whole, so
// that a reader never meets half of it and old, wider modes do not stay.
func WriteSecret(path string, data []byte, replace bool) (err error) {
	if !replace {
		// Never over something that is there, not even in a race.
		return writeNew(path, data)
	}
	temporary := path + ".new"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := writeNew(temporary, data); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}

// writeNew creates the file, or fails if it is there.
func writeNew(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		os.Remove(path) // half a secret helps nobody
	}
	return err
}
