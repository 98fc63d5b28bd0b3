//go:build !linux

package client

import (
	"time"

	"github.com/mpsocks/mpsocks/mux/tcpio"
)

// awaitSent gives the far end a moment: the system does not tell how far it is.
func awaitSent(_ tcpio.Socket, limit time.Duration) { time.Sleep(min(limit, 100*time.Millisecond)) }
