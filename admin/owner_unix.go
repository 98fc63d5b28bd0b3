//go:build unix

package admin

import (
	"io/fs"
	"os"
	"syscall"
)

// trusted says whether a file of a state directory was put there by who may: the owner of
// the directory, this process's user, or root. Where others may write to the directory they
// could leave a token of their own there.
func trusted(dir string, file fs.FileInfo) bool {
	f, ok := file.Sys().(*syscall.Stat_t)
	if !ok || f.Uid == 0 || f.Uid == uint32(os.Geteuid()) {
		return true
	}
	info, err := os.Stat(dir)
	if err != nil {
		return false
	}
	d, ok := info.Sys().(*syscall.Stat_t)
	return ok && d.Uid == f.Uid
}
