package mux

import (
	"errors"
	"fmt"
	"net"
	"strings"

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

// plainNet drops from an error what differs from one attempt to the next, the port
// that this side has: what happened again is said once.
func plainNet(err error) error {
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Source == nil {
		return err
	}
	plain := *op
	plain.Source = nil
	if err == error(op) {
		return &plain
	}
	return &rewritten{text: strings.ReplaceAll(err.Error(), op.Error(), plain.Error()), error: err}
}

// rewritten is an error with another text.
type rewritten struct {
	error
	text string
}

func (r *rewritten) Error() string { return r.text }
func (r *rewritten) Unwrap() error { return r.error }
