package mux

import "golang.org/x/time/rate"

const (
	// commandsEach is how many options without data a session obeys a second, and
	// commandsAtOnce at once: more than a session with all of its subflows says. Who says more is cut.
	commandsEach, commandsAtOnce = 10000, 20000
	// clientCommands are those of all sessions of a client, at the server: one that is cut is
	// followed by the next.
	clientCommands, clientCommandsAtOnce = 2 * commandsEach, 2 * commandsAtOnce
	// fewCommands are what a session may say whatever the client's others have said: more than
	// it does in a second of its life, and in each after that.
	fewCommands = 1000
)

var errCommands = protocolError("the peer says options all the time")

// commands bounds the options without data that a session obeys.
type commands struct {
	session *rate.Limiter
	client  *rate.Limiter // of all of the client's sessions; nil at the client
	few     *rate.Limiter
}

func newCommands() commands {
	return commands{session: rate.NewLimiter(commandsEach, commandsAtOnce), few: rate.NewLimiter(fewCommands, fewCommands)}
}

// allow says whether one more is obeyed.
func (c *commands) allow() bool {
	return c.session.Allow() && (c.client == nil || c.client.Allow() || c.few.Allow())
}
