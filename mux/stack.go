package mux

// stackOf is as much stack as a CONNECT takes at the server: in package net, connecting.
const stackOf = 5 << 10

// deepen has a new goroutine's stack grow while there is next to nothing on it: it grows by doubling, and each
// time the frames that are there are walked and moved. i is 0.
//
//go:noinline
func deepen(i int) byte {
	var b [stackOf]byte
	return b[i]
}
