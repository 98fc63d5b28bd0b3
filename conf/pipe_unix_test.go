//go:build unix

package conf

import "syscall"

func makePipe(path string) error { return syscall.Mkfifo(path, 0o600) }
