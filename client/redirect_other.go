//go:build !linux

package client

import "syscall"

// makeTransparent is not here: TPROXY is Linux's.
var makeTransparent func(raw syscall.RawConn, v6 bool, mark uint32) error
