//go:build !linux

// Package mmsg exists on Linux only: recvmmsg and sendmmsg are Linux calls.
package mmsg
