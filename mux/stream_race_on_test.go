//go:build race

package mux

// streamRace says that the race detector runs: it makes pools forget.
const streamRace = true
