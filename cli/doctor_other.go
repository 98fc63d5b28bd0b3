//go:build !linux

package cli

import (
	"net"
	"syscall"
)

// What only Linux tells is not checked elsewhere.

func clockSynced() (synced, known bool) { return false, false }

func maxSegment(net.Conn) int { return 0 }

func bindControl(string, uint32) func(network, address string, c syscall.RawConn) error { return nil }
