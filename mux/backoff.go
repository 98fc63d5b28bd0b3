package mux

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"github.com/mpsocks/mpsocks/mux/dialer"
)

// How soon a slot tries again, and which of a path's slots do.

const (
	// backoffMin and backoffMax bound the pause between attempts where nobody
	// answers. A path that comes back is used within two seconds.
	backoffMin = 100 * time.Millisecond
	backoffMax = 800 * time.Millisecond
	// backoffRefused bounds it where the server answers and says no: only a
	// person changes that, and each attempt costs a TLS handshake.
	backoffRefused = 15 * time.Second
	// backoffStrange bounds it where somebody answers and does not prove to be the
	// server: a captive portal does so until its user has logged in.
	backoffStrange = 2 * time.Second
	// backoffBeside bounds it where other subflows of the path work: something on the way,
	// or the server, may let no more of them through, and nobody waits for this one.
	backoffBeside = 30 * time.Second
	// followAfter is how long one attempt of the slot that leads may hold up
	// the others.
	followAfter = 5 * time.Second
)

// A refusal is the error of an attempt that was turned away, by the server or by
// somebody else: then pauses grow up to most.
type refusal struct {
	error
	most time.Duration
}

func (r refusal) Unwrap() error { return r.error }

// judged marks an error as a refusal if it is one. proved says that the server had
// proved its key.
func judged(err error, proved bool) error {
	switch {
	case !refused(err, proved):
		return err
	case proved:
		return refusal{err, backoffRefused}
	}
	return refusal{err, backoffStrange} // nobody has proved to be the server: it may mean nothing
}

func refused(err error, proved bool) bool {
	netErr, ok := errors.AsType[net.Error](err)
	switch {
	case ok && netErr.Timeout(), errors.Is(err, context.Canceled), errors.Is(err, ErrClosed):
		return false
	case errors.Is(err, errForgotten):
		return false // the next attempt opens a new session
	case isSilence(err):
		return false // a server that hangs may answer any moment
	case proved:
		return true // in TLS 1.3 a reset may be all that is seen of a key's refusal
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return false // what stands before a server that restarts does that
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Op == "remote error" || op.Op == "local error" // alerts of crypto/tls
	}
	return true // another key, another protocol, no TLS
}

func isSilence(err error) bool {
	_, ok := errors.AsType[*dialer.SilentError](err)
	return ok
}

// nextPause returns the pause after an attempt that failed with err; works says that the path
// has subflows that work.
func nextPause(pause time.Duration, err error, works bool) time.Duration {
	if works {
		return min(2*pause, backoffBeside)
	}
	if no, ok := errors.AsType[refusal](err); ok {
		return min(2*pause, no.most)
	}
	return min(2*pause, backoffMax)
}

// followWait returns how long a slot that does not lead looks no further: 0 if it may
// dial.
func followWait(works bool, trying, now time.Time) time.Duration {
	switch {
	case works:
		return 0
	case trying.IsZero():
		return followAfter
	}
	return max(0, followAfter-now.Sub(trying))
}
