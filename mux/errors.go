package mux

import (
	"errors"
	"fmt"

	"github.com/mpsocks/mpsocks/mux/handshake"
	"github.com/mpsocks/mpsocks/mux/stream"
)

// Errors that end a session or a subflow.
var (
	// ErrClosed is the end of a session by its own side.
	ErrClosed = errors.New("session closed")
	// ErrPeerClosed is the end of a session by MP_FASTCLOSE from the peer.
	ErrPeerClosed = errors.New("session closed by the peer")
	// ErrTimeout is the end of a session that had no subflow for too long.
	ErrTimeout = errors.New("no subflow came back in time")
	// ErrRenewed is what streams see when the server had forgotten the session.
	ErrRenewed = stream.ErrRenewed
)

// A protocolError is a violation by the peer. It ends the subflow it came on.
type protocolError = handshake.ProtocolError

// A ResetError is an MP_TCPRST from the peer: it refused or ended the subflow.
type ResetError = handshake.ResetError

func protocolErrorf(format string, a ...any) error {
	return protocolError(fmt.Sprintf(format, a...))
}
