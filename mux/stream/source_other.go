//go:build !linux

package stream

import (
	"syscall"

	"github.com/mpsocks/mpsocks/mux/buf"
)

// vectored says that a tap works here: elsewhere sockets are read through package net.
const vectored = false

// A tap is nothing here.
type tap struct{}

func (*tap) read(uintptr, []*buf.Buffer) (int, error) { return 0, syscall.ENOSYS }
