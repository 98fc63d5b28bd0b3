package cli

import "strconv"

// exitError ends a command with an exit code of its own; without a cause the
// command has said all.
type exitError struct {
	code  int
	cause error
}

func (e exitError) Error() string {
	if e.cause == nil {
		return "exit code " + strconv.Itoa(e.code)
	}
	return e.cause.Error()
}

func (e exitError) Unwrap() error { return e.cause }
