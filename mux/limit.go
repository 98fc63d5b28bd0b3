package mux

// The limits by which a client is refused, as the server's configuration calls them.
const (
	limitSessions  = "limits.sessions"
	limitPerClient = "limits.sessions_per_client"
	limitSubflows  = "limits.subflows_per_session"
)

// A limitError is the refusal of a client that has proved its key. It is errTooMany.
type limitError struct {
	client string // its name
	limit  string
}

func (e *limitError) Error() string {
	return "client " + e.client + " is refused: " + e.limit + " is reached"
}

// Is has whoever looks for errTooMany find it.
func (e *limitError) Is(target error) bool { return target == errTooMany }
