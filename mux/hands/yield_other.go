//go:build !linux

package hands

// Yield lets others that wait for this processor have it, where the system is asked for that.
func Yield() {}
