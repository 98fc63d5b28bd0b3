//go:build !linux

package server

import (
	"context"
	"net/netip"
)

// A pingSocket sends echo requests; this system's are not used.
type pingSocket struct{}

func newPingSocket(netip.Addr) (*pingSocket, error) { return nil, errNoEcho }

func (*pingSocket) send(netip.Addr, uint16, uint8, uint8, []byte) error { return errNoEcho }

func (*pingSocket) serve(context.Context, *asker) {}

func (*pingSocket) close() {}
