// Package dialer finds a way to the server: which addresses there are (names.go),
// in which order they are tried (book.go), and which of them proves first that it
// is the server (race.go, contest.go). way.go has what a socket of a path needs.
//
// It knows nothing of TLS or of sessions: what an attempt is, and what proves an
// address, says its caller.
package dialer
