// Package gauge finds out what a path carries: how long its queue is (Delay), how
// fast it may be sent to (Pacer), and whether it loses packets without being full
// (LossJudge). All of it is told what was measured and when; it reads no clock and
// takes no lock.
package gauge
