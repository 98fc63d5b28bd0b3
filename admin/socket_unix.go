//go:build unix

package admin

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// umaskMu keeps two sockets from restoring each other's mask.
var umaskMu sync.Mutex

// listenOwn binds a Unix socket that only its owner and root may connect to. The mask
// makes it so from the first moment; where the system ignores a socket's mode, the
// directory has to be closed, and it is made so.
func listenOwn(lc *net.ListenConfig, path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	umaskMu.Lock()
	old := syscall.Umask(0o177)
	l, err := lc.Listen(context.Background(), "unix", path)
	syscall.Umask(old)
	umaskMu.Unlock()
	return l, err
}
