//go:build !linux

// Package relay exists on Linux only, like the bench that it belongs to.
package relay
