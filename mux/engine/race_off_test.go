//go:build !race

package engine

// raceOn says that the race detector runs, which makes everything slow.
const raceOn = false
