package server

import "net"

// What the kernel holds for a client's CONNECTs is memory of the machine too, and of
// no limit of ours: an application that reads nothing fills a receive buffer of
// megabytes for each. So the buffers of a client that has many are set to its share.
const (
	// kernelShare is what the kernel may hold for one client in each direction, about.
	kernelShare = 64 << 20
	// kernelFree is how many connections of a client are left to the kernel's own
	// tuning, which gives some 6 MiB to a fast one.
	kernelFree = 16
	// kernelLeast is enough for 10 Mbit/s over 50 ms.
	kernelLeast = 64 << 10
)

// kernelBuffer is the size of each buffer of the newest of n connections; 0 leaves it
// to the kernel. The sum over all n grows with its logarithm only.
func kernelBuffer(n int) int {
	if n <= kernelFree {
		return 0
	}
	return max(kernelShare/n, kernelLeast)
}

// clamp sets the buffers of a connection of the client.
func (c *client) clamp(conn *net.TCPConn) {
	if n := kernelBuffer(int(c.streams.used.Load())); n > 0 {
		// The kernel doubles what it is told (socket(7)); it may refuse, and then
		// its own bounds hold.
		_ = conn.SetReadBuffer(n / 2)
		_ = conn.SetWriteBuffer(n / 2)
	}
}
