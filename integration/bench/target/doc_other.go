//go:build !linux

// Package target exists on Linux only, like the bench that it belongs to.
package target
