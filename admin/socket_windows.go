package admin

import (
	"context"
	"net"
	"os"
	"path/filepath"
)

// listenOwn binds a Unix socket in a directory of the user's.
func listenOwn(lc *net.ListenConfig, path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	return lc.Listen(context.Background(), "unix", path)
}
