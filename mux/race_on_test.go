//go:build race

package mux

// raceOn says that the race detector runs: it makes pools forget.
const raceOn = true
