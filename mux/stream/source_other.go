//go:build !linux

package stream

import "syscall"

// vectored says that readVector works here: elsewhere sockets are read through
// package net.
const vectored = false

func readVector(uintptr, [][]byte) (int, error) { return 0, syscall.ENOSYS }
