// Package gauge finds out what a path carries: how long its queue is (Delay), how
// fast it may be sent to (Pacer), whether it loses packets without being full
// (LossJudge), and how much of it its kernel does not see (Hidden). All of it is told
// what was measured and when; it reads no clock and takes no lock.
package gauge
