//go:build !linux

package lull

import "time"

// A clock is a timer of the kernel's; there is none.
type clock struct{}

func newClock() *clock { return nil }

func (*clock) wait(time.Duration, func() bool) bool { return false }

func (*clock) set(time.Duration) bool { return false }

func (*clock) close() {}
