//go:build race

package stream

// raceOn says that the race detector runs: it makes pools forget.
const raceOn = true
