package server

import (
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/status"
)

// maxFault bounds what is remembered of an error: names that clients ask for are in it.
const maxFault = 300

// A fault is the last thing that went wrong with a client, for status.
type fault struct {
	at   time.Time
	text string
}

// wrong remembers what went wrong. Any goroutine may call it.
func (c *client) wrong(text string) {
	if len(text) > maxFault {
		text = text[:maxFault]
	}
	c.fault.Store(&fault{time.Now(), text})
}

// tell puts a client's last error into what status says of it.
func (c *client) tell(out *status.Peer) {
	if f := c.fault.Load(); f != nil {
		out.Error, out.ErrorAt = f.text, f.at
	}
}

// noted begins a line about what a client does, at info as long as it has not had many of
// them.
func noted(p *peer) *zerolog.Event { return p.client.voice.Line(&p.log, zerolog.InfoLevel) }
