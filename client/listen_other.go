//go:build !linux

package client

import "syscall"

// inheritKeepAlive is nil: keep-alives are set on every accepted connection.
var inheritKeepAlive func(syscall.RawConn) error
