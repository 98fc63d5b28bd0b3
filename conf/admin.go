package conf

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// unixPrefix begins the address of a Unix socket.
const unixPrefix = "unix:"

// Admin is one address at which a half tells of itself: a TCP address or a Unix
// socket. The zero value is none.
type Admin struct {
	Addr netip.AddrPort // the zero value for a socket
	Path string         // of the socket
}

// maxSocketPath is the longest path of a Unix socket (sockaddr_un of Linux; 104
// elsewhere).
const maxSocketPath = 103

// UnmarshalText reads HOST:PORT or unix:/PATH.
func (a *Admin) UnmarshalText(text []byte) error {
	in := string(text)
	if path, ok := strings.CutPrefix(in, unixPrefix); ok {
		switch {
		case !filepath.IsAbs(path):
			return fmt.Errorf("%q needs an absolute path, such as unix:/run/mpsocks/admin.sock", shorten(in))
		case len(path) > maxSocketPath:
			return fmt.Errorf("the path has %d bytes, more than the %d of a Unix socket", len(path), maxSocketPath)
		}
		*a = Admin{Path: filepath.Clean(path)}
		return nil
	}
	ap, ok := parseAddrPort(in)
	if !ok {
		return fmt.Errorf("%q is neither address:port, such as 127.0.0.1:9081, nor unix:/PATH", shorten(in))
	}
	*a = Admin{Addr: ap}
	return nil
}

// String is the form of the file.
func (a Admin) String() string {
	switch {
	case a.Path != "":
		return unixPrefix + a.Path
	case a.Addr.IsValid():
		return a.Addr.String()
	}
	return ""
}

// DefaultStateDir is where a half keeps what must survive a restart if its file
// does not say: what the service manager gave it, or a directory of the user's.
func DefaultStateDir() (string, error) {
	// systemd.exec(5): StateDirectory=; the first of several.
	if dir, _, _ := strings.Cut(os.Getenv("STATE_DIRECTORY"), ":"); filepath.IsAbs(dir) {
		return dir, nil
	}
	if runtime.GOOS == "linux" {
		if os.Geteuid() == 0 {
			return "/var/lib/mpsocks", nil
		}
		if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
			return filepath.Join(dir, "mpsocks"), nil
		}
		if home, err := os.UserHomeDir(); err == nil && filepath.IsAbs(home) {
			return filepath.Join(home, ".local", "state", "mpsocks"), nil
		}
		return "", errors.New("there is no home directory: set state_dir")
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("%w: set state_dir", err)
	}
	return filepath.Join(dir, "mpsocks"), nil
}
