//go:build unix

package admin

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
)

// listenOwn binds a Unix socket that only its owner and root may connect to. Linux gives
// the file the mode that the socket has when it is bound; elsewhere it has it a moment
// later. (A mask would be the whole process's, for all that is made meanwhile.) Where the
// system ignores a socket's mode, the directory has to be closed, and it is made so.
func listenOwn(lc *net.ListenConfig, path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	own := *lc
	own.Control = func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) { _ = syscall.Fchmod(int(fd), 0o600) }) // or Chmod below
	}
	l, err := own.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}
