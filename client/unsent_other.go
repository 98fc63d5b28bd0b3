//go:build !linux

package client

import (
	"net"
	"time"
)

// awaitSent gives the far end a moment: the system does not tell how far it is.
func awaitSent(_ *net.TCPConn, limit time.Duration) { time.Sleep(min(limit, 100*time.Millisecond)) }
