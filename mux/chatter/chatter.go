// Package chatter bounds what one peer makes a log have, whatever it does: a client that is
// hostile, or only broken, fills no disk and hides nobody else's lines. What comes again and
// again is said seldom.
package chatter

import (
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/time/rate"
)

const (
	// atOnce is how many lines one peer has at once, and every how often one more.
	atOnce = 64
	every  = 2 * time.Second
)

// A Voice is one peer's, in all that it does. It is safe for concurrent use.
type Voice struct{ lines *rate.Limiter }

// NewVoice makes one that has said nothing yet.
func NewVoice() *Voice { return &Voice{rate.NewLimiter(rate.Every(every), atOnce)} }

// Line begins a line of the log about what the peer has brought about: at the level, as long
// as it has not brought about many, and otherwise at debug.
func (v *Voice) Line(log *zerolog.Logger, level zerolog.Level) *zerolog.Event {
	if v.lines.Allow() {
		return log.WithLevel(level)
	}
	return log.Debug()
}
