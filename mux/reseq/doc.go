// Package reseq restores the order of flows that came by several subflows, by the
// Identification of their packets, for a bounded time. It reads no clock and takes no
// lock: its owner does, and delivers.
package reseq
