package mux

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/mux/amount"
	"github.com/mpsocks/mpsocks/mux/errno"
	"github.com/mpsocks/mpsocks/mux/handshake"
)

const (
	// refusalEvery is how long the same reason of the same address is not said again.
	refusalEvery = time.Minute
	// refusalsTime is in what time there are refusalsMost lines: the rest is counted, and
	// the next line says how many.
	refusalsTime = 40 * time.Second
	refusalsMost = 3
)

// Reasons of refusals, for people and for metrics.
const (
	refusedKey     = "unknown_key"
	refusedRevoked = "revoked"
	refusedCaps    = "limit"
	refusedSession = "unknown_session"
	refusedTLS     = "no_tls"
	refusedNoKey   = "no_key"
	refusedSilent  = "silent"
	refusedClock   = "clock"
	refusedLeft    = "left"
	refusedOther   = "other"
)

// refusalWords say what each means to the one who runs the server.
var refusalWords = map[string]string{
	refusedKey:     "its key is not among the configured clients: `mpsocks clients add`, or clients in the configuration",
	refusedRevoked: "its key was taken away",
	refusedCaps:    "there is no room for it",
	refusedSession: "its session is not known here; it begins a new one",
	refusedTLS:     "it does not speak TLS as mpsocks does: a scanner, or another program",
	refusedNoKey:   "it proves no key: a browser or a scanner, or a client whose server.public_key is not this server's",
	refusedSilent:  "it said nothing in time",
	refusedClock:   "its clock is off",
	refusedLeft:    "it went away before it had said who it is: a scanner, or something that looks whether the port answers",
	refusedOther:   "its handshake failed",
}

// refusals counts those who were turned away, and says of each kind who and why, a few
// lines a minute.
type refusals struct {
	mu     sync.Mutex // guards the rest
	counts map[string]uint64
	said   map[string]time.Time // when, by reason and address; those of the last minute
	lines  []time.Time          // of the last refusalsTime
	unsaid uint64
}

// note counts one, and says it if it is the first of its kind in a while.
func (r *refusals) note(log *zerolog.Logger, from net.Addr, err error, now time.Time) {
	why := refusalReason(err)
	who := ""
	if a, parsed := netip.ParseAddrPort(from.String()); parsed == nil {
		who = a.Addr().Unmap().String()
	}
	full, limited := errors.AsType[*limitError](err)
	stranger, unknown := errors.AsType[*handshake.UnknownKeyError](err)
	clock, off := errors.AsType[*clockError](err)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.counts == nil {
		r.counts, r.said = make(map[string]uint64), make(map[string]time.Time)
	}
	r.counts[why]++
	r.lines = slices.DeleteFunc(r.lines, func(at time.Time) bool { return now.Sub(at) >= refusalsTime })
	maps.DeleteFunc(r.said, func(_ string, at time.Time) bool { return now.Sub(at) >= refusalEvery })
	key := why + " " + who
	if limited {
		key += full.limit
	}
	if unknown {
		key += stranger.Key
	}
	if off {
		key += clock.client
	}
	if _, known := r.said[key]; known || len(r.lines) >= refusalsMost {
		r.unsaid++
		return
	}
	r.said[key], r.lines = now, append(r.lines, now)
	line := log.Info().Str("from", who).Str("reason", why)
	text := refusalWords[why]
	if limited {
		line = line.Str("client", full.client).Str("limit", full.limit)
		text = full.limit + " is reached"
	}
	if unknown {
		line = line.Str("key", stranger.Key)
	}
	if off {
		line = line.Str("client", clock.client)
		text = clock.Error()
	}
	if r.unsaid > 0 {
		line = line.Uint64("more", r.unsaid)
		r.unsaid = 0
	}
	line.Msg("a connection was refused: " + text)
}

// list returns the counts, with every reason.
func (r *refusals) list() map[string]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]uint64{}
	for why := range refusalWords {
		out[why] = 0
	}
	maps.Copy(out, r.counts)
	return out
}

// refusalReason finds the kind of an error.
func refusalReason(err error) string {
	_, unknown := errors.AsType[*handshake.UnknownKeyError](err)
	_, session := errors.AsType[unknownSessionError](err)
	_, inTLS := errors.AsType[*tlsError](err)
	timeout, timed := errors.AsType[net.Error](err)
	_, off := errors.AsType[*clockError](err)
	switch {
	case off:
		return refusedClock
	case errors.Is(err, errRevoked):
		return refusedRevoked
	case errors.Is(err, errTooMany):
		return refusedCaps
	case unknown:
		return refusedKey
	case session:
		return refusedSession
	case timed && timeout.Timeout():
		return refusedSilent
	case hasLeft(err):
		return refusedLeft
	case inTLS && handshake.NoCertificate(err):
		return refusedNoKey
	case inTLS, errors.Is(err, errStranger):
		return refusedTLS
	}
	return refusedOther
}

// A clockError says that a client's proof is right but for its time.
type clockError struct {
	client string
	ahead  time.Duration
}

func (e *clockError) Error() string {
	way, by := "ahead", e.ahead
	if by < 0 {
		way, by = "behind", -by
	}
	return fmt.Sprintf("the date of client %s is %s %s of this server's, and with a cover a day at most may be between them; or somebody repeats what it once sent",
		e.client, amount.Duration(by), way)
}

// A tlsError is what ended TLS's handshake, of which crypto/tls has no type of its own.
type tlsError struct{ error }

func (e *tlsError) Unwrap() error { return e.error }

// hasLeft says that the other side has ended the connection without a word.
func hasLeft(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, errno.Reset)
}
