package client

import (
	"net/netip"

	"github.com/rs/zerolog"
	"github.com/txthinking/socks5"
)

// exitWords are the exit's answers (RFC 1928, Section 6) as people read them.
var exitWords = map[byte]string{
	socks5.RepServerFailure:       "the server cannot do it",
	socks5.RepNotAllowed:          "the server does not allow it (relay.allow and relay.deny in its file, or a limit)",
	socks5.RepNetworkUnreachable:  "the server has no route there",
	socks5.RepHostUnreachable:     "no answer from there, or no such name",
	socks5.RepConnectionRefused:   "refused there",
	socks5.RepTTLExpired:          "its time ran out on the way",
	socks5.RepCommandNotSupported: "the server does not know the command",
	socks5.RepAddressNotSupported: "the server does not know that kind of address",
}

// sayUnreached says at debug which destination was not reached, for whom, and why: what
// the exit answered, or err.
func sayUnreached(log *zerolog.Logger, app netip.AddrPort, user, to string, answer byte, err error) {
	line := log.Debug()
	if !line.Enabled() {
		return
	}
	line = line.Str("to", to).Stringer("app", app)
	if user != "" {
		line = line.Str("user", user)
	}
	switch words, known := exitWords[answer]; {
	case err != nil:
		line = line.AnErr("why", err)
	case known:
		line = line.Str("why", words)
	default:
		line = line.Uint8("answer", answer)
	}
	line.Msg("CONNECT failed")
}

// answerOf is what the exit answered, success if it did not.
func answerOf(r *socks5.Reply) byte {
	if r == nil {
		return repSuccess
	}
	return r.Rep
}
