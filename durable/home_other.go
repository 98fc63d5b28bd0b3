//go:build !unix

package durable

import (
	"io/fs"
	"os"
)

// safe: the directory is the user's own, and its modes say nothing of others.
func safe(string, bool) (shared bool, err error) { return false, nil }

func kept(string, fs.FileInfo, fs.FileMode, bool) error { return nil }

func openFile(path string) (*os.File, error) { return os.Open(path) }
