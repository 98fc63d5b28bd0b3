//go:build !linux

package udpio

import "runtime"

// Pause lets others run, between two bursts for one destination.
func Pause() { runtime.Gosched() }
