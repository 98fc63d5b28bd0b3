package conf

import (
	"fmt"
	"io"
	"os"

	"github.com/mpsocks/mpsocks/durable"
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
	key, err := parsePrivate(string(data))
	if err != nil {
		return nil, fmt.Errorf("the key in %s %w", path, err)
	}
	return key, nil
}

// WriteSecret writes a file of mode 0600, whatever the umask says. An existing
// file is an fs.ErrExist unless replace is set; then it is replaced whole, so
// that a reader never meets half of it and old, wider modes do not stay.
func WriteSecret(path string, data []byte, replace bool) error {
	if replace {
		return durable.Replace(path, data, 0o600)
	}
	return durable.Create(path, data, 0o600)
}
